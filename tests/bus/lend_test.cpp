// O: receive forms. `lend` borrows runs of events from the queue; they live until the next receive of any form.
#include <array>
#include <atomic>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "bus/sharing_bus.hpp"
#include "tests/bus/stream_text.hpp"
#include "tests/bus/test_events.hpp"
#include "tests/support/bus_oracle.hpp"

namespace sharingbus {
namespace {

using namespace test;

std::string lend_all(Subscription& subscription, std::size_t limit = 256) {
  StreamText stream;
  for (;;) {
    const Lent lent = subscription.lend(limit);
    if (lent.empty()) break;
    EXPECT_LE(lent.events().size(), limit);
    stream.add(lent);
    if (lent.closed() != nullptr) break;
  }
  return stream.text();
}

class LendByPolicy : public ::testing::TestWithParam<Overflow> {
 protected:
  static SubscriptionOptions options(std::size_t capacity) {
    auto options = with_overflow(GetParam(), capacity);
    if (GetParam() == Overflow::latest_per_key) {
      options.key = [](const BusEvent& event) { return std::to_string(event.sequence()); };
    }
    return options;
  }
};

TEST_P(LendByPolicy, Events_ComeInOrderAndCountAsReceived) {
  SharingBus bus;
  auto sut = bus.subscribe(options(100));
  EXPECT_TRUE(sut.lend().empty());
  publish_notes(bus, 1, 10);
  EXPECT_EQ(lend_all(sut), "1 2 3 4 5 6 7 8 9 10");
  EXPECT_EQ(sut.stats().received, 10u);
  EXPECT_EQ(sut.stats().queued, 0u);
  EXPECT_EQ(sut.stats().last_received_sequence, 10u);
  publish_notes(bus, 11, 15);
  EXPECT_EQ(lend_all(sut, 2), "11 12 13 14 15");
  publish_notes(bus, 16, 17);
  EXPECT_EQ(lend_all(sut, 1), "16 17");
  EXPECT_TRUE(check_balanced(bus));
}

TEST_P(LendByPolicy, Payload_LivesUntilTheNextReceive) {
  std::atomic<int> alive{0};
  SharingBus bus;
  auto sut = bus.subscribe(options(100));
  bus.publish(make_event(Tracked(alive), Routing{}));
  {
    const Lent lent = sut.lend();
    ASSERT_EQ(lent.events().size(), 1u);
    EXPECT_EQ(alive, 1);
    bus.publish(note(2));
    bus.publish(note(3));
    EXPECT_EQ(alive, 1);
    EXPECT_NE(lent.events()[0]->get_if<Tracked>(), nullptr);
  }
  EXPECT_EQ(alive, 1) << "given back by the next receive, not by the span";
  EXPECT_EQ(value_of(sut.try_receive()), 2u);
  EXPECT_EQ(alive, 0);
}

TEST_P(LendByPolicy, ReceiveThatFindsNothing_GivesBackToo) {
  std::atomic<int> alive{0};
  SharingBus bus;
  auto sut = bus.subscribe(options(100));
  for (const int form : {0, 1, 2, 3}) {
    bus.publish(make_event(Tracked(alive), Routing{}));
    ASSERT_EQ(sut.lend().events().size(), 1u);
    std::array<Received, 2> batch;
    if (form == 0) {
      EXPECT_TRUE(sut.try_receive().empty());
    }
    if (form == 1) {
      EXPECT_EQ(sut.receive_batch(batch), 0u);
    }
    if (form == 2) {
      EXPECT_TRUE(sut.receive_for(std::chrono::nanoseconds(1)).empty());
    }
    if (form == 3) {
      EXPECT_TRUE(sut.lend().empty());
    }
    EXPECT_EQ(alive, 0) << form;
  }
}

TEST_P(LendByPolicy, CopiedReference_KeepsTheEvent) {
  std::atomic<int> alive{0};
  SharingBus bus;
  auto sut = bus.subscribe(options(100));
  for (int i = 0; i < 3; ++i)
    bus.publish(make_event(Tracked(alive), Routing{}));
  std::vector<EventRef> kept;
  for (int i = 0; i < 3; ++i) {
    const Lent lent = sut.lend(1);
    ASSERT_EQ(lent.events().size(), 1u);
    if (i == 1) kept.push_back(lent.events()[0]);
  }
  EXPECT_TRUE(sut.lend().empty());
  sut = {};
  bus.close();
  EXPECT_EQ(alive, 1);
  EXPECT_EQ(kept[0]->sequence(), 2u);
  kept.clear();
  EXPECT_EQ(alive, 0);
}

TEST_P(LendByPolicy, SubscriptionEndsWhileLent_FreesEverything) {
  std::atomic<int> alive{0};
  SharingBus bus;
  auto sut = bus.subscribe(options(100));
  for (int i = 0; i < 5; ++i)
    bus.publish(make_event(Tracked(alive), Routing{}));
  ASSERT_FALSE(sut.lend(2).empty());
  sut = {};
  bus.close();
  EXPECT_EQ(alive, 0);
  EXPECT_TRUE(check_balanced(bus));
}

TEST_P(LendByPolicy, BusIsGoneWhileLent_TheyStayReadable) {
  auto bus = std::make_optional<SharingBus>();
  auto sut = bus->subscribe(options(100));
  bus->publish(note(1));
  bus->publish(note(2));
  const Lent lent = sut.lend(1);
  bus.reset();
  ASSERT_EQ(lent.events().size(), 1u);
  EXPECT_EQ(lent.events()[0]->get_if<Note>()->value, 1u);
  EXPECT_EQ(lend_all(sut), "2 end:bus_closed");
  EXPECT_EQ(lend_all(sut), "end:bus_closed");
}

// What is lent is out of the queue: nothing that comes displaces or changes it.
TEST_P(LendByPolicy, QueueOverflowsMeanwhile_LentEventsAreUntouched) {
  BusOptions bus_options;
  bus_options.log = nullptr;
  SharingBus bus(std::move(bus_options));
  auto sut = bus.subscribe(options(3));
  publish_notes(bus, 1, 3);
  std::vector<std::uint64_t> first;
  const Lent lent = sut.lend();
  const std::size_t count = lent.events().size();
  ASSERT_GT(count, 0u);
  publish_notes(bus, 4, 40);
  for (std::size_t i = 0; i < count; ++i)
    EXPECT_EQ(lent.events()[i]->get_if<Note>()->value, i + 1);
  EXPECT_EQ(sut.stats().received, count);
  EXPECT_TRUE(check_balanced(bus));
}

TEST_P(LendByPolicy, MixedWithOtherForms_KeepsOrderAndBooks) {
  BusOptions bus_options;
  bus_options.log = nullptr;
  SharingBus bus(std::move(bus_options));
  auto sut = bus.subscribe(options(1000));
  publish_notes(bus, 1, 60);
  StreamText stream;
  std::array<Received, 3> batch;
  std::string expected;
  for (int i = 1; i <= 60; ++i)
    expected += (i == 1 ? "" : " ") + std::to_string(i);
  for (int round = 0; round < 60; ++round) {
    switch (round % 4) {
      case 0:
        stream.add(sut.lend(3));
        break;
      case 1:
        stream.add(sut.try_receive());
        break;
      case 2: {
        const std::size_t count = sut.receive_batch(batch);
        for (std::size_t i = 0; i < count; ++i)
          stream.add(batch[i]);
        break;
      }
      default:
        stream.add(sut.receive_for(kNothingComes / 100));
    }
  }
  EXPECT_EQ(stream.text(), expected);
  EXPECT_EQ(sut.stats().received, 60u);
  EXPECT_TRUE(check_balanced(bus));
}

INSTANTIATE_TEST_SUITE_P(Policies, LendByPolicy, ::testing::ValuesIn(kEveryOverflow),
                         [](const auto& instance) { return std::string(to_string(instance.param)); });

TEST(Lend, GapsAndTheEnd_StandAtTheirPlace) {
  BusOptions options;
  options.log = nullptr;
  SharingBus bus(std::move(options));
  auto sut = bus.subscribe(Filter::all(), 2);
  publish_notes(bus, 1, 4);
  EXPECT_EQ(lend_all(sut), "1 2 gap3-4(2)");
  publish_notes(bus, 5, 5);
  sut.unsubscribe();
  EXPECT_EQ(lend_all(sut), "5 end:unsubscribed");
  EXPECT_EQ(lend_all(sut), "end:unsubscribed");
}

// A turn of many events is lent as a run, not one by one: that is what it is for.
TEST(Lend, EventsOfOneTurn_AreLentAsARun) {
  SharingBus bus(manual_options());
  auto sut = bus.subscribe_all();
  publish_notes(bus, 1, 64);
  bus.poll();
  EXPECT_EQ(sut.lend().events().size(), 64u);
  publish_notes(bus, 65, 128);
  bus.poll();
  EXPECT_EQ(sut.lend(10).events().size(), 10u);
  EXPECT_EQ(sut.lend(10).events()[0]->get_if<Note>()->value, 75u);
}

// One subscriber's run is the other's, too: what the one has given back the other still has.
TEST(Lend, ManySubscribers_ShareTheEventsAndNotTheirFate) {
  std::atomic<int> alive{0};
  SharingBus bus(manual_options());
  auto one = bus.subscribe_all();
  auto two = bus.subscribe_all();
  auto filtered = bus.subscribe(Filter::kind(EventKind::request));
  for (int i = 0; i < 40; ++i)
    bus.publish(make_event(Tracked(alive), routing_of(i % 2 == 0 ? EventKind::request : EventKind::custom)));
  bus.poll();
  for (std::size_t seen = 0; seen < 40;)
    seen += one.lend(7).events().size();
  EXPECT_TRUE(one.lend().empty());
  EXPECT_EQ(alive, 40);
  std::size_t seen = 0;
  for (Lent lent = two.lend(); !lent.empty(); lent = two.lend()) {
    for (const EventRef& event : lent.events()) {
      EXPECT_EQ(event->sequence(), ++seen);
      EXPECT_NE(event->get_if<Tracked>(), nullptr);
    }
  }
  EXPECT_EQ(seen, 40u);
  for (Received next = filtered.try_receive(); !next.empty(); next = filtered.try_receive())
    EXPECT_EQ((*next.event())->kind(), EventKind::request);
  EXPECT_TRUE(check_balanced(bus));
  EXPECT_EQ(alive, 0);
}

}  // namespace
}  // namespace sharingbus

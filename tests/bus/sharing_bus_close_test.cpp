#include <atomic>
#include <optional>
#include <thread>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "bus/sharing_bus.hpp"
#include "tests/bus/test_events.hpp"
#include "tests/support/bus_oracle.hpp"
#include "tests/support/watchdog.hpp"

namespace sharingbus {
namespace {

using namespace test;

CloseReason reason_of(const Received& received) {
  EXPECT_NE(received.closed(), nullptr);
  return received.closed() != nullptr ? received.closed()->why : CloseReason::unsubscribed;
}

// Guarantee 5: closing drains what was accepted, ends every receiver with a clear end-of-stream.
TEST(Close, AcceptedEvents_AreDispatchedThenEveryReceiverEnds) {
  SharingBus sut(manual_options());
  auto all = sut.subscribe_all();
  auto none = sut.subscribe(Filter::connector_uid(uuid(1)));
  int calls = 0;
  auto counted = sut.subscribe_inline(named("inline"), [&](const EventRef&) { ++calls; });
  for (std::uint64_t i = 0; i < 200; ++i)
    sut.publish(note(i));
  sut.close();
  EXPECT_EQ(calls, 200);
  EXPECT_EQ(drain_values(all).size(), 200u);
  EXPECT_EQ(reason_of(all.try_receive()), CloseReason::bus_closed);
  EXPECT_EQ(reason_of(all.receive()), CloseReason::bus_closed);
  EXPECT_EQ(reason_of(none.try_receive()), CloseReason::bus_closed);
  EXPECT_EQ(reason_of(counted.try_receive()), CloseReason::bus_closed);
  const BusSnapshot snapshot = sut.snapshot();
  EXPECT_TRUE(snapshot.closed);
  EXPECT_EQ(snapshot.dispatched, 200u);
  EXPECT_TRUE(check_balanced(snapshot));
}

// Publishing to a closed bus is refused, not lost.
TEST(Close, PublishedAfterwards_IsRefused) {
  std::atomic<int> alive{0};
  SharingBus sut;
  auto all = sut.subscribe_all();
  sut.publish(note(1));
  sut.close();
  const PublishResult published = sut.publish(make_event(Tracked(alive), Routing{}));
  EXPECT_EQ(published.status, PublishStatus::refused_closed);
  EXPECT_EQ(published.sequence, 0u);
  EXPECT_EQ(sut.try_publish(note(2)).status, PublishStatus::refused_closed);
  EXPECT_EQ(alive, 0);
  EXPECT_EQ(sut.snapshot().published, 1u);
  EXPECT_EQ(all.stats().matched, 1u);
  EXPECT_TRUE(check_balanced(sut));
}

TEST(Close, Again_IsIdempotent) {
  SharingBus sut;
  auto all = sut.subscribe_all();
  sut.close();
  sut.close();
  EXPECT_EQ(reason_of(all.try_receive()), CloseReason::bus_closed);
}

TEST(Close, SubscribedAfterwards_EndsAtOnce) {
  SharingBus sut;
  sut.close();
  auto all = sut.subscribe_all();
  EXPECT_EQ(reason_of(all.receive()), CloseReason::bus_closed);
  auto counted = sut.subscribe_inline(named("inline"), [](const EventRef&) { FAIL(); });
  EXPECT_EQ(reason_of(counted.receive()), CloseReason::bus_closed);
  EXPECT_TRUE(check_balanced(sut));
}

TEST(Close, UnsubscribedEarlier_KeepsItsOwnReason) {
  SharingBus sut;
  auto all = sut.subscribe_all();
  all.unsubscribe();
  sut.close();
  EXPECT_EQ(reason_of(all.try_receive()), CloseReason::unsubscribed);
}

TEST(Close, UnsubscribedAfterwards_IsFine) {
  SharingBus sut;
  auto all = sut.subscribe_all();
  sut.publish(note(1));
  sut.close();
  all.unsubscribe();
  EXPECT_EQ(drain_values(all), std::vector<std::uint64_t>{1});
  EXPECT_EQ(reason_of(all.try_receive()), CloseReason::bus_closed);
  all = {};
  EXPECT_EQ(sut.subscriber_count(), 0u);
  EXPECT_TRUE(check_balanced(sut));
}

TEST(Close, HandleLetGoAfterwards_IsRetired) {
  SharingBus sut;
  {
    auto all = sut.subscribe_all();
    sut.publish(note(1));
    sut.close();
    EXPECT_EQ(sut.subscriber_count(), 1u);
  }
  EXPECT_EQ(sut.subscriber_count(), 0u);
  EXPECT_EQ(sut.snapshot().retired.discarded, 1u);
  EXPECT_TRUE(check_balanced(sut));
}

TEST(Close, HandleLetGoBefore_IsCollected) {
  std::atomic<int> alive{0};
  SharingBus sut;
  {
    auto all = sut.subscribe_all();
    sut.publish(make_event(Tracked(alive), Routing{}));
  }
  sut.close();
  EXPECT_EQ(sut.subscriber_count(), 0u);
  EXPECT_EQ(alive, 0);
}

// At once when called from inside a callback: the dispatcher then completes it.
TEST(Close, InsideACallback_ReturnsAndTheDispatcherCompletesIt) {
  const Watchdog watchdog("Close.InsideACallback");
  SharingBus sut;
  std::vector<PublishStatus> statuses;
  auto closer = sut.subscribe_inline(named("closer", Filter::kind(EventKind::request)), [&](const EventRef&) {
    statuses.push_back(sut.publish(note(2)).status);
    sut.close();
    statuses.push_back(sut.publish(note(3)).status);
  });
  auto all = sut.subscribe_all();
  sut.publish(note(1, routing_of(EventKind::request)));
  EXPECT_EQ(statuses, (std::vector<PublishStatus>{PublishStatus::accepted, PublishStatus::refused_closed}));
  EXPECT_EQ(drain_values(all), (std::vector<std::uint64_t>{1, 2}));
  EXPECT_EQ(reason_of(all.try_receive()), CloseReason::bus_closed);
  sut.close();
  EXPECT_TRUE(check_balanced(sut));
}

TEST(Close, InsideACallbackOfAManualBus_IsCompletedByPollOrClose) {
  const Watchdog watchdog("Close.InsideACallbackOfAManualBus");
  SharingBus sut(manual_options());
  auto closer =
      sut.subscribe_inline(named("closer", Filter::kind(EventKind::request)), [&](const EventRef&) { sut.close(); });
  auto all = sut.subscribe_all();
  sut.publish(note(1, routing_of(EventKind::request)));
  sut.publish(note(2));
  EXPECT_EQ(sut.poll(1), 1u);
  EXPECT_EQ(drain_values(all), std::vector<std::uint64_t>{1});
  EXPECT_EQ(sut.publish(note(3)).status, PublishStatus::refused_closed);
  sut.poll();
  EXPECT_EQ(drain_values(all), std::vector<std::uint64_t>{2});
  EXPECT_EQ(reason_of(all.try_receive()), CloseReason::bus_closed);
  EXPECT_TRUE(check_balanced(sut));
}

TEST(Close, ByManyThreadsAtOnce_ReturnsToAll) {
  const Watchdog watchdog("Close.ByManyThreadsAtOnce");
  for (int round = 0; round < 50; ++round) {
    SharingBus sut;
    auto all = sut.subscribe(Filter::all(), 10'000);
    std::atomic<std::uint64_t> accepted{0};
    std::vector<std::thread> threads;
    threads.emplace_back([&] {
      while (sut.publish(note(1)).accepted())
        ++accepted;
    });
    for (int i = 0; i < 3; ++i) {
      threads.emplace_back([&] {
        sut.close();
        EXPECT_EQ(sut.publish(note(2)).status, PublishStatus::refused_closed);
      });
    }
    for (auto& thread : threads)
      thread.join();
    EXPECT_EQ(all.stats().matched, accepted);
    EXPECT_TRUE(check_balanced(sut));
  }
}

TEST(Destroyed, BusWithQueuedEvents_LeavesThemToItsReceivers) {
  std::atomic<int> alive{0};
  Subscription all;
  {
    SharingBus sut;
    all = sut.subscribe_all();
    sut.publish(make_event(Tracked(alive), Routing{}));
  }
  EXPECT_EQ(alive, 1);
  EXPECT_NE(all.receive().event(), nullptr);
  EXPECT_EQ(alive, 0);
  EXPECT_EQ(reason_of(all.receive()), CloseReason::bus_closed);
}

TEST(Destroyed, EndsARunningRangeFor) {
  const Watchdog watchdog("Destroyed.EndsARunningRangeFor");
  std::optional<SharingBus> sut(std::in_place);
  auto all = sut->subscribe_all();
  std::uint64_t sum = 0;
  std::thread reader([&] {
    for (const EventRef& event : all)
      sum += event->get_if<Note>()->value;
  });
  for (std::uint64_t i = 1; i <= 100; ++i)
    sut->publish(note(i));
  sut.reset();
  reader.join();
  EXPECT_EQ(sum, 5050u);
}

}  // namespace
}  // namespace sharingbus

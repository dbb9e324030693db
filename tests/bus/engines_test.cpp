// One suite over all four dispatch engines: the guarantees of spec 1 do not depend on who dispatches.
#include <array>
#include <atomic>
#include <future>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <gtest/gtest.h>

#include "bus/sharing_bus.hpp"
#include "tests/bus/stream_text.hpp"
#include "tests/bus/test_events.hpp"
#include "tests/support/bus_harness.hpp"
#include "tests/support/bus_oracle.hpp"
#include "tests/support/watchdog.hpp"

namespace sharingbus {
namespace {

using namespace test;

class Engines : public ::testing::TestWithParam<Engine> {
 protected:
  static BusOptions quiet(std::size_t ingress_capacity = 1024) {
    BusOptions options;
    options.ingress_capacity = ingress_capacity;
    options.log = nullptr;
    return options;
  }
  const Watchdog watchdog_{"Engines"};
};

// Guarantee 1.
TEST_P(Engines, OnePublisher_KeepsItsOrder) {
  BusHarness bus(GetParam(), quiet());
  auto all = bus->subscribe(Filter::all(), 1000);
  auto mine = bus->subscribe(Filter::connector_uid(uuid(1)), 1000);
  std::vector<std::uint64_t> seen;
  auto inline_all =
      bus->subscribe_inline(named("inline"), [&](const EventRef& event) { seen.push_back(event->sequence()); });
  for (std::uint64_t i = 1; i <= 300; ++i)
    EXPECT_EQ(bus->publish(note(i, i % 3 == 0 ? with_uid(uuid(1)) : Routing{})).sequence, i);
  bus.settle();
  const auto values = drain_values(all);
  ASSERT_EQ(values.size(), 300u);
  for (std::uint64_t i = 0; i < 300; ++i) {
    EXPECT_EQ(values[i], i + 1);
    EXPECT_EQ(seen[i], i + 1);
  }
  const auto own = drain_values(mine);
  ASSERT_EQ(own.size(), 100u);
  EXPECT_EQ(own.back(), 300u);
  EXPECT_TRUE(check_balanced(*bus));
}

TEST_P(Engines, SeveralPublishers_EachKeepsItsOrderAndAllSeeTheSame) {
  constexpr std::uint64_t kEach = 1000;
  BusHarness bus(GetParam(), quiet(8192));
  auto one = bus->subscribe(Filter::all(), 100'000);
  auto two = bus->subscribe(Filter::all(), 100'000);
  std::vector<std::thread> publishers;
  for (std::uint64_t p = 0; p < 3; ++p) {
    publishers.emplace_back([&, p] {
      std::vector<EventDraft> batch;
      for (std::uint64_t i = 0; i < kEach; ++i) {
        if (i % 10 < 5) {
          bus->publish(note(p << 32 | i));
          continue;
        }
        batch.push_back(note(p << 32 | i));
        if (i % 10 != 9) continue;
        EXPECT_EQ(bus->publish_batch(batch).accepted, 5u);
        batch.clear();
      }
    });
  }
  for (auto& publisher : publishers)
    publisher.join();
  bus.settle();
  std::array<std::uint64_t, 3> next{};
  const auto values = drain_values(one);
  ASSERT_EQ(values.size(), 3 * kEach);
  for (const std::uint64_t value : values)
    EXPECT_EQ(value & 0xffff'ffff, next[value >> 32]++);
  EXPECT_EQ(drain_values(two), values);
  EXPECT_TRUE(check_balanced(*bus));
}

// Guarantee 2: the same losses, gaps and counters, whoever dispatches.
TEST_P(Engines, EveryOverflowPolicy_HasTheSameStream) {
  for (const Overflow overflow : kEveryOverflow) {
    BusHarness bus(GetParam(), quiet());
    auto sut = bus->subscribe(with_overflow(overflow, 2));
    for (std::uint64_t i = 1; i <= 5; ++i) {
      bus->publish(note(i));
      bus.settle();
    }
    bus.settle();
    EXPECT_TRUE(check_balanced(*bus));
    bus.destroy();
    const std::string stream = stream_text(sut);
    switch (overflow) {
      case Overflow::drop_newest:
      case Overflow::backpressure:
        EXPECT_EQ(stream, "1 2 gap3-5(3) end:bus_closed");
        break;
      case Overflow::drop_oldest:
        EXPECT_EQ(stream, "gap1-3(3) 4 5 end:bus_closed");
        break;
      case Overflow::latest_per_key:
        EXPECT_EQ(stream, "gap1-4(4) 5 end:bus_closed");
        break;
      case Overflow::close_subscriber:
        EXPECT_EQ(stream, "1 2 gap3-3(1) end:overflowed");
        break;
    }
    EXPECT_TRUE(sut.stats().balanced());
  }
}

// A subscription starts and ends at an exact place of the order.
TEST_P(Engines, SubscribeAndUnsubscribe_ActAtAnExactPlace) {
  BusHarness bus(GetParam(), quiet());
  publish_notes(*bus, 1, 3);
  auto sut = bus->subscribe_all();
  publish_notes(*bus, 4, 6);
  sut.unsubscribe();
  publish_notes(*bus, 7, 9);
  auto next = bus->subscribe_all();
  publish_notes(*bus, 10, 10);
  bus->unsubscribe(next.id());
  publish_notes(*bus, 11, 11);
  bus.settle();
  EXPECT_EQ(stream_text(sut), "4 5 6 end:unsubscribed");
  EXPECT_EQ(stream_text(next), "10 end:unsubscribed");
  EXPECT_TRUE(check_balanced(*bus));
}

TEST_P(Engines, LateJoin_HasNeitherGapNorDuplicate) {
  BusOptions options = quiet();
  options.history_events = 1000;
  BusHarness bus(GetParam(), std::move(options));
  publish_notes(*bus, 1, 50);
  SubscriptionOptions from;
  from.start = Start::sequence(20);
  auto sut = bus->subscribe(from);
  from.start = Start::last(3);
  auto last = bus->subscribe(from);
  publish_notes(*bus, 51, 60);
  bus.settle();
  const auto values = drain_values(sut);
  ASSERT_EQ(values.size(), 41u);
  for (std::uint64_t i = 0; i < values.size(); ++i)
    EXPECT_EQ(values[i], 20 + i);
  EXPECT_EQ(stream_text(last), "48 49 50 51 52 53 54 55 56 57 58 59 60");
}

TEST_P(Engines, DroppedReceiver_IsCollectedByTheNextEvent) {
  BusHarness bus(GetParam(), quiet());
  {
    auto sut = bus->subscribe_all();
    bus.settle();
  }
  EXPECT_EQ(bus->subscriber_count(), 1u);
  bus->publish(note(1));
  bus.settle();
  EXPECT_EQ(bus->subscriber_count(), 0u);
  EXPECT_EQ(bus->snapshot().retired.subscriptions, 1u);
}

// Guarantee 3.
TEST_P(Engines, SubscriberThatThrowsOrNeverReads_HarmsNobody) {
  BusHarness bus(GetParam(), quiet());
  auto never = bus->subscribe(Filter::all(), 1);
  auto throws = bus->subscribe_inline(named("throws"), [](const EventRef&) { throw 1; });
  auto options = named("closes");
  options.on_throw = OnThrow::close;
  auto closes = bus->subscribe_inline(options, [](const EventRef&) { throw 1; });
  auto good = bus->subscribe_all();
  publish_notes(*bus, 1, 5);
  bus.settle();
  EXPECT_EQ(stream_text(good), "1 2 3 4 5");
  EXPECT_EQ(throws.stats().callback_failures, 5u);
  EXPECT_EQ(closes.stats().callback_failures, 1u);
  EXPECT_TRUE(closes.stats().closed);
  EXPECT_TRUE(check_balanced(*bus));
}

// Publishing from inside callbacks comes after the event in hand, in that order.
TEST_P(Engines, PublishFromInsideACallback_KeepsTheOrder) {
  BusHarness bus(GetParam(), quiet());
  auto chain = bus->subscribe_inline(named("chain"), [&](const EventRef& event) {
    const std::uint64_t value = event->get_if<Note>()->value;
    if (value < 20) bus->publish(note(value + 1));
  });
  auto sut = bus->subscribe_all();
  bus->publish(note(1));
  while (bus->snapshot().dispatched < 20)
    bus.settle();
  EXPECT_EQ(stream_text(sut), "1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20");
}

// Guarantee 5.
TEST_P(Engines, Close_DrainsWhatWasAcceptedAndEndsEveryone) {
  BusHarness bus(GetParam(), quiet());
  auto all = bus->subscribe(Filter::all(), 1000);
  auto none = bus->subscribe(Filter::connector_uid(uuid(9)));
  publish_notes(*bus, 1, 500);
  bus->close();
  EXPECT_EQ(bus->snapshot().dispatched, 500u);
  EXPECT_EQ(bus->publish(note(1)).status, PublishStatus::refused_closed);
  EXPECT_EQ(drain_values(all).size(), 500u);
  EXPECT_EQ(stream_text(all), "end:bus_closed");
  EXPECT_EQ(stream_text(none), "end:bus_closed");
  EXPECT_TRUE(check_balanced(*bus));
}

// The rule of the small ingress: whoever may dispatch helps, so nothing is lost; the manual engine lets the oldest go.
TEST_P(Engines, SmallIngress_LosesNothingUncounted) {
  BusHarness bus(GetParam(), quiet(2));
  auto all = bus->subscribe(Filter::all(), 10'000);
  std::vector<std::thread> publishers;
  for (std::uint64_t p = 0; p < 3; ++p) {
    publishers.emplace_back([&] {
      for (std::uint64_t i = 0; i < 500; ++i)
        EXPECT_TRUE(bus->publish(note(i)).accepted());
    });
  }
  for (auto& publisher : publishers)
    publisher.join();
  bus.settle();
  const BusSnapshot snapshot = bus->snapshot();
  EXPECT_EQ(snapshot.published, 1500u);
  EXPECT_EQ(snapshot.dispatched + snapshot.ingress_lost, 1500u);
  if (GetParam() != Engine::manual) {
    EXPECT_EQ(snapshot.ingress_lost, 0u);
  }
  EXPECT_EQ(all.stats().lagged, snapshot.ingress_lost);
  EXPECT_TRUE(check_balanced(snapshot));
}

TEST_P(Engines, Flush_FromManyThreads_EachSeesItsOwnEvents) {
  BusHarness bus(GetParam(), quiet());
  std::vector<std::thread> threads;
  for (std::uint64_t p = 0; p < 3; ++p) {
    threads.emplace_back([&, p] {
      auto mine = bus->subscribe(Filter::connector_uid(uuid(p)));
      for (std::uint64_t i = 0; i < 100; ++i) {
        bus->publish(note(i, with_uid(uuid(p))));
        bus->flush();
        ASSERT_EQ(value_of(mine.try_receive()), i);
      }
    });
  }
  for (auto& thread : threads)
    thread.join();
  EXPECT_TRUE(check_balanced(*bus));
}

TEST_P(Engines, PayloadLifetime_EndsWithItsLastReceiver) {
  std::atomic<int> alive{0};
  {
    BusHarness bus(GetParam(), quiet());
    auto one = bus->subscribe_all();
    auto two = bus->subscribe_all();
    for (int i = 0; i < 20; ++i)
      bus->publish(make_event(Tracked(alive), Routing{}));
    bus.settle();
    EXPECT_EQ(alive, 20);
    while (!one.try_receive().empty()) {
    }
    EXPECT_EQ(alive, 20);
    while (!two.try_receive().empty()) {
    }
    bus.settle();
    EXPECT_EQ(alive, 0);
    for (int i = 0; i < 20; ++i)
      bus->publish(make_event(Tracked(alive), Routing{}));
  }
  EXPECT_EQ(alive, 0);
}

INSTANTIATE_TEST_SUITE_P(All, Engines,
                         ::testing::Values(Engine::combining, Engine::manual, Engine::thread, Engine::executor),
                         [](const auto& instance) { return name_of(instance.param); });

// --- the executor engine

// At most one job of the bus is on the executor, and it does not keep the context running while nothing is published.
TEST(ExecutorEngine, NothingMovesUntilTheContextRuns_AndItEnds) {
  const Watchdog watchdog("ExecutorEngine");
  boost::asio::io_context context;
  BusOptions options;
  options.engine = Engine::executor;
  options.scheduler = dispatch_on(context.get_executor());
  SharingBus bus(std::move(options));
  auto sut = bus.subscribe(Filter::all(), 2000);
  context.run();
  context.restart();
  publish_notes(bus, 1, 1000);
  EXPECT_EQ(bus.snapshot().dispatched, 0u);
  EXPECT_TRUE(sut.try_receive().empty());
  context.run();
  EXPECT_EQ(drain_values(sut).size(), 1000u);
  bus.publish(note(1));
  context.restart();
  context.run();
  EXPECT_EQ(drain_values(sut).size(), 1u);
}

TEST(ExecutorEngine, LongBacklog_IsDoneInTurnsWithOthers) {
  boost::asio::io_context context;
  BusOptions options;
  options.engine = Engine::executor;
  options.ingress_capacity = 100'000;
  options.scheduler = dispatch_on(context.get_executor());
  SharingBus bus(std::move(options));
  publish_notes(bus, 1, 20'000);
  std::uint64_t dispatched_before_the_other = 0;
  boost::asio::post(context, [&] { dispatched_before_the_other = bus.snapshot().dispatched; });
  context.run();
  EXPECT_EQ(bus.snapshot().dispatched, 20'000u);
  EXPECT_LT(dispatched_before_the_other, 20'000u);
}

TEST(ExecutorEngine, BusIsGoneWithAJobOutstanding_JobIsHarmless) {
  boost::asio::io_context context;
  Subscription sut;
  {
    BusOptions options;
    options.engine = Engine::executor;
    options.scheduler = dispatch_on(context.get_executor());
    SharingBus bus(std::move(options));
    sut = bus.subscribe_all();
    bus.publish(note(1));
  }
  EXPECT_EQ(stream_text(sut), "1 end:bus_closed");
  context.run();
}

/// Keeps jobs until somebody runs them.
struct KeptJobs final : DispatchScheduler {
  void schedule(DispatchJob job) override {
    const std::scoped_lock lock(mutex);
    jobs.push_back(std::move(job));
  }
  /// False: there is none.
  bool run_one() {
    std::optional<DispatchJob> job;
    {
      const std::scoped_lock lock(mutex);
      if (jobs.empty()) return false;
      job.emplace(std::move(jobs.back()));
      jobs.pop_back();
    }
    (*job)();
    return true;
  }
  std::mutex mutex;
  std::vector<DispatchJob> jobs;
};

// A full ingress: the job that would dispatch may stand behind the very publisher who waits for room, so whoever he
// found dispatching tells him that he has left.
class DispatcherLeaves : public ::testing::TestWithParam<bool> {};

TEST_P(DispatcherLeaves, PublisherWhoWaitsForRoom_GoesOn) {
  const Watchdog watchdog("DispatcherLeaves");
  for (int round = 0; round < 5; ++round) {
    const auto jobs = std::make_shared<KeptJobs>();
    BusOptions options;
    options.engine = Engine::executor;
    options.ingress_capacity = 4;
    options.scheduler = jobs;
    SharingBus bus(std::move(options));
    std::promise<void> entered;
    std::promise<void> never;
    std::atomic<bool> full{false};
    auto held_up = bus.subscribe_inline(named("held up"), [&](const EventRef& event) {
      if (event->get_if<Note>()->value != 1) return;
      entered.set_value();
      while (!full)
        std::this_thread::yield();
      // For the publisher to go to sleep; if he does not, less is tested.
      static_cast<void>(never.get_future().wait_for(kNothingComes));
    });
    while (jobs->run_one()) {
    }
    bus.publish(note(1));
    std::thread other([&] {
      if (GetParam()) return bus.flush();
      EXPECT_EQ(bus.poll(1), 1u);
    });
    entered.get_future().wait();
    // This thread is the one that would run the jobs.
    publish_notes(bus, 2, 5);
    full = true;
    EXPECT_TRUE(bus.publish(note(6)).accepted());
    other.join();
    while (jobs->run_one()) {
    }
    EXPECT_EQ(held_up.stats().received, 6u);
    EXPECT_EQ(bus.snapshot().ingress_lost, 0u);
  }
}
INSTANTIATE_TEST_SUITE_P(FlushOrPoll, DispatcherLeaves, ::testing::Bool());

// A scheduler of the user's own.
TEST(ExecutorEngine, OwnScheduler_RunsTheJobs) {
  const auto jobs = std::make_shared<KeptJobs>();
  BusOptions options;
  options.engine = Engine::executor;
  options.scheduler = jobs;
  SharingBus bus(std::move(options));
  auto sut = bus.subscribe_all();
  publish_notes(bus, 1, 3);
  EXPECT_LE(jobs->jobs.size(), 2u) << "one job serves them all";
  while (jobs->run_one()) {
  }
  EXPECT_EQ(stream_text(sut), "1 2 3");
}

}  // namespace
}  // namespace sharingbus

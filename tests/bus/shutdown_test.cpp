// Guarantee 5 under every engine, at bad moments: full queues, handlers that block, publishers that wait, from inside a
// callback. Closing drains what was accepted, ends every receiver, refuses what comes later, and leaks nothing.
#include <atomic>
#include <chrono>
#include <future>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <boost/asio/bind_executor.hpp>
#include <boost/asio/thread_pool.hpp>
#include <boost/asio/use_future.hpp>
#include <gtest/gtest.h>

#include "bus/async.hpp"
#include "tests/bus/stream_text.hpp"
#include "tests/bus/test_events.hpp"
#include "tests/support/bus_harness.hpp"
#include "tests/support/bus_oracle.hpp"
#include "tests/support/watchdog.hpp"

namespace sharingbus {
namespace {

using namespace test;
namespace asio = boost::asio;

class Shutdown : public ::testing::TestWithParam<Engine> {
 protected:
  static BusOptions quiet(std::size_t ingress_capacity = 1024) {
    BusOptions options;
    options.ingress_capacity = ingress_capacity;
    options.log = nullptr;
    return options;
  }
  const Watchdog watchdog_{"Shutdown"};
};

TEST_P(Shutdown, WhileEveryQueueIsFull_EndsEachWithItsGap) {
  std::atomic<int> alive{0};
  {
    BusHarness bus(GetParam(), quiet());
    std::vector<Subscription> subscriptions;
    for (const Overflow overflow : kEveryOverflow)
      subscriptions.push_back(bus->subscribe(with_overflow(overflow, 2)));
    for (int i = 0; i < 50; ++i)
      bus->publish(make_event(Tracked(alive), Routing{}));
    bus->close();
    EXPECT_TRUE(check_balanced(*bus));
    for (Subscription& subscription : subscriptions) {
      std::uint64_t events = 0;
      std::uint64_t lost = 0;
      for (;;) {
        const Received next = subscription.try_receive();
        ASSERT_FALSE(next.empty());
        if (next.closed() != nullptr) break;
        if (next.event() != nullptr) ++events;
        if (next.gap() != nullptr) lost += next.gap()->count;
      }
      EXPECT_EQ(events, subscription.stats().received);
      EXPECT_EQ(lost, subscription.stats().lagged);
      EXPECT_TRUE(subscription.stats().balanced());
    }
  }
  EXPECT_EQ(alive, 0);
}

TEST_P(Shutdown, WhileAHandlerBlocks_DoesNotWaitForIt) {
  asio::thread_pool pool(1);
  std::promise<void> entered;
  std::promise<void> go_on;
  std::vector<std::uint64_t> seen;
  std::promise<CloseReason> ended;
  std::optional<CallbackSubscription> sut;
  {
    BusHarness bus(GetParam(), quiet());
    sut = subscribe_on(*bus, pool.get_executor(), named("blocks"), [&](const Received& next) {
      if (next.closed() != nullptr) ended.set_value(next.closed()->why);
      if (next.event() == nullptr) return;
      seen.push_back(value_of(next));
      if (seen.size() > 1) return;
      entered.set_value();
      go_on.get_future().wait();
    });
    auto other = bus->subscribe_all();
    publish_notes(*bus, 1, 3);
    bus.settle();
    entered.get_future().wait();
    bus->close();
    EXPECT_EQ(stream_text(other), "1 2 3 end:bus_closed");
  }
  go_on.set_value();
  EXPECT_EQ(ended.get_future().get(), CloseReason::bus_closed);
  EXPECT_EQ(seen, (std::vector<std::uint64_t>{1, 2, 3})) << "what was accepted is still delivered";
  sut.reset();
  pool.join();
}

TEST_P(Shutdown, WhileAsyncPublishersWait_TheyAreRefused) {
  asio::thread_pool pool(1);
  BusHarness bus(GetParam(), quiet());
  auto sut = bus->subscribe(with_overflow(Overflow::backpressure, 1));
  bus.settle();
  std::vector<std::future<PublishResult>> results;
  for (std::uint64_t i = 1; i <= 5; ++i) {
    results.push_back(async_publish(*bus, note(i), asio::bind_executor(pool, asio::use_future)));
    bus.settle();
  }
  bus->close();
  std::uint64_t accepted = 0;
  for (auto& result : results) {
    const PublishResult publish = result.get();
    if (publish.accepted()) {
      ++accepted;
    } else {
      EXPECT_EQ(publish.status, PublishStatus::refused_closed);
    }
  }
  EXPECT_EQ(accepted, 1u);
  EXPECT_EQ(bus->snapshot().published, 1u);
  EXPECT_EQ(bus->snapshot().publish_waiting, 0u);
  EXPECT_EQ(stream_text(sut), "1 end:bus_closed");
  pool.join();
}

// Publishers run into the closing bus from plain publish, batches and a full ingress of one.
TEST_P(Shutdown, WhilePublishersRun_AcceptedIsExactlyWhatWasDispatched) {
  for (int round = 0; round < 10; ++round) {
    BusHarness bus(GetParam(), quiet(1 + static_cast<std::size_t>(round) % 3));
    auto sut = bus->subscribe(Filter::all(), 1'000'000);
    std::atomic<std::uint64_t> accepted{0};
    std::atomic<int> running{0};
    std::vector<std::thread> publishers;
    for (int p = 0; p < 3; ++p) {
      publishers.emplace_back([&, p, publisher = bus->publisher()] {
        ++running;
        for (std::uint64_t i = 0;; ++i) {
          if (p == 0) {
            std::vector<EventDraft> batch;
            for (int n = 0; n < 3; ++n)
              batch.push_back(note(i));
            const PublishBatchResult result = publisher.publish_batch(batch);
            accepted += result.accepted;
            if (result.accepted < 3) return;
            continue;
          }
          if (!publisher.publish(note(i)).accepted()) return;
          ++accepted;
        }
      });
    }
    while (running != 3 || accepted < 20)
      std::this_thread::yield();
    bus->close();
    for (auto& publisher : publishers)
      publisher.join();
    const BusSnapshot snapshot = bus->snapshot();
    EXPECT_EQ(snapshot.published, accepted);
    EXPECT_EQ(snapshot.dispatched + snapshot.ingress_lost, accepted);
    EXPECT_EQ(snapshot.ingress_depth, 0u);
    EXPECT_EQ(sut.stats().matched, accepted);
    EXPECT_TRUE(check_balanced(snapshot));
  }
}

TEST_P(Shutdown, FromInsideACallback_IsCompletedByTheDispatcher) {
  BusHarness bus(GetParam(), quiet());
  std::vector<PublishStatus> statuses;
  auto closer = bus->subscribe_inline(named("closer", Filter::kind(EventKind::request)), [&](const EventRef&) {
    statuses.push_back(bus->publish(note(2)).status);
    bus->close();
    statuses.push_back(bus->publish(note(3)).status);
    bus->flush();
  });
  auto sut = bus->subscribe_all();
  bus->publish(note(1, routing_of(EventKind::request)));
  bus.settle();
  bus->close();
  ASSERT_EQ(statuses.size(), 2u);
  EXPECT_EQ(statuses[0], PublishStatus::accepted);
  EXPECT_EQ(statuses[1], PublishStatus::refused_closed);
  EXPECT_EQ(stream_text(sut), "1 2 end:bus_closed");
  EXPECT_TRUE(check_balanced(*bus));
}

TEST_P(Shutdown, FromInsideAnOnDropHook_IsCompleted) {
  BusHarness bus(GetParam(), quiet());
  auto options = with_overflow(Overflow::drop_newest, 1);
  options.on_drop = [&](const EventRef&) { bus->close(); };
  auto sut = bus->subscribe(options);
  publish_notes(*bus, 1, 2);
  bus.settle();
  bus->close();
  EXPECT_EQ(stream_text(sut), "1 gap2-2(1) end:bus_closed");
}

TEST_P(Shutdown, WhileReceiversBlock_AllAreWoken) {
  BusHarness bus(GetParam(), quiet());
  std::vector<std::thread> readers;
  std::atomic<int> ended{0};
  for (const WaitStrategy wait : {WaitStrategy::block, WaitStrategy::phased, WaitStrategy::spin}) {
    SubscriptionOptions options;
    options.wait = wait;
    readers.emplace_back([&ended, subscription = bus->subscribe(options)]() mutable {
      for (const EventRef& event : subscription)
        (void)event;
      ++ended;
    });
  }
  publish_notes(*bus, 1, 10);
  bus.destroy();
  for (auto& reader : readers)
    reader.join();
  EXPECT_EQ(ended, 3);
}

TEST_P(Shutdown, SubscriptionsLetGoBeforeDuringAndAfter_LeakNothing) {
  std::atomic<int> alive{0};
  std::optional<Subscription> after;
  {
    BusOptions options = quiet();
    options.history_events = 10;
    BusHarness bus(GetParam(), std::move(options));
    auto before = std::make_optional(bus->subscribe_all());
    auto letters = bus->subscribe_dead_letters();
    auto small = bus->subscribe(with_overflow(Overflow::drop_oldest, 1));
    after = bus->subscribe_all();
    for (int i = 0; i < 20; ++i)
      bus->publish(make_event(Tracked(alive), Routing{}));
    before.reset();
    for (int i = 0; i < 20; ++i)
      bus->publish(make_event(Tracked(alive), Routing{}));
  }
  EXPECT_EQ(alive, 40) << "in the one queue that is left";
  after.reset();
  EXPECT_EQ(alive, 0);
}

// A publisher that must wait for room is let go with an answer, also when nobody dispatches any more.
TEST_P(Shutdown, PublisherStuckBehindABusyDispatcher_ComesBack) {
  if (GetParam() == Engine::manual) GTEST_SKIP() << "publishers never wait there";
  BusHarness bus(GetParam(), quiet(1));
  std::promise<void> entered;
  std::promise<void> go_on;
  auto busy = bus->subscribe_inline(named("busy"), [&](const EventRef& event) {
    if (event->sequence() != 1) return;
    entered.set_value();
    go_on.get_future().wait();
  });
  std::thread first([&] { bus->publish(note(1)); });
  entered.get_future().wait();
  std::atomic<int> answered{0};
  std::vector<std::thread> waiting;
  for (int i = 0; i < 3; ++i) {
    waiting.emplace_back([&, publisher = bus->publisher()] {
      const PublishResult result = publisher.publish(note(2));
      EXPECT_NE(result.status, PublishStatus::refused_full);
      ++answered;
    });
  }
  std::thread closer([&] { bus->close(); });
  std::this_thread::yield();
  go_on.set_value();
  first.join();
  closer.join();
  for (auto& thread : waiting)
    thread.join();
  EXPECT_EQ(answered, 3);
  EXPECT_TRUE(check_balanced(*bus));
  EXPECT_EQ(bus->snapshot().ingress_depth, 0u);
}

INSTANTIATE_TEST_SUITE_P(All, Shutdown,
                         ::testing::Values(Engine::combining, Engine::manual, Engine::thread, Engine::executor),
                         [](const auto& instance) { return name_of(instance.param); });

}  // namespace
}  // namespace sharingbus

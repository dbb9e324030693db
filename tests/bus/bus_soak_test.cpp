// Conservation over many events: publishers at full speed, one consumer for every overflow policy, some for filters and
// one by callback, and at the end nothing is uncounted. SHARINGBUS_SOAK_EVENTS says how many events (default 10^7).
#include <atomic>
#include <chrono>
#include <cinttypes>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <boost/asio/thread_pool.hpp>
#include <gtest/gtest.h>

#include "bus/async.hpp"
#include "bus/sharing_bus.hpp"
#include "tests/bus/stream_text.hpp"
#include "tests/bus/test_events.hpp"
#include "tests/support/bus_oracle.hpp"

namespace sharingbus {
namespace {

using namespace test;

constexpr std::uint64_t kPublishers = 2;

/// Adds up what one subscription gets, and looks that sequences rise.
class Sums {
 public:
  void see(const EventRef& event) { see(event->sequence()); }
  void see(std::uint64_t sequence) {
    if (sequence <= last_) ++out_of_order_;
    last_ = sequence;
    ++events_;
  }
  void see(const Gap& gap) {
    if (gap.first <= last_ || gap.last < gap.first || gap.count > gap.last - gap.first + 1) ++out_of_order_;
    last_ = gap.last;
    lost_ += gap.count;
  }
  /// `matched` unless it is not known.
  void verify_and_print(const SubscriptionStats& stats, std::optional<std::uint64_t> matched) const {
    const std::uint64_t uncounted = stats.matched - events_ - lost_;
    std::printf("  %-18s matched %12" PRIu64 "  received %12" PRIu64 "  lost %12" PRIu64 "  high water %8" PRIu64
                "  uncounted %" PRIu64 "\n",
                stats.name.c_str(), stats.matched, stats.received, stats.lagged, stats.high_water, uncounted);
    EXPECT_EQ(uncounted, 0u) << stats.name;
    EXPECT_EQ(stats.received, events_);
    EXPECT_EQ(stats.lagged, lost_);
    EXPECT_EQ(stats.matched, matched.value_or(stats.matched));
    EXPECT_EQ(out_of_order_, 0u);
    EXPECT_TRUE(stats.balanced());
  }
  [[nodiscard]] std::uint64_t events() const { return events_; }

 private:
  std::uint64_t events_ = 0, lost_ = 0, last_ = 0, out_of_order_ = 0;
};

/// Reads to the end by `lend`, on a thread of its own.
class Consumer {
 public:
  Consumer(Subscription subscription, std::optional<std::uint64_t> matched)
      : should_match_(matched), subscription_(std::move(subscription)), thread_([this] { run(); }) {}
  void join() { thread_.join(); }
  void verify_and_print() const { sums_.verify_and_print(subscription_.stats(), should_match_); }
  [[nodiscard]] std::uint64_t events() const { return sums_.events(); }

 private:
  void run() {
    for (;;) {
      Lent lent = subscription_.lend();
      if (lent.empty()) {
        // Waits; what comes is taken on its own.
        const Received next = subscription_.receive();
        if (next.closed() != nullptr) return;
        if (next.event() != nullptr) sums_.see(*next.event());
        if (next.gap() != nullptr) sums_.see(*next.gap());
        continue;
      }
      if (lent.closed() != nullptr) return;
      for (const EventRef& event : lent.events())
        sums_.see(event);
      if (lent.gap() != nullptr) sums_.see(*lent.gap());
    }
  }

  const std::optional<std::uint64_t> should_match_;
  Subscription subscription_;
  Sums sums_;
  std::thread thread_;
};

void publish(const Publisher& publisher, std::uint64_t p, std::uint64_t events) {
  constexpr std::uint64_t kBatch = 128;
  std::vector<EventDraft> batch;
  const auto next = [&](std::uint64_t i) {
    // Every tenth is of the other kind.
    Routing routing = routing_of(i % 10 == 0 ? EventKind::request : EventKind::custom);
    if (i % 10 == 0) routing.connector_uid = uuid(p);
    return note(i, std::move(routing));
  };
  // Mostly batches, because every single event wakes all that sleep.
  for (std::uint64_t i = 0; i < events;) {
    if (i + kBatch <= events) {
      batch.clear();
      for (std::uint64_t n = 0; n < kBatch; ++n)
        batch.push_back(next(i++));
      ASSERT_EQ(publisher.publish_batch(batch).accepted, kBatch);
    }
    if (i < events) {
      ASSERT_TRUE(publisher.publish(next(i++)).accepted());
    }
  }
}

TEST(BusSoak, ManyEvents_NoneIsUncounted) {
  const char* const given = std::getenv("SHARINGBUS_SOAK_EVENTS");
  const std::uint64_t each = (given != nullptr ? std::strtoull(given, nullptr, 10) : 10'000'000) / kPublishers;
  const std::uint64_t events = each * kPublishers;
  const std::uint64_t requests_each = (each + 9) / 10;
  BusOptions options;
  options.log = nullptr;
  options.stages.clear();
  options.history_events = 1000;
  SharingBus bus(std::move(options));

  std::atomic<std::uint64_t> told{0};
  std::vector<std::unique_ptr<Consumer>> consumers;
  const auto consume = [&](SubscriptionOptions consumer, std::optional<std::uint64_t> matched) {
    consumers.push_back(std::make_unique<Consumer>(bus.subscribe(std::move(consumer)), matched));
  };
  consume(named("large", Filter::all(), std::size_t{1} << 16), events);
  consume(named("small", Filter::all(), 16), events);
  consume(with_overflow(Overflow::drop_oldest, 1024, "drop_oldest"), events);
  auto bytes = with_overflow(Overflow::drop_newest, 4096, "bytes");
  bytes.capacity_bytes = 100'000;
  bytes.on_drop = [&](const EventRef&) { ++told; };
  consume(std::move(bytes), events);
  auto latest = with_overflow(Overflow::latest_per_key, 64, "latest_per_key");
  latest.filter = Filter::kind(EventKind::request);
  consume(std::move(latest), requests_each * kPublishers);
  consume(named("filtered", Filter::connector_uid(uuid(1)), 4096), requests_each);
  consume(with_overflow(Overflow::backpressure, 1024, "backpressure"), events);
  // Goes when it cannot keep up, with books that balance.
  consume(with_overflow(Overflow::close_subscriber, std::size_t{1} << 16, "close_subscriber"), std::nullopt);
  boost::asio::thread_pool pool(1);
  Sums called;
  CallbackSubscription callback =
      subscribe_on(bus, pool.get_executor(), named("callback", Filter::connector_uid(uuid(0)), 256),
                   [&called](const Received& next) {
                     if (next.event() != nullptr) called.see(*next.event());
                     if (next.gap() != nullptr) called.see(*next.gap());
                   });
  std::uint64_t inline_calls = 0;
  auto counted = bus.subscribe_inline(named("inline"), [&](const EventRef&) { ++inline_calls; });

  const auto begin = std::chrono::steady_clock::now();
  std::vector<std::thread> publishers;
  for (std::uint64_t p = 0; p < kPublishers; ++p)
    publishers.emplace_back([publisher = bus.publisher(), p, each] { publish(publisher, p, each); });
  for (auto& publisher : publishers)
    publisher.join();
  bus.close();
  for (auto& consumer : consumers)
    consumer->join();
  pool.join();
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - begin;

  const BusSnapshot snapshot = bus.snapshot();
  std::uint64_t deliveries = inline_calls;
  std::uint64_t lagged = 0;
  for (const auto& consumer : consumers) {
    consumer->verify_and_print();
    deliveries += consumer->events();
  }
  called.verify_and_print(callback.stats(), requests_each);
  deliveries += called.events();
  for (const SubscriptionStats& stats : snapshot.subscriptions)
    lagged += stats.lagged;
  std::printf("events %" PRIu64 "  deliveries %" PRIu64 "  lag %" PRIu64 "  uncounted %" PRIu64
              "  seconds %.1f  events/s %.2e\n",
              events, deliveries, lagged, snapshot.published - snapshot.dispatched, seconds.count(),
              static_cast<double>(events) / seconds.count());
  EXPECT_EQ(snapshot.published, events);
  EXPECT_EQ(snapshot.dispatched, events);
  EXPECT_EQ(snapshot.ingress_lost, 0u);
  EXPECT_EQ(inline_calls, events);
  EXPECT_TRUE(check_balanced(snapshot));
  EXPECT_EQ(told, snapshot.subscriptions[3].lagged) << "on_drop, each loss once";
}

}  // namespace
}  // namespace sharingbus

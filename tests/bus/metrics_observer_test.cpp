#include "bus/observers/metrics_observer.hpp"

#include <optional>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

#include "tests/bus/test_events.hpp"
#include "tests/support/bus_oracle.hpp"

namespace sharingbus {
namespace {

using namespace test;

TEST(MetricsObserver, Events_AreCountedByKindWithTheirBytes) {
  SharingBus bus;
  const MetricsObserver sut(bus);
  auto all = bus.subscribe_all();
  for (std::uint64_t i = 0; i < 7; ++i)
    bus.publish(note(i, routing_of(EventKind::request)));
  for (int i = 0; i < 3; ++i)
    bus.publish(Beat{});
  EXPECT_EQ(sut.events(), 10u);
  EXPECT_EQ(sut.events(EventKind::request), 7u);
  EXPECT_EQ(sut.events(EventKind::heartbeat), 3u);
  EXPECT_EQ(sut.events(EventKind::custom), 0u);
  std::uint64_t bytes = 0;
  for (Received next = all.try_receive(); next.event() != nullptr; next = all.try_receive()) {
    bytes += (*next.event())->size_bytes();
  }
  EXPECT_EQ(sut.bytes(), bytes);
  EXPECT_EQ(sut.stats().name, "metrics");
  EXPECT_EQ(sut.stats().received, 10u);
}

// O: the metrics subscriber is exact under any load (it aggregates, it does not lose).
TEST(MetricsObserver, ManyPublishersAtOnce_AreCountedExactly) {
  SharingBus bus;
  const MetricsObserver sut(bus);
  std::vector<std::thread> publishers;
  for (int p = 0; p < 4; ++p) {
    publishers.emplace_back([&, p] {
      const Publisher publisher = bus.publisher();
      for (std::uint64_t i = 0; i < 2000; ++i) {
        publisher.publish(note(i, routing_of(p % 2 == 0 ? EventKind::request : EventKind::response)));
      }
    });
  }
  for (auto& publisher : publishers)
    publisher.join();
  bus.close();
  EXPECT_EQ(sut.events(), 8000u);
  EXPECT_EQ(sut.events(EventKind::request), 4000u);
  EXPECT_EQ(sut.events(EventKind::response), 4000u);
  EXPECT_EQ(sut.stats().lagged, 0u);
  EXPECT_TRUE(check_balanced(bus));
}

TEST(MetricsObserver, Filter_IsHonoured) {
  SharingBus bus;
  const MetricsObserver sut(bus, Filter::kind(EventKind::request));
  bus.publish(note(1));
  bus.publish(note(2, routing_of(EventKind::request)));
  EXPECT_EQ(sut.events(), 1u);
}

TEST(MetricsObserver, OutlivingTheBus_KeepsItsFigures) {
  std::optional<SharingBus> bus(std::in_place);
  const MetricsObserver sut(*bus);
  bus->publish(note(1));
  bus.reset();
  EXPECT_EQ(sut.events(), 1u);
}

TEST(MetricsObserver, LetGo_LeavesTheBus) {
  SharingBus bus;
  { const MetricsObserver sut(bus); }
  bus.publish(note(1));
  EXPECT_EQ(bus.subscriber_count(), 0u);
}

TEST(MetricsObserver, Ledger_BalancesForEverySubscription) {
  BusOptions options;
  options.engine = Engine::manual;
  options.log = nullptr;
  SharingBus bus(std::move(options));
  const MetricsObserver sut(bus);
  SubscriptionOptions small;
  small.capacity = 2;
  auto slow = bus.subscribe(std::move(small));
  auto gone = bus.subscribe_all();
  for (std::uint64_t i = 0; i < 5; ++i)
    bus.publish(note(i));
  while (bus.poll() != 0) {
  }
  (void)slow.try_receive();
  gone = Subscription();
  bus.publish(note(5));
  while (bus.poll() != 0) {
  }
  const BusLedger ledger = sut.ledger();
  EXPECT_TRUE(ledger.balanced());
  EXPECT_EQ(ledger.bus.retired.discarded, 5u);
  ASSERT_EQ(ledger.bus.subscriptions.size(), 2u);
  EXPECT_EQ(ledger.bus.subscriptions[1].lagged, 3u);
  BusLedger wrong = ledger;
  ++wrong.bus.subscriptions[1].received;
  EXPECT_FALSE(wrong.balanced());
}

}  // namespace
}  // namespace sharingbus

// O: introspection. A snapshot of every subscription and of the bus; its figures balance at every quiet moment, for
// every overflow policy (guarantee 2).
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <boost/asio/bind_executor.hpp>
#include <boost/asio/io_context.hpp>
#include <gtest/gtest.h>

#include "bus/async.hpp"
#include "tests/bus/stream_text.hpp"
#include "tests/bus/test_events.hpp"
#include "tests/support/bus_oracle.hpp"

namespace sharingbus {
namespace {

using namespace test;

TEST(Ledger, SubscriptionStats_SayAllThereIsToKnow) {
  SharingBus bus(manual_options());
  auto options = with_overflow(Overflow::drop_oldest, 7, "mine");
  options.filter = Filter::kind(EventKind::request);
  options.capacity_bytes = 1'000'000;
  auto sut = bus.subscribe(options);
  publish_notes(bus, 1, 3, routing_of(EventKind::request));
  bus.publish(note(4));
  bus.poll();
  (void)sut.try_receive();
  const SubscriptionStats stats = sut.stats();
  EXPECT_EQ(stats.id, sut.id());
  EXPECT_EQ(stats.name, "mine");
  EXPECT_EQ(stats.filter, Filter::kind(EventKind::request).text());
  EXPECT_EQ(stats.capacity, 7u);
  EXPECT_EQ(stats.overflow, Overflow::drop_oldest);
  EXPECT_EQ(stats.matched, 3u);
  EXPECT_EQ(stats.received, 1u);
  EXPECT_EQ(stats.lagged, 0u);
  EXPECT_EQ(stats.discarded, 0u);
  EXPECT_EQ(stats.queued, 2u);
  EXPECT_EQ(stats.queued_bytes, 2 * note(0)->size_bytes());
  EXPECT_EQ(stats.high_water, 3u);
  EXPECT_EQ(stats.callback_failures, 0u);
  EXPECT_EQ(stats.last_received_sequence, 1u);
  EXPECT_FALSE(stats.closed);
  EXPECT_TRUE(stats.balanced());
}

class LedgerOf : public ::testing::TestWithParam<Overflow> {};

TEST_P(LedgerOf, QueuedBytes_AreTheSumOfWhatIsQueuedWhereSomethingNeedsIt) {
  const bool displaces = GetParam() == Overflow::drop_oldest || GetParam() == Overflow::latest_per_key;
  for (const std::size_t bound : {std::size_t{0}, std::size_t{1'000'000}}) {
    if (bound != 0 && GetParam() == Overflow::backpressure) continue;
    SharingBus bus;
    auto options = with_overflow(GetParam(), 10);
    options.capacity_bytes = bound;
    if (GetParam() == Overflow::latest_per_key) {
      options.key = [](const BusEvent& event) { return std::to_string(event.sequence()); };
    }
    auto sut = bus.subscribe(options);
    std::size_t sum = 0;
    for (std::size_t i = 1; i <= 4; ++i) {
      EventDraft draft = make_event(Note{i}, Routing{}, EventOrigin::user, 0, 10 * i);
      sum += draft->size_bytes();
      bus.publish(std::move(draft));
    }
    EXPECT_EQ(sut.stats().queued_bytes, bound != 0 || displaces ? sum : 0) << "bound " << bound;
    while (!sut.try_receive().empty()) {
    }
    EXPECT_EQ(sut.stats().queued_bytes, 0u) << "bound " << bound;
  }
}

TEST_P(LedgerOf, EveryQuietMoment_Balances) {
  BusOptions bus_options = manual_options(8);
  bus_options.log = nullptr;
  bus_options.history_events = 5;
  SharingBus bus(std::move(bus_options));
  auto letters = bus.subscribe_dead_letters(named("letters", Filter::all(), 4));
  std::vector<Subscription> live;
  for (std::uint64_t i = 0; i < 300; ++i) {
    bus.publish(note(i, with_uid(uuid(i % 4))));
    auto options = with_overflow(GetParam(), 1 + i % 5);
    if (i % 3 == 0 && GetParam() != Overflow::backpressure) options.capacity_bytes = 400;
    options.start = i % 2 == 0 ? Start::last(i % 8) : Start::sequence(i);
    options.slow.lost = 3;
    if (i % 5 == 0) live.push_back(bus.subscribe(options));
    if (i % 11 == 0) live.erase(live.begin());
    if (i % 13 == 0 && !live.empty()) live.back().unsubscribe();
    if (i % 3 == 0) bus.poll(1 + i % 6);
    if (!live.empty()) (void)live[i % live.size()].try_receive();
    if (!live.empty() && i % 7 == 0) (void)live[i % live.size()].lend(2);
    ASSERT_TRUE(check_balanced(bus)) << i;
  }
  live.clear();
  bus.close();
  EXPECT_TRUE(check_balanced(bus));
  EXPECT_GT(bus.snapshot().dead_letters, 0u);
  EXPECT_GT(bus.snapshot().retired.lagged, 0u);
  EXPECT_GT(bus.snapshot().retired.received, 0u);
}

INSTANTIATE_TEST_SUITE_P(Policies, LedgerOf, ::testing::ValuesIn(kEveryOverflow),
                         [](const auto& instance) { return std::string(to_string(instance.param)); });

TEST(Ledger, BusSnapshot_CountsEveryWayAnEventCanGo) {
  namespace asio = boost::asio;
  asio::io_context context;
  BusOptions options = manual_options(3);
  options.log = nullptr;
  options.history_events = 4;
  SharingBus bus(std::move(options));
  auto letters = bus.subscribe_dead_letters(named("letters"));
  auto sut = bus.subscribe(with_overflow(Overflow::drop_newest, 2));
  publish_notes(bus, 1, 4);  // 1 gives way
  (void)bus.try_publish(note(5));
  async_publish(bus, note(6), asio::bind_executor(context, [](boost::system::error_code, PublishResult) {}));
  BusSnapshot snapshot = bus.snapshot();
  EXPECT_EQ(snapshot.published, 4u);
  EXPECT_EQ(snapshot.ingress_refused, 1u);
  EXPECT_EQ(snapshot.publish_waiting, 1u);
  EXPECT_EQ(snapshot.publish_waited, 1u);
  EXPECT_EQ(snapshot.history_depth, 0u);
  EXPECT_FALSE(snapshot.closed);
  poll_all(bus);
  context.run();
  snapshot = bus.snapshot();
  EXPECT_EQ(snapshot.published, 5u);
  EXPECT_EQ(snapshot.dispatched, 4u);
  EXPECT_EQ(snapshot.ingress_lost, 1u);
  EXPECT_EQ(snapshot.ingress_depth, 0u);
  EXPECT_EQ(snapshot.publish_waiting, 0u);
  EXPECT_EQ(snapshot.history_depth, 4u);
  EXPECT_EQ(snapshot.dead_letters, 3u);
  ASSERT_EQ(snapshot.subscriptions.size(), 2u);
  ASSERT_EQ(snapshot.stages.size(), default_stages().size());
  EXPECT_TRUE(check_balanced(snapshot));
}

TEST(Ledger, ClosedBus_KeepsItsBooks) {
  SharingBus bus;
  auto sut = bus.subscribe_all();
  publish_notes(bus, 1, 5);
  bus.close();
  const BusSnapshot snapshot = bus.snapshot();
  EXPECT_TRUE(snapshot.closed);
  EXPECT_EQ(snapshot.published, 5u);
  EXPECT_EQ(snapshot.subscriptions.size(), 1u);
  EXPECT_TRUE(check_balanced(snapshot));
}

}  // namespace
}  // namespace sharingbus

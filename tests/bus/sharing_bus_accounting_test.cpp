#include <atomic>
#include <future>
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

// Guarantee 2, at every quiet moment of a life with all the ways an event can go.
TEST(Accounting, EveryQuietMoment_Balances) {
  SharingBus sut(manual_options(8));
  auto read = sut.subscribe(named("read", Filter::all(), 4));
  auto ignored = sut.subscribe(named("ignored", Filter::all(), 3));
  auto inline_all = sut.subscribe_inline(named("inline"), [](const EventRef&) {});
  std::vector<Subscription> transient;
  for (std::uint64_t i = 0; i < 300; ++i) {
    sut.publish(note(i));
    if (i % 7 == 0) transient.push_back(sut.subscribe(Filter::all(), 1 + i % 5));
    if (i % 11 == 0 && !transient.empty()) transient.erase(transient.begin());
    if (i % 13 == 0 && !transient.empty()) transient.back().unsubscribe();
    if (i % 3 == 0) sut.poll(1 + i % 6);
    if (i % 2 == 0) (void)read.try_receive();
    ASSERT_TRUE(check_balanced(sut)) << i;
  }
  transient.clear();
  sut.close();
  EXPECT_TRUE(check_balanced(sut));
  const BusSnapshot snapshot = sut.snapshot();
  EXPECT_EQ(snapshot.published, 300u);
  EXPECT_GT(snapshot.ingress_lost, 0u);
  EXPECT_EQ(snapshot.dispatched + snapshot.ingress_lost, 300u);
  EXPECT_EQ(snapshot.subscriptions.size(), 3u);
  EXPECT_GT(snapshot.retired.subscriptions, 0u);
  // The inline one saw the whole life, so what it missed was lost at the ingress.
  EXPECT_EQ(inline_all.stats().matched, 300u);
  EXPECT_EQ(inline_all.stats().lagged, snapshot.ingress_lost);
}

TEST(Accounting, RetiredSubscriptions_AddUp) {
  SharingBus sut;
  {
    auto one = sut.subscribe(Filter::all(), 2);
    for (std::uint64_t i = 0; i < 5; ++i)
      sut.publish(note(i));
    (void)one.try_receive();
  }
  {
    auto two = sut.subscribe(Filter::all(), 10);
    sut.publish(note(9));
    (void)two.try_receive();
    two.unsubscribe();
  }
  sut.publish(note(10));
  const RetiredTotals retired = sut.snapshot().retired;
  EXPECT_EQ(retired.subscriptions, 2u);
  EXPECT_EQ(retired.matched, 6u);
  EXPECT_EQ(retired.received, 2u);
  EXPECT_EQ(retired.lagged, 3u);
  EXPECT_EQ(retired.discarded, 1u);
}

// Guarantee 3: one that never reads and one whose thread is stuck for a long time delay nobody.
TEST(Isolation, ReaderThatNeverReadsOrIsStuck_DelaysNobody) {
  const Watchdog watchdog("Isolation");
  SharingBus sut;
  auto never = sut.subscribe(named("never", Filter::all(), 1));
  auto stuck = sut.subscribe(named("stuck", Filter::all(), 1));
  auto good = sut.subscribe(named("good", Filter::all(), 10'000));
  std::promise<void> go_on;
  std::promise<void> received;
  std::thread reader([&] {
    (void)stuck.receive();
    received.set_value();
    go_on.get_future().wait();
  });
  sut.publish(note(0));
  received.get_future().wait();
  for (std::uint64_t i = 1; i < 5000; ++i)
    EXPECT_TRUE(sut.publish(note(i)).accepted());
  const auto values = drain_values(good);
  EXPECT_EQ(values.size(), 5000u);
  EXPECT_EQ(good.stats().lagged, 0u);
  EXPECT_EQ(never.stats().lagged, 4999u);
  EXPECT_EQ(stuck.stats().lagged, 4998u);
  go_on.set_value();
  reader.join();
  EXPECT_TRUE(check_balanced(sut));
}

// Guarantee 4: memory is bounded by configuration; an event lives until its last receiver lets go of it.
TEST(Memory, ManyEventsAndSlowReaders_KeepAtMostWhatTheQueuesHold) {
  std::atomic<int> alive{0};
  SharingBus sut;
  auto small = sut.subscribe(Filter::all(), 3);
  auto large = sut.subscribe(Filter::all(), 20);
  for (int i = 0; i < 1000; ++i) {
    sut.publish(make_event(Tracked(alive), Routing{}));
    ASSERT_LE(alive, 20);
  }
  EXPECT_EQ(alive, 20);
  std::vector<EventRef> kept;
  for (int i = 0; i < 20; ++i) {
    const Received received = large.try_receive();
    if (i < 5) kept.push_back(*received.event());
  }
  EXPECT_EQ(alive, 5);  // three of them are in the small queue, too
  kept.clear();
  EXPECT_EQ(alive, 3);
  small = {};
  sut.close();
  EXPECT_EQ(alive, 0);
}

TEST(Memory, ManualIngress_KeepsAtMostItsCapacity) {
  std::atomic<int> alive{0};
  SharingBus sut(manual_options(16));
  for (int i = 0; i < 100; ++i)
    sut.publish(make_event(Tracked(alive), Routing{}));
  // Those that gave way wait for their place in the order until the next poll.
  sut.poll();
  EXPECT_EQ(alive, 0);
  EXPECT_EQ(sut.snapshot().ingress_lost, 84u);
}

TEST(Memory, ManualIngressThatNobodyPolls_IsBoundedToo) {
  std::atomic<int> alive{0};
  SharingBus sut(manual_options(16));
  auto all = sut.subscribe_all();
  for (int i = 0; i < 1000; ++i) {
    sut.publish(make_event(Tracked(alive), Routing{}));
    ASSERT_LE(alive, 2 * 16 + 1);
  }
  sut.poll();
  const Received gap = all.try_receive();
  ASSERT_NE(gap.gap(), nullptr);
  EXPECT_EQ(*gap.gap(), (Gap{1, 984, 984}));
  EXPECT_TRUE(check_balanced(sut));
}

}  // namespace
}  // namespace sharingbus

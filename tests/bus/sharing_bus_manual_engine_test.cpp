#include <atomic>
#include <chrono>
#include <memory>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "bus/sharing_bus.hpp"
#include "tests/bus/test_events.hpp"
#include "tests/support/bus_oracle.hpp"
#include "tests/support/log_capture.hpp"
#include "tests/support/manual_clock.hpp"

namespace sharingbus {
namespace {

using namespace test;

TEST(ManualEngine, WithoutPoll_NothingMoves) {
  SharingBus sut(manual_options());
  auto all = sut.subscribe_all();
  EXPECT_TRUE(sut.publish(note(1)).accepted());
  EXPECT_TRUE(all.try_receive().empty());
  EXPECT_EQ(sut.snapshot().ingress_depth, 1u);
  EXPECT_EQ(sut.snapshot().dispatched, 0u);
  EXPECT_TRUE(check_balanced(sut));
  EXPECT_EQ(sut.poll(), 1u);
  EXPECT_EQ(drain_values(all), std::vector<std::uint64_t>{1});
  EXPECT_EQ(sut.poll(), 0u);
}

TEST(ManualEngine, PollWithALimit_DispatchesThatMany) {
  SharingBus sut(manual_options());
  auto all = sut.subscribe(Filter::all(), 1000);
  for (std::uint64_t i = 0; i < 500; ++i)
    sut.publish(note(i));
  EXPECT_EQ(sut.poll(0), 0u);
  EXPECT_EQ(sut.poll(3), 3u);
  EXPECT_EQ(drain_values(all), (std::vector<std::uint64_t>{0, 1, 2}));
  EXPECT_EQ(sut.poll(300), 300u);
  EXPECT_EQ(sut.snapshot().ingress_depth, 197u);
  EXPECT_EQ(sut.poll(), 197u);
  EXPECT_EQ(drain_values(all).size(), 497u);
}

TEST(ManualEngine, PollInsideACallback_DoesNothing) {
  SharingBus sut(manual_options());
  std::size_t inner = 99;
  auto subscription = sut.subscribe_inline(named("poller"), [&](const EventRef&) { inner = sut.poll(); });
  sut.publish(note(1));
  sut.publish(note(2));
  EXPECT_EQ(sut.poll(1), 1u);
  EXPECT_EQ(inner, 0u);
}

TEST(ManualEngine, TryPublishToAFullIngress_IsRefused) {
  SharingBus sut(manual_options(2));
  auto all = sut.subscribe_all();
  EXPECT_TRUE(sut.try_publish(note(1)).accepted());
  EXPECT_TRUE(sut.try_publish(note(2)).accepted());
  EXPECT_EQ(sut.try_publish(note(3)).status, PublishStatus::refused_full);
  sut.poll();
  EXPECT_TRUE(sut.try_publish(note(4)).accepted());
  sut.poll();
  EXPECT_EQ(drain_values(all), (std::vector<std::uint64_t>{1, 2, 4}));
  EXPECT_EQ(sut.snapshot().ingress_refused, 1u);
  EXPECT_EQ(sut.snapshot().ingress_lost, 0u);
}

// The oldest undispatched event gives way, is counted on the bus, warned about, and shows as a gap to every subscriber
// that it would have matched.
TEST(ManualEngine, PublishToAFullIngress_TheOldestGivesWay) {
  LogCapture log;
  BusOptions options = manual_options(3);
  options.log = log.sink();
  SharingBus sut(std::move(options));
  auto all = sut.subscribe(named("all"));
  auto mine = sut.subscribe(named("mine", Filter::connector_uid(uuid(1))));
  auto others = sut.subscribe(named("others", Filter::connector_uid(uuid(2))));
  int calls = 0;
  auto inline_all = sut.subscribe_inline(named("inline"), [&](const EventRef&) { ++calls; });
  sut.publish(note(1, with_uid(uuid(1))));
  sut.publish(note(2));
  for (std::uint64_t i = 3; i <= 5; ++i) {
    const PublishResult result = sut.publish(note(i, with_uid(uuid(1))));
    EXPECT_TRUE(result.accepted());
    EXPECT_EQ(result.sequence, i);
  }
  EXPECT_EQ(sut.poll(), 3u);

  const Received gap_of_all = all.try_receive();
  ASSERT_NE(gap_of_all.gap(), nullptr);
  EXPECT_EQ(*gap_of_all.gap(), (Gap{1, 2, 2}));
  EXPECT_EQ(drain_values(all), (std::vector<std::uint64_t>{3, 4, 5}));
  const Received gap_of_mine = mine.try_receive();
  ASSERT_NE(gap_of_mine.gap(), nullptr);
  EXPECT_EQ(*gap_of_mine.gap(), (Gap{1, 1, 1}));
  EXPECT_EQ(drain_values(mine), (std::vector<std::uint64_t>{3, 4, 5}));
  EXPECT_TRUE(others.try_receive().empty());
  EXPECT_EQ(calls, 3);
  EXPECT_EQ(inline_all.stats().lagged, 2u);

  const BusSnapshot snapshot = sut.snapshot();
  EXPECT_EQ(snapshot.published, 5u);
  EXPECT_EQ(snapshot.dispatched, 3u);
  EXPECT_EQ(snapshot.ingress_lost, 2u);
  EXPECT_EQ(log.count("ingress"), 1u);
  EXPECT_TRUE(check_balanced(snapshot));
}

TEST(ManualEngine, IngressLossAfterQueuedEvents_ShowsAtItsPlace) {
  SharingBus sut(manual_options(2));
  auto all = sut.subscribe_all();
  sut.publish(note(1));
  sut.poll();
  sut.publish(note(2));
  sut.publish(note(3));
  sut.publish(note(4));
  sut.poll();
  EXPECT_EQ(value_of(all.try_receive()), 1u);
  const Received gap = all.try_receive();
  ASSERT_NE(gap.gap(), nullptr);
  EXPECT_EQ(*gap.gap(), (Gap{2, 2, 1}));
  EXPECT_EQ(drain_values(all), (std::vector<std::uint64_t>{3, 4}));
}

// Losses at the ingress and at the queue that follow each other are one hole.
TEST(ManualEngine, IngressAndQueueLossesInARow_AreOneGap) {
  SharingBus sut(manual_options(2));
  auto one = sut.subscribe(Filter::all(), 1);
  sut.publish(note(1));
  sut.publish(note(2));
  sut.poll();  // 1 queued, 2 lagged
  for (std::uint64_t i = 3; i <= 6; ++i)
    sut.publish(note(i));
  sut.poll();  // 3 and 4 lost at the ingress, 5 and 6 at the queue
  EXPECT_EQ(value_of(one.try_receive()), 1u);
  const Received gap = one.try_receive();
  ASSERT_NE(gap.gap(), nullptr);
  EXPECT_EQ(*gap.gap(), (Gap{2, 6, 5}));
  EXPECT_TRUE(check_balanced(sut));
}

TEST(ManualEngine, SubscribedBetweenEventsThatGiveWay_LosesOnlyItsOwn) {
  SharingBus sut(manual_options(2));
  sut.publish(note(1));
  auto late = sut.subscribe_all();
  for (std::uint64_t i = 2; i <= 4; ++i)
    sut.publish(note(i));
  sut.poll();
  const Received gap = late.try_receive();
  ASSERT_NE(gap.gap(), nullptr);
  EXPECT_EQ(*gap.gap(), (Gap{2, 2, 1}));
  EXPECT_EQ(drain_values(late), (std::vector<std::uint64_t>{3, 4}));
  EXPECT_EQ(late.stats().matched, 3u);
  EXPECT_TRUE(check_balanced(sut));
}

TEST(ManualEngine, UnsubscribedBeforeAnEventThatGivesWay_LosesNothing) {
  SharingBus sut(manual_options(2));
  auto all = sut.subscribe_all();
  all.unsubscribe();
  for (std::uint64_t i = 1; i <= 4; ++i)
    sut.publish(note(i));
  sut.poll();
  EXPECT_NE(all.try_receive().closed(), nullptr);
  EXPECT_EQ(all.stats().matched, 0u);
}

// Warned about once a second with the number.
TEST(ManualEngine, IngressLosses_AreLoggedOnceASecondWithTheNumber) {
  ManualTimerService clock;
  LogCapture log;
  BusOptions options = manual_options(1);
  options.clock = &clock;
  options.log = log.sink();
  SharingBus sut(std::move(options));
  for (std::uint64_t i = 0; i < 11; ++i)
    sut.publish(note(i));
  sut.poll();
  for (std::uint64_t i = 0; i < 11; ++i)
    sut.publish(note(i));
  sut.poll();
  EXPECT_EQ(log.count("ingress"), 1u);
  EXPECT_EQ(log.count("lost=1"), 1u);
  clock.advance(std::chrono::seconds(1));
  sut.publish(note(0));
  sut.publish(note(0));
  sut.poll();
  EXPECT_EQ(log.count("ingress"), 2u);
  EXPECT_EQ(log.count("lost=20"), 1u);
}

TEST(ManualEngine, EventThatGaveWay_IsDestroyed) {
  std::atomic<int> alive{0};
  SharingBus sut(manual_options(2));
  for (int i = 0; i < 10; ++i)
    sut.publish(make_event(Tracked(alive), Routing{}));
  sut.poll();
  EXPECT_EQ(alive, 0);
}

TEST(ManualEngine, Destroyed_DeliversWhatItHadAccepted) {
  Subscription all;
  {
    SharingBus sut(manual_options());
    all = sut.subscribe_all();
    sut.publish(note(1));
    sut.publish(note(2));
  }
  EXPECT_EQ(drain_values(all), (std::vector<std::uint64_t>{1, 2}));
  EXPECT_NE(all.try_receive().closed(), nullptr);
}

TEST(ManualEngine, PollOnAClosedBus_IsZero) {
  SharingBus sut(manual_options());
  sut.publish(note(1));
  sut.close();
  EXPECT_EQ(sut.poll(), 0u);
  EXPECT_EQ(sut.snapshot().dispatched, 1u);
}

TEST(CombiningEngine, PollOnAnIdleBus_IsZero) {
  SharingBus sut;
  auto all = sut.subscribe_all();
  EXPECT_EQ(sut.poll(), 0u);
  sut.publish(note(1));
  EXPECT_EQ(sut.poll(), 0u);
  EXPECT_EQ(drain_values(all), std::vector<std::uint64_t>{1});
}

}  // namespace
}  // namespace sharingbus

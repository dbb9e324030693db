#include <chrono>
#include <string>
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
using std::chrono::milliseconds;

// R: when the queue is full the new event is dropped for that subscriber alone and its `lagged` goes up by one.
TEST(Overflow, FullQueue_DropsTheNewEventForThatSubscriberAlone) {
  SharingBus sut;
  auto small = sut.subscribe(Filter::all(), 2);
  auto large = sut.subscribe(Filter::all(), 100);
  for (std::uint64_t i = 1; i <= 3; ++i)
    sut.publish(note(i));
  EXPECT_EQ(small.stats().lagged, 1u);
  EXPECT_EQ(large.stats().lagged, 0u);
  sut.publish(note(4));
  EXPECT_EQ(small.stats().lagged, 2u);
  EXPECT_EQ(drain_values(small), (std::vector<std::uint64_t>{1, 2}));
  EXPECT_EQ(drain_values(large), (std::vector<std::uint64_t>{1, 2, 3, 4}));
  EXPECT_TRUE(check_balanced(sut));
}

class ExactCapacity : public ::testing::TestWithParam<std::size_t> {};

TEST_P(ExactCapacity, Queue_HoldsExactlyItsCapacity) {
  const std::size_t capacity = GetParam();
  SharingBus sut;
  auto subscription = sut.subscribe(Filter::all(), capacity);
  // Twice round, so that the ring wraps.
  for (int round = 0; round < 3; ++round) {
    for (std::uint64_t i = 0; i < capacity + 1; ++i)
      sut.publish(note(i));
    EXPECT_EQ(subscription.stats().queued, capacity);
    EXPECT_EQ(subscription.stats().high_water, capacity);
    EXPECT_EQ(drain_values(subscription).size(), capacity);
    EXPECT_EQ(subscription.try_receive().empty(), true) << "the gap ended the drain and was consumed by it";
  }
  EXPECT_EQ(subscription.stats().lagged, 3u);
}

INSTANTIATE_TEST_SUITE_P(Sizes, ExactCapacity, ::testing::Values(1, 2, 3, 5, 7, 8, 100, 256));

// In band, at its place: after everything that was queued before the loss; how many and which range; then it goes on.
TEST(Gap, Loss_IsReportedAtItsPlaceWithRangeAndCount) {
  SharingBus sut;
  auto subscription = sut.subscribe(Filter::kind(EventKind::request), 2);
  const auto request = [&](std::uint64_t value) { sut.publish(note(value, routing_of(EventKind::request))); };
  request(1);            // sequence 1
  request(2);            // 2
  sut.publish(note(0));  // 3, not ours
  request(3);            // 4, lost
  sut.publish(note(0));  // 5
  request(4);            // 6, lost
  EXPECT_EQ(value_of(subscription.try_receive()), 1u);
  request(5);  // 7
  EXPECT_EQ(value_of(subscription.try_receive()), 2u);
  const Received gap = subscription.try_receive();
  ASSERT_NE(gap.gap(), nullptr);
  EXPECT_EQ(*gap.gap(), (Gap{4, 6, 2}));
  EXPECT_EQ(value_of(subscription.try_receive()), 5u);
  EXPECT_TRUE(subscription.try_receive().empty());
  EXPECT_TRUE(check_balanced(sut));
}

TEST(Gap, NothingFollows_IsStillReported) {
  SharingBus sut;
  auto subscription = sut.subscribe(Filter::all(), 1);
  for (std::uint64_t i = 1; i <= 4; ++i)
    sut.publish(note(i));
  EXPECT_EQ(value_of(subscription.try_receive()), 1u);
  const Received gap = subscription.receive_for(kPatience);
  ASSERT_NE(gap.gap(), nullptr);
  EXPECT_EQ(*gap.gap(), (Gap{2, 4, 3}));
  EXPECT_TRUE(subscription.try_receive().empty());
}

TEST(Gap, EveryOtherEventLost_KeepsEachGapApart) {
  SharingBus sut;
  auto subscription = sut.subscribe(Filter::all(), 3);
  std::vector<std::string> seen;
  const auto describe = [](const Received& received) {
    if (received.gap() != nullptr) {
      return "gap" + std::to_string(received.gap()->first) + "-" + std::to_string(received.gap()->last);
    }
    return std::to_string(value_of(received));
  };
  for (std::uint64_t i = 1; i <= 4; ++i)
    sut.publish(note(i));                                // 4 is lost
  seen.push_back(describe(subscription.try_receive()));  // 1
  sut.publish(note(5));
  sut.publish(note(6));                                  // lost
  seen.push_back(describe(subscription.try_receive()));  // 2
  sut.publish(note(7));
  sut.publish(note(8));  // lost
  sut.publish(note(9));  // lost
  for (int i = 0; i < 7; ++i) {
    const Received next = subscription.try_receive();
    if (!next.empty()) seen.push_back(describe(next));
  }
  EXPECT_EQ(seen, (std::vector<std::string>{"1", "2", "3", "gap4-4", "5", "gap6-6", "7", "gap8-9"}));
  EXPECT_TRUE(check_balanced(sut));
}

TEST(Gap, BeforeTheEnd_ComesBeforeClosed) {
  SharingBus sut;
  auto subscription = sut.subscribe(Filter::all(), 1);
  sut.publish(note(1));
  sut.publish(note(2));
  subscription.unsubscribe();
  EXPECT_EQ(value_of(subscription.try_receive()), 1u);
  EXPECT_NE(subscription.try_receive().gap(), nullptr);
  EXPECT_NE(subscription.try_receive().closed(), nullptr);
}

TEST(Gap, SlowReader_StreamIsExplainedCompletely) {
  auto recorder = std::make_shared<OrderRecorder>();
  BusOptions options;
  options.stages.push_back(recorder);
  SharingBus sut(std::move(options));
  StreamOracle oracle(recorder->track(Filter::kind(EventKind::request)));
  auto subscription = sut.subscribe(Filter::kind(EventKind::request), 3);
  for (std::uint64_t i = 0; i < 500; ++i) {
    sut.publish(note(i, routing_of(i % 3 == 0 ? EventKind::custom : EventKind::request)));
    if (i % 4 == 0) oracle.observe(subscription.try_receive());
  }
  sut.close();
  while (!oracle.ended())
    oracle.observe(subscription.receive());
  EXPECT_GT(oracle.lost(), 0u);
  EXPECT_TRUE(oracle.verify(subscription.stats()));
  EXPECT_EQ(recorder->out_of_order(), 0u);
}

// Guarantee 6: drops are logged at most once a second per subscription, with the count since.
TEST(DropLog, ManyDrops_AreLoggedOnceASecondPerSubscriptionWithTheCount) {
  ManualTimerService clock;
  LogCapture log;
  BusOptions options;
  options.clock = &clock;
  options.log = log.sink();
  SharingBus sut(std::move(options));
  auto slow = sut.subscribe(named("slow", Filter::all(), 1));
  auto other = sut.subscribe(named("other", Filter::all(), 1));
  auto fast = sut.subscribe(named("fast", Filter::all(), 10'000));
  for (std::uint64_t i = 0; i < 101; ++i)
    sut.publish(note(i));
  EXPECT_EQ(log.count("slow"), 1u);
  EXPECT_EQ(log.count("other"), 1u);
  EXPECT_EQ(log.count("fast"), 0u);
  EXPECT_EQ(log.count("lost=1"), 2u);
  clock.advance(milliseconds(999));
  sut.publish(note(0));
  EXPECT_EQ(log.lines().size(), 2u);
  clock.advance(milliseconds(1));
  sut.publish(note(0));
  EXPECT_EQ(log.lines().size(), 4u);
  // 99 + 1 while silent, and the one that broke the silence.
  EXPECT_EQ(log.count("lost=101"), 2u);
  for (const auto& [level, line] : log.lines())
    EXPECT_EQ(level, LogLevel::warn) << line;
}

TEST(DropLog, EmptySink_IsFine) {
  BusOptions options;
  options.log = nullptr;
  SharingBus sut(std::move(options));
  auto subscription = sut.subscribe(Filter::all(), 1);
  for (std::uint64_t i = 0; i < 5; ++i)
    sut.publish(note(i));
  EXPECT_EQ(subscription.stats().lagged, 4u);
}

}  // namespace
}  // namespace sharingbus

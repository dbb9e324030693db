// O: late join. The last N matching events, or from a sequence still in the bounded history, come before the live ones
// with no gap and no duplicate.
#include <atomic>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "bus/observers/scroll_id_binder.hpp"
#include "bus/sharing_bus.hpp"
#include "tests/bus/stream_text.hpp"
#include "tests/bus/test_events.hpp"
#include "tests/support/bus_oracle.hpp"

namespace sharingbus {
namespace {

using namespace test;

BusOptions with_history(std::size_t events, std::size_t bytes = 0) {
  BusOptions options;
  options.history_events = events;
  options.history_bytes = bytes;
  options.log = nullptr;
  return options;
}
SubscriptionOptions starting(Start start, Filter filter = Filter::all(), std::size_t capacity = 256) {
  SubscriptionOptions options;
  options.start = start;
  options.filter = std::move(filter);
  options.capacity = capacity;
  return options;
}

TEST(LateJoin, LastN_AreThoseThatMatchThenTheLiveOnes) {
  SharingBus bus(with_history(100));
  for (std::uint64_t i = 1; i <= 10; ++i)
    bus.publish(note(i, routing_of(i % 2 == 0 ? EventKind::request : EventKind::custom)));
  auto sut = bus.subscribe(starting(Start::last(3), Filter::kind(EventKind::request)));
  publish_notes(bus, 11, 12, routing_of(EventKind::request));
  EXPECT_EQ(stream_text(sut), "6 8 10 11 12");
  EXPECT_EQ(sut.stats().matched, 5u);
  EXPECT_TRUE(check_balanced(bus));
}

TEST(LateJoin, LastMoreThanThereAre_IsAllOfThemWithoutAGap) {
  SharingBus bus(with_history(4));
  publish_notes(bus, 1, 10);
  auto sut = bus.subscribe(starting(Start::last(1000)));
  auto none = bus.subscribe(starting(Start::last(0)));
  bus.publish(note(11));
  EXPECT_EQ(stream_text(sut), "7 8 9 10 11");
  EXPECT_EQ(stream_text(none), "11");
}

TEST(LateJoin, FromASequence_StartsExactlyThere) {
  SharingBus bus(with_history(100));
  publish_notes(bus, 1, 10);
  auto sut = bus.subscribe(starting(Start::sequence(8)));
  auto first = bus.subscribe(starting(Start::sequence(1)));
  auto last = bus.subscribe(starting(Start::sequence(10)));
  bus.publish(note(11));
  EXPECT_EQ(stream_text(sut), "8 9 10 11");
  EXPECT_EQ(stream_text(first), "1 2 3 4 5 6 7 8 9 10 11");
  EXPECT_EQ(stream_text(last), "10 11");
}

TEST(LateJoin, Live_GetsNothingOld) {
  SharingBus bus(with_history(100));
  publish_notes(bus, 1, 5);
  auto sut = bus.subscribe(starting(Start::live()));
  auto next = bus.subscribe(starting(Start::sequence(6)));
  auto future = bus.subscribe(starting(Start::sequence(1000)));
  EXPECT_TRUE(sut.try_receive().empty());
  bus.publish(note(6));
  EXPECT_EQ(stream_text(sut), "6");
  EXPECT_EQ(stream_text(next), "6");
  EXPECT_EQ(stream_text(future), "6") << "not published yet means live";
}

class HistoryGone : public ::testing::TestWithParam<Overflow> {};

// Nobody knows how many of it would have matched: a gap whose count is 0, and nothing is counted as lost.
TEST_P(HistoryGone, StreamBeginsWithAGapOfUnknownCount) {
  SharingBus bus(with_history(4));
  publish_notes(bus, 1, 10);
  auto options = starting(Start::sequence(3));
  options.overflow = GetParam();
  if (GetParam() == Overflow::latest_per_key) {
    options.key = [](const BusEvent& event) { return std::to_string(event.sequence()); };
  }
  auto sut = bus.subscribe(options);
  bus.publish(note(11));
  EXPECT_EQ(stream_text(sut), "gap3-6(0) 7 8 9 10 11");
  EXPECT_EQ(sut.stats().lagged, 0u);
  EXPECT_EQ(sut.stats().matched, 5u);
  EXPECT_TRUE(check_balanced(bus));
}

// What is lost after it is counted on its own, or nobody could tell what the count is of.
TEST_P(HistoryGone, ThenALoss_AreTwoGaps) {
  const std::size_t size = note(0)->size_bytes();
  if (GetParam() == Overflow::backpressure) GTEST_SKIP() << "has no bound in bytes";
  SharingBus bus(with_history(4));
  publish_notes(bus, 1, 6);
  bus.publish(make_event(Note{7}, Routing{}, EventOrigin::user, 0, 100 * size));
  auto options = starting(Start::sequence(2));
  options.overflow = GetParam();
  options.capacity_bytes = 10 * size;
  options.filter = Filter::kind(EventKind::request);
  for (std::uint64_t i = 8; i <= 12; ++i)
    bus.publish(make_event(Note{i}, routing_of(EventKind::request), EventOrigin::user, 0, 100 * size));
  auto sut = bus.subscribe(options);
  const std::string stream = stream_text(sut);
  if (GetParam() == Overflow::close_subscriber) {
    EXPECT_EQ(stream, "gap2-8(0) gap9-9(1) end:overflowed");
  } else {
    EXPECT_EQ(stream, "gap2-8(0) gap9-12(4)");
  }
}

INSTANTIATE_TEST_SUITE_P(Policies, HistoryGone, ::testing::ValuesIn(kEveryOverflow),
                         [](const auto& instance) { return std::string(to_string(instance.param)); });

TEST(LateJoin, WithoutHistory_StartsWithAGapAndLive) {
  SharingBus bus(with_history(0));
  publish_notes(bus, 1, 3);
  auto sut = bus.subscribe(starting(Start::sequence(2)));
  auto last = bus.subscribe(starting(Start::last(2)));
  bus.publish(note(4));
  EXPECT_EQ(stream_text(sut), "gap2-3(0) 4");
  EXPECT_EQ(stream_text(last), "4");
  EXPECT_EQ(bus.snapshot().history_depth, 0u);
}

TEST(LateJoin, HistoryIsBoundedByCount) {
  std::atomic<int> alive{0};
  SharingBus bus(with_history(5));
  for (int i = 0; i < 50; ++i) {
    bus.publish(make_event(Tracked(alive), Routing{}));
    ASSERT_LE(alive, 5);
  }
  EXPECT_EQ(alive, 5);
  EXPECT_EQ(bus.snapshot().history_depth, 5u);
}

TEST(LateJoin, HistoryIsBoundedByBytes) {
  const std::size_t size = note(0)->size_bytes();
  SharingBus bus(with_history(100, 3 * size + size / 2));
  publish_notes(bus, 1, 10);
  EXPECT_EQ(bus.snapshot().history_depth, 3u);
  auto sut = bus.subscribe(starting(Start::last(100)));
  EXPECT_EQ(stream_text(sut), "8 9 10");
  // A larger one takes the room of two.
  bus.publish(make_event(Note{11}, Routing{}, EventOrigin::user, 0, size));
  auto other = bus.subscribe(starting(Start::last(100)));
  EXPECT_EQ(stream_text(other), "10 11");
}

TEST(LateJoin, BusGone_FreesTheHistory) {
  std::atomic<int> alive{0};
  {
    SharingBus bus(with_history(5));
    for (int i = 0; i < 10; ++i)
      bus.publish(make_event(Tracked(alive), Routing{}));
  }
  EXPECT_EQ(alive, 0);
}

// The place in the order: what was published before `subscribe` but is not dispatched yet is history by then.
TEST(LateJoin, EventsOnTheirWay_AreNeitherMissedNorDoubled) {
  BusOptions options = manual_options();
  options.history_events = 100;
  SharingBus bus(std::move(options));
  publish_notes(bus, 1, 2);
  bus.poll();
  publish_notes(bus, 3, 4);
  auto last = bus.subscribe(starting(Start::last(3)));
  auto first = bus.subscribe(starting(Start::sequence(1)));
  publish_notes(bus, 5, 6);
  auto sequence = bus.subscribe(starting(Start::sequence(5)));
  auto live = bus.subscribe(starting(Start::live()));
  publish_notes(bus, 7, 7);
  bus.poll();
  EXPECT_EQ(stream_text(last), "2 3 4 5 6 7");
  EXPECT_EQ(stream_text(first), "1 2 3 4 5 6 7");
  EXPECT_EQ(stream_text(sequence), "5 6 7");
  EXPECT_EQ(stream_text(live), "7");
  EXPECT_TRUE(check_balanced(bus));
}

class LargerThanTheQueue : public ::testing::TestWithParam<Overflow> {};

// As far as the queue has room; what does not fit is no secret, and the books balance.
TEST_P(LargerThanTheQueue, StreamIsExplainedAndGoesOnLive) {
  auto recorder = std::make_shared<OrderRecorder>();
  BusOptions bus_options = with_history(100);
  bus_options.stages.push_back(recorder);
  SharingBus bus(std::move(bus_options));
  StreamOracle oracle(recorder->track(Filter::all()));
  publish_notes(bus, 1, 20);
  auto options = starting(Start::sequence(11), Filter::all(), 4);
  options.overflow = GetParam();
  if (GetParam() == Overflow::latest_per_key) {
    options.key = [](const BusEvent& event) { return std::to_string(event.sequence()); };
  }
  auto sut = bus.subscribe(options);
  EXPECT_TRUE(check_balanced(bus));
  EXPECT_LE(sut.stats().queued, 4u);
  EXPECT_GT(sut.stats().queued, 0u);
  for (int i = 0; i < 3; ++i)
    oracle.observe(sut.try_receive());
  publish_notes(bus, 21, 21);
  bus.close();
  while (!oracle.ended())
    oracle.observe(sut.receive());
  EXPECT_TRUE(oracle.verify(sut.stats()));
  EXPECT_TRUE(check_balanced(bus));
}

INSTANTIATE_TEST_SUITE_P(Policies, LargerThanTheQueue, ::testing::ValuesIn(kEveryOverflow),
                         [](const auto& instance) { return std::string(to_string(instance.param)); });

TEST(LateJoin, InlineSubscription_IsCalledForTheHistoryFirst) {
  SharingBus bus(with_history(100));
  publish_notes(bus, 1, 5);
  std::vector<std::uint64_t> seen;
  auto sut = bus.subscribe_inline(starting(Start::last(2)),
                                  [&](const EventRef& event) { seen.push_back(event->get_if<Note>()->value); });
  bus.publish(note(6));
  EXPECT_EQ(seen, (std::vector<std::uint64_t>{4, 5, 6}));
  EXPECT_EQ(sut.stats().matched, 3u);
  EXPECT_TRUE(check_balanced(bus));
}

TEST(LateJoin, StageEnrichedRouting_IsWhatTheHistoryIsMatchedBy) {
  SharingBus bus(with_history(100));
  bus.publish(SessionRegistered{"c", "1", to_string(uuid(5))});
  bus.publish(note(1, with_session("c", "1")));
  bus.publish(note(2, with_session("c", "2")));
  auto sut = bus.subscribe(starting(Start::last(10), Filter::scroll_id(uuid(5))));
  EXPECT_EQ(stream_text(sut), "? 1");
}

TEST(LateJoin, SubscribedOnAClosedBus_EndsAtOnce) {
  SharingBus bus(with_history(100));
  publish_notes(bus, 1, 5);
  bus.close();
  auto sut = bus.subscribe(starting(Start::last(2)));
  EXPECT_EQ(stream_text(sut), "end:bus_closed");
}

TEST(LateJoin, WakesAReceiverThatIsAlreadyThere) {
  SharingBus bus(with_history(100));
  publish_notes(bus, 1, 5);
  auto sut = bus.subscribe(starting(Start::last(1)));
  EXPECT_EQ(value_of(sut.receive_for(kPatience)), 5u);
}

}  // namespace
}  // namespace sharingbus

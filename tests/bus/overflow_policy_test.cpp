// O: overflow is a choice per subscription. Every loss is in band at its place, exactly counted, and concerns that
// subscription alone.
#include <atomic>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "bus/sharing_bus.hpp"
#include "tests/bus/stream_text.hpp"
#include "tests/bus/test_events.hpp"
#include "tests/support/bus_oracle.hpp"

namespace sharingbus {
namespace {

using namespace test;

BusOptions quiet_options() {
  BusOptions options;
  options.log = nullptr;
  return options;
}

// --- drop_oldest

TEST(DropOldest, FullQueue_OldestGivesWayAndItsGapIsInFront) {
  SharingBus bus(quiet_options());
  auto sut = bus.subscribe(with_overflow(Overflow::drop_oldest, 2));
  auto other = bus.subscribe_all();
  publish_notes(bus, 1, 5);
  const SubscriptionStats stats = sut.stats();
  EXPECT_EQ(stats.overflow, Overflow::drop_oldest);
  EXPECT_EQ(stats.matched, 5u);
  EXPECT_EQ(stats.lagged, 3u);
  EXPECT_EQ(stats.queued, 2u);
  EXPECT_EQ(stats.high_water, 2u);
  EXPECT_EQ(stream_text(sut), "gap1-3(3) 4 5");
  EXPECT_EQ(stream_text(other), "1 2 3 4 5");
  EXPECT_TRUE(check_balanced(bus));
}

TEST(DropOldest, LossesBetweenReceives_EachHaveTheirPlace) {
  SharingBus bus(quiet_options());
  auto sut = bus.subscribe(with_overflow(Overflow::drop_oldest, 2));
  StreamText stream;
  publish_notes(bus, 1, 2);
  stream.add(sut.try_receive());  // 1
  publish_notes(bus, 3, 4);       // 2 gives way
  stream.add(sut.try_receive());  // the gap
  stream.add(sut.try_receive());  // 3
  publish_notes(bus, 5, 7);       // 4 and 5 give way
  EXPECT_EQ(stream.text(), "1 gap2-2(1) 3");
  EXPECT_EQ(stream_text(sut), "gap4-5(2) 6 7");
  EXPECT_TRUE(check_balanced(bus));
}

TEST(DropOldest, OnlyMatchingEvents_CountInRangeAndNumber) {
  SharingBus bus(quiet_options());
  auto options = with_overflow(Overflow::drop_oldest, 1);
  options.filter = Filter::kind(EventKind::request);
  auto sut = bus.subscribe(options);
  const Routing request = routing_of(EventKind::request);
  bus.publish(note(0));           // sequence 1
  bus.publish(note(1, request));  // 2
  bus.publish(note(0));           // 3
  bus.publish(note(2, request));  // 4
  bus.publish(note(0));           // 5
  bus.publish(note(3, request));  // 6
  EXPECT_EQ(stream_text(sut), "gap2-4(2) 3");
  EXPECT_EQ(sut.stats().matched, 3u);
}

TEST(DropOldest, LossAtTheIngress_KeepsItsPlaceBehindWhatIsQueued) {
  BusOptions options = manual_options(2);
  options.log = nullptr;
  SharingBus bus(std::move(options));
  auto sut = bus.subscribe(with_overflow(Overflow::drop_oldest, 3));
  publish_notes(bus, 1, 2);
  bus.poll();
  publish_notes(bus, 3, 5);  // 3 gives way at the ingress
  bus.poll();                // 1 gives way in the queue
  EXPECT_EQ(stream_text(sut), "gap1-1(1) 2 gap3-3(1) 4 5");
  EXPECT_TRUE(check_balanced(bus));
}

// Guarantee 4: what is kept is bounded, the gaps between included.
TEST(DropOldest, ReaderThatNeverReads_KeepsOnlyItsCapacity) {
  std::atomic<int> alive{0};
  SharingBus bus(quiet_options());
  auto sut = bus.subscribe(with_overflow(Overflow::drop_oldest, 8));
  for (int i = 0; i < 1000; ++i) {
    bus.publish(make_event(Tracked(alive), Routing{}));
    ASSERT_LE(alive, 8);
  }
  EXPECT_EQ(sut.stats().lagged, 992u);
  sut.unsubscribe();
  EXPECT_EQ(stream_text(sut), "gap1-992(992) ? ? ? ? ? ? ? ? end:unsubscribed");
  EXPECT_EQ(alive, 0);
}

// --- latest_per_key

TEST(LatestPerKey, SameKeyBelowTheCapacity_IsReplacedAndStandsAtTheEnd) {
  SharingBus bus(quiet_options());
  auto sut = bus.subscribe(with_overflow(Overflow::latest_per_key, 10));
  bus.publish(note(1, with_uid(uuid(1))));
  bus.publish(note(2, with_uid(uuid(2))));
  bus.publish(note(3, with_uid(uuid(1))));
  EXPECT_EQ(sut.stats().queued, 2u);
  EXPECT_EQ(sut.stats().lagged, 1u);
  EXPECT_EQ(stream_text(sut), "gap1-1(1) 2 3");
  EXPECT_TRUE(check_balanced(bus));
}

// Empty key: type, connector uid, connector id and native session id together.
TEST(LatestPerKey, DefaultKey_TellsTypeUidConnectorAndSessionApart) {
  SharingBus bus(quiet_options());
  auto sut = bus.subscribe(with_overflow(Overflow::latest_per_key, 100));
  const std::vector<Routing> different = {Routing{},
                                          with_uid(uuid(1)),
                                          with_uid(uuid(2)),
                                          with_session("a", "1"),
                                          with_session("a", "2"),
                                          with_session("b", "1"),
                                          with_session("ab", ""),
                                          with_session("", "ab")};
  for (int round = 0; round < 3; ++round) {
    for (const Routing& routing : different)
      bus.publish(note(1, routing));
    bus.publish(Beat{});
  }
  EXPECT_EQ(sut.stats().queued, different.size() + 1);
  EXPECT_EQ(sut.stats().lagged, 2 * (different.size() + 1));
  // Neither kind nor origin is part of it.
  bus.publish(note(1, routing_of(EventKind::request)));
  EXPECT_EQ(sut.stats().queued, different.size() + 1);
  EXPECT_TRUE(check_balanced(bus));
}

TEST(LatestPerKey, OwnKey_DecidesWhatReplacesWhat) {
  SharingBus bus(quiet_options());
  auto options = with_overflow(Overflow::latest_per_key, 10);
  options.key = [](const BusEvent& event) { return std::to_string(event.get_if<Note>()->value % 2); };
  auto sut = bus.subscribe(options);
  publish_notes(bus, 1, 7);
  EXPECT_EQ(stream_text(sut), "gap1-5(5) 6 7");
}

TEST(LatestPerKey, FullOfOtherKeys_TheOldestGivesWay) {
  SharingBus bus(quiet_options());
  auto options = with_overflow(Overflow::latest_per_key, 3);
  options.key = [](const BusEvent& event) { return std::to_string(event.get_if<Note>()->value); };
  auto sut = bus.subscribe(options);
  publish_notes(bus, 1, 3);
  bus.publish(note(2));  // sequence 4 replaces sequence 2
  bus.publish(note(5));  // 1 is the oldest
  EXPECT_EQ(sut.stats().high_water, 3u);
  EXPECT_EQ(stream_text(sut), "gap1-2(2) 3 2 5");
  EXPECT_TRUE(check_balanced(bus));
}

TEST(LatestPerKey, FullQueueAndAQueuedKey_ReplacesAndSparesTheOldest) {
  SharingBus bus(quiet_options());
  auto options = with_overflow(Overflow::latest_per_key, 2);
  options.key = [](const BusEvent& event) { return std::to_string(event.get_if<Note>()->value); };
  auto sut = bus.subscribe(options);
  publish_notes(bus, 1, 2);
  bus.publish(note(2));
  EXPECT_EQ(stream_text(sut), "1 gap2-2(1) 2");
}

TEST(LatestPerKey, KeyThatWasReceived_ReplacesNothing) {
  SharingBus bus(quiet_options());
  auto sut = bus.subscribe(with_overflow(Overflow::latest_per_key, 2));
  for (std::uint64_t i = 1; i <= 5; ++i) {
    bus.publish(note(i));
    EXPECT_EQ(stream_text(sut), std::to_string(i));
  }
  EXPECT_EQ(sut.stats().lagged, 0u);
}

TEST(LatestPerKey, ManyRounds_KeepTheLatestOfEachKey) {
  SharingBus bus(quiet_options());
  auto options = with_overflow(Overflow::latest_per_key, 5);
  options.key = [](const BusEvent& event) { return std::to_string(event.get_if<Note>()->value % 5); };
  auto sut = bus.subscribe(options);
  publish_notes(bus, 1, 1000);
  EXPECT_EQ(stream_text(sut), "gap1-995(995) 996 997 998 999 1000");
  EXPECT_EQ(sut.stats().lagged, 995u);
}

// --- close_subscriber

TEST(CloseSubscriber, FullQueue_EndsAfterWhatWasQueuedSayingWhy) {
  SharingBus bus(quiet_options());
  auto sut = bus.subscribe(with_overflow(Overflow::close_subscriber, 2));
  auto other = bus.subscribe_all();
  publish_notes(bus, 1, 5);
  EXPECT_TRUE(sut.stats().closed);
  EXPECT_EQ(sut.stats().matched, 3u) << "what came after the end is not its business";
  EXPECT_EQ(sut.stats().lagged, 1u);
  EXPECT_EQ(stream_text(sut), "1 2 gap3-3(1) end:overflowed");
  EXPECT_EQ(stream_text(sut), "end:overflowed") << "again and again";
  EXPECT_EQ(stream_text(other), "1 2 3 4 5");
  EXPECT_TRUE(check_balanced(bus));
}

TEST(CloseSubscriber, ThatKeepsUp_GoesOn) {
  SharingBus bus(quiet_options());
  auto sut = bus.subscribe(with_overflow(Overflow::close_subscriber, 2));
  for (std::uint64_t i = 1; i <= 100; ++i) {
    bus.publish(note(i));
    ASSERT_EQ(stream_text(sut), std::to_string(i));
  }
  bus.close();
  EXPECT_EQ(stream_text(sut), "end:bus_closed");
}

TEST(CloseSubscriber, UnsubscribedAfterwards_KeepsItsReason) {
  SharingBus bus(quiet_options());
  auto sut = bus.subscribe(with_overflow(Overflow::close_subscriber, 1));
  publish_notes(bus, 1, 2);
  sut.unsubscribe();
  bus.unsubscribe(sut.id());
  bus.publish(note(3));
  EXPECT_EQ(stream_text(sut), "1 gap2-2(1) end:overflowed");
  sut = {};
  bus.publish(note(4));
  EXPECT_EQ(bus.subscriber_count(), 0u);
  EXPECT_EQ(bus.snapshot().retired.subscriptions, 1u);
  EXPECT_TRUE(check_balanced(bus));
}

// --- bounds in bytes

std::size_t note_size() {
  return note(0)->size_bytes();
}
EventDraft large_note(std::uint64_t value, std::size_t notes) {
  return make_event(Note{value}, Routing{}, EventOrigin::user, 0, (notes - 1) * note_size());
}

TEST(CapacityBytes, DropNewest_BoundsTheSumOfWhatWaits) {
  SharingBus bus(quiet_options());
  auto options = with_overflow(Overflow::drop_newest, 100);
  options.capacity_bytes = 3 * note_size() + note_size() / 2;
  auto sut = bus.subscribe(options);
  publish_notes(bus, 1, 4);
  EXPECT_EQ(sut.stats().queued, 3u);
  EXPECT_EQ(sut.stats().queued_bytes, 3 * note_size());
  (void)sut.try_receive();
  EXPECT_EQ(sut.stats().queued_bytes, 2 * note_size());
  bus.publish(large_note(5, 2));  // no room for two
  bus.publish(note(6));
  EXPECT_EQ(stream_text(sut), "2 3 gap4-5(2) 6");
  EXPECT_EQ(sut.stats().queued_bytes, 0u);
  EXPECT_TRUE(check_balanced(bus));
}

TEST(CapacityBytes, DropOldest_AsManyGiveWayAsTheNewOneNeeds) {
  SharingBus bus(quiet_options());
  auto options = with_overflow(Overflow::drop_oldest, 100);
  options.capacity_bytes = 4 * note_size();
  auto sut = bus.subscribe(options);
  publish_notes(bus, 1, 4);
  bus.publish(large_note(5, 3));
  EXPECT_EQ(sut.stats().queued, 2u);
  EXPECT_EQ(sut.stats().queued_bytes, 4 * note_size());
  EXPECT_EQ(stream_text(sut), "gap1-3(3) 4 5");
}

TEST(CapacityBytes, LatestPerKey_ReplacesAndThenTheOldestGivesWay) {
  SharingBus bus(quiet_options());
  auto options = with_overflow(Overflow::latest_per_key, 100);
  options.capacity_bytes = 3 * note_size();
  options.key = [](const BusEvent& event) { return std::to_string(event.get_if<Note>()->value); };
  auto sut = bus.subscribe(options);
  publish_notes(bus, 1, 3);
  bus.publish(large_note(3, 2));  // sequence 4: replaces 3, and 1 must go
  EXPECT_EQ(stream_text(sut), "gap1-1(1) 2 gap3-3(1) 3");
}

TEST(CapacityBytes, CloseSubscriber_EndsByBytes) {
  SharingBus bus(quiet_options());
  auto options = with_overflow(Overflow::close_subscriber, 100);
  options.capacity_bytes = 2 * note_size();
  auto sut = bus.subscribe(options);
  publish_notes(bus, 1, 4);
  EXPECT_EQ(stream_text(sut), "1 2 gap3-3(1) end:overflowed");
}

class OversizedEvent : public ::testing::TestWithParam<Overflow> {};

TEST_P(OversizedEvent, LargerThanTheBound_IsAlwaysLost) {
  SharingBus bus(quiet_options());
  auto options = with_overflow(GetParam(), 100);
  options.capacity_bytes = 2 * note_size();
  if (GetParam() == Overflow::latest_per_key) {
    options.key = [](const BusEvent& event) { return std::to_string(event.get_if<Note>()->value); };
  }
  auto sut = bus.subscribe(options);
  bus.publish(large_note(1, 3));
  bus.publish(note(2));
  EXPECT_EQ(stream_text(sut), "gap1-1(1) 2");
  EXPECT_EQ(sut.stats().lagged, 1u);
  EXPECT_TRUE(check_balanced(bus));
}

INSTANTIATE_TEST_SUITE_P(Policies, OversizedEvent,
                         ::testing::Values(Overflow::drop_newest, Overflow::drop_oldest, Overflow::latest_per_key),
                         [](const auto& instance) { return std::string(to_string(instance.param)); });

// --- all of them

class EveryPolicy : public ::testing::TestWithParam<Overflow> {};

TEST_P(EveryPolicy, SlowReader_StreamIsExplainedCompletely) {
  auto recorder = std::make_shared<OrderRecorder>();
  BusOptions bus_options = quiet_options();
  bus_options.stages.push_back(recorder);
  SharingBus bus(std::move(bus_options));
  StreamOracle oracle(recorder->track(Filter::kind(EventKind::request)));
  auto options = with_overflow(GetParam(), 3);
  options.filter = Filter::kind(EventKind::request);
  if (GetParam() == Overflow::latest_per_key) {
    options.key = [](const BusEvent& event) { return std::to_string(event.get_if<Note>()->value % 5); };
  }
  auto sut = bus.subscribe(options);
  for (std::uint64_t i = 0; i < 500; ++i) {
    bus.publish(note(i, routing_of(i % 3 == 0 ? EventKind::custom : EventKind::request)));
    if (i % 4 == 0) oracle.observe(sut.try_receive());
    ASSERT_TRUE(check_balanced(bus)) << i;
  }
  bus.close();
  while (!oracle.ended())
    oracle.observe(sut.receive());
  EXPECT_GT(oracle.lost(), 0u);
  EXPECT_TRUE(oracle.verify(sut.stats()));
}

INSTANTIATE_TEST_SUITE_P(Policies, EveryPolicy, ::testing::ValuesIn(kEveryOverflow),
                         [](const auto& instance) { return std::string(to_string(instance.param)); });

TEST(OverflowNames, EachPolicy_HasItsEnumeratorsName) {
  EXPECT_EQ(to_string(Overflow::drop_newest), "drop_newest");
  EXPECT_EQ(to_string(Overflow::drop_oldest), "drop_oldest");
  EXPECT_EQ(to_string(Overflow::latest_per_key), "latest_per_key");
  EXPECT_EQ(to_string(Overflow::backpressure), "backpressure");
  EXPECT_EQ(to_string(Overflow::close_subscriber), "close_subscriber");
  EXPECT_EQ(to_string(CloseReason::overflowed), "overflowed");
  EXPECT_EQ(to_string(CloseReason::too_slow), "too_slow");
}

}  // namespace
}  // namespace sharingbus

#include "bus/internal/subscriber_queue.hpp"

#include <atomic>
#include <cstdint>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

#include "tests/bus/test_events.hpp"
#include "tests/support/watchdog.hpp"

namespace sharingbus::internal {
namespace {

using test::Tracked;

/// A counted reference as the dispatcher hands it to a queue.
const BusEvent* event_with(std::uint64_t sequence, EventDraft draft = test::note(0)) {
  BusEvent* event = EventAccess::take(draft);
  EventAccess::set_sequence(*event, sequence);
  return event;
}

void push(SubscriberQueue& queue, std::uint64_t sequence) {
  const BusEvent* event = event_with(sequence);
  if (!queue.push(event)) EventAccess::release(*event);
}

TEST(SubscriberQueue, NeverUsed_IsEmpty) {
  SubscriberQueue sut(4);
  EXPECT_TRUE(sut.pop().empty());
  EXPECT_FALSE(sut.readable());
  EXPECT_EQ(sut.depth(), 0u);
  EXPECT_EQ(sut.discard(), 0u);
}

TEST(SubscriberQueue, Full_RefusesAndRemembersTheLoss) {
  SubscriberQueue sut(3);
  for (std::uint64_t i = 1; i <= 5; ++i)
    push(sut, i);
  EXPECT_EQ(sut.depth(), 3u);
  for (std::uint64_t i = 1; i <= 3; ++i)
    EXPECT_EQ((*sut.pop().event())->sequence(), i);
  EXPECT_TRUE(sut.readable());
  const Received gap = sut.pop();
  ASSERT_NE(gap.gap(), nullptr);
  EXPECT_EQ(*gap.gap(), (Gap{4, 5, 2}));
  EXPECT_FALSE(sut.readable());
}

TEST(SubscriberQueue, LossWithoutAnEvent_IsReadable) {
  SubscriberQueue sut(3);
  sut.lose(7);
  EXPECT_TRUE(sut.readable());
  EXPECT_EQ(*sut.pop().gap(), (Gap{7, 7, 1}));
  EXPECT_TRUE(sut.pop().empty());
}

TEST(SubscriberQueue, LossBeforeAnEvent_StandsBeforeIt) {
  SubscriberQueue sut(3);
  push(sut, 1);
  sut.lose(2);
  push(sut, 3);
  sut.lose(4);
  EXPECT_NE(sut.pop().event(), nullptr);
  EXPECT_EQ(*sut.pop().gap(), (Gap{2, 2, 1}));
  EXPECT_NE(sut.pop().event(), nullptr);
  EXPECT_EQ(*sut.pop().gap(), (Gap{4, 4, 1}));
}

TEST(SubscriberQueue, Discarded_ReleasesWhatWasQueued) {
  std::atomic<int> alive{0};
  SubscriberQueue sut(8);
  for (std::uint64_t i = 1; i <= 5; ++i) {
    ASSERT_TRUE(sut.push(event_with(i, make_event(Tracked(alive), Routing{}))));
  }
  EXPECT_EQ(alive, 5);
  (void)sut.pop();
  EXPECT_EQ(sut.discard(), 4u);
  EXPECT_EQ(alive, 0);
}

class SubscriberQueueThreads : public ::testing::TestWithParam<std::size_t> {};

TEST_P(SubscriberQueueThreads, ProducerAndConsumer_EverythingArrivesOrIsInAGap) {
  const test::Watchdog watchdog("SubscriberQueueThreads");
  constexpr std::uint64_t kEvents = 20'000;
  SubscriberQueue sut(GetParam());
  std::atomic<bool> done{false};
  std::thread producer([&] {
    for (std::uint64_t i = 1; i <= kEvents; ++i) {
      i % 97 == 0 ? sut.lose(i) : push(sut, i);
    }
    done = true;
  });
  std::uint64_t next = 1;
  for (bool last_look = false; !last_look || sut.readable();) {
    last_look = done;
    const Received received = sut.pop();
    if (const EventRef* event = received.event()) {
      ASSERT_EQ((*event)->sequence(), next);
      ++next;
    } else if (const Gap* gap = received.gap()) {
      ASSERT_EQ(gap->first, next);
      ASSERT_EQ(gap->last - gap->first + 1, gap->count);
      next = gap->last + 1;
    }
  }
  producer.join();
  EXPECT_EQ(next, kEvents + 1);
  EXPECT_LE(sut.high_water(), GetParam());
}

INSTANTIATE_TEST_SUITE_P(Capacities, SubscriberQueueThreads, ::testing::Values(1, 2, 3, 64, 1000));

}  // namespace
}  // namespace sharingbus::internal

#include "bus/internal/stream_queue.hpp"

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
const BusEvent& event_with(std::uint64_t sequence, EventDraft draft = test::note(0)) {
  BusEvent* event = EventAccess::take(draft);
  EventAccess::set_sequence(*event, sequence);
  return *event;
}

void lose(StreamQueue& queue, std::uint64_t sequence) {
  queue.lose({sequence, sequence, 1});
}

void push(StreamQueue& queue, std::uint64_t sequence) {
  const BusEvent& event = event_with(sequence);
  if (queue.push(event)) return;
  EventAccess::release(event);
  lose(queue, sequence);
}

/// A block of events as the dispatcher offers it, with one hold.
EventBlock* block_of(std::uint64_t first, std::uint64_t count, std::atomic<int>* alive = nullptr) {
  std::vector<BusEvent*> events;
  for (std::uint64_t i = 0; i < count; ++i) {
    EventDraft draft = alive != nullptr ? make_event(Tracked(*alive), Routing{}) : test::note(0);
    events.push_back(EventAccess::take(draft));
    EventAccess::set_sequence(*events.back(), first + i);
  }
  return EventBlock::make(events, 1);
}

StreamQueue::RunTaken push_run(StreamQueue& queue, EventBlock* block) {
  const auto taken = queue.push_run(*block);
  if (!taken.holds) block->release();
  return taken;
}

TEST(StreamQueue, NeverUsed_IsEmpty) {
  StreamQueue sut(4);
  EXPECT_TRUE(sut.pop().empty());
  EXPECT_FALSE(sut.readable());
  EXPECT_EQ(sut.depth(), 0u);
  EXPECT_EQ(sut.discard(), 0u);
}

TEST(StreamQueue, Full_RefusesAndRemembersTheLoss) {
  StreamQueue sut(3);
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

TEST(StreamQueue, LossWithoutAnEvent_IsReadable) {
  StreamQueue sut(3);
  lose(sut, 7);
  EXPECT_TRUE(sut.readable());
  EXPECT_EQ(*sut.pop().gap(), (Gap{7, 7, 1}));
  EXPECT_TRUE(sut.pop().empty());
}

TEST(StreamQueue, ManyLossesInARow_AreOneGapUntilItIsTaken) {
  StreamQueue sut(3);
  for (std::uint64_t i = 1; i <= 100; ++i)
    lose(sut, i);
  EXPECT_EQ(*sut.pop().gap(), (Gap{1, 100, 100}));
  EXPECT_TRUE(sut.pop().empty());
  for (std::uint64_t i = 101; i <= 150; ++i)
    lose(sut, i);
  push(sut, 151);
  lose(sut, 152);
  EXPECT_EQ(*sut.pop().gap(), (Gap{101, 150, 50}));
  EXPECT_NE(sut.pop().event(), nullptr);
  EXPECT_EQ(*sut.pop().gap(), (Gap{152, 152, 1}));
}

TEST(StreamQueue, LosesAgain_OnlyWhileNothingHasChanged) {
  prepare_fences();
  StreamQueue sut(2);
  push(sut, 1);
  push(sut, 2);
  EXPECT_FALSE(sut.lose_again(3)) << "nothing was lost yet";
  std::uint64_t next = 3;
  const auto lose_until_again = [&] {
    for (int i = 0; i < 40; ++i)
      sut.lose_refused(next++);
    ASSERT_TRUE(sut.lose_again(next++));
    ASSERT_TRUE(sut.lose_again(next++));
  };
  lose_until_again();
  // Room: the gap has its place, and another begins behind what follows.
  EXPECT_EQ((*sut.pop().event())->sequence(), 1u);
  EXPECT_FALSE(sut.lose_again(next));
  push(sut, next++);
  EXPECT_FALSE(sut.lose_again(next)) << "full again, but nothing was lost since";
  lose_until_again();
  EXPECT_EQ((*sut.pop().event())->sequence(), 2u);
  EXPECT_EQ(*sut.pop().gap(), (Gap{3, 44, 42}));
  EXPECT_EQ((*sut.pop().event())->sequence(), 45u);
  EXPECT_EQ(*sut.pop().gap(), (Gap{46, 87, 42}));
  EXPECT_FALSE(sut.lose_again(next)) << "taken";
  EXPECT_TRUE(sut.pop().empty());
}

TEST(StreamQueue, LossBeforeAnEvent_StandsBeforeIt) {
  StreamQueue sut(3);
  push(sut, 1);
  lose(sut, 2);
  push(sut, 3);
  lose(sut, 4);
  EXPECT_NE(sut.pop().event(), nullptr);
  EXPECT_EQ(*sut.pop().gap(), (Gap{2, 2, 1}));
  EXPECT_NE(sut.pop().event(), nullptr);
  EXPECT_EQ(*sut.pop().gap(), (Gap{4, 4, 1}));
}

TEST(StreamQueue, Discarded_ReleasesWhatWasQueued) {
  std::atomic<int> alive{0};
  StreamQueue sut(8);
  for (std::uint64_t i = 1; i <= 5; ++i) {
    ASSERT_TRUE(sut.push(event_with(i, make_event(Tracked(alive), Routing{}))));
  }
  EXPECT_EQ(alive, 5);
  (void)sut.pop();
  EXPECT_EQ(sut.discard(), 4u);
  EXPECT_EQ(alive, 0);
}

TEST(StreamQueue, Run_IsLentInPieces) {
  StreamQueue sut(100);
  EXPECT_EQ(push_run(sut, block_of(1, 10)).events, 10u);
  push(sut, 11);
  EXPECT_EQ(sut.depth(), 11u);
  const Lent first = sut.lend(4);
  ASSERT_EQ(first.events().size(), 4u);
  EXPECT_EQ(first.events().front()->sequence(), 1u);
  EXPECT_EQ(sut.lend(100).events().size(), 6u);
  const Lent single = sut.lend(100);
  ASSERT_EQ(single.events().size(), 1u);
  EXPECT_EQ(single.events().front()->sequence(), 11u);
  EXPECT_TRUE(sut.lend(100).empty());
}

TEST(StreamQueue, RunIntoAlmostFullQueue_FrontIsTakenAndTheBlockLetGo) {
  std::atomic<int> alive{0};
  StreamQueue sut(3);
  push(sut, 1);
  const auto taken = push_run(sut, block_of(2, 100, &alive));
  EXPECT_EQ(taken.events, 2u);
  EXPECT_FALSE(taken.holds);
  EXPECT_EQ(alive, 2);
  for (std::uint64_t i = 1; i <= 3; ++i)
    EXPECT_EQ((*sut.pop().event())->sequence(), i);
  EXPECT_TRUE(sut.pop().empty());
  EXPECT_EQ(alive, 0);
}

TEST(StreamQueue, RunPopped_EventsLiveUntilTheLastOfThemWasRead) {
  std::atomic<int> alive{0};
  StreamQueue sut(100);
  push_run(sut, block_of(1, 3, &alive));
  (void)sut.pop();
  (void)sut.pop();
  const Received kept = sut.pop();
  EXPECT_EQ(alive, 1);
  EXPECT_EQ((*kept.event())->sequence(), 3u);
}

TEST(StreamQueue, LentRun_LivesUntilTheNextCall) {
  std::atomic<int> alive{0};
  StreamQueue sut(100);
  push_run(sut, block_of(1, 3, &alive));
  const EventRef kept = sut.lend(100).events()[1];
  EXPECT_EQ(alive, 3);
  EXPECT_TRUE(sut.lend(100).empty());
  EXPECT_EQ(alive, 1);
}

TEST(StreamQueue, BoundInBytes_CountsWhatIsQueued) {
  const std::size_t one = [] {
    EventDraft draft = test::note(0);
    return draft->size_bytes();
  }();
  StreamQueue sut(100, 2 * one);
  push(sut, 1);
  push(sut, 2);
  push(sut, 3);
  EXPECT_EQ(sut.depth(), 2u);
  EXPECT_EQ(sut.bytes(), 2 * one);
  (void)sut.pop();
  push(sut, 4);
  EXPECT_EQ((*sut.pop().event())->sequence(), 2u);
  EXPECT_EQ(*sut.pop().gap(), (Gap{3, 3, 1}));
  EXPECT_EQ((*sut.pop().event())->sequence(), 4u);
  EXPECT_EQ(sut.bytes(), 0u);
}

class StreamQueueThreads : public ::testing::TestWithParam<std::size_t> {};

TEST_P(StreamQueueThreads, ProducerAndConsumer_EverythingArrivesOrIsInAGap) {
  const test::Watchdog watchdog("StreamQueueThreads");
  constexpr std::uint64_t kEvents = 20'000;
  StreamQueue sut(GetParam());
  std::atomic<bool> done{false};
  std::thread producer([&] {
    for (std::uint64_t i = 1; i <= kEvents; ++i) {
      if (i % 5 == 0 && i + 9 <= kEvents) {
        const auto taken = push_run(sut, block_of(i, 10));
        if (taken.events < 10) sut.lose({i + taken.events, i + 9, 10 - taken.events});
        i += 9;
      } else {
        i % 97 == 0 ? lose(sut, i) : push(sut, i);
      }
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

INSTANTIATE_TEST_SUITE_P(Capacities, StreamQueueThreads, ::testing::Values(1, 2, 3, 64, 1000));

}  // namespace
}  // namespace sharingbus::internal

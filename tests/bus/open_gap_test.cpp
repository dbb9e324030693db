// The gap at the end of a queue, which grows without a lock while its consumer may take it.
#include "bus/internal/open_gap.hpp"

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

namespace sharingbus::internal {
namespace {

constexpr auto kAtEnd = [] { return true; };

Gap one(std::uint64_t sequence) {
  return {sequence, sequence, 1};
}

TEST(OpenGapTest, Losses_GrowToOneGap) {
  OpenGap sut;
  sut.lose(one(4), false);
  sut.lose({6, 9, 3}, true);
  EXPECT_FALSE(sut.taken());
  EXPECT_EQ(sut.take(kAtEnd), (Gap{4, 9, 4}));
  EXPECT_TRUE(sut.taken());
  EXPECT_EQ(sut.take(kAtEnd).count, 0U);
}

TEST(OpenGapTest, WhatDoesNotComeNext_IsNotTaken) {
  OpenGap sut;
  sut.lose(one(4), false);
  EXPECT_EQ(sut.take([] { return false; }).count, 0U);
  EXPECT_FALSE(sut.taken());
  EXPECT_EQ(sut.settle(), (Gap{4, 4, 1}));
}

TEST(OpenGapTest, AfterATake_AGapBeginsAnew) {
  OpenGap sut;
  sut.lose({1, 3, 3}, false);
  EXPECT_EQ(sut.take(kAtEnd), (Gap{1, 3, 3}));
  sut.lose(one(7), true);
  EXPECT_FALSE(sut.taken());
  EXPECT_EQ(sut.settle(), (Gap{7, 7, 1}));
}

TEST(OpenGapTest, TakenAndNothingSince_HasNothingToSettle) {
  OpenGap sut;
  sut.lose({1, 3, 3}, false);
  EXPECT_EQ(sut.take(kAtEnd).count, 3U);
  EXPECT_EQ(sut.settle().count, 0U);
}

TEST(OpenGapTest, AfterAPlaceWasGiven_AGapBeginsAnew) {
  OpenGap sut;
  sut.lose({1, 3, 3}, false);
  EXPECT_EQ(sut.settle(), (Gap{1, 3, 3}));
  sut.lose({5, 6, 2}, false);
  EXPECT_EQ(sut.take(kAtEnd), (Gap{5, 6, 2}));
}

TEST(OpenGapTest, LossesThatDoNotRise_WidenTheGap) {
  OpenGap sut;
  sut.lose(one(10), false);
  sut.lose(one(4), true);
  sut.lose(one(10), true);
  sut.lose(one(12), true);
  EXPECT_EQ(sut.take(kAtEnd), (Gap{4, 12, 4}));
  sut.lose(one(2), true);
  EXPECT_EQ(sut.settle(), (Gap{2, 2, 1}));
}

/// Gaps that follow each other without a hole and tell of each loss once.
void expect_partition(const std::vector<Gap>& gaps, std::uint64_t last) {
  std::uint64_t next = 1;
  for (const Gap& gap : gaps) {
    ASSERT_EQ(gap.first, next);
    ASSERT_EQ(gap.count, gap.last - gap.first + 1);
    next = gap.last + 1;
  }
  EXPECT_EQ(next, last + 1);
}

TEST(OpenGapTest, TakenWhileItGrows_EachLossIsToldOnce) {
  constexpr std::uint64_t kLosses = 200'000;
  OpenGap sut;
  std::atomic<bool> over{false};
  std::vector<Gap> gaps;
  std::thread consumer([&] {
    for (bool last = false; !last;) {
      last = over.load(std::memory_order_acquire);
      if (const Gap gap = sut.take(kAtEnd); gap.count != 0) gaps.push_back(gap);
    }
  });
  for (std::uint64_t sequence = 1; sequence <= kLosses; ++sequence)
    sut.lose(one(sequence), sequence != 1);
  over.store(true, std::memory_order_release);
  consumer.join();
  expect_partition(gaps, kLosses);
}

TEST(OpenGapTest, TakenAndSettledByTurns_EachLossIsToldOnce) {
  constexpr std::uint64_t kLosses = 200'000;
  OpenGap sut;
  // As in a queue: the gap comes next when one is open and all that has its place was read.
  std::atomic<bool> open{false};
  std::atomic<std::uint64_t> written{0};
  std::atomic<bool> over{false};
  std::vector<Gap> taken;
  std::vector<Gap> settled;
  std::thread consumer([&] {
    for (bool last = false; !last;) {
      last = over.load(std::memory_order_acquire);
      const std::uint64_t read = written.load(std::memory_order_acquire);
      const auto comes_next = [&] {
        return open.load(std::memory_order_acquire) && written.load(std::memory_order_acquire) == read;
      };
      if (const Gap gap = sut.take(comes_next); gap.count != 0) taken.push_back(gap);
    }
  });
  for (std::uint64_t sequence = 1; sequence <= kLosses; ++sequence) {
    sut.lose(one(sequence), open.load(std::memory_order_relaxed));
    open.store(true, std::memory_order_release);
    if (sequence % 5 != 0) continue;
    open.store(false, std::memory_order_relaxed);
    if (const Gap gap = sut.settle(); gap.count != 0) settled.push_back(gap);
    written.store(sequence, std::memory_order_release);
  }
  over.store(true, std::memory_order_release);
  consumer.join();
  std::vector<Gap> all(taken);
  all.insert(all.end(), settled.begin(), settled.end());
  std::sort(all.begin(), all.end(), [](const Gap& left, const Gap& right) { return left.first < right.first; });
  expect_partition(all, kLosses);
}

}  // namespace
}  // namespace sharingbus::internal

#include "bus/internal/biased_lock.hpp"

#include <atomic>
#include <cstdint>
#include <thread>

#include <gtest/gtest.h>

namespace sharingbus::internal {
namespace {

/// Both sides at once, the visitor with a pause between his visits, so that the owner gets the bias in between. Without
/// exclusion the sum is wrong, and ThreadSanitizer sees it.
TEST(BiasedLock, TwoSides_AreNeverInsideAtOnce) {
  static constexpr std::uint64_t kEntries = 50'000;
  static constexpr std::uint64_t kVisits = 100;
  prepare_fences();
  BiasedLock lock;
  std::uint64_t counted = 0;
  std::uint64_t taken = 0;
  std::atomic<std::uint64_t> visits{0};
  std::atomic<bool> over{false};
  std::thread visitor([&] {
    while (!over.load()) {
      for (int i = 0; i < 50; ++i)
        std::this_thread::yield();
      const BiasedLock::Visitor inside(lock);
      taken += counted;
      counted = 0;
      ++visits;
    }
  });
  std::uint64_t entries = 0;
  for (; entries < kEntries || visits.load() < kVisits; ++entries) {
    const BiasedLock::Owner inside(lock);
    ++counted;
  }
  over = true;
  visitor.join();
  EXPECT_EQ(taken + counted, entries);
}

TEST(BiasedLock, Visitor_SeesWhatTheOwnerDidByTheBias) {
  prepare_fences();
  BiasedLock lock;
  int done = 0;
  for (int round = 0; round < 3; ++round) {
    for (int i = 0; i < 100; ++i) {
      const BiasedLock::Owner inside(lock);
      ++done;
    }
    std::thread([&] {
      const BiasedLock::Visitor inside(lock);
      EXPECT_EQ(done, (round + 1) * 100);
    }).join();
  }
}

}  // namespace
}  // namespace sharingbus::internal

#include "bus/base/gate.hpp"

#include <atomic>
#include <thread>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "tests/support/watchdog.hpp"

namespace sharingbus {
namespace {

TEST(Gate, ClosedEmpty_CompletesAtOnce) {
  Gate sut;
  int completed = 0;
  sut.close([&] { ++completed; });
  EXPECT_EQ(completed, 1);
  EXPECT_TRUE(sut.closed());
}

TEST(Gate, ClosedWithEntries_CompletesOnceWhenTheLastLeaves) {
  Gate sut;
  int completed = 0;
  auto first = sut.enter();
  auto second = sut.enter();
  EXPECT_EQ(sut.count(), 2u);
  sut.close([&] { ++completed; });
  first = {};
  EXPECT_EQ(completed, 0);
  second = {};
  EXPECT_EQ(completed, 1);
  EXPECT_EQ(sut.count(), 0u);
}

TEST(Gate, EnteredAfterClose_IsRefused) {
  Gate sut;
  sut.close([] {});
  EXPECT_FALSE(sut.enter());
  EXPECT_EQ(sut.count(), 0u);
}

TEST(Gate, ClosedTwice_CallsBoth) {
  Gate sut;
  int completed = 0;
  auto entry = sut.enter();
  sut.close([&] { completed += 1; });
  sut.close([&] { completed += 10; });
  sut.close([&] { completed += 100; });
  entry = {};
  EXPECT_EQ(completed, 111);
  sut.close([&] { completed += 1000; });
  EXPECT_EQ(completed, 1111);
}

TEST(Gate, MovedEntry_CountsOnce) {
  Gate sut;
  auto entry = sut.enter();
  Gate::Entry moved = std::move(entry);
  EXPECT_FALSE(entry);
  EXPECT_TRUE(moved);
  EXPECT_EQ(sut.count(), 1u);
  auto& itself = moved;
  moved = std::move(itself);
  EXPECT_EQ(sut.count(), 1u);
  moved = sut.enter();
  EXPECT_EQ(sut.count(), 1u);
}

TEST(Gate, EntriesOfManyThreads_CompleteOnce) {
  const test::Watchdog watchdog("Gate.EntriesOfManyThreads");
  for (int round = 0; round < 50; ++round) {
    Gate sut;
    std::atomic<int> completed{0};
    std::vector<std::thread> threads;
    for (int i = 0; i < 3; ++i) {
      threads.emplace_back([&] {
        for (int n = 0; n < 20; ++n) {
          const auto entry = sut.enter();
          if (!entry) return;
        }
      });
    }
    sut.close([&] { ++completed; });
    for (auto& thread : threads)
      thread.join();
    EXPECT_EQ(completed, 1);
  }
}

}  // namespace
}  // namespace sharingbus

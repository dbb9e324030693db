// 100,000 live affinities and sticky sessions: what they may cost, and that nothing is allocated once the peak was
// seen, whatever comes, goes and expires. A program of its own, for it replaces operator new.
#include <atomic>
#include <cstddef>
#include <cstdlib>
#include <new>
#include <string>

#include <gtest/gtest.h>
#include <malloc.h>

#include "connector/agent/affinity_table.hpp"
#include "connector/agent/sticky_table.hpp"

namespace {

std::atomic<std::size_t> allocations{0};
std::atomic<std::size_t> live_bytes{0};

void give_back(void* block) noexcept {
  if (block == nullptr) return;
  live_bytes -= malloc_usable_size(block);
  std::free(block);
}

}  // namespace

void* operator new(std::size_t size) {
  void* const block = std::malloc(size);
  if (block == nullptr) throw std::bad_alloc();
  ++allocations;
  live_bytes += malloc_usable_size(block);
  return block;
}
void operator delete(void* block) noexcept {
  give_back(block);
}
void operator delete(void* block, std::size_t /*size*/) noexcept {
  give_back(block);
}

namespace sharingbus::connector {
namespace {

using namespace std::chrono_literals;

constexpr std::size_t kEntries = 100'000;
/// Vectors that have just doubled, and a text of 36 characters.
constexpr std::size_t kBytesMax = 400;
const TimePoint t0 = TimePoint{} + 1h;

/// As long as a UUID.
const std::string& id_of(std::size_t index, std::string& text) {
  text.assign("3f2504e0-4f89-11d3-9a0c-000000000000");
  for (std::size_t at = text.size() - 1; index != 0; index /= 10)
    text[at--] = static_cast<char>('0' + index % 10);
  return text;
}

TEST(AffinityTable, D13_HundredThousandLive_BoundedMemory_NoAllocationAfterThePeak) {
  std::string id(64, ' ');
  const std::size_t before = live_bytes;
  AffinityTable sut(kEntries, 5min);
  for (std::size_t i = 0; i < kEntries; ++i)
    sut.bind(1, id_of(i, id), i, t0 + i * 1us);
  EXPECT_LE((live_bytes - before) / kEntries, kBytesMax);
  const std::size_t peak = allocations;
  for (std::size_t i = kEntries; i < 3 * kEntries; ++i)
    sut.bind(1, id_of(i, id), i, t0 + i * 1us);
  EXPECT_EQ(sut.size(), kEntries);
  EXPECT_EQ(sut.evictions(), 2 * kEntries);
  EXPECT_EQ(sut.find(1, id_of(3 * kEntries - 1, id)), 3 * kEntries - 1);
  // One falls due each microsecond: no more than it is taken, and another comes in its place.
  for (std::size_t i = 2 * kEntries; i < 3 * kEntries; ++i) {
    ASSERT_EQ(sut.expire(t0 + 5min + i * 1us), 1U) << i;
    if (i % 2 == 0) sut.bind(1, id_of(i + kEntries, id), i, t0 + 5min + i * 1us);
  }
  EXPECT_EQ(sut.size(), kEntries / 2);
  EXPECT_EQ(sut.expire(t0 + 1h), kEntries / 2);
  EXPECT_EQ(allocations, peak);
}

TEST(StickyTable, HundredThousandLive_BoundedMemory_NoAllocationAfterThePeak) {
  std::string id(64, ' ');
  const std::size_t before = live_bytes;
  StickyTable sut(kEntries, 5min);
  for (std::size_t i = 0; i < kEntries; ++i)
    sut.bind(id_of(i, id), {1, i}, t0);
  EXPECT_LE((live_bytes - before) / kEntries, kBytesMax);
  const std::size_t peak = allocations;
  for (std::size_t i = 0; i < kEntries; i += 2)
    EXPECT_TRUE(sut.touch(id_of(i, id), t0 + 4min));
  EXPECT_EQ(sut.expire(t0 + 5min), kEntries / 2) << "by last use";
  for (std::size_t i = 1; i < kEntries; i += 2)
    sut.bind(id_of(i, id), {2, i}, t0 + 6min);
  EXPECT_EQ(sut.size(), kEntries);
  EXPECT_EQ(sut.find(id_of(1, id), t0 + 6min), (StickyTable::Binding{2, 1}));
  EXPECT_EQ(sut.expire(t0 + 9min), kEntries / 2);
  EXPECT_EQ(sut.remove_agent(2), kEntries / 2);
  EXPECT_EQ(sut.size(), 0U);
  EXPECT_EQ(allocations, peak);
}

}  // namespace
}  // namespace sharingbus::connector

// Spec 4, Sending (affinity) and Sticky sessions.

#include <string>

#include <gtest/gtest.h>

#include "connector/agent/affinity_table.hpp"
#include "connector/agent/sticky_table.hpp"

namespace sharingbus::connector {
namespace {

using namespace std::chrono_literals;

const TimePoint t0 = TimePoint{} + 1h;

TEST(AffinityTable, D12_TwoAgentsWithOneCorrelationId_DoNotDisturbEachOther) {
  AffinityTable sut(10, 5min);
  sut.bind(1, "c", 11, t0);
  sut.bind(2, "c", 22, t0);
  EXPECT_EQ(sut.find(1, "c"), 11U);
  EXPECT_EQ(sut.find(2, "c"), 22U);
  EXPECT_TRUE(sut.release(1, "c"));
  EXPECT_EQ(sut.find(1, "c"), std::nullopt);
  EXPECT_EQ(sut.find(2, "c"), 22U);
}

TEST(AffinityTable, Clear_RemovesTheIdOfAllAgents) {
  AffinityTable sut(10, 5min);
  sut.bind(1, "c", 11, t0);
  sut.bind(2, "c", 22, t0);
  sut.bind(1, "d", 11, t0);
  EXPECT_EQ(sut.clear("c"), 2U);
  EXPECT_EQ(sut.clear("c"), 0U);
  EXPECT_EQ(sut.size(), 1U);
}

TEST(AffinityTable, RemoveAgent_RemovesItsEntriesOnly) {
  AffinityTable sut(10, 5min);
  sut.bind(1, "a", 11, t0);
  sut.bind(2, "b", 22, t0);
  sut.bind(1, "c", 11, t0);
  EXPECT_EQ(sut.remove_agent(1), 2U);
  EXPECT_EQ(sut.find(2, "b"), 22U);
}

TEST(AffinityTable, D13_AtItsBound_TheLongestUnusedGivesWay) {
  AffinityTable sut(3, 5min);
  sut.bind(1, "a", 1, t0);
  sut.bind(1, "b", 2, t0 + 1s);
  sut.bind(1, "c", 3, t0 + 2s);
  EXPECT_TRUE(sut.touch(1, "a", t0 + 3s));
  sut.bind(1, "d", 4, t0 + 4s);
  EXPECT_EQ(sut.size(), 3U);
  EXPECT_EQ(sut.find(1, "b"), std::nullopt);
  EXPECT_EQ(sut.find(1, "a"), 1U);
  EXPECT_EQ(sut.evictions(), 1U);
}

TEST(AffinityTable, D16_Expiry_RemovesExactlyTheIdleAndCountsThem) {
  AffinityTable sut(100, 300s);
  sut.bind(1, "old", 1, t0);
  sut.bind(1, "used", 1, t0);
  EXPECT_TRUE(sut.touch(1, "used", t0 + 200s));
  EXPECT_EQ(sut.expire(t0 + 299s), 0U);
  EXPECT_EQ(sut.expire(t0 + 300s), 1U);
  EXPECT_EQ(sut.expire(t0 + 300s), 0U);
  EXPECT_EQ(sut.find(1, "used"), 1U);
  EXPECT_EQ(sut.evictions(), 1U);
}

TEST(AffinityTable, D15_Finding_DoesNotKeepItAlive) {
  AffinityTable sut(100, 300s);
  sut.bind(1, "c", 1, t0);
  EXPECT_TRUE(sut.find(1, "c"));
  EXPECT_EQ(sut.expire(t0 + 300s), 1U);
}

TEST(AffinityTable, ManyIds_AllFoundAgainAfterGrowingAndRemoving) {
  AffinityTable sut(100'000, 300s);
  for (int i = 0; i < 20'000; ++i)
    sut.bind(1, "correlation-" + std::to_string(i), static_cast<ConnectionKey>(i), t0 + i * 1us);
  for (int i = 0; i < 20'000; i += 2)
    EXPECT_TRUE(sut.release(1, "correlation-" + std::to_string(i)));
  for (int i = 0; i < 20'000; ++i) {
    const auto found = sut.find(1, "correlation-" + std::to_string(i));
    EXPECT_EQ(found.has_value(), i % 2 == 1);
    EXPECT_EQ(found.value_or(static_cast<ConnectionKey>(i)), static_cast<ConnectionKey>(i));
  }
  EXPECT_EQ(sut.expire(t0 + 300s + 9'999us), 5'000U);
  EXPECT_EQ(sut.size(), 5'000U);
}

TEST(StickyTable, FindRefreshClearCount) {
  StickyTable sut(10, 5min);
  EXPECT_FALSE(sut.find("s", t0));
  EXPECT_FALSE(sut.touch("s", t0));
  EXPECT_FALSE(sut.clear("s"));
  sut.bind("s", {1, 2}, t0);
  EXPECT_EQ(sut.find("s", t0), (StickyTable::Binding{1, 2}));
  sut.bind("s", {3, 4}, t0);
  EXPECT_EQ(sut.find("s", t0), (StickyTable::Binding{3, 4}));
  EXPECT_EQ(sut.size(), 1U);
  EXPECT_TRUE(sut.clear("s"));
  EXPECT_EQ(sut.size(), 0U);
}

TEST(StickyTable, Expiry_IsByLastUse) {
  StickyTable sut(10, 300s);
  sut.bind("s", {1, 2}, t0);
  EXPECT_TRUE(sut.touch("s", t0 + 299s));
  EXPECT_TRUE(sut.find("s", t0 + 598s));
  EXPECT_FALSE(sut.find("s", t0 + 599s)) << "collected or not, it has expired";
  EXPECT_EQ(sut.size(), 0U);
}

TEST(StickyTable, Cleanup_SaysHowManyWent) {
  StickyTable sut(10, 300s);
  sut.bind("a", {1, 2}, t0);
  sut.bind("b", {1, 2}, t0);
  sut.bind("c", {1, 2}, t0 + 1s);
  EXPECT_EQ(sut.expire(t0 + 300s), 2U);
  EXPECT_EQ(sut.size(), 1U);
}

TEST(StickyTable, WithoutTimeout_NeverExpires) {
  StickyTable sut(10, std::nullopt);
  sut.bind("s", {1, 2}, t0);
  EXPECT_EQ(sut.expire(t0 + 24h * 365), 0U);
  EXPECT_TRUE(sut.find("s", t0 + 24h * 365));
}

TEST(StickyTable, BoundAndRemovalOfAnAgent) {
  StickyTable sut(2, 300s);
  sut.bind("a", {1, 1}, t0);
  sut.bind("b", {2, 1}, t0);
  sut.bind("c", {2, 1}, t0);
  EXPECT_EQ(sut.size(), 2U);
  EXPECT_FALSE(sut.find("a", t0));
  EXPECT_EQ(sut.remove_agent(2), 2U);
}

}  // namespace
}  // namespace sharingbus::connector

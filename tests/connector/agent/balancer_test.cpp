// Spec 4, Sending (selection) and O 10.

#include "connector/agent/balancer.hpp"

#include <array>
#include <cmath>
#include <vector>

#include <gtest/gtest.h>

namespace sharingbus::connector {
namespace {

using namespace std::chrono_literals;

constexpr std::array kAll = {BalanceStrategy::round_robin,       BalanceStrategy::least_in_flight,
                             BalanceStrategy::lowest_error_rate, BalanceStrategy::random,
                             BalanceStrategy::peak_ewma,         BalanceStrategy::power_of_two_choices};

ConnectionLoad load(std::uint32_t in_flight = 0, double error_rate = 0, double latency = 0) {
  return {.usable = true, .full = false, .in_flight = in_flight, .error_rate = error_rate, .latency = latency};
}

std::vector<int> picks(Balancer& sut, std::span<const ConnectionLoad> loads, int rounds) {
  std::vector<int> counts(loads.size(), 0);
  for (int i = 0; i < rounds; ++i)
    ++counts.at(sut.pick(loads).value());
  return counts;
}

class EveryStrategy : public ::testing::TestWithParam<BalanceStrategy> {};
INSTANTIATE_TEST_SUITE_P(Balancer, EveryStrategy, ::testing::ValuesIn(kAll),
                         [](const auto& tested) { return std::string(to_string(tested.param)); });

TEST_P(EveryStrategy, NoneUsable_PicksNone) {
  Balancer sut(GetParam());
  EXPECT_EQ(sut.pick({}), std::nullopt);
  EXPECT_EQ(sut.pick(std::vector<ConnectionLoad>(3)), std::nullopt);
}

TEST_P(EveryStrategy, OneUsable_PicksIt) {
  Balancer sut(GetParam());
  std::vector<ConnectionLoad> loads(4);
  loads[2] = load(50, 0.9, 3);
  EXPECT_EQ(picks(sut, loads, 20), (std::vector<int>{0, 0, 20, 0}));
}

TEST_P(EveryStrategy, FullOnes_OnlyWhenAllAreFull) {
  Balancer sut(GetParam());
  std::vector<ConnectionLoad> loads = {load(1), load(9, 0.5, 9), load(1)};
  loads[0].full = loads[2].full = true;
  EXPECT_EQ(picks(sut, loads, 20), (std::vector<int>{0, 20, 0}));
  loads[1].full = true;
  EXPECT_TRUE(sut.pick(loads));
}

TEST_P(EveryStrategy, D25_EqualLoads_AreSharedOut) {
  Balancer sut(GetParam());
  const std::vector<ConnectionLoad> loads(4, load());
  for (const int count : picks(sut, loads, 4000))
    EXPECT_GT(count, 800);
}

TEST_P(EveryStrategy, NameRoundTrip) {
  EXPECT_EQ(parse_balance_strategy(to_string(GetParam())), GetParam());
}

TEST(Balancer, UnknownName_IsNone) {
  EXPECT_EQ(parse_balance_strategy("fastest"), std::nullopt);
}

TEST(Balancer, RoundRobin_IsFairAlsoBesideUnusableOnes) {
  Balancer sut(BalanceStrategy::round_robin);
  std::vector<ConnectionLoad> loads(4, load());
  loads[1].usable = false;
  EXPECT_EQ(picks(sut, loads, 300), (std::vector<int>{100, 0, 100, 100}));
}

TEST(Balancer, CallsInARow_GoToOneUntilItIsFullOrUnusable) {
  Balancer sut(BalanceStrategy::round_robin, 1, 3);
  std::vector<ConnectionLoad> loads(3, load());
  const auto pick = [&] { return sut.pick(loads).value(); };
  EXPECT_EQ((std::vector{pick(), pick(), pick(), pick()}), (std::vector<std::size_t>{0, 0, 0, 1}));
  loads[1].full = true;
  EXPECT_EQ((std::vector{pick(), pick(), pick(), pick()}), (std::vector<std::size_t>{0, 0, 0, 2}))
      << "a row ends early, and the next is a whole one";
  loads[2].usable = false;
  EXPECT_EQ(pick(), 0U);
  loads.resize(0);
  EXPECT_EQ(sut.pick(loads), std::nullopt);
  loads.resize(1, load());
  EXPECT_EQ(pick(), 0U);
}

TEST_P(EveryStrategy, CallsInARow_AreSharedOutAsWell) {
  Balancer sut(GetParam(), 1, 64);
  const std::vector<ConnectionLoad> loads(4, load());
  for (const int count : picks(sut, loads, 64'000))
    EXPECT_GT(count, 12'800);
}

TEST(Balancer, LeastInFlight_PicksTheLeast) {
  Balancer sut(BalanceStrategy::least_in_flight);
  EXPECT_EQ(picks(sut, std::vector{load(3), load(1), load(2)}, 9), (std::vector<int>{0, 9, 0}));
}

TEST(Balancer, LowestErrorRate_PicksTheLowest) {
  Balancer sut(BalanceStrategy::lowest_error_rate);
  EXPECT_EQ(picks(sut, std::vector{load(0, 0.5), load(9, 0.01), load(0, 0.02)}, 9), (std::vector<int>{0, 9, 0}));
}

TEST(Balancer, PeakEwma_WeighsLatencyWithWhatIsUnderWay) {
  Balancer sut(BalanceStrategy::peak_ewma);
  EXPECT_EQ(picks(sut, std::vector{load(0, 0, 0.010), load(4, 0, 0.001), load(12, 0, 0.001)}, 9),
            (std::vector<int>{0, 9, 0}));
}

TEST(Balancer, PowerOfTwoChoices_NeverTheMostLoadedAndAlwaysTheBetterOfTwo) {
  Balancer sut(BalanceStrategy::power_of_two_choices, 7);
  const auto counts = picks(sut, std::vector{load(9), load(0), load(5)}, 3000);
  EXPECT_EQ(counts[0], 0);
  EXPECT_GT(counts[1], counts[2]);
  EXPECT_GT(counts[2], 0);
}

TEST(PeakEwma, FollowsAPeakAtOnceAndForgetsItByHalves) {
  PeakEwma sut(10s);
  const TimePoint t0 = TimePoint{} + 1h;
  sut.observe(10ms, t0);
  EXPECT_DOUBLE_EQ(sut.value(), 0.010);
  sut.observe(1s, t0 + 1s);
  EXPECT_DOUBLE_EQ(sut.value(), 1.0);
  sut.observe(0s, t0 + 11s);
  EXPECT_NEAR(sut.value(), 0.5, 1e-9);
  sut.observe(0s, t0 + 11s);
  EXPECT_NEAR(sut.value(), 0.5, 1e-9);
}

}  // namespace
}  // namespace sharingbus::connector

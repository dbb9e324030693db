#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "connector/lifecycle/lifecycle_config.hpp"
#include "connector/lifecycle/reconnect_policy.hpp"
#include "connector/lifecycle/supervision.hpp"

namespace sharingbus::connector {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

ReconnectPolicy policy(ReconnectOptions options, double share) {
  return {options, [share](std::uint64_t bound) {
            return static_cast<std::uint64_t>(std::llround(share * static_cast<double>(bound)));
          }};
}

TEST(ReconnectPolicy, Delay_Grows) {
  const ReconnectPolicy sut(ReconnectOptions{}, seeded_random());
  EXPECT_LT(sut.delay(0), sut.delay(1));
  EXPECT_LT(sut.delay(1), sut.delay(2));
}

TEST(ReconnectPolicy, Delay_IsTheSpecsFormula) {
  const ReconnectPolicy sut = policy({}, 0.5);
  const int expected_ms[] = {1000, 2000, 4000, 8000, 16'000, 30'000, 30'000};
  for (std::uint32_t attempts = 0; attempts < 7; ++attempts)
    EXPECT_EQ(sut.delay(attempts), milliseconds(expected_ms[attempts])) << attempts;
}

TEST(ReconnectPolicy, Jitter_IsTenPercentToBothSidesBeforeTheCap) {
  EXPECT_EQ(policy({}, 0).delay(0), milliseconds(900));
  EXPECT_EQ(policy({}, 1).delay(0), milliseconds(1100));
  // 32 s: the low end is below the cap, the rest is not.
  EXPECT_EQ(policy({}, 0).delay(5), milliseconds(28'800));
  EXPECT_EQ(policy({}, 1).delay(5), milliseconds(30'000));
  EXPECT_EQ(policy({}, 0).delay(6), milliseconds(30'000));
}

TEST(ReconnectPolicy, HugeNumbers_StayAtTheCap) {
  EXPECT_EQ(policy({}, 1).delay(std::numeric_limits<std::uint32_t>::max()), milliseconds(30'000));
  const ReconnectOptions forever{.delay = Duration::max(), .max_delay = Duration::max(), .multiplier = 1e6};
  EXPECT_EQ(policy(forever, 1).delay(100), Duration::max());
  EXPECT_GE(policy(forever, 0).delay(0), Duration::zero());
}

TEST(ReconnectPolicy, NoDelay_IsNone) {
  EXPECT_EQ(policy({.delay = {}}, 1).delay(3), Duration::zero());
}

TEST(RestartIntensity, MoreThanAllowedWithinTheWindow_IsRefused) {
  RestartIntensity sut(2, seconds(10));
  const TimePoint start{};
  EXPECT_TRUE(sut.allow(start));
  EXPECT_TRUE(sut.allow(start + seconds(9)));
  EXPECT_FALSE(sut.allow(start + seconds(9)));
  EXPECT_TRUE(sut.allow(start + seconds(10))) << "the first has left the window";
  EXPECT_FALSE(sut.allow(start + seconds(18)));
  EXPECT_EQ(sut.recent(), 2u);
}

TEST(RestartIntensity, NoneAllowed_RefusesTheFirst) {
  EXPECT_FALSE(RestartIntensity(0, seconds(1)).allow(TimePoint{}));
}

std::vector<std::string> ordered(const std::vector<Dependent>& services) {
  std::vector<std::string> names;
  for (const std::size_t at : start_order(services).value())
    names.push_back(services[at].name);
  return names;
}

TEST(StartOrder, WithoutDependencies_IsTheOrderGiven) {
  EXPECT_EQ(ordered({{"c", {}}, {"a", {}}, {"b", {}}}), (std::vector<std::string>{"c", "a", "b"}));
}

TEST(StartOrder, Dependencies_ComeFirst) {
  EXPECT_EQ(ordered({{"web", {"api", "db"}}, {"api", {"db"}}, {"log", {}}, {"db", {}}}),
            (std::vector<std::string>{"log", "db", "api", "web"}));
}

TEST(StartOrder, Circle_IsNamed) {
  const auto refused = start_order({{"x", {"a"}}, {"a", {"b"}}, {"b", {"c"}}, {"c", {"a"}}});
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().message, "services depend on each other: a -> b -> c -> a");
}

TEST(StartOrder, OwnDependency_IsACircle) {
  EXPECT_EQ(start_order({{"a", {"a"}}}).error().message, "services depend on each other: a -> a");
}

TEST(StartOrder, UnknownAndDoubleNames_AreNamed) {
  EXPECT_EQ(start_order({{"a", {"b"}}}).error().message, "service 'a' depends on 'b', which is none of the services");
  EXPECT_EQ(start_order({{"a", {}}, {"a", {}}}).error().message, "two services are called 'a'");
}

TEST(LifecycleConfig, Defaults_AreTheSpecs) {
  const LifecycleConfig sut;
  EXPECT_EQ(sut.heartbeat_interval, seconds(30));
  EXPECT_EQ(sut.heartbeat_timeout, seconds(90));
  EXPECT_EQ(sut.reconnect.max_attempts, 5u);
  EXPECT_EQ(sut.reconnect.delay, milliseconds(1000));
  EXPECT_EQ(sut.reconnect.max_delay, milliseconds(30'000));
  EXPECT_EQ(sut.reconnect.multiplier, 2.0);
  EXPECT_EQ(sut.reconnect.jitter, 0.1);
  EXPECT_TRUE(sut.auto_reconnect);
  EXPECT_EQ(sut.healthy_after, 1u);
  EXPECT_EQ(sut.failed_after, 1u);
  EXPECT_EQ(sut.supervision.strategy, SupervisionStrategy::none);
  EXPECT_TRUE(sut.validate());
}

TEST(LifecycleConfig, TenThirtyThree_IsValid) {
  LifecycleConfig sut;
  sut.heartbeat_interval = seconds(10);
  sut.heartbeat_timeout = seconds(30);
  sut.reconnect.max_attempts = 3;
  EXPECT_TRUE(sut.validate());
}

struct Wrong {
  const char* field;
  void (*set)(LifecycleConfig&);
};
class WrongConfig : public ::testing::TestWithParam<Wrong> {};

TEST_P(WrongConfig, Validate_NamesTheField) {
  LifecycleConfig sut;
  GetParam().set(sut);
  const auto valid = sut.validate();
  ASSERT_FALSE(valid);
  EXPECT_TRUE(valid.error().is(errc::invalid_argument));
  EXPECT_NE(valid.error().message.find(GetParam().field), std::string::npos) << valid.error().message;
}
INSTANTIATE_TEST_SUITE_P(
    Fields, WrongConfig,
    ::testing::Values(Wrong{"heartbeat_interval", [](LifecycleConfig& c) { c.heartbeat_interval = {}; }},
                      Wrong{"heartbeat_timeout", [](LifecycleConfig& c) { c.heartbeat_timeout = {}; }},
                      Wrong{"reconnect.delay", [](LifecycleConfig& c) { c.reconnect.delay = Duration(-1); }},
                      Wrong{"reconnect.max_delay", [](LifecycleConfig& c) { c.reconnect.max_delay = Duration(-1); }},
                      Wrong{"reconnect.multiplier", [](LifecycleConfig& c) { c.reconnect.multiplier = 0.5; }},
                      Wrong{"reconnect.multiplier", [](LifecycleConfig& c) { c.reconnect.multiplier = std::nan(""); }},
                      Wrong{"reconnect.jitter", [](LifecycleConfig& c) { c.reconnect.jitter = 1.5; }},
                      Wrong{"healthy_after", [](LifecycleConfig& c) { c.healthy_after = 0; }},
                      Wrong{"failed_after", [](LifecycleConfig& c) { c.failed_after = 0; }},
                      Wrong{"supervision.window", [](LifecycleConfig& c) { c.supervision.window = {}; }},
                      Wrong{"stop_timeout", [](LifecycleConfig& c) { c.stop_timeout = Duration(-1); }},
                      Wrong{"max_inbound_bytes", [](LifecycleConfig& c) { c.limits.max_inbound_bytes = 0; }}));

}  // namespace
}  // namespace sharingbus::connector

// Spec 4: connection health, flow control, and O 10 (circuit breaker, outlier ejection, retry budget).

#include <string>

#include <gtest/gtest.h>

#include "connector/agent/circuit_breaker.hpp"
#include "connector/agent/connection_health.hpp"
#include "connector/agent/flow_state.hpp"
#include "connector/agent/outlier_detector.hpp"
#include "connector/agent/retry_budget.hpp"

namespace sharingbus::connector {
namespace {

using namespace std::chrono_literals;

const TimePoint t0 = TimePoint{} + 1h;

TEST(ConnectionHealth, ThreeErrorsInARow_MakeItUnhealthyAtOnce) {
  ConnectionHealth sut;
  EXPECT_FALSE(sut.failed());
  EXPECT_FALSE(sut.failed());
  EXPECT_TRUE(sut.healthy());
  EXPECT_TRUE(sut.failed());
  EXPECT_FALSE(sut.healthy());
  EXPECT_FALSE(sut.failed()) << "it is told once";
}

TEST(ConnectionHealth, D3_OneSuccess_ResetsTheCount) {
  ConnectionHealth sut;
  sut.failed();
  sut.failed();
  sut.succeeded();
  EXPECT_EQ(sut.errors_in_a_row(), 0U);
  sut.failed();
  sut.failed();
  EXPECT_TRUE(sut.healthy());
  sut.failed();
  EXPECT_FALSE(sut.healthy());
  sut.succeeded();
  EXPECT_TRUE(sut.healthy());
  EXPECT_EQ(sut.errors(), 5U);
}

TEST(ConnectionHealth, D25_RecentErrorRate_ForgetsWhatIsLongAgo) {
  ConnectionHealth sut;
  for (int i = 0; i < 100; ++i)
    sut.failed();
  EXPECT_GT(sut.recent_error_rate(), 0.99);
  for (int i = 0; i < 100; ++i)
    sut.succeeded();
  EXPECT_LT(sut.recent_error_rate(), 0.01);
}

TEST(FlowState, D2_PauseAndResume_HaveEffect) {
  FlowState sut;
  EXPECT_FALSE(sut.paused("c"));
  EXPECT_EQ(sut.apply(FlowState::Action::pause, {}, {}), FlowState::Change::paused);
  EXPECT_EQ(sut.apply(FlowState::Action::pause, {}, {}), FlowState::Change::none);
  EXPECT_TRUE(sut.paused());
  EXPECT_TRUE(sut.paused("c"));
  EXPECT_EQ(sut.apply(FlowState::Action::resume, {}, {}), FlowState::Change::resumed);
  EXPECT_EQ(sut.apply(FlowState::Action::resume, {}, {}), FlowState::Change::none);
  EXPECT_FALSE(sut.paused());
}

TEST(FlowState, SingleRequest_IsPausedAlone) {
  FlowState sut;
  EXPECT_EQ(sut.apply(FlowState::Action::pause, "a", {}), FlowState::Change::none);
  EXPECT_TRUE(sut.paused("a"));
  EXPECT_FALSE(sut.paused("b"));
  EXPECT_FALSE(sut.paused());
  EXPECT_EQ(sut.apply(FlowState::Action::resume, "a", {}), FlowState::Change::resumed);
  EXPECT_FALSE(sut.paused("a"));
  sut.apply(FlowState::Action::pause, "a", {});
  sut.forget("a");
  EXPECT_FALSE(sut.paused("a"));
}

TEST(FlowState, UpdateCapacity_NoneLeftPauses) {
  FlowState sut;
  EXPECT_EQ(sut.apply(FlowState::Action::update_capacity, {}, 0), FlowState::Change::paused);
  EXPECT_EQ(sut.apply(FlowState::Action::update_capacity, {}, 1000), FlowState::Change::resumed);
  EXPECT_EQ(sut.apply(FlowState::Action::update_capacity, {}, {}), FlowState::Change::none);
}

TEST(FlowState, TooManyPausedRequests_PauseTheConnection) {
  FlowState sut;
  FlowState::Change last = FlowState::Change::none;
  for (std::size_t i = 0; i <= FlowState::kRequestsMax + 10; ++i) {
    const auto change = sut.apply(FlowState::Action::pause, "r" + std::to_string(i), {});
    if (change != FlowState::Change::none) last = change;
  }
  EXPECT_EQ(last, FlowState::Change::paused);
  EXPECT_TRUE(sut.paused());
  EXPECT_EQ(sut.apply(FlowState::Action::resume, "r0", {}), FlowState::Change::resumed);
}

TEST(FlowControlMode, NameRoundTrip) {
  for (const auto mode : {FlowControlMode::fail_closed, FlowControlMode::fail_open, FlowControlMode::wait_and_retry})
    EXPECT_EQ(parse_flow_control_mode(to_string(mode)), mode);
  EXPECT_EQ(parse_flow_control_mode("open"), std::nullopt);
}

CircuitBreaker breaker() {
  return CircuitBreaker({.enabled = true, .failures = 3, .successes = 2, .open_for = 30s, .half_open_calls = 1});
}

TEST(CircuitBreaker, Off_LetsAllPass) {
  CircuitBreaker sut({.enabled = false});
  for (int i = 0; i < 100; ++i) {
    EXPECT_TRUE(sut.allow(t0));
    EXPECT_FALSE(sut.failed(t0));
  }
}

TEST(CircuitBreaker, ErrorsInARow_OpenIt_TimeLetsOneTry_SuccessesCloseIt) {
  CircuitBreaker sut = breaker();
  EXPECT_FALSE(sut.failed(t0));
  EXPECT_FALSE(sut.failed(t0));
  EXPECT_FALSE(sut.succeeded());
  EXPECT_FALSE(sut.failed(t0));
  EXPECT_FALSE(sut.failed(t0));
  EXPECT_TRUE(sut.failed(t0));
  EXPECT_EQ(sut.state(), CircuitBreaker::State::open);
  EXPECT_FALSE(sut.allow(t0 + 29s));
  EXPECT_TRUE(sut.allow(t0 + 30s));
  EXPECT_EQ(sut.state(), CircuitBreaker::State::half_open);
  EXPECT_FALSE(sut.allow(t0 + 30s)) << "one at a time";
  EXPECT_FALSE(sut.succeeded());
  EXPECT_TRUE(sut.allow(t0 + 31s));
  EXPECT_TRUE(sut.succeeded());
  EXPECT_EQ(sut.state(), CircuitBreaker::State::closed);
}

TEST(CircuitBreaker, FailedTrial_OpensItAgain) {
  CircuitBreaker sut = breaker();
  for (int i = 0; i < 3; ++i)
    sut.failed(t0);
  EXPECT_TRUE(sut.allow(t0 + 30s));
  EXPECT_TRUE(sut.failed(t0 + 31s));
  EXPECT_FALSE(sut.allow(t0 + 60s));
  EXPECT_TRUE(sut.allow(t0 + 61s));
}

TEST(CircuitBreaker, AbandonedTrial_MakesRoomForAnother) {
  CircuitBreaker sut = breaker();
  for (int i = 0; i < 3; ++i)
    sut.failed(t0);
  EXPECT_TRUE(sut.allow(t0 + 30s));
  sut.abandoned();
  EXPECT_TRUE(sut.allow(t0 + 30s));
}

TEST(OutlierDetector, ErrorsInARow_EjectAndTimeRestores) {
  OutlierDetector sut({.enabled = true, .failures = 2, .ejection = 10s, .ejection_max = 15s, .max_ejected_share = 0.5});
  for (const ConnectionKey key : {1, 2, 3, 4})
    sut.add(key);
  EXPECT_FALSE(sut.failed(1, t0));
  sut.succeeded(1);
  EXPECT_FALSE(sut.failed(1, t0));
  EXPECT_TRUE(sut.failed(1, t0));
  EXPECT_TRUE(sut.ejected(1));
  EXPECT_TRUE(sut.restore(t0 + 9s).empty());
  EXPECT_EQ(sut.restore(t0 + 10s), std::vector<ConnectionKey>{1});
  EXPECT_FALSE(sut.ejected(1));
  sut.failed(1, t0 + 20s);
  EXPECT_TRUE(sut.failed(1, t0 + 20s));
  EXPECT_TRUE(sut.restore(t0 + 34s).empty()) << "longer the second time, up to the longest";
  EXPECT_EQ(sut.restore(t0 + 35s).size(), 1U);
}

TEST(OutlierDetector, NeverMoreThanTheShare_NeverTheLast) {
  OutlierDetector sut({.enabled = true, .failures = 1, .max_ejected_share = 0.5});
  for (const ConnectionKey key : {1, 2, 3, 4})
    sut.add(key);
  EXPECT_TRUE(sut.failed(1, t0));
  EXPECT_TRUE(sut.failed(2, t0));
  EXPECT_FALSE(sut.failed(3, t0));
  EXPECT_EQ(sut.ejected_count(), 2U);
  sut.remove(1);
  EXPECT_EQ(sut.ejected_count(), 1U);

  OutlierDetector all({.enabled = true, .failures = 1, .max_ejected_share = 1.0});
  all.add(1);
  all.add(2);
  EXPECT_TRUE(all.failed(1, t0));
  EXPECT_FALSE(all.failed(2, t0));
}

TEST(OutlierDetector, Off_EjectsNothing) {
  OutlierDetector sut({.enabled = false, .failures = 1});
  sut.add(1);
  sut.add(2);
  EXPECT_FALSE(sut.failed(1, t0));
}

TEST(RetryBudget, IsAShareOfTheRequests) {
  RetryBudget sut({.attempts = 1, .ratio = 0.5, .min_per_second = 0, .burst = 2});
  EXPECT_TRUE(sut.take(t0));
  EXPECT_TRUE(sut.take(t0));
  EXPECT_FALSE(sut.take(t0));
  sut.requested();
  EXPECT_FALSE(sut.take(t0));
  sut.requested();
  EXPECT_TRUE(sut.take(t0));
  EXPECT_FALSE(sut.take(t0));
}

TEST(RetryBudget, SomeASecondAreAlwaysAllowed) {
  RetryBudget sut({.attempts = 1, .ratio = 0, .min_per_second = 2, .burst = 1});
  EXPECT_TRUE(sut.take(t0));
  EXPECT_FALSE(sut.take(t0));
  EXPECT_FALSE(sut.take(t0 + 100ms));
  EXPECT_TRUE(sut.take(t0 + 600ms));
}

TEST(PolicyOptions, BadOnes_AreRefusedByName) {
  EXPECT_NE(CircuitBreakerOptions{.failures = 0}.validate().error().message.find("failures"), std::string::npos);
  EXPECT_NE(OutlierOptions{.max_ejected_share = 2}.validate().error().message.find("max_ejected_share"),
            std::string::npos);
  EXPECT_NE(RetryOptions{.ratio = -1}.validate().error().message.find("ratio"), std::string::npos);
  EXPECT_TRUE(CircuitBreakerOptions{}.validate());
  EXPECT_TRUE(OutlierOptions{}.validate());
  EXPECT_TRUE(RetryOptions{}.validate());
}

}  // namespace
}  // namespace sharingbus::connector

#include "connector/lifecycle/service_fsm.hpp"

#include <set>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

namespace sharingbus::connector {
namespace {

using std::chrono::seconds;
using enum ServiceStatus;

const std::set<std::pair<ServiceStatus, ServiceStatus>> kLegalBySpec{
    {starting, running},
    {starting, ServiceStatus::error},
    {starting, stopping},
    {running, stopping},
    {running, ServiceStatus::error},
    {running, reconnecting},
    {ServiceStatus::error, reconnecting},
    {ServiceStatus::error, stopping},
    {ServiceStatus::error, running},
    {reconnecting, running},
    {reconnecting, ServiceStatus::error},
    {reconnecting, stopping},
    {stopping, stopped},
};

TEST(Transitions, EveryPair_IsLegalOrInvalidStateAsTheSpecSays) {
  for (const ServiceStatus from : kServiceStatuses) {
    for (const ServiceStatus to : kServiceStatuses) {
      const auto verdict = check_transition(from, to);
      const std::string pair = std::string(to_string(from)) + " -> " + std::string(to_string(to));
      if (from == to || kLegalBySpec.contains({from, to})) {
        EXPECT_TRUE(verdict.has_value()) << pair;
      } else {
        ASSERT_FALSE(verdict.has_value()) << pair;
        EXPECT_TRUE(verdict.error().is(errc::invalid_state)) << pair;
        EXPECT_EQ(verdict.error().message.rfind("Invalid state: ", 0), 0u) << verdict.error().message;
      }
    }
  }
}

/// What a state machine was told, and what it wants, as texts.
class FsmTest : public ::testing::Test {
 protected:
  FsmTest() { config.reconnect.jitter = 0; }

  ServiceFsm& make(bool networked = true) {
    ExtensionService service;
    service.name = "one";
    if (networked) service.transport.address = "somewhere";
    policy.emplace(config.reconnect, [](std::uint64_t) { return std::uint64_t{0}; });
    fsm.emplace(service, config, *policy);
    return *fsm;
  }
  static std::string text(const ServiceFsm::Action& action) {
    return std::visit(
        [](const auto& a) -> std::string {
          using T = std::decay_t<decltype(a)>;
          if constexpr (std::is_same_v<T, ServiceStatusChanged>) return ">" + std::string(to_string(a.new_status));
          if constexpr (std::is_same_v<T, ServiceReconnecting>) return "reconnecting" + std::to_string(a.attempt);
          if constexpr (std::is_same_v<T, ServiceFsm::StartEnded>) return a.error ? "start-failed" : "start-ok";
          if constexpr (std::is_same_v<T, ServiceFsm::RecoveryEnded>) {
            return a.error ? "recovery-failed" : "recovery-ok";
          }
          if constexpr (std::is_same_v<T, ServiceStarted>) return "started";
          if constexpr (std::is_same_v<T, ServiceHeartbeat>) return "heartbeat";
          if constexpr (std::is_same_v<T, ServiceHeartbeatTimeout>) return "timeout";
          if constexpr (std::is_same_v<T, ServiceError>) return "error";
          if constexpr (std::is_same_v<T, ServiceReconnected>) return "reconnected";
          if constexpr (std::is_same_v<T, ServiceReconnectFailed>) return "reconnect-failed";
          if constexpr (std::is_same_v<T, ServiceStopped>) return "stopped";
          if constexpr (std::is_same_v<T, ServiceFsm::OpenLink>) return "open";
          if constexpr (std::is_same_v<T, ServiceFsm::SendProbe>) return "probe";
          if constexpr (std::is_same_v<T, ServiceFsm::FinishLink>) return "finish";
          if constexpr (std::is_same_v<T, ServiceFsm::CancelLink>) return "cancel";
          if constexpr (std::is_same_v<T, ServiceFsm::ReleaseTransport>) return "release";
          return {};
        },
        action);
  }
  template <class Input>
  std::string after(Input input) {
    ServiceFsm::Actions actions;
    input(actions);
    std::string line;
    for (const auto& action : actions) {
      const std::string one = text(action);
      if (!one.empty()) line += (line.empty() ? "" : " ") + one;
    }
    return line;
  }
  std::string start(bool blocked = false) {
    return after([&](auto& out) { fsm->start(now, blocked, out); });
  }
  std::string ready() {
    return after([&](auto& out) { fsm->link_ready(now, out); });
  }
  std::string lost(Error why = Error(errc::stream_failed, "it broke")) {
    return after([&](auto& out) { fsm->link_lost(why, now, out); });
  }
  std::string answered() {
    return after([&](auto& out) { fsm->probe_answered(now, out); });
  }
  std::string heartbeat() {
    return after([&](auto& out) { fsm->heartbeat(now, out); });
  }
  std::string fail() {
    return after([&](auto& out) { failed = fsm->fail("bad", now, out); });
  }
  std::string stop() {
    return after([&](auto& out) { fsm->stop(now, out); });
  }
  std::string released() {
    return after([&](auto& out) { fsm->released(out); });
  }
  std::string tick(Duration later) {
    now += later;
    return after([&](auto& out) { fsm->tick(now, out); });
  }
  Duration wait() const { return *fsm->next_deadline() - now; }
  /// A running service with a link.
  void run() {
    make();
    start();
    ready();
  }
  /// One whose first attempt has begun to open.
  void attempt() {
    run();
    lost();
    ASSERT_EQ(tick(seconds(1)), "open");
  }

  LifecycleConfig config;
  std::optional<ReconnectPolicy> policy;
  std::optional<ServiceFsm> fsm;
  TimePoint now = TimePoint{} + std::chrono::hours(1);
  Error failed;
};

TEST_F(FsmTest, Start_OpensThenRunsAndProbesAtOnce) {
  make();
  EXPECT_EQ(start(), "started open");
  EXPECT_EQ(fsm->status(), starting);
  EXPECT_EQ(ready(), ">running probe start-ok");
  EXPECT_EQ(wait(), seconds(30));
}

TEST_F(FsmTest, Start_DrivenFromOutside_RunsAtOnceAndIsNotProbed) {
  make(false);
  EXPECT_EQ(start(), "started >running start-ok");
  EXPECT_EQ(wait(), seconds(120)) << "the first check after the timeout of 90 s";
}

TEST_F(FsmTest, Start_WithoutLinkInTime_IsCancelledAndFails) {
  make();
  start();
  EXPECT_EQ(tick(seconds(30)), "cancel");
  EXPECT_EQ(ready(), "") << "too late";
  EXPECT_EQ(lost(), "error >error start-failed reconnecting1 >reconnecting");
}

TEST_F(FsmTest, Start_Blocked_OpensWhenUnblocked) {
  make();
  EXPECT_EQ(start(true), "started");
  EXPECT_TRUE(fsm->blocked());
  EXPECT_EQ(fsm->next_deadline(), std::nullopt);
  EXPECT_EQ(after([&](auto& out) { fsm->unblock(now, out); }), "open");
}

TEST_F(FsmTest, Start_BlockedInVain_FailsWithoutReconnecting) {
  make();
  start(true);
  EXPECT_EQ(after([&](auto& out) { fsm->give_up("x", out); }), "error reconnect-failed >error start-failed");
  EXPECT_EQ(fsm->next_deadline(), std::nullopt);
  EXPECT_EQ(stop(), ">stopping release");
}

TEST_F(FsmTest, Running_ProbesEveryInterval) {
  run();
  EXPECT_EQ(tick(seconds(30)), "probe");
  EXPECT_EQ(answered(), "heartbeat");
  EXPECT_EQ(tick(seconds(29)), "");
  EXPECT_EQ(tick(seconds(1)), "probe");
}

TEST_F(FsmTest, Running_LateTick_ProbesOnceAndKeepsItsPace) {
  run();
  EXPECT_EQ(tick(seconds(75)), "probe");
  EXPECT_EQ(tick({}), "");
  EXPECT_EQ(wait(), seconds(15));
}

TEST_F(FsmTest, Running_SilentForExactlyTheTimeout_StillRuns) {
  make(false);
  start();
  EXPECT_EQ(tick(seconds(90)), "");
  EXPECT_EQ(tick(seconds(29)), "");
  EXPECT_EQ(tick(seconds(1)), "timeout >reconnecting reconnecting1");
}

TEST_F(FsmTest, Running_FailedAfterThreeChecks_NeedsThreeInARow) {
  config.failed_after = 3;
  make(false);
  start();
  EXPECT_EQ(tick(seconds(120)), "");
  EXPECT_EQ(tick(seconds(30)), "");
  EXPECT_EQ(heartbeat(), "heartbeat");
  EXPECT_EQ(tick(seconds(120)), "");
  EXPECT_EQ(tick(seconds(30)), "");
  EXPECT_EQ(tick(seconds(30)), "timeout >reconnecting reconnecting1");
}

TEST_F(FsmTest, TinyTimeout_ChecksStillHaveAnInterval) {
  config.heartbeat_timeout = Duration(1);
  make(false);
  start();
  EXPECT_EQ(wait(), Duration(2));
  EXPECT_EQ(tick(Duration(2)), "timeout >reconnecting reconnecting1");
}

TEST_F(FsmTest, Lost_WithReconnectOff_IsAnErrorAndStays) {
  config.auto_reconnect = false;
  run();
  EXPECT_EQ(lost(), "error >error recovery-ok");
  EXPECT_EQ(fsm->next_deadline(), std::nullopt);
}

TEST_F(FsmTest, Timeout_WithReconnectOff_GoesThroughReconnectingToError) {
  config.auto_reconnect = false;
  make(false);
  start();
  EXPECT_EQ(tick(seconds(120)), "timeout >reconnecting >error recovery-ok");
}

TEST_F(FsmTest, Reconnect_AnsweredIsReconnected) {
  attempt();
  EXPECT_EQ(ready(), "probe");
  EXPECT_EQ(fsm->status(), reconnecting);
  EXPECT_EQ(answered(), "heartbeat reconnected >running recovery-ok");
  EXPECT_FALSE(fsm->recovering());
  EXPECT_EQ(wait(), seconds(30));
}

TEST_F(FsmTest, Reconnect_OpenButSilent_FailsTheAttempt) {
  attempt();
  ready();
  EXPECT_EQ(tick(seconds(30)), "cancel");
  EXPECT_EQ(answered(), "") << "too late";
  EXPECT_EQ(lost(), "reconnecting2");
}

TEST_F(FsmTest, Reconnect_HealthyAfterThree_NeedsThreeAnswersAnIntervalApart) {
  config.healthy_after = 3;
  attempt();
  EXPECT_EQ(ready(), "probe");
  EXPECT_EQ(answered(), "heartbeat");
  EXPECT_EQ(tick(seconds(30)), "probe");
  EXPECT_EQ(answered(), "heartbeat");
  EXPECT_EQ(tick(seconds(30)), "probe");
  EXPECT_EQ(answered(), "heartbeat reconnected >running recovery-ok");
}

TEST_F(FsmTest, Reconnect_HealthyAfterTwo_SecondUnanswered_FailsTheAttempt) {
  config.healthy_after = 2;
  attempt();
  ready();
  answered();
  EXPECT_EQ(tick(seconds(30)), "probe");
  EXPECT_EQ(tick(seconds(30)), "cancel");
}

TEST_F(FsmTest, Reconnect_UsedUp_FailsForGood) {
  config.reconnect.max_attempts = 2;
  attempt();
  EXPECT_EQ(lost(), "reconnecting2");
  EXPECT_EQ(wait(), seconds(2));
  EXPECT_EQ(tick(seconds(2)), "open");
  EXPECT_EQ(lost(), "reconnect-failed >error recovery-failed");
  EXPECT_EQ(fsm->next_deadline(), std::nullopt);
}

TEST_F(FsmTest, Reconnect_WithoutAnyAttemptAllowed_FailsAtOnce) {
  config.reconnect.max_attempts = 0;
  run();
  EXPECT_EQ(lost(), "error >error reconnect-failed recovery-failed");
}

TEST_F(FsmTest, Reconnect_WaitsForTheOldLinkToGo) {
  run();
  EXPECT_EQ(fail(), "error >error cancel reconnecting1 >reconnecting");
  EXPECT_EQ(tick(seconds(1)), "");
  EXPECT_EQ(fsm->next_deadline(), std::nullopt);
  EXPECT_EQ(lost(), "open");
}

TEST_F(FsmTest, Reconnect_DrivenFromOutside_HeartbeatWithinTheWaitSucceeds) {
  make(false);
  start();
  fail();
  EXPECT_EQ(tick(seconds(1)), "reconnecting2");
  EXPECT_EQ(heartbeat(), "heartbeat reconnected >running recovery-ok");
}

TEST_F(FsmTest, Reconnect_SwitchedOffMeanwhile_EndsAtTheNextAttempt) {
  run();
  lost();
  fsm->set_auto_reconnect(false);
  EXPECT_EQ(tick(seconds(1)), ">error recovery-failed");
}

TEST_F(FsmTest, Fail_WhileReconnecting_StartsNothingTwice) {
  attempt();
  EXPECT_EQ(fail(), "error");
  EXPECT_FALSE(failed);
  EXPECT_EQ(ready(), "probe");
}

TEST_F(FsmTest, Fail_WhileStarting_IsAnErrorAndReconnects) {
  make();
  start();
  EXPECT_EQ(fail(), "error >error start-failed cancel reconnecting1 >reconnecting");
}

TEST_F(FsmTest, Fail_InErrorAgain_PublishesNoTransitionAndTriesAgain) {
  config.reconnect.max_attempts = 0;
  run();
  lost();
  EXPECT_EQ(fail(), "error reconnect-failed recovery-failed");
}

TEST_F(FsmTest, Fail_WhileStopping_IsInvalidStateAndChangesNothing) {
  run();
  stop();
  EXPECT_EQ(fail(), "error");
  EXPECT_TRUE(failed.is(errc::invalid_state));
  EXPECT_EQ(failed.message, "Invalid state: service is stopping");
  EXPECT_EQ(fsm->status(), stopping);
}

TEST_F(FsmTest, Intensity_OneMoreRestartThanAllowed_GivesUp) {
  config.supervision = {SupervisionStrategy::one_for_one, 2, seconds(60)};
  run();
  for (int i = 0; i < 2; ++i) {
    EXPECT_EQ(lost(), "error >error reconnecting1 >reconnecting");
    tick(seconds(1));
    ready();
    EXPECT_EQ(answered(), "heartbeat reconnected >running recovery-ok");
  }
  EXPECT_EQ(lost(), "error >error reconnect-failed recovery-failed");
}

TEST_F(FsmTest, Intensity_RestartsOutsideTheWindow_AreForgotten) {
  config.supervision = {SupervisionStrategy::one_for_one, 1, seconds(10)};
  run();
  for (int i = 0; i < 5; ++i) {
    EXPECT_EQ(lost(), "error >error reconnecting1 >reconnecting");
    tick(seconds(1));
    ready();
    answered();
    tick(seconds(9));
  }
}

TEST_F(FsmTest, Hold_FinishesTheLinkAndComesBackWhenUnblocked) {
  run();
  EXPECT_EQ(after([&](auto& out) { fsm->hold(now, out); }), ">reconnecting finish");
  EXPECT_EQ(after([&](auto& out) { fsm->unblock(now, out); }), "reconnecting1");
  EXPECT_EQ(tick(seconds(1)), "") << "the old link is not gone";
  EXPECT_EQ(lost(), "open");
}

TEST_F(FsmTest, Hold_LinkThatDoesNotFinish_IsCancelled) {
  run();
  after([&](auto& out) { fsm->hold(now, out); });
  EXPECT_EQ(wait(), config.stop_timeout);
  EXPECT_EQ(tick(config.stop_timeout), "cancel");
  EXPECT_EQ(fsm->next_deadline(), std::nullopt);
}

TEST_F(FsmTest, Hold_InVain_FailsForGood) {
  run();
  after([&](auto& out) { fsm->hold(now, out); });
  EXPECT_EQ(after([&](auto& out) { fsm->give_up("x", out); }), "reconnect-failed >error recovery-failed");
}

TEST_F(FsmTest, Stop_Running_FinishesThenReleasesThenStops) {
  run();
  EXPECT_EQ(stop(), ">stopping finish");
  EXPECT_EQ(stop(), "") << "again";
  EXPECT_EQ(lost({}), "release");
  EXPECT_EQ(released(), ">stopped stopped");
  EXPECT_EQ(released(), "");
}

TEST_F(FsmTest, Stop_LinkThatDoesNotFinish_IsCancelled) {
  run();
  stop();
  EXPECT_EQ(tick(config.stop_timeout), "cancel");
  EXPECT_EQ(lost(), "release");
}

TEST_F(FsmTest, Stop_Hurried_CancelsAtOnceAndOnce) {
  run();
  stop();
  EXPECT_EQ(after([&](auto& out) { fsm->hurry(now, out); }), "cancel");
  EXPECT_EQ(after([&](auto& out) { fsm->hurry(now, out); }), "");
}

TEST_F(FsmTest, Stop_WhileOpening_CancelsAndFailsTheStart) {
  make();
  start();
  EXPECT_EQ(stop(), ">stopping start-failed cancel");
  EXPECT_EQ(ready(), "");
  EXPECT_EQ(lost(), "release");
}

TEST_F(FsmTest, Stop_WhileBlocked_NeedsNoLink) {
  make();
  start(true);
  EXPECT_EQ(stop(), ">stopping start-failed release");
  EXPECT_EQ(after([&](auto& out) { fsm->unblock(now, out); }), "");
}

TEST_F(FsmTest, Stop_WhileBackingOff_Wins) {
  run();
  lost();
  EXPECT_EQ(stop(), ">stopping recovery-failed release");
  EXPECT_EQ(tick(seconds(100)), "");
}

TEST_F(FsmTest, Stop_WhileAttempting_Wins) {
  attempt();
  EXPECT_EQ(stop(), ">stopping recovery-failed cancel");
  EXPECT_EQ(ready() + answered(), "");
  EXPECT_EQ(lost(), "release");
}

TEST_F(FsmTest, Stop_AfterAnError_FinishesTheLinkThatIsLeft) {
  config.auto_reconnect = false;
  run();
  fail();
  EXPECT_EQ(stop(), ">stopping finish");
}

TEST_F(FsmTest, Stop_AfterGivingUpWithACancelledLink_WaitsForItWithoutAClock) {
  config.supervision = {SupervisionStrategy::one_for_one, 0, seconds(10)};
  run();
  EXPECT_EQ(fail(), "error >error cancel reconnect-failed recovery-failed");
  EXPECT_EQ(stop(), ">stopping");
  EXPECT_EQ(fsm->next_deadline(), std::nullopt);
  EXPECT_EQ(lost(), "release");
}

TEST_F(FsmTest, Heartbeat_ResetsTheCountOfAttempts) {
  attempt();
  EXPECT_EQ(lost(), "reconnecting2");
  EXPECT_EQ(heartbeat(), "heartbeat");
  EXPECT_EQ(tick(seconds(2)), "open");
  EXPECT_EQ(lost(), "reconnecting1");
}

}  // namespace
}  // namespace sharingbus::connector

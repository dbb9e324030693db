// The life of a registration (spec 2): opening, registering, driving. How it ends: registration_fsm_end_test.cpp.
#include "connector/registration/registration_fsm.hpp"

#include <gtest/gtest.h>

#include "tests/connector/registration/registration_life.hpp"

namespace sharingbus::connector {
namespace {

using Opening = RegistrationLife;
using Registering = RegistrationLife;
using Heartbeats = RegistrationLife;
using HeartbeatWatchdog = RegistrationLife;
using Driving = RegistrationLife;
using Attempts = RegistrationLife;
using Rejections = RegistrationLife;

TEST_F(Opening, Start_OpensAStreamWithoutToken) {
  EXPECT_EQ(sut->state(), State::idle);
  EXPECT_EQ(start(), (Texts{"attempt", "open()"}));
  EXPECT_EQ(sut->state(), State::opening);
  EXPECT_EQ(sut->next_deadline(), std::nullopt) << "opening is the transport's to time";
  EXPECT_EQ(start(), Texts{}) << "only once";
}

TEST_F(Opening, Refused_BacksOffAndOpensAgain) {
  to_opening();
  EXPECT_EQ(closed(Error(errc::connection_refused, "nobody there")), (Texts{"failed: nobody there", "wait #1 500ms"}));
  EXPECT_EQ(sut->state(), State::backing_off);
  EXPECT_EQ(until_deadline(), milliseconds(500));
  EXPECT_EQ(tick_after(milliseconds(499)), Texts{});
  EXPECT_EQ(tick_after(milliseconds(1)), (Texts{"attempt", "open()"}));
}

TEST_F(Opening, EveryFailure_DoublesTheWaitUpToTheCap) {
  to_opening();
  Texts waits;
  for (int i = 0; i < 10; ++i) {
    const auto texts = closed(Error(errc::connect_timeout, "late"));
    waits.push_back(texts.back());
    tick_at_deadline();
  }
  EXPECT_EQ(waits,
            (Texts{"wait #1 500ms", "wait #2 1000ms", "wait #3 2000ms", "wait #4 4000ms", "wait #5 8000ms",
                   "wait #6 16000ms", "wait #7 32000ms", "wait #8 60000ms", "wait #9 60000ms", "wait #10 60000ms"}));
}

TEST_F(Opening, HugeCap_DoesNotOverflowTheDeadline) {
  reset({.base_ms = ~std::uint64_t{0}, .cap_ms = ~std::uint64_t{0}, .jitter_ms = 0});
  to_opening();
  closed(Error(errc::connection_refused, ""));
  ASSERT_TRUE(sut->next_deadline().has_value());
  EXPECT_GT(*sut->next_deadline(), now + std::chrono::hours(24));
  EXPECT_EQ(tick_after(std::chrono::hours(24)), Texts{});
}

TEST_F(Registering, Yes_IsRegistered) {
  to_registering();
  EXPECT_EQ(message(yes("secret")), Texts{"registered"});
  EXPECT_EQ(sut->state(), State::driving);
  EXPECT_EQ(sut->drive().session_token, "secret");
  const auto& event = std::get<Registered>(last.front());
  EXPECT_EQ(event.address, "t.c.i");
  EXPECT_EQ(event.arn, "matrix:t:c:i");
  EXPECT_EQ(event.at_unix_ms, unix_ms);
  EXPECT_FALSE(event.again);
}

TEST_F(Registering, YesWithoutToken_KeepsTheOne) {
  to_driving();
  closed();
  reregister("");
  EXPECT_EQ(sut->drive().session_token, "token");
}

TEST_F(Registering, SecondYes_IsAReconnect) {
  to_driving();
  closed();
  EXPECT_EQ(tick_at_deadline(), (Texts{"attempt", "open(token)"}));
  opened();
  EXPECT_EQ(message(yes()), Texts{"registered again"});
}

TEST_F(Registering, OtherMessagesFirst_AreSkipped) {
  to_registering();
  EXPECT_EQ(message(messages::ExecuteRequest{}), Texts{});
  EXPECT_EQ(message(messages::HeartbeatRequest{}), Texts{});
  EXPECT_EQ(message(messages::UnknownMessage{}), Texts{});
  EXPECT_EQ(message(messages::ApprovalNotification{"", messages::RegistrationStatus::rejected, ""}), Texts{});
  EXPECT_EQ(sut->state(), State::registering);
  EXPECT_EQ(message(yes()), Texts{"registered"});
}

TEST_F(Registering, No_FailsWithStatusAndError) {
  to_registering();
  EXPECT_EQ(message(no("Registration failed")),
            Texts{"break: register failed: status='3' error='Registration failed'"});
  EXPECT_TRUE(std::get<RegistrationFsm::CancelStream>(last.front()).why.is(errc::rejected));
  EXPECT_EQ(closed(Error(errc::cancelled, "whatever the transport says")),
            (Texts{"failed: register failed: status='3' error='Registration failed'", "wait #1 500ms"}));
}

TEST_F(Registering, StreamEndsInGoodOrder_SaysSo) {
  for (const Error& end : {Error(), Error(errc::stream_closed, "the peer closed the stream")}) {
    reset();
    to_registering();
    EXPECT_EQ(closed(end), (Texts{"failed: stream closed before register response", "wait #1 500ms"}));
    EXPECT_TRUE(std::get<RegistrationFailed>(last.front()).error.is(errc::stream_closed));
  }
}

TEST_F(Registering, StreamBreaks_GivesTheTransportsStatus) {
  to_registering();
  EXPECT_EQ(closed(Error(errc::stream_failed, "status 14: boom")), (Texts{"failed: status 14: boom", "wait #1 500ms"}));
  EXPECT_TRUE(std::get<RegistrationFailed>(last.front()).error.is(errc::stream_failed));
}

TEST_F(Registering, NoResponse_TimesOut) {
  times.register_timeout = seconds(30);
  reset();
  to_registering();
  EXPECT_EQ(until_deadline(), seconds(30));
  EXPECT_EQ(tick_after(seconds(30) - Duration(1)), Texts{});
  EXPECT_EQ(tick_after(Duration(1)), Texts{"break: register response not received within deadline"});
  EXPECT_TRUE(std::get<RegistrationFsm::CancelStream>(last.front()).why.is(errc::timed_out));
  EXPECT_EQ(message(yes()), Texts{}) << "too late";
  EXPECT_EQ(closed(Error(errc::timed_out, "")),
            (Texts{"failed: register response not received within deadline", "wait #1 500ms"}));
}

TEST_F(Heartbeats, First_GoesOutAfterAFullInterval) {
  to_driving();
  EXPECT_EQ(tick_after(seconds(30) - Duration(1)), Texts{});
  EXPECT_EQ(tick_after(Duration(1)), Texts{"send connector.heartbeat_request"});
  const auto& send = std::get<RegistrationFsm::Send>(last.front());
  EXPECT_EQ(std::get<messages::HeartbeatRequest>(send.message).timestamp_ms, unix_ms);
  EXPECT_EQ(tick(), Texts{});
}

TEST_F(Heartbeats, MissedTicks_CollapseIntoOne) {
  to_driving();
  sut->reading_paused(true, now);  // else the watchdog would end it
  EXPECT_EQ(tick_after(seconds(100)), Texts{"send connector.heartbeat_request"});
  EXPECT_EQ(until_deadline(), seconds(20)) << "the beat goes on at 120 s";
  EXPECT_EQ(tick_after(seconds(20)), Texts{"send connector.heartbeat_request"});
}

// Reference case: heartbeat 5 s / 15 s from the options.
TEST_F(Heartbeats, IntervalAndTimeout_ComeFromTheOptions) {
  times.heartbeat_interval = seconds(5);
  times.heartbeat_timeout = seconds(15);
  reset();
  to_driving();
  EXPECT_EQ(tick_after(seconds(5)), Texts{"send connector.heartbeat_request"});
  EXPECT_EQ(tick_after(seconds(5)), Texts{"send connector.heartbeat_request"});
  EXPECT_EQ(tick_after(seconds(5)), Texts{"send connector.heartbeat_request"}) << "exactly the timeout is not longer";
  EXPECT_EQ(tick_after(Duration(1)), (Texts{"cancel", "break: no heartbeat response in time"}));
}

TEST_F(HeartbeatWatchdog, Silence_EndsTheStreamAfterTheTimeout) {
  to_driving();
  EXPECT_EQ(tick_after(seconds(45)), Texts{"send connector.heartbeat_request"});
  EXPECT_EQ(until_deadline(), Duration(1)) << "after more than the timeout";
  EXPECT_EQ(tick_after(Duration(1)), (Texts{"cancel", "break: no heartbeat response in time"}));
  EXPECT_EQ(closed(Error(errc::timed_out, "")), (Texts{"cancel", "disconnected heartbeat-timeout", "wait #1 500ms"}));
}

TEST_F(HeartbeatWatchdog, StartsWhenDrivingStarts) {
  to_registering();
  now += seconds(29);
  message(yes());
  EXPECT_EQ(tick_after(seconds(30)), Texts{"send connector.heartbeat_request"});
  EXPECT_EQ(tick_after(seconds(15)), Texts{});
  EXPECT_EQ(tick_after(Duration(1)).size(), 2u);
}

TEST_F(HeartbeatWatchdog, OnlyAHeartbeatResponse_FeedsIt) {
  to_driving();
  now += seconds(30);
  tick();
  now += seconds(10);
  message(messages::HeartbeatResponse{});
  EXPECT_EQ(tick_after(seconds(45)), Texts{"send connector.heartbeat_request"}) << "85 s";
  message(messages::HeartbeatRequest{});
  message(messages::ExecuteRequest{});
  message(yes());
  EXPECT_EQ(tick_after(Duration(1)), (Texts{"cancel", "break: no heartbeat response in time"}));
}

TEST_F(HeartbeatWatchdog, WhileReadingIsPaused_IsSuspendedThenStartsAnew) {
  to_driving();
  now += seconds(40);
  tick();
  sut->reading_paused(true, now);
  EXPECT_EQ(until_deadline(), seconds(20)) << "only the next heartbeat";
  now += std::chrono::hours(1);
  EXPECT_EQ(tick(), Texts{"send connector.heartbeat_request"});
  sut->reading_paused(true, now);
  sut->reading_paused(false, now);
  sut->reading_paused(false, now + seconds(44));  // already going on
  now += seconds(45);
  tick();
  EXPECT_EQ(sut->state(), State::driving);
  EXPECT_EQ(tick_after(Duration(1)), (Texts{"cancel", "break: no heartbeat response in time"}));
}

TEST_F(HeartbeatWatchdog, PauseOfAnEarlierStream_DoesNotSuspendTheNext) {
  to_driving();
  sut->reading_paused(true, now);
  closed();
  reregister();
  now += seconds(45) + Duration(1);
  EXPECT_EQ(tick(), (Texts{"cancel", "break: no heartbeat response in time"}));
}

TEST_F(Driving, Messages_GoThroughTheReactionTable) {
  to_driving();
  messages::ExecuteRequest request;
  request.request_id = "r1";
  EXPECT_EQ(message(request), Texts{"execute r1"});
  EXPECT_EQ(message(messages::HeartbeatRequest{}), Texts{"send connector.heartbeat_response"});
  EXPECT_EQ(message(messages::HeartbeatResponse{}), Texts{});
  EXPECT_EQ(message(messages::UnknownMessage{}), Texts{"note: empty message ignored"});
  EXPECT_EQ(message(messages::ApprovalNotification{"", messages::RegistrationStatus::pending, "m"}),
            Texts{"note: approval pending: m"});
}

TEST_F(Driving, YesInStream_RenewsTokenAndTime) {
  to_driving();
  unix_ms += 5'000;
  EXPECT_EQ(message(yes("fresh")), Texts{"renewed"});
  EXPECT_EQ(std::get<RegistrationRenewed>(last.front()).at_unix_ms, unix_ms);
  EXPECT_EQ(sut->drive().session_token, "fresh");
  closed();
  EXPECT_EQ(next_token(), "fresh");
}

TEST_F(Driving, NoInStream_WarnsAndStays) {
  to_driving();
  EXPECT_EQ(message(no("expired")), Texts{"warn: register failed in stream: status='3' error='expired'"});
  EXPECT_EQ(sut->state(), State::driving);
}

TEST_F(Attempts, ShortStream_GoesOnBackingOff) {
  to_driving();
  for (const char* wait : {"wait #1 500ms", "wait #2 1000ms", "wait #3 2000ms"}) {
    now += seconds(10) - Duration(1);
    EXPECT_EQ(closed(), (Texts{"cancel", "disconnected server-closed", wait}));
    reregister();
  }
}

TEST_F(Attempts, StreamThatLivedLongEnough_StartsOver) {
  to_driving();
  closed();
  reregister();
  closed();
  reregister();
  now += seconds(10);
  EXPECT_EQ(closed(), (Texts{"cancel", "disconnected server-closed", "wait #1 500ms"}));
}

TEST_F(Attempts, AnsweredHeartbeat_StartsOver) {
  times.heartbeat_interval = seconds(1);
  reset();
  to_driving();
  closed();
  reregister();
  EXPECT_EQ(tick_at_deadline(), Texts{"send connector.heartbeat_request"});
  message(messages::HeartbeatResponse{});
  EXPECT_EQ(closed().back(), "wait #1 500ms");
  reregister();
  EXPECT_EQ(closed().back(), "wait #2 1000ms") << "the answer was the earlier stream's";
}

// A server that accepts and closes must not make a hot loop, in whatever way the waits grow.
TEST_F(Attempts, ShortStreamsWithDecorrelatedJitter_KeepGrowing) {
  reset({.jitter_ms = 1, .mode = JitterMode::decorrelated}, [](std::uint64_t bound) { return bound; });
  to_driving();
  EXPECT_EQ(closed().back(), "wait #1 1500ms");
  reregister();
  EXPECT_EQ(closed().back(), "wait #2 4500ms");
  reregister();
  now += seconds(10);
  EXPECT_EQ(closed().back(), "wait #1 1500ms");
}

TEST_F(Rejections, SecondInARow_DropsTheSessionToken) {
  to_driving();
  closed();
  tick_at_deadline();
  opened();
  message(no());
  closed();
  EXPECT_EQ(next_token(), "token") << "the first keeps it";
  opened();
  message(no());
  closed();
  EXPECT_EQ(next_token(), "");
}

TEST_F(Rejections, SuccessBetween_StartsTheCountOver) {
  to_driving();
  closed();
  for (int i = 0; i < 3; ++i) {
    tick_at_deadline();
    opened();
    message(no());
    closed();
    EXPECT_EQ(next_token(), "token");
    opened();
    message(yes());
    closed();
  }
}

TEST_F(Rejections, TransientFailure_NeitherCountsNorResets) {
  to_driving();
  closed();
  const auto fail_with = [this](const Error& error) {
    EXPECT_EQ(next_token(), "token");
    opened();
    closed(error);
  };
  fail_with(Error(errc::unauthenticated, "once"));
  fail_with(Error(errc::stream_failed, "broken"));
  fail_with(Error(errc::rejected, "permission denied is no word about our tokens"));
  fail_with(Error(errc::stream_closed, ""));
  fail_with(Error(errc::timed_out, ""));
  fail_with(Error(errc::invalid_argument, "twice"));
  EXPECT_EQ(next_token(), "");
}

TEST_F(Rejections, StatusOnOpening_IsTransient) {
  to_driving();
  closed();
  for (int i = 0; i < 4; ++i) {
    EXPECT_EQ(next_token(), "token");
    closed(Error(errc::unauthenticated, "before the stream was open"));
  }
}

TEST_F(Rejections, NoInStream_CountsToo) {
  to_driving();
  message(no());
  message(no());
  closed();
  EXPECT_EQ(next_token(), "");
}

TEST_F(Rejections, YesInStream_StartsTheCountOver) {
  to_driving();
  message(no());
  message(yes(""));
  message(no());
  closed();
  EXPECT_EQ(next_token(), "token");
}

}  // namespace
}  // namespace sharingbus::connector

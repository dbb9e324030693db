// How streams and registrations end (spec 2, Life of a registration, 5), and shutdown in every state.
#include <algorithm>
#include <functional>
#include <vector>

#include <gtest/gtest.h>

#include "tests/connector/registration/registration_life.hpp"

namespace sharingbus::connector {
namespace {

using StreamEnd = RegistrationLife;
using Shutdown = RegistrationLife;
using Drain = RegistrationLife;
using ReconnectOff = RegistrationLife;
using Ended = RegistrationLife;

TEST_F(StreamEnd, PeerClosedInGoodOrder_IsServerClosed) {
  for (const Error& end : {Error(), Error(errc::stream_closed, "")}) {
    reset();
    to_driving();
    EXPECT_EQ(closed(end), (Texts{"cancel", "disconnected server-closed", "wait #1 500ms"}));
  }
}

TEST_F(StreamEnd, Broken_IsStreamErrorWithDetail) {
  to_driving();
  EXPECT_EQ(closed(Error(errc::stream_failed, "reset by peer")),
            (Texts{"cancel", "disconnected stream-error", "wait #1 500ms"}));
  const auto& event = std::get<Disconnected>(last[1]);
  EXPECT_EQ(to_string(event.detail), "reset by peer");
  EXPECT_EQ(event.at_unix_ms, unix_ms);
}

TEST_F(StreamEnd, ApprovalRejected_IsServerClosedAndAsksAgain) {
  to_driving();
  EXPECT_EQ(message(messages::ApprovalNotification{"", messages::RegistrationStatus::rejected, "no"}),
            (Texts{"warn: approval rejected: no", "cancel", "break: ended by the connector after a rejection"}));
  EXPECT_EQ(message(messages::HeartbeatRequest{}), Texts{}) << "nothing counts any more";
  EXPECT_EQ(closed(Error(errc::rejected, "")), (Texts{"cancel", "disconnected server-closed", "wait #1 500ms"}));
  EXPECT_EQ(tick_at_deadline(), (Texts{"attempt", "open(token)"}));
}

TEST_F(StreamEnd, SendFailed_IsOutboundClosed) {
  to_driving();
  EXPECT_EQ(send_failed(), (Texts{"cancel", "break: the stream takes no more messages"}));
  EXPECT_EQ(send_failed(), Texts{});
  EXPECT_EQ(closed(Error(errc::stream_failed, "")), (Texts{"cancel", "disconnected outbound-closed", "wait #1 500ms"}));
}

TEST_F(StreamEnd, TransportThatNeverEndsIt_IsToldOnceMore) {
  to_driving();
  send_failed();
  EXPECT_EQ(until_deadline(), seconds(1));
  EXPECT_EQ(tick_after(seconds(1)), Texts{"break: the peer did not finish the stream"});
  EXPECT_EQ(sut->next_deadline(), std::nullopt);
  EXPECT_EQ(tick_after(seconds(100)), Texts{});
}

TEST_F(StreamEnd, WithoutAStream_IsIgnored) {
  EXPECT_EQ(closed(), Texts{});
  to_backing_off();
  EXPECT_EQ(closed(), Texts{});
  EXPECT_EQ(message(yes()), Texts{});
  EXPECT_EQ(opened(), Texts{});
  EXPECT_EQ(send_failed(), Texts{});
  EXPECT_EQ(sut->state(), State::backing_off);
}

// Spec 2, Life, 1.
TEST_F(Shutdown, BeforeTheStart_EndsAtOnce) {
  EXPECT_EQ(shutdown(), Texts{});
  EXPECT_EQ(start(), Texts{"end"});
}

TEST_F(Shutdown, WhileOpening_BreaksTheStreamAndEnds) {
  to_opening();
  EXPECT_EQ(shutdown(), Texts{"break: shutdown"});
  EXPECT_EQ(opened(), Texts{}) << "it may have been on its way";
  EXPECT_EQ(closed(Error(errc::cancelled, "shutdown")), Texts{"end"});
}

// Reference case: shutdown during the register wait.
TEST_F(Shutdown, WhileRegistering_BreaksTheStreamAndEnds) {
  to_registering();
  EXPECT_EQ(shutdown(), Texts{"break: shutdown"});
  EXPECT_EQ(message(yes()), Texts{}) << "too late";
  EXPECT_EQ(closed(Error(errc::cancelled, "shutdown")), Texts{"end"});
}

TEST_F(Shutdown, WhileBackingOff_EndsAtOnce) {
  to_backing_off();
  EXPECT_EQ(shutdown(), Texts{"end"});
  EXPECT_EQ(sut->next_deadline(), std::nullopt);
}

TEST_F(Shutdown, WhileDrivingWithNothingInFlight_FinishesAtOnce) {
  to_driving();
  EXPECT_EQ(shutdown(), (Texts{"drain", "finish"}));
  EXPECT_EQ(closed(Error()), (Texts{"cancel", "disconnected shutdown", "end"}));
}

TEST_F(Shutdown, PeerThatDoesNotFinish_IsBrokenAfterASecond) {
  to_driving();
  shutdown();
  EXPECT_EQ(tick_after(seconds(1) - Duration(1)), Texts{});
  EXPECT_EQ(tick_after(Duration(1)), Texts{"break: the peer did not finish the stream"});
  EXPECT_EQ(closed(Error(errc::cancelled, "")), (Texts{"cancel", "disconnected shutdown", "end"}));
}

TEST_F(Shutdown, WhileClosing_EndsWithTheStreamsOwnReason) {
  to_driving();
  send_failed();
  EXPECT_EQ(shutdown(), Texts{});
  EXPECT_EQ(closed(), (Texts{"cancel", "disconnected outbound-closed", "end"}));
}

TEST_F(Shutdown, WhileClosingBeforeRegistration_EndsCleanly) {
  to_registering();
  message(no());
  EXPECT_EQ(shutdown(), Texts{});
  EXPECT_EQ(closed(), Texts{"end"});
}

TEST_F(Shutdown, Twice_IsOnce) {
  to_driving();
  in_flight(1);
  EXPECT_EQ(shutdown(), Texts{"drain"});
  EXPECT_EQ(shutdown(), Texts{});
}

TEST_F(Drain, LastRequestDone_FinishesTheStream) {
  to_driving();
  in_flight(2);
  EXPECT_EQ(shutdown(), Texts{"drain"});
  EXPECT_EQ(sut->state(), State::draining);
  EXPECT_EQ(in_flight(1), Texts{});
  EXPECT_EQ(in_flight(0), Texts{"finish"});
  EXPECT_EQ(in_flight(0), Texts{}) << "once";
  EXPECT_EQ(closed(Error()), (Texts{"cancel", "disconnected shutdown", "end"}));
}

TEST_F(Drain, RequestsThatTakeLonger_AreCancelledAndAnswered) {
  to_draining();
  EXPECT_EQ(until_deadline(), seconds(5));
  EXPECT_EQ(tick_after(seconds(5) - Duration(1)), Texts{});
  EXPECT_EQ(tick_after(Duration(1)), (Texts{"cancel and answer", "finish"}));
  EXPECT_EQ(in_flight(0), Texts{});
  EXPECT_EQ(closed(Error()), (Texts{"cancel", "disconnected shutdown", "end"}));
}

TEST_F(Drain, MeanwhileMessages_AreStillHandled) {
  to_draining();
  EXPECT_EQ(message(messages::HeartbeatRequest{}), Texts{"send connector.heartbeat_response"});
  EXPECT_EQ(message(messages::ApprovalNotification{"", messages::RegistrationStatus::rejected, ""}),
            Texts{"warn: approval rejected: "});
  EXPECT_EQ(sut->state(), State::draining);
}

TEST_F(Drain, LongerThanTheHeartbeats_KeepsBeating) {
  times.drain = seconds(300);
  reset();
  to_draining();
  EXPECT_EQ(tick_after(seconds(30)), Texts{"send connector.heartbeat_request"});
  EXPECT_EQ(tick_after(seconds(100)), Texts{"send connector.heartbeat_request"}) << "and no watchdog";
}

TEST_F(Drain, StreamEndsMeanwhile_CancelsWhatRuns) {
  to_draining();
  EXPECT_EQ(closed(Error(errc::stream_failed, "gone")), (Texts{"cancel", "disconnected shutdown", "end"}));
}

TEST_F(Drain, OfZero_CancelsAtTheNextTick) {
  times.drain = {};
  reset();
  to_draining();
  EXPECT_EQ(tick(), (Texts{"cancel and answer", "finish"}));
}

TEST_F(ReconnectOff, AnyEnd_EndsTheRegistrationWithItsReason) {
  times.reconnect = false;
  const auto fresh = [this] { reset(); };
  fresh();
  to_opening();
  EXPECT_EQ(closed(Error(errc::connection_refused, "refused")), (Texts{"failed: refused", "end: refused"}));
  fresh();
  to_registering();
  message(no("nope"));
  EXPECT_EQ(closed(), (Texts{"failed: register failed: status='3' error='nope'",
                             "end: register failed: status='3' error='nope'"}));
  fresh();
  to_driving();
  EXPECT_EQ(closed(), (Texts{"cancel", "disconnected server-closed", "end: server-closed"}));
  fresh();
  to_driving();
  EXPECT_EQ(closed(Error(errc::stream_failed, "x")),
            (Texts{"cancel", "disconnected stream-error", "end: stream-error"}));
}

TEST_F(ReconnectOff, Shutdown_EndsCleanly) {
  times.reconnect = false;
  reset();
  to_driving();
  shutdown();
  EXPECT_EQ(closed(Error()).back(), "end");
}

TEST_F(Ended, WhateverComes_StaysEnded) {
  to_backing_off();
  ASSERT_EQ(shutdown(), Texts{"end"});
  const std::vector<std::function<Texts()>> inputs{
      [this] { return start(); },       [this] { return opened(); },     [this] { return message(yes()); },
      [this] { return closed(); },      [this] { return shutdown(); },   [this] { return in_flight(3); },
      [this] { return send_failed(); }, [this] { return in_flight(0); }, [this] { return tick_after(seconds(100)); },
  };
  for (const auto& input : inputs)
    EXPECT_EQ(input(), Texts{});
  sut->reading_paused(true, now);
  sut->reading_paused(false, now);
  EXPECT_EQ(sut->state(), State::ended);
  EXPECT_EQ(sut->next_deadline(), std::nullopt);
}

}  // namespace
}  // namespace sharingbus::connector

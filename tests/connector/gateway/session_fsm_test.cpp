#include "connector/gateway/internal/session_fsm.hpp"

#include <chrono>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "connector/gateway/internal/session_token.hpp"

namespace sharingbus::connector::internal {
namespace {

using namespace std::chrono_literals;
namespace messages = transport::messages;
using State = SessionFsm::State;

messages::RegisterRequest register_request(std::string tenant = "acme", std::string type = "echo",
                                           std::string instance = "one") {
  messages::RegisterRequest request;
  request.tenant_id = std::move(tenant);
  request.connector_type = std::move(type);
  request.instance_id = std::move(instance);
  request.capabilities.version = "1.2.3";
  return request;
}

/// What an action is, for comparing sequences of them.
std::string name_of(const SessionFsm::Action& action) {
  struct Visitor {
    std::string operator()(const SessionFsm::Send& send) const {
      return "send " + std::string(messages::message_name(send.message));
    }
    std::string operator()(const SessionFsm::Claim& claim) const { return "claim " + claim.identity.address; }
    std::string operator()(const SessionFsm::Release&) const { return "release"; }
    std::string operator()(const SessionFsm::FinishStream&) const { return "finish"; }
    std::string operator()(const SessionFsm::CancelStream&) const { return "cancel"; }
    std::string operator()(const ConnectorRegistered&) const { return "registered"; }
    std::string operator()(const ConnectorRefused&) const { return "refused"; }
    std::string operator()(const ConnectorDisconnected&) const { return "disconnected"; }
  };
  return std::visit(Visitor{}, action);
}

class SessionFsmTest : public ::testing::Test {
 protected:
  std::vector<std::string> take() {
    std::vector<std::string> names;
    for (const auto& action : actions)
      names.push_back(name_of(action));
    last = std::exchange(actions, {});
    return names;
  }
  template <class T>
  const T& last_of() const {
    const T* found = nullptr;
    for (const auto& action : last) {
      if (const T* held = std::get_if<T>(&action)) found = held;
    }
    if (found == nullptr) throw std::runtime_error("no such action");
    return *found;
  }
  template <class T>
  const T& sent() const {
    return std::get<T>(last_of<SessionFsm::Send>().message);
  }
  Moment at(Duration since_start) const {
    return {start + since_start,
            1'700'000'000'000 + std::chrono::duration_cast<std::chrono::milliseconds>(since_start).count()};
  }
  void be_registered() {
    sut.message(register_request(), 100, at(0s), actions);
    sut.claimed(false, at(0s), actions);
    take();
  }

  const TimePoint start = TimePoint{} + 1h;
  GatewayOptions options{.log = nullptr};
  std::string token = "token";
  SessionFsm sut{options,
                 [this](std::string_view address, std::int64_t expires) {
                   return token.empty() ? "" : token + " " + std::string(address) + " " + std::to_string(expires);
                 },
                 "peer", start};
  SessionFsm::Actions actions;
  SessionFsm::Actions last;
};

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

TEST_F(SessionFsmTest, Register_Granted_IsAnsweredApproved) {
  sut.message(register_request(), 100, at(1s), actions);
  EXPECT_THAT(take(), ElementsAre("claim acme.echo.one"));
  EXPECT_EQ(sut.state(), State::awaiting_register);

  sut.claimed(true, at(1s), actions);
  EXPECT_THAT(take(), ElementsAre("registered", "send connector.register_response"));
  const auto& response = sent<messages::RegisterResponse>();
  EXPECT_TRUE(response.success);
  EXPECT_EQ(response.status, messages::RegistrationStatus::approved);
  EXPECT_EQ(response.connector_arn, "matrix:acme:echo:one");
  EXPECT_EQ(response.address, "acme.echo.one");
  EXPECT_EQ(response.error, "");
  EXPECT_EQ(response.session_token, "token acme.echo.one " + std::to_string(1'700'000'001 + 24 * 3600));
  const auto& event = last_of<ConnectorRegistered>();
  EXPECT_EQ(event.display_name, "one") << "the instance, when it names none";
  EXPECT_EQ(event.version, "1.2.3");
  EXPECT_TRUE(event.replaced);
  EXPECT_TRUE(sut.registered());
}

TEST_F(SessionFsmTest, Register_UnsanitisedIdentifiers_AreSanitised) {
  sut.message(register_request("a.b", "c:d", "e f\tg\nh"), 100, at(0s), actions);
  EXPECT_THAT(take(), ElementsAre("claim a-b.c-d.e-f-g-h"));
  EXPECT_EQ(last_of<SessionFsm::Claim>().identity.arn, "matrix:a-b:c-d:e-f-g-h");
}

TEST_F(SessionFsmTest, Register_LongNames_AreCutBetweenCharacters) {
  auto request = register_request();
  request.instance_metadata.display_name = std::string(255, 'x') + "é and more";
  request.capabilities.version = std::string(1000, '1');
  sut.message(request, 100, at(0s), actions);
  take();
  EXPECT_EQ(last_of<SessionFsm::Claim>().identity.display_name, std::string(255, 'x'));
  EXPECT_EQ(last_of<SessionFsm::Claim>().identity.version, std::string(256, '1'));
}

struct BadIdentity {
  const char* field;
  messages::RegisterRequest request;
  std::string arn;
};

class SessionFsmBadIdentity : public SessionFsmTest, public ::testing::WithParamInterface<int> {
 protected:
  static BadIdentity sample(int index) {
    const std::string big(257, 'x');
    const std::string cut(256, 'x');
    switch (index) {
      case 0:
        return {"tenant_id is empty", register_request("", "t", "i"), "matrix::t:i"};
      case 1:
        return {"connector_type is empty", register_request("expired", "", "i"), "matrix:expired::i"};
      case 2:
        return {"instance_id is empty", register_request("t", "unauthorized", ""), "matrix:t:unauthorized:"};
      case 3:
        return {"tenant_id is longer", register_request(big, "t", "i"), "matrix:" + cut + ":t:i"};
      case 4:
        return {"connector_type is longer", register_request("t", big, "i"), "matrix:t:" + cut + ":i"};
      default:
        return {"instance_id is longer", register_request("t", "t", big), "matrix:t:t:" + cut};
    }
  }
};

TEST_P(SessionFsmBadIdentity, Register_IsRefusedNamingTheField) {
  const BadIdentity bad = sample(GetParam());
  sut.message(bad.request, 100, at(0s), actions);
  EXPECT_THAT(take(), ElementsAre("send connector.register_response", "refused", "finish"));
  const auto& response = sent<messages::RegisterResponse>();
  EXPECT_FALSE(response.success);
  EXPECT_THAT(response.error, HasSubstr(bad.field));
  EXPECT_EQ(response.connector_arn, bad.arn);
  EXPECT_EQ(response.session_token, "");
  for (const char* word : {"expired", "jwt_invalid", "jwt_decode", "invalid_token", "token_expired", "invalid token",
                           "auth_invalid", "unauthorized", "unauthenticated"}) {
    EXPECT_THAT(response.error, Not(HasSubstr(word))) << "clients would drop their credentials";
  }
  EXPECT_TRUE(last_of<ConnectorRefused>().error.is(errc::invalid_argument));
  EXPECT_EQ(sut.state(), State::finishing);
}

INSTANTIATE_TEST_SUITE_P(Fields, SessionFsmBadIdentity, ::testing::Range(0, 6));

TEST_F(SessionFsmTest, Claim_Refused_AnswersAndFinishes) {
  sut.message(register_request(), 100, at(0s), actions);
  take();
  sut.claim_refused(Error(errc::already_exists, "taken"), at(0s), actions);
  EXPECT_THAT(take(), ElementsAre("send connector.register_response", "refused", "finish"));
  EXPECT_EQ(sent<messages::RegisterResponse>().error, "taken");
  EXPECT_EQ(sent<messages::RegisterResponse>().connector_arn, "matrix:acme:echo:one");
  EXPECT_EQ(last_of<ConnectorRefused>().address, "acme.echo.one");

  sut.tick(at(options.register_timeout), actions);
  EXPECT_THAT(take(), ElementsAre("cancel")) << "the peer did not close in time";
  EXPECT_EQ(sut.next_deadline(), std::nullopt);
}

TEST_F(SessionFsmTest, Register_WithoutRandomBytes_IsRefusedBeforeTheClaim) {
  token = "";
  sut.message(register_request(), 100, at(0s), actions);
  EXPECT_THAT(take(), ElementsAre("send connector.register_response", "refused", "finish"));
  EXPECT_TRUE(last_of<ConnectorRefused>().error.is(errc::internal));
}

TEST_F(SessionFsmTest, FirstMessage_NotARegister_EndsTheStreamNamingIt) {
  const auto other = [](std::string name) {
    return [name](SessionFsm& fsm, Moment now, auto& out) { fsm.other_message(name, now, out); };
  };
  const std::vector<std::pair<std::string, std::function<void(SessionFsm&, Moment, SessionFsm::Actions&)>>> cases{
      {"connector.execute_response", other("connector.execute_response")},
      {"connector.register_response", other("connector.register_response")},
      {"connector.heartbeat_request",
       [](SessionFsm& fsm, Moment now, auto& out) { fsm.message(messages::HeartbeatRequest{}, now, out); }},
      {"the first message is empty",
       [](SessionFsm& fsm, Moment now, auto& out) {
         fsm.message(messages::UnknownMessage{true, 0}, now, out);
       }},
      {"unknown message (field 77)",
       [](SessionFsm& fsm, Moment now, auto& out) {
         fsm.message(messages::UnknownMessage{false, 77}, now, out);
       }},
  };
  for (const auto& [text, input] : cases) {
    SCOPED_TRACE(text);
    SessionFsm fsm(
        options, [](auto...) { return "t"; }, "peer", start);
    input(fsm, at(0s), actions);
    EXPECT_THAT(take(), ElementsAre("refused", "cancel"));
    const Error& why = last_of<SessionFsm::CancelStream>().why;
    EXPECT_TRUE(why.is(errc::protocol_violation));
    EXPECT_THAT(why.message, HasSubstr(text));
    EXPECT_EQ(fsm.state(), State::cancelled);
    fsm.message(register_request(), 100, at(0s), actions);
    EXPECT_THAT(take(), IsEmpty()) << "too late";
  }
}

TEST_F(SessionFsmTest, Registered_EmptyUnknownAndOtherMessages_AreIgnored) {
  be_registered();
  sut.message(messages::UnknownMessage{true, 0}, at(1s), actions);
  sut.message(messages::UnknownMessage{false, 99}, at(1s), actions);
  sut.other_message("connector.metrics_report", at(1s), actions);
  sut.other_message("connector.register_response", at(1s), actions);
  EXPECT_THAT(take(), IsEmpty());
  EXPECT_TRUE(sut.registered());
}

TEST_F(SessionFsmTest, Heartbeat_IsEchoed) {
  be_registered();
  sut.message(messages::HeartbeatRequest{"some id", 42}, at(1s), actions);
  EXPECT_THAT(take(), ElementsAre("send connector.heartbeat_response"));
  EXPECT_EQ(sent<messages::HeartbeatResponse>(), (messages::HeartbeatResponse{"some id", 42, false}));
}

TEST_F(SessionFsmTest, ReRegister_SameIdentity_GetsANewToken) {
  be_registered();
  sut.message(register_request(), 100, at(10s), actions);
  EXPECT_THAT(take(), ElementsAre("send connector.register_response"));
  EXPECT_TRUE(sent<messages::RegisterResponse>().success);
  EXPECT_EQ(sent<messages::RegisterResponse>().session_token,
            "token acme.echo.one " + std::to_string(1'700'000'010 + 24 * 3600));
}

TEST_F(SessionFsmTest, ReRegister_AnotherIdentity_FailsAndTheStreamStays) {
  be_registered();
  for (const auto& request : {register_request("acme", "echo", "two"), register_request("", "echo", "one")}) {
    sut.message(request, 100, at(10s), actions);
    EXPECT_THAT(take(), ElementsAre("send connector.register_response"));
    EXPECT_FALSE(sent<messages::RegisterResponse>().success);
    EXPECT_NE(sent<messages::RegisterResponse>().error, "");
  }
  EXPECT_TRUE(sut.registered());
  EXPECT_EQ(sut.identity().address, "acme.echo.one");
}

TEST_F(SessionFsmTest, Tick_NoRegisterInTime_Cancels) {
  EXPECT_EQ(sut.next_deadline(), start + 10s);
  sut.tick(at(10s - 1ns), actions);
  EXPECT_THAT(take(), IsEmpty());
  sut.tick(at(10s), actions);
  EXPECT_THAT(take(), ElementsAre("refused", "cancel"));
  EXPECT_TRUE(last_of<SessionFsm::CancelStream>().why.is(errc::timed_out));
}

TEST_F(SessionFsmTest, Tick_OneThatOnlyAnswers_IsAskedAnIntervalLater) {
  be_registered();
  Duration answered{};
  for (int i = 1; i <= 5; ++i) {
    const Duration due = answered + 45s;
    EXPECT_EQ(sut.next_deadline(), start + due);
    sut.tick(at(due - 1ns), actions);
    EXPECT_THAT(take(), IsEmpty());
    sut.tick(at(due), actions);
    EXPECT_THAT(take(), ElementsAre("send connector.heartbeat_request"));
    EXPECT_EQ(sent<messages::HeartbeatRequest>().timestamp_ms, at(due).unix_ms);
    answered = due + 1s;
    sut.other_message("connector.heartbeat_response", at(answered), actions);
  }
}

TEST_F(SessionFsmTest, Tick_OneThatBeatsByItself_IsNeverAsked) {
  be_registered();
  for (int i = 1; i <= 5; ++i) {
    sut.message(messages::HeartbeatRequest{}, at(i * 30s), actions);
    EXPECT_THAT(take(), ElementsAre("send connector.heartbeat_response"));
    sut.tick(at(i * 30s + 30s - 1ns), actions);
    EXPECT_THAT(take(), IsEmpty());
  }
}

TEST_F(SessionFsmTest, Tick_OneThatIsSilent_IsAskedEachInterval) {
  options.session_timeout = 600s;
  be_registered();
  for (int i = 1; i <= 5; ++i) {
    EXPECT_EQ(sut.next_deadline(), start + i * 45s);
    sut.tick(at(i * 45s), actions);
    EXPECT_THAT(take(), ElementsAre("send connector.heartbeat_request"));
  }
}

TEST_F(SessionFsmTest, Tick_SilentPeer_IsReaped) {
  be_registered();
  sut.other_message("connector.heartbeat_response", at(20s), actions);
  sut.tick(at(110s - 1ns), actions);
  EXPECT_THAT(take(), ElementsAre("send connector.heartbeat_request"));
  EXPECT_EQ(sut.next_deadline(), start + 110s);
  sut.tick(at(110s), actions);
  EXPECT_THAT(take(), ElementsAre("release", "disconnected", "cancel"));
  EXPECT_TRUE(last_of<ConnectorDisconnected>().error.is(errc::timed_out));
}

TEST_F(SessionFsmTest, End_Graceful_FinishesThenCancels) {
  be_registered();
  sut.end(Error(errc::closed, "closing"), true, at(5s), actions);
  EXPECT_THAT(take(), ElementsAre("release", "disconnected", "finish"));
  sut.end(Error(errc::closed, "closing"), true, at(6s), actions);
  EXPECT_THAT(take(), IsEmpty());
  sut.message(messages::HeartbeatRequest{}, at(6s), actions);
  EXPECT_THAT(take(), IsEmpty()) << "nothing more is sent";
  sut.end(Error(errc::closed, "closing"), false, at(7s), actions);
  EXPECT_THAT(take(), ElementsAre("cancel"));
  sut.end(Error(errc::closed, "closing"), false, at(7s), actions);
  EXPECT_THAT(take(), IsEmpty());
  sut.stream_closed(Error(errc::closed, "closing"), actions);
  EXPECT_THAT(take(), IsEmpty());
}

TEST_F(SessionFsmTest, FirstMessageThatIsNoMessageOrTooLarge_IsReportedAsRefused) {
  for (const errc code : {errc::malformed_frame, errc::message_too_large}) {
    SessionFsm waiting(
        options, [](std::string_view, std::int64_t) { return std::string("token"); }, "peer", start);
    waiting.stream_closed(Error(code, "what it sent"), actions);
    EXPECT_THAT(take(), ElementsAre("refused"));
    EXPECT_EQ(last_of<ConnectorRefused>().error, Error(code, "what it sent"));
  }
}

TEST_F(SessionFsmTest, StreamClosed_EachState_DisconnectsOnlyTheRegistered) {
  SessionFsm waiting(
      options, [](auto...) { return "t"; }, "peer", start);
  waiting.stream_closed({}, actions);
  EXPECT_THAT(take(), IsEmpty());
  EXPECT_EQ(waiting.state(), State::closed);

  be_registered();
  sut.stream_closed({}, actions);
  EXPECT_THAT(take(), ElementsAre("release", "disconnected"));
  EXPECT_TRUE(last_of<ConnectorDisconnected>().error.is(errc::stream_closed)) << "a good end is one, too";
  sut.stream_closed(Error(errc::stream_failed, "again"), actions);
  sut.tick(at(1h), actions);
  sut.message(register_request(), 100, at(1h), actions);
  EXPECT_THAT(take(), IsEmpty());
  EXPECT_EQ(sut.next_deadline(), std::nullopt);
}

TEST(SessionToken, IsReadableByClients) {
  const std::string token = make_session_token("acme.echo.one", 1'700'000'000);
  const auto dot = token.find('.');
  ASSERT_NE(dot, std::string::npos);
  EXPECT_EQ(token.substr(0, dot), base64url(R"({"exp":1700000000,"sub":"acme.echo.one"})"));
  EXPECT_EQ(token.size() - dot - 1, 43U) << "32 random bytes";
  EXPECT_EQ(token.find_first_not_of("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_."),
            std::string::npos);
  EXPECT_NE(token, make_session_token("acme.echo.one", 1'700'000'000));
}

TEST(SessionToken, Base64url_KnownVectors) {
  EXPECT_EQ(base64url(""), "");
  EXPECT_EQ(base64url("f"), "Zg");
  EXPECT_EQ(base64url("fo"), "Zm8");
  EXPECT_EQ(base64url("foo"), "Zm9v");
  EXPECT_EQ(base64url("\xfb\xff\xfe"), "-__-");
}

TEST(GatewayOptionsTest, Validate_NamesTheField) {
  EXPECT_TRUE(GatewayOptions{}.validate());
  const auto error_of = [](auto change) {
    GatewayOptions options;
    change(options);
    const auto result = options.validate();
    return result ? std::string() : result.error().message;
  };
  EXPECT_THAT(error_of([](auto& o) { o.heartbeat_interval = 0s; }), HasSubstr("heartbeat_interval"));
  EXPECT_THAT(error_of([](auto& o) { o.session_timeout = -1s; }), HasSubstr("session_timeout"));
  EXPECT_THAT(error_of([](auto& o) { o.register_timeout = 0s; }), HasSubstr("register_timeout"));
  EXPECT_THAT(error_of([](auto& o) { o.session_token_lifetime = 1ms; }), HasSubstr("session_token_lifetime"));
  EXPECT_THAT(error_of([](auto& o) { o.max_sessions = 0; }), HasSubstr("max_sessions"));
  EXPECT_THAT(error_of([](auto& o) { o.max_pending_per_session = 0; }), HasSubstr("max_pending_per_session"));
  EXPECT_THAT(error_of([](auto& o) { o.max_invokes_per_session = 0; }), HasSubstr("max_invokes_per_session"));
  EXPECT_THAT(error_of([](auto& o) { o.window.requests = 0; }), HasSubstr("window.requests"));
  EXPECT_THAT(error_of([](auto& o) { o.window.controls = 0; }), HasSubstr("window.controls"));
  EXPECT_THAT(error_of([](auto& o) { o.window.controls = 2'000'000; }), HasSubstr("window"));
}

}  // namespace
}  // namespace sharingbus::connector::internal

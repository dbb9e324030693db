#include "connector/registration/reactions.hpp"

#include <chrono>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include <gtest/gtest.h>

namespace sharingbus::connector {
namespace {

namespace messages = transport::messages;

constexpr TimePoint kNow = TimePoint{} + std::chrono::seconds(1'000);
constexpr std::int64_t kUnixMs = 1'700'000'000'123;

/// Runs the table on one message and keeps all that came out of it.
struct Reaction : ::testing::Test {
  std::optional<StreamOutcome> on(messages::ConnectorMessage message) {
    ReactionSink sink;
    sink.send = [this](messages::ConnectorMessage sent_message) { sent.push_back(std::move(sent_message)); };
    sink.execute = [this](messages::ExecuteRequest request) { executed.push_back(std::move(request)); };
    sink.notice = [this](bool warn, std::string text) { (warn ? warnings : notices).push_back(std::move(text)); };
    return react(message, state, sink, kNow, kUnixMs);
  }
  /// Nothing but, at most, a notice.
  void expect_ignored(messages::ConnectorMessage message) {
    const std::string name(messages::message_name(message));
    EXPECT_EQ(on(std::move(message)), std::nullopt) << name;
    EXPECT_TRUE(sent.empty() && executed.empty() && warnings.empty()) << name;
    EXPECT_EQ(state.last_heartbeat_response, TimePoint{}) << name;
    EXPECT_EQ(state.session_token, "old") << name;
    EXPECT_EQ(notices.size(), 1u) << name;
    notices.clear();
  }

  DriveState state{.session_token = "old"};
  std::vector<messages::ConnectorMessage> sent;
  std::vector<messages::ExecuteRequest> executed;
  std::vector<std::string> notices;
  std::vector<std::string> warnings;
};

TEST_F(Reaction, ExecuteRequest_IsExecutedAsItCame) {
  const messages::ExecuteRequest request{.request_id = "r1",
                                         .payload = "{}",
                                         .payload_encoding = messages::PayloadEncoding::json,
                                         .context = {{"user_id", "u"}},
                                         .capability_id = "c"};
  EXPECT_EQ(on(request), std::nullopt);
  ASSERT_EQ(executed.size(), 1u);
  EXPECT_EQ(executed.front(), request);
  EXPECT_TRUE(sent.empty());
  EXPECT_EQ(state.last_heartbeat_response, TimePoint{}) << "only a heartbeat response feeds the watchdog";
}

// Reference case.
TEST_F(Reaction, HeartbeatRequest_IsAnswered) {
  EXPECT_EQ(on(messages::HeartbeatRequest{"gateway", 7}), std::nullopt);
  ASSERT_EQ(sent.size(), 1u);
  const auto* response = std::get_if<messages::HeartbeatResponse>(&sent.front());
  ASSERT_NE(response, nullptr);
  EXPECT_FALSE(response->should_reconnect);
  EXPECT_EQ(response->timestamp_ms, kUnixMs);
  EXPECT_EQ(state.last_heartbeat_response, TimePoint{});
}

// Reference cases: watchdog bump, and that a response moves it.
TEST_F(Reaction, HeartbeatResponse_FeedsTheWatchdog) {
  EXPECT_EQ(on(messages::HeartbeatResponse{}), std::nullopt);
  EXPECT_EQ(state.last_heartbeat_response, kNow);
  EXPECT_TRUE(state.heartbeat_answered);
  EXPECT_TRUE(sent.empty());
}

TEST_F(Reaction, RegisterResponseYes_TakesTheTokenAndTheTime) {
  messages::RegisterResponse response;
  response.success = true;
  response.session_token = "new";
  EXPECT_EQ(on(response), std::nullopt);
  EXPECT_EQ(state.session_token, "new");
  EXPECT_EQ(state.last_connected_unix_ms, kUnixMs);
  EXPECT_EQ(state.last_heartbeat_response, TimePoint{});
}

TEST_F(Reaction, RegisterResponseYesWithoutToken_KeepsTheOldOne) {
  messages::RegisterResponse response;
  response.success = true;
  EXPECT_EQ(on(response), std::nullopt);
  EXPECT_EQ(state.session_token, "old");
  EXPECT_EQ(state.last_connected_unix_ms, kUnixMs);
}

TEST_F(Reaction, RegisterResponseNo_WarnsAndStays) {
  messages::RegisterResponse response;
  response.error = "expired";
  response.status = messages::RegistrationStatus::rejected;
  response.session_token = "not this one";
  EXPECT_EQ(on(response), std::nullopt);
  EXPECT_EQ(state.session_token, "old");
  EXPECT_EQ(state.last_connected_unix_ms, 0);
  EXPECT_EQ(warnings, std::vector<std::string>{"register failed in stream: status='3' error='expired'"});
}

// Reference cases: approval pending, approved, rejected.
TEST_F(Reaction, ApprovalPendingOrApproved_IsNotedAndStays) {
  EXPECT_EQ(on(messages::ApprovalNotification{"", messages::RegistrationStatus::pending, "wait"}), std::nullopt);
  EXPECT_EQ(on(messages::ApprovalNotification{"", messages::RegistrationStatus::approved, "fine"}), std::nullopt);
  EXPECT_EQ(notices, (std::vector<std::string>{"approval pending: wait", "approved: fine"}));
  EXPECT_TRUE(warnings.empty() && sent.empty());
}

TEST_F(Reaction, ApprovalRejected_EndsTheStreamAsServerClosed) {
  EXPECT_EQ(on(messages::ApprovalNotification{"", messages::RegistrationStatus::rejected, "no"}),
            StreamOutcome::server_closed);
  EXPECT_EQ(warnings, std::vector<std::string>{"approval rejected: no"});
  EXPECT_EQ(state.session_token, "old");
}

TEST_F(Reaction, ApprovalOfAnyOtherStatus_IsIgnored) {
  expect_ignored(messages::ApprovalNotification{"", messages::RegistrationStatus::unspecified, ""});
  expect_ignored(messages::ApprovalNotification{"", static_cast<messages::RegistrationStatus>(77), ""});
}

TEST_F(Reaction, CredentialsIssuedWithoutACredentialSource_WarnsAndStays) {
  messages::CredentialsIssued issued;
  issued.ott = "secret";
  EXPECT_EQ(on(issued), std::nullopt);
  ASSERT_EQ(warnings.size(), 1u);
  EXPECT_EQ(warnings.front().find("secret"), std::string::npos);
  EXPECT_TRUE(sent.empty());
}

// Reference case: the empty message.
TEST_F(Reaction, EmptyOrUnknownMessage_IsIgnored) {
  expect_ignored(messages::UnknownMessage{});
  expect_ignored(messages::UnknownMessage{.empty = false, .field_number = 99});
}

TEST_F(Reaction, MessagesOfLaterFeaturesAndOfTheOtherDirection_AreIgnored) {
  expect_ignored(messages::InvokeRequest{});
  expect_ignored(messages::InvokeResponse{});
  expect_ignored(messages::WebSocketOpenRequest{});
  expect_ignored(messages::WebSocketOpenResponse{});
  expect_ignored(messages::WebSocketFrame{});
  expect_ignored(messages::WebSocketCloseRequest{});
  expect_ignored(messages::RegisterRequest{});
  expect_ignored(messages::ExecuteResponse{});
  expect_ignored(messages::MetricsReport{});
}

TEST(StreamOutcomeText, EveryOutcome_HasItsExactText) {
  EXPECT_EQ(to_string(StreamOutcome::shutdown), "shutdown");
  EXPECT_EQ(to_string(StreamOutcome::server_closed), "server-closed");
  EXPECT_EQ(to_string(StreamOutcome::stream_error), "stream-error");
  EXPECT_EQ(to_string(StreamOutcome::heartbeat_timeout), "heartbeat-timeout");
  EXPECT_EQ(to_string(StreamOutcome::outbound_closed), "outbound-closed");
}

}  // namespace
}  // namespace sharingbus::connector

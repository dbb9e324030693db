#include "connector/registration/reactions.hpp"

#include <utility>
#include <variant>

namespace sharingbus::connector {
namespace {

namespace messages = transport::messages;

class Reactor {
 public:
  Reactor(DriveState& state, const ReactionSink& sink, TimePoint now, std::int64_t unix_ms)
      : state_(state), sink_(sink), now_(now), unix_ms_(unix_ms) {}

  std::optional<StreamOutcome> operator()(messages::ExecuteRequest&& request) {
    sink_.execute(std::move(request));
    return std::nullopt;
  }

  std::optional<StreamOutcome> operator()(const messages::HeartbeatRequest&) {
    messages::HeartbeatResponse response;
    response.timestamp_ms = unix_ms_;
    sink_.send(std::move(response));
    return std::nullopt;
  }

  std::optional<StreamOutcome> operator()(const messages::HeartbeatResponse& response) {
    state_.last_heartbeat_response = now_;
    state_.heartbeat_answered = true;
    if (response.should_reconnect) state_.reconnect_wanted = true;
    return std::nullopt;
  }

  std::optional<StreamOutcome> operator()(const messages::RegisterResponse& response) {
    if (!response.success) {
      sink_.notice(true, "register failed in stream: status='" + std::to_string(static_cast<int>(response.status)) +
                             "' error='" + response.error + "'");
      return std::nullopt;
    }
    if (!response.session_token.empty()) state_.session_token = response.session_token;
    state_.last_connected_unix_ms = unix_ms_;
    return std::nullopt;
  }

  std::optional<StreamOutcome> operator()(const messages::ApprovalNotification& approval) {
    switch (approval.status) {
      case messages::RegistrationStatus::approved:
        sink_.notice(false, "approved: " + approval.message);
        break;
      case messages::RegistrationStatus::pending:
        sink_.notice(false, "approval pending: " + approval.message);
        break;
      case messages::RegistrationStatus::rejected:
        sink_.notice(true, "approval rejected: " + approval.message);
        return StreamOutcome::server_closed;
      default:
        sink_.notice(false, "approval status " + std::to_string(static_cast<int>(approval.status)) + " ignored");
        break;
    }
    return std::nullopt;
  }

  std::optional<StreamOutcome> operator()(const messages::CredentialsIssued&) {
    sink_.notice(true, "credentials issued, but this runner has no credential source: the stream stays as it is");
    return std::nullopt;
  }

  std::optional<StreamOutcome> operator()(const messages::UnknownMessage& unknown) {
    sink_.notice(false, unknown.empty ? "empty message ignored"
                                      : "unknown message ignored, field " + std::to_string(unknown.field_number));
    return std::nullopt;
  }

  template <class Other>
  std::optional<StreamOutcome> operator()(const Other&) {
    sink_.notice(false, std::string(Other::event_name) + " ignored");
    return std::nullopt;
  }

 private:
  DriveState& state_;
  const ReactionSink& sink_;
  const TimePoint now_;
  const std::int64_t unix_ms_;
};

}  // namespace

std::string_view to_string(StreamOutcome outcome) noexcept {
  switch (outcome) {
    case StreamOutcome::shutdown:
      return "shutdown";
    case StreamOutcome::server_closed:
      return "server-closed";
    case StreamOutcome::stream_error:
      return "stream-error";
    case StreamOutcome::heartbeat_timeout:
      return "heartbeat-timeout";
    case StreamOutcome::outbound_closed:
      return "outbound-closed";
  }
  return "unknown";
}

std::optional<StreamOutcome> react(messages::ConnectorMessage message, DriveState& state, const ReactionSink& sink,
                                   TimePoint now, std::int64_t unix_ms) {
  return std::visit(Reactor(state, sink, now, unix_ms), std::move(message));
}

}  // namespace sharingbus::connector

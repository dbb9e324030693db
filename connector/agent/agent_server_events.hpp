#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "bus/base/error.hpp"
#include "bus/base/timer.hpp"
#include "bus/event.hpp"

/// What an agent server does, as bus events of origin `agent`. Routing has the connection's uid (its link's) as
/// `connector_uid`, and the agent's id as `connector_id`.
namespace sharingbus::connector {

/// A proxy's handshake succeeded, or, on a connection that the agent dialled, its registration.
struct ProxyConnected {
  static constexpr std::string_view event_name = "agent_server.proxy_connected";
  static constexpr EventKind event_kind = EventKind::agent;
  std::string peer;
  std::string proxy_id;
  std::string proxy_version;
  /// `protobuf`, `json` or `msgpack`.
  std::string_view encoding;
  bool reverse = false;
};

/// A connection ended before that. A reverse one is dialled again after `retry_in`.
struct ProxyRefused {
  static constexpr std::string_view event_name = "agent_server.proxy_refused";
  static constexpr EventKind event_kind = EventKind::agent;
  std::string peer;
  Error error;
  bool reverse = false;
  Duration retry_in{};
};

/// A connected proxy is gone, whoever ended the stream. Its handlers have been cancelled by then.
struct ProxyDisconnected {
  static constexpr std::string_view event_name = "agent_server.proxy_disconnected";
  static constexpr EventKind event_kind = EventKind::agent;
  std::string peer;
  std::string proxy_id;
  Error error;
  bool reverse = false;
  Duration retry_in{};
};

/// What became of an event.
enum class AgentOutcome : std::uint8_t {
  allowed,
  blocked,
  redirected,
  challenged,
  /// Configurations.
  accepted,
  refused,
  /// Answered with the failure answer.
  failed,
  /// The proxy had cancelled it, and got the failure answer, or was gone.
  dropped,
};
[[nodiscard]] std::string_view to_string(AgentOutcome outcome) noexcept;

/// Exactly once for each event that an agent has to answer.
struct AgentAnswered {
  static constexpr std::string_view event_name = "agent_server.answered";
  static constexpr EventKind event_kind = EventKind::agent;
  std::string correlation_id;
  /// `event_name` of what was answered.
  std::string_view event;
  AgentOutcome outcome = AgentOutcome::allowed;
  /// From its arrival.
  Duration duration{};
  /// Of `failed`, `refused` and `dropped`.
  Error error;
};

/// A proxy was told to pause, or to resume.
struct AgentFlowChanged {
  static constexpr std::string_view event_name = "agent_server.flow_changed";
  static constexpr EventKind event_kind = EventKind::agent;
  bool paused = false;
};

/// The server began to drain.
struct AgentDraining {
  static constexpr std::string_view event_name = "agent_server.draining";
  static constexpr EventKind event_kind = EventKind::agent;
  Duration limit{};
};

}  // namespace sharingbus::connector

#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "bus/base/error.hpp"
#include "bus/base/timer.hpp"
#include "bus/event.hpp"
#include "connector/agent/affinity_table.hpp"
#include "connector/agent/circuit_breaker.hpp"
#include "connector/agent/config_pusher.hpp"

/// What a pool's agents and connections go through, as bus events of origin `agent`. Routing has the agent's id as
/// `connector_id`, and the link's uid as `connector_uid` where a connection is meant.
namespace sharingbus::connector {

/// An agent is in the pool.
struct AgentAdded {
  static constexpr std::string_view event_name = "agent.added";
  static constexpr EventKind event_kind = EventKind::agent;
  std::string agent_id;
  /// `reverse://<id>` for one that dialled in.
  std::string endpoint;
  /// Those that came up; 0 for one that is kept though unreachable.
  std::size_t connections = 0;
  /// It took the place of another entry, which is drained.
  bool replaced = false;
};

/// An agent takes no more calls: removed, replaced, or the pool closes. `AgentDrained` follows.
struct AgentRemoved {
  static constexpr std::string_view event_name = "agent.removed";
  static constexpr EventKind event_kind = EventKind::agent;
  std::string agent_id;
};

/// A removed agent's calls and connections have ended.
struct AgentDrained {
  static constexpr std::string_view event_name = "agent.drained";
  static constexpr EventKind event_kind = EventKind::agent;
  std::string agent_id;
  /// Calls that did not end by themselves in time.
  std::size_t cancelled = 0;
};

/// A connection has finished its handshake and takes calls.
struct AgentConnectionUp {
  static constexpr std::string_view event_name = "agent.connection_up";
  static constexpr EventKind event_kind = EventKind::agent;
  std::string agent_id;
  ConnectionKey connection = 0;
  std::string peer;
  bool reverse = false;
};

/// A connection that was up is gone; its calls have been completed or moved by then.
struct AgentConnectionDown {
  static constexpr std::string_view event_name = "agent.connection_down";
  static constexpr EventKind event_kind = EventKind::agent;
  std::string agent_id;
  ConnectionKey connection = 0;
  Error error;
};

/// A round of connecting failed, wholly or in part.
struct AgentConnectFailed {
  static constexpr std::string_view event_name = "agent.connect_failed";
  static constexpr EventKind event_kind = EventKind::agent;
  std::string agent_id;
  Error error;
  /// Rounds in a row that failed.
  std::uint32_t failures = 0;
  /// Until the next one, if the agent is kept.
  Duration retry_in{};
};

/// Too many errors in a row, or the agent said so itself. It takes no new calls, and is replaced.
struct AgentConnectionUnhealthy {
  static constexpr std::string_view event_name = "agent.connection_unhealthy";
  static constexpr EventKind event_kind = EventKind::agent;
  std::string agent_id;
  ConnectionKey connection = 0;
  std::uint32_t errors_in_a_row = 0;
};
struct AgentConnectionRecovered {
  static constexpr std::string_view event_name = "agent.connection_recovered";
  static constexpr EventKind event_kind = EventKind::agent;
  std::string agent_id;
  ConnectionKey connection = 0;
};

/// No connection of the agent is healthy, and the first one that is again.
struct AgentUnhealthy {
  static constexpr std::string_view event_name = "agent.unhealthy";
  static constexpr EventKind event_kind = EventKind::agent;
  std::string agent_id;
};
struct AgentRecovered {
  static constexpr std::string_view event_name = "agent.recovered";
  static constexpr EventKind event_kind = EventKind::agent;
  std::string agent_id;
};

/// Flow control of one connection; neither makes it unhealthy.
struct AgentPaused {
  static constexpr std::string_view event_name = "agent.paused";
  static constexpr EventKind event_kind = EventKind::agent;
  std::string agent_id;
  ConnectionKey connection = 0;
};
struct AgentResumed {
  static constexpr std::string_view event_name = "agent.resumed";
  static constexpr EventKind event_kind = EventKind::agent;
  std::string agent_id;
  ConnectionKey connection = 0;
};

struct AgentCircuitChanged {
  static constexpr std::string_view event_name = "agent.circuit_changed";
  static constexpr EventKind event_kind = EventKind::agent;
  std::string agent_id;
  CircuitBreaker::State state = CircuitBreaker::State::closed;
};

/// An outlier was taken out of the choice, and back.
struct AgentConnectionEjected {
  static constexpr std::string_view event_name = "agent.connection_ejected";
  static constexpr EventKind event_kind = EventKind::agent;
  std::string agent_id;
  ConnectionKey connection = 0;
};
struct AgentConnectionRestored {
  static constexpr std::string_view event_name = "agent.connection_restored";
  static constexpr EventKind event_kind = EventKind::agent;
  std::string agent_id;
  ConnectionKey connection = 0;
};

/// A config push has ended: acknowledged, failed, expired or abandoned.
struct AgentConfigPushEnded {
  static constexpr std::string_view event_name = "agent.config_push_ended";
  static constexpr EventKind event_kind = EventKind::agent;
  PushResult result;
};

/// An agent asked for, or told about, its configuration, and what the handler said.
struct AgentConfigRequested {
  static constexpr std::string_view event_name = "agent.config_requested";
  static constexpr EventKind event_kind = EventKind::agent;
  std::string agent_id;
  std::string request_id;
  bool accepted = false;
  std::string error;
};

}  // namespace sharingbus::connector

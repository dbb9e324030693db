#pragma once

#include <cstdint>
#include <memory>
#include <string_view>
#include <utility>

#include "bus/base/timer.hpp"
#include "bus/event.hpp"
#include "transport/messages/agent_messages.hpp"

namespace sharingbus::connector {

/// Why a call has no answer; finer than the code of its `Error`.
enum class PoolFailure : std::uint8_t {
  none,
  unknown_agent,
  /// The agent has no connection.
  no_connections,
  /// It has some, none of them healthy.
  no_healthy_connections,
  /// The agent asked for a pause.
  flow_control_paused,
  /// The circuit breaker is open.
  circuit_open,
  /// Too many calls wait already.
  overloaded,
  timeout,
  /// The connection failed or closed before the answer came.
  connection,
  /// The event does not encode, is too large, or the answer does not decode.
  serialization,
  /// A bad argument.
  invalid,
  cancelled,
  /// The pool, or the agent's entry in it, is closing.
  closed,
};
[[nodiscard]] std::string_view to_string(PoolFailure failure) noexcept;

/// An agent's answer, or none. Cheap to move: the answer stays in the event that it came in, which this keeps alive.
class AgentReply {
 public:
  AgentReply() = default;
  /// `event` holds an `AgentResponse`.
  explicit AgentReply(EventRef event) : event_(std::move(event)) {}
  /// An answer that no agent gave.
  [[nodiscard]] static AgentReply allow() {
    AgentReply reply;
    reply.allowed_ = true;
    return reply;
  }
  [[nodiscard]] static AgentReply failed(PoolFailure failure) {
    AgentReply reply;
    reply.failure = failure;
    return reply;
  }

  /// Whether there is a decision.
  explicit operator bool() const noexcept { return allowed_ || event_; }
  /// Whether the agent itself gave it, and not flow control that fails open.
  [[nodiscard]] bool from_agent() const noexcept { return static_cast<bool>(event_); }
  /// An `Allow` when there is none. Valid as long as this.
  [[nodiscard]] const transport::agent_messages::AgentResponse& response() const {
    static const transport::agent_messages::AgentResponse allow;
    return event_ ? *event_->get_if<transport::agent_messages::AgentResponse>() : allow;
  }
  const transport::agent_messages::AgentResponse& operator*() const { return response(); }
  const transport::agent_messages::AgentResponse* operator->() const { return &response(); }

  PoolFailure failure = PoolFailure::none;
  /// A sticky session's connection was used.
  bool session_used = false;
  /// From the call to its end.
  Duration duration{};

 private:
  EventRef event_;
  bool allowed_ = false;
};

}  // namespace sharingbus::connector

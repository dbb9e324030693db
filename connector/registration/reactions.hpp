#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "bus/base/timer.hpp"
#include "transport/messages/connector_messages.hpp"

namespace sharingbus::connector {

/// How a registered stream ended. (Spec 2, Life of a registration, 5.)
enum class StreamOutcome : std::uint8_t { shutdown, server_closed, stream_error, heartbeat_timeout, outbound_closed };
/// The texts of `Disconnected::reason`.
[[nodiscard]] std::string_view to_string(StreamOutcome outcome) noexcept;

/// What the reaction table changes.
struct DriveState {
  std::string session_token;
  /// The watchdog counts from here.
  TimePoint last_heartbeat_response{};
  std::int64_t last_connected_unix_ms = 0;
  /// The server answered at least one heartbeat on this stream.
  bool heartbeat_answered = false;
  /// The server asked for a new stream in place of this one.
  bool reconnect_wanted = false;
};

/// Where reactions go; all are called before `react` returns.
struct ReactionSink {
  std::function<void(transport::messages::ConnectorMessage)> send;
  std::function<void(transport::messages::ExecuteRequest)> execute;
  /// A line for the log; `warn` or not.
  std::function<void(bool warn, std::string text)> notice;
};

/// The reaction table of spec 2, Inbound messages: what a registered stream does with a message. Returns how the
/// stream is to end, or nothing to go on. No server, no bus, no I/O.
[[nodiscard]] std::optional<StreamOutcome> react(transport::messages::ConnectorMessage message, DriveState& state,
                                                 const ReactionSink& sink, TimePoint now, std::int64_t unix_ms);

}  // namespace sharingbus::connector

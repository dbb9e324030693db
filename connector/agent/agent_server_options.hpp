#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include <boost/asio/any_io_executor.hpp>

#include "bus/base/log.hpp"
#include "bus/base/result.hpp"
#include "bus/base/timer.hpp"
#include "connector/registration/backoff.hpp"
#include "transport/link.hpp"
#include "transport/messages/agent_messages.hpp"

namespace sharingbus::connector {

/// What a proxy gets when there is no decision: the handler threw, took too long, or its event was broken. The answer's
/// `audit.reason_codes` has the name of the `errc` either way.
enum class AgentFailMode : std::uint8_t {
  /// Block, status 500.
  closed,
  /// Allow.
  open,
};

/// What a listener's streams are.
enum class AgentMethod : std::uint8_t {
  /// A proxy's connection: handshake, events, reports. The only one on Unix sockets.
  process_stream,
  /// gRPC: one event and its answer, or a ping, or a handshake, which is not needed. Nothing is reported on it.
  process_event,
  /// gRPC: configuration requests, each answered with what the handler says of it, and a word when the server drains
  /// and
  /// when it is done. Health, metrics and log lines of whoever dialled it are events of the stream on the bus.
  control_stream,
};

/// Version 2 with every event and everything that the server does; MessagePack and limits are in the options.
[[nodiscard]] transport::agent_messages::AgentCapabilities default_agent_capabilities();

/// Bounds and times of an agent server. Each connection costs at most `window` inbound messages.
struct AgentServerOptions {
  /// What handshakes and registrations say. `agent_id` and `name` must be set.
  transport::agent_messages::AgentCapabilities capabilities = default_agent_capabilities();
  /// Offer of MessagePack taken, over Unix sockets, where the proxy prefers it and is known to read it.
  bool msgpack = true;
  AgentFailMode fail_mode = AgentFailMode::closed;
  /// From an event's arrival to its answer.
  Duration processing_timeout = std::chrono::seconds(5);
  /// From a connection's opening to its handshake, of a reverse one to the answer to its registration.
  Duration handshake_timeout = std::chrono::seconds(10);
  /// Handlers of one connection that run at once; further events wait, in order.
  std::size_t max_concurrent = 100;
  /// Inbound credit of a connection: unanswered events, and other messages. Above `max_concurrent`, so that cancels are
  /// read while handlers run.
  transport::Credit window{.requests = 256, .controls = 256};
  /// Tell a connection's proxy to pause when this many of its events wait for their turn, and to resume at half; 0:
  /// never.
  std::size_t pause_waiting = 128;
  /// Connections; those beyond are refused.
  std::size_t max_connections = 4096;
  /// Between health reports (with `features.health_reporting`) and between metrics reports (with
  /// `features.metrics_export`) to each proxy; 0: never.
  Duration health_interval = std::chrono::seconds(10);
  Duration metrics_interval = std::chrono::seconds(10);
  /// Where handlers run, each on a strand of its own, so in parallel where it has threads. Empty: on the connection's
  /// strand of the server's executor, which costs less, and is right for handlers that decide quickly. Those that say
  /// so (`AgentHandler::may_block`) cost least.
  boost::asio::any_io_executor handlers{};
  /// One line for each connection that comes, goes or is refused; at most 256 a second of each.
  LogSink log = stderr_log();

  /// `invalid_argument`, naming the field.
  [[nodiscard]] Result<> validate() const;
};

/// How an agent dials its proxy and stays there.
struct ReverseOptions {
  /// A secret: never logged.
  std::optional<std::string> auth_token{};
  /// JSON of any shape that goes along; empty: none.
  std::string metadata_json{};
  /// Connections that are kept. At most what the proxy takes.
  std::size_t connections = 4;
  Duration connect_timeout = std::chrono::seconds(5);
  /// Between attempts of one connection; begins anew once one has lived for `stable_after`, since a proxy that has
  /// enough connections says yes and hangs up.
  BackoffOptions backoff{.base_ms = 500, .cap_ms = 30'000, .jitter_ms = 500, .mode = JitterMode::equal};
  Duration stable_after = std::chrono::seconds(5);

  /// `invalid_argument`, naming the field.
  [[nodiscard]] Result<> validate() const;
};

}  // namespace sharingbus::connector

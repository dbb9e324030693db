#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "bus/base/log.hpp"
#include "bus/base/result.hpp"
#include "bus/base/timer.hpp"
#include "connector/agent/balancer.hpp"
#include "connector/agent/circuit_breaker.hpp"
#include "connector/agent/config_pusher.hpp"
#include "connector/agent/flow_state.hpp"
#include "connector/agent/metrics_collector.hpp"
#include "connector/agent/outlier_detector.hpp"
#include "connector/agent/retry_budget.hpp"
#include "transport/codec/agent_frame_decoder.hpp"
#include "transport/dialer.hpp"
#include "transport/endpoint.hpp"

namespace sharingbus::connector {

/// Where an agent is dialled.
struct AgentEndpoint {
  transport::AgentCarrier carrier = transport::AgentCarrier::grpc;
  transport::Endpoint endpoint;

  bool operator==(const AgentEndpoint&) const = default;
};

/// A Unix socket when the text starts with `unix:`, is an absolute path or ends in `.sock`; else gRPC, where `http://`
/// and `https://` are other spellings of `grpc://` and `grpcs://`, and no scheme means `grpc://`. Errors:
/// `invalid_endpoint`.
[[nodiscard]] Result<AgentEndpoint> parse_agent_endpoint(std::string_view text);

/// Makes the dialer to an agent. Every stream of it has to be a connection of its own (gRPC:
/// `max_streams_per_channel = 1`); over gRPC it calls `kAgentMethod`, and falls back to `kAgentMethodLegacy`. Any
/// thread.
using AgentDialerFactory = std::function<Result<std::unique_ptr<transport::Dialer>>(const AgentEndpoint& endpoint)>;

/// What the handler of agents' configuration requests says.
struct ConfigAnswer {
  bool accepted = false;
  /// Why not.
  std::string error{};
  /// Pushed to the agent that asked; after a `RequestReload`, for one.
  std::optional<AgentConfig> push{};
};
/// Answers an agent's request for, or about, its configuration. Any thread, must not block; may call the pool. What it
/// throws counts as a refusal.
using ConfigRequestHandler = std::function<ConfigAnswer(const std::string& agent_id,
                                                        const transport::agent_messages::ConfigUpdateRequest& request)>;

/// Times, bounds and policies of a pool. (Spec 4, Config.)
struct AgentPoolOptions {
  std::size_t connections_per_agent = 4;
  BalanceStrategy strategy = BalanceStrategy::round_robin;
  /// Calls that the strategy's choice stands for. More than 1 gives agents that read one frame at a time and answer
  /// within microseconds fewer and larger pieces of work (64: a fifth to a third more calls of them, at a fraction of
  /// the p99). Slow agents, and those that answer in batches by themselves, are better served by 1.
  std::size_t calls_in_a_row = 1;
  /// From dialling a connection to the end of its handshake, configuration included.
  Duration connect_timeout = std::chrono::seconds(5);
  /// From a call to its answer, whatever it waited for meanwhile.
  Duration request_timeout = std::chrono::seconds(30);
  /// Between two rounds of reconnecting an agent.
  Duration reconnect_interval = std::chrono::seconds(5);
  /// After so many rounds in a row that failed, the interval doubles from round to round up to
  /// `reconnect_interval_max`; it never ends.
  std::uint32_t max_reconnect_attempts = 3;
  Duration reconnect_interval_max = std::chrono::minutes(2);
  /// How long a removed or replaced agent's calls, and those of a pool that closes, may still take.
  Duration drain_timeout = std::chrono::seconds(30);
  /// Calls that a connection has under way; the others wait their turn. An agent that asks for less gets less.
  std::size_t max_concurrent_per_connection = 100;
  /// Calls that may wait for their turn on a connection, or for a paused agent; those beyond fail with
  /// `capacity_exceeded`.
  std::size_t max_waiting = 1000;
  Duration health_check_interval = std::chrono::seconds(10);
  /// Messages that a connection's link takes at once; the others wait before it, cancels first.
  std::size_t channel_buffer = 64;
  FlowControlMode flow_control = FlowControlMode::fail_closed;
  /// With `wait_and_retry`.
  Duration flow_control_wait = std::chrono::milliseconds(100);
  /// Nothing: sticky sessions never expire by themselves.
  std::optional<Duration> sticky_session_timeout = std::chrono::minutes(5);
  std::size_t max_sticky_sessions = 100'000;
  Duration affinity_timeout = std::chrono::minutes(5);
  std::size_t max_affinities = 100'000;
  std::uint32_t errors_until_unhealthy = 3;
  /// Keep an agent none of whose connections came up at `add_agent`, unhealthy, and go on trying.
  bool keep_unreachable = false;
  /// Encodings offered to agents on Unix sockets, in order of preference: `json`, `msgpack`.
  std::vector<std::string> encodings = {"json"};
  /// How the pool introduces itself.
  std::string proxy_id = "sharingbus-proxy";
  std::string proxy_version = "0.1.0";

  // Off by default.
  CircuitBreakerOptions circuit_breaker{};
  OutlierOptions outliers{};
  RetryOptions retry{};
  /// Request headers and guardrail inspections without an answer after this are asked again, of another connection, if
  /// the retry budget allows; the first answer counts. 0: never. Agents may then see an event twice.
  Duration hedge_after{};

  ConfigPusherOptions config{};
  MetricsCollectorOptions metrics{};
  /// None: requests are refused.
  ConfigRequestHandler on_config_request{};

  /// `invalid_argument`, naming the field.
  [[nodiscard]] Result<> validate() const;
};

/// What one agent may have of its own.
struct AgentOptions {
  /// Handed over in the handshake, if it fits there, and again as a `Configure` on every connection, which is used only
  /// once the agent has accepted it. A later push that the agent accepts takes its place.
  std::optional<AgentConfig> config{};
};

}  // namespace sharingbus::connector

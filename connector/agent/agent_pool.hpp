#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <boost/asio/any_completion_handler.hpp>
#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/async_result.hpp>

#include "bus/base/error.hpp"
#include "bus/base/result.hpp"
#include "bus/base/timer.hpp"
#include "bus/sharing_bus.hpp"
#include "connector/agent/agent_pool_options.hpp"
#include "connector/agent/agent_reply.hpp"
#include "connector/agent/circuit_breaker.hpp"
#include "connector/agent/config_pusher.hpp"
#include "connector/agent/metrics_collector.hpp"
#include "connector/agent/protocol_metrics.hpp"
#include "transport/link.hpp"
#include "transport/messages/agent_messages.hpp"

namespace sharingbus::connector {

namespace internal {
class PoolCore;
struct Call;
void add_reference(Call* call) noexcept;
void release_reference(Call* call) noexcept;
}  // namespace internal

namespace detail {

/// A call that has its frame and waits to be started.
class PreparedCall {
 public:
  PreparedCall() = default;
  explicit PreparedCall(internal::Call* call) noexcept : call_(call) {
    if (call_ != nullptr) internal::add_reference(call_);
  }
  PreparedCall(PreparedCall&& other) noexcept : call_(std::exchange(other.call_, nullptr)) {}
  PreparedCall(const PreparedCall& other) noexcept : PreparedCall(other.call_) {}
  PreparedCall& operator=(PreparedCall other) noexcept {
    std::swap(call_, other.call_);
    return *this;
  }
  ~PreparedCall() {
    if (call_ != nullptr) internal::release_reference(call_);
  }
  [[nodiscard]] internal::Call* get() const noexcept { return call_; }

 private:
  internal::Call* call_ = nullptr;
};

}  // namespace detail

using PoolDone = boost::asio::any_completion_handler<void(Error)>;
using ReplyHandler = boost::asio::any_completion_handler<void(Error, AgentReply)>;

/// How one call differs from the pool's options.
struct CallOptions {
  /// Instead of `AgentPoolOptions::request_timeout`.
  std::optional<Duration> timeout{};
  /// A sticky session whose connection is to be used. Where it cannot be (unknown, expired, of another agent, its
  /// connection gone or unhealthy) another one is chosen, and the session bound to that; `AgentReply::session_used`
  /// tells.
  std::string session{};
};

/// Nothing special. A constant, and not a temporary, which GCC 12 would copy bit by bit where a call is awaited; give
/// options of your own a name before `co_await` for the same reason.
inline const CallOptions kDefaultCallOptions{};

struct AgentStats {
  std::string agent_id;
  std::string endpoint;
  std::size_t active_connections = 0;
  std::size_t healthy_connections = 0;
  std::size_t paused_connections = 0;
  /// Calls under way, those that wait included.
  std::size_t in_flight = 0;
  std::uint64_t requests = 0;
  std::uint64_t errors = 0;
  /// errors / requests; 0 when there are none.
  double error_rate = 0;
  bool healthy = false;
  CircuitBreaker::State circuit = CircuitBreaker::State::closed;
};

/// What one round of maintenance did.
struct MaintenanceReport {
  std::size_t sessions_expired = 0;
  std::size_t affinities_expired = 0;
  std::size_t series_expired = 0;
  std::size_t connections_opened = 0;
};

/// The proxy's side of the agent protocol, version 2: keeps connections to agents, asks them about requests, and hears
/// what they say of themselves. Every connection is a subscriber of the bus on its link's uid, with room for all the
/// credit it grants; what happens to agents and connections is published (agent_pool_events.hpp). (Spec 4.)
///
/// Constructing starts nothing. All functions: any thread; none blocks, and none but the `async_` ones needs the
/// executor to run. Handlers run on their associated executor, or the pool's, and never from within the call that
/// started them. Those of calls that are bound to `InlineExecutor` (connector/inline_executor.hpp) are called
/// by whoever brings the answer, over gRPC a thread of the transport's: they must neither block nor destroy the pool,
/// and two may run at once. The executor may have many threads. Bus, timers and the executor's context must outlive the
/// pool.
class AgentPool {
 public:
  /// Throws `std::invalid_argument` when `options.validate()` fails.
  AgentPool(boost::asio::any_io_executor executor, SharingBus& bus, TimerService& timers, AgentDialerFactory dialers,
            AgentPoolOptions options = {});
  /// After a completed `async_close`: frees memory. Otherwise it cancels everything and does not wait: calls are
  /// completed with `closed` when the executor runs on.
  ~AgentPool();
  AgentPool(const AgentPool&) = delete;
  AgentPool& operator=(const AgentPool&) = delete;

  // --- agents ---

  /// Opens the configured number of connections at `endpoint` (`parse_agent_endpoint`), all at once. Completes when
  /// each has come up or failed; some may have failed, they are tried again by maintenance. An agent that has the id
  /// already serves on until the new one is ready, is then drained and closed, and only then this completes.
  ///
  /// Completion: `void(Error)`. Errors: the last connection's when none came up, in which case the agent is not kept
  /// (unless `keep_unreachable`), and an older one of the id stays; `invalid_argument`, `invalid_endpoint`, `closed`.
  /// Cancellation: none; `connect_timeout` bounds it, and `drain_timeout` where an agent is replaced.
  template <class CompletionToken>
  auto async_add_agent(std::string agent_id, std::string endpoint, AgentOptions options, CompletionToken&& token) {
    return boost::asio::async_initiate<CompletionToken, void(Error)>(
        [](auto handler, AgentPool* self, std::string id, std::string where, AgentOptions how) {
          self->add_agent(std::move(id), std::move(where), std::move(how), PoolDone(std::move(handler)));
        },
        token, this, std::move(agent_id), std::move(endpoint), std::move(options));
  }
  template <class CompletionToken>
  auto async_add_agent(std::string agent_id, std::string endpoint, CompletionToken&& token) {
    return async_add_agent(std::move(agent_id), std::move(endpoint), AgentOptions{},
                           std::forward<CompletionToken>(token));
  }
  /// The agent takes no more calls from here on. Completes when its calls have ended, by themselves within
  /// `drain_timeout` or cancelled after it, and its connections are closed. Completion: `void(Error)`; `not_found`.
  template <class CompletionToken>
  auto async_remove_agent(std::string agent_id, CompletionToken&& token) {
    return boost::asio::async_initiate<CompletionToken, void(Error)>(
        [](auto handler, AgentPool* self, std::string id) {
          self->remove_agent(std::move(id), PoolDone(std::move(handler)));
        },
        token, this, std::move(agent_id));
  }
  /// Takes in a connection that an agent dialled: an open link without credit, whose registration has been accepted.
  /// Joins the agent of that id, or makes a new one, `reverse://<id>`, which is never dialled. `first_frame`, the
  /// answer to the registration, goes out when there is a place, and only then. Whether the agent may have that id is
  /// for the caller to know (`ReverseListener`). Errors: `capacity_exceeded` (the agent has its number of live
  /// connections), `stream_failed` (the link has ended), `invalid_argument`, `closed`.
  Result<ConnectionKey> add_reverse_connection(std::string agent_id, std::shared_ptr<transport::Link> link,
                                               transport::agent_messages::AgentCapabilities capabilities,
                                               std::string peer = {}, std::string first_frame = {});

  [[nodiscard]] std::vector<std::string> agent_ids() const;
  [[nodiscard]] std::vector<AgentStats> stats() const;
  /// Nothing for an unknown agent.
  [[nodiscard]] std::optional<AgentStats> agent_stats(std::string_view agent_id) const;
  [[nodiscard]] std::optional<transport::agent_messages::AgentCapabilities> agent_capabilities(
      std::string_view agent_id) const;
  /// Whether one connection at least is healthy; false for an unknown agent.
  [[nodiscard]] bool is_agent_healthy(std::string_view agent_id) const;
  /// Whether it dialled in; nothing for an unknown agent.
  [[nodiscard]] std::optional<bool> is_reverse_agent(std::string_view agent_id) const;

  // --- calls ---
  // Each asks `agent_id` about one event of the request `correlation_id`, which takes the place of the one in the
  // event. The event is encoded at once and need not live longer than the call.
  //
  // Completion: `void(Error, AgentReply)`. Errors come with `AgentReply::failure`, which is finer: `not_found`,
  // `connection_refused` (no connection), `stream_failed` (none healthy, or the connection broke), `capacity_exceeded`
  // (paused, or too many wait), `rejected` (the circuit is open), `timed_out`, `serialization_failed`,
  // `message_too_large`, `deserialization_failed` (the answer), `cancelled`, `closed`.
  // Cancellation of any type: completes with `cancelled`, and the agent is told.

  /// Binds the correlation id to the connection it goes to; later events of the request follow.
  template <class CompletionToken>
  auto send_request_headers(std::string_view agent_id, std::string_view correlation_id,
                            const transport::agent_messages::RequestHeaders& event, CompletionToken&& token,
                            const CallOptions& options = kDefaultCallOptions) {
    return start(prepare(agent_id, correlation_id, event, options), std::forward<CompletionToken>(token));
  }
  template <class CompletionToken>
  auto send_request_body_chunk(std::string_view agent_id, std::string_view correlation_id,
                               const transport::agent_messages::RequestBodyChunk& event, CompletionToken&& token,
                               const CallOptions& options = kDefaultCallOptions) {
    return start(prepare(agent_id, correlation_id, event, options), std::forward<CompletionToken>(token));
  }
  template <class CompletionToken>
  auto send_response_headers(std::string_view agent_id, std::string_view correlation_id,
                             const transport::agent_messages::ResponseHeaders& event, CompletionToken&& token,
                             const CallOptions& options = kDefaultCallOptions) {
    return start(prepare(agent_id, correlation_id, event, options), std::forward<CompletionToken>(token));
  }
  /// The answer to the last chunk ends the correlation id's affinity.
  template <class CompletionToken>
  auto send_response_body_chunk(std::string_view agent_id, std::string_view correlation_id,
                                const transport::agent_messages::ResponseBodyChunk& event, CompletionToken&& token,
                                const CallOptions& options = kDefaultCallOptions) {
    return start(prepare(agent_id, correlation_id, event, options), std::forward<CompletionToken>(token));
  }
  template <class CompletionToken>
  auto send_websocket_frame(std::string_view agent_id, std::string_view correlation_id,
                            const transport::agent_messages::WebSocketFrame& event, CompletionToken&& token,
                            const CallOptions& options = kDefaultCallOptions) {
    return start(prepare(agent_id, correlation_id, event, options), std::forward<CompletionToken>(token));
  }
  /// Agents made with the Rust crate never answer it: give it a short timeout.
  template <class CompletionToken>
  auto send_guardrail_inspect(std::string_view agent_id, std::string_view correlation_id,
                              const transport::agent_messages::GuardrailInspect& event, CompletionToken&& token,
                              const CallOptions& options = kDefaultCallOptions) {
    return start(prepare(agent_id, correlation_id, event, options), std::forward<CompletionToken>(token));
  }
  /// Ends the correlation id's affinity.
  template <class CompletionToken>
  auto send_request_complete(std::string_view agent_id, std::string_view correlation_id,
                             const transport::agent_messages::RequestComplete& event, CompletionToken&& token,
                             const CallOptions& options = kDefaultCallOptions) {
    return start(prepare(agent_id, correlation_id, event, options), std::forward<CompletionToken>(token));
  }

  /// Ends the request's calls with `cancelled` and tells the connections that hold it, or all of the agent's when none
  /// is known to. How many were told. Errors: `not_found`.
  Result<std::size_t> cancel_request(
      const std::string& agent_id, const std::string& correlation_id,
      transport::agent_messages::CancelReason reason = transport::agent_messages::CancelReason::manual);
  /// Every call of every agent; how many there were.
  std::size_t cancel_all(
      transport::agent_messages::CancelReason reason = transport::agent_messages::CancelReason::manual);

  // --- affinity and sticky sessions ---

  /// All agents' entries of the id; how many.
  std::size_t clear_correlation_affinity(std::string_view correlation_id);
  [[nodiscard]] std::size_t correlation_affinity_count() const;

  /// Binds the session to a connection that is chosen now. Errors: those of a call that finds no connection.
  Result<> create_sticky_session(const std::string& session, std::string_view agent_id);
  /// Counts as use. False: unknown or expired.
  bool refresh_sticky_session(std::string_view session);
  /// The same, and counts as use, too.
  bool has_sticky_session(std::string_view session);
  /// False: unknown.
  bool clear_sticky_session(std::string_view session);
  [[nodiscard]] std::size_t sticky_session_count() const;
  [[nodiscard]] std::optional<std::string> sticky_session_agent(std::string_view session) const;
  std::size_t cleanup_expired_sessions();

  // --- configuration ---

  /// Has the agent get a configuration, on one of its connections, again and again until it acknowledges it or the
  /// push expires. The push id. Errors: those of `ConfigPusher::push`. Deliveries and expiry are maintenance's.
  Result<std::string> push_config_to_agent(std::string_view agent_id, AgentConfig config);
  /// To all that support it; the push ids.
  std::vector<std::string> push_config_to_all(const AgentConfig& config);
  /// What the agent's answer does by itself; for those that acknowledge some other way. False: unknown, or it has
  /// ended.
  bool acknowledge_config_push(std::string_view push_id, bool accepted, std::string_view error = {});
  [[nodiscard]] std::optional<PushResult> config_push(std::string_view push_id) const;
  [[nodiscard]] std::vector<PushResult> config_pushes() const;

  // --- figures ---

  /// Calls of any kind, counted when they start, and those that failed.
  [[nodiscard]] std::uint64_t total_requests() const;
  [[nodiscard]] std::uint64_t total_errors() const;
  [[nodiscard]] const ProtocolMetrics& protocol_metrics() const;
  [[nodiscard]] const MetricsCollector& metrics_collector() const;
  /// The pool's own metrics and what its agents report.
  [[nodiscard]] std::string export_prometheus(std::string_view prefix = "agent_protocol") const;

  // --- life ---

  /// One round: expires sessions, affinities and metrics, judges every agent's health, opens connections where agents
  /// are short and it is time, delivers config pushes. Without it nothing is reconnected.
  MaintenanceReport maintain();
  /// Does that every health check interval, and when there is something to do in between, until the pool closes.
  void start_maintenance();
  /// Takes no more calls and agents, waits for calls under way up to `drain_timeout`, cancels the rest, closes every
  /// connection, and completes when all of it has ended. Completion: `void(Error)`, without error. Idempotent.
  template <class CompletionToken>
  auto async_close(CompletionToken&& token) {
    return boost::asio::async_initiate<CompletionToken, void(Error)>(
        [](auto handler, AgentPool* self) { self->close(PoolDone(std::move(handler))); }, token, this);
  }

  [[nodiscard]] boost::asio::any_io_executor get_executor() const;
  [[nodiscard]] const AgentPoolOptions& options() const;

 private:
  using Prepared = detail::PreparedCall;

  void add_agent(std::string agent_id, std::string endpoint, AgentOptions options, PoolDone done);
  void remove_agent(std::string agent_id, PoolDone done);
  void close(PoolDone done);
  Prepared prepare(std::string_view agent_id, std::string_view correlation_id,
                   const transport::agent_messages::RequestHeaders& event, CallOptions options);
  Prepared prepare(std::string_view agent_id, std::string_view correlation_id,
                   const transport::agent_messages::RequestBodyChunk& event, CallOptions options);
  Prepared prepare(std::string_view agent_id, std::string_view correlation_id,
                   const transport::agent_messages::ResponseHeaders& event, CallOptions options);
  Prepared prepare(std::string_view agent_id, std::string_view correlation_id,
                   const transport::agent_messages::ResponseBodyChunk& event, CallOptions options);
  Prepared prepare(std::string_view agent_id, std::string_view correlation_id,
                   const transport::agent_messages::WebSocketFrame& event, CallOptions options);
  Prepared prepare(std::string_view agent_id, std::string_view correlation_id,
                   const transport::agent_messages::GuardrailInspect& event, CallOptions options);
  Prepared prepare(std::string_view agent_id, std::string_view correlation_id,
                   const transport::agent_messages::RequestComplete& event, CallOptions options);
  void start_call(Prepared call, ReplyHandler handler);

  template <class CompletionToken>
  auto start(Prepared prepared, CompletionToken&& token) {
    return boost::asio::async_initiate<CompletionToken, void(Error, AgentReply)>(
        [](auto handler, AgentPool* self, Prepared call) {
          self->start_call(std::move(call), ReplyHandler(std::move(handler)));
        },
        token, this, std::move(prepared));
  }

  const std::shared_ptr<internal::PoolCore> core_;
};

}  // namespace sharingbus::connector

#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include <boost/asio/any_io_executor.hpp>

#include "bus/sharing_bus.hpp"
#include "connector/agent/agent_pool.hpp"
#include "connector/agent/agent_pool_events.hpp"
#include "connector/agent/internal/call.hpp"
#include "connector/agent/internal/pool_connection.hpp"
#include "connector/agent/sticky_table.hpp"
#include "connector/internal/timer_access.hpp"
#include "transport/strand.hpp"

namespace sharingbus::connector::internal {

/// One entry of the pool. Guarded by the pool's lock, but for what is const.
struct Agent {
  enum class Phase : std::uint8_t {
    /// Its first connections are being opened; not in the table yet.
    adding,
    up,
    /// Takes no more calls; waits for those it has.
    draining,
    /// Waits for its connections to end.
    closing,
    gone,
  };

  Agent(AgentKey number, std::string name, std::string where, const AgentPoolOptions& pool, AgentOptions own)
      : key(number),
        id(std::move(name)),
        endpoint_text(std::move(where)),
        options(std::move(own)),
        balancer(pool.strategy, number, pool.calls_in_a_row),
        breaker(pool.circuit_breaker),
        outliers(pool.outliers),
        budget(pool.retry) {}

  const AgentKey key;
  const std::string id;
  const std::string endpoint_text;
  /// Nothing: it dialled in.
  std::optional<AgentEndpoint> endpoint;
  AgentOptions options;
  std::shared_ptr<transport::Dialer> dialer;
  /// Held while the dialer is told to close, so that its end waits for that.
  std::mutex closing_dialer;
  bool announced = false;
  Phase phase = Phase::adding;
  bool healthy = false;
  std::optional<transport::agent_messages::AgentCapabilities> capabilities;
  std::optional<transport::AgentWire> wire;

  Balancer balancer;
  CircuitBreaker breaker;
  OutlierDetector outliers;
  RetryBudget budget;

  /// Those that are up, and, place by place, what the balancer knows of them.
  std::vector<std::shared_ptr<PoolConnection>> connections;
  std::vector<ConnectionLoad> loads;
  /// All that are not closed.
  std::vector<std::shared_ptr<PoolConnection>> all;
  CallList parked;
  /// Calls under way, whatever they wait for.
  std::size_t calls = 0;
  std::uint64_t requests = 0;
  std::uint64_t errors = 0;

  // The round of opening connections that is under way, and those before it.
  std::size_t opening = 0;
  std::size_t opened = 0;
  Error open_error;
  std::uint32_t failures = 0;
  TimePoint next_attempt{};

  std::vector<PoolDone> when_added;
  std::vector<PoolDone> when_gone;
  TimerId drain_timer = 0;
  std::size_t cancelled = 0;
  bool dialer_closing = false;
};

/// The pool without its handle. Any thread. One lock guards all of it, for moments: nothing is called while it is held,
/// neither bus nor link nor handler; `Turn` collects what is to be done and does it afterwards.
class PoolCore final : public std::enable_shared_from_this<PoolCore> {
 public:
  PoolCore(boost::asio::any_io_executor executor, SharingBus& bus, TimerService& timers, AgentDialerFactory dialers,
           AgentPoolOptions options);

  // Agents. (pool_agents.cpp)
  void add_agent(std::string id, std::string endpoint, AgentOptions options, PoolDone done);
  void remove_agent(const std::string& id, PoolDone done);
  Result<ConnectionKey> add_reverse(const std::string& id, std::shared_ptr<transport::Link> link,
                                    transport::agent_messages::AgentCapabilities capabilities, std::string peer,
                                    std::string first_frame);
  [[nodiscard]] std::vector<std::string> agent_ids() const;
  [[nodiscard]] std::optional<AgentStats> agent_stats(std::string_view id) const;
  [[nodiscard]] std::vector<AgentStats> stats() const;
  [[nodiscard]] std::optional<transport::agent_messages::AgentCapabilities> capabilities(std::string_view id) const;
  [[nodiscard]] bool healthy(std::string_view id) const;
  [[nodiscard]] std::optional<bool> is_reverse(std::string_view id) const;
  MaintenanceReport maintain();
  void start_maintenance();
  void close(PoolDone done);
  void abandon();

  // Calls. (pool_calls.cpp)
  template <class Event>
  [[nodiscard]] CallPtr prepare(std::string_view agent_id, std::string_view correlation_id, const Event& event,
                                CallKind kind, bool last, CallOptions options);
  void start(CallPtr call, boost::asio::any_completion_handler<void(Error, AgentReply)> handler);
  void cancel_call(const CallPtr& call);
  Result<std::size_t> cancel_request(const std::string& agent_id, const std::string& correlation_id,
                                     transport::agent_messages::CancelReason reason);
  std::size_t cancel_all(transport::agent_messages::CancelReason reason);

  // Sessions and affinities. (pool_calls.cpp)
  Result<> create_session(const std::string& session, std::string_view agent_id);
  bool refresh_session(std::string_view session);
  bool clear_session(std::string_view session);
  [[nodiscard]] std::optional<std::string> session_agent(std::string_view session);
  [[nodiscard]] std::size_t session_count() const;
  std::size_t expire_sessions();
  std::size_t clear_affinity(std::string_view correlation_id);
  [[nodiscard]] std::size_t affinity_count() const;

  // Configuration. (pool_config.cpp)
  Result<std::string> push_config(std::string_view agent_id, AgentConfig config);
  std::vector<std::string> push_config_to_all(const AgentConfig& config);
  bool acknowledge_push(std::string_view push_id, bool accepted, std::string_view error);
  [[nodiscard]] std::optional<PushResult> push_result(std::string_view push_id) const;
  [[nodiscard]] std::vector<PushResult> push_results() const;

  [[nodiscard]] const ProtocolMetrics& metrics() const noexcept { return metrics_; }
  [[nodiscard]] const MetricsCollector& collector() const noexcept { return collector_; }
  [[nodiscard]] const AgentPoolOptions& options() const noexcept { return options_; }
  [[nodiscard]] const boost::asio::any_io_executor& executor() const noexcept { return executor_; }
  [[nodiscard]] const Publisher& publisher() const noexcept { return publisher_; }

  class Turn;

 private:
  using AgentPtr = std::shared_ptr<Agent>;
  using ConnectionPtr = std::shared_ptr<PoolConnection>;

  // Agents. (pool_agents.cpp)
  [[nodiscard]] AgentPtr find(std::string_view id) const;
  void resolve_add(Turn& turn, const AgentPtr& agent);
  void announce(Turn& turn, const AgentPtr& agent);
  void retire(Turn& turn, const AgentPtr& agent);
  void retire_if_drained(Turn& turn, const AgentPtr& agent);
  void cancel_rest(const std::weak_ptr<Agent>& weak);
  void close_connections(Turn& turn, const AgentPtr& agent);
  void finish_agent(Turn& turn, const AgentPtr& agent);
  void check_health(Turn& turn, Agent& agent);
  void closed_if_empty(Turn& turn);
  void abandon_agent(Turn& turn, Agent& agent, const Error& why);
  [[nodiscard]] AgentStats stats_of(const Agent& agent) const;
  void reconnect(Turn& turn, const AgentPtr& agent, TimePoint now);
  [[nodiscard]] std::size_t missing(const Agent& agent) const;
  [[nodiscard]] Duration pace(const Agent& agent) const;
  void round_ended(Turn& turn, const AgentPtr& agent);
  void look_again(Turn& turn, TimePoint at);
  void maintenance_due();
  [[nodiscard]] TimePoint next_maintenance() const;

  // Connections. (pool_connections.cpp)
  void open_connection(Turn& turn, const AgentPtr& agent, bool again = false);
  void dial(const ConnectionPtr& connection);
  [[nodiscard]] Result<std::string> hello(const Agent& agent) const;
  Result<> make_dialer(Agent& agent);
  /// Subscribes to the link's uid; false when the pool is gone.
  bool watch(const ConnectionPtr& connection);
  void received(const ConnectionPtr& connection, const Lent& lent);
  void take(Turn& turn, const ConnectionPtr& connection, const EventRef& event);
  void handshaken(Turn& turn, const ConnectionPtr& connection,
                  const transport::agent_messages::HandshakeResponse& answer);
  void went_up(Turn& turn, const ConnectionPtr& connection);
  void went_down(Turn& turn, const ConnectionPtr& connection, const Error& why);
  void give_up_on(Turn& turn, const ConnectionPtr& connection, Error why);
  void retire_connection(Turn& turn, const ConnectionPtr& connection);
  void end_if_idle(Turn& turn, PoolConnection& connection);
  void answered(Turn& turn, const ConnectionPtr& connection, const EventRef& event);
  void broken_answer(Turn& turn, const ConnectionPtr& connection,
                     const transport::agent_messages::InvalidMessage& message);
  void flow(Turn& turn, const ConnectionPtr& connection, const transport::agent_messages::FlowControlSignal& signal);
  void reported(Turn& turn, const ConnectionPtr& connection, const transport::agent_messages::HealthStatus& status);
  void connection_failed(Turn& turn, PoolConnection& connection);
  void connection_succeeded(Turn& turn, PoolConnection& connection);
  void judged(Turn& turn, PoolConnection& connection, bool was_healthy);
  void update_load(PoolConnection& connection);
  void flush(PoolConnection& connection);
  /// `call`: whose frame it is; null: a control.
  void take_back(PoolConnection& connection, const CallPtr& call, std::string frame);
  [[nodiscard]] ConnectionPtr find_connection(const Agent& agent, ConnectionKey key) const;

  // Calls. (pool_calls.cpp)
  struct Selection {
    ConnectionPtr connection;
    PoolFailure failure = PoolFailure::none;
  };
  [[nodiscard]] CallPtr make_call(std::string_view agent_id, std::string_view correlation_id, CallKind kind, bool last,
                                  CallOptions options);
  [[nodiscard]] Selection select(Agent& agent, Call& call);
  void place(Turn& turn, Call& call);
  void turned_away(Turn& turn, Call& call);
  void enqueue(Turn& turn, const ConnectionPtr& connection, Call& call);
  void unpark(Turn& turn, Agent& agent);
  /// Ends a call that has no answer.
  void fail(Turn& turn, Call& call, PoolFailure failure, Error error);
  void fail_lost(Turn& turn, Call& call, const Error& why);
  void complete(Turn& turn, Call& call, Error error, AgentReply reply);
  void leave_list(Call& call);
  void hedge(Turn& turn, Call& call);
  /// `in_order`: its answer may still come.
  void drop_shadow(Call& shadow, bool in_order);
  /// Ends whatever there is in the list's place: a call, or, for a shadow, its call if that has nothing else.
  void end_lost(Turn& turn, Call& call, const Error& why);
  static void collect(CallList& list, std::vector<CallPtr>& calls);
  void tell_cancelled(Turn& turn, PoolConnection& connection, const std::string& correlation_id,
                      transport::agent_messages::CancelReason reason);
  void count(PoolFailure failure);
  void expire_calls();
  void arm_calls();
  void deliver(CallPtr call, bool from_start) const;

  // Configuration. (pool_config.cpp)
  void deliver_pushes(Turn& turn, TimePoint now);
  /// An empty push id means the connection's own first configuration. Errors: it does not encode, or is too large.
  Result<> send_config(Turn& turn, const ConnectionPtr& connection, const AgentConfig& config,
                       const std::string& push_id, bool initial);
  void config_answered(Turn& turn, const ConnectionPtr& connection, const std::string& push_id, bool accepted,
                       const std::string& error);
  void push_ended(Turn& turn, std::string_view push_id);
  void config_requested(Turn& turn, const ConnectionPtr& connection, const EventRef& event);

  template <class Event>
  void publish(Event event, const std::string& agent_id, std::optional<Uuid> connection = std::nullopt) const;

  const boost::asio::any_io_executor executor_;
  /// For what connections bring over gRPC: whoever has read it does the pool's work.
  const transport::ErasedExecutor in_turns_{executor_, true};
  const Publisher publisher_;
  const std::uint64_t source_;
  const AgentDialerFactory dialers_;
  const AgentPoolOptions options_;
  const std::shared_ptr<const transport::FrameDecoder> grpc_decoder_;
  const std::shared_ptr<const transport::FrameDecoder> uds_decoder_;
  TimerAccess timers_;
  ProtocolMetrics metrics_;
  MetricsCollector collector_;

  /// Held while the bus itself is used, so that the pool's end waits for that; by one thread again and again where
  /// subscribing dispatches an event whose subscriber calls the pool.
  std::recursive_mutex bus_mutex_;
  SharingBus* bus_;

  mutable std::mutex mutex_;
  struct TextHash {
    using is_transparent = void;
    std::size_t operator()(std::string_view text) const noexcept { return std::hash<std::string_view>{}(text); }
  };
  std::unordered_map<std::string, AgentPtr, TextHash, std::equal_to<>> agents_;
  /// Being added, or on their way out.
  std::vector<AgentPtr> others_;
  AffinityTable affinities_;
  StickyTable sessions_;
  ConfigPusher pusher_;
  DeadlineHeap deadlines_;
  TimerId calls_timer_ = 0;
  TimePoint calls_timer_at_ = TimePoint::max();
  std::uint64_t calls_round_ = 0;
  std::uint64_t last_key_ = 0;
  std::uint64_t last_ping_ = 0;
  bool maintaining_ = false;
  TimePoint next_health_check_{};
  TimerId maintenance_timer_ = 0;
  TimePoint maintenance_at_ = TimePoint::max();
  std::uint64_t maintenance_round_ = 0;
  bool closing_ = false;
  bool closed_ = false;
  std::vector<PoolDone> when_closed_;
};

/// The lock for a moment, and what is to be done once it is released: connections to flush, then whatever else in its
/// order, then calls to complete. No allocation where only calls are sent and completed.
class PoolCore::Turn {
 public:
  enum class From : std::uint8_t {
    /// Calls that end are completed later, not from within.
    start,
    elsewhere,
  };
  explicit Turn(PoolCore& core, From from = From::elsewhere) : core_(core), from_(from), lock_(core.mutex_) {}
  ~Turn();
  Turn(const Turn&) = delete;
  Turn& operator=(const Turn&) = delete;

  void flush(PoolConnection& connection) {
    if (connection.flushing || !connection.has_to_send()) return;
    connection.flushing = true;
    if (flush_count_ < few_.size()) {
      few_[flush_count_++] = connection.shared_from_this();
    } else {
      more_.push_back(connection.shared_from_this());
    }
  }
  /// One look at the clock for all of it.
  [[nodiscard]] TimePoint now() {
    if (now_ == TimePoint{}) now_ = core_.timers_.now();
    return now_;
  }
  template <class Event>
  void publish(Event event, const std::string& agent_id, std::optional<Uuid> connection = std::nullopt) {
    later([this, event = std::move(event), agent_id, connection]() mutable {
      core_.publish(std::move(event), agent_id, connection);
    });
  }
  void later(std::function<void()> what) { later_.push_back(std::move(what)); }
  /// Takes over the pool's reference.
  void completed(Call& call) { done_.push_back(call); }

 private:
  PoolCore& core_;
  const From from_;
  std::unique_lock<std::mutex> lock_;
  TimePoint now_{};
  std::array<ConnectionPtr, 4> few_;
  std::size_t flush_count_ = 0;
  std::vector<ConnectionPtr> more_;
  std::vector<std::function<void()>> later_;
  CallList done_;
};

}  // namespace sharingbus::connector::internal

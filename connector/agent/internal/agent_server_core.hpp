#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/cancellation_signal.hpp>

#include "bus/base/gate.hpp"
#include "bus/sharing_bus.hpp"
#include "connector/agent/agent_handler.hpp"
#include "connector/agent/agent_server.hpp"
#include "connector/agent/internal/server_load.hpp"
#include "connector/agent/internal/server_session.hpp"
#include "connector/gateway/internal/limited_log.hpp"
#include "connector/internal/timer_access.hpp"
#include "transport/codec/agent_control.hpp"
#include "transport/strand.hpp"

namespace sharingbus::connector::internal {

class ReverseSlot;

/// The agent server without its handle: sessions, listeners, reverse connections, reports, and the way down. Kept alive
/// by its sessions too. Any thread; the mutex is never held while a handler, the bus or a link is called.
class AgentServerCore final : public std::enable_shared_from_this<AgentServerCore> {
 public:
  AgentServerCore(boost::asio::any_io_executor executor, SharingBus& bus, TimerService& timers,
                  std::shared_ptr<AgentHandler> handler, AgentServerOptions options);

  // For the handle.
  void start(SharingBus& bus);
  [[nodiscard]] transport::ListenerOptions make_listener_options(SharingBus& bus, transport::AgentCarrier carrier,
                                                                 AgentMethod method);
  Result<transport::Endpoint> serve(std::shared_ptr<transport::Listener> listener);
  Result<> register_with(SharingBus& bus, std::shared_ptr<transport::Dialer> dialer, ReverseOptions options);
  void set_paused(bool paused);
  [[nodiscard]] std::size_t connection_count() const;
  void close(Duration drain, std::function<void()> done);
  /// The handle is gone.
  void abandon();

  // For sessions and reverse slots.
  /// Null when there is no room, or the server is closing; `refused` says so.
  [[nodiscard]] std::shared_ptr<ServerSession> make_session(StreamKind kind, const Uuid& uid, Error& refused);
  /// A proxy is there to report to.
  void connected();
  /// Proxies are to pause.
  [[nodiscard]] bool paused() const;
  void remove(const ServerSession& session);
  [[nodiscard]] Presence enter() { return {alive_, alive_->enter()}; }

  template <class Event>
  [[nodiscard]] EventDraft make(Event event, const Uuid& uid) const {
    Routing routing = routing_for<Event>();
    routing.connector_uid = uid;
    routing.connector_id = options_.capabilities.agent_id;
    return make_event(std::move(event), std::move(routing), EventOrigin::agent, source_);
  }
  template <class Event>
  void publish(Event event, const Uuid& uid) const {
    publisher_.publish(make(std::move(event), uid));
  }
  void log(const ProxyConnected& event);
  void log(const ProxyRefused& event);
  void log(const ProxyDisconnected& event);
  void log_failure(std::string_view where, const std::exception_ptr& exception);

  [[nodiscard]] const boost::asio::any_io_executor& executor() const noexcept { return executor_; }
  /// For the sessions' strands: in turns, unless handlers that may block run there.
  [[nodiscard]] const transport::ErasedExecutor& session_executor() const noexcept { return session_executor_; }
  /// Events' handlers run on their session's strand, and so perhaps on a thread of the transport's.
  [[nodiscard]] bool handlers_in_turns() const noexcept { return handlers_in_turns_; }
  [[nodiscard]] const AgentServerOptions& options() const noexcept { return options_; }
  [[nodiscard]] const std::shared_ptr<AgentHandler>& handler() const noexcept { return handler_; }
  [[nodiscard]] TimerAccess& timers() noexcept { return timers_; }
  /// As messages have it.
  [[nodiscard]] std::uint64_t unix_ms() { return static_cast<std::uint64_t>(timers_.moment().unix_ms); }
  [[nodiscard]] ServerLoad& load() noexcept { return load_; }
  [[nodiscard]] std::uint64_t source() const noexcept { return source_; }
  [[nodiscard]] const Publisher& publisher() const noexcept { return publisher_; }
  [[nodiscard]] const std::shared_ptr<const transport::FrameDecoder>& uds_decoder() const noexcept {
    return uds_decoder_;
  }

 private:
  enum class Phase : std::uint8_t { open, draining, cancelling, closed };

  template <class Fn>
  void post(Fn fn);
  [[nodiscard]] std::vector<std::shared_ptr<ServerSession>> sessions() const;
  // On the dispatching thread, inline.
  void stream_opened(SharingBus& bus, const BusEvent& event);
  void stream_closed(const BusEvent& event);

  // Reports, on the executor.
  void arm_report(TimerId& timer, Duration interval, void (AgentServerCore::*send)());
  void report_health();
  void report_metrics();

  // The steps of close, on the executor.
  void start_drain(Duration limit);
  void limit_drain(Duration drain);
  void cancel_sessions();
  void close_transports();
  void closed();

  const boost::asio::any_io_executor executor_;
  const Publisher publisher_;
  const std::uint64_t source_;
  const AgentServerOptions options_;
  const std::shared_ptr<AgentHandler> handler_;
  const bool handlers_in_turns_;
  const transport::ErasedExecutor session_executor_;
  const std::shared_ptr<const transport::FrameDecoder> grpc_decoder_ =
      std::make_shared<transport::AgentFrameDecoder>(transport::AgentRole::agent, transport::AgentCarrier::grpc);
  const std::shared_ptr<const transport::FrameDecoder> uds_decoder_ =
      std::make_shared<transport::AgentFrameDecoder>(transport::AgentRole::agent, transport::AgentCarrier::uds);
  const std::shared_ptr<const transport::FrameDecoder> control_decoder_ =
      std::make_shared<transport::AgentControlDecoder>();
  TimerAccess timers_;
  LimitedLog comings_;
  LimitedLog refusals_;
  LimitedLog failures_;
  ServerLoad load_;
  const std::shared_ptr<Gate> alive_ = std::make_shared<Gate>();

  const boost::asio::any_io_executor drain_strand_;
  // On that strand.
  boost::asio::cancellation_signal drain_cancel_;
  /// The time of the handler's drain is over, maybe before it has begun.
  bool drain_over_ = false;

  mutable std::mutex mutex_;
  std::unordered_map<Uuid, std::shared_ptr<ServerSession>> sessions_;
  std::vector<std::shared_ptr<transport::Listener>> listeners_;
  /// What the ids that `make_listener_options` gave out stand for.
  std::unordered_map<std::uint64_t, StreamKind> kinds_;
  std::vector<std::shared_ptr<transport::Dialer>> dialers_;
  std::vector<std::shared_ptr<ReverseSlot>> slots_;
  std::vector<std::function<void()>> waiting_;
  TimerId health_timer_ = 0;
  TimerId metrics_timer_ = 0;
  TimerId drain_timer_ = 0;
  TimePoint drain_until_{};
  bool paused_ = false;
  Phase phase_ = Phase::open;

  Subscription opened_;
  Subscription closed_;
};

}  // namespace sharingbus::connector::internal

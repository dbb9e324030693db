#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <vector>

#include <boost/asio/any_io_executor.hpp>

#include "bus/base/gate.hpp"
#include "bus/sharing_bus.hpp"
#include "connector/gateway/gateway.hpp"
#include "connector/gateway/internal/limited_log.hpp"
#include "connector/gateway/internal/pending_requests.hpp"
#include "connector/gateway/internal/session.hpp"
#include "connector/internal/strand_pool.hpp"
#include "connector/internal/timer_access.hpp"
#include "transport/codec/connector_frame_decoder.hpp"

namespace sharingbus::connector::internal {

/// The gateway without its handle: sessions, the address table, the listeners, and the way down. Kept alive by its
/// sessions too. Any thread; the mutex is never held while a callback, the bus or a link is called.
class GatewayCore final : public std::enable_shared_from_this<GatewayCore> {
 public:
  GatewayCore(boost::asio::any_io_executor executor, SharingBus& bus, TimerService& timers, GatewayOptions options);

  // For the handle.
  void start(SharingBus& bus);
  [[nodiscard]] transport::ListenerOptions make_listener_options(SharingBus& bus) const;
  Result<transport::Endpoint> serve(std::shared_ptr<transport::Listener> listener);
  /// `anywhere`: `Request::anywhere`.
  void execute(std::string address, ExecuteCall call, std::unique_ptr<AnswerTaker> taker, bool anywhere);
  [[nodiscard]] std::vector<SessionInfo> sessions() const;
  [[nodiscard]] std::size_t session_count() const;
  bool ask_to_reconnect(const std::string& address);
  void close(Duration drain, std::function<void()> done);
  /// The handle is gone: see `Gateway::~Gateway`.
  void abandon();

  // For sessions.
  struct ClaimResult {
    Error refused;
    bool replaced = false;
  };
  /// Gives `address` to the session, as the policy has it.
  ClaimResult claim(const std::shared_ptr<Session>& session, const ConnectorIdentity& identity, std::int64_t unix_ms);
  /// Frees the address unless another session has it by now.
  void release(const Session& session, const std::string& address);
  void remove(const Session& session);
  /// Who has the address, if anybody.
  [[nodiscard]] std::shared_ptr<Session> find(std::string_view address) const;
  /// Calls the request's taker, here if it may be, and contains what it throws.
  void deliver(RequestPtr request, Error&& error, ExecuteReply&& reply);

  template <class Event>
  void publish(Event event, Routing routing) const {
    publisher_.publish(std::move(event), std::move(routing), EventOrigin::gateway, source_);
  }
  [[nodiscard]] Routing routing(const Uuid& uid, const std::string& address, EventKind kind) const;
  /// What the events of a lane on the stream `source` are made with.
  [[nodiscard]] transport::StreamOptions lane_options(std::uint64_t source) const;
  void log(const ConnectorRegistered& event);
  void log(const ConnectorRefused& event);
  void log(const ConnectorDisconnected& event);

  [[nodiscard]] const boost::asio::any_io_executor& executor() const noexcept { return executor_; }
  [[nodiscard]] const SharedStrand& next_strand() noexcept { return strands_.next(); }
  [[nodiscard]] const GatewayOptions& options() const noexcept { return options_; }
  [[nodiscard]] TimerAccess& timers() noexcept { return timers_; }

 private:
  struct Registered {
    std::shared_ptr<Session> session;
    ConnectorIdentity identity;
    std::int64_t at_unix_ms = 0;
  };

  template <class Fn>
  void post(Fn fn);
  // On the dispatching thread, inline.
  void stream_opened(const BusEvent& event);
  void stream_closed(const BusEvent& event);
  void connection_refused(const BusEvent& event);
  /// Says on the bus and in the log that a stream, or a connection, was not taken.
  void publish_refusal(std::string peer, Error why, std::optional<Uuid> uid);
  /// Null, with the reason, when there is no room.
  std::shared_ptr<Session> make_session(const transport::StreamOpened& opened, std::shared_ptr<transport::Link> link,
                                        Error& refused);
  [[nodiscard]] std::string request_id();
  void refuse(RequestPtr request, std::string address, Error error);
  void call_back(const Request& request, Error&& error, ExecuteReply&& reply) noexcept;

  // The steps of close, on the executor.
  void limit_drain(Duration drain);
  void end_sessions(bool graceful);
  void close_listeners();
  void closed();

  const boost::asio::any_io_executor executor_;
  StrandPool strands_;
  const Publisher publisher_;
  const std::uint64_t source_;
  const GatewayOptions options_;
  const std::shared_ptr<const transport::FrameDecoder> decoder_ = std::make_shared<transport::ConnectorFrameDecoder>();
  /// Makes request ids unique beyond this gateway.
  const std::string id_suffix_;
  TimerAccess timers_;
  LimitedLog comings_;
  LimitedLog refusals_;
  LimitedLog failures_;
  std::atomic<std::uint64_t> last_request_{0};
  const std::shared_ptr<Gate> requests_ = std::make_shared<Gate>();
  const std::shared_ptr<Gate> alive_ = std::make_shared<Gate>();

  mutable std::mutex mutex_;
  std::unordered_map<Uuid, std::shared_ptr<Session>> sessions_;
  std::map<std::string, Registered, std::less<>> addresses_;
  /// Registered connectors of each tenant.
  std::unordered_map<std::string, std::size_t> tenants_;
  std::vector<std::shared_ptr<transport::Listener>> listeners_;
  std::unordered_set<std::uint64_t> listener_ids_;
  std::vector<std::function<void()>> waiting_;
  TimerId drain_timer_ = 0;
  TimePoint drain_until_{};
  enum class Phase : std::uint8_t { open, draining, finishing, cancelling, closed } phase_ = Phase::open;

  Subscription opened_;
  Subscription closed_;
  Subscription refused_;
};

}  // namespace sharingbus::connector::internal

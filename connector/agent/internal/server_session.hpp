#pragma once

#include <cstdint>
#include <deque>
#include <exception>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/post.hpp>

#include "bus/async.hpp"
#include "bus/base/gate.hpp"
#include "connector/agent/agent_handler.hpp"
#include "connector/agent/agent_server_events.hpp"
#include "connector/agent/agent_server_options.hpp"
#include "connector/agent/internal/call_line.hpp"
#include "transport/codec/agent_codec.hpp"
#include "transport/codec/agent_frame_decoder.hpp"
#include "transport/dialer.hpp"
#include "transport/link.hpp"
#include "transport/strand.hpp"

namespace sharingbus::connector::internal {

class AgentServerCore;

/// What a stream is, and over what.
struct StreamKind {
  transport::AgentCarrier carrier = transport::AgentCarrier::uds;
  AgentMethod method = AgentMethod::process_stream;
};

/// A place in a gate, with the gate.
struct Presence {
  std::shared_ptr<Gate> gate;
  Gate::Entry entry;
};

/// One connection of an agent server: handshake or registration, events to handlers, answers, credit, and the way down.
/// Works on a strand of its own; the public functions are for any thread. Owned by the core until its stream's end, and
/// by its handlers until they have returned.
class ServerSession final : public std::enable_shared_from_this<ServerSession> {
 public:
  /// Called on the strand when the stream of a reverse connection has ended, with whether it was registered and since
  /// when. Answers the wait before the next attempt.
  using Ended = std::function<Duration(std::optional<TimePoint> registered_at)>;

  ServerSession(std::shared_ptr<AgentServerCore> core, Presence alive, StreamKind kind, Uuid uid);
  ~ServerSession();
  ServerSession(const ServerSession&) = delete;
  ServerSession& operator=(const ServerSession&) = delete;

  /// An accepted stream: subscribes, then lets it read. From `StreamOpened`'s inline callback, where the bus lives.
  void accept(SharingBus& bus, std::shared_ptr<transport::Link> link, std::string peer);
  /// Dials and registers.
  void dial(SharingBus& bus, transport::Dialer& dialer, std::string registration, Duration connect_timeout,
            Ended ended);
  /// The stream ended, as the server's own subscription saw it; see `Session::closed_early` of the gateway.
  void closed_early(Error error);
  /// Tells the proxy, answers what it has, then finishes the stream.
  void drain(Duration limit);
  /// Cancels handlers and stream.
  void end(Error why);
  /// Goes out unless the proxy does not read.
  void report(transport::agent_messages::HealthStatus status);
  void report(transport::agent_messages::MetricsReport report);
  /// The server was paused, or resumed.
  void flow_changed();

  [[nodiscard]] const Uuid& uid() const noexcept { return uid_; }

 private:
  struct Call;
  struct Runner;
  enum class State : std::uint8_t {
    /// Waits for the handshake, or for the answer to the registration.
    greeting,
    /// The handshake's configuration is with the handler.
    configuring,
    active,
    /// Nothing more is sent; waits for the stream's end.
    finishing,
    closed,
  };

  template <class Fn>
  void post(Fn fn) {
    boost::asio::post(strand_, [self = shared_from_this(), fn = std::move(fn)]() mutable {
      fn(*self);
      self->settle();
    });
  }
  void subscribe(SharingBus& bus, const std::string& peer);

  // What the link brings.
  void received(const Lent& lent);
  void event(const EventRef& event);
  void message(const EventRef& event);
  /// The one message of a `ProcessEvent`.
  void single(const EventRef& event, bool is_request);
  /// What comes on a `ControlStream`.
  void control(const EventRef& event);
  void handshake(const transport::agent_messages::HandshakeRequest& request);
  void greet(transport::agent_messages::HandshakeResponse response);
  void registered(const transport::agent_messages::ReverseRegistrationResponse& response);
  void activate();
  void stream_closed(const Error& error);

  // Events and their answers.
  void take(const EventRef& event);
  void pump();
  /// A runner; on the strand.
  [[nodiscard]] static boost::asio::awaitable<void> run(std::shared_ptr<ServerSession> self,
                                                        std::shared_ptr<Runner> runner);
  void run_elsewhere(std::shared_ptr<Call> call);
  /// Answers one that came broken.
  [[nodiscard]] bool refuse_invalid(AgentCall& call);
  void returned(Call& call, const std::exception_ptr& exception, AgentHandler::Response& response);
  /// Gives `response` what it lacks.
  void answer(const AgentCall& call, AgentHandler::Response& response);
  /// With the failure answer.
  void fail(const AgentCall& call, const Error& why);
  void send_failure(const AgentCall& call, const Error& why);
  /// Nobody waits for an answer to it.
  void drop(const AgentCallPtr& call, const Error& why);
  void dispose(const AgentCall& call, AgentOutcome outcome, Error error, Duration duration);
  [[nodiscard]] AgentHandler::Response failure(const Error& why) const;
  void cancel_handler(const AgentCallPtr& call);
  void cancelled(const EventRef& event);
  void expire();
  void watch_line();
  void tell_flow();

  // Configurations, one at a time; what comes behind one waits.
  using Configured = std::function<void(ServerSession&, const Result<>&)>;
  /// Begins the handler's part; kept until that has ended.
  using ConfigureCall = std::function<boost::asio::awaitable<Result<>>(AgentHandler& handler, const ProxyInfo& proxy)>;
  struct Configuration {
    ConfigureCall call;
    Configured done;
    TimePoint arrived{};
  };
  void configure(const EventRef& event);
  void enqueue(ConfigureCall call, Configured done);
  void configure_next();
  void configured(std::uint64_t round, const Result<>& result);
  void cancel_configuration();
  void pong(const transport::agent_messages::Ping& ping);

  /// Whether health, metrics and flow control are told on it.
  [[nodiscard]] bool takes_reports() const noexcept {
    return state_ == State::active && method_ == AgentMethod::process_stream;
  }
  /// Where a handler runs: a strand.
  [[nodiscard]] boost::asio::any_io_executor handler_strand() const;
  /// The same for one that may take long whatever `AgentHandler::may_block` says.
  [[nodiscard]] boost::asio::any_io_executor configuration_strand() const;

  // The way out.
  template <class Message>
  bool send(const Message& message);
  /// A message of a control stream.
  void send_control(std::string frame);
  /// `answers`: the correlation id, when it is an answer.
  transport::SendStatus send_frame(std::string frame, std::string_view answers);
  void flush();
  void violate(std::string what);
  void cancel(Error why);
  void finish();

  void settle();
  void return_credit();
  void arm_timer();
  void timer_fired(std::uint64_t round);
  void depart();
  /// Behind the answers that wait to be told.
  template <class Event>
  void publish(Event event);
  /// Publishes the answers that wait for it.
  void tell();

  const std::shared_ptr<AgentServerCore> core_;
  const Presence alive_;
  const transport::AgentCarrier carrier_;
  const AgentMethod method_;
  const Uuid uid_;
  const transport::Strand strand_;
  /// The same, as coroutines want it: made once, since that allocates.
  const boost::asio::any_io_executor erased_strand_;

  // On the strand.
  std::shared_ptr<transport::Link> link_;
  std::string peer_;
  State state_ = State::greeting;
  transport::AgentWire wire_;
  Ended ended_;
  std::shared_ptr<ProxyInfo> proxy_;
  CallbackSubscription subscription_;
  CallLine line_;
  bool pumping_ = false;
  /// A runner was started, and has not begun.
  bool runner_due_ = false;
  bool long_line_ = false;
  /// The proxy was told to pause: the server is paused, or the line long.
  bool pause_told_ = false;
  bool draining_ = false;
  bool heard_ = false;
  /// A ping took the credit of the greeting, which is still to come.
  bool greeting_due_ = false;
  /// The one message of a `ProcessEvent` has come.
  bool asked_ = false;
  /// Why this side ended it, for what it publishes.
  std::optional<Error> reason_;
  std::optional<TimePoint> active_since_;
  std::deque<Configuration> configurations_;
  /// Names the configuration that is with the handler, so that one that comes back too late is known.
  std::uint64_t configuration_round_ = 0;
  boost::asio::any_io_executor configuring_on_;
  std::shared_ptr<boost::asio::cancellation_signal> configuration_cancel_;
  std::vector<transport::agent_messages::Ping> pings_;
  /// What waits for room on the link.
  struct Waiting {
    std::string frame;
    /// Of an answer.
    std::string id;
  };
  std::deque<Waiting> outbox_;
  /// `AgentAnswered` of answers that went out in a row, which are published together.
  std::vector<EventDraft> answered_;
  std::size_t waiting_told_ = 0;
  std::size_t running_told_ = 0;
  transport::Credit owed_;
  /// Until when the greeting, or, while finishing, the end has to come.
  std::optional<TimePoint> deadline_;
  TimerId timer_ = 0;
  TimePoint timer_at_{};
  std::uint64_t timer_round_ = 0;
};

template <class Message>
bool ServerSession::send(const Message& message) {
  if (!link_ || reason_ || state_ == State::finishing || state_ == State::closed) return false;
  auto frame = transport::encode_agent_message(message, wire_);
  if (!frame) {
    cancel(frame.error());
    return false;
  }
  return send_frame(*std::move(frame), {}) != transport::SendStatus::too_large;
}

}  // namespace sharingbus::connector::internal

#include "connector/agent/internal/server_session.hpp"

#include <algorithm>
#include <utility>

#include "bus/base/bounded.hpp"
#include "connector/agent/internal/agent_server_core.hpp"
#include "connector/agent/internal/handshake.hpp"

// The connection's side: what the link brings, the greeting, credit, time, and the way out. Events and their answers
// are in server_session_calls.cpp.
namespace sharingbus::connector::internal {

using namespace transport::agent_messages;  // NOLINT(google-build-using-namespace): the subject's vocabulary

namespace {

/// Besides the credit: StreamOpened, StreamWritable, StreamClosed, and room to spare.
constexpr std::size_t kQueueReserve = 8;
/// What a peer gets to take the last messages and to end its side.
constexpr auto kFarewell = std::chrono::seconds(1);
/// Frames that may wait for a peer that does not read; beyond that it is not read either.
constexpr std::size_t kOutboxMax = 256;

transport::AgentWire first_wire(transport::AgentCarrier carrier) {
  return carrier == transport::AgentCarrier::grpc ? transport::AgentWire::protobuf : transport::AgentWire::json;
}

std::string_view name_of(transport::AgentWire wire) {
  switch (wire) {
    case transport::AgentWire::protobuf:
      return "protobuf";
    case transport::AgentWire::json:
      return "json";
    case transport::AgentWire::msgpack:
      break;
  }
  return "msgpack";
}

}  // namespace

ServerSession::ServerSession(std::shared_ptr<AgentServerCore> core, Presence alive, StreamKind kind, Uuid uid)
    : core_(std::move(core)),
      alive_(std::move(alive)),
      carrier_(kind.carrier),
      method_(kind.method),
      uid_(uid),
      strand_(core_->session_executor()),
      erased_strand_(strand_),
      wire_(first_wire(kind.carrier)),
      proxy_(std::make_shared<ProxyInfo>()),
      line_(core_->options().max_concurrent) {}

ServerSession::~ServerSession() {
  core_->timers().cancel(timer_);
}

template <class Event>
void ServerSession::publish(Event event) {
  tell();
  core_->log(event);
  core_->publish(std::move(event), uid_);
}

void ServerSession::subscribe(SharingBus& bus, const std::string& peer) {
  const transport::Credit window = core_->options().window;
  SubscriptionOptions options{.name = "agent-session " + peer,
                              .filter = Filter::connector_uid(uid_) && Filter::origin(EventOrigin::transport),
                              .capacity = std::size_t{window.requests} + window.controls + kQueueReserve};
  CallbackGroup group(bus, erased_strand_);
  auto subscription = group.subscribe_batches(std::move(options), [weak = weak_from_this()](const Lent& lent) {
    if (const auto self = weak.lock()) self->received(lent);
  });
  boost::asio::post(strand_, [self = shared_from_this(), subscription = std::move(subscription)]() mutable {
    if (self->state_ != State::closed) self->subscription_ = std::move(subscription);
  });
}

void ServerSession::accept(SharingBus& bus, std::shared_ptr<transport::Link> link, std::string peer) {
  subscribe(bus, peer);
  // On the strand, where the server's close may have been before.
  post([link = std::move(link), peer = std::move(peer)](ServerSession& self) mutable {
    if (self.state_ == State::closed) return;
    self.peer_ = std::move(peer);
    self.link_ = std::move(link);
    if (self.reason_) return self.link_->cancel(*self.reason_);
    self.deadline_ = self.core_->timers().now() + bounded(self.core_->options().handshake_timeout);
    // Until the handshake is done, its message and nothing else.
    const transport::Credit window = self.core_->options().window;
    self.owed_ = {window.requests - 1, window.controls - 1};
    self.link_->grant({1, 1});
    if (self.method_ == AgentMethod::process_stream) return;
    self.state_ = State::active;
    self.proxy_->connection = self.uid_;
    self.proxy_->peer = self.peer_;
    if (self.method_ == AgentMethod::control_stream) self.deadline_.reset();
  });
}

void ServerSession::dial(SharingBus& bus, transport::Dialer& dialer, std::string registration, Duration connect_timeout,
                         Ended ended) {
  ended_ = std::move(ended);
  const transport::Credit window = core_->options().window;
  owed_ = {window.requests - 1, window.controls - 1};
  subscribe(bus, {});
  transport::StreamOptions options;
  options.publisher = core_->publisher();
  options.decoder = core_->uds_decoder();
  options.id = bus.new_source();
  options.routing.connector_uid = uid_;
  options.initial_credit = {1, 1};
  options.limits.max_inbound_bytes = transport::kAgentUdsFrameBytesMax;
  options.limits.max_outbound_bytes = transport::kAgentUdsFrameBytesMax;
  options.connect_timeout = connect_timeout;
  // On the strand, so that nothing of the stream is handled before there is a link.
  post([&dialer, options = std::move(options), registration = std::move(registration),
        connect_timeout](ServerSession& self) mutable {
    if (self.state_ == State::closed) return;
    self.deadline_ =
        self.core_->timers().now() + bounded(connect_timeout) + bounded(self.core_->options().handshake_timeout);
    self.link_ = dialer.open(std::move(options), std::move(registration));
    if (self.reason_) self.link_->cancel(*self.reason_);
  });
}

void ServerSession::closed_early(Error error) {
  post([error = std::move(error)](ServerSession& self) {
    if (!self.heard_) self.stream_closed(error);
  });
}

void ServerSession::received(const Lent& lent) {
  if (state_ == State::closed) return;
  heard_ = true;
  for (const EventRef& ref : lent.events()) {
    event(ref);
    if (state_ == State::closed) return;
  }
  if (const Gap* gap = lent.gap()) {
    // Cannot be while the credit is kept; without what was lost the session would be wrong.
    cancel(Error(errc::internal, "lost " + std::to_string(gap->count) + " inbound messages"));
  } else if (lent.closed() != nullptr) {
    const Error why(errc::closed, "the bus was closed");
    cancel(why);
    stream_closed(why);
  }
  settle();
}

void ServerSession::event(const EventRef& ref) {
  if (const auto* opened = ref->get_if<transport::StreamOpened>()) {
    if (peer_.empty()) peer_ = opened->peer;
    return;
  }
  if (const auto* closed = ref->get_if<transport::StreamClosed>()) {
    if (peer_.empty()) peer_ = closed->peer;
    return stream_closed(closed->error);
  }
  if (ref->is<transport::StreamWritable>()) return flush();
  message(ref);
}

void ServerSession::message(const EventRef& ref) {
  const bool is_request =
      transport::agent_frame_class_of(*ref, transport::AgentRole::agent) == transport::FrameClass::request;
  if (!is_request) ++owed_.controls;
  // Their credit comes back with their answers; without one, at once.
  if (is_request && (state_ != State::active || reason_)) ++owed_.requests;
  if (reason_ || state_ == State::finishing) return;
  if (method_ == AgentMethod::process_event) return single(ref, is_request);
  if (method_ == AgentMethod::control_stream) return control(ref);

  if (const auto* ping = ref->get_if<Ping>()) {
    pong(*ping);
    greeting_due_ = state_ == State::greeting;
    return;
  }
  if (state_ == State::greeting) {
    if (const auto* request = ref->get_if<HandshakeRequest>(); request != nullptr && !ended_) {
      return handshake(*request);
    }
    if (const auto* response = ref->get_if<ReverseRegistrationResponse>(); response != nullptr && ended_) {
      return registered(*response);
    }
    return violate(std::string(ref->type_name()) +
                   (ended_ ? " before the registration's answer" : " before a handshake"));
  }
  if (state_ != State::active) return violate(std::string(ref->type_name()) + " before the handshake's answer");
  if (ref->is<HandshakeRequest>() || ref->is<ReverseRegistrationResponse>()) {
    return violate("a second " + std::string(ref->type_name()));
  }
  if (ref->is<Cancel>()) return cancelled(ref);
  if (ref->is<Configure>()) return configure(ref);
  // Others, unknown and broken ones, are nobody's request.
  if (is_request) take(ref);
}

void ServerSession::single(const EventRef& ref, bool is_request) {
  asked_ = true;
  deadline_.reset();
  if (const auto* ping = ref->get_if<Ping>()) return pong(*ping);
  if (const auto* request = ref->get_if<HandshakeRequest>()) {
    (void)send(negotiate(*request, core_->options(), false));
    return;
  }
  if (is_request && !ref->is<Configure>()) return take(ref);
  cancel(Error(errc::malformed_frame, "Unsupported event type: " + std::string(ref->type_name())));
}

void ServerSession::handshake(const HandshakeRequest& request) {
  proxy_->connection = uid_;
  proxy_->peer = peer_;
  proxy_->proxy_id = request.proxy_id;
  proxy_->proxy_version = request.proxy_version;
  HandshakeResponse response = negotiate(request, core_->options(), carrier_ == transport::AgentCarrier::uds);
  if (!response.success || request.config_json.empty()) return greet(std::move(response));

  state_ = State::configuring;
  Configure configuration;
  configuration.config_json = request.config_json;
  configuration.is_initial = true;
  auto call = [configuration = std::move(configuration)](AgentHandler& handler, const ProxyInfo& proxy) {
    return handler.configure(configuration, proxy);
  };
  enqueue(std::move(call), [response = std::move(response)](ServerSession& self, const Result<>& result) mutable {
    if (self.state_ != State::configuring) return;
    self.state_ = State::greeting;
    if (!result) {
      response.success = false;
      response.protocol_version = 0;
      response.error = "Configuration rejected: " + to_string(result.error());
    }
    self.greet(std::move(response));
  });
}

void ServerSession::greet(HandshakeResponse response) {
  const bool success = response.success;
  const Encoding encoding = response.encoding;
  const Error refusal(errc::rejected, response.error.value_or(""));
  if (!send(response)) return;
  if (!success) {
    reason_ = refusal;
    return finish();
  }
  if (encoding == Encoding::msgpack) wire_ = transport::AgentWire::msgpack;
  activate();
}

void ServerSession::registered(const ReverseRegistrationResponse& response) {
  proxy_->connection = uid_;
  proxy_->peer = peer_;
  proxy_->proxy_id = response.proxy_id;
  proxy_->proxy_version = response.proxy_version;
  if (response.success) return activate();
  cancel(Error(errc::rejected, peer_ + " refused the registration: " + response.error.value_or("no reason given")));
}

void ServerSession::activate() {
  state_ = State::active;
  deadline_.reset();
  active_since_ = core_->timers().now();
  publish(ProxyConnected{peer_, proxy_->proxy_id, proxy_->proxy_version, name_of(wire_), static_cast<bool>(ended_)});
  core_->connected();
  tell_flow();
  if (draining_) finish();
}

void ServerSession::stream_closed(const Error& error) {
  if (state_ == State::closed) return;
  const bool was_active = active_since_.has_value();
  state_ = State::closed;
  const Error why = reason_.value_or(error);
  for (const AgentCallPtr& call : line_.abandon_all())
    drop(call, why);
  cancel_configuration();
  configurations_.clear();
  ++configuration_round_;
  const bool reverse = static_cast<bool>(ended_);
  const Duration retry_in = reverse ? std::exchange(ended_, nullptr)(active_since_) : Duration{};
  if (method_ != AgentMethod::process_stream) {
    // No proxy's connection.
  } else if (was_active) {
    publish(ProxyDisconnected{peer_, proxy_->proxy_id, why, reverse, retry_in});
  } else {
    publish(ProxyRefused{peer_, why, reverse, retry_in});
  }
  depart();
}

void ServerSession::depart() {
  tell();
  subscription_ = {};
  core_->timers().cancel(std::exchange(timer_, 0));
  core_->remove(*this);
}

void ServerSession::drain(Duration limit) {
  post([limit](ServerSession& self) {
    if (self.state_ == State::closed || self.reason_ || std::exchange(self.draining_, true)) return;
    // Who has not said hello will not be served; `settle` finishes the others when they have their answers.
    if (self.state_ != State::active) return self.cancel(Error(errc::closed, "the agent is closing"));
    const auto limit_ms =
        static_cast<std::uint64_t>(std::chrono::duration_cast<std::chrono::milliseconds>(limit).count());
    if (self.method_ == AgentMethod::control_stream) {
      return self.send_control(transport::encode_agent_control(
          transport::DrainRequest{limit_ms, transport::DrainRequest::Reason::unspecified, self.core_->unix_ms()}));
    }
    if (!self.takes_reports()) return;
    HealthStatus status;
    status.agent_id = self.core_->options().capabilities.agent_id;
    status.state = HealthState::draining;
    status.drain_eta_ms = limit_ms;
    status.timestamp_ms = self.core_->unix_ms();
    status.load = self.core_->load().load();
    (void)self.send(status);
    (void)self.send(FlowControlSignal{{}, FlowAction::pause, {}, status.timestamp_ms});
  });
}

void ServerSession::end(Error why) {
  post([why = std::move(why)](ServerSession& self) {
    if (self.state_ != State::closed) self.cancel(why);
  });
}

void ServerSession::report(HealthStatus status) {
  post([status = std::move(status)](ServerSession& self) {
    if (self.takes_reports() && !self.draining_ && self.outbox_.empty()) (void)self.send(status);
  });
}

void ServerSession::report(MetricsReport report) {
  post([report = std::move(report)](ServerSession& self) {
    if (self.takes_reports() && self.outbox_.empty()) (void)self.send(report);
  });
}

void ServerSession::flow_changed() {
  post([](ServerSession& self) { self.tell_flow(); });
}

void ServerSession::pong(const Ping& ping) {
  // Behind configurations, whose acceptance it tells.
  if (!configurations_.empty()) return pings_.push_back(ping);
  (void)send(Pong{ping.sequence, ping.timestamp_ms, core_->unix_ms()});
}

transport::SendStatus ServerSession::send_frame(std::string frame, std::string_view answers) {
  if (outbox_.empty()) {
    // A link takes the bytes even when it has no room for them, so a copy stays until it said what it did.
    std::string copy = frame;
    const transport::SendStatus status = link_->send(std::move(frame));
    if (status == transport::SendStatus::full) outbox_.push_back({std::move(copy), std::string(answers)});
    return status;
  }
  outbox_.push_back({std::move(frame), std::string(answers)});
  return transport::SendStatus::queued;
}

void ServerSession::flush() {
  while (!outbox_.empty()) {
    std::string copy = outbox_.front().frame;
    const transport::SendStatus status = link_->send(std::move(copy));
    if (status == transport::SendStatus::full) return;
    Waiting sent = std::move(outbox_.front());
    outbox_.pop_front();
    if (status != transport::SendStatus::too_large || sent.id.empty()) continue;
    AgentHandler::Response response = failure(Error(errc::message_too_large, "the answer exceeds the link's limit"));
    response.correlation_id = sent.id;
    // In its place, before the others.
    if (auto frame = transport::encode_agent_message(response, wire_)) outbox_.push_front({*std::move(frame), {}});
  }
  if (state_ == State::finishing) link_->finish();
}

void ServerSession::violate(std::string what) {
  cancel(Error(errc::protocol_violation, what));
}

void ServerSession::cancel(Error why) {
  if (!reason_) reason_ = std::move(why);
  for (const AgentCallPtr& call : line_.abandon_all())
    drop(call, *reason_);
  if (link_) link_->cancel(*reason_);
}

void ServerSession::send_control(std::string frame) {
  if (!link_ || reason_ || state_ == State::finishing || state_ == State::closed) return;
  (void)send_frame(std::move(frame), {});
}

void ServerSession::finish() {
  if (method_ == AgentMethod::control_stream) {
    send_control(transport::encode_agent_control(
        transport::ShutdownRequest{transport::ShutdownRequest::Reason::graceful, 0, core_->unix_ms()}));
  }
  state_ = State::finishing;
  deadline_ = core_->timers().now() + kFarewell;
  if (outbox_.empty()) link_->finish();
}

/// After every turn on the strand.
void ServerSession::settle() {
  pump();
  watch_line();
  if (state_ == State::closed) return;
  const bool last = draining_ || asked_;
  if (last && state_ == State::active && !reason_ && line_.idle() && configurations_.empty()) finish();
  return_credit();
  arm_timer();
}

// A peer that does not read its answers is read no further, so that they cannot pile up.
void ServerSession::return_credit() {
  if (reason_ || outbox_.size() >= kOutboxMax) return;
  if (std::exchange(greeting_due_, false)) {
    --owed_.controls;
    return link_->grant({0, 1});
  }
  if (state_ != State::active) return;
  // One message, and its sender's half-close stays unread: it would end the stream before the answer.
  if (method_ == AgentMethod::process_event) return;
  const transport::Credit window = core_->options().window;
  const bool due =
      owed_.requests >= std::max(window.requests / 4, 1U) || owed_.controls >= std::max(window.controls / 4, 1U);
  if (due) link_->grant(std::exchange(owed_, {}));
}

// Only ever set forward: when it fires too early it is set anew, so that an answered event costs no timer operation.
void ServerSession::arm_timer() {
  std::optional<TimePoint> next = deadline_;
  if (const auto oldest = line_.oldest()) {
    const TimePoint due = *oldest + core_->options().processing_timeout;
    next = next ? std::min(*next, due) : due;
  }
  if (!configurations_.empty()) {
    const TimePoint due = configurations_.front().arrived + core_->options().processing_timeout;
    next = next ? std::min(*next, due) : due;
  }
  if (!next || (timer_ != 0 && timer_at_ <= *next)) return;
  core_->timers().cancel(timer_);
  timer_at_ = *next;
  timer_ = core_->timers().schedule_at(*next, [weak = weak_from_this(), round = ++timer_round_] {
    if (const auto self = weak.lock()) self->post([round](ServerSession& session) { session.timer_fired(round); });
  });
}

void ServerSession::timer_fired(std::uint64_t round) {
  // One that was replaced after it had fired does not count.
  if (state_ == State::closed || round != timer_round_) return;
  core_->timers().fired(std::exchange(timer_, 0));
  expire();
  if (!deadline_ || *deadline_ > core_->timers().now()) return;
  deadline_.reset();
  if (state_ != State::finishing) {
    return cancel(Error(errc::timed_out, ended_ ? "no answer to the registration in time" : "no handshake in time"));
  }
  const Error why = draining_ ? Error(errc::closed, "the agent is closing")
                              : Error(errc::timed_out, "the proxy did not end its side of the stream");
  if (!reason_) reason_ = why;
  link_->cancel(why);
}

}  // namespace sharingbus::connector::internal

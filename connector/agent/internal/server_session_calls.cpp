#include <stdexcept>
#include <thread>
#include <utility>

#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/strand.hpp>
#include <boost/asio/use_awaitable.hpp>

#include "connector/agent/internal/agent_server_core.hpp"
#include "connector/agent/internal/server_session.hpp"
#include "transport/codec/agent_control.hpp"

// Events, their handlers and their answers.
namespace sharingbus::connector::internal {

namespace asio = boost::asio;
using namespace transport::agent_messages;  // NOLINT(google-build-using-namespace): the subject's vocabulary

namespace {

/// Answers of one connection that are published together at most.
constexpr std::size_t kToldTogether = 32;
/// Of a refusal's text.
constexpr std::size_t kErrorTextMax = 1024;

/// The correlation id of an event that wants an answer; null for any other.
const std::string* id_of(const BusEvent& event) {
  if (const auto* headers = event.get_if<RequestHeaders>()) return &headers->metadata.correlation_id;
  if (const auto* chunk = event.get_if<RequestBodyChunk>()) return &chunk->correlation_id;
  if (const auto* headers = event.get_if<ResponseHeaders>()) return &headers->correlation_id;
  if (const auto* chunk = event.get_if<ResponseBodyChunk>()) return &chunk->correlation_id;
  if (const auto* complete = event.get_if<RequestComplete>()) return &complete->correlation_id;
  if (const auto* frame = event.get_if<WebSocketFrame>()) return &frame->correlation_id;
  if (const auto* inspect = event.get_if<GuardrailInspect>()) return &inspect->correlation_id;
  if (const auto* invalid = event.get_if<InvalidMessage>()) return &invalid->correlation_id;
  return nullptr;
}

/// Whoever waits for it keeps handler, event and proxy alive.
AgentHandler::Answer decide(AgentHandler& handler, const BusEvent& event, const ProxyInfo& proxy) {
  if (const auto* headers = event.get_if<RequestHeaders>()) return handler.request_headers(*headers, proxy);
  if (const auto* chunk = event.get_if<RequestBodyChunk>()) return handler.request_body_chunk(*chunk, proxy);
  if (const auto* headers = event.get_if<ResponseHeaders>()) return handler.response_headers(*headers, proxy);
  if (const auto* chunk = event.get_if<ResponseBodyChunk>()) return handler.response_body_chunk(*chunk, proxy);
  if (const auto* complete = event.get_if<RequestComplete>()) return handler.request_complete(*complete, proxy);
  if (const auto* frame = event.get_if<WebSocketFrame>()) return handler.websocket_frame(*frame, proxy);
  if (const auto* inspect = event.get_if<GuardrailInspect>()) return handler.guardrail_inspect(*inspect, proxy);
  throw std::logic_error("no handler for " + std::string(event.type_name()));
}

// These own what a handler is given for as long as it runs.

/// Not begun on `not_on`, which it might hold up.
AgentHandler::Answer decide_elsewhere(std::thread::id not_on, std::shared_ptr<AgentHandler> handler, EventRef event,
                                      std::shared_ptr<const ProxyInfo> proxy) {
  if (std::this_thread::get_id() == not_on) co_await asio::post(asio::use_awaitable);
  co_return co_await decide(*handler, *event, *proxy);
}

asio::awaitable<Result<>> apply(std::shared_ptr<AgentHandler> handler,
                                std::function<asio::awaitable<Result<>>(AgentHandler&, const ProxyInfo&)> call,
                                std::shared_ptr<const ProxyInfo> proxy) {
  co_return co_await call(*handler, *proxy);
}

asio::awaitable<void> tell_cancelled(std::shared_ptr<AgentHandler> handler, EventRef event,
                                     std::shared_ptr<const ProxyInfo> proxy) {
  co_await handler->cancelled(*event->get_if<Cancel>(), *proxy);
}

Error error_of(const std::exception_ptr& exception) {
  try {
    std::rethrow_exception(exception);
  } catch (const std::exception& e) {
    return {errc::handler_failed, std::string("the handler threw: ") + e.what()};
  } catch (...) {
    return {errc::handler_failed, "the handler threw something that is no std::exception"};
  }
}

AgentOutcome outcome_of(const Decision& decision) {
  if (std::holds_alternative<Block>(decision)) return AgentOutcome::blocked;
  if (std::holds_alternative<Redirect>(decision)) return AgentOutcome::redirected;
  if (std::holds_alternative<Challenge>(decision)) return AgentOutcome::challenged;
  return AgentOutcome::allowed;
}

std::string code_name(const Error& error) {
  if (error.code.category() != error_category()) return error.code.message();
  return std::string(to_string(static_cast<errc>(error.code.value())));
}

std::uint64_t in_ms(Duration duration) {
  return static_cast<std::uint64_t>(std::chrono::duration_cast<std::chrono::milliseconds>(duration).count());
}

}  // namespace

/// A coroutine that runs one handler after the other for as long as they return without waiting, so that a usual event
/// costs none of its own.
struct ServerSession::Runner {
  asio::cancellation_signal cancel;
  /// What it is at; null: it is between two, or has ended.
  const AgentCall* call = nullptr;
  /// A coroutine that was cancelled once is of no further use.
  bool cancelled = false;
};

/// A call whose handler can be cancelled.
struct ServerSession::Call final : AgentCall {
  /// Where the handler runs; none: it has not begun.
  asio::any_io_executor strand;
  std::shared_ptr<Runner> runner;
};

asio::any_io_executor ServerSession::handler_strand() const {
  const asio::any_io_executor& handlers = core_->options().handlers;
  if (!handlers) return erased_strand_;
  return asio::make_strand(handlers);
}

asio::any_io_executor ServerSession::configuration_strand() const {
  return core_->handlers_in_turns() ? asio::make_strand(core_->executor()) : handler_strand();
}

void ServerSession::take(const EventRef& event) {
  const std::string* id = id_of(*event);
  if (id == nullptr) return;
  auto call = std::make_shared<Call>();
  call->event = event;
  call->id = *id;
  const auto* invalid = event->get_if<InvalidMessage>();
  call->kind = invalid != nullptr ? invalid->kind : event->type_name();
  call->arrived = core_->timers().now();
  line_.push(std::move(call));
}

void ServerSession::pump() {
  if (pumping_) return;
  pumping_ = true;
  if (core_->options().handlers) {
    while (AgentCallPtr call = line_.start())
      run_elsewhere(std::static_pointer_cast<Call>(std::move(call)));
  } else {
    // Each runs until nothing is ready, or its handler waits; then the next takes over.
    while (!runner_due_ && line_.ready()) {
      runner_due_ = true;
      auto runner = std::make_shared<Runner>();
      const auto slot = runner->cancel.slot();
      // Which keeps the slot's signal to the end.
      auto done = [runner](const std::exception_ptr&) {};
      asio::co_spawn(erased_strand_, run(shared_from_this(), std::move(runner)),
                     asio::bind_cancellation_slot(slot, std::move(done)));
    }
  }
  pumping_ = false;
}

asio::awaitable<void> ServerSession::run(std::shared_ptr<ServerSession> self, std::shared_ptr<Runner> runner) {
  self->runner_due_ = false;
  while (!runner->cancelled) {
    const auto call = std::static_pointer_cast<Call>(self->line_.start());
    if (!call) break;
    if (self->refuse_invalid(*call)) continue;
    call->strand = self->erased_strand_;
    call->runner = runner;
    runner->call = call.get();
    std::exception_ptr exception;
    AgentHandler::Response response;
    try {
      response = co_await decide(*self->core_->handler(), *call->event, *self->proxy_);
    } catch (...) {
      exception = std::current_exception();
    }
    runner->call = nullptr;
    self->returned(*call, exception, response);
  }
}

bool ServerSession::refuse_invalid(AgentCall& call) {
  const auto* invalid = call.event->get_if<InvalidMessage>();
  if (invalid == nullptr) return false;
  fail(call, Error(errc::malformed_frame, std::string(invalid->kind) + ": " + invalid->error));
  line_.ended(call);
  return true;
}

/// On the executor for handlers: a coroutine each, so that they run at the same time.
void ServerSession::run_elsewhere(std::shared_ptr<Call> call) {
  if (refuse_invalid(*call)) return;
  call->strand = handler_strand();
  call->runner = std::make_shared<Runner>();
  call->runner->call = call.get();
  auto answer = decide_elsewhere(std::this_thread::get_id(), core_->handler(), call->event, proxy_);
  auto done = [self = shared_from_this(), call](std::exception_ptr exception, AgentHandler::Response response) mutable {
    asio::post(self->strand_, [self, call, exception, response = std::move(response)]() mutable {
      self->returned(*call, exception, response);
    });
  };
  const auto slot = call->runner->cancel.slot();
  asio::co_spawn(call->strand, std::move(answer), asio::bind_cancellation_slot(slot, std::move(done)));
}

void ServerSession::returned(Call& call, const std::exception_ptr& exception, AgentHandler::Response& response) {
  const bool wanted = call.wanted();
  if (wanted && exception) {
    fail(call, error_of(exception));
  } else if (wanted) {
    answer(call, response);
  }
  line_.ended(call);
  if (!pumping_) settle();
}

void ServerSession::answer(const AgentCall& call, AgentHandler::Response& response) {
  const Duration duration = core_->timers().now() - call.arrived;
  response.correlation_id = call.id;
  if (!response.processing_time_ms) response.processing_time_ms = in_ms(duration);
  auto frame = transport::encode_agent_message(response, wire_);
  if (!frame) return fail(call, frame.error());
  if (send_frame(*std::move(frame), call.id) == transport::SendStatus::too_large) {
    return fail(call, Error(errc::message_too_large, "the answer exceeds the link's limit"));
  }
  dispose(call, outcome_of(response.decision), {}, duration);
}

AgentHandler::Response ServerSession::failure(const Error& why) const {
  AgentHandler::Response response;
  if (core_->options().fail_mode == AgentFailMode::closed) response = block(500);
  response.audit.reason_codes = {code_name(why)};
  return response;
}

void ServerSession::send_failure(const AgentCall& call, const Error& why) {
  AgentHandler::Response response = failure(why);
  response.correlation_id = call.id;
  if (auto frame = transport::encode_agent_message(response, wire_)) (void)send_frame(*std::move(frame), {});
}

void ServerSession::fail(const AgentCall& call, const Error& why) {
  send_failure(call, why);
  dispose(call, AgentOutcome::failed, why, core_->timers().now() - call.arrived);
}

void ServerSession::drop(const AgentCallPtr& call, const Error& why) {
  if (call->state == AgentCall::State::lingering) cancel_handler(call);
  dispose(*call, AgentOutcome::dropped, why, core_->timers().now() - call->arrived);
}

void ServerSession::dispose(const AgentCall& call, AgentOutcome outcome, Error error, Duration duration) {
  ++owed_.requests;
  if (outcome != AgentOutcome::dropped) core_->load().answered(outcome, error.is(errc::timed_out), duration);
  answered_.push_back(
      core_->make(AgentAnswered{std::string(call.id), call.kind, outcome, duration, std::move(error)}, uid_));
  if (answered_.size() >= kToldTogether) return tell();
  if (answered_.size() == 1) asio::post(strand_, [self = shared_from_this()] { self->tell(); });
}

void ServerSession::tell() {
  if (answered_.empty()) return;
  core_->publisher().publish_batch(answered_);
  answered_.clear();
}

void ServerSession::cancel_handler(const AgentCallPtr& call) {
  // A signal belongs to the strand of its coroutine; and not in the middle of ours.
  auto mine = std::static_pointer_cast<Call>(call);
  if (!mine->strand) return;
  const asio::any_io_executor strand = mine->strand;
  asio::post(strand, [mine = std::move(mine)] {
    // It may have returned meanwhile.
    if (mine->runner->call != mine.get()) return;
    mine->runner->cancelled = true;
    mine->runner->cancel.emit(asio::cancellation_type::terminal);
  });
}

void ServerSession::cancelled(const EventRef& event) {
  const auto& cancel = *event->get_if<Cancel>();
  const Error why(errc::cancelled, "the proxy cancelled the request");
  // Answered all the same: proxies match answers by id in the order of asking, and would take the next one for these.
  for (const AgentCallPtr& call : line_.abandon(cancel.correlation_id)) {
    send_failure(*call, why);
    drop(call, why);
  }
  // Its credit comes back when the handler has heard of it, so that cancels cannot pile up there.
  --owed_.controls;
  auto done = [self = shared_from_this()](std::exception_ptr exception) {
    if (exception) self->core_->log_failure("cancelled", exception);
    self->post([](ServerSession& session) { ++session.owed_.controls; });
  };
  asio::co_spawn(handler_strand(), tell_cancelled(core_->handler(), event, proxy_), std::move(done));
}

void ServerSession::expire() {
  const TimePoint now = core_->timers().now();
  const Error why(errc::timed_out, "the handler took too long");
  for (const AgentCallPtr& call : line_.abandon_older(now - core_->options().processing_timeout)) {
    if (call->state == AgentCall::State::lingering) cancel_handler(call);
    fail(*call, why);
  }
  if (configurations_.empty() || configurations_.front().arrived + core_->options().processing_timeout > now) return;
  cancel_configuration();
  configured(configuration_round_, Error(errc::timed_out, "the handler took too long"));
}

/// Tells the server's load, and the proxy when the line gets long, or short again.
void ServerSession::watch_line() {
  const std::size_t waiting = line_.waiting();
  if (waiting != waiting_told_) {
    core_->load().waiting(static_cast<std::ptrdiff_t>(waiting) - static_cast<std::ptrdiff_t>(waiting_told_));
    waiting_told_ = waiting;
  }
  if (line_.running() != running_told_) {
    core_->load().running(static_cast<std::ptrdiff_t>(line_.running()) - static_cast<std::ptrdiff_t>(running_told_));
    running_told_ = line_.running();
  }
  const std::size_t limit = core_->options().pause_waiting;
  if (limit == 0 || !takes_reports() || reason_ || draining_) return;
  if (long_line_ ? waiting > limit / 2 : waiting < limit) return;
  long_line_ = !long_line_;
  tell_flow();
}

void ServerSession::tell_flow() {
  if (!takes_reports() || reason_ || draining_) return;
  const bool pause = long_line_ || core_->paused();
  if (std::exchange(pause_told_, pause) == pause) return;
  FlowControlSignal signal;
  signal.action = pause ? FlowAction::pause : FlowAction::resume;
  signal.timestamp_ms = core_->unix_ms();
  (void)send(signal);
  tell();
  core_->publish(AgentFlowChanged{pause}, uid_);
}

void ServerSession::configure(const EventRef& event) {
  const TimePoint arrived = core_->timers().now();
  const auto call = [event](AgentHandler& handler, const ProxyInfo& proxy) {
    return handler.configure(*event->get_if<Configure>(), proxy);
  };
  enqueue(call, [event, arrived](ServerSession& self, const Result<>& result) {
    const auto& configure = *event->get_if<Configure>();
    ++self.owed_.requests;
    if (self.state_ == State::closed || self.reason_) return;
    self.tell();
    self.core_->publish(AgentAnswered{configure.correlation_id, Configure::event_name,
                                      result ? AgentOutcome::accepted : AgentOutcome::refused,
                                      self.core_->timers().now() - arrived, result ? Error() : result.error()},
                        self.uid_);
    if (self.carrier_ == transport::AgentCarrier::uds) {
      AgentHandler::Response response = result ? allow() : block(500, "Configuration rejected");
      response.correlation_id = configure.correlation_id;
      (void)self.send(response);
    } else if (!result) {
      // There is no answer to it here: the end of the stream says no, and a pong behind it yes.
      self.cancel(Error(errc::rejected, "Configuration rejected: " + to_string(result.error())));
    }
  });
}

void ServerSession::control(const EventRef& event) {
  if (!event->is<ConfigUpdateRequest>()) return;
  // Its credit comes back with its answer, which bounds those that wait.
  --owed_.controls;
  const TimePoint arrived = core_->timers().now();
  const auto call = [event](AgentHandler& handler, const ProxyInfo& dialler) {
    return handler.config_requested(*event->get_if<ConfigUpdateRequest>(), dialler);
  };
  enqueue(call, [event, arrived](ServerSession& self, const Result<>& result) {
    const std::string& id = event->get_if<ConfigUpdateRequest>()->request_id;
    ++self.owed_.controls;
    if (self.state_ == State::closed || self.reason_) return;
    self.tell();
    self.core_->publish(
        AgentAnswered{id, ConfigUpdateRequest::event_name, result ? AgentOutcome::accepted : AgentOutcome::refused,
                      self.core_->timers().now() - arrived, result ? Error() : result.error()},
        self.uid_);
    transport::ConfigUpdateResponse response{id, result.has_value(), {}, self.core_->unix_ms()};
    if (!result) response.error = to_string(result.error()).substr(0, kErrorTextMax);
    self.send_control(transport::encode_agent_control(response));
  });
}

void ServerSession::enqueue(ConfigureCall call, Configured done) {
  configurations_.push_back({std::move(call), std::move(done), core_->timers().now()});
  if (configurations_.size() == 1) configure_next();
}

void ServerSession::configure_next() {
  line_.hold();
  configuration_cancel_ = std::make_shared<asio::cancellation_signal>();
  auto done = [self = shared_from_this(), round = ++configuration_round_, cancel = configuration_cancel_](
                  std::exception_ptr exception, Result<> result) {
    if (exception) result = error_of(exception);
    self->post([round, result = std::move(result)](ServerSession& session) { session.configured(round, result); });
  };
  configuring_on_ = configuration_strand();
  const auto slot = configuration_cancel_->slot();
  asio::co_spawn(configuring_on_, apply(core_->handler(), configurations_.front().call, proxy_),
                 asio::bind_cancellation_slot(slot, std::move(done)));
}

void ServerSession::configured(std::uint64_t round, const Result<>& result) {
  // One that took too long has had its answer.
  if (round != configuration_round_ || configurations_.empty()) return;
  ++configuration_round_;
  configuration_cancel_.reset();
  Configuration configuration = std::move(configurations_.front());
  configurations_.pop_front();
  configuration.done(*this, result);
  if (!configurations_.empty()) return configure_next();
  line_.release();
  for (const Ping& ping : std::exchange(pings_, {}))
    pong(ping);
}

void ServerSession::cancel_configuration() {
  auto cancel = std::exchange(configuration_cancel_, nullptr);
  if (!cancel) return;
  const asio::any_io_executor strand = configuring_on_;
  asio::post(strand, [cancel = std::move(cancel)] { cancel->emit(asio::cancellation_type::terminal); });
}

}  // namespace sharingbus::connector::internal

// The half of Session that runs requests: those to its connector, and those that its connector invokes elsewhere.

#include <algorithm>

#include "bus/observers/scroll_id_binder.hpp"
#include "connector/gateway/internal/gateway_core.hpp"
#include "connector/gateway/internal/invoke.hpp"
#include "connector/gateway/internal/session.hpp"
#include "transport/codec/connector_frame_decoder.hpp"
#include "transport/turn.hpp"

namespace sharingbus::connector::internal {
namespace {

namespace messages = transport::messages;

const std::string* find(const Context& context, const char* key) {
  if (context.empty()) return nullptr;
  const auto found = context.find(key);
  return found != context.end() && !found->second.empty() ? &found->second : nullptr;
}

/// What old connectors can read, see ExecuteCall::payload.
messages::ExecuteRequest to_message(Request& request, const std::string& arn, TimePoint now) {
  messages::ExecuteRequest message;
  message.request_id = request.id;
  message.payload = std::move(request.call.payload.bytes);
  message.payload_encoding = request.call.payload.encoding;
  if (message.payload_encoding == PayloadEncoding::unspecified) message.payload_encoding = PayloadEncoding::json;
  if (message.payload.empty()) message.payload = "{}";
  message.context = request.call.context;
  message.context["connector_arn"] = arn;
  // So that the connector can stop when nobody waits any more.
  const auto left = std::chrono::ceil<std::chrono::milliseconds>(request.deadline - now);
  message.context[kTimeoutKey] = std::to_string(left.count());
  message.capability_id = request.call.capability.value_or("");
  return message;
}

}  // namespace

bool Session::reserve() {
  if (reserved_.fetch_add(1, std::memory_order_relaxed) < core_->options().max_pending_per_session) return true;
  reserved_.fetch_sub(1, std::memory_order_relaxed);
  return false;
}

void Session::execute(RequestPtr request) {
  // Whoever calls carries on with what is idle, but never from within itself, nor with somebody else's callback.
  const bool here = request->anywhere && !transport::Turn::elsewhere() && !shared_.strand.running_in_this_thread();
  auto work = [self = shared_from_this(), request = std::move(request)]() mutable {
    self->begin(std::move(request));
    self->settle();
  };
  if (here) return shared_.strand.execute(std::move(work));
  boost::asio::post(shared_.strand, std::move(work));
}

void Session::begin(RequestPtr request) {
  if (!fsm_.registered() || superseded_) {
    return turn_away(
        std::move(request),
        Error(errc::stream_failed, "connector " + address_ + ": its stream ended before the request went out"));
  }
  const TimePoint now = core_->timers().now();
  if (request->deadline <= now) {
    return turn_away(
        std::move(request),
        Error(errc::timed_out, "connector " + address_ + ": the deadline passed before the request went out"));
  }
  announce(*request);
  Outbox::Item item{to_message(*request, fsm_.identity().arn, now)};
  pending_.add(std::move(request));
  if (outbox_.push(item) == Outbox::Push::too_large) refuse_too_large(std::move(item));
}

void Session::turn_away(RequestPtr request, Error error) {
  if (error.is(errc::stream_failed)) {
    const auto newer = core_->find(address_);
    if (newer && newer.get() != this && newer->reserve()) {
      reserved_.fetch_sub(1, std::memory_order_relaxed);
      return newer->execute(std::move(request));
    }
  }
  core_->publish(RequestRefused{request->id, address_, error}, request_routing(*request, RequestRefused::event_kind));
  finish(std::move(request), std::move(error), ExecuteReply{});
}

Routing Session::request_routing(const Request& request, EventKind kind) const {
  Routing routing = core_->routing(uid(), address_, kind);
  if (const std::string* session = find(request.call.context, transport::kSessionIdKey)) {
    routing.native_session_id = *session;
  }
  return routing;
}

void Session::announce(const Request& request) {
  const std::string* session = find(request.call.context, transport::kSessionIdKey);
  const std::string* scroll = find(request.call.context, transport::kScrollIdKey);
  if (session != nullptr && scroll != nullptr) {
    core_->publish(SessionRegistered{address_, *session, *scroll},
                   request_routing(request, SessionRegistered::event_kind));
  }
  core_->publish(RequestDispatched{request.id, address_, request.call.payload.bytes.size()},
                 request_routing(request, RequestDispatched::event_kind));
}

void Session::answered(const messages::ExecuteResponse& response, TimePoint now) {
  auto request = pending_.take(response.request_id);
  if (!request) {
    late_answers_.fetch_add(1, std::memory_order_relaxed);
    return;
  }
  ExecuteReply reply{response.success, {response.payload_encoding, response.payload}, response.error, {}};
  complete(std::move(request), {}, std::move(reply), now);
}

void Session::complete(RequestPtr request, Error error, ExecuteReply reply, TimePoint now) {
  reply.duration = now - request->started;
  core_->publish(RequestCompleted{request->id, address_, error, !error && reply.success, reply.duration},
                 request_routing(*request, RequestCompleted::event_kind));
  finish(std::move(request), std::move(error), std::move(reply));
}

void Session::finish(RequestPtr request, Error&& error, ExecuteReply&& reply) {
  (error ? failed_ : answered_).fetch_add(1, std::memory_order_relaxed);
  reserved_.fetch_sub(1, std::memory_order_relaxed);
  core_->deliver(std::move(request), std::move(error), std::move(reply));
}

void Session::expire() {
  const TimePoint now = core_->timers().now();
  auto due = pending_.take_due(now);
  if (due.empty()) return;
  if (!outbox_.empty()) {
    outbox_.forget_requests([this](const std::string& id) { return pending_.contains(id); });
  }
  for (RequestPtr& request : due) {
    const auto waited = std::chrono::duration_cast<std::chrono::milliseconds>(request->deadline - request->started);
    Error error(errc::timed_out, "connector " + address_ + " did not answer " + request->id + " within " +
                                     std::to_string(waited.count()) + " ms");
    complete(std::move(request), std::move(error), {}, now);
  }
}

void Session::refuse_too_large(Outbox::Item item) {
  const std::string* const id = item.request_id();
  if (auto request = id != nullptr ? pending_.take(*id) : nullptr) {
    Error error(errc::message_too_large,
                "connector " + address_ + ": request " + request->id + " exceeds the stream's message limit");
    return complete(std::move(request), std::move(error), {}, core_->timers().now());
  }
  if (auto* response = std::get_if<messages::InvokeResponse>(&item.message); response != nullptr && response->success) {
    const Error error(errc::message_too_large, "the answer exceeds the stream's message limit");
    reply(to_invoke_response(std::move(response->request_id), error, {}));
  }
}

void Session::reply(messages::ConnectorMessage message) {
  Outbox::Item item{std::move(message)};
  if (outbox_.push(item) == Outbox::Push::too_large) refuse_too_large(std::move(item));
}

void Session::invoked(const messages::InvokeRequest& invoke) {
  auto call = to_execute_call(invoke);
  if (call && invokes_ >= core_->options().max_invokes_per_session) {
    call = Error(errc::capacity_exceeded, "too many invokes are under way: " + std::to_string(invokes_));
  }
  if (!call) {
    core_->publish(RequestRefused{invoke.request_id, invoke.target_address, call.error()},
                   core_->routing(uid(), address_, RequestRefused::event_kind));
    if (!invoke.fire_and_forget) reply(to_invoke_response(invoke.request_id, call.error(), {}));
    return;
  }
  ++invokes_;
  auto done = [weak = weak_from_this(), id = invoke.request_id, answer = !invoke.fire_and_forget](Error error,
                                                                                                  ExecuteReply result) {
    const auto self = weak.lock();
    if (!self) return;
    self->post([id, answer, error = std::move(error), result = std::move(result)](Session& session) mutable {
      --session.invokes_;
      if (answer && session.fsm_.registered())
        session.reply(to_invoke_response(std::move(id), error, std::move(result)));
    });
  };
  core_->execute(invoke.target_address, std::move(*call), make_taker(std::move(done)), true);
}

}  // namespace sharingbus::connector::internal

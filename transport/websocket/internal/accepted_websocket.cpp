#include "transport/websocket/internal/accepted_websocket.hpp"

#include <utility>

#include "transport/websocket/internal/upgrade.hpp"

namespace sharingbus::transport::internal {

AcceptedWebSocket::AcceptedWebSocket(const WebSocketContext& context, std::shared_ptr<const ListenPlan> plan,
                                     StreamOptions options, TcpSocket socket, std::string peer)
    : WebSocketLink(context, socket.get_executor(), std::move(options), plan->options.base.id),
      plan_(std::move(plan)),
      from_(std::move(peer)),
      wire_(std::make_shared<Wire>(std::move(socket), context.timers)) {}

void AcceptedWebSocket::begin() {
  deadline_timer_ = after(plan_->options.handshake_timeout, [this] {
    break_with({errc::timed_out, from_ + ": the stream was not opened in time"});
  });
  if (plan_->tls) return secure();
  read_request();
}

void AcceptedWebSocket::secure() {
  auto context = plan_->tls->current();
  if (!context) return break_with(std::move(context).error());
  wire_->handshake(*context, plan_->options.tls, TlsContext::Role::listener, {}, from_,
                   [this, self = shared_from_this()](Error error) {
                     if (ended()) return;
                     if (error) return close(std::move(error));
                     read_request();
                   });
}

void AcceptedWebSocket::read_request() {
  const std::size_t most = publisher().limits().max_inbound_bytes;
  const auto made = std::make_shared<WebSocket>(wire_, context().protocol->max_message_bytes(most));
  use(made);
  made->read_request(plan_->options.max_request_bytes, [this, self = shared_from_this()](UpgradeRequest request) {
    if (!ended()) requested(std::move(request));
  });
}

void AcceptedWebSocket::requested(UpgradeRequest request) {
  if (request.silent) return vanish();
  if (request.error) return refuse(std::move(request.error));
  if (Error other = context().protocol->check_target(request.target)) return refuse(std::move(other));
  switch (context().links->admit(this, plan_->options.base.max_links)) {
    case WebSocketLinkSet::Admission::admitted:
      break;
    case WebSocketLinkSet::Admission::full:
      return refuse({errc::capacity_exceeded,
                     "the limit of " + std::to_string(plan_->options.base.max_links) + " streams is reached"});
    case WebSocketLinkSet::Admission::closed:
      return refuse({errc::closed, "no new streams are accepted"});
  }
  socket()->accept([this, self = shared_from_this()](Error error) {
    if (ended()) return;
    if (!error) return upgraded(from_);
    error.message = from_ + ": " + error.message;
    close(std::move(error));
  });
}

void AcceptedWebSocket::refuse(Error why) {
  const bool later = why.is(errc::capacity_exceeded) || why.is(errc::closed);
  const std::string answer = refusal_answer(why, later ? plan_->options.retry_after : Duration::zero());
  wire_->append(answer.data(), answer.size());
  why.message = from_ + ": " + why.message;
  wire_->shut_down([this, self = shared_from_this(), why = std::move(why)] {
    if (!ended()) close(why);
  });
}

void AcceptedWebSocket::release() {
  cancel_timer(deadline_timer_);
  wire_->close(true);
  wire_.reset();
}

}  // namespace sharingbus::transport::internal

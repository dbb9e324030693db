#include "transport/websocket/websocket_dialer.hpp"

#include <stdexcept>
#include <utility>

#include "transport/websocket/internal/dialed_websocket.hpp"

namespace sharingbus::transport {

Result<> WebSocketDialerOptions::validate() const {
  if (!protocol) return Error(errc::invalid_argument, "protocol is missing");
  if (connect_to && connect_to->scheme != "tcp") {
    return Error(errc::invalid_argument, "connect_to must have the scheme tcp, not " + connect_to->scheme);
  }
  return times.validate();
}

struct WebSocketDialer::State {
  std::shared_ptr<const internal::DialPlan> plan;
  internal::WebSocketContext context;
};

WebSocketDialer::WebSocketDialer(boost::asio::any_io_executor executor, TimerService& timers, Endpoint endpoint,
                                 WebSocketDialerOptions options) {
  if (const auto valid = options.validate(); !valid) throw std::invalid_argument(to_string(valid.error()));
  internal::WebSocketContext context{std::move(executor), timers,
                                     options.protocol,    MessageProtocol::Role::dialer,
                                     options.times,       std::make_shared<internal::WebSocketLinkSet>()};
  auto plan = std::make_shared<internal::DialPlan>();
  if (endpoint.scheme == "wss") {
    plan->tls = std::make_unique<TlsContext>(options.tls, TlsContext::Role::dialer, "http/1.1");
  }
  plan->endpoint = std::move(endpoint);
  plan->options = std::move(options);
  state_ = std::make_unique<State>(State{std::move(plan), std::move(context)});
}

WebSocketDialer::~WebSocketDialer() {
  state_->context.links->close(Error(errc::closed, "the dialer is gone"), nullptr);
}

std::shared_ptr<Link> WebSocketDialer::open(StreamOptions options, std::string first_frame) {
  auto link = std::make_shared<internal::DialedWebSocket>(state_->context, state_->plan, std::move(options));
  internal::launch(*state_->context.links, link, std::move(first_frame));
  return link;
}

void WebSocketDialer::close(std::function<void()> done) {
  state_->context.links->close(Error(errc::cancelled, to_string(state_->plan->endpoint) + ": the dialer was closed"),
                               std::move(done));
}

DialerStats WebSocketDialer::stats() const {
  return state_->context.links->stats();
}

}  // namespace sharingbus::transport

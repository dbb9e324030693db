#include "transport/websocket/internal/dialed_websocket.hpp"

#include <algorithm>
#include <utility>

#include <boost/asio/error.hpp>
#include <boost/asio/ip/address.hpp>

namespace sharingbus::transport::internal {
namespace {

using boost::asio::ip::tcp;
using boost::system::error_code;

/// As a browser writes it: the scheme's own port goes without saying.
std::string host_header(Endpoint endpoint) {
  if (endpoint.port == (endpoint.scheme == "wss" ? 443 : 80)) endpoint.port = 0;
  return authority(endpoint);
}

std::string text_of(const tcp::endpoint& address) {
  const boost::asio::ip::address host = address.address();
  return authority(Endpoint{"tcp", host.to_string(), address.port()});
}

}  // namespace

DialedWebSocket::DialedWebSocket(const WebSocketContext& context, std::shared_ptr<const DialPlan> plan,
                                 StreamOptions options)
    : WebSocketLink(context, Strand(context.executor), std::move(options), 0), plan_(std::move(plan)) {}

void DialedWebSocket::begin() {
  const Endpoint& endpoint = plan_->endpoint;
  if (endpoint.scheme != "ws" && endpoint.scheme != "wss") {
    return break_with(
        {errc::invalid_endpoint, to_string(endpoint) + ": this dialer speaks the schemes ws and wss only"});
  }
  const Duration timeout = publisher().connect_timeout();
  deadline_ = timers().now() + timeout;
  deadline_timer_ = after(timeout, [this] {
    break_with({errc::connect_timeout, to_string(plan_->endpoint) + ": no open stream in time"});
  });
  const Endpoint& where = plan_->options.connect_to.value_or(endpoint);
  error_code no_address;
  const auto address = boost::asio::ip::make_address(where.host, no_address);
  if (no_address) return resolve(where);
  addresses_.emplace_back(address, where.port);
  try_next();
}

void DialedWebSocket::resolve(const Endpoint& where) {
  resolver_.emplace(strand());
  resolver_->async_resolve(
      where.host, std::to_string(where.port), tcp::resolver::numeric_service,
      [this, self = shared_from_this()](const error_code& failed, const tcp::resolver::results_type& found) {
        if (ended()) return;
        resolver_.reset();
        if (failed) return refuse({errc::connection_refused, failed.message()});
        for (const auto& each : found)
          addresses_.push_back(each.endpoint());
        std::reverse(addresses_.begin(), addresses_.end());
        try_next();
      });
}

void DialedWebSocket::try_next() {
  trying_ = addresses_.back();
  addresses_.pop_back();
  connecting_.emplace(strand());
  const std::uint64_t number = ++attempt_;
  if (!addresses_.empty()) {
    const auto share = (deadline_ - timers().now()) / static_cast<std::int64_t>(addresses_.size() + 1);
    attempt_timer_ = after(share, [this, number] {
      if (number == attempt_ && connecting_) attempt_ended(boost::asio::error::timed_out);
    });
  }
  connecting_->async_connect(trying_, [this, self = shared_from_this(), number](const error_code& error) {
    if (!ended() && number == attempt_ && connecting_) attempt_ended(error);
  });
}

void DialedWebSocket::attempt_ended(const error_code& error) {
  cancel_timer(attempt_timer_);
  error_code failed = error;
  if (!failed) {
    // A port of the ephemeral range that nobody listens at can be connected to itself.
    error_code ignored;
    if (connecting_->local_endpoint(ignored) == trying_) failed = boost::asio::error::connection_refused;
  }
  if (!failed) return connected();
  connecting_.reset();
  if (!addresses_.empty()) return try_next();
  refuse({errc::connection_refused, text_of(trying_) + ": " + failed.message()});
}

void DialedWebSocket::connected() {
  error_code ignored;
  connecting_->set_option(tcp::no_delay(true), ignored);
  auto wire = std::make_shared<Wire>(std::move(*connecting_), timers());
  connecting_.reset();
  if (plan_->tls) return secure(std::move(wire));
  upgrade(wire);
}

void DialedWebSocket::secure(std::shared_ptr<Wire> wire) {
  auto context = plan_->tls->current();
  if (!context) return break_with(std::move(context).error());
  securing_ = std::move(wire);
  securing_->handshake(*context, plan_->options.tls, TlsContext::Role::dialer, plan_->endpoint.host,
                       to_string(plan_->endpoint), [this, self = shared_from_this()](Error error) {
                         if (ended()) return;
                         const auto secured = std::exchange(securing_, nullptr);
                         if (!error) return upgrade(secured);
                         secured->close(true);
                         close(std::move(error));
                       });
}

void DialedWebSocket::upgrade(const std::shared_ptr<Wire>& wire) {
  const auto& limits = publisher().limits();
  const auto made = std::make_shared<WebSocket>(wire, context().protocol->max_message_bytes(limits.max_inbound_bytes));
  use(made);
  made->upgrade(host_header(plan_->endpoint), context().protocol->target(),
                [this, self = shared_from_this()](UpgradeAnswer answer) {
                  if (ended()) return;
                  if (answer.error) return refuse(std::move(answer.error), answer.retry_after);
                  upgraded(to_string(plan_->endpoint));
                });
}

void DialedWebSocket::refuse(Error why, Duration retry_after) {
  if (plan_->options.connect_to && plan_->options.connect_failure) {
    if (Error further = plan_->options.connect_failure()) why = std::move(further);
  }
  why.message = to_string(plan_->endpoint) + ": " + why.message;
  close(std::move(why), retry_after);
}

void DialedWebSocket::release() {
  cancel_timer(deadline_timer_);
  cancel_timer(attempt_timer_);
  ++attempt_;
  resolver_.reset();
  connecting_.reset();
  if (const auto wire = std::exchange(securing_, nullptr)) wire->close(true);
}

}  // namespace sharingbus::transport::internal

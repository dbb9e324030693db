#include "transport/websocket/websocket_listener.hpp"

#include <mutex>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include <boost/asio/error.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>

#include "transport/websocket/internal/accepted_websocket.hpp"

namespace sharingbus::transport {
namespace {

using boost::asio::ip::tcp;
using boost::system::error_code;

constexpr auto kBackOff = std::chrono::milliseconds(100);

/// The connection that was to be accepted is gone; the next one may be well.
bool concerns_one_connection(const error_code& error) {
  return error == boost::asio::error::connection_aborted || error == boost::asio::error::connection_reset ||
         error == boost::asio::error::interrupted || error == boost::system::errc::protocol_error;
}

std::string peer_text(const internal::TcpSocket& socket, const std::string& scheme) {
  error_code unknown;
  const tcp::endpoint peer = socket.remote_endpoint(unknown);
  if (unknown) return scheme + "://unknown";
  const boost::asio::ip::address host = peer.address();
  return to_string(Endpoint{scheme, host.to_string(), peer.port()});
}

/// Where `endpoint`'s name leads.
Result<std::vector<tcp::endpoint>> addresses_of(const Endpoint& endpoint) {
  boost::asio::io_context context;
  tcp::resolver resolver(context);
  error_code failed;
  const auto found = resolver.resolve(endpoint.host, std::to_string(endpoint.port),
                                      tcp::resolver::passive | tcp::resolver::numeric_service, failed);
  if (failed) return Error(errc::invalid_endpoint, to_string(endpoint) + ": " + failed.message());
  std::vector<tcp::endpoint> addresses;
  for (const auto& each : found)
    addresses.push_back(each.endpoint());
  return addresses;
}

}  // namespace

Result<> WebSocketListenerOptions::validate() const {
  if (!base.decoder) return Error(errc::invalid_argument, "decoder is missing");
  if (!protocol) return Error(errc::invalid_argument, "protocol is missing");
  if (auto valid = base.limits.validate(); !valid) return valid;
  if (base.max_links == 0) return Error(errc::invalid_argument, "max_links must be at least 1");
  if (handshake_timeout <= Duration::zero()) return Error(errc::invalid_argument, "handshake_timeout must be above 0");
  if (max_request_bytes < 256) return Error(errc::invalid_argument, "max_request_bytes must be at least 256");
  if (max_handshakes == 0) return Error(errc::invalid_argument, "max_handshakes must be at least 1");
  if (retry_after < Duration::zero()) return Error(errc::invalid_argument, "retry_after is negative");
  return times.validate();
}

/// There is one wait for connections at a time, under the mutex, so it needs no strand.
class WebSocketListener::State final : public std::enable_shared_from_this<State> {
 public:
  State(internal::WebSocketContext context, Endpoint endpoint, WebSocketListenerOptions options)
      : context_(std::move(context)), endpoint_(std::move(endpoint)), plan_(std::make_shared<internal::ListenPlan>()) {
    plan_->options = std::move(options);
  }

  Result<Endpoint> listen();
  void stop_accepting() { links().stop_admitting(); }
  void close(const Error& why, std::function<void()> done);
  [[nodiscard]] const ListenerOptions& options() const { return plan_->options.base; }
  [[nodiscard]] std::size_t link_count() const { return links().admitted(); }

 private:
  [[nodiscard]] internal::WebSocketLinkSet& links() const { return *context_.links; }
  [[nodiscard]] error_code bind(const tcp::endpoint& address);
  void accept();
  void accepted(const error_code& error, internal::TcpSocket socket);
  void adopt(internal::TcpSocket socket);
  void back_off(const std::string& why);
  void on_fewer_waiting();

  const internal::WebSocketContext context_;
  const Endpoint endpoint_;
  const std::shared_ptr<internal::ListenPlan> plan_;

  mutable std::mutex mutex_;
  std::optional<tcp::acceptor> acceptor_;
  TimerId retry_ = 0;
  bool used_ = false;
  /// There are `max_handshakes`.
  bool waiting_ = false;
  /// Said so in the log, and nothing was accepted since.
  bool failing_ = false;
};

error_code WebSocketListener::State::bind(const tcp::endpoint& address) {
  error_code failed;
  acceptor_.emplace(context_.executor);
  acceptor_->open(address.protocol(), failed);
  // An address of which old connections linger is free.
  if (!failed) acceptor_->set_option(tcp::acceptor::reuse_address(true), failed);
  if (!failed) acceptor_->bind(address, failed);
  if (!failed) acceptor_->listen(tcp::acceptor::max_listen_connections, failed);
  if (failed) acceptor_.reset();
  return failed;
}

Result<Endpoint> WebSocketListener::State::listen() {
  const std::scoped_lock lock(mutex_);
  if (std::exchange(used_, true)) return Error(errc::invalid_state, "listen was called, or the listener is closed");
  if (endpoint_.scheme != "ws" && endpoint_.scheme != "wss") {
    return Error(errc::invalid_endpoint, to_string(endpoint_) + ": this listener serves the schemes ws and wss only");
  }
  if (endpoint_.scheme == "wss") {
    plan_->tls = std::make_unique<TlsContext>(plan_->options.tls, TlsContext::Role::listener, "http/1.1");
    if (const auto usable = plan_->tls->current(); !usable) return usable.error();
  }
  const auto addresses = addresses_of(endpoint_);
  if (!addresses) return addresses.error();
  error_code failed = boost::asio::error::host_not_found;
  for (const tcp::endpoint& each : *addresses) {
    failed = bind(each);
    if (!failed || failed == boost::asio::error::address_in_use) break;
  }
  if (failed == boost::asio::error::address_in_use) {
    return Error(errc::address_in_use, to_string(endpoint_) + " is in use");
  }
  if (failed) return Error(errc::invalid_endpoint, to_string(endpoint_) + ": " + failed.message());
  links().on_fewer_waiting([weak = weak_from_this()] {
    if (const auto self = weak.lock()) self->on_fewer_waiting();
  });
  Endpoint bound = endpoint_;
  bound.port = acceptor_->local_endpoint(failed).port();
  accept();
  return bound;
}

void WebSocketListener::State::close(const Error& why, std::function<void()> done) {
  {
    const std::scoped_lock lock(mutex_);
    used_ = true;
    acceptor_.reset();
    if (retry_ != 0) context_.timers.cancel(std::exchange(retry_, 0));
  }
  links().close(why, std::move(done));
}

/// Under the mutex.
void WebSocketListener::State::accept() {
  acceptor_->async_accept(Strand(context_.executor),
                          [weak = weak_from_this()](const error_code& error, internal::TcpSocket socket) {
                            if (const auto self = weak.lock()) self->accepted(error, std::move(socket));
                          });
}

void WebSocketListener::State::accepted(const error_code& error, internal::TcpSocket socket) {
  const std::scoped_lock lock(mutex_);
  if (!acceptor_) return;
  if (error && !concerns_one_connection(error)) return back_off("accepting failed: " + error.message());
  if (!error) {
    failing_ = false;
    adopt(std::move(socket));
  }
  waiting_ = links().waiting() >= plan_->options.max_handshakes;
  if (!waiting_) accept();
}

void WebSocketListener::State::adopt(internal::TcpSocket socket) {
  const ListenerOptions& base = options();
  StreamOptions stream;
  stream.publisher = base.publisher;
  stream.decoder = base.decoder;
  stream.id = base.new_source ? base.new_source() : 0;
  stream.origin = base.origin;
  stream.limits = base.limits;
  error_code ignored;
  socket.set_option(tcp::no_delay(true), ignored);
  std::string peer = peer_text(socket, endpoint_.scheme);
  const auto link = std::make_shared<internal::AcceptedWebSocket>(context_, plan_, std::move(stream), std::move(socket),
                                                                  std::move(peer));
  if (links().add(link)) link->start();
}

void WebSocketListener::State::back_off(const std::string& why) {
  if (!std::exchange(failing_, true) && plan_->options.log) {
    plan_->options.log(LogLevel::warn, to_string(endpoint_) + ": " + why + "; trying again every " +
                                           std::to_string(kBackOff.count()) + " ms");
  }
  retry_ = context_.timers.schedule_after(kBackOff, [weak = weak_from_this()] {
    const auto self = weak.lock();
    if (!self) return;
    const std::scoped_lock lock(self->mutex_);
    // Cancelled, but was on its way.
    if (std::exchange(self->retry_, 0) != 0) self->accept();
  });
}

void WebSocketListener::State::on_fewer_waiting() {
  const std::scoped_lock lock(mutex_);
  if (!acceptor_ || !waiting_ || links().waiting() >= plan_->options.max_handshakes) return;
  waiting_ = false;
  accept();
}

WebSocketListener::WebSocketListener(boost::asio::any_io_executor executor, TimerService& timers, Endpoint endpoint,
                                     WebSocketListenerOptions options) {
  if (const auto valid = options.validate(); !valid) throw std::invalid_argument(to_string(valid.error()));
  internal::WebSocketContext context{std::move(executor), timers,
                                     options.protocol,    MessageProtocol::Role::listener,
                                     options.times,       std::make_shared<internal::WebSocketLinkSet>()};
  state_ = std::make_shared<State>(std::move(context), std::move(endpoint), std::move(options));
}

WebSocketListener::~WebSocketListener() {
  close(nullptr);
}

Result<Endpoint> WebSocketListener::listen() {
  return state_->listen();
}

std::uint64_t WebSocketListener::id() const noexcept {
  return state_->options().id;
}

void WebSocketListener::stop_accepting() {
  state_->stop_accepting();
}

void WebSocketListener::close(std::function<void()> done) {
  state_->close(Error(errc::closed, "the listener was closed"), std::move(done));
}

std::size_t WebSocketListener::link_count() const {
  return state_->link_count();
}

}  // namespace sharingbus::transport

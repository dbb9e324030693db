#include "transport/tcp/tcp_listener.hpp"

#include <cerrno>
#include <cstring>
#include <stdexcept>
#include <sys/socket.h>
#include <utility>

#include <boost/asio/ip/tcp.hpp>
#include <netdb.h>

#include "transport/byte_stream/internal/socket_listener.hpp"
#include "transport/tcp/internal/tcp_socket.hpp"

namespace sharingbus::transport {
namespace {

using boost::asio::ip::tcp;
using internal::system_text;
using internal::UniqueFd;

constexpr int kMoreTries = 8;

void set_reuse(const UniqueFd& socket, int on) {
  ::setsockopt(socket.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
}

/// 0 or errno.
int bind_to(const tcp::endpoint& address, UniqueFd& socket) {
  socket.reset(::socket(address.protocol().family(), SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!socket) return errno;
  // An address of which old connections linger is free.
  set_reuse(socket, 1);
  if (::bind(socket.get(), address.data(), static_cast<socklen_t>(address.size())) == 0) return 0;
  const int error = errno;
  socket.reset();
  return error;
}

tcp::endpoint local_address(const UniqueFd& socket) {
  tcp::endpoint address;
  auto size = static_cast<socklen_t>(address.capacity());
  if (::getsockname(socket.get(), address.data(), &size) == 0) address.resize(size);
  return address;
}

class TcpListeningSocket final : public internal::ListeningSocket {
 public:
  TcpListeningSocket(Endpoint endpoint, TcpSocketOptions options)
      : endpoint_(std::move(endpoint)), options_(std::move(options)) {}

  Result<Endpoint> open() override;
  void refuse() override;
  Result<> resume() override;
  void close() override { socket_.reset(); }
  int descriptor() const override { return socket_.get(); }
  std::string prepare(int accepted) override {
    internal::set_tcp_options(accepted, options_);
    return internal::tcp_peer(accepted);
  }

 private:
  [[nodiscard]] int try_address(const addrinfo& found);
  [[nodiscard]] Error failed(int error) const;

  const Endpoint endpoint_;
  const TcpSocketOptions options_;
  UniqueFd socket_;
};

/// 0 or errno.
int TcpListeningSocket::try_address(const addrinfo& found) {
  tcp::endpoint address;
  address.resize(found.ai_addrlen);
  std::memcpy(address.data(), found.ai_addr, found.ai_addrlen);
  // A socket that stops listening gives up a port which the kernel chose for it, but not one which it asked for. So
  // where any port will do, it asks for the one that another socket was given.
  UniqueFd given;
  if (address.port() == 0) {
    if (const int error = bind_to(address, given); error != 0) return error;
    address = local_address(given);
  }
  if (const int error = bind_to(address, socket_); error != 0) return error;
  given.reset();
  if (::listen(socket_.get(), SOMAXCONN) == 0) return 0;
  const int error = errno;
  socket_.reset();
  return error;
}

Result<Endpoint> TcpListeningSocket::open() {
  if (endpoint_.scheme != "tcp") {
    return Error(errc::invalid_endpoint, to_string(endpoint_) + ": this listener serves the scheme tcp only");
  }
  addrinfo hints{};
  hints.ai_family = AF_UNSPEC;
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_PASSIVE | AI_NUMERICSERV;
  addrinfo* found = nullptr;
  if (const int unknown = ::getaddrinfo(endpoint_.host.c_str(), std::to_string(endpoint_.port).c_str(), &hints, &found);
      unknown != 0) {
    return Error(errc::invalid_endpoint, to_string(endpoint_) + ": " + ::gai_strerror(unknown));
  }
  const std::unique_ptr<addrinfo, decltype(&::freeaddrinfo)> addresses(found, &::freeaddrinfo);
  int error = EADDRNOTAVAIL;
  for (const addrinfo* each = found; each != nullptr; each = each->ai_next) {
    error = try_address(*each);
    // Others may have been given the same port meanwhile.
    for (int again = 0; again < kMoreTries && error == EADDRINUSE && endpoint_.port == 0; ++again)
      error = try_address(*each);
    if (error == 0 || error == EADDRINUSE) break;
  }
  if (error != 0) return failed(error);

  Endpoint bound = endpoint_;
  bound.port = local_address(socket_).port();
  return bound;
}

Error TcpListeningSocket::failed(int error) const {
  if (error == EADDRINUSE) return {errc::address_in_use, to_string(endpoint_) + " is in use"};
  return {errc::invalid_endpoint, to_string(endpoint_) + ": " + system_text(error)};
}

void TcpListeningSocket::refuse() {
  // Bound all the while; that nobody else may bind besides needs saying, as it is not listening.
  set_reuse(socket_, 0);
  ::shutdown(socket_.get(), SHUT_RD);
}

Result<> TcpListeningSocket::resume() {
  // For its own connections, which have this address too.
  set_reuse(socket_, 1);
  if (::listen(socket_.get(), SOMAXCONN) == 0) return {};
  return Error(errc::address_in_use, "listening again failed: " + system_text(errno));
}

}  // namespace

Result<> TcpListenerOptions::validate() const {
  if (!framing) return Error(errc::invalid_argument, "framing is missing");
  if (!base.decoder) return Error(errc::invalid_argument, "decoder is missing");
  if (auto valid = base.limits.validate(); !valid) return valid;
  if (base.max_links == 0) return Error(errc::invalid_argument, "max_links must be at least 1");
  return socket.validate();
}

struct TcpListener::State final : internal::SocketListener {
  using SocketListener::SocketListener;
};

TcpListener::TcpListener(boost::asio::any_io_executor executor, TimerService& timers, Endpoint endpoint,
                         TcpListenerOptions options) {
  if (const auto valid = options.validate(); !valid) throw std::invalid_argument(to_string(valid.error()));
  auto socket = std::make_unique<TcpListeningSocket>(std::move(endpoint), std::move(options.socket));
  state_ = std::make_shared<State>(std::move(executor), timers, std::move(options.base), std::move(options.framing),
                                   std::move(options.log), std::move(socket));
}

TcpListener::~TcpListener() {
  close(nullptr);
}

Result<Endpoint> TcpListener::listen() {
  return state_->listen();
}

std::uint64_t TcpListener::id() const noexcept {
  return state_->id();
}

void TcpListener::stop_accepting() {
  state_->stop_accepting();
}

void TcpListener::close(std::function<void()> done) {
  state_->close(Error(errc::closed, "the listener was closed"), std::move(done));
}

std::size_t TcpListener::link_count() const {
  return state_->link_count();
}

}  // namespace sharingbus::transport

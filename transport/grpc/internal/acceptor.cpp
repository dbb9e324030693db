#include "transport/grpc/internal/acceptor.hpp"

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <limits>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <string>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <utility>
#include <vector>

#include <netdb.h>

#include "transport/byte_stream/internal/descriptor.hpp"
#include "transport/grpc/internal/channel_arguments.hpp"

namespace sharingbus::transport::internal {
namespace {

/// How long accepting rests when there is no descriptor or memory for a connection.
constexpr int kRestMs = 100;
/// Connections accepted in a row before the other sockets, and the end, get their turn.
constexpr int kInARow = 64;

struct Listening {
  UniqueFd socket;
  /// An errno when there is none.
  int error = 0;
};

bool set_option(int fd, int level, int name, int value) {
  return ::setsockopt(fd, level, name, &value, sizeof value) == 0;
}

Listening listen_at(const addrinfo& address, Duration user_timeout) {
  UniqueFd socket(::socket(address.ai_family, address.ai_socktype | SOCK_CLOEXEC | SOCK_NONBLOCK, address.ai_protocol));
  if (!socket) return {UniqueFd(), errno};
  // Accepted sockets inherit the last two.
  if (!set_option(socket.get(), SOL_SOCKET, SO_REUSEADDR, 1) ||
      !set_option(socket.get(), IPPROTO_TCP, TCP_NODELAY, 1) ||
      !set_option(socket.get(), IPPROTO_TCP, TCP_USER_TIMEOUT, to_ms(user_timeout)) ||
      ::bind(socket.get(), address.ai_addr, address.ai_addrlen) != 0 || ::listen(socket.get(), SOMAXCONN) != 0) {
    return {UniqueFd(), errno};
  }
  return {std::move(socket), 0};
}

/// Where the port is in an address of either family.
in_port_t& port_of(sockaddr& address) {
  return address.sa_family == AF_INET6 ? reinterpret_cast<sockaddr_in6&>(address).sin6_port
                                       : reinterpret_cast<sockaddr_in&>(address).sin_port;
}

in_port_t bound_port(int fd) {
  sockaddr_storage storage{};
  socklen_t size = sizeof storage;
  auto& address = reinterpret_cast<sockaddr&>(storage);
  return ::getsockname(fd, &address, &size) == 0 ? port_of(address) : in_port_t{0};
}

/// For `poll`: milliseconds, rounded up.
int until(std::optional<TimePoint> at) {
  if (!at) return -1;
  const auto left = std::chrono::ceil<std::chrono::milliseconds>(*at - std::chrono::steady_clock::now()).count();
  return static_cast<int>(std::clamp<decltype(left)>(left, 0, std::numeric_limits<int>::max()));
}

bool is_connected(int fd) {
  sockaddr_storage storage{};
  socklen_t size = sizeof storage;
  return ::getpeername(fd, reinterpret_cast<sockaddr*>(&storage), &size) == 0;
}

}  // namespace

struct Acceptor::Sockets {
  std::vector<UniqueFd> listening;
  UniqueFd wake;
};

Result<std::unique_ptr<Acceptor>> Acceptor::bind(const Endpoint& endpoint, Duration user_timeout) {
  addrinfo hints{};
  hints.ai_family = AF_UNSPEC;
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_PASSIVE | AI_NUMERICSERV;
  addrinfo* found = nullptr;
  const int failed = ::getaddrinfo(endpoint.host.c_str(), std::to_string(endpoint.port).c_str(), &hints, &found);
  if (failed != 0) return Error(errc::invalid_endpoint, to_string(endpoint) + ": " + ::gai_strerror(failed));
  const std::unique_ptr<addrinfo, decltype(&::freeaddrinfo)> addresses(found, &::freeaddrinfo);

  auto sockets = std::make_unique<Sockets>();
  in_port_t port = 0;
  int error = EADDRNOTAVAIL;
  for (addrinfo* each = found; each != nullptr; each = each->ai_next) {
    if (port != 0) port_of(*each->ai_addr) = port;
    Listening one = listen_at(*each, user_timeout);
    if (one.socket) {
      port = bound_port(one.socket.get());
      sockets->listening.push_back(std::move(one.socket));
      continue;
    }
    // Hosts have addresses that cannot be bound, such as ::1 without IPv6; one that can be is enough.
    error = one.error;
    if (error == EADDRINUSE) return Error(errc::address_in_use, to_string(endpoint) + " is in use");
  }
  if (sockets->listening.empty()) return Error(errc::invalid_endpoint, to_string(endpoint) + ": " + system_text(error));
  sockets->wake.reset(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!sockets->wake) return Error(errc::invalid_endpoint, to_string(endpoint) + ": " + system_text(errno));
  return std::unique_ptr<Acceptor>(new Acceptor(std::move(sockets), ntohs(port)));
}

Acceptor::Acceptor(std::unique_ptr<Sockets> sockets, std::uint16_t port) : sockets_(std::move(sockets)), port_(port) {}

Acceptor::~Acceptor() {
  if (!thread_.joinable()) return;
  ::eventfd_write(sockets_->wake.get(), 1);
  thread_.join();
}

void Acceptor::start(OnConnection on_connection, OnTurn on_turn) {
  on_connection_ = std::move(on_connection);
  on_turn_ = std::move(on_turn);
  thread_ = std::thread([this] { run(); });
}

void Acceptor::run() const {
  pollfd wake{sockets_->wake.get(), POLLIN, 0};
  std::vector<pollfd> all{wake};
  for (const UniqueFd& socket : sockets_->listening)
    all.push_back({socket.get(), POLLIN, 0});
  while (true) {
    if (::poll(all.data(), all.size(), until(on_turn_())) < 0) continue;
    if (all.front().revents != 0) return;
    bool rest = false;
    for (std::size_t i = 1; i < all.size(); ++i) {
      if (all[i].revents != 0 && !accept_some(all[i].fd)) rest = true;
    }
    if (rest && ::poll(&wake, 1, kRestMs) > 0) return;
  }
}

bool Acceptor::accept_some(int listener_fd) const {
  for (int i = 0; i < kInARow; ++i) {
    UniqueFd accepted(::accept4(listener_fd, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
    if (accepted) {
      // gRPC complains on stderr about one that was reset already.
      if (is_connected(accepted.get())) on_connection_(listener_fd, accepted.release());
      continue;
    }
    if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) return false;
    if (errno == EAGAIN) return true;
    // Else it is that connection that is broken; the next one may be well.
  }
  return true;
}

}  // namespace sharingbus::transport::internal

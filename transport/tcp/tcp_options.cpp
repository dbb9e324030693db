#include "transport/tcp/tcp_options.hpp"

#include <algorithm>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include "transport/tcp/internal/tcp_socket.hpp"

namespace sharingbus::transport {
namespace {

/// The kernel's own limits (TCP_KEEPIDLE and the like).
constexpr auto kMaxKeepalive = std::chrono::seconds(32767);
constexpr std::uint32_t kMaxProbes = 127;

Result<> within(Duration value, const char* field) {
  if (value > Duration::zero() && value <= kMaxKeepalive) return {};
  return Error(errc::invalid_argument, std::string(field) + " must be above 0 and at most 32767 s");
}

void set(int socket, int level, int name, int value) {
  ::setsockopt(socket, level, name, &value, sizeof value);
}

int whole_seconds(Duration value) {
  return static_cast<int>(std::chrono::ceil<std::chrono::seconds>(value).count());
}

}  // namespace

Result<> TcpKeepalive::validate() const {
  if (auto valid = within(idle, "keepalive.idle"); !valid) return valid;
  if (auto valid = within(interval, "keepalive.interval"); !valid) return valid;
  if (probes == 0 || probes > kMaxProbes) return Error(errc::invalid_argument, "keepalive.probes must be 1 to 127");
  return {};
}

Result<> TcpSocketOptions::validate() const {
  return keepalive ? keepalive->validate() : Result<>();
}

namespace internal {

void set_tcp_options(int socket, const TcpSocketOptions& options) {
  set(socket, IPPROTO_TCP, TCP_NODELAY, options.no_delay ? 1 : 0);
  if (!options.keepalive) return;
  set(socket, IPPROTO_TCP, TCP_KEEPIDLE, whole_seconds(options.keepalive->idle));
  set(socket, IPPROTO_TCP, TCP_KEEPINTVL, whole_seconds(options.keepalive->interval));
  set(socket, IPPROTO_TCP, TCP_KEEPCNT, static_cast<int>(options.keepalive->probes));
  set(socket, SOL_SOCKET, SO_KEEPALIVE, 1);
}

std::string tcp_text(const boost::asio::ip::tcp::endpoint& address) {
  boost::asio::ip::address host = address.address();
  return to_string(Endpoint{"tcp", host.to_string(), address.port()});
}

std::string tcp_peer(int socket) {
  boost::asio::ip::tcp::endpoint peer;
  auto size = static_cast<socklen_t>(peer.capacity());
  if (::getpeername(socket, peer.data(), &size) != 0) return "tcp://unknown";
  peer.resize(size);
  return tcp_text(peer);
}

}  // namespace internal
}  // namespace sharingbus::transport

#include "transport/grpc/internal/unused_connections.hpp"

#include <algorithm>
#include <arpa/inet.h>
#include <chrono>
#include <cstring>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <sys/socket.h>

namespace sharingbus::transport::internal {
namespace {

/// What an HTTP/2 client says first, and a TLS client says more than that.
constexpr std::uint64_t kPrefaceBytes = 24;

/// For each connection, between two looks at all of them for those that went: so looking, a system call each, takes a
/// hundredth of the time at most.
constexpr Duration kRest = std::chrono::microseconds(25);

std::string text_of(int family, const void* address, in_port_t port) {
  std::array<char, INET6_ADDRSTRLEN> text{};
  ::inet_ntop(family, address, text.data(), text.size());
  return std::string(text.data()) + ":" + std::to_string(ntohs(port));
}

/// `127.0.0.1:50061`, `::1:50061`; empty when it is not connected any more.
std::string peer_of(int fd) {
  sockaddr_storage storage{};
  socklen_t size = sizeof storage;
  if (::getpeername(fd, reinterpret_cast<sockaddr*>(&storage), &size) != 0) return {};
  if (storage.ss_family == AF_INET) {
    const auto& v4 = reinterpret_cast<const sockaddr_in&>(storage);
    return text_of(AF_INET, &v4.sin_addr, v4.sin_port);
  }
  if (storage.ss_family != AF_INET6) return {};
  const auto& v6 = reinterpret_cast<const sockaddr_in6&>(storage);
  if (!IN6_IS_ADDR_V4MAPPED(&v6.sin6_addr)) return text_of(AF_INET6, &v6.sin6_addr, v6.sin6_port);
  in_addr v4{};
  std::memcpy(&v4, v6.sin6_addr.s6_addr + 12, sizeof v4);
  return text_of(AF_INET, &v4, v6.sin6_port);
}

/// The same of `ipv4:127.0.0.1:50061` and `ipv6:%5B::1%5D:50061`.
std::string peer_of(std::string_view grpc_text) {
  grpc_text.remove_prefix(std::min(grpc_text.size(), grpc_text.find(':') + 1));
  std::string text(grpc_text);
  for (const std::string_view bracket : {"%5B", "%5D", "[", "]"}) {
    if (const auto at = text.find(bracket); at != std::string::npos) text.erase(at, bracket.size());
  }
  return text;
}

bool spoke(int fd) {
  tcp_info info{};
  socklen_t size = sizeof info;
  return ::getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &size) != 0 || info.tcpi_bytes_received >= kPrefaceBytes;
}

std::string milliseconds(Duration duration) {
  return std::to_string(std::chrono::duration_cast<std::chrono::milliseconds>(duration).count()) + " ms";
}

}  // namespace

std::optional<UnusedConnections::Refusal> UnusedConnections::add(int fd, TimePoint now) {
  std::string peer = peer_of(fd);
  if (peer.empty()) return std::nullopt;
  const std::scoped_lock lock(mutex_);
  if (by_peer_.size() >= limits_.most && now >= look_from_) {
    look_from_ = now + kRest * by_peer_.size();
    forget_closed();
  }
  if (by_peer_.size() >= limits_.most) {
    return Refusal{std::move(peer), Error(errc::capacity_exceeded, "there are " + std::to_string(limits_.most) +
                                                                       " connections without a stream already")};
  }
  // One of the same name has gone unnoticed.
  if (const auto old = by_peer_.find(peer); old != by_peer_.end()) forget(old->second);
  const auto place = silent_.insert(silent_.end(), Connection{fd, peer, now});
  by_peer_.emplace(std::move(peer), place);
  return std::nullopt;
}

void UnusedConnections::used(std::string_view peer) {
  const std::string name = peer_of(peer);
  const std::scoped_lock lock(mutex_);
  if (const auto found = by_peer_.find(name); found != by_peer_.end()) forget(found->second);
}

std::vector<UnusedConnections::Refusal> UnusedConnections::expire(TimePoint now) {
  std::vector<Refusal> late;
  const std::scoped_lock lock(mutex_);
  while (!silent_.empty() && deadline(silent_.front()) <= now) {
    const auto first = silent_.begin();
    if (peer_of(first->fd) != first->peer) {
      forget(first);
    } else if (spoke(first->fd)) {
      first->spoke = true;
      idle_.splice(idle_.end(), silent_, first);
    } else {
      late.push_back({first->peer, Error(errc::timed_out, "said nothing within " + milliseconds(limits_.silence))});
      forget(first);
    }
  }
  while (!idle_.empty() && deadline(idle_.front()) <= now) {
    const auto first = idle_.begin();
    if (peer_of(first->fd) == first->peer) {
      late.push_back({first->peer, Error(errc::timed_out, "opened no stream within " + milliseconds(limits_.idle))});
    }
    forget(first);
  }
  return late;
}

std::optional<TimePoint> UnusedConnections::next_deadline() const {
  const std::scoped_lock lock(mutex_);
  std::optional<TimePoint> next;
  for (const Connections* each : {&silent_, &idle_}) {
    if (!each->empty()) next = std::min(next.value_or(TimePoint::max()), deadline(each->front()));
  }
  return next;
}

// All of it under the mutex.

TimePoint UnusedConnections::deadline(const Connection& connection) const {
  return connection.accepted + (connection.spoke ? limits_.idle : std::min(limits_.silence, limits_.idle));
}

void UnusedConnections::forget(Connections::iterator connection) {
  by_peer_.erase(connection->peer);
  (connection->spoke ? idle_ : silent_).erase(connection);
}

void UnusedConnections::forget_closed() {
  for (Connections* each : {&silent_, &idle_}) {
    for (auto connection = each->begin(); connection != each->end();) {
      const auto looked_at = connection++;
      if (peer_of(looked_at->fd) != looked_at->peer) forget(looked_at);
    }
  }
}

}  // namespace sharingbus::transport::internal

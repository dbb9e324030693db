#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <list>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "bus/base/error.hpp"
#include "bus/base/timer.hpp"

namespace sharingbus::transport::internal {

/// Accepted connections on which no stream was opened yet: how many there may be, and for how long. gRPC owns the
/// connections and says nothing of them, so it is gRPC that closes those that are late, by the same times; here they
/// are counted and named. Any thread.
class UnusedConnections {
 public:
  struct Limits {
    std::size_t most = 0;
    /// Until a connection has said anything of a peer that speaks HTTP/2.
    Duration silence{};
    /// Until its first stream.
    Duration idle{};
  };
  struct Refusal {
    std::string peer;
    Error error;
  };
  explicit UnusedConnections(Limits limits) : limits_(limits) {}

  /// A connection that was just accepted. A refusal means that it is to be closed. When there are as many as there may
  /// be, those that their peers have closed are looked for, but not again at once: after 25 us for each connection.
  [[nodiscard]] std::optional<Refusal> add(int fd, TimePoint now);
  /// A stream was opened by this peer, in gRPC's words: `ipv4:127.0.0.1:50061`.
  void used(std::string_view peer);
  /// Those whose time is over.
  [[nodiscard]] std::vector<Refusal> expire(TimePoint now);
  /// When there may be one next.
  [[nodiscard]] std::optional<TimePoint> next_deadline() const;

 private:
  /// Descriptors are only looked at, and only believed while they have the peer that they had.
  struct Connection {
    int fd = -1;
    std::string peer;
    TimePoint accepted;
    bool spoke = false;
  };
  using Connections = std::list<Connection>;

  [[nodiscard]] TimePoint deadline(const Connection& connection) const;
  void forget(Connections::iterator connection);
  void forget_closed();

  const Limits limits_;
  mutable std::mutex mutex_;
  /// The oldest first.
  Connections silent_;
  Connections idle_;
  std::unordered_map<std::string, Connections::iterator> by_peer_;
  /// The next look for those that went.
  TimePoint look_from_{};
};

}  // namespace sharingbus::transport::internal

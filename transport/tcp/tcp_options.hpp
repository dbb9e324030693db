#pragma once

#include <chrono>
#include <cstdint>
#include <optional>

#include "bus/base/result.hpp"
#include "bus/base/timer.hpp"

namespace sharingbus::transport {

/// The kernel's probes of an idle connection: a peer that answers none is dead, and the stream ends with
/// `stream_failed`. Seconds are the kernel's unit: fractions are rounded up.
struct TcpKeepalive {
  /// Silence before the first probe.
  Duration idle = std::chrono::seconds(30);
  /// Between two probes.
  Duration interval = std::chrono::seconds(10);
  /// Probes without an answer until the peer is dead.
  std::uint32_t probes = 3;

  /// `invalid_argument`, naming the field.
  [[nodiscard]] Result<> validate() const;
};

/// What both sides set on a connection.
struct TcpSocketOptions {
  /// TCP_NODELAY: small frames go out at once. Frames that are queued together share packets all the same.
  bool no_delay = true;
  /// Nothing: no probes, so that a peer which vanished without a word is noticed by the next `send` at the earliest.
  std::optional<TcpKeepalive> keepalive = TcpKeepalive{};

  /// `invalid_argument`, naming the field.
  [[nodiscard]] Result<> validate() const;
};

}  // namespace sharingbus::transport

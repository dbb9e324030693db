#pragma once

#include <chrono>

#include "bus/base/result.hpp"
#include "bus/base/timer.hpp"

namespace sharingbus::transport {

/// How an open WebSocket finds out that its peer is gone, and how long it takes to say good-bye. Both sides.
struct WebSocketTimes {
  /// WebSocket ping after this long without anything from the peer; and as often as this while messages are not read
  /// for want of credit, so that the peer sees that this side is there.
  Duration ping_interval = std::chrono::seconds(30);
  /// Without anything from the peer for this long, while it is read, the stream ends with `stream_failed`. Above
  /// `ping_interval`.
  Duration idle_timeout = std::chrono::seconds(75);
  /// From this side's Close to the peer's, which may come only when the peer has read what was sent before; then the
  /// stream ends with `timed_out`.
  Duration close_timeout = std::chrono::seconds(30);

  /// `invalid_argument`, naming the field.
  [[nodiscard]] Result<> validate() const;
};

}  // namespace sharingbus::transport

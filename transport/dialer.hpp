#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <string>

#include "transport/link.hpp"
#include "transport/stream_options.hpp"

namespace sharingbus::transport {

struct DialerStats {
  /// Connections below the streams (one TCP connection each, where there are any).
  std::size_t channels = 0;
  /// Links that are opening or open.
  std::size_t streams = 0;
  /// Links opened since the beginning.
  std::uint64_t streams_opened = 0;
  /// Channels made since the beginning.
  std::uint64_t channels_opened = 0;
};

/// Opens streams to one endpoint. Owns its links and channels. All functions: any thread.
class Dialer {
 public:
  /// Cancels what is open; prefer `close`. Waits for it where the transport has threads of its own; where it works on
  /// the caller's executor (memory), the last `StreamClosed` come from there afterwards.
  virtual ~Dialer() = default;

  /// Starts opening a stream; never blocks, never fails: what becomes of it is on the bus, `StreamOpened` or a
  /// `StreamClosed` that says why not. `first_frame` is the stream's first message and goes out with the opening, not
  /// after the peer's answer to it; empty: none; beyond the outbound limit: the stream ends with `message_too_large`.
  /// Never null. After `close` the stream ends with `closed`.
  virtual std::shared_ptr<Link> open(StreamOptions options, std::string first_frame) = 0;
  /// Cancels every link and calls `done` once all have published `StreamClosed` and the channels are gone. Idempotent:
  /// every `done` that is not null is called. `done` runs on any thread, maybe before this returns.
  virtual void close(std::function<void()> done) = 0;
  [[nodiscard]] virtual DialerStats stats() const = 0;
};

}  // namespace sharingbus::transport

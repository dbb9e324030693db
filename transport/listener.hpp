#pragma once

#include <cstdint>
#include <functional>
#include <memory>

#include "bus/base/result.hpp"
#include "transport/endpoint.hpp"
#include "transport/stream_options.hpp"

namespace sharingbus::transport {

struct ListenerOptions {
  Publisher publisher;
  std::shared_ptr<const FrameDecoder> decoder;
  /// Makes link ids, usually `[&bus] { return bus.new_source(); }`; any thread. Null: all ids are 0.
  std::function<std::uint64_t()> new_source;
  /// `SharingBus::new_source()`; becomes `StreamOpened::listener`.
  std::uint64_t id = 0;
  EventOrigin origin = EventOrigin::transport;
  StreamLimits limits{.max_inbound_bytes = 16 * 1024 * 1024};
  /// Links beyond this are refused: their dialler sees `connection_refused`.
  std::size_t max_links = 16'384;
};

/// Accepts streams on one endpoint. Owns its links. An accepted link has a uid of its own and no credit: it reads
/// nothing until somebody who saw its `StreamOpened`, has subscribed to its uid and made room, grants some.
/// All functions: any thread.
class Listener {
 public:
  /// Cancels what is open; prefer `close`. Whether it waits: as with `~Dialer`. Afterwards `new_source` is not called.
  virtual ~Listener() = default;

  /// Binds and starts accepting. Returns the endpoint with the port that was really bound. Call once. Errors:
  /// `address_in_use`, `invalid_endpoint` (no such local address), `invalid_state` (second call, or closed).
  virtual Result<Endpoint> listen() = 0;
  [[nodiscard]] virtual std::uint64_t id() const noexcept = 0;
  /// Refuses new streams; those that are open stay.
  virtual void stop_accepting() = 0;
  /// Stops accepting, cancels every link, releases the address and calls `done` once every link has published
  /// `StreamClosed`. Idempotent: every `done` that is not null is called. `done` runs on any thread, maybe before this
  /// returns.
  virtual void close(std::function<void()> done) = 0;
  /// Links that are open.
  [[nodiscard]] virtual std::size_t link_count() const = 0;
};

}  // namespace sharingbus::transport

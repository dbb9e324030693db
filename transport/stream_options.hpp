#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "bus/base/result.hpp"
#include "bus/base/timer.hpp"
#include "bus/sharing_bus.hpp"
#include "transport/frame_decoder.hpp"
#include "transport/link.hpp"

namespace sharingbus::transport {

/// Bounds of every link. All inclusive.
struct StreamLimits {
  /// A larger message ends the stream with `message_too_large`.
  std::size_t max_inbound_bytes = 4 * 1024 * 1024;
  /// A larger message is refused by `send`.
  std::size_t max_outbound_bytes = 16 * 1024 * 1024;
  /// Messages that may wait to go out; hard.
  std::size_t outbound_capacity = 256;

  /// `invalid_argument`, naming the field.
  [[nodiscard]] Result<> validate() const;
};

/// What a link needs to publish what arrives on it.
struct StreamOptions {
  Publisher publisher;
  std::shared_ptr<const FrameDecoder> decoder;
  /// `SharingBus::new_source()`, or 0 for events without one; becomes `Link::id()`.
  std::uint64_t id = 0;
  /// Routing that the link's events start from. `connector_uid` is the link's uid; a random one when not set.
  Routing routing;
  EventOrigin origin = EventOrigin::transport;
  /// What may be read before the first `grant`.
  Credit initial_credit;
  StreamLimits limits;
  /// Dialled streams: how long opening may take. Not more than this from `open` to `StreamOpened`.
  Duration connect_timeout = std::chrono::seconds(10);
};

}  // namespace sharingbus::transport

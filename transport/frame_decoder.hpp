#pragma once

#include <cstdint>
#include <string_view>

#include "bus/base/result.hpp"
#include "bus/event.hpp"

namespace sharingbus::transport {

/// Which credit a message costs, see `Credit`.
enum class FrameClass : std::uint8_t { request, control };

/// What every event of one link has in common.
struct StreamIdentity {
  /// `connector_uid` is set; the decoder sets the kind, and what else the message tells (session, address).
  Routing routing;
  EventOrigin origin = EventOrigin::transport;
  std::uint64_t source = 0;
};

struct DecodedFrame {
  EventDraft event;
  FrameClass frame_class = FrameClass::control;
};

/// Turns one frame of a protocol into one typed event. Stateless: any thread, any link.
class FrameDecoder {
 public:
  virtual ~FrameDecoder() = default;
  /// Errors (`malformed_frame`) end the stream that the frame came on, and only that. Must not throw for any bytes.
  [[nodiscard]] virtual Result<DecodedFrame> decode(std::string_view frame, const StreamIdentity& stream) const = 0;
};

}  // namespace sharingbus::transport

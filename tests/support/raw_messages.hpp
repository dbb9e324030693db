#pragma once

#include <string>
#include <string_view>
#include <utility>

#include "bus/event.hpp"
#include "transport/frame_decoder.hpp"

namespace sharingbus::test {

/// A message as it came, of whatever protocol.
struct RawMessage {
  static constexpr std::string_view event_name = "raw";
  static constexpr EventKind event_kind = EventKind::custom;
  std::string bytes;
};

/// All messages are control messages.
class RawDecoder final : public transport::FrameDecoder {
 public:
  [[nodiscard]] Result<transport::DecodedFrame> decode(std::string_view frame,
                                                       const transport::StreamIdentity& stream) const override {
    Routing routing = stream.routing;
    routing.kind = RawMessage::event_kind;
    return transport::DecodedFrame{
        make_event(RawMessage{std::string(frame)}, std::move(routing), stream.origin, stream.source, frame.size()),
        transport::FrameClass::control};
  }
};

}  // namespace sharingbus::test

#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <utility>

#include "bus/event.hpp"
#include "transport/frame_decoder.hpp"

namespace sharingbus::test {

/// A protocol for tests: a frame is a text.
struct TextFrame {
  static constexpr std::string_view event_name = "test.text_frame";

  std::string text;
};

/// `R…` is a request, `!…` malformed, all else, the empty frame included, a control message.
class TextFrameDecoder final : public transport::FrameDecoder {
 public:
  [[nodiscard]] Result<transport::DecodedFrame> decode(std::string_view frame,
                                                       const transport::StreamIdentity& stream) const override {
    const char first = frame.empty() ? 'C' : frame.front();
    if (first == '!') return Error(errc::malformed_frame, "text frame starts with '!'");
    Routing routing = stream.routing;
    routing.kind = first == 'R' ? EventKind::request : EventKind::custom;
    return transport::DecodedFrame{
        make_event(TextFrame{std::string(frame)}, std::move(routing), stream.origin, stream.source, frame.size()),
        first == 'R' ? transport::FrameClass::request : transport::FrameClass::control};
  }
};

}  // namespace sharingbus::test

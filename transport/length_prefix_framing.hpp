#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "transport/framing.hpp"

namespace sharingbus::transport {

/// A frame is 4 bytes with its length, big-endian and not counted in it, and then its bytes.
class LengthPrefixFraming final : public Framing {
 public:
  /// Whether a frame of length 0 is one; else it is `malformed_frame` when received.
  enum class EmptyFrames : std::uint8_t { refused, allowed };

  explicit LengthPrefixFraming(EmptyFrames empty_frames = EmptyFrames::refused) noexcept
      : empty_frames_(empty_frames) {}

  [[nodiscard]] std::unique_ptr<FrameParser> make_parser(std::size_t max_frame_bytes) const override;
  void append_header(std::size_t frame_bytes, std::string& out) const override;
  [[nodiscard]] std::size_t max_frame_bytes() const noexcept override { return 0xffff'ffff; }

 private:
  EmptyFrames empty_frames_;
};

}  // namespace sharingbus::transport

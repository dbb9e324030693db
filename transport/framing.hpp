#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "bus/base/result.hpp"

namespace sharingbus::transport {

/// Cuts the inbound bytes of one stream into frames, whatever pieces they come in. One thread.
class FrameParser {
 public:
  virtual ~FrameParser() = default;

  /// Takes bytes from the front of `input`, up to the end of the next frame, and returns that frame: a view into
  /// `input` or into the parser, valid until the next call. Nothing: all of `input` was taken, and the frame goes on.
  ///
  /// Errors: `malformed_frame`, and `message_too_large` as soon as the header tells it, before any of the frame is
  /// kept. The parser is spent then: there is no way to find the next frame.
  [[nodiscard]] virtual Result<std::optional<std::string_view>> next(std::string_view& input) = 0;
  /// What there is of a frame that has begun, as text for people (`3 of 100 bytes`); nothing between two frames.
  [[nodiscard]] virtual std::optional<std::string> unfinished() const = 0;
};

/// How a stream of bytes is cut into frames: handed to the byte transports (tcp, uds, process), which know nothing of
/// it. Stateless: any thread, any number of streams.
class Framing {
 public:
  virtual ~Framing() = default;

  /// A parser that refuses frames of more than `max_frame_bytes`.
  [[nodiscard]] virtual std::unique_ptr<FrameParser> make_parser(std::size_t max_frame_bytes) const = 0;
  /// Appends what goes before a frame of `frame_bytes`, which are not above `max_frame_bytes()`.
  virtual void append_header(std::size_t frame_bytes, std::string& out) const = 0;
  /// The largest frame that a header can announce.
  [[nodiscard]] virtual std::size_t max_frame_bytes() const noexcept = 0;
};

}  // namespace sharingbus::transport

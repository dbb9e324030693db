#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <string>

#include "transport/framing.hpp"

namespace sharingbus::transport {

/// The framing of language servers: header lines that end in CRLF, an empty line, and then as many bytes as
/// `Content-Length` said. Names of headers are read in any case; headers other than `Content-Length` are ignored.
///
/// `malformed_frame`, named in the message: no `Content-Length`, or two; one that is negative, no number, or of 20
/// digits and more; a line without colon or with a bare LF; a header section above `max_header_bytes`.
class ContentLengthFraming final : public Framing {
 public:
  static constexpr std::size_t kDefaultMaxHeaderBytes = 4096;

  /// `max_header_bytes`: the header section of one frame, its empty line included.
  explicit ContentLengthFraming(std::size_t max_header_bytes = kDefaultMaxHeaderBytes) noexcept
      : max_header_bytes_(max_header_bytes) {}

  [[nodiscard]] std::unique_ptr<FrameParser> make_parser(std::size_t max_frame_bytes) const override;
  void append_header(std::size_t frame_bytes, std::string& out) const override;
  [[nodiscard]] std::size_t max_frame_bytes() const noexcept override {
    return std::numeric_limits<std::size_t>::max();
  }

 private:
  std::size_t max_header_bytes_;
};

}  // namespace sharingbus::transport

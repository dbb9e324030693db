#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "transport/framing.hpp"

namespace sharingbus::test {

/// What a parser made of a stream.
struct Parsed {
  std::vector<std::string> frames;
  Error error;
  std::string unfinished;

  bool operator==(const Parsed&) const = default;
};

/// Feeds `bytes` in pieces of 1 to 16 bytes, as `sizes` says, or whole when that is empty.
inline Parsed parse_in_pieces(const transport::Framing& framing, std::size_t max_frame_bytes, std::string_view bytes,
                              std::string_view sizes) {
  const auto parser = framing.make_parser(max_frame_bytes);
  Parsed parsed;
  std::size_t piece_number = 0;
  while (!bytes.empty()) {
    const std::size_t size =
        sizes.empty() ? bytes.size() : 1 + (static_cast<unsigned char>(sizes[piece_number++ % sizes.size()]) & 15);
    // A copy of its own, so that the parser cannot look at what follows, or keep a view of it.
    const std::string piece(bytes.substr(0, size));
    bytes.remove_prefix(piece.size());
    std::string_view rest = piece;
    while (!rest.empty()) {
      const auto frame = parser->next(rest);
      if (!frame) {
        parsed.error = frame.error();
        return parsed;
      }
      if (!*frame && !rest.empty()) std::abort();
      if (*frame && (*frame)->size() > max_frame_bytes) std::abort();
      if (*frame) parsed.frames.emplace_back(**frame);
    }
  }
  parsed.unfinished = parser->unfinished().value_or("");
  return parsed;
}

/// The pieces in which a stream comes make no difference, errors are those that framings may have, and what was parsed
/// gives the same frames when it is written and parsed again. The first byte of `data` says how many of the next are
/// the sizes of pieces.
inline void check_framing(const transport::Framing& framing, const std::uint8_t* data, std::size_t size) {
  constexpr std::size_t kMaxFrame = 1000;
  if (size == 0) return;
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  const std::string_view sizes = input.substr(1, data[0] % 32);
  const std::string_view bytes = input.substr(1 + sizes.size());
  const Parsed whole = parse_in_pieces(framing, kMaxFrame, bytes, {});
  if (whole != parse_in_pieces(framing, kMaxFrame, bytes, sizes)) std::abort();
  if (whole.error && !whole.error.is(errc::malformed_frame) && !whole.error.is(errc::message_too_large)) std::abort();
  if (whole.error && whole.error.message.empty()) std::abort();

  std::string again;
  for (const std::string& frame : whole.frames) {
    framing.append_header(frame.size(), again);
    again += frame;
  }
  const Parsed reread = parse_in_pieces(framing, kMaxFrame, again, sizes);
  if (reread.frames != whole.frames || reread.error || !reread.unfinished.empty()) std::abort();
}

}  // namespace sharingbus::test

#include "transport/codec/utf8.hpp"

#include <cstddef>
#include <cstdint>
#include <cstring>

namespace sharingbus::transport {
namespace {

struct Step {
  std::size_t length;  // bytes to consume, at least 1
  bool valid;
};

bool in_range(unsigned char byte, unsigned char low, unsigned char high) {
  return byte >= low && byte <= high;
}

// Looks at the sequence that starts `text`, which is not empty. The second byte's range is what rules out overlong
// forms, surrogates and too large values (Unicode, table 3-7).
Step next_sequence(std::string_view text) {
  const auto byte = [text](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned char lead = byte(0);
  if (lead < 0x80) return {1, true};
  if (!in_range(lead, 0xC2, 0xF4)) return {1, false};

  const std::size_t length = lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
  const unsigned char low = lead == 0xE0 ? 0xA0 : lead == 0xF0 ? 0x90 : 0x80;
  const unsigned char high = lead == 0xED ? 0x9F : lead == 0xF4 ? 0x8F : 0xBF;
  if (text.size() < 2 || !in_range(byte(1), low, high)) return {1, false};
  for (std::size_t i = 2; i < length; ++i) {
    if (i >= text.size() || !in_range(byte(i), 0x80, 0xBF)) return {i, false};
  }
  return {length, true};
}

// Length of the well-formed start of `text`.
std::size_t valid_prefix(std::string_view text) {
  std::size_t at = 0;
  while (at < text.size()) {
    std::uint64_t word = 0;
    if (text.size() - at >= sizeof word) {
      std::memcpy(&word, text.data() + at, sizeof word);
      if ((word & 0x8080808080808080U) == 0) {
        at += sizeof word;
        continue;
      }
    }
    const Step step = next_sequence(text.substr(at));
    if (!step.valid) break;
    at += step.length;
  }
  return at;
}

}  // namespace

std::string to_valid_utf8(std::string_view text) {
  std::size_t good = valid_prefix(text);
  if (good == text.size()) return std::string(text);
  std::string repaired;
  repaired.reserve(text.size() + 2);
  while (true) {
    repaired.append(text.substr(0, good));
    text.remove_prefix(good);
    if (text.empty()) return repaired;
    repaired.append("\xEF\xBF\xBD");
    text.remove_prefix(next_sequence(text).length);
    good = valid_prefix(text);
  }
}

bool is_valid_utf8(std::string_view text) noexcept {
  return valid_prefix(text) == text.size();
}

}  // namespace sharingbus::transport

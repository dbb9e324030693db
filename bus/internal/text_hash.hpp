#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string_view>

#include "bus/internal/secret_hash.hpp"

namespace sharingbus::internal {

inline std::uint64_t word_at(const char* from, std::size_t size = sizeof(std::uint64_t)) noexcept {
  std::uint64_t word = 0;
  std::memcpy(&word, from, size);
  return word;
}

/// A hash of short texts for a look-up with every event: a multiplication for 16 bytes, inline, with a secret of each
/// object's own.
class TextHash {
 public:
  TextHash() {
    for (std::uint64_t& word : secret_)
      word = secret_word();
  }

  [[nodiscard]] std::uint64_t operator()(std::string_view first, std::string_view second) const noexcept {
    return fold(add(add(secret_[0], first), second), secret_[1]);
  }

 private:
  [[nodiscard]] std::uint64_t add(std::uint64_t state, std::string_view text) const noexcept {
    const char* at = text.data();
    std::size_t left = text.size();
    state += left;
    for (; left > 32; at += 16, left -= 16)
      state = fold(word_at(at) ^ secret_[1], word_at(at + 8) ^ state);
    // What is left in blocks that overlap, side by side.
    if (left > 16) {
      return fold(word_at(at) ^ secret_[1], word_at(at + 8) ^ state) ^
             fold(word_at(at + left - 16) ^ secret_[2], word_at(at + left - 8) ^ state);
    }
    if (left >= 8) return fold(word_at(at) ^ secret_[1], word_at(at + left - 8) ^ state);
    if (left == 0) return state;
    return fold(word_at(at, left) ^ secret_[1], state);
  }

  std::array<std::uint64_t, 3> secret_{};
};

/// Without a call for those of 16 to 64 bytes, as identifiers are: in blocks, of which the last two may overlap.
inline void copy_text(std::string_view text, char* to) noexcept {
  static constexpr std::size_t kBlock = 16;
  const char* const from = text.data();
  const std::size_t size = text.size();
  if (size < kBlock || size > 4 * kBlock) {
    std::copy(text.begin(), text.end(), to);
    return;
  }
  for (std::size_t at = 0; at + kBlock < size; at += kBlock)
    std::memcpy(to + at, from + at, kBlock);
  std::memcpy(to + size - kBlock, from + size - kBlock, kBlock);
}

/// Of one size, which is not that of most identifiers: not inline, lest it takes their registers.
[[nodiscard, gnu::noinline]] inline bool same_text_of_other_size(const char* left, const char* right,
                                                                 std::size_t size) noexcept {
  return std::memcmp(left, right, size) == 0;
}

/// As `==`, without a branch for each word of those of 17 to 32 bytes, and then without a call.
[[nodiscard]] inline bool same_text(std::string_view left, std::string_view right) noexcept {
  const std::size_t size = left.size();
  if (size != right.size()) return false;
  const char* const a = left.data();
  const char* const b = right.data();
  if (size - 17 > 15) return same_text_of_other_size(a, b, size);
  const auto other = [a, b](std::size_t at) { return word_at(a + at) ^ word_at(b + at); };
  if ((other(0) | other(8)) != 0) return false;
  return (other(size - 16) | other(size - 8)) == 0;
}

}  // namespace sharingbus::internal

#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>

/// What fuzzers share that make decisions of bytes.
namespace sharingbus::fuzz {

/// The input, byte by byte; zeros when it is used up.
class Bytes {
 public:
  Bytes(const std::uint8_t* data, std::size_t size) : data_(data), size_(size) {}

  [[nodiscard]] bool empty() const { return at_ == size_; }
  std::uint8_t next() { return empty() ? 0 : data_[at_++]; }
  std::uint32_t below(std::uint32_t bound) {
    // Two bytes only where one does not reach, so that a mutation changes one thing.
    std::uint32_t value = next();
    if (bound > 256 && !empty()) value = value << 8 | next();
    return value % bound;
  }

 private:
  const std::uint8_t* data_;
  std::size_t size_;
  std::size_t at_ = 0;
};

/// Ends the program unless it holds, and says what did not.
inline void require(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "not so: %s\n", what);
  std::abort();
}

}  // namespace sharingbus::fuzz

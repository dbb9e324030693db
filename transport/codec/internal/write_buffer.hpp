#pragma once

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <memory>
#include <string_view>
#include <utility>

namespace sharingbus::transport::internal {

/// Bytes that are appended. Room is asked for once for several of them, which then cost no check each.
class WriteBuffer {
 public:
  WriteBuffer() = default;
  WriteBuffer(const WriteBuffer&) = delete;
  WriteBuffer& operator=(const WriteBuffer&) = delete;

  [[nodiscard]] std::string_view written() const noexcept { return {bytes_.get(), size_}; }
  [[nodiscard]] std::size_t size() const noexcept { return size_; }
  [[nodiscard]] char& at(std::size_t position) noexcept { return bytes_[position]; }

  /// Where to put up to `bytes` more; `put` says up to where that was done.
  [[nodiscard]] char* room(std::size_t bytes) {
    if (capacity_ - size_ < bytes) grow(bytes);
    return bytes_.get() + size_;
  }
  void put(const char* end) noexcept { size_ = static_cast<std::size_t>(end - bytes_.get()); }

  void append(char byte) {
    *room(1) = byte;
    ++size_;
  }
  void append(std::string_view bytes) { put(copy(bytes, room(bytes.size()))); }
  /// Keeps what it has of memory, unless that is more than `kept_bytes`.
  void clear(std::size_t kept_bytes) noexcept {
    size_ = 0;
    if (capacity_ <= kept_bytes) return;
    bytes_.reset();
    capacity_ = 0;
  }

  /// Copies `bytes` to where there is room; the end of the copy.
  static char* copy(std::string_view bytes, char* to) noexcept {
    if (!bytes.empty()) std::memcpy(to, bytes.data(), bytes.size());
    return to + bytes.size();
  }

 private:
  void grow(std::size_t bytes) {
    constexpr std::size_t kFirstBytes = 1024;
    const std::size_t capacity = std::max({size_ + bytes, 2 * capacity_, kFirstBytes});
    auto larger =
        std::make_unique_for_overwrite<char[]>(capacity);  // NOLINT(modernize-avoid-c-arrays): as large as needed
    copy(written(), larger.get());
    bytes_ = std::move(larger);
    capacity_ = capacity;
  }

  std::unique_ptr<char[]> bytes_;  // NOLINT(modernize-avoid-c-arrays): as above
  std::size_t size_ = 0;
  std::size_t capacity_ = 0;
};

}  // namespace sharingbus::transport::internal

#pragma once

#include <algorithm>
#include <cstddef>
#include <string>
#include <utility>
#include <vector>

namespace sharingbus::transport::internal {

/// FIFO of messages with a hard capacity, on a ring that grows as needed: idle links are many, and a std::deque holds
/// half a KiB before the first message. Not synchronised.
class OutboundQueue {
 public:
  explicit OutboundQueue(std::size_t capacity) noexcept : capacity_(capacity) {}

  [[nodiscard]] std::size_t size() const noexcept { return size_; }
  [[nodiscard]] bool empty() const noexcept { return size_ == 0; }
  [[nodiscard]] bool full() const noexcept { return size_ >= capacity_; }
  /// Room enough to tell a sender to go on: no more than half full.
  [[nodiscard]] bool roomy() const noexcept { return size_ <= capacity_ / 2; }

  /// Not when `full`.
  void push(std::string message) {
    if (size_ == ring_.size()) grow();
    ring_[(head_ + size_) % ring_.size()] = std::move(message);
    ++size_;
  }
  /// Not when `empty`.
  [[nodiscard]] std::string pop() {
    std::string message = std::move(ring_[head_]);
    head_ = (head_ + 1) % ring_.size();
    if (--size_ == 0 && ring_.size() > kKept) clear();
    return message;
  }
  void clear() {
    ring_ = {};
    head_ = size_ = 0;
  }

 private:
  static constexpr std::size_t kFirst = 4;
  /// Places that an empty queue keeps.
  static constexpr std::size_t kKept = 16;

  void grow() {
    std::vector<std::string> larger(std::min(capacity_, std::max(kFirst, ring_.size() * 2)));
    for (std::size_t i = 0; i < size_; ++i)
      larger[i] = std::move(ring_[(head_ + i) % ring_.size()]);
    ring_.swap(larger);
    head_ = 0;
  }

  const std::size_t capacity_;
  std::vector<std::string> ring_;
  std::size_t head_ = 0;
  std::size_t size_ = 0;
};

}  // namespace sharingbus::transport::internal

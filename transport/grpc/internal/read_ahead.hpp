#pragma once

#include <cstddef>
#include <list>

#include <grpcpp/support/byte_buffer.h>

namespace sharingbus::transport::internal {

/// Messages that were read without credit, and wait for it. Not synchronised.
class ReadAhead {
 public:
  [[nodiscard]] bool empty() const noexcept { return messages_.empty(); }
  /// Whether one more may be read. A message of any size fits then, so the bound in bytes is soft by one message.
  [[nodiscard]] bool has_room() const noexcept { return messages_.size() < kMessages && bytes_ < kBytes; }

  /// Takes the content of `message`.
  void push(grpc::ByteBuffer& message) {
    bytes_ += message.Length();
    messages_.emplace_back().Swap(&message);
  }
  /// Not when `empty`.
  void pop(grpc::ByteBuffer& message) {
    message.Swap(&messages_.front());
    messages_.pop_front();
    bytes_ -= message.Length();
  }
  void clear() {
    messages_.clear();
    bytes_ = 0;
  }

 private:
  static constexpr std::size_t kMessages = 256;
  /// What HTTP/2 itself lets a peer send unread.
  static constexpr std::size_t kBytes = 64 * 1024;

  std::list<grpc::ByteBuffer> messages_;
  std::size_t bytes_ = 0;
};

}  // namespace sharingbus::transport::internal

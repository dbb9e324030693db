#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/slice.h>

namespace sharingbus::transport::internal {

/// The string's own memory goes to gRPC; only short ones are copied, as that costs less than a second allocation.
inline grpc::Slice to_slice(std::string message) {
  constexpr std::size_t kCopied = 256;
  if (message.size() <= kCopied) return {message.data(), message.size()};
  auto owner = std::make_unique<std::string>(std::move(message));
  char* const data = owner->data();
  const std::size_t size = owner->size();
  return {data, size, [](void* string) { delete static_cast<std::string*>(string); }, owner.release()};
}

inline void fill(grpc::ByteBuffer& buffer, std::string message) {
  const grpc::Slice slice = to_slice(std::move(message));
  grpc::ByteBuffer filled(&slice, 1);
  buffer.Swap(&filled);
}

/// The bytes of a received message in one piece; `storage` keeps them. False when it is not plain bytes.
inline bool view_of(const grpc::ByteBuffer& buffer, grpc::Slice& storage, std::string_view& bytes) {
  if (!buffer.TrySingleSlice(&storage).ok() && !buffer.DumpToSingleSlice(&storage).ok()) return false;
  bytes = {reinterpret_cast<const char*>(storage.begin()), storage.size()};
  return true;
}

}  // namespace sharingbus::transport::internal

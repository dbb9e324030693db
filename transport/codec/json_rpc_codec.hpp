#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include "bus/base/result.hpp"
#include "transport/messages/json_rpc_messages.hpp"

namespace sharingbus::transport {

/// What a body may cost besides its size, which the link bounds. Both inclusive.
struct JsonRpcLimits {
  /// Levels of arrays and objects within each other.
  std::size_t max_depth = 64;
  /// Calls of one batch.
  std::size_t max_batch = 1000;
};

/// Reads one body. What is no JSON-RPC, JSON or not, is a `JsonRpcInvalid`, as the standard wants it answered, and so
/// is each such member of a batch. Errors: `malformed_frame` for what exceeds `limits`. Never throws for any bytes. The
/// last of equal keys counts; keys that the standard does not name are skipped.
[[nodiscard]] Result<messages::JsonRpcMessage> decode_json_rpc(std::string_view body, const JsonRpcLimits& limits = {});

/// The body of a message. Errors: `serialization_failed` for what JSON cannot say (numbers that are not finite, texts
/// that are not UTF-8), naming it.
[[nodiscard]] Result<std::string> encode_json_rpc(const messages::JsonRpcMessage& message);
[[nodiscard]] Result<std::string> encode_json_rpc(const messages::JsonRpcCall& message);

}  // namespace sharingbus::transport

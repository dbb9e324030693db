#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include <boost/json/value.hpp>

#include "bus/event.hpp"

/// Messages of JSON-RPC 2.0 (https://www.jsonrpc.org/specification), as they are on the bus.
namespace sharingbus::transport::messages {

/// Null, a number (integers beyond 64 bits and fractions are doubles) or a text. An answer repeats it as it was.
using JsonRpcId = std::variant<std::nullptr_t, std::int64_t, std::uint64_t, double, std::string>;

/// The codes that the standard defines; -32000..-32099 are a server's own.
inline constexpr std::int64_t kJsonRpcParseError = -32700;
inline constexpr std::int64_t kJsonRpcInvalidRequest = -32600;
inline constexpr std::int64_t kJsonRpcMethodNotFound = -32601;
inline constexpr std::int64_t kJsonRpcInvalidParams = -32602;
inline constexpr std::int64_t kJsonRpcInternalError = -32603;
inline constexpr std::int64_t kJsonRpcServerErrorFirst = -32099;
inline constexpr std::int64_t kJsonRpcServerErrorLast = -32000;

struct JsonRpcError {
  std::int64_t code = kJsonRpcInternalError;
  std::string message{};
  std::optional<boost::json::value> data{};

  bool operator==(const JsonRpcError&) const = default;
};

/// An error of a standard code with the standard's own text, e.g. `Method not found`; `Server error` for a server's
/// codes, empty for others.
[[nodiscard]] JsonRpcError json_rpc_error(std::int64_t code);

struct JsonRpcRequest {
  static constexpr std::string_view event_name = "jsonrpc.request";
  static constexpr EventKind event_kind = EventKind::request;

  JsonRpcId id{};
  std::string method{};
  /// An array or an object.
  std::optional<boost::json::value> params{};

  bool operator==(const JsonRpcRequest&) const = default;
};

/// A request that wants no answer.
struct JsonRpcNotification {
  static constexpr std::string_view event_name = "jsonrpc.notification";
  static constexpr EventKind event_kind = EventKind::stream;

  std::string method{};
  std::optional<boost::json::value> params{};

  bool operator==(const JsonRpcNotification&) const = default;
};

struct JsonRpcResponse {
  static constexpr std::string_view event_name = "jsonrpc.response";
  static constexpr EventKind event_kind = EventKind::response;

  JsonRpcId id{};
  /// The result, or the error.
  std::variant<boost::json::value, JsonRpcError> outcome{};

  bool operator==(const JsonRpcResponse&) const = default;
};

/// Something that is no message of the standard. A receiver that serves requests answers it with `error` and id null.
struct JsonRpcInvalid {
  static constexpr std::string_view event_name = "jsonrpc.invalid";
  static constexpr EventKind event_kind = EventKind::stream;

  /// Parse error (the whole frame) or invalid request; `data` says what is wrong.
  JsonRpcError error{};

  bool operator==(const JsonRpcInvalid&) const = default;
};

using JsonRpcCall = std::variant<JsonRpcRequest, JsonRpcNotification, JsonRpcResponse, JsonRpcInvalid>;

/// Several at once, at least one. The answers to its requests come as one batch, in any order.
struct JsonRpcBatch {
  static constexpr std::string_view event_name = "jsonrpc.batch";
  static constexpr EventKind event_kind = EventKind::stream;

  std::vector<JsonRpcCall> calls{};

  bool operator==(const JsonRpcBatch&) const = default;
};

using JsonRpcMessage = std::variant<JsonRpcRequest, JsonRpcNotification, JsonRpcResponse, JsonRpcInvalid, JsonRpcBatch>;

}  // namespace sharingbus::transport::messages

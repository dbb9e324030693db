#pragma once

#include <cstddef>
#include <map>
#include <string>

#include <boost/json/value.hpp>

#include "bus/base/result.hpp"
#include "transport/messages/connector_messages.hpp"

namespace sharingbus::connector {

using PayloadEncoding = transport::messages::PayloadEncoding;
/// Key-value pairs that travel with a request; well-known keys: protocol-connector §1.4.
using Context = std::map<std::string, std::string>;
/// The key with which a request says how many milliseconds it may take, a decimal number above 0.
inline constexpr const char* kTimeoutKey = "timeout_ms";

/// What a request or an answer carries: bytes and how to read them.
struct Payload {
  PayloadEncoding encoding = PayloadEncoding::json;
  std::string bytes;

  bool operator==(const Payload&) const = default;
};

/// What decoding takes. The densest payload (MessagePack of empty values) takes 24 bytes of memory a byte.
struct PayloadLimits {
  std::size_t max_bytes = 16 * 1024 * 1024;
  /// Arrays and objects within each other.
  std::size_t max_depth = 64;
};

/// The payload as one JSON value. JSON and RAW_BYTES must be UTF-8 JSON text; JSON_LINES becomes the array of its
/// non-empty lines; MSGPACK must be one value that JSON can say: no binary data, no extensions, keys that are texts,
/// texts that are UTF-8, finite numbers. Errors: `deserialization_failed`, `message_too_large`, `unsupported_encoding`
/// for all other encodings, by name. (protocol-connector §5.5.)
[[nodiscard]] Result<boost::json::value> to_json(const Payload& payload, const PayloadLimits& limits = {});
/// Encoding JSON; the value is taken to be one that JSON can say.
[[nodiscard]] Payload from_json(const boost::json::value& value);
/// A value of unknown making, in any encoding that `to_json` reads; JSON_LINES takes an array. Errors:
/// `serialization_failed` for numbers that are not finite, text that is not UTF-8, and nesting beyond 128, where common
/// parsers give up; `unsupported_encoding`.
[[nodiscard]] Result<Payload> encode(const boost::json::value& value, PayloadEncoding encoding);
/// The same in JSON, which every peer reads; what handlers of the JSON forms answer in.
[[nodiscard]] Result<Payload> encode_json(const boost::json::value& value);

/// The name as in error texts: `ArrowIpc`, `Unspecified`, …
[[nodiscard]] std::string encoding_name(PayloadEncoding encoding);

/// The text that the protocol's peers show for an error: a prefix by kind, then the message. (§5.5.)
[[nodiscard]] std::string display_text(const Error& error);

}  // namespace sharingbus::connector

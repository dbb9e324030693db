#pragma once

#include <boost/json/value.hpp>
#include <map>
#include <string>

#include "bus/base/result.hpp"
#include "transport/messages/connector_messages.hpp"

namespace sharingbus::connector {

using PayloadEncoding = transport::messages::PayloadEncoding;
/// Key-value pairs that travel with a request; well-known keys: protocol-connector §1.4.
using Context = std::map<std::string, std::string>;

/// What a request or an answer carries: bytes and how to read them.
struct Payload {
  PayloadEncoding encoding = PayloadEncoding::json;
  std::string bytes;

  bool operator==(const Payload&) const = default;
};

/// The payload as one JSON value. JSON and RAW_BYTES must be UTF-8 JSON text; JSON_LINES becomes the array of its
/// non-empty lines. Errors: `deserialization_failed`, `unsupported_encoding` for all other encodings, by name.
/// (protocol-connector §5.5.) Nesting is limited to 64.
[[nodiscard]] Result<boost::json::value> to_json(const Payload& payload);
/// Encoding JSON; the value is taken to be one that JSON can say.
[[nodiscard]] Payload from_json(const boost::json::value& value);
/// The same for a value of unknown making. Errors: `serialization_failed` for numbers that are not finite, text that is
/// not UTF-8, and nesting beyond 128, where common parsers give up.
[[nodiscard]] Result<Payload> encode_json(const boost::json::value& value);

/// The name as in error texts: `ArrowIpc`, `Unspecified`, …
[[nodiscard]] std::string encoding_name(PayloadEncoding encoding);

/// The text that the protocol's peers show for an error: a prefix by kind, then the message. (§5.5.)
[[nodiscard]] std::string display_text(const Error& error);

}  // namespace sharingbus::connector

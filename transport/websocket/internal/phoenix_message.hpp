#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "bus/base/result.hpp"

namespace sharingbus::transport::internal {

/// A `join_ref` or `ref`: a string by convention, but echoed whatever it is.
struct PhoenixRef {
  enum class Kind : std::uint8_t { null, text, number };
  Kind kind = Kind::null;
  std::string text;

  bool operator==(const PhoenixRef&) const = default;
};

/// What there is to know of a message that came.
struct PhoenixMessage {
  PhoenixRef join_ref;
  PhoenixRef ref;
  std::string topic;
  std::string event;
  /// Of a reply.
  std::string status;
  /// `response.reason`
  std::string reason;
  /// `data`, or `response.data`; still encoded in a text message.
  std::optional<std::string> data;

  bool operator==(const PhoenixMessage&) const = default;
};

/// Reads a text message. Nothing: JSON, but not an array of at least five elements with strings where they belong.
/// Errors: `malformed_frame`. Needs no more memory than the message has.
[[nodiscard]] Result<std::optional<PhoenixMessage>> parse_phoenix(std::string_view text);
/// Reads a binary push of the V2 serializer. Nothing: it is none, or its refs, topic or event are no UTF-8.
[[nodiscard]] std::optional<PhoenixMessage> parse_phoenix_push(std::string_view bytes);

/// Base64 with its padding, or else hexadecimal. Errors: `malformed_frame`.
[[nodiscard]] Result<std::string> decode_phoenix_data(std::string_view text);

/// `[join_ref, ref, topic, event, payload]`; `payload` is JSON.
[[nodiscard]] std::string write_phoenix(const PhoenixRef& join_ref, const PhoenixRef& ref, std::string_view topic,
                                        std::string_view event, std::string_view payload);
/// The same for a `proto` with `frame` as its data.
[[nodiscard]] std::string write_phoenix_frame(const PhoenixRef& join_ref, const PhoenixRef& ref, std::string_view topic,
                                              std::string_view frame);

}  // namespace sharingbus::transport::internal

#include "connector/payload.hpp"

#include <cmath>
#include <string_view>
#include <utility>

#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>

#include "connector/internal/msgpack.hpp"
#include "transport/codec/utf8.hpp"

namespace sharingbus::connector {
namespace {

namespace json = boost::json;

Result<json::value> parse(std::string_view text, std::size_t max_depth) {
  json::parse_options options;
  options.max_depth = max_depth;
  json::error_code code;
  json::value value = json::parse(text, code, {}, options);
  if (code) return Error(errc::deserialization_failed, "payload is not JSON: " + code.message());
  return value;
}

Result<json::value> parse_lines(std::string_view text, std::size_t max_depth) {
  json::array lines;
  std::size_t number = 0;
  while (!text.empty()) {
    const auto end = text.find('\n');
    std::string_view line = text.substr(0, end);
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
    ++number;
    if (line.find_first_not_of(" \t\r") == std::string_view::npos) continue;
    auto value = parse(line, max_depth);
    if (!value) {
      return Error(errc::deserialization_failed, "line " + std::to_string(number) + ": " + value.error().message);
    }
    lines.push_back(std::move(*value));
  }
  return json::value(std::move(lines));
}

Error unsupported(PayloadEncoding encoding) {
  return {errc::unsupported_encoding, "Encoding " + encoding_name(encoding) + " not yet implemented"};
}

/// What in `value` JSON can not say; null when it can say all of it.
const char* unencodable(const json::value& value, int depth) {
  if (depth > 128) return "it is nested too deep";
  if (const auto* text = value.if_string()) return transport::is_valid_utf8(*text) ? nullptr : "a text is not UTF-8";
  if (const auto* number = value.if_double()) return std::isfinite(*number) ? nullptr : "a number is not finite";
  const char* what = nullptr;
  if (const auto* array = value.if_array()) {
    for (auto it = array->begin(); it != array->end() && what == nullptr; ++it)
      what = unencodable(*it, depth + 1);
  } else if (const auto* object = value.if_object()) {
    for (auto it = object->begin(); it != object->end() && what == nullptr; ++it) {
      what = transport::is_valid_utf8(it->key()) ? unencodable(it->value(), depth + 1) : "a key is not UTF-8";
    }
  }
  return what;
}

}  // namespace

std::string encoding_name(PayloadEncoding encoding) {
  switch (encoding) {
    case PayloadEncoding::unspecified:
      return "Unspecified";
    case PayloadEncoding::json:
      return "Json";
    case PayloadEncoding::raw_bytes:
      return "RawBytes";
    case PayloadEncoding::arrow_ipc:
      return "ArrowIpc";
    case PayloadEncoding::json_lines:
      return "JsonLines";
    case PayloadEncoding::protobuf:
      return "Protobuf";
    case PayloadEncoding::msgpack:
      return "Msgpack";
    case PayloadEncoding::parquet:
      return "Parquet";
  }
  return std::to_string(static_cast<int>(encoding));
}

Result<json::value> to_json(const Payload& payload, const PayloadLimits& limits) {
  if (payload.bytes.size() > limits.max_bytes) {
    return Error(errc::message_too_large, "payload of " + std::to_string(payload.bytes.size()) +
                                              " bytes exceeds the limit of " + std::to_string(limits.max_bytes));
  }
  switch (payload.encoding) {
    case PayloadEncoding::json:
    case PayloadEncoding::raw_bytes:
      return parse(payload.bytes, limits.max_depth);
    case PayloadEncoding::json_lines:
      return parse_lines(payload.bytes, limits.max_depth);
    case PayloadEncoding::msgpack:
      return internal::from_msgpack(payload.bytes, limits.max_depth);
    default:
      return unsupported(payload.encoding);
  }
}

Payload from_json(const json::value& value) {
  return {PayloadEncoding::json, json::serialize(value)};
}

Result<Payload> encode(const json::value& value, PayloadEncoding encoding) {
  if (const char* what = unencodable(value, 0)) {
    return Error(errc::serialization_failed, std::string("result is not JSON: ") + what);
  }
  switch (encoding) {
    case PayloadEncoding::json:
    case PayloadEncoding::raw_bytes:
      return Payload{encoding, json::serialize(value)};
    case PayloadEncoding::msgpack:
      return Payload{encoding, internal::to_msgpack(value)};
    case PayloadEncoding::json_lines:
      break;
    default:
      return unsupported(encoding);
  }
  const json::array* lines = value.if_array();
  if (lines == nullptr) return Error(errc::serialization_failed, "result is no array, which JSON lines are made of");
  Payload payload{encoding, {}};
  for (const json::value& line : *lines)
    payload.bytes += json::serialize(line) + '\n';
  return payload;
}

Result<Payload> encode_json(const json::value& value) {
  return encode(value, PayloadEncoding::json);
}

std::string display_text(const Error& error) {
  const std::string text = to_string(error);
  if (error.is(errc::unsupported_encoding)) return "Unsupported encoding: " + text;
  if (error.is(errc::deserialization_failed)) return "Deserialization error: " + text;
  if (error.is(errc::serialization_failed)) return "Serialization error: " + text;
  if (error.is(errc::timed_out) || error.is(errc::connect_timeout)) return "Timeout: " + text;
  if (error.is(errc::closed) || error.is(errc::cancelled)) return "Connector not running: " + text;
  if (error.is(errc::invalid_argument)) return "Invalid configuration: " + text;
  if (error.is(errc::capacity_exceeded) || error.is(errc::handler_failed)) return "Invoke failed: " + text;
  return "Other error: " + text;
}

}  // namespace sharingbus::connector

#include "transport/codec/internal/text_writer.hpp"

#include <bit>
#include <charconv>
#include <cstring>

#include <absl/strings/escaping.h>
#include <boost/json/parse.hpp>
#include <boost/json/value.hpp>

#include "transport/codec/internal/payload_document.hpp"
#include "transport/codec/utf8.hpp"

namespace sharingbus::transport::internal {
namespace {

namespace json = boost::json;

/// Enough for any number of 64 bits and any shortest double.
constexpr std::size_t kDigitsMax = 32;

bool needs_escape(char c) {
  return static_cast<unsigned char>(c) < 0x20 || c == '"' || c == '\\';
}

/// Copies `text`, eight bytes at a time. Null when not all of it is ASCII that stands for itself; the copy is then of
/// no use.
char* copy_plain(std::string_view text, char* to) {
  constexpr std::uint64_t kOnes = 0x0101010101010101U;
  constexpr std::uint64_t kHighs = 0x8080808080808080U;
  const auto has_zero = [](std::uint64_t word) { return (word - kOnes) & ~word; };
  std::uint64_t odd = 0;
  std::uint64_t word = 0;
  const auto take = [&](std::size_t at) {
    std::memcpy(&word, text.data() + at, sizeof word);
    std::memcpy(to + at, &word, sizeof word);
    // Non-ASCII; below 0x20; a quote; a backslash. Wrong only for bytes behind one that is found already.
    odd |= word | (word - kOnes * 0x20) | has_zero(word ^ (kOnes * '"')) | has_zero(word ^ (kOnes * '\\'));
  };
  if (text.size() < sizeof word) {
    for (std::size_t at = 0; at < text.size(); ++at) {
      const char c = text[at];
      to[at] = c;
      if (needs_escape(c) || static_cast<unsigned char>(c) >= 0x80) return nullptr;
    }
    return to + text.size();
  }
  std::size_t at = 0;
  for (; at + sizeof word <= text.size(); at += sizeof word)
    take(at);
  // The rest, with some before it once more.
  if (at != text.size()) take(text.size() - sizeof word);
  return (odd & kHighs) == 0 ? to + text.size() : nullptr;
}

void append_escaped(char c, WriteBuffer& out) {
  constexpr std::string_view kHex = "0123456789abcdef";
  switch (c) {
    case '"':
      out.append("\\\"");
      break;
    case '\\':
      out.append("\\\\");
      break;
    case '\n':
      out.append("\\n");
      break;
    case '\r':
      out.append("\\r");
      break;
    case '\t':
      out.append("\\t");
      break;
    default:
      out.append("\\u00");
      out.append(kHex[static_cast<unsigned char>(c) >> 4]);
      out.append(kHex[static_cast<unsigned char>(c) & 0xf]);
  }
}

// Abseil's own type, as Debian builds it.
std::string to_base64(std::string_view bytes) {
  return absl::Base64Escape(absl::string_view(bytes.data(), bytes.size()));
}

/// Parses what a caller gave as JSON; sets `error` when it is none.
json::value parse_given(std::string_view json_text, std::string_view field, Error& error) {
  json::error_code code;
  auto value = json::parse(json_text, code, {}, parse_options());
  if (code && !error) {
    error = Error(errc::serialization_failed, std::string(field) + " is not JSON: " + code.message());
  }
  return value;
}

void write_value(const json::value& value, MsgpackWriter& to) {
  switch (value.kind()) {
    case json::kind::null:
      return to.null();
    case json::kind::bool_:
      return to.boolean(value.get_bool());
    case json::kind::int64:
      return to.signed_number(value.get_int64());
    case json::kind::uint64:
      return to.number(value.get_uint64());
    case json::kind::double_:
      return to.real(value.get_double());
    case json::kind::string:
      return to.text(value.get_string());
    case json::kind::array:
      to.begin_array(value.get_array().size());
      for (const json::value& each : value.get_array())
        write_value(each, to);
      return to.end_array();
    case json::kind::object:
      to.begin_map(value.get_object().size());
      for (const auto& [key, each] : value.get_object()) {
        to.map_key(key);
        write_value(each, to);
      }
      return to.end_map();
  }
}

}  // namespace

void JsonWriter::text(std::string_view value) {
  char* const begin = separate(value.size() + 2);
  *begin = '"';
  char* const end = copy_plain(value, begin + 1);
  if (end == nullptr) {
    out_.put(begin);
    return quote_odd(value);
  }
  *end = '"';
  out_.put(end + 1);
}

void JsonWriter::map_key(std::string_view name) {
  text(name);
  out_.append(':');
  comma_ = false;
}

void JsonWriter::quote_odd(std::string_view value) {
  std::string repaired;
  if (!is_valid_utf8(value)) {
    repaired = to_valid_utf8(value);
    value = repaired;
  }
  out_.append('"');
  while (true) {
    std::size_t plain = 0;
    while (plain < value.size() && !needs_escape(value[plain]))
      ++plain;
    out_.append(value.substr(0, plain));
    if (plain == value.size()) break;
    append_escaped(value[plain], out_);
    value.remove_prefix(plain + 1);
  }
  out_.append('"');
}

void JsonWriter::bytes(std::string_view value) {
  const std::string encoded = to_base64(value);
  char* at = separate(encoded.size() + 2);
  *at++ = '"';
  at = WriteBuffer::copy(encoded, at);
  *at++ = '"';
  out_.put(at);
}

template <class Number>
void JsonWriter::digits(Number value) {
  char* const at = separate(kDigitsMax);
  out_.put(std::to_chars(at, at + kDigitsMax, value).ptr);
}

void JsonWriter::number(std::uint64_t value) {
  digits(value);
}

void JsonWriter::signed_number(std::int64_t value) {
  digits(value);
}

void JsonWriter::real(double value) {
  digits(value);
}

void JsonWriter::real(float value) {
  digits(value);
}

void JsonWriter::boolean(bool value) {
  literal(value ? "true" : "false");
}

void JsonWriter::null() {
  literal("null");
}

void JsonWriter::json(std::string_view json_text, std::string_view field) {
  parse_given(json_text, field, error_);
  literal(json_text);
}

void MsgpackWriter::begin_struct() {
  structs_.push_back(out_.size());
  byte(0x80);
}

void MsgpackWriter::end_struct() {
  structs_.pop_back();
}

void MsgpackWriter::key(std::string_view name) {
  ++out_.at(structs_.back());
  text_head(name.size());
  out_.append(name);
}

void MsgpackWriter::big_endian(std::uint64_t value, int bytes) {
  for (int shift = (bytes - 1) * 8; shift >= 0; shift -= 8)
    byte(static_cast<unsigned>(value >> shift & 0xff));
}

void MsgpackWriter::head(std::size_t size, unsigned small, unsigned wide) {
  if (size < 16) return byte(small | static_cast<unsigned>(size));
  const bool short_form = size <= 0xffff;
  byte(short_form ? wide : wide + 1);
  big_endian(size, short_form ? 2 : 4);
}

void MsgpackWriter::text_head(std::size_t size) {
  if (size < 32) return byte(0xa0 | static_cast<unsigned>(size));
  if (size <= 0xff) {
    byte(0xd9);
    return big_endian(size, 1);
  }
  const bool short_form = size <= 0xffff;
  byte(short_form ? 0xda : 0xdb);
  big_endian(size, short_form ? 2 : 4);
}

void MsgpackWriter::text(std::string_view value) {
  std::string repaired;
  if (!is_valid_utf8(value)) {
    repaired = to_valid_utf8(value);
    value = repaired;
  }
  text_head(value.size());
  out_.append(value);
}

void MsgpackWriter::bytes(std::string_view value) {
  const std::string encoded = to_base64(value);
  text_head(encoded.size());
  out_.append(encoded);
}

void MsgpackWriter::number(std::uint64_t value) {
  if (value < 0x80) return byte(static_cast<unsigned>(value));
  if (value <= 0xff) {
    byte(0xcc);
    return big_endian(value, 1);
  }
  if (value <= 0xffff) {
    byte(0xcd);
    return big_endian(value, 2);
  }
  const bool short_form = value <= 0xffff'ffff;
  byte(short_form ? 0xce : 0xcf);
  big_endian(value, short_form ? 4 : 8);
}

void MsgpackWriter::signed_number(std::int64_t value) {
  if (value >= 0) return number(static_cast<std::uint64_t>(value));
  const auto bits = static_cast<std::uint64_t>(value);
  if (value >= -32) return byte(static_cast<unsigned>(bits & 0xff));
  if (value >= INT8_MIN) {
    byte(0xd0);
    return big_endian(bits, 1);
  }
  if (value >= INT16_MIN) {
    byte(0xd1);
    return big_endian(bits, 2);
  }
  const bool short_form = value >= INT32_MIN;
  byte(short_form ? 0xd2 : 0xd3);
  big_endian(bits, short_form ? 4 : 8);
}

void MsgpackWriter::real(double value) {
  byte(0xcb);
  big_endian(std::bit_cast<std::uint64_t>(value), 8);
}

void MsgpackWriter::real(float value) {
  byte(0xca);
  big_endian(std::bit_cast<std::uint32_t>(value), 4);
}

void MsgpackWriter::json(std::string_view json_text, std::string_view field) {
  write_value(parse_given(json_text, field, error_), *this);
}

}  // namespace sharingbus::transport::internal

#include "transport/codec/internal/payload_document.hpp"

#include <cmath>
#include <cstdint>
#include <utility>

#include <boost/json/array.hpp>
#include <boost/json/basic_parser_impl.hpp>
#include <boost/json/object.hpp>
#include <boost/json/serialize.hpp>
#include <boost/json/value.hpp>
#include <nlohmann/json.hpp>

#include "transport/codec/internal/payload_row_builder.hpp"
#include "transport/codec/utf8.hpp"

namespace sharingbus::transport::internal {
namespace {

namespace json = boost::json;
using Foreign = nlohmann::json;
using Kind = PayloadValue::Kind;

std::string_view view(json::string_view text) {
  return {text.data(), text.size()};
}

/// What the JSON parser tells.
struct JsonHandler {
  static constexpr std::size_t max_object_size = SIZE_MAX;
  static constexpr std::size_t max_array_size = SIZE_MAX;
  static constexpr std::size_t max_key_size = SIZE_MAX;
  static constexpr std::size_t max_string_size = SIZE_MAX;

  bool on_document_begin(json::error_code&) { return true; }
  bool on_document_end(json::error_code&) { return true; }
  bool on_object_begin(json::error_code& code) { return open(Kind::map, code); }
  bool on_object_end(std::size_t, json::error_code&) {
    row.close_map();
    return true;
  }
  bool on_array_begin(json::error_code& code) { return open(Kind::array, code); }
  bool on_array_end(std::size_t, json::error_code&) {
    row.close_array();
    return true;
  }
  bool on_key_part(json::string_view part, std::size_t, json::error_code& code) {
    return on_string_part(part, 0, code);
  }
  bool on_key(json::string_view rest, std::size_t, json::error_code& code) { return on_string(rest, 0, code); }
  bool on_string_part(json::string_view part, std::size_t, json::error_code&) {
    row.part(view(part));
    return true;
  }
  bool on_string(json::string_view rest, std::size_t, json::error_code&) {
    row.add_bytes(Kind::text, view(rest));
    return true;
  }
  bool on_number_part(json::string_view, json::error_code&) { return true; }
  bool on_int64(std::int64_t value, json::string_view, json::error_code&) { return add(value); }
  bool on_uint64(std::uint64_t value, json::string_view, json::error_code&) { return add(value); }
  bool on_double(double value, json::string_view, json::error_code&) { return add(value); }
  bool on_bool(bool value, json::error_code&) { return add(value); }
  bool on_null(json::error_code&) { return add(Kind::null); }
  bool on_comment_part(json::string_view, json::error_code&) { return true; }
  bool on_comment(json::string_view, json::error_code&) { return true; }

  bool open(Kind kind, json::error_code& code) {
    if (row.open(kind)) return true;
    code = json::error::too_deep;
    return false;
  }
  template <class Value>
  bool add(Value value) {
    row.add(value);
    return true;
  }

  PayloadRowBuilder& row;
};

/// What the MessagePack parser tells. Depth is checked here, before memory or stack is spent.
class MsgpackHandler {
 public:
  explicit MsgpackHandler(PayloadRowBuilder& row) : row_(row) {}

  bool null() { return add(Kind::null); }
  bool boolean(bool value) { return add(value); }
  bool number_integer(std::int64_t value) { return add(value); }
  bool number_unsigned(std::uint64_t value) { return add(value); }
  bool number_float(double value, const std::string&) { return add(value); }
  bool string(std::string& value) { return text(value, "a text is not UTF-8"); }
  bool key(std::string& value) { return text(value, "a key is not UTF-8"); }
  bool binary(Foreign::binary_t& value) {
    if (value.has_subtype()) return refuse("extension types are not spoken here");
    row_.add_bytes(Kind::binary, {reinterpret_cast<const char*>(value.data()), value.size()});
    return true;
  }
  bool start_object(std::size_t) { return open(Kind::map); }
  bool end_object() {
    row_.close_map();
    return true;
  }
  bool start_array(std::size_t) { return open(Kind::array); }
  bool end_array() {
    row_.close_array();
    return true;
  }
  bool parse_error(std::size_t position, const std::string&, const nlohmann::detail::exception&) {
    return refuse("bad or missing bytes at byte " + std::to_string(position));
  }

  [[nodiscard]] const std::string& why() const noexcept { return why_; }

 private:
  bool refuse(std::string why) {
    if (why_.empty()) why_ = std::move(why);
    return false;
  }
  template <class Value>
  bool add(Value value) {
    row_.add(value);
    return true;
  }
  bool text(const std::string& value, const char* otherwise) {
    if (!is_valid_utf8(value)) return refuse(otherwise);
    row_.add_bytes(Kind::text, value);
    return true;
  }
  bool open(Kind kind) {
    return row_.open(kind) || refuse("it is nested deeper than " + std::to_string(kPayloadDepthMax));
  }

  PayloadRowBuilder& row_;
  std::string why_;
};

bool starts_json(std::string_view payload) {
  constexpr std::string_view kStarts = "{[ \t\r\n";
  return !payload.empty() && kStarts.find(payload.front()) != std::string_view::npos;
}

/// Nothing for what JSON cannot say.
bool put(const PayloadValue& from, json::value& to) {
  switch (from.kind()) {
    case Kind::null:
      to = nullptr;
      return true;
    case Kind::boolean:
      to = from.boolean();
      return true;
    case Kind::integer:
      to = from.integer();
      return true;
    case Kind::large:
      to = from.large();
      return true;
    case Kind::real:
      to = from.real();
      return std::isfinite(from.real());
    case Kind::text:
      to = json::string_view(from.bytes().data(), from.bytes().size());
      return true;
    case Kind::binary:
      return false;
    case Kind::array: {
      json::array& array = to.emplace_array();
      array.reserve(from.size());
      for (const PayloadValue& each : PayloadElements(from)) {
        if (!put(each, array.emplace_back(nullptr))) return false;
      }
      return true;
    }
    case Kind::map: {
      json::object& object = to.emplace_object();
      object.reserve(from.size());
      for (const auto& [key, value] : PayloadMembers(from)) {
        if (!put(value, object[json::string_view(key.data(), key.size())])) return false;
      }
      return true;
    }
  }
  return false;
}

}  // namespace

json::parse_options parse_options() {
  json::parse_options options;
  options.max_depth = kPayloadDepthMax;
  return options;
}

Result<> PayloadDocument::parse(std::string_view payload) {
  if (payload.empty()) return Error(errc::malformed_frame, "it is empty");
  if (payload.size() > UINT32_MAX) return Error(errc::malformed_frame, "it is longer than 4 GiB");
  PayloadRowBuilder row(payload, row_, copies_);
  if (starts_json(payload)) {
    json::error_code code;
    json::basic_parser<JsonHandler> parser(parse_options(), JsonHandler{row});
    const std::size_t read = parser.write_some(false, payload.data(), payload.size(), code);
    if (!code && read < payload.size()) code = json::error::extra_data;
    if (code) return Error(errc::malformed_frame, "it is not JSON: " + code.message());
    return {};
  }
  MsgpackHandler handler(row);
  if (!Foreign::sax_parse(payload.begin(), payload.end(), &handler, nlohmann::detail::input_format_t::msgpack)) {
    return Error(errc::malformed_frame, "it is not MessagePack: " + handler.why());
  }
  return {};
}

std::string to_json_text(const PayloadValue& value) {
  json::value said;
  return put(value, said) ? json::serialize(said) : std::string();
}

}  // namespace sharingbus::transport::internal

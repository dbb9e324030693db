#include "transport/codec/internal/payload_document.hpp"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <utility>
#include <vector>

#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <boost/json/parser.hpp>
#include <boost/json/serialize.hpp>
#include <nlohmann/json.hpp>

#include "transport/codec/utf8.hpp"

namespace sharingbus::transport::internal {
namespace {

namespace json = boost::json;
using Foreign = nlohmann::json;

/// Builds the value as the MessagePack parser reads on, so that depth is checked before memory or stack is spent.
class Builder {
 public:
  explicit Builder(json::storage_ptr storage) : storage_(std::move(storage)), root_(storage_) {}

  bool null() { return add(nullptr); }
  bool boolean(bool value) { return add(value); }
  bool number_integer(std::int64_t value) { return add(value); }
  bool number_unsigned(std::uint64_t value) {
    return value <= static_cast<std::uint64_t>(INT64_MAX) ? add(static_cast<std::int64_t>(value)) : add(value);
  }
  bool number_float(double value, const std::string&) { return add(value); }
  bool string(std::string& value) {
    return is_valid_utf8(value) ? add(json::string(value, storage_)) : refuse("a text is not UTF-8");
  }
  bool binary(Foreign::binary_t& value) {
    if (value.has_subtype()) return refuse("extension types are not spoken here");
    json::object wrapped(storage_);
    wrapped.emplace(PayloadDocument::kBinaryKey,
                    json::string_view(reinterpret_cast<const char*>(value.data()), value.size()));
    return add(std::move(wrapped));
  }
  bool start_object(std::size_t) { return open(json::object(storage_)); }
  bool key(std::string& value) {
    if (!is_valid_utf8(value)) return refuse("a key is not UTF-8");
    keys_.back() = value;
    return true;
  }
  bool end_object() { return close(); }
  bool start_array(std::size_t) { return open(json::array(storage_)); }
  bool end_array() { return close(); }
  bool parse_error(std::size_t position, const std::string&, const nlohmann::detail::exception&) {
    return refuse("bad or missing bytes at byte " + std::to_string(position));
  }

  [[nodiscard]] json::value take() { return std::move(root_); }
  [[nodiscard]] const std::string& why() const noexcept { return why_; }

 private:
  bool refuse(std::string why) {
    if (why_.empty()) why_ = std::move(why);
    return false;
  }
  bool open(json::value container) {
    if (open_.size() >= kPayloadDepthMax) {
      return refuse("it is nested deeper than " + std::to_string(kPayloadDepthMax));
    }
    open_.push_back(std::move(container));
    keys_.emplace_back();
    return true;
  }
  bool close() {
    json::value done = std::move(open_.back());
    open_.pop_back();
    keys_.pop_back();
    return add(std::move(done));
  }
  template <class Value>
  bool add(Value&& value) {
    if (open_.empty()) {
      root_ = json::value(std::forward<Value>(value), storage_);
    } else if (auto* array = open_.back().if_array()) {
      array->emplace_back(std::forward<Value>(value));
    } else {
      open_.back().get_object().insert_or_assign(keys_.back(), std::forward<Value>(value));
    }
    return true;
  }

  const json::storage_ptr storage_;
  json::value root_;
  /// Arrays and objects that are not complete yet, and the present key of each.
  std::vector<json::value> open_;
  std::vector<std::string> keys_;
  std::string why_;
};

bool starts_json(std::string_view payload) {
  constexpr std::string_view kStarts = "{[ \t\r\n";
  return !payload.empty() && kStarts.find(payload.front()) != std::string_view::npos;
}

bool is_binary_key(json::string_view key) {
  return std::string_view(key.data(), key.size()) == PayloadDocument::kBinaryKey;
}

bool sayable(const json::value& value) {
  if (const auto* number = value.if_double()) return std::isfinite(*number);
  if (const auto* array = value.if_array()) return std::all_of(array->begin(), array->end(), sayable);
  if (const auto* object = value.if_object()) {
    return std::all_of(object->begin(), object->end(),
                       [](const auto& member) { return !is_binary_key(member.key()) && sayable(member.value()); });
  }
  return true;
}

}  // namespace

json::parse_options parse_options() {
  json::parse_options options;
  options.max_depth = kPayloadDepthMax;
  return options;
}

Result<> PayloadDocument::parse(std::string_view payload) {
  if (payload.empty()) return Error(errc::malformed_frame, "it is empty");
  if (starts_json(payload)) {
    json::error_code code;
    std::array<unsigned char, 2048> scratch;
    json::parser parser({}, parse_options(), scratch.data(), scratch.size());
    parser.reset(&resource_);
    parser.write(payload.data(), payload.size(), code);
    if (code) return Error(errc::malformed_frame, "it is not JSON: " + code.message());
    root_.emplace(parser.release());
    return {};
  }
  Builder builder(&resource_);
  if (!Foreign::sax_parse(payload.begin(), payload.end(), &builder, nlohmann::detail::input_format_t::msgpack)) {
    return Error(errc::malformed_frame, "it is not MessagePack: " + builder.why());
  }
  root_.emplace(builder.take());
  return {};
}

const json::string* binary_in(const json::value& value) {
  const auto* object = value.if_object();
  if (object == nullptr || object->size() != 1 || !is_binary_key(object->begin()->key())) return nullptr;
  return object->begin()->value().if_string();
}

std::string to_json_text(const json::value& value) {
  return sayable(value) ? json::serialize(value) : std::string();
}

}  // namespace sharingbus::transport::internal

#include "connector/internal/msgpack.hpp"

#include <cmath>
#include <cstdint>
#include <utility>
#include <vector>

#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <nlohmann/json.hpp>

#include "transport/codec/utf8.hpp"

namespace sharingbus::connector::internal {
namespace {

namespace json = boost::json;
using Foreign = nlohmann::json;

/// Builds the value as the parser reads on, so that depth is checked before memory or stack is spent.
class Builder {
 public:
  explicit Builder(std::size_t max_depth) : max_depth_(max_depth) {}

  bool null() { return add(nullptr); }
  bool boolean(bool value) { return add(value); }
  bool number_integer(std::int64_t value) { return add(value); }
  bool number_unsigned(std::uint64_t value) {
    return value <= static_cast<std::uint64_t>(INT64_MAX) ? add(static_cast<std::int64_t>(value)) : add(value);
  }
  bool number_float(double value, const std::string&) {
    return std::isfinite(value) ? add(value) : refuse("a number is not finite");
  }
  bool string(std::string& value) {
    return transport::is_valid_utf8(value) ? add(json::string(value)) : refuse("a text is not UTF-8");
  }
  bool binary(Foreign::binary_t& value) {
    return refuse(value.has_subtype() ? "extension types have no JSON form" : "binary data has no JSON form");
  }
  bool start_object(std::size_t) { return open(json::object()); }
  bool key(std::string& value) {
    if (!transport::is_valid_utf8(value)) return refuse("a key is not UTF-8");
    keys_.back() = value;
    return true;
  }
  bool end_object() { return close(); }
  bool start_array(std::size_t) { return open(json::array()); }
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
    if (open_.size() >= max_depth_) return refuse("it is nested deeper than " + std::to_string(max_depth_));
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
  bool add(json::value value) {
    if (open_.empty()) {
      root_ = std::move(value);
    } else if (auto* array = open_.back().if_array()) {
      array->push_back(std::move(value));
    } else {
      open_.back().get_object().insert_or_assign(keys_.back(), std::move(value));
    }
    return true;
  }

  const std::size_t max_depth_;
  json::value root_;
  /// Arrays and objects that are not complete yet, and the present key of each.
  std::vector<json::value> open_;
  std::vector<std::string> keys_;
  std::string why_;
};

Foreign to_foreign(const json::value& value) {
  switch (value.kind()) {
    case json::kind::null:
      return nullptr;
    case json::kind::bool_:
      return value.get_bool();
    case json::kind::int64:
      return value.get_int64();
    case json::kind::uint64:
      return value.get_uint64();
    case json::kind::double_:
      return value.get_double();
    case json::kind::string:
      return std::string(value.get_string());
    case json::kind::array: {
      Foreign::array_t array;
      array.reserve(value.get_array().size());
      for (const json::value& each : value.get_array())
        array.push_back(to_foreign(each));
      return array;
    }
    case json::kind::object:
      break;
  }
  Foreign::object_t object;
  for (const auto& [key, each] : value.get_object())
    object.emplace(std::string(key), to_foreign(each));
  return object;
}

}  // namespace

Result<json::value> from_msgpack(std::string_view bytes, std::size_t max_depth) {
  Builder builder(max_depth);
  if (Foreign::sax_parse(bytes.begin(), bytes.end(), &builder, nlohmann::detail::input_format_t::msgpack)) {
    return builder.take();
  }
  return Error(errc::deserialization_failed, "payload is not MessagePack: " + builder.why());
}

std::string to_msgpack(const json::value& value) {
  std::string bytes;
  Foreign::to_msgpack(to_foreign(value), nlohmann::detail::output_adapter<char>(bytes));
  return bytes;
}

}  // namespace sharingbus::connector::internal

#include "transport/websocket/internal/phoenix_message.hpp"

#include <cstddef>
#include <utility>

#include <absl/strings/escaping.h>
#include <absl/strings/string_view.h>
#include <boost/json/basic_parser_impl.hpp>
#include <boost/json/error.hpp>
#include <boost/json/parse_options.hpp>
#include <boost/json/serialize.hpp>
#include <boost/json/string_view.hpp>

#include "transport/codec/utf8.hpp"

namespace sharingbus::transport::internal {
namespace {

namespace json = boost::json;
using boost::system::error_code;

constexpr std::size_t kPayloadIndex = 4;

/// Picks out of the array what there is to know, without a tree of all values: most of a message is one long string.
class Handler {
 public:
  // What Boost.JSON asks a handler for, its names included.
  static constexpr std::size_t max_object_size = std::size_t(-1);
  static constexpr std::size_t max_array_size = std::size_t(-1);
  static constexpr std::size_t max_key_size = std::size_t(-1);
  static constexpr std::size_t max_string_size = std::size_t(-1);

  [[nodiscard]] std::optional<PhoenixMessage> take() {
    if (!array_ || unfit_ || index_ <= kPayloadIndex) return std::nullopt;
    return std::move(message_);
  }

  bool on_document_begin(error_code& /*error*/) { return true; }
  bool on_document_end(error_code& /*error*/) { return true; }
  bool on_array_begin(error_code& /*error*/) {
    if (depth_ == 0) array_ = true;
    begin_container(false);
    return true;
  }
  bool on_array_end(std::size_t /*count*/, error_code& /*error*/) { return end_container(); }
  bool on_object_begin(error_code& /*error*/) {
    begin_container(true);
    return true;
  }
  bool on_object_end(std::size_t /*count*/, error_code& /*error*/) { return end_container(); }
  bool on_key_part(json::string_view part, std::size_t /*size*/, error_code& /*error*/) {
    key_.append(part.data(), part.size());
    return true;
  }
  bool on_key(json::string_view part, std::size_t /*size*/, error_code& /*error*/) {
    key_.append(part.data(), part.size());
    if (depth_ == 2 && payload_) {
      outer_ = key_;
    } else if (depth_ == 3 && response_) {
      inner_ = key_;
    }
    key_.clear();
    return true;
  }
  bool on_string_part(json::string_view part, std::size_t /*size*/, error_code& /*error*/) {
    add(part);
    return true;
  }
  bool on_string(json::string_view part, std::size_t /*size*/, error_code& /*error*/) {
    add(part);
    text_begun_ = false;
    if (depth_ == 1 && index_ < 2) ref().kind = PhoenixRef::Kind::text;
    return value_ended();
  }
  bool on_number_part(json::string_view /*part*/, error_code& /*error*/) { return true; }
  bool on_int64(std::int64_t value, json::string_view /*text*/, error_code& /*error*/) {
    return number(std::to_string(value));
  }
  bool on_uint64(std::uint64_t value, json::string_view /*text*/, error_code& /*error*/) {
    return number(std::to_string(value));
  }
  bool on_double(double /*value*/, json::string_view /*text*/, error_code& /*error*/) { return other(); }
  bool on_bool(bool /*value*/, error_code& /*error*/) { return other(); }
  bool on_null(error_code& /*error*/) {
    // Of the refs; the others have to be strings.
    if (depth_ == 1 && (index_ == 2 || index_ == 3)) unfit_ = true;
    return value_ended();
  }
  bool on_comment_part(json::string_view /*part*/, error_code& /*error*/) { return true; }
  bool on_comment(json::string_view /*part*/, error_code& /*error*/) { return true; }

 private:
  PhoenixRef& ref() { return index_ == 0 ? message_.join_ref : message_.ref; }

  /// Where a string at this place goes; null: nowhere.
  std::string* target() {
    if (depth_ == 1) {
      switch (index_) {
        case 0:
        case 1:
          return &ref().text;
        case 2:
          return &message_.topic;
        case 3:
          return &message_.event;
        default:
          return nullptr;
      }
    }
    if (depth_ == 2 && payload_) {
      if (outer_ == "status") return &message_.status;
      if (outer_ == "data") return &data();
    }
    if (depth_ == 3 && response_) {
      if (inner_ == "reason") return &message_.reason;
      if (inner_ == "data") return &data();
    }
    return nullptr;
  }
  std::string& data() {
    if (!message_.data) message_.data.emplace();
    return *message_.data;
  }
  void add(json::string_view part) {
    std::string* const to = target();
    if (to == nullptr) return;
    // Of a key that comes twice the last one counts.
    if (!std::exchange(text_begun_, true)) to->clear();
    to->append(part.data(), part.size());
  }
  bool number(std::string text) {
    if (depth_ == 1 && index_ < 2) {
      ref() = {PhoenixRef::Kind::number, std::move(text)};
      return value_ended();
    }
    return other();
  }
  /// A value that is none of ours, and must not be where ours belong.
  bool other() {
    if (depth_ == 1 && index_ < kPayloadIndex) unfit_ = true;
    return value_ended();
  }
  void begin_container(bool object) {
    if (depth_ == 1) {
      if (index_ < kPayloadIndex) unfit_ = true;
      payload_ = object && index_ == kPayloadIndex;
    } else if (depth_ == 2) {
      response_ = payload_ && object && outer_ == "response";
    }
    ++depth_;
  }
  bool end_container() {
    --depth_;
    if (depth_ == 2) response_ = false;
    if (depth_ == 1) payload_ = false;
    return value_ended();
  }
  bool value_ended() {
    if (depth_ == 1) ++index_;
    return true;
  }

  PhoenixMessage message_;
  std::string key_;
  std::string outer_;
  std::string inner_;
  std::size_t depth_ = 0;
  std::size_t index_ = 0;
  bool array_ = false;
  bool unfit_ = false;
  /// Inside the payload, and inside a reply's response.
  bool payload_ = false;
  bool response_ = false;
  bool text_begun_ = false;
};

std::string to_json(const PhoenixRef& ref) {
  switch (ref.kind) {
    case PhoenixRef::Kind::text:
      return json::serialize(json::string_view(ref.text));
    case PhoenixRef::Kind::number:
      return ref.text;
    case PhoenixRef::Kind::null:
      break;
  }
  return "null";
}

/// Debian builds Abseil with a type of its own.
absl::string_view view(std::string_view text) {
  return {text.data(), text.size()};
}

std::optional<std::string> decode_hex(std::string_view text) {
  const auto digit = [](char c) {
    if (c >= '0' && c <= '9') return c - '0';
    const int lower = c | 0x20;
    return lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : -1;
  };
  if (text.size() % 2 != 0) return std::nullopt;
  std::string bytes;
  bytes.reserve(text.size() / 2);
  for (std::size_t i = 0; i < text.size(); i += 2) {
    const int high = digit(text[i]);
    const int low = digit(text[i + 1]);
    if (high < 0 || low < 0) return std::nullopt;
    bytes.push_back(static_cast<char>(high * 16 + low));
  }
  return bytes;
}

/// `[join_ref,ref,"topic","event",`
std::string begin_message(const PhoenixRef& join_ref, const PhoenixRef& ref, std::string_view topic,
                          std::string_view event, std::size_t payload_bytes) {
  std::string text;
  text.reserve(payload_bytes + topic.size() + event.size() + join_ref.text.size() + ref.text.size() + 32);
  text.append("[").append(to_json(join_ref)).append(",").append(to_json(ref)).append(",");
  for (const std::string_view each : {topic, event})
    text.append(json::serialize(json::string_view(each.data(), each.size()))).append(",");
  return text;
}

}  // namespace

Result<std::optional<PhoenixMessage>> parse_phoenix(std::string_view text) {
  json::basic_parser<Handler> parser{json::parse_options()};
  error_code error;
  const std::size_t parsed = parser.write_some(false, text.data(), text.size(), error);
  if (!error && parsed < text.size()) error = json::error::extra_data;
  if (error) return Error(errc::malformed_frame, "a text message is no JSON: " + error.message());
  return parser.handler().take();
}

std::optional<PhoenixMessage> parse_phoenix_push(std::string_view bytes) {
  constexpr std::size_t kHeaderBytes = 5;
  if (bytes.size() < kHeaderBytes || bytes[0] != 0) return std::nullopt;
  std::size_t sizes[4];
  std::size_t total = kHeaderBytes;
  for (std::size_t i = 0; i < 4; ++i) {
    sizes[i] = static_cast<unsigned char>(bytes[i + 1]);
    total += sizes[i];
  }
  if (bytes.size() < total) return std::nullopt;
  std::string_view rest = bytes.substr(kHeaderBytes);
  std::size_t next = 0;
  // They go into answers, which are text.
  bool text = true;
  const auto take = [&] {
    std::string field(rest.substr(0, sizes[next]));
    rest.remove_prefix(sizes[next++]);
    text = text && is_valid_utf8(field);
    return field;
  };
  const auto take_ref = [&]() -> PhoenixRef {
    std::string field = take();
    if (field.empty()) return {};
    return {PhoenixRef::Kind::text, std::move(field)};
  };
  PhoenixMessage message;
  message.join_ref = take_ref();
  message.ref = take_ref();
  message.topic = take();
  message.event = take();
  if (!text) return std::nullopt;
  message.data.emplace(rest);
  return message;
}

Result<std::string> decode_phoenix_data(std::string_view text) {
  std::string bytes;
  // Abseil does without the padding too, but then it would take hexadecimal for base64.
  if (text.size() % 4 == 0 && absl::Base64Unescape(view(text), &bytes)) return bytes;
  if (auto decoded = decode_hex(text)) return std::move(*decoded);
  return Error(errc::malformed_frame, "the data of a message is neither base64 nor hexadecimal");
}

std::string write_phoenix(const PhoenixRef& join_ref, const PhoenixRef& ref, std::string_view topic,
                          std::string_view event, std::string_view payload) {
  std::string text = begin_message(join_ref, ref, topic, event, payload.size());
  text.append(payload).append("]");
  return text;
}

std::string write_phoenix_frame(const PhoenixRef& join_ref, const PhoenixRef& ref, std::string_view topic,
                                std::string_view frame) {
  const std::string data = absl::Base64Escape(view(frame));
  std::string text = begin_message(join_ref, ref, topic, "proto", data.size());
  text.append(R"({"data":")").append(data).append(R"("}])");
  return text;
}

}  // namespace sharingbus::transport::internal

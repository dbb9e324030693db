#include "transport/codec/internal/execute_wire.hpp"

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <type_traits>
#include <utility>

#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/wire_format_lite.h>

#include "transport/codec/internal/connector_wire.hpp"
#include "transport/codec/utf8.hpp"

namespace sharingbus::transport::internal {
namespace {

using google::protobuf::internal::WireFormatLite;
using google::protobuf::io::CodedOutputStream;
using messages::ConnectorMessage;
using messages::ExecuteRequest;
using messages::ExecuteResponse;
using messages::PayloadEncoding;
using Request = wire::ExecuteRequest;
using Response = wire::ExecuteResponse;

// Of an entry of a map.
constexpr int kKey = 1;
constexpr int kValue = 2;

constexpr std::uint32_t text_tag(int field) {
  return WireFormatLite::MakeTag(field, WireFormatLite::WIRETYPE_LENGTH_DELIMITED);
}
constexpr std::uint32_t number_tag(int field) {
  return WireFormatLite::MakeTag(field, WireFormatLite::WIRETYPE_VARINT);
}

/// Reads fields one after the other. Everything answers false for what is for Protobuf.
class Fields {
 public:
  explicit Fields(std::string_view bytes) : at_(bytes.data()), end_(at_ + bytes.size()) {}

  [[nodiscard]] bool done() const { return at_ == end_; }
  /// Of the fields in question all tags are one byte. Not when done.
  [[nodiscard]] std::uint32_t tag() { return static_cast<unsigned char>(*at_++); }
  [[nodiscard]] bool number(std::uint64_t& value, int most_bytes = 9) {
    value = 0;
    for (int shift = 0; shift < 7 * most_bytes && at_ != end_; shift += 7) {
      const auto byte = static_cast<unsigned char>(*at_++);
      value |= std::uint64_t{byte & 0x7FU} << static_cast<unsigned>(shift);
      if (byte < 0x80) return byte != 0 || shift == 0;
    }
    return false;
  }
  [[nodiscard]] bool bytes(std::string_view& content) {
    std::uint64_t size = 0;
    if (!number(size, 4) || size > static_cast<std::size_t>(end_ - at_)) return false;
    content = {at_, static_cast<std::size_t>(size)};
    at_ += size;
    return true;
  }
  // Each field once.
  [[nodiscard]] bool bytes(std::string& into) {
    std::string_view content;
    if (!into.empty() || !bytes(content)) return false;
    into = content;
    return true;
  }
  [[nodiscard]] bool text(std::string& into) { return bytes(into) && is_valid_utf8(into); }
  template <class Number>
  [[nodiscard]] bool number(Number& into) {
    std::uint64_t value = 0;
    if (into != Number() || !number(value)) return false;
    if constexpr (std::is_same_v<Number, bool>) {
      into = value != 0;
    } else if constexpr (std::is_enum_v<Number>) {
      into = static_cast<Number>(static_cast<std::int32_t>(value));
    } else {
      into = static_cast<Number>(value);
    }
    return true;
  }
  [[nodiscard]] bool entry(messages::StringMap& into) {
    std::string_view content;
    if (!bytes(content)) return false;
    Fields fields(content);
    std::string key;
    std::string value;
    while (!fields.done()) {
      const std::uint32_t tag = fields.tag();
      if (tag != text_tag(kKey) && tag != text_tag(kValue)) return false;
      if (!fields.text(tag == text_tag(kKey) ? key : value)) return false;
    }
    // Protobuf writes them by key.
    const std::size_t before = into.size();
    into.emplace_hint(into.end(), std::move(key), std::move(value));
    return into.size() != before;
  }

 private:
  const char* at_;
  const char* const end_;
};

bool read(Fields fields, ExecuteRequest& into) {
  while (!fields.done()) {
    bool read = false;
    switch (fields.tag()) {
      case text_tag(Request::kRequestIdFieldNumber):
        read = fields.text(into.request_id);
        break;
      case text_tag(Request::kPayloadFieldNumber):
        read = fields.bytes(into.payload);
        break;
      case number_tag(Request::kPayloadEncodingFieldNumber):
        read = fields.number(into.payload_encoding);
        break;
      case text_tag(Request::kContextFieldNumber):
        read = fields.entry(into.context);
        break;
      case text_tag(Request::kCapabilityIdFieldNumber):
        read = fields.text(into.capability_id);
        break;
      default:
        break;
    }
    if (!read) return false;
  }
  return true;
}

bool read(Fields fields, ExecuteResponse& into) {
  while (!fields.done()) {
    bool read = false;
    switch (fields.tag()) {
      case text_tag(Response::kRequestIdFieldNumber):
        read = fields.text(into.request_id);
        break;
      case number_tag(Response::kSuccessFieldNumber):
        read = fields.number(into.success);
        break;
      case text_tag(Response::kPayloadFieldNumber):
        read = fields.bytes(into.payload);
        break;
      case number_tag(Response::kPayloadEncodingFieldNumber):
        read = fields.number(into.payload_encoding);
        break;
      case text_tag(Response::kErrorFieldNumber):
        read = fields.text(into.error);
        break;
      case number_tag(Response::kDurationMsFieldNumber):
        read = fields.number(into.duration_ms);
        break;
      default:
        break;
    }
    if (!read) return false;
  }
  return true;
}

template <class Message>
std::optional<ConnectorMessage> read_as(std::string_view content) {
  std::optional<ConnectorMessage> message(std::in_place, std::in_place_type<Message>);
  if (!read(Fields(content), *std::get_if<Message>(&*message))) message.reset();
  return message;
}

// Writing: sizes first, then bytes. What has its default is left out.

/// Of a field with a tag of one byte.
std::size_t size_of(std::string_view bytes) {
  return 1 + CodedOutputStream::VarintSize64(bytes.size()) + bytes.size();
}
std::size_t size_unless_empty(std::string_view bytes) {
  return bytes.empty() ? 0 : size_of(bytes);
}
std::size_t size_unless_zero(std::int64_t number) {
  return number == 0 ? 0 : 1 + CodedOutputStream::VarintSize64(static_cast<std::uint64_t>(number));
}
std::size_t size_of_entry(std::string_view key, std::string_view value) {
  return size_of(key) + size_of(value);
}

class Writer {
 public:
  /// A frame of one message in this field, of which `size` bytes follow.
  Writer(int field, std::size_t size)
      : frame_(1 + CodedOutputStream::VarintSize64(size) + size, '\0'),
        at_(reinterpret_cast<std::uint8_t*>(frame_.data())) {
    head(field, size);
  }

  void head(int field, std::size_t size) {
    *at_++ = static_cast<std::uint8_t>(text_tag(field));
    at_ = CodedOutputStream::WriteVarint64ToArray(size, at_);
  }
  void bytes(int field, std::string_view content) {
    head(field, content.size());
    if (!content.empty()) std::memcpy(at_, content.data(), content.size());
    at_ += content.size();
  }
  void bytes_unless_empty(int field, std::string_view content) {
    if (!content.empty()) bytes(field, content);
  }
  void number_unless_zero(int field, std::int64_t number) {
    if (number == 0) return;
    *at_++ = static_cast<std::uint8_t>(number_tag(field));
    at_ = CodedOutputStream::WriteVarint64ToArray(static_cast<std::uint64_t>(number), at_);
  }
  [[nodiscard]] std::string frame() && { return std::move(frame_); }

 private:
  std::string frame_;
  std::uint8_t* at_;
};

/// Leaves room for what is around it.
constexpr std::size_t kMostBytes = std::numeric_limits<int>::max() / 2;

}  // namespace

std::optional<ConnectorMessage> read_execute(std::string_view frame) {
  Fields fields(frame);
  if (fields.done()) return std::nullopt;
  const std::uint32_t tag = fields.tag();
  std::string_view content;
  if (!fields.bytes(content) || !fields.done()) return std::nullopt;
  if (tag == text_tag(wire::StreamMessage::kExecuteRequestFieldNumber)) return read_as<ExecuteRequest>(content);
  if (tag == text_tag(wire::StreamMessage::kExecuteResponseFieldNumber)) return read_as<ExecuteResponse>(content);
  return std::nullopt;
}

std::optional<std::string> write_execute(const ExecuteRequest& message) {
  const auto encoding = static_cast<std::int64_t>(message.payload_encoding);
  if (!is_valid_utf8(message.request_id) || !is_valid_utf8(message.capability_id)) return std::nullopt;
  std::size_t size = size_unless_empty(message.request_id) + size_unless_empty(message.payload) +
                     size_unless_zero(encoding) + size_unless_empty(message.capability_id);
  for (const auto& [key, value] : message.context) {
    if (!is_valid_utf8(key) || !is_valid_utf8(value)) return std::nullopt;
    const std::size_t entry = size_of_entry(key, value);
    size += 1 + CodedOutputStream::VarintSize64(entry) + entry;
  }
  if (size > kMostBytes) return std::nullopt;
  Writer writer(wire::StreamMessage::kExecuteRequestFieldNumber, size);
  writer.bytes_unless_empty(Request::kRequestIdFieldNumber, message.request_id);
  writer.bytes_unless_empty(Request::kPayloadFieldNumber, message.payload);
  writer.number_unless_zero(Request::kPayloadEncodingFieldNumber, encoding);
  for (const auto& [key, value] : message.context) {
    writer.head(Request::kContextFieldNumber, size_of_entry(key, value));
    writer.bytes(kKey, key);
    writer.bytes(kValue, value);
  }
  writer.bytes_unless_empty(Request::kCapabilityIdFieldNumber, message.capability_id);
  return std::move(writer).frame();
}

std::optional<std::string> write_execute(const ExecuteResponse& message) {
  const auto encoding = static_cast<std::int64_t>(message.payload_encoding);
  if (!is_valid_utf8(message.request_id) || !is_valid_utf8(message.error)) return std::nullopt;
  const std::size_t size = size_unless_empty(message.request_id) + size_unless_zero(message.success ? 1 : 0) +
                           size_unless_empty(message.payload) + size_unless_zero(encoding) +
                           size_unless_empty(message.error) + size_unless_zero(message.duration_ms);
  if (size > kMostBytes) return std::nullopt;
  Writer writer(wire::StreamMessage::kExecuteResponseFieldNumber, size);
  writer.bytes_unless_empty(Response::kRequestIdFieldNumber, message.request_id);
  writer.number_unless_zero(Response::kSuccessFieldNumber, message.success ? 1 : 0);
  writer.bytes_unless_empty(Response::kPayloadFieldNumber, message.payload);
  writer.number_unless_zero(Response::kPayloadEncodingFieldNumber, encoding);
  writer.bytes_unless_empty(Response::kErrorFieldNumber, message.error);
  writer.number_unless_zero(Response::kDurationMsFieldNumber, message.duration_ms);
  return std::move(writer).frame();
}

}  // namespace sharingbus::transport::internal

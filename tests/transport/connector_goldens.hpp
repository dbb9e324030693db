#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "transport/messages/connector_messages.hpp"

namespace sharingbus::test {

/// Writes Protobuf's wire form from field numbers alone, so that the expected bytes owe nothing to protoc or to our
/// .proto file.
class Wire {
 public:
  Wire& varint(std::uint32_t field, std::uint64_t value) { return tag(field, 0).raw_varint(value); }
  Wire& fixed64(std::uint32_t field, std::uint64_t value) { return tag(field, 1).little_endian(value, 8); }
  Wire& fixed32(std::uint32_t field, std::uint32_t value) { return tag(field, 5).little_endian(value, 4); }
  Wire& real(std::uint32_t field, double value) { return fixed64(field, std::bit_cast<std::uint64_t>(value)); }
  Wire& bytes(std::uint32_t field, std::string_view value) {
    tag(field, 2).raw_varint(value.size());
    out_ += value;
    return *this;
  }
  Wire& entry(std::uint32_t field, std::string_view key, std::string_view value) {
    return bytes(field, Wire().bytes(1, key).bytes(2, value));
  }
  Wire& tag(std::uint32_t field, std::uint32_t wire_type) { return raw_varint(field << 3 | wire_type); }
  Wire& raw_varint(std::uint64_t value) {
    for (; value >= 0x80; value >>= 7)
      out_ += static_cast<char>(value | 0x80);
    out_ += static_cast<char>(value);
    return *this;
  }

  operator std::string() const { return out_; }       // NOLINT(google-explicit-constructor)
  operator std::string_view() const { return out_; }  // NOLINT(google-explicit-constructor)

 private:
  Wire& little_endian(std::uint64_t value, int size) {
    for (int i = 0; i < size; ++i)
      out_ += static_cast<char>(value >> (8 * i));
    return *this;
  }

  std::string out_;
};

/// One message with every field set, and its bytes.
struct Golden {
  std::string_view name;
  std::uint32_t number;  // in the oneof of StreamMessage
  std::size_t fields;    // how many the protocol gives this message
  std::string body;      // the message itself
  transport::messages::ConnectorMessage message;

  [[nodiscard]] std::string bytes() const { return Wire().bytes(number, body); }
};

/// All kinds of messages, in the order of their numbers.
std::vector<Golden> connector_goldens();

}  // namespace sharingbus::test

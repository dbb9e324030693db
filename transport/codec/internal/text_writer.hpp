#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "bus/base/error.hpp"
#include "transport/codec/internal/write_buffer.hpp"

// Two writers with one face, so that a message is described once for both encodings. A document is written front to
// back: structs (at most 15 fields, counted by their keys), maps and arrays of known size, values.
namespace sharingbus::transport::internal {

/// Writes JSON without blanks. Text that is not UTF-8 is repaired.
class JsonWriter {
 public:
  /// Appends to `out`.
  explicit JsonWriter(WriteBuffer& out) : out_(out) {}

  void begin_struct() { open('{'); }
  void end_struct() { shut('}'); }
  void begin_map(std::size_t) { open('{'); }
  void end_map() { shut('}'); }
  void begin_array(std::size_t) { open('['); }
  void end_array() { shut(']'); }
  /// Of a struct: a name that needs no escapes.
  void key(std::string_view name) {
    char* at = separate(name.size() + 3);
    *at++ = '"';
    at = WriteBuffer::copy(name, at);
    *at++ = '"';
    *at++ = ':';
    out_.put(at);
    comma_ = false;
  }
  /// Of a map: any text.
  void map_key(std::string_view name);

  void text(std::string_view value);
  /// Base64.
  void bytes(std::string_view value);
  void number(std::uint64_t value);
  void signed_number(std::int64_t value);
  /// Must be finite.
  void real(double value);
  void real(float value);
  void boolean(bool value);
  void null();
  /// A value that is JSON text already. `field` is for the error.
  void json(std::string_view json_text, std::string_view field);

  /// The first `json` that was none.
  [[nodiscard]] const Error& error() const noexcept { return error_; }

 private:
  void open(char bracket) {
    char* at = separate(1);
    *at++ = bracket;
    out_.put(at);
    comma_ = false;
  }
  void shut(char bracket) {
    out_.append(bracket);
    comma_ = true;
  }
  /// Where the next value goes, which is given `bytes` of room.
  [[nodiscard]] char* separate(std::size_t bytes) {
    char* const at = out_.room(bytes + 1);
    *at = ',';
    return at + (std::exchange(comma_, true) ? 1 : 0);
  }
  void literal(std::string_view value) { out_.put(WriteBuffer::copy(value, separate(value.size()))); }
  template <class Number>
  void digits(Number value);
  void quote_odd(std::string_view value);

  WriteBuffer& out_;
  bool comma_ = false;
  Error error_;
};

/// Writes MessagePack: structs as maps with named keys, bytes as base64 text, as published peers want them.
class MsgpackWriter {
 public:
  /// Appends to `out`.
  explicit MsgpackWriter(WriteBuffer& out) : out_(out) {}

  void begin_struct();
  void end_struct();
  void begin_map(std::size_t size) { head(size, 0x80, 0xde); }
  void end_map() {}
  void begin_array(std::size_t size) { head(size, 0x90, 0xdc); }
  void end_array() {}
  void key(std::string_view name);
  void map_key(std::string_view name) { text(name); }

  void text(std::string_view value);
  void bytes(std::string_view value);
  void number(std::uint64_t value);
  void signed_number(std::int64_t value);
  void real(double value);
  void real(float value);
  void boolean(bool value) { byte(value ? 0xc3 : 0xc2); }
  void null() { byte(0xc0); }
  void json(std::string_view json_text, std::string_view field);

  [[nodiscard]] const Error& error() const noexcept { return error_; }

 private:
  void byte(unsigned value) { out_.append(static_cast<char>(value)); }
  void big_endian(std::uint64_t value, int bytes);
  /// `small` + size below 16, else `wide` and 16 bits, or the code after it and 32.
  void head(std::size_t size, unsigned small, unsigned wide);
  void text_head(std::size_t size);

  WriteBuffer& out_;
  /// Where the counts of the structs that are open lie.
  std::vector<std::size_t> structs_;
  Error error_;
};

}  // namespace sharingbus::transport::internal

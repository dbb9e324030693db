#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>

#include "transport/codec/internal/payload_document.hpp"

namespace sharingbus::transport::internal {

/// Puts values in a row while a parser tells of them.
class PayloadRowBuilder {
 public:
  /// `copies` gets the texts that do not lie in `payload`.
  PayloadRowBuilder(std::string_view payload, PayloadRow& row, std::string& copies) noexcept
      : payload_(payload), row_(row), copies_(copies) {}

  template <class... Args>
  void add(Args... of_value) {
    row_.emplace_back(of_value...);
  }
  /// A text (a key, too) or binary data, whose first bytes were given to `part`, if any.
  void add_bytes(PayloadValue::Kind kind, std::string_view bytes) {
    if (parted_ || !lies_in_payload(bytes)) bytes = copied(bytes);
    row_.emplace_back(kind, bytes);
  }
  void part(std::string_view bytes);

  /// An array or a map. False when it is nested too deep.
  [[nodiscard]] bool open(PayloadValue::Kind kind) {
    if (depth_ == open_.size()) return false;
    open_[depth_++] = row_.size();
    row_.emplace_back(kind);
    return true;
  }
  void close_array();
  void close_map();

 private:
  [[nodiscard]] bool lies_in_payload(std::string_view bytes) const noexcept {
    const auto at = reinterpret_cast<std::uintptr_t>(bytes.data());
    const auto begin = reinterpret_cast<std::uintptr_t>(payload_.data());
    return at >= begin && at - begin <= payload_.size();
  }
  [[nodiscard]] std::string_view copied(std::string_view rest);
  /// Whether the key at `key` is among those of the map at `map` that come before it.
  [[nodiscard]] bool repeats(std::size_t map, const PayloadValue* key) const noexcept;
  /// Leaves the last of equal keys of the map that ends the row; how many went.
  std::size_t drop_repeated(std::size_t map);

  const std::string_view payload_;
  PayloadRow& row_;
  std::string& copies_;
  /// Where the arrays and maps are that are not complete yet.
  std::array<std::size_t, kPayloadDepthMax> open_;
  std::size_t depth_ = 0;
  /// Where the text begins of which parts were copied.
  std::size_t part_begin_ = 0;
  bool parted_ = false;
};

}  // namespace sharingbus::transport::internal

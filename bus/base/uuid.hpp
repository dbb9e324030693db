#pragma once

#include <array>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

namespace sharingbus {

/// A 128-bit identifier (RFC 9562); a value.
struct Uuid {
  std::array<std::uint8_t, 16> bytes{};

  auto operator<=>(const Uuid&) const = default;
  // In two comparisons: this one is looked up for every event.
  friend bool operator==(const Uuid& left, const Uuid& right) noexcept {
    std::array<std::uint64_t, 2> a;
    std::array<std::uint64_t, 2> b;
    std::memcpy(a.data(), left.bytes.data(), sizeof a);
    std::memcpy(b.data(), right.bytes.data(), sizeof b);
    return ((a[0] ^ b[0]) | (a[1] ^ b[1])) == 0;
  }
};

/// A random (version 4) UUID. Any thread.
[[nodiscard]] Uuid random_uuid();

/// Reads any text form: hyphenated, 32 hex digits, in braces, `urn:uuid:`, any case. Nothing when it is none of them.
[[nodiscard]] std::optional<Uuid> parse_uuid(std::string_view text);

/// The hyphenated lower-case form, 36 characters.
[[nodiscard]] std::string to_string(const Uuid& uuid);

}  // namespace sharingbus

template <>
struct std::hash<sharingbus::Uuid> {
  std::size_t operator()(const sharingbus::Uuid& uuid) const noexcept {
    std::uint64_t high = 0;
    std::uint64_t low = 0;
    for (std::size_t i = 0; i < 8; ++i) {
      high = high << 8 | uuid.bytes[i];
      low = low << 8 | uuid.bytes[i + 8];
    }
    return static_cast<std::size_t>((high ^ (low * 0x9e3779b97f4a7c15ULL)) * 0xff51afd7ed558ccdULL);
  }
};

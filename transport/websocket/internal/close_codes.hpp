#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "bus/base/error.hpp"
#include "bus/base/timer.hpp"

namespace sharingbus::transport::internal {

/// The peer's Close frame had no code (RFC 6455, §7.4.1).
inline constexpr std::uint16_t kNoCloseCode = 1005;
inline constexpr std::uint16_t kNormalClose = 1000;

/// What a stream that ends with `error` says to its peer.
[[nodiscard]] std::uint16_t close_code_of(const Error& error) noexcept;
/// The text that goes with it: as much of the error's as fits into a Close frame, whole characters of UTF-8.
[[nodiscard]] std::string close_text_of(const Error& error);

struct CloseMeaning {
  /// Nothing: the peer closed in good order.
  Error error;
  /// How long the peer wants to be left alone.
  Duration retry_after{};
};
/// What a peer's code means here.
[[nodiscard]] CloseMeaning meaning_of(std::uint16_t code, std::string_view reason, std::string_view peer);

}  // namespace sharingbus::transport::internal

#pragma once

#include <cstdint>
#include <cstring>

#include <absl/numeric/int128.h>

#include "bus/base/uuid.hpp"

namespace sharingbus::internal {

// What hashes of keys that peers choose are made of: a multiplication for two words, each mixed with a secret of the
// table's own, so that nobody chooses whom he collides with.

[[nodiscard]] inline std::uint64_t fold(std::uint64_t left, std::uint64_t right) noexcept {
  const absl::uint128 product = absl::uint128(left) * right;
  return absl::Uint128High64(product) ^ absl::Uint128Low64(product);
}

[[nodiscard]] inline std::uint64_t secret_word() {
  std::uint64_t word = 0;
  // The half with fewer fixed bits.
  std::memcpy(&word, random_uuid().bytes.data() + 8, sizeof word);
  return word;
}

}  // namespace sharingbus::internal

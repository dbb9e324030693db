#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <utility>

#include <absl/hash/hash.h>
#include <absl/strings/string_view.h>

namespace sharingbus::internal {

/// Hashes of index keys. Absl's mix is seeded anew by every process: a peer may choose its id, but not whom it collides
/// with.
///
/// Strings, looked up by views; absl's own default takes only its own type of view.
struct MatchTextHash {
  using is_transparent = void;
  std::size_t operator()(std::string_view text) const noexcept {
    return absl::HashOf(absl::string_view(text.data(), text.size()));
  }
};

/// Two strings, looked up by two views.
using MatchTextPair = std::pair<std::string_view, std::string_view>;
struct MatchPairHash {
  using is_transparent = void;
  std::size_t operator()(const MatchTextPair& key) const noexcept {
    return absl::HashOf(MatchTextHash{}(key.first), MatchTextHash{}(key.second));
  }
};
struct MatchPairEqual {
  using is_transparent = void;
  bool operator()(const MatchTextPair& left, const MatchTextPair& right) const noexcept { return left == right; }
};

}  // namespace sharingbus::internal

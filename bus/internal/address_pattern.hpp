#pragma once

#include <string>
#include <string_view>

namespace sharingbus::internal {

/// Takes the first token off `rest`, with its dot. `more` tells whether a dot, and so another token, followed.
inline std::string_view next_address_token(std::string_view& rest, bool& more) noexcept {
  const std::size_t dot = rest.find('.');
  more = dot != std::string_view::npos;
  const std::string_view token = rest.substr(0, dot);
  rest.remove_prefix(more ? dot + 1 : rest.size());
  return token;
}

/// What is wrong with a pattern, e.g. `> must be the last token`; empty when nothing is.
[[nodiscard]] std::string address_pattern_error(std::string_view pattern);

/// Whether a valid pattern has wildcards, and so is no plain equality.
[[nodiscard]] bool has_address_wildcard(std::string_view pattern) noexcept;

/// Whether `address` matches a valid pattern. A wildcard takes an empty token like any other.
[[nodiscard]] bool address_matches(std::string_view pattern, std::string_view address) noexcept;

}  // namespace sharingbus::internal

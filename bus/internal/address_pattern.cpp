#include "bus/internal/address_pattern.hpp"

#include "bus/filter.hpp"

namespace sharingbus::internal {

std::string address_pattern_error(std::string_view pattern) {
  std::size_t tokens = 0;
  for (bool more = true; more;) {
    const std::string_view token = next_address_token(pattern, more);
    if (token.empty()) return "an address pattern has no empty tokens";
    if (token.size() > 1 && token.find_first_of("*>") != std::string_view::npos) {
      return "a wildcard in an address pattern is a token of its own";
    }
    if (token == ">" && more) return "> must be the last token of an address pattern";
    if (++tokens > Filter::kAddressTokensMax) {
      return "an address pattern has at most " + std::to_string(Filter::kAddressTokensMax) + " tokens";
    }
  }
  return {};
}

bool has_address_wildcard(std::string_view pattern) noexcept {
  return pattern.find_first_of("*>") != std::string_view::npos;
}

bool address_matches(std::string_view pattern, std::string_view address) noexcept {
  for (;;) {
    bool more_pattern = false;
    bool more_address = false;
    const std::string_view wanted = next_address_token(pattern, more_pattern);
    if (wanted == ">") return true;
    const std::string_view token = next_address_token(address, more_address);
    if (wanted != "*" && wanted != token) return false;
    if (!more_pattern || !more_address) return more_pattern == more_address;
  }
}

}  // namespace sharingbus::internal

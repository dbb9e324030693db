#include "connector/identity.hpp"

#include <algorithm>

namespace sharingbus::connector {

std::string sanitize_identifier(std::string_view identifier) {
  std::string text(identifier);
  std::replace_if(
      text.begin(), text.end(),
      [](char c) { return c == '.' || c == ':' || c == ' ' || c == '\t' || c == '\n'; }, '-');
  return text;
}

std::string to_string(const Address& address) {
  return address.tenant + "." + address.type + "." + address.instance;
}

std::string to_arn(const Address& address) {
  return "matrix:" + address.tenant + ":" + address.type + ":" + address.instance;
}

Address sanitized(const Address& address) {
  return {sanitize_identifier(address.tenant), sanitize_identifier(address.type),
          sanitize_identifier(address.instance)};
}

Result<Address> parse_address(std::string_view text) {
  const auto first = text.find('.');
  const auto second = first == std::string_view::npos ? first : text.find('.', first + 1);
  const bool three_parts = second != std::string_view::npos && text.find('.', second + 1) == std::string_view::npos;
  if (!three_parts || first == 0 || second == first + 1 || second + 1 == text.size()) {
    return Error(errc::invalid_argument, "address '" + std::string(text) + "' is not tenant.type.instance");
  }
  return Address{std::string(text.substr(0, first)), std::string(text.substr(first + 1, second - first - 1)),
                 std::string(text.substr(second + 1))};
}

}  // namespace sharingbus::connector

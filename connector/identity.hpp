#pragma once

#include <compare>
#include <string>
#include <string_view>

#include "bus/base/result.hpp"

namespace sharingbus::connector {

/// An identifier as it may stand in an address: each `.`, `:`, space, tab and line feed becomes `-`, the rest stays.
/// (protocol-connector §4.1.)
[[nodiscard]] std::string sanitize_identifier(std::string_view identifier);

/// Who a connector instance is; text `tenant.type.instance`. A value; may hold raw or sanitised identifiers, the owner
/// says which.
struct Address {
  std::string tenant;
  std::string type;
  std::string instance;

  auto operator<=>(const Address&) const = default;
};

/// `tenant.type.instance`
[[nodiscard]] std::string to_string(const Address& address);
/// `matrix:tenant:type:instance`
[[nodiscard]] std::string to_arn(const Address& address);
/// All three identifiers sanitised.
[[nodiscard]] Address sanitized(const Address& address);
/// Exactly three parts, none empty. Errors: `invalid_argument`, naming the text.
[[nodiscard]] Result<Address> parse_address(std::string_view text);

}  // namespace sharingbus::connector

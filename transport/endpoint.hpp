#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "bus/base/result.hpp"

namespace sharingbus::transport {

/// Where to dial or listen; a value. Text: `scheme://host:port`, IPv6 literals in brackets, or `unix:PATH`.
struct Endpoint {
  /// `grpc`, `grpcs`, `ws`, `wss`, `tcp`, `unix`, `memory`.
  std::string scheme;
  /// Of `unix`: the path, absolute or relative.
  std::string host;
  /// 0 when listening: any free port. Schemes without ports keep 0.
  std::uint16_t port = 0;

  bool operator==(const Endpoint&) const = default;
};

/// `host:port`, IPv6 literals in brackets; `host` alone for schemes without ports, the path for `unix`.
[[nodiscard]] std::string authority(const Endpoint& endpoint);
[[nodiscard]] std::string to_string(const Endpoint& endpoint);

/// Reads a URL, or `host[:port]`, which means gRPC (TLS when the port is 443). `http` and `https` are other spellings
/// of `ws` and `wss`. Default ports: grpc 50061, grpcs and wss 443, ws 80; tcp has none and needs one. Surrounding
/// blanks, and a path, are ignored. `unix:PATH` and `unix:///PATH` are taken as they stand, nothing in them is escaped;
/// a path has 1 to 107 bytes and no control characters.
/// Errors: `invalid_endpoint`, naming the text and what is wrong with it. (protocol-connector §6.3.)
[[nodiscard]] Result<Endpoint> parse_endpoint(std::string_view text);

}  // namespace sharingbus::transport

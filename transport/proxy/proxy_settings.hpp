#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "bus/base/result.hpp"
#include "transport/endpoint.hpp"

namespace sharingbus::transport {

/// An HTTP proxy that opens connections for others (CONNECT, RFC 9110 §9.3.6). A value.
struct Proxy {
  /// TLS between us and the proxy; what goes through the tunnel has its own, end to end.
  bool tls = false;
  std::string host;
  std::uint16_t port = 3128;
  /// Sent as Basic authorisation when either is not empty; as written, without percent-decoding.
  std::string user;
  std::string password;

  bool operator==(const Proxy&) const = default;
};

/// `http://host:port` or `https://…`, without the password: for messages and logs.
[[nodiscard]] std::string to_string(const Proxy& proxy);

/// Reads `http://[user[:password]@]host[:port]` or `https://…`; the port is 3128 unless given. Errors:
/// `invalid_endpoint`, naming what is wrong but never the password.
[[nodiscard]] Result<Proxy> parse_proxy(std::string_view text);

/// Which proxy to take for what, in the words of the usual environment variables. Blank means not set. A value.
/// (protocol-connector §2.4.)
struct ProxySettings {
  /// Chosen by the user for this program; wins over the three below.
  std::string proxy;
  std::string https_proxy;
  std::string http_proxy;
  std::string all_proxy;
  /// Hosts that are reached directly, whatever else is set: a list with commas of `*`, `host`, `suffix`, `.suffix` or
  /// `*.suffix`; a port after a host is ignored. Upper and lower case are alike.
  std::string no_proxy;

  /// `STUDIO_PROXY`, `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY`, `NO_PROXY`; all but the first in lower case too, where
  /// upper case wins.
  [[nodiscard]] static ProxySettings from_environment();
};

struct ProxyChoice {
  /// Nothing: go directly.
  std::optional<Proxy> proxy;
  /// Why a variable was ignored; empty when none was. To be logged by the caller.
  std::string warning;
};

/// How to get to `target`. For one with TLS (`grpcs`, `wss`) the order is https_proxy, http_proxy, all_proxy; for
/// others http_proxy, all_proxy. A variable that is no proxy's URL is ignored with a warning; a bad
/// `ProxySettings::proxy` is an error (`invalid_endpoint`), because somebody chose it.
[[nodiscard]] Result<ProxyChoice> choose_proxy(const Endpoint& target, const ProxySettings& settings);

}  // namespace sharingbus::transport

#include "transport/endpoint.hpp"

#include <algorithm>
#include <array>
#include <cctype>
#include <charconv>

#include <boost/url/parse.hpp>
#include <boost/url/url_view.hpp>

namespace sharingbus::transport {
namespace {

struct Scheme {
  std::string_view spelled;
  std::string_view name;
  std::uint16_t default_port;
};
constexpr std::array kSchemes{Scheme{"grpc", "grpc", 50061}, Scheme{"grpcs", "grpcs", 443}, Scheme{"ws", "ws", 80},
                              Scheme{"http", "ws", 80},      Scheme{"wss", "wss", 443},     Scheme{"https", "wss", 443},
                              Scheme{"tcp", "tcp", 0},       Scheme{"memory", "memory", 0}};

constexpr std::string_view kUnix = "unix:";
/// What fits into a socket's address.
constexpr std::size_t kMaxUnixPath = 107;

std::string_view trimmed(std::string_view text) {
  while (!text.empty() && std::isspace(static_cast<unsigned char>(text.front())) != 0)
    text.remove_prefix(1);
  while (!text.empty() && std::isspace(static_cast<unsigned char>(text.back())) != 0)
    text.remove_suffix(1);
  return text;
}

std::string lower(std::string_view text) {
  std::string result(text);
  for (char& c : result)
    c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return result;
}

/// Letters, digits and `-._`: what needs no escaping anywhere, so that an endpoint's text always reads back.
bool plain(std::string_view host) {
  return std::all_of(host.begin(), host.end(), [](char c) {
    return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '-' || c == '.' || c == '_';
  });
}

Error invalid(std::string_view text, std::string_view why) {
  return {errc::invalid_endpoint, "endpoint '" + std::string(text) + "': " + std::string(why)};
}

/// `path` is what stands behind `unix:`.
Result<Endpoint> parse_unix(std::string_view text, std::string_view path) {
  if (path.starts_with("//")) {
    path.remove_prefix(2);
    if (!path.starts_with('/')) return invalid(text, "expected unix:PATH or unix:///PATH");
  }
  while (path.starts_with("//"))
    path.remove_prefix(1);
  if (path.empty()) return invalid(text, "has no path");
  if (path.size() > kMaxUnixPath) {
    return invalid(text, "the path has " + std::to_string(path.size()) + " bytes, and a socket's at most 107");
  }
  if (std::any_of(path.begin(), path.end(), [](unsigned char c) { return std::iscntrl(c) != 0; })) {
    return invalid(text, "the path has control characters");
  }
  return Endpoint{"unix", std::string(path), 0};
}

}  // namespace

std::string authority(const Endpoint& endpoint) {
  if (endpoint.scheme == "unix") return endpoint.host;
  std::string text = endpoint.host.find(':') != std::string::npos ? "[" + endpoint.host + "]" : endpoint.host;
  if (endpoint.scheme != "memory") text += ":" + std::to_string(endpoint.port);
  return text;
}

std::string to_string(const Endpoint& endpoint) {
  return endpoint.scheme + (endpoint.scheme == "unix" ? ":" : "://") + authority(endpoint);
}

Result<Endpoint> parse_endpoint(std::string_view text) {
  const std::string_view input = trimmed(text);
  if (input.empty()) return invalid(text, "is empty");
  if (lower(input.substr(0, kUnix.size())) == kUnix) return parse_unix(text, input.substr(kUnix.size()));
  const bool has_scheme = input.find("://") != std::string_view::npos;
  const std::string url_text = has_scheme ? std::string(input) : "grpc://" + std::string(input);
  const auto url = boost::urls::parse_uri(url_text);
  if (!url) return invalid(text, "does not parse; expected scheme://host:port or host:port");

  // Boost 1.81 lets "host:-1" pass, as an empty port and a path that touches it.
  const auto path = url->encoded_path();
  if (!path.empty() && path.front() != '/') return invalid(text, "port is not in 0..65535");

  const std::string spelled = lower({url->scheme().data(), url->scheme().size()});
  const Scheme* scheme = nullptr;
  for (const Scheme& known : kSchemes) {
    if (known.spelled == spelled) scheme = &known;
  }
  if (scheme == nullptr) return invalid(text, "unknown scheme '" + spelled + "'");
  if (url->has_userinfo()) return invalid(text, "user info is not allowed");

  Endpoint endpoint;
  endpoint.scheme = scheme->name;
  const bool ipv6 = url->host_type() == boost::urls::host_type::ipv6;
  endpoint.host = ipv6 ? std::string(url->host_ipv6_address().to_string()) : url->host();
  if (endpoint.host.empty()) return invalid(text, "has no host");
  if (!ipv6 && !plain(endpoint.host)) return invalid(text, "the host is no name and no address");
  endpoint.port = scheme->default_port;
  if (url->has_port() && !url->port().empty()) {
    if (scheme->name == "memory") return invalid(text, "this scheme has no ports");
    // Not by port_number, which in Boost 1.81 wraps around.
    const std::string_view digits(url->port().data(), url->port().size());
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), endpoint.port);
    if (error != std::errc() || end != digits.data() + digits.size()) return invalid(text, "port is not in 0..65535");
  }
  if (scheme->name == "tcp" && (!url->has_port() || url->port().empty())) return invalid(text, "tcp needs a port");
  if (!has_scheme && endpoint.port == 443) endpoint.scheme = "grpcs";
  return endpoint;
}

}  // namespace sharingbus::transport

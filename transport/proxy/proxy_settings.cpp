#include "transport/proxy/proxy_settings.hpp"

#include <array>
#include <cstdlib>
#include <initializer_list>
#include <utility>
#include <vector>

#include <absl/strings/ascii.h>
#include <absl/strings/match.h>
#include <absl/strings/str_split.h>
#include <absl/strings/strip.h>
#include <boost/url/parse.hpp>
#include <boost/url/url_view.hpp>

namespace sharingbus::transport {
namespace {

Error bad_proxy(std::string_view why) {
  return {errc::invalid_endpoint, "proxy: " + std::string(why)};
}

std::string variable(std::initializer_list<const char*> names) {
  for (const char* name : names) {
    const char* const value = std::getenv(name);
    if (value == nullptr) continue;
    const absl::string_view trimmed = absl::StripAsciiWhitespace(value);
    if (!trimmed.empty()) return std::string(trimmed);
  }
  return {};
}

bool blank(const std::string& text) {
  return absl::StripAsciiWhitespace(text).empty();
}

/// `entry` without a port: `host:80` and `[::1]:80`, but not an address like `::1`.
std::string_view without_port(std::string_view entry) {
  if (!entry.empty() && entry.front() == '[') {
    const auto end = entry.find(']');
    return end == std::string_view::npos ? entry : entry.substr(1, end - 1);
  }
  const auto colon = entry.find(':');
  if (colon == std::string_view::npos || entry.find(':', colon + 1) != std::string_view::npos) return entry;
  return entry.substr(0, colon);
}

bool goes_direct(const std::string& host, const std::string& no_proxy) {
  for (const absl::string_view listed : absl::StrSplit(no_proxy, ',')) {
    const absl::string_view trimmed = absl::StripAsciiWhitespace(listed);
    std::string_view entry = without_port({trimmed.data(), trimmed.size()});
    if (entry == "*") return true;
    if (entry.substr(0, 2) == "*.") entry.remove_prefix(1);
    while (!entry.empty() && entry.front() == '.')
      entry.remove_prefix(1);
    if (entry.empty()) continue;
    const absl::string_view wanted(entry.data(), entry.size());
    if (absl::EqualsIgnoreCase(host, wanted)) return true;
    const bool longer = host.size() > entry.size() && host[host.size() - entry.size() - 1] == '.';
    if (longer && absl::EndsWithIgnoreCase(host, wanted)) return true;
  }
  return false;
}

}  // namespace

std::string to_string(const Proxy& proxy) {
  return (proxy.tls ? "https://" : "http://") + authority({"tcp", proxy.host, proxy.port});
}

Result<Proxy> parse_proxy(std::string_view text) {
  const absl::string_view trimmed = absl::StripAsciiWhitespace({text.data(), text.size()});
  std::string input(trimmed);
  // What stands before the @ is taken as it is written, so it must not have to be a valid part of a URL.
  std::string userinfo;
  const auto scheme_end = input.find("://");
  if (scheme_end == std::string::npos) return bad_proxy("expected http://host:port or https://host:port");
  const auto authority_begin = scheme_end + 3;
  const auto authority_end = input.find_first_of("/?#", authority_begin);
  const auto at = input.substr(0, authority_end).rfind('@');
  if (at != std::string::npos && at >= authority_begin) {
    userinfo = input.substr(authority_begin, at - authority_begin);
    input.erase(authority_begin, at + 1 - authority_begin);
  }
  const auto url = boost::urls::parse_uri(input);
  if (!url) return bad_proxy("does not parse; expected http://host:port or https://host:port");
  const std::string scheme = absl::AsciiStrToLower({url->scheme().data(), url->scheme().size()});
  if (scheme != "http" && scheme != "https")
    return bad_proxy("unknown scheme '" + scheme + "'; expected http or https");

  // The rest is what any endpoint obeys.
  const auto endpoint = parse_endpoint((scheme == "https" ? "wss" : "ws") + input.substr(scheme_end));
  if (!endpoint) return bad_proxy("'" + input + "' has no usable host and port");
  Proxy proxy;
  proxy.tls = scheme == "https";
  proxy.host = endpoint->host;
  if (url->has_port() && !url->port().empty()) proxy.port = endpoint->port;
  if (proxy.port == 0) return bad_proxy("port 0 cannot be dialled");
  const auto colon = userinfo.find(':');
  proxy.user = userinfo.substr(0, colon);
  if (colon != std::string::npos) proxy.password = userinfo.substr(colon + 1);
  return proxy;
}

ProxySettings ProxySettings::from_environment() {
  ProxySettings settings;
  settings.proxy = variable({"STUDIO_PROXY"});
  settings.https_proxy = variable({"HTTPS_PROXY", "https_proxy"});
  settings.http_proxy = variable({"HTTP_PROXY", "http_proxy"});
  settings.all_proxy = variable({"ALL_PROXY", "all_proxy"});
  settings.no_proxy = variable({"NO_PROXY", "no_proxy"});
  return settings;
}

Result<ProxyChoice> choose_proxy(const Endpoint& target, const ProxySettings& settings) {
  ProxyChoice choice;
  if (goes_direct(target.host, settings.no_proxy)) return choice;
  if (!blank(settings.proxy)) {
    auto proxy = parse_proxy(settings.proxy);
    if (!proxy) return proxy.error();
    choice.proxy = std::move(*proxy);
    return choice;
  }
  const bool tls = target.scheme == "grpcs" || target.scheme == "wss";
  const std::array<std::pair<const char*, const std::string*>, 3> variables{{
      {"HTTPS_PROXY", tls ? &settings.https_proxy : nullptr},
      {"HTTP_PROXY", &settings.http_proxy},
      {"ALL_PROXY", &settings.all_proxy},
  }};
  for (const auto& [name, value] : variables) {
    if (value == nullptr || blank(*value)) continue;
    auto proxy = parse_proxy(*value);
    if (proxy) {
      choice.proxy = std::move(*proxy);
    } else {
      choice.warning = std::string(name) + " is ignored: " + proxy.error().message;
    }
    return choice;
  }
  return choice;
}

}  // namespace sharingbus::transport

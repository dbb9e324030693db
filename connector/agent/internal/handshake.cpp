#include "connector/agent/internal/handshake.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdint>
#include <string_view>

namespace sharingbus::connector::internal {
namespace {

using namespace transport::agent_messages;  // NOLINT(google-build-using-namespace): the subject's vocabulary

/// `major.minor.patch`; what is missing or no number is 0.
std::array<std::uint32_t, 3> version_of(std::string_view text) {
  std::array<std::uint32_t, 3> version{};
  const char* at = text.data();
  const char* const end = at + text.size();
  for (std::uint32_t& part : version) {
    const auto [next, code] = std::from_chars(at, end, part);
    if (code != std::errc{} || next == end || *next != '.') break;
    at = next + 1;
  }
  return version;
}

bool writes_old_msgpack(const HandshakeRequest& request) {
  constexpr std::array<std::uint32_t, 3> kNamed = {0, 6, 45};
  const bool published = request.proxy_id == "zentinel-proxy" || request.proxy_id == "sentinel-proxy";
  return published && version_of(request.proxy_version) < kNamed;
}

Encoding encoding_for(const HandshakeRequest& request, const AgentServerOptions& options) {
  const bool msgpack = options.msgpack && !writes_old_msgpack(request);
  for (const std::string& offered : request.supported_encodings) {
    if (offered == "msgpack" && msgpack) return Encoding::msgpack;
    if (offered == "json") break;
  }
  return Encoding::json;
}

}  // namespace

HandshakeResponse negotiate(const HandshakeRequest& request, const AgentServerOptions& options, bool over_uds) {
  HandshakeResponse response;
  response.capabilities = options.capabilities;
  const auto& versions = request.supported_versions;
  if (!versions.empty() && std::find(versions.begin(), versions.end(), kAgentProtocolVersion) == versions.end()) {
    const std::uint32_t newest = *std::max_element(versions.begin(), versions.end());
    response.error = "Protocol version mismatch: expected " + std::to_string(kAgentProtocolVersion) + ", got " +
                     std::to_string(newest);
    return response;
  }
  response.protocol_version = kAgentProtocolVersion;
  response.success = true;
  if (over_uds) response.encoding = encoding_for(request, options);
  return response;
}

}  // namespace sharingbus::connector::internal

#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>

#include "bus/base/result.hpp"
#include "transport/messages/agent_messages.hpp"

// The frames of Unix sockets: a type byte and a payload.
namespace sharingbus::transport::internal {

enum class UdsType : std::uint8_t {
  handshake_request = 0x01,   ///< Reverse: the agent's registration.
  handshake_response = 0x02,  ///< Reverse: the proxy's answer to it.
  request_headers = 0x10,
  request_body_chunk = 0x11,
  response_headers = 0x12,
  response_body_chunk = 0x13,
  request_complete = 0x14,
  websocket_frame = 0x15,
  guardrail_inspect = 0x16,
  configure = 0x17,
  agent_response = 0x20,
  health_status = 0x30,
  metrics_report = 0x31,
  config_update_request = 0x32,
  flow_control = 0x33,
  cancel = 0x40,
  ping = 0x41,
  pong = 0x42,
};

/// One frame with `message`, whose kind Unix sockets carry.
template <class Message>
[[nodiscard]] Result<std::string> encode_uds(const Message& message, agent_messages::Encoding encoding);

/// A date, a time of day with milliseconds, and `Z`.
using Rfc3339 = std::array<char, 24>;
/// In UTC.
[[nodiscard]] Rfc3339 to_rfc3339(std::uint64_t unix_ms);
/// Unix time in milliseconds of RFC 3339 text, or of decimal milliseconds, which some peers write; 0 for other text.
[[nodiscard]] std::uint64_t from_rfc3339(std::string_view text);

}  // namespace sharingbus::transport::internal

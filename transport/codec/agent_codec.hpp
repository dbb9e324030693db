#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "bus/base/result.hpp"
#include "transport/messages/agent_messages.hpp"

/// The agent protocol's wire forms. All functions: any thread; bytes never make them throw, only running out of memory
/// does.
///
/// - gRPC: one serialized `ProxyToAgent` or `AgentToProxy` of `proto/zentinel/agent/v2` a message.
/// - Unix sockets: frames of `LengthPrefixFraming`, here without their length: a type byte, then JSON or MessagePack.
///   Handshakes, registrations, cancels, pings and pongs are JSON whatever was negotiated. Readers tell the two apart
///   by the first byte, so they need not know what was negotiated, and read structs as maps and as arrays alike.
namespace sharingbus::transport {

enum class AgentWire : std::uint8_t {
  protobuf,  ///< gRPC.
  json,      ///< Unix sockets.
  msgpack,   ///< Unix sockets.
};

/// The largest frame on a Unix socket, type byte included; what `StreamLimits` of such links are to be.
inline constexpr std::size_t kAgentUdsFrameBytesMax = 16 * 1024 * 1024;
/// The largest message that published peers accept over gRPC.
inline constexpr std::size_t kAgentGrpcMessageBytesMax = 4 * 1024 * 1024;

/// The paths that both names of the protocol's package give the one streaming method. Dial the first, and the second
/// when that is `unimplemented`; serve both.
inline constexpr const char* kAgentMethod = "/zentinel.agent.v2.AgentServiceV2/ProcessStream";
inline constexpr const char* kAgentMethodLegacy = "/sentinel.agent.v2.AgentServiceV2/ProcessStream";

/// One frame with `message`, which is any message struct of `agent_messages.hpp`, or one of its two variants. Text
/// that is not UTF-8 is repaired with U+FFFD. Size limits belong to the link.
///
/// Errors: `serialization_failed` for a message that the wire cannot carry (log messages and health configuration over
/// Unix sockets, registrations over gRPC, `InvalidMessage` and `UnknownMessage` over any), and for `…_json` that is not
/// JSON where JSON is to go into JSON; it names the field.
template <class Message>
[[nodiscard]] Result<std::string> encode_agent_message(const Message& message, AgentWire wire);

/// What an agent reads: one gRPC message, or one frame of a Unix socket.
///
/// Errors: `malformed_frame` for what no sender of the protocol makes, naming the message and the field; where the
/// message tells its request, it is an `InvalidMessage` instead. The last of equal keys counts, unknown keys are
/// skipped, unknown kinds are `UnknownMessage`. More than 64 levels of nesting are malformed.
[[nodiscard]] Result<agent_messages::ProxyToAgent> decode_for_agent_protobuf(std::string_view bytes);
[[nodiscard]] Result<agent_messages::ProxyToAgent> decode_for_agent_uds(std::string_view frame);
/// The same for what a proxy reads.
[[nodiscard]] Result<agent_messages::AgentToProxy> decode_for_proxy_protobuf(std::string_view bytes);
[[nodiscard]] Result<agent_messages::AgentToProxy> decode_for_proxy_uds(std::string_view frame);

}  // namespace sharingbus::transport

#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "bus/base/result.hpp"
#include "transport/frame_decoder.hpp"
#include "transport/messages/agent_messages.hpp"

/// The agent protocol's two other gRPC methods, which known proxies do not call: `ProcessEvent` carries one message
/// each way, in the form of the stream's; `ControlStream` has envelopes of its own.
namespace sharingbus::transport {

inline constexpr const char* kAgentEventMethod = "/zentinel.agent.v2.AgentServiceV2/ProcessEvent";
inline constexpr const char* kAgentEventMethodLegacy = "/sentinel.agent.v2.AgentServiceV2/ProcessEvent";
inline constexpr const char* kAgentControlMethod = "/zentinel.agent.v2.AgentServiceV2/ControlStream";
inline constexpr const char* kAgentControlMethodLegacy = "/sentinel.agent.v2.AgentServiceV2/ControlStream";

/// What came of a `ConfigUpdateRequest` on a control stream.
struct ConfigUpdateResponse {
  std::string request_id;
  bool accepted = false;
  std::optional<std::string> error;
  std::uint64_t timestamp_ms = 0;
};

/// Whoever serves the stream takes on nothing new, and is done with what it has after `duration_ms` at the latest.
struct DrainRequest {
  enum class Reason : std::uint8_t { unspecified, config_reload, maintenance, health_check_failed, manual };
  std::uint64_t duration_ms = 0;
  Reason reason = Reason::unspecified;
  std::uint64_t timestamp_ms = 0;
};

/// Whoever serves the stream goes away; the last message.
struct ShutdownRequest {
  enum class Reason : std::uint8_t { unspecified, graceful, immediate, config_reload, upgrade };
  Reason reason = Reason::unspecified;
  std::uint64_t grace_period_ms = 0;
  std::uint64_t timestamp_ms = 0;
};

/// One `ProxyControl` with it. Text that is not UTF-8 is repaired.
[[nodiscard]] std::string encode_agent_control(const ConfigUpdateResponse& response);
[[nodiscard]] std::string encode_agent_control(const DrainRequest& request);
[[nodiscard]] std::string encode_agent_control(const ShutdownRequest& request);
/// One `AgentControl`: health, metrics, configuration requests and log lines. Errors as for
/// `decode_for_proxy_protobuf`.
[[nodiscard]] Result<agent_messages::AgentToProxy> decode_agent_control(std::string_view bytes);

/// Decodes the messages of who dials a control stream; all are of the control class. Any thread.
class AgentControlDecoder final : public FrameDecoder {
 public:
  [[nodiscard]] Result<DecodedFrame> decode(std::string_view frame, const StreamIdentity& stream) const override;
};

}  // namespace sharingbus::transport

#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "transport/frame_decoder.hpp"
#include "transport/messages/agent_messages.hpp"

namespace sharingbus::transport {

/// Who reads the frames.
enum class AgentRole : std::uint8_t { proxy, agent };
/// What carries them.
enum class AgentCarrier : std::uint8_t { grpc, uds };

/// Decodes the messages of the agent protocol into one event per struct of `transport/messages/agent_messages.hpp`, of
/// the struct's `event_kind`.
///
/// What an agent has to answer (`RequestHeaders`, chunks, …, `Configure`, and an `InvalidMessage` instead of one) costs
/// a request credit; handshakes, cancels and pings, and all that a proxy reads, a control credit.
class AgentFrameDecoder final : public FrameDecoder {
 public:
  AgentFrameDecoder(AgentRole role, AgentCarrier carrier) noexcept : role_(role), carrier_(carrier) {}
  [[nodiscard]] Result<DecodedFrame> decode(std::string_view frame, const StreamIdentity& stream) const override;

 private:
  const AgentRole role_;
  const AgentCarrier carrier_;
};

/// Which credit the message in `event`, read by `role`, cost; nothing when the event holds none of the protocol.
/// O(kinds of messages).
[[nodiscard]] std::optional<FrameClass> agent_frame_class_of(const BusEvent& event, AgentRole role);

}  // namespace sharingbus::transport

#pragma once

#include <cstdlib>
#include <string>
#include <type_traits>
#include <variant>

#include "transport/codec/agent_codec.hpp"
#include "transport/messages/agent_messages.hpp"

/// What the agent protocol's fuzzers share: what a decoder gave encodes on the same wire, and from then on decodes to
/// the same message for ever.
namespace sharingbus::transport::agent_fuzz {

/// Fractions in JSON text may come back one unit in the last place off, so messages that may have some are compared by
/// their kind on Unix sockets.
template <class Message>
inline constexpr bool kMayHaveFractions =
    std::is_same_v<Message, agent_messages::HandshakeRequest> || std::is_same_v<Message, agent_messages::Configure> ||
    std::is_same_v<Message, agent_messages::AgentResponse> || std::is_same_v<Message, agent_messages::HealthStatus> ||
    std::is_same_v<Message, agent_messages::MetricsReport> ||
    std::is_same_v<Message, agent_messages::ConfigUpdateRequest> ||
    std::is_same_v<Message, agent_messages::ReverseRegistration>;

/// Messages are compared by their bytes, as NaN differs from itself.
template <class Any, class Decode>
void check_round_trip(const Any& message, AgentWire wire, Decode decode) {
  using namespace agent_messages;
  if (std::holds_alternative<InvalidMessage>(message) || std::holds_alternative<UnknownMessage>(message)) return;
  const auto bytes = encode_agent_message(message, wire);
  if (!bytes.has_value()) std::abort();
  const auto again = decode(*bytes);
  if (!again.has_value() || again->index() != message.index()) std::abort();
  const auto bytes_again = encode_agent_message(*again, wire);
  if (!bytes_again.has_value()) std::abort();
  const bool by_kind =
      std::visit([](const auto& held) { return kMayHaveFractions<std::decay_t<decltype(held)>>; }, message);
  if (wire != AgentWire::protobuf && by_kind) return;
  if (*bytes_again != *bytes) std::abort();
}

}  // namespace sharingbus::transport::agent_fuzz

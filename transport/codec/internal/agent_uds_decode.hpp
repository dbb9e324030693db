#pragma once

#include "transport/codec/internal/agent_uds.hpp"
#include "transport/codec/internal/payload_reader.hpp"

// The payload of a frame as the struct of its type. What is wrong is raised, and the struct is then of no use.
namespace sharingbus::transport::internal {

// What an agent reads.
void read_message(const PayloadValue& in, agent_messages::HandshakeRequest& out, Issue& issue);
void read_message(const PayloadValue& in, agent_messages::ReverseRegistrationResponse& out, Issue& issue);
void read_message(const PayloadValue& in, agent_messages::RequestHeaders& out, Issue& issue);
void read_message(const PayloadValue& in, agent_messages::RequestBodyChunk& out, Issue& issue);
void read_message(const PayloadValue& in, agent_messages::ResponseHeaders& out, Issue& issue);
void read_message(const PayloadValue& in, agent_messages::ResponseBodyChunk& out, Issue& issue);
void read_message(const PayloadValue& in, agent_messages::RequestComplete& out, Issue& issue);
void read_message(const PayloadValue& in, agent_messages::WebSocketFrame& out, Issue& issue);
void read_message(const PayloadValue& in, agent_messages::GuardrailInspect& out, Issue& issue);
void read_message(const PayloadValue& in, agent_messages::Configure& out, Issue& issue);
void read_message(const PayloadValue& in, agent_messages::Cancel& out, Issue& issue);
void read_message(const PayloadValue& in, agent_messages::Ping& out, Issue& issue);

// What a proxy reads.
void read_message(const PayloadValue& in, agent_messages::HandshakeResponse& out, Issue& issue);
void read_message(const PayloadValue& in, agent_messages::ReverseRegistration& out, Issue& issue);
void read_message(const PayloadValue& in, agent_messages::AgentResponse& out, Issue& issue);
void read_message(const PayloadValue& in, agent_messages::HealthStatus& out, Issue& issue);
void read_message(const PayloadValue& in, agent_messages::MetricsReport& out, Issue& issue);
void read_message(const PayloadValue& in, agent_messages::ConfigUpdateRequest& out, Issue& issue);
void read_message(const PayloadValue& in, agent_messages::FlowControlSignal& out, Issue& issue);
void read_message(const PayloadValue& in, agent_messages::Pong& out, Issue& issue);

/// The id of the request that an event or an answer belongs to, found without reading the rest; empty when there is
/// none.
[[nodiscard]] std::string id_of_event(const PayloadValue& in);
[[nodiscard]] std::string id_of_answer(const PayloadValue& in);

}  // namespace sharingbus::transport::internal

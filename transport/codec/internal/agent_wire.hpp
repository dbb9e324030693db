#pragma once

#include <string>

#include "transport/messages/agent_messages.hpp"
#include "zentinel/agent/v2/agent.pb.h"

// Field by field between the generated classes and the plain structs.
namespace sharingbus::transport::internal {

namespace agent_wire = zentinel::agent::v2;

// May move bytes out of their argument, whose kind is set. What is out of range becomes an InvalidMessage.
agent_messages::ProxyToAgent from_wire(agent_wire::ProxyToAgent& in);
agent_messages::AgentToProxy from_wire(agent_wire::AgentToProxy& in);

// Fill an empty envelope; text that is not UTF-8 is repaired on the way.
void to_wire(const agent_messages::HandshakeRequest& in, agent_wire::ProxyToAgent& envelope);
void to_wire(const agent_messages::RequestHeaders& in, agent_wire::ProxyToAgent& envelope);
void to_wire(const agent_messages::RequestBodyChunk& in, agent_wire::ProxyToAgent& envelope);
void to_wire(const agent_messages::ResponseHeaders& in, agent_wire::ProxyToAgent& envelope);
void to_wire(const agent_messages::ResponseBodyChunk& in, agent_wire::ProxyToAgent& envelope);
void to_wire(const agent_messages::WebSocketFrame& in, agent_wire::ProxyToAgent& envelope);
void to_wire(const agent_messages::GuardrailInspect& in, agent_wire::ProxyToAgent& envelope);
void to_wire(const agent_messages::RequestComplete& in, agent_wire::ProxyToAgent& envelope);
void to_wire(const agent_messages::Cancel& in, agent_wire::ProxyToAgent& envelope);
void to_wire(const agent_messages::Configure& in, agent_wire::ProxyToAgent& envelope);
void to_wire(const agent_messages::Ping& in, agent_wire::ProxyToAgent& envelope);

void to_wire(const agent_messages::HandshakeResponse& in, agent_wire::AgentToProxy& envelope);
void to_wire(const agent_messages::AgentResponse& in, agent_wire::AgentToProxy& envelope);
void to_wire(const agent_messages::HealthStatus& in, agent_wire::AgentToProxy& envelope);
void to_wire(const agent_messages::MetricsReport& in, agent_wire::AgentToProxy& envelope);
void to_wire(const agent_messages::ConfigUpdateRequest& in, agent_wire::AgentToProxy& envelope);
void to_wire(const agent_messages::FlowControlSignal& in, agent_wire::AgentToProxy& envelope);
void to_wire(const agent_messages::Pong& in, agent_wire::AgentToProxy& envelope);
void to_wire(const agent_messages::LogMessage& in, agent_wire::AgentToProxy& envelope);

}  // namespace sharingbus::transport::internal

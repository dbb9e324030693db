#pragma once

#include "matrix/connectors/v1/connectors.pb.h"
#include "transport/messages/connector_messages.hpp"

// Field by field between the generated classes and the plain structs.
namespace sharingbus::transport::internal {

namespace wire = matrix::connectors::v1;

// May move payload bytes out of their argument.
messages::RegisterRequest from_wire(wire::RegisterConnectorRequest& in);
messages::RegisterResponse from_wire(wire::RegisterConnectorResponse& in);
messages::ExecuteRequest from_wire(wire::ExecuteRequest& in);
messages::ExecuteResponse from_wire(wire::ExecuteResponse& in);
messages::ApprovalNotification from_wire(wire::ApprovalNotification& in);
messages::HeartbeatRequest from_wire(wire::HeartbeatRequest& in);
messages::HeartbeatResponse from_wire(wire::HeartbeatResponse& in);
messages::InvokeRequest from_wire(wire::InvokeCapabilityRequest& in);
messages::InvokeResponse from_wire(wire::InvokeCapabilityResponse& in);
messages::CredentialsIssued from_wire(wire::CredentialsIssued& in);
messages::WebSocketOpenRequest from_wire(wire::WebSocketOpenRequest& in);
messages::WebSocketOpenResponse from_wire(wire::WebSocketOpenResponse& in);
messages::WebSocketFrame from_wire(wire::WebSocketFrame& in);
messages::WebSocketCloseRequest from_wire(wire::WebSocketCloseRequest& in);
messages::MetricsReport from_wire(wire::MetricsReport& in);

// Fill an empty message; text that is not UTF-8 is repaired on the way.
void to_wire(const messages::RegisterRequest& in, wire::StreamMessage& message);
void to_wire(const messages::RegisterResponse& in, wire::StreamMessage& message);
void to_wire(const messages::ExecuteRequest& in, wire::StreamMessage& message);
void to_wire(const messages::ExecuteResponse& in, wire::StreamMessage& message);
void to_wire(const messages::ApprovalNotification& in, wire::StreamMessage& message);
void to_wire(const messages::HeartbeatRequest& in, wire::StreamMessage& message);
void to_wire(const messages::HeartbeatResponse& in, wire::StreamMessage& message);
void to_wire(const messages::InvokeRequest& in, wire::StreamMessage& message);
void to_wire(const messages::InvokeResponse& in, wire::StreamMessage& message);
void to_wire(const messages::CredentialsIssued& in, wire::StreamMessage& message);
void to_wire(const messages::WebSocketOpenRequest& in, wire::StreamMessage& message);
void to_wire(const messages::WebSocketOpenResponse& in, wire::StreamMessage& message);
void to_wire(const messages::WebSocketFrame& in, wire::StreamMessage& message);
void to_wire(const messages::WebSocketCloseRequest& in, wire::StreamMessage& message);
void to_wire(const messages::MetricsReport& in, wire::StreamMessage& message);
void to_wire(const messages::UnknownMessage& in, wire::StreamMessage& message);

}  // namespace sharingbus::transport::internal

#include "transport/codec/internal/connector_wire.hpp"

#include <cstddef>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <google/protobuf/descriptor.h>
#include <google/protobuf/message.h>
#include <google/protobuf/unknown_field_set.h>

#include "transport/codec/utf8.hpp"

namespace sharingbus::transport::internal {

namespace pb = google::protobuf;
using namespace messages;  // NOLINT(google-build-using-namespace): this file exists to convert between the two

namespace {

template <class Enum, class Wire>
Enum to_enum(Wire value) {
  return static_cast<Enum>(static_cast<int>(value));
}

StringMap from_wire(const pb::Map<std::string, std::string>& in) {
  return {in.begin(), in.end()};
}

std::vector<std::string> from_wire(const pb::RepeatedPtrField<std::string>& in) {
  return {in.begin(), in.end()};
}

template <class Enum>
std::vector<Enum> enums_from_wire(const pb::RepeatedField<int>& in) {
  std::vector<Enum> out;
  out.reserve(static_cast<std::size_t>(in.size()));
  for (const int value : in)
    out.push_back(static_cast<Enum>(value));
  return out;
}

void to_wire(const StringMap& in, pb::Map<std::string, std::string>& out) {
  for (const auto& [key, value] : in)
    out[to_valid_utf8(key)] = to_valid_utf8(value);
}

void to_wire(const std::vector<std::string>& in, pb::RepeatedPtrField<std::string>& out) {
  for (const auto& value : in)
    *out.Add() = to_valid_utf8(value);
}

template <class Enum>
void to_wire(const std::vector<Enum>& in, pb::RepeatedField<int>& out) {
  for (const Enum value : in)
    out.Add(static_cast<int>(value));
}

TaskTypeSchema from_wire(const wire::TaskTypeSchema& in) {
  return {.task_type_id = in.task_type_id(),
          .name = in.name(),
          .description = in.description(),
          .category = in.category(),
          .icon = in.icon(),
          .input_schema_json = in.input_schema_json(),
          .output_schema_json = in.output_schema_json()};
}

void to_wire(const TaskTypeSchema& in, wire::TaskTypeSchema& out) {
  out.set_task_type_id(to_valid_utf8(in.task_type_id));
  out.set_name(to_valid_utf8(in.name));
  out.set_description(to_valid_utf8(in.description));
  out.set_category(to_valid_utf8(in.category));
  out.set_icon(to_valid_utf8(in.icon));
  out.set_input_schema_json(to_valid_utf8(in.input_schema_json));
  out.set_output_schema_json(to_valid_utf8(in.output_schema_json));
}

InstanceMetadata from_wire(const wire::InstanceMetadata& in) {
  return {.display_name = in.display_name(), .tags = from_wire(in.tags()), .metadata = from_wire(in.metadata())};
}

void to_wire(const InstanceMetadata& in, wire::InstanceMetadata& out) {
  out.set_display_name(to_valid_utf8(in.display_name));
  to_wire(in.tags, *out.mutable_tags());
  to_wire(in.metadata, *out.mutable_metadata());
}

ConnectorCapabilities from_wire(const wire::ConnectorCapabilities& in) {
  ConnectorCapabilities out{.connector_type = in.connector_type(),
                            .version = in.version(),
                            .supported_encodings = enums_from_wire<PayloadEncoding>(in.supported_encodings()),
                            .behaviors = enums_from_wire<ConnectorBehavior>(in.behaviors()),
                            .metadata = from_wire(in.metadata()),
                            .task_types = {}};
  out.task_types.reserve(static_cast<std::size_t>(in.task_types_size()));
  for (const auto& task_type : in.task_types())
    out.task_types.push_back(from_wire(task_type));
  return out;
}

void to_wire(const ConnectorCapabilities& in, wire::ConnectorCapabilities& out) {
  out.set_connector_type(to_valid_utf8(in.connector_type));
  out.set_version(to_valid_utf8(in.version));
  to_wire(in.supported_encodings, *out.mutable_supported_encodings());
  to_wire(in.behaviors, *out.mutable_behaviors());
  to_wire(in.metadata, *out.mutable_metadata());
  for (const auto& task_type : in.task_types)
    to_wire(task_type, *out.add_task_types());
}

OidcConfig from_wire(const wire::OidcConfig& in) {
  return {.authorization_endpoint = in.authorization_endpoint(),
          .token_endpoint = in.token_endpoint(),
          .issuer = in.issuer(),
          .client_id = in.client_id(),
          .scopes = from_wire(in.scopes()),
          .userinfo_endpoint = in.userinfo_endpoint()};
}

void to_wire(const OidcConfig& in, wire::OidcConfig& out) {
  out.set_authorization_endpoint(to_valid_utf8(in.authorization_endpoint));
  out.set_token_endpoint(to_valid_utf8(in.token_endpoint));
  out.set_issuer(to_valid_utf8(in.issuer));
  out.set_client_id(to_valid_utf8(in.client_id));
  to_wire(in.scopes, *out.mutable_scopes());
  out.set_userinfo_endpoint(to_valid_utf8(in.userinfo_endpoint));
}

}  // namespace

RegisterRequest from_wire(wire::RegisterConnectorRequest& in) {
  return {.tenant_id = in.tenant_id(),
          .connector_type = in.connector_type(),
          .instance_id = in.instance_id(),
          .capabilities = from_wire(in.capabilities()),
          .jwt_token = in.jwt_token(),
          .session_token = in.session_token(),
          .scope = to_enum<ConnectorScope>(in.scope()),
          .instance_metadata = from_wire(in.instance_metadata())};
}

void to_wire(const RegisterRequest& in, wire::StreamMessage& message) {
  auto& out = *message.mutable_register_request();
  out.set_tenant_id(to_valid_utf8(in.tenant_id));
  out.set_connector_type(to_valid_utf8(in.connector_type));
  out.set_instance_id(to_valid_utf8(in.instance_id));
  to_wire(in.capabilities, *out.mutable_capabilities());
  out.set_jwt_token(to_valid_utf8(in.jwt_token));
  out.set_session_token(to_valid_utf8(in.session_token));
  out.set_scope(to_enum<wire::ConnectorScope>(in.scope));
  to_wire(in.instance_metadata, *out.mutable_instance_metadata());
}

RegisterResponse from_wire(wire::RegisterConnectorResponse& in) {
  return {.success = in.success(),
          .address = in.address(),
          .error = in.error(),
          .connector_arn = in.connector_arn(),
          .status = to_enum<RegistrationStatus>(in.status()),
          .session_token = in.session_token(),
          .oidc_config = in.has_oidc_config() ? std::optional(from_wire(in.oidc_config())) : std::nullopt};
}

void to_wire(const RegisterResponse& in, wire::StreamMessage& message) {
  auto& out = *message.mutable_register_response();
  out.set_success(in.success);
  out.set_address(to_valid_utf8(in.address));
  out.set_error(to_valid_utf8(in.error));
  out.set_connector_arn(to_valid_utf8(in.connector_arn));
  out.set_status(to_enum<wire::RegistrationStatus>(in.status));
  out.set_session_token(to_valid_utf8(in.session_token));
  if (in.oidc_config) to_wire(*in.oidc_config, *out.mutable_oidc_config());
}

ExecuteRequest from_wire(wire::ExecuteRequest& in) {
  return {.request_id = std::move(*in.mutable_request_id()),
          .payload = std::move(*in.mutable_payload()),
          .payload_encoding = to_enum<PayloadEncoding>(in.payload_encoding()),
          .context = from_wire(in.context()),
          .capability_id = in.capability_id()};
}

void to_wire(const ExecuteRequest& in, wire::StreamMessage& message) {
  auto& out = *message.mutable_execute_request();
  out.set_request_id(to_valid_utf8(in.request_id));
  out.set_payload(in.payload);
  out.set_payload_encoding(to_enum<wire::PayloadEncoding>(in.payload_encoding));
  to_wire(in.context, *out.mutable_context());
  out.set_capability_id(to_valid_utf8(in.capability_id));
}

ExecuteResponse from_wire(wire::ExecuteResponse& in) {
  return {.request_id = std::move(*in.mutable_request_id()),
          .success = in.success(),
          .payload = std::move(*in.mutable_payload()),
          .payload_encoding = to_enum<PayloadEncoding>(in.payload_encoding()),
          .error = in.error(),
          .duration_ms = in.duration_ms()};
}

void to_wire(const ExecuteResponse& in, wire::StreamMessage& message) {
  auto& out = *message.mutable_execute_response();
  out.set_request_id(to_valid_utf8(in.request_id));
  out.set_success(in.success);
  out.set_payload(in.payload);
  out.set_payload_encoding(to_enum<wire::PayloadEncoding>(in.payload_encoding));
  out.set_error(to_valid_utf8(in.error));
  out.set_duration_ms(in.duration_ms);
}

ApprovalNotification from_wire(wire::ApprovalNotification& in) {
  return {.gateway_id = in.gateway_id(), .status = to_enum<RegistrationStatus>(in.status()), .message = in.message()};
}

void to_wire(const ApprovalNotification& in, wire::StreamMessage& message) {
  auto& out = *message.mutable_approval_notification();
  out.set_gateway_id(to_valid_utf8(in.gateway_id));
  out.set_status(to_enum<wire::RegistrationStatus>(in.status));
  out.set_message(to_valid_utf8(in.message));
}

HeartbeatRequest from_wire(wire::HeartbeatRequest& in) {
  return {.gateway_id = in.gateway_id(), .timestamp_ms = in.timestamp_ms()};
}

void to_wire(const HeartbeatRequest& in, wire::StreamMessage& message) {
  auto& out = *message.mutable_heartbeat_request();
  out.set_gateway_id(to_valid_utf8(in.gateway_id));
  out.set_timestamp_ms(in.timestamp_ms);
}

HeartbeatResponse from_wire(wire::HeartbeatResponse& in) {
  return {.gateway_id = in.gateway_id(), .timestamp_ms = in.timestamp_ms(), .should_reconnect = in.should_reconnect()};
}

void to_wire(const HeartbeatResponse& in, wire::StreamMessage& message) {
  auto& out = *message.mutable_heartbeat_response();
  out.set_gateway_id(to_valid_utf8(in.gateway_id));
  out.set_timestamp_ms(in.timestamp_ms);
  out.set_should_reconnect(in.should_reconnect);
}

InvokeRequest from_wire(wire::InvokeCapabilityRequest& in) {
  return {.request_id = in.request_id(),
          .target_address = in.target_address(),
          .capability_id = in.capability_id(),
          .payload = std::move(*in.mutable_payload()),
          .payload_encoding = to_enum<PayloadEncoding>(in.payload_encoding()),
          .context = from_wire(in.context()),
          .timeout_ms = in.timeout_ms(),
          .fire_and_forget = in.fire_and_forget()};
}

void to_wire(const InvokeRequest& in, wire::StreamMessage& message) {
  auto& out = *message.mutable_invoke_request();
  out.set_request_id(to_valid_utf8(in.request_id));
  out.set_target_address(to_valid_utf8(in.target_address));
  out.set_capability_id(to_valid_utf8(in.capability_id));
  out.set_payload(in.payload);
  out.set_payload_encoding(to_enum<wire::PayloadEncoding>(in.payload_encoding));
  to_wire(in.context, *out.mutable_context());
  out.set_timeout_ms(in.timeout_ms);
  out.set_fire_and_forget(in.fire_and_forget);
}

InvokeResponse from_wire(wire::InvokeCapabilityResponse& in) {
  return {.request_id = in.request_id(),
          .success = in.success(),
          .payload = std::move(*in.mutable_payload()),
          .payload_encoding = to_enum<PayloadEncoding>(in.payload_encoding()),
          .error = in.error(),
          .duration_ms = in.duration_ms(),
          .context = from_wire(in.context()),
          .error_details = from_wire(in.error_details())};
}

void to_wire(const InvokeResponse& in, wire::StreamMessage& message) {
  auto& out = *message.mutable_invoke_response();
  out.set_request_id(to_valid_utf8(in.request_id));
  out.set_success(in.success);
  out.set_payload(in.payload);
  out.set_payload_encoding(to_enum<wire::PayloadEncoding>(in.payload_encoding));
  out.set_error(to_valid_utf8(in.error));
  out.set_duration_ms(in.duration_ms);
  to_wire(in.context, *out.mutable_context());
  to_wire(in.error_details, *out.mutable_error_details());
}

CredentialsIssued from_wire(wire::CredentialsIssued& in) {
  return {.gateway_id = in.gateway_id(),
          .keycloak_url = in.keycloak_url(),
          .realm = in.realm(),
          .timestamp_ms = in.timestamp_ms(),
          .message = in.message(),
          .ott = in.ott(),
          .register_url = in.register_url(),
          .matrix_api_url = in.matrix_api_url()};
}

void to_wire(const CredentialsIssued& in, wire::StreamMessage& message) {
  auto& out = *message.mutable_credentials_issued();
  out.set_gateway_id(to_valid_utf8(in.gateway_id));
  out.set_keycloak_url(to_valid_utf8(in.keycloak_url));
  out.set_realm(to_valid_utf8(in.realm));
  out.set_timestamp_ms(in.timestamp_ms);
  out.set_message(to_valid_utf8(in.message));
  out.set_ott(to_valid_utf8(in.ott));
  out.set_register_url(to_valid_utf8(in.register_url));
  out.set_matrix_api_url(to_valid_utf8(in.matrix_api_url));
}

WebSocketOpenRequest from_wire(wire::WebSocketOpenRequest& in) {
  return {.connection_id = in.connection_id(),
          .path = in.path(),
          .query_string = in.query_string(),
          .headers = from_wire(in.headers())};
}

void to_wire(const WebSocketOpenRequest& in, wire::StreamMessage& message) {
  auto& out = *message.mutable_ws_open_request();
  out.set_connection_id(to_valid_utf8(in.connection_id));
  out.set_path(to_valid_utf8(in.path));
  out.set_query_string(to_valid_utf8(in.query_string));
  to_wire(in.headers, *out.mutable_headers());
}

WebSocketOpenResponse from_wire(wire::WebSocketOpenResponse& in) {
  return {.connection_id = in.connection_id(), .success = in.success(), .error = in.error()};
}

void to_wire(const WebSocketOpenResponse& in, wire::StreamMessage& message) {
  auto& out = *message.mutable_ws_open_response();
  out.set_connection_id(to_valid_utf8(in.connection_id));
  out.set_success(in.success);
  out.set_error(to_valid_utf8(in.error));
}

WebSocketFrame from_wire(wire::WebSocketFrame& in) {
  return {.connection_id = in.connection_id(),
          .frame_type = to_enum<WebSocketFrameType>(in.frame_type()),
          .data = std::move(*in.mutable_data())};
}

void to_wire(const WebSocketFrame& in, wire::StreamMessage& message) {
  auto& out = *message.mutable_ws_frame();
  out.set_connection_id(to_valid_utf8(in.connection_id));
  out.set_frame_type(to_enum<wire::WebSocketFrameType>(in.frame_type));
  out.set_data(in.data);
}

WebSocketCloseRequest from_wire(wire::WebSocketCloseRequest& in) {
  return {.connection_id = in.connection_id(), .code = in.code(), .reason = in.reason()};
}

void to_wire(const WebSocketCloseRequest& in, wire::StreamMessage& message) {
  auto& out = *message.mutable_ws_close_request();
  out.set_connection_id(to_valid_utf8(in.connection_id));
  out.set_code(in.code);
  out.set_reason(to_valid_utf8(in.reason));
}

MetricsReport from_wire(wire::MetricsReport& in) {
  return {.connector_arn = in.connector_arn(),
          .timestamp_ms = in.timestamp_ms(),
          .requests_received = in.requests_received(),
          .requests_processed = in.requests_processed(),
          .requests_failed = in.requests_failed(),
          .avg_latency_ms = in.avg_latency_ms(),
          .total_duration_ms = in.total_duration_ms(),
          .bytes_received = in.bytes_received(),
          .bytes_sent = in.bytes_sent(),
          .reconnection_attempts = in.reconnection_attempts(),
          .total_disconnects = in.total_disconnects(),
          .successful_reconnects = in.successful_reconnects(),
          .uptime_seconds = in.uptime_seconds(),
          .last_request_at_ms = in.last_request_at_ms(),
          .custom_metrics = {in.custom_metrics().begin(), in.custom_metrics().end()}};
}

void to_wire(const MetricsReport& in, wire::StreamMessage& message) {
  auto& out = *message.mutable_metrics_report();
  out.set_connector_arn(to_valid_utf8(in.connector_arn));
  out.set_timestamp_ms(in.timestamp_ms);
  out.set_requests_received(in.requests_received);
  out.set_requests_processed(in.requests_processed);
  out.set_requests_failed(in.requests_failed);
  out.set_avg_latency_ms(in.avg_latency_ms);
  out.set_total_duration_ms(in.total_duration_ms);
  out.set_bytes_received(in.bytes_received);
  out.set_bytes_sent(in.bytes_sent);
  out.set_reconnection_attempts(in.reconnection_attempts);
  out.set_total_disconnects(in.total_disconnects);
  out.set_successful_reconnects(in.successful_reconnects);
  out.set_uptime_seconds(in.uptime_seconds);
  out.set_last_request_at_ms(in.last_request_at_ms);
  for (const auto& [name, value] : in.custom_metrics)
    (*out.mutable_custom_metrics())[to_valid_utf8(name)] = value;
}

void to_wire(const UnknownMessage& in, wire::StreamMessage& message) {
  const auto number = static_cast<int>(in.field_number);
  const bool writable = !in.empty && in.field_number > 0 && in.field_number <= pb::FieldDescriptor::kMaxNumber &&
                        wire::StreamMessage::descriptor()->FindFieldByNumber(number) == nullptr;
  if (writable) message.GetReflection()->MutableUnknownFields(&message)->AddLengthDelimited(number);
}

}  // namespace sharingbus::transport::internal

#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <variant>
#include <vector>

/// The messages of the connector protocol as plain structs. Adapters decode bytes into them, the bus carries them as
/// events, and nobody who uses them sees Protobuf. `proto/matrix/connectors/v1/connectors.proto` has the wire form.
///
/// - Values are as on the wire: nothing is validated or defaulted here, and a default-constructed message is what an
///   empty one decodes to.
/// - Enums are open: a value that a newer peer invented is carried through unchanged, so a `switch` over one needs a
///   way out for values it does not list.
/// - Every message has an `event_name`, its type's name on the bus, in logs and in filter text.
/// - Plain values: any thread may use its own copy.
namespace sharingbus::transport::messages {

/// How the bytes of a payload are to be read.
enum class PayloadEncoding : int {
  unspecified = 0,
  json = 1,
  raw_bytes = 2,
  arrow_ipc = 3,
  json_lines = 4,  ///< One JSON value per line; empty lines do not count.
  protobuf = 5,
  msgpack = 6,
  parquet = 7,
};

/// What role a connector plays.
enum class ConnectorBehavior : int {
  unspecified = 0,
  source = 1,
  sink = 2,
  tool = 3,
  pubsub = 4,
  request_response = 5,
  app = 6,
};

enum class ConnectorScope : int {
  unspecified = 0,  ///< Infer from the tenant id: an empty one means global.
  tenant = 1,
  global = 2,
};

enum class RegistrationStatus : int {
  unspecified = 0,
  pending = 1,
  approved = 2,
  rejected = 3,
};

enum class WebSocketFrameType : int {
  unspecified = 0,
  text = 1,
  binary = 2,
  ping = 3,
  pong = 4,
};

using StringMap = std::map<std::string, std::string>;

// Parts of messages.

/// One capability of a tool connector.
struct TaskTypeSchema {
  std::string task_type_id;
  std::string name;
  std::string description;
  std::string category;
  std::string icon;
  std::string input_schema_json;   ///< JSON Schema as text, `{}` when there is none.
  std::string output_schema_json;  ///< As above.

  bool operator==(const TaskTypeSchema&) const = default;
};

struct InstanceMetadata {
  std::string display_name;
  std::vector<std::string> tags;
  StringMap metadata;  ///< Keys that start with `sdk.` describe the connector's runtime.

  bool operator==(const InstanceMetadata&) const = default;
};

struct ConnectorCapabilities {
  std::string connector_type;  ///< As the connector spells it; the one in RegisterRequest is sanitised.
  std::string version;
  std::vector<PayloadEncoding> supported_encodings;
  std::vector<ConnectorBehavior> behaviors;
  StringMap metadata;  ///< Tools carry their schemas as JSON text under `tool_schemas`.
  std::vector<TaskTypeSchema> task_types;

  bool operator==(const ConnectorCapabilities&) const = default;
};

/// Where a desktop connector sends its user to log in (OAuth with PKCE).
struct OidcConfig {
  std::string authorization_endpoint;
  std::string token_endpoint;
  std::string issuer;
  std::string client_id;
  std::vector<std::string> scopes;
  std::string userinfo_endpoint;

  bool operator==(const OidcConfig&) const = default;
};

// Registration.

/// First message of a stream, from the connector; repeated on the same stream once credentials were issued.
/// RegisterConnectorRequest on the wire.
struct RegisterRequest {
  static constexpr std::string_view event_name = "connector.register_request";

  std::string tenant_id;       ///< Sanitised: `.` `:` space, tab and line feed become `-`.
  std::string connector_type;  ///< Sanitised.
  std::string instance_id;     ///< Sanitised.
  ConnectorCapabilities capabilities;
  std::string jwt_token;      ///< Empty when unknown. Both tokens may be present.
  std::string session_token;  ///< Empty when unknown.
  ConnectorScope scope = ConnectorScope::unspecified;
  InstanceMetadata instance_metadata;

  bool operator==(const RegisterRequest&) const = default;
};

/// The gateway's answer to RegisterRequest. RegisterConnectorResponse on the wire.
struct RegisterResponse {
  static constexpr std::string_view event_name = "connector.register_response";

  bool success = false;       ///< Also true while approval is pending: `status` says so.
  std::string address;        ///< Deprecated in the protocol; kept for old peers.
  std::string error;          ///< Why not, when `success` is false.
  std::string connector_arn;  ///< `matrix:tenant:type:instance`; gateways fill it in failures too.
  RegistrationStatus status = RegistrationStatus::unspecified;
  std::string session_token;
  std::optional<OidcConfig> oidc_config;

  bool operator==(const RegisterResponse&) const = default;
};

struct ApprovalNotification {
  static constexpr std::string_view event_name = "connector.approval_notification";

  std::string gateway_id;  ///< `tenant.type.instance`; demultiplexing key where streams share a socket.
  RegistrationStatus status = RegistrationStatus::unspecified;
  std::string message;

  bool operator==(const ApprovalNotification&) const = default;
};

/// Tells an approved connector where to exchange its one-time token for credentials.
struct CredentialsIssued {
  static constexpr std::string_view event_name = "connector.credentials_issued";

  std::string gateway_id;  ///< As in ApprovalNotification.
  std::string keycloak_url;
  std::string realm;
  std::int64_t timestamp_ms = 0;  ///< Unix time.
  std::string message;
  std::string ott;  ///< One-time token. A secret: never logged.
  std::string register_url;
  std::string matrix_api_url;

  bool operator==(const CredentialsIssued&) const = default;
};

// Liveness, both directions.

struct HeartbeatRequest {
  static constexpr std::string_view event_name = "connector.heartbeat_request";

  std::string gateway_id;
  std::int64_t timestamp_ms = 0;  ///< Sender's Unix time; only the sender may interpret the echo.

  bool operator==(const HeartbeatRequest&) const = default;
};

struct HeartbeatResponse {
  static constexpr std::string_view event_name = "connector.heartbeat_response";

  std::string gateway_id;         ///< Echo of the request.
  std::int64_t timestamp_ms = 0;  ///< Echo of the request.
  bool should_reconnect = false;

  bool operator==(const HeartbeatResponse&) const = default;
};

// Work.

/// Gateway to connector.
struct ExecuteRequest {
  static constexpr std::string_view event_name = "connector.execute_request";

  std::string request_id;
  std::string payload;  ///< Bytes. Some connectors cannot parse an empty one: send `{}`.
  PayloadEncoding payload_encoding = PayloadEncoding::unspecified;
  StringMap context;          ///< Well-known keys: `connector_arn`, `tenant_id`, `user_id`, …
  std::string capability_id;  ///< Empty: the connector as a whole.

  bool operator==(const ExecuteRequest&) const = default;
};

/// Connector to gateway; `request_id` is that of the ExecuteRequest.
struct ExecuteResponse {
  static constexpr std::string_view event_name = "connector.execute_response";

  std::string request_id;
  bool success = false;
  std::string payload;  ///< Bytes.
  PayloadEncoding payload_encoding = PayloadEncoding::unspecified;
  std::string error;  ///< Display text, when `success` is false.
  std::int64_t duration_ms = 0;

  bool operator==(const ExecuteResponse&) const = default;
};

/// A connector asks the gateway to run a capability of another one. InvokeCapabilityRequest on the wire.
struct InvokeRequest {
  static constexpr std::string_view event_name = "connector.invoke_request";

  std::string request_id;
  std::string target_address;  ///< `tenant.type.instance`
  std::string capability_id;
  std::string payload;  ///< Bytes.
  PayloadEncoding payload_encoding = PayloadEncoding::unspecified;
  StringMap context;
  std::int32_t timeout_ms = 0;
  bool fire_and_forget = false;  ///< True: no InvokeResponse is expected.

  bool operator==(const InvokeRequest&) const = default;
};

/// InvokeCapabilityResponse on the wire; `request_id` is that of the InvokeRequest.
struct InvokeResponse {
  static constexpr std::string_view event_name = "connector.invoke_response";

  std::string request_id;
  bool success = false;
  std::string payload;  ///< Bytes. Not empty: `payload_encoding` must be set, or old clients fail to decode it.
  PayloadEncoding payload_encoding = PayloadEncoding::unspecified;
  std::string error;
  std::int64_t duration_ms = 0;
  StringMap context;
  StringMap error_details;

  bool operator==(const InvokeResponse&) const = default;
};

// WebSocket connections that a gateway proxies to app connectors. `connection_id` ties the four together.

/// Gateway to connector. A connector without a handler for it may never answer.
struct WebSocketOpenRequest {
  static constexpr std::string_view event_name = "connector.websocket_open_request";

  std::string connection_id;
  std::string path;
  std::string query_string;
  StringMap headers;

  bool operator==(const WebSocketOpenRequest&) const = default;
};

struct WebSocketOpenResponse {
  static constexpr std::string_view event_name = "connector.websocket_open_response";

  std::string connection_id;
  bool success = false;
  std::string error;

  bool operator==(const WebSocketOpenResponse&) const = default;
};

/// Both directions.
struct WebSocketFrame {
  static constexpr std::string_view event_name = "connector.websocket_frame";

  std::string connection_id;
  WebSocketFrameType frame_type = WebSocketFrameType::unspecified;
  std::string data;  ///< Bytes, for text frames too.

  bool operator==(const WebSocketFrame&) const = default;
};

struct WebSocketCloseRequest {
  static constexpr std::string_view event_name = "connector.websocket_close_request";

  std::string connection_id;
  std::int32_t code = 0;  ///< Close code of RFC 6455.
  std::string reason;

  bool operator==(const WebSocketCloseRequest&) const = default;
};

// Metrics.

/// Connector to gateway. Counters run since the connector's process started.
struct MetricsReport {
  static constexpr std::string_view event_name = "connector.metrics_report";

  std::string connector_arn;
  std::int64_t timestamp_ms = 0;  ///< Unix time.
  std::int64_t requests_received = 0;
  std::int64_t requests_processed = 0;
  std::int64_t requests_failed = 0;
  double avg_latency_ms = 0;  ///< total_duration_ms / requests_processed, 0 when there were none.
  double total_duration_ms = 0;
  std::int64_t bytes_received = 0;
  std::int64_t bytes_sent = 0;
  std::int64_t reconnection_attempts = 0;
  std::int64_t total_disconnects = 0;
  std::int64_t successful_reconnects = 0;
  double uptime_seconds = 0;
  std::int64_t last_request_at_ms = 0;  ///< Unix time, 0 when there was none.
  std::map<std::string, double> custom_metrics;

  bool operator==(const MetricsReport&) const = default;
};

/// A message that this version cannot name. Receivers skip it, so that newer peers can talk to older ones.
struct UnknownMessage {
  static constexpr std::string_view event_name = "connector.unknown_message";

  bool empty = true;               ///< True: the stream message had no field at all.
  std::uint32_t field_number = 0;  ///< Otherwise the first field number seen; its content is not kept.

  bool operator==(const UnknownMessage&) const = default;
};

using ConnectorMessage = std::variant<RegisterRequest, RegisterResponse, ExecuteRequest, ExecuteResponse,
                                      ApprovalNotification, HeartbeatRequest, HeartbeatResponse, InvokeRequest,
                                      InvokeResponse, CredentialsIssued, WebSocketOpenRequest, WebSocketOpenResponse,
                                      WebSocketFrame, WebSocketCloseRequest, MetricsReport, UnknownMessage>;

/// The `event_name` of whatever `message` holds.
[[nodiscard]] inline std::string_view message_name(const ConnectorMessage& message) {
  return std::visit([](const auto& held) { return std::decay_t<decltype(held)>::event_name; }, message);
}

}  // namespace sharingbus::transport::messages

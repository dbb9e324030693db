#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <variant>
#include <vector>

#include "bus/event.hpp"

/// The messages of the agent protocol, version 2, as plain structs, one set for every wire: Protobuf over gRPC, JSON
/// and MessagePack over Unix sockets. A proxy asks an agent about each request; the agent answers with decisions.
/// `proto/zentinel/agent/v2/agent.proto` has one wire form, `transport/codec/agent_codec.hpp` all of them.
///
/// - Bytes (`data`) are raw here; base64 is the wire's business. JSON of any shape is kept as text (`…_json`).
/// - Enums are open, as in `connector_messages.hpp`, and numbered as in Protobuf; so are the reasons of `Cancel`.
/// - A field that a wire cannot carry says so; it has its default after that wire.
/// - Plain values: any thread may use its own copy.
namespace sharingbus::transport::agent_messages {

using StringMap = std::map<std::string, std::string>;

/// The only protocol version that is spoken.
inline constexpr std::uint32_t kAgentProtocolVersion = 2;

enum class EventType : int {
  unspecified = 0,
  request_headers = 1,
  request_body_chunk = 2,
  response_headers = 3,
  response_body_chunk = 4,
  request_complete = 5,
  websocket_frame = 6,
  guardrail_inspect = 7,
  configure = 8,
};

enum class HealthState : int { unspecified = 0, healthy = 1, degraded = 2, draining = 3, unhealthy = 4 };

enum class FlowAction : int { unspecified = 0, pause = 1, resume = 2, update_capacity = 3 };

enum class CancelReason : int {
  unspecified = 0,
  client_disconnect = 1,
  timeout = 2,
  blocked_by_agent = 3,
  upstream_error = 4,
  proxy_shutdown = 5,
  manual = 6,
};

enum class LogLevel : int { unspecified = 0, debug = 1, info = 2, warn = 3, error = 4 };

enum class GuardrailContentType : int {
  unspecified = 0,
  prompt = 1,
  response = 2,
  system = 3,
  tool_call = 4,
  tool_result = 5,
};

/// What a WebSocket frame is. gRPC has no continuation: it carries 0.
enum class FrameType : int { continuation = 0, text = 1, binary = 2, ping = 3, pong = 4, close = 5 };

/// How the events of a Unix socket connection are written.
enum class Encoding : std::uint8_t { json, msgpack };

// Parts of messages.

struct AgentFeatures {
  bool streaming_body = false;
  bool websocket = false;
  bool guardrails = false;
  bool config_push = false;
  bool metrics_export = false;
  std::uint32_t concurrent_requests = 0;
  bool cancellation = false;
  bool flow_control = false;
  bool health_reporting = false;

  bool operator==(const AgentFeatures&) const = default;
};

struct AgentLimits {
  std::uint64_t max_body_size = 10'485'760;
  std::uint32_t max_concurrency = 100;
  std::uint64_t preferred_chunk_size = 65'536;
  std::optional<std::uint64_t> max_memory{};              ///< gRPC only.
  std::optional<std::uint64_t> max_processing_time_ms{};  ///< gRPC only.

  bool operator==(const AgentLimits&) const = default;
};

/// gRPC only.
struct HealthConfig {
  std::uint32_t report_interval_ms = 10'000;
  bool include_load_metrics = true;
  bool include_resource_metrics = false;

  bool operator==(const HealthConfig&) const = default;
};

struct AgentCapabilities {
  std::uint32_t protocol_version = kAgentProtocolVersion;  ///< gRPC only.
  std::string agent_id{};
  std::string name{};
  std::string version{};
  std::vector<EventType> supported_events{};
  AgentFeatures features{};
  AgentLimits limits{};
  HealthConfig health_config{};

  bool operator==(const AgentCapabilities&) const = default;
};

struct Header {
  std::string name{};
  std::string value{};

  bool operator==(const Header&) const = default;
};

/// Header lines. Over Unix sockets lines of one name come together, in their order; the order of names is free.
using Headers = std::vector<Header>;

struct HeaderOp {
  enum class Action : std::uint8_t { set, add, remove };

  Action action = Action::set;
  std::string name{};
  std::string value{};  ///< Empty for `remove`.

  bool operator==(const HeaderOp&) const = default;
};

struct RequestMetadata {
  std::string correlation_id{};  ///< What answers, chunks and cancels of this request are matched by.
  std::string request_id{};
  std::string client_ip{};
  std::uint16_t client_port = 0;
  std::optional<std::string> server_name{};
  std::string protocol{};
  std::optional<std::string> tls_version{};
  std::optional<std::string> tls_cipher{};  ///< Unix sockets only.
  std::optional<std::string> route_id{};
  std::optional<std::string> upstream_id{};
  std::uint64_t timestamp_ms = 0;  ///< Unix time. Over Unix sockets RFC 3339.
  std::optional<std::string> traceparent{};

  bool operator==(const RequestMetadata&) const = default;
};

struct Allow {
  bool operator==(const Allow&) const = default;
};
struct Block {
  std::uint16_t status = 403;
  std::optional<std::string> body{};
  Headers headers{};

  bool operator==(const Block&) const = default;
};
struct Redirect {
  std::string url{};
  std::uint16_t status = 302;

  bool operator==(const Redirect&) const = default;
};
struct Challenge {
  std::string challenge_type{};
  StringMap params{};

  bool operator==(const Challenge&) const = default;
};
using Decision = std::variant<Allow, Block, Redirect, Challenge>;

struct AuditMetadata {
  std::vector<std::string> tags{};
  std::vector<std::string> rule_ids{};
  std::optional<float> confidence{};
  std::vector<std::string> reason_codes{};
  /// Values are JSON text. The correlation id that Unix sockets carry here is not in it.
  StringMap custom_json{};

  bool operator==(const AuditMetadata&) const = default;
};

/// Unix sockets only.
struct BodyMutation {
  std::optional<std::string> data{};  ///< Bytes instead of the chunk's; empty: drop the chunk; nothing: let it pass.
  std::uint32_t chunk_index = 0;      ///< That of the event.

  bool operator==(const BodyMutation&) const = default;
};

/// Unix sockets only.
struct WebSocketDecision {
  enum class Action : std::uint8_t { allow, drop, close };

  Action action = Action::allow;
  std::uint16_t code = 0;  ///< Of `close`, as is the reason.
  std::string reason{};

  bool operator==(const WebSocketDecision&) const = default;
};

struct LoadMetrics {
  std::uint32_t in_flight = 0;
  std::uint32_t queue_depth = 0;
  float avg_latency_ms = 0;
  float p50_latency_ms = 0;
  float p95_latency_ms = 0;
  float p99_latency_ms = 0;
  std::uint64_t requests_processed = 0;
  std::uint64_t requests_rejected = 0;
  std::uint64_t requests_timed_out = 0;

  bool operator==(const LoadMetrics&) const = default;
};

struct ResourceMetrics {
  std::optional<float> cpu_percent{};
  std::optional<std::uint64_t> memory_bytes{};
  std::optional<std::uint64_t> memory_limit{};
  std::optional<std::uint32_t> active_threads{};
  std::optional<std::uint32_t> open_fds{};
  std::optional<std::uint32_t> fd_limit{};
  std::optional<std::uint32_t> connections{};

  bool operator==(const ResourceMetrics&) const = default;
};

struct CounterMetric {
  std::string name{};
  std::optional<std::string> help{};
  StringMap labels{};
  std::uint64_t value = 0;

  bool operator==(const CounterMetric&) const = default;
};
struct GaugeMetric {
  std::string name{};
  std::optional<std::string> help{};
  StringMap labels{};
  double value = 0;  ///< JSON carries finite ones only: others are left out.

  bool operator==(const GaugeMetric&) const = default;
};
struct HistogramBucket {
  double le = 0;  ///< May be +infinity.
  std::uint64_t count = 0;

  bool operator==(const HistogramBucket&) const = default;
};
struct HistogramMetric {
  std::string name{};
  std::optional<std::string> help{};
  StringMap labels{};
  double sum = 0;
  std::uint64_t count = 0;
  std::vector<HistogramBucket> buckets{};  ///< As the agent counts them; Prometheus wants them cumulative.

  bool operator==(const HistogramMetric&) const = default;
};

struct RuleDefinition {
  std::string id{};
  std::int32_t priority = 0;
  std::string definition_json{};
  bool enabled = false;
  std::optional<std::string> description{};
  std::vector<std::string> tags{};

  bool operator==(const RuleDefinition&) const = default;
};

struct RequestReload {
  bool operator==(const RequestReload&) const = default;
};
struct RuleUpdate {
  std::string rule_set{};
  std::vector<RuleDefinition> rules{};
  std::vector<std::string> remove_rules{};

  bool operator==(const RuleUpdate&) const = default;
};
struct ListUpdate {
  std::string list_id{};
  std::vector<std::string> add{};
  std::vector<std::string> remove{};

  bool operator==(const ListUpdate&) const = default;
};
struct RestartRequired {
  std::string reason{};
  std::uint64_t grace_period_ms = 0;

  bool operator==(const RestartRequired&) const = default;
};
struct ConfigError {
  std::string error{};
  std::optional<std::string> field{};

  bool operator==(const ConfigError&) const = default;
};
using ConfigUpdate = std::variant<RequestReload, RuleUpdate, ListUpdate, RestartRequired, ConfigError>;

// From proxy to agent.

/// A connection's first message.
struct HandshakeRequest {
  static constexpr std::string_view event_name = "agent.handshake_request";
  static constexpr EventKind event_kind = EventKind::registration;

  std::vector<std::uint32_t> supported_versions{};
  std::string proxy_id{};
  std::string proxy_version{};
  std::string config_json{};                       ///< Configuration of the agent; empty: none.
  std::vector<std::string> supported_encodings{};  ///< Unix sockets only, in the order of preference; empty: JSON.

  bool operator==(const HandshakeRequest&) const = default;
};

struct RequestHeaders {
  static constexpr std::string_view event_name = "agent.request_headers";
  static constexpr EventKind event_kind = EventKind::request;

  RequestMetadata metadata{};
  std::string method{};
  std::string uri{};
  std::string http_version{};  ///< gRPC only.
  Headers headers{};

  bool operator==(const RequestHeaders&) const = default;
};

struct RequestBodyChunk {
  static constexpr std::string_view event_name = "agent.request_body_chunk";
  static constexpr EventKind event_kind = EventKind::request;

  std::string correlation_id{};
  std::uint32_t chunk_index = 0;
  std::string data{};  ///< Bytes.
  bool is_last = false;
  std::optional<std::uint64_t> total_size{};
  std::uint64_t bytes_transferred = 0;
  std::uint64_t proxy_buffer_available = 0;  ///< gRPC only.
  std::uint64_t timestamp_ms = 0;            ///< gRPC only.

  bool operator==(const RequestBodyChunk&) const = default;
};

struct ResponseHeaders {
  static constexpr std::string_view event_name = "agent.response_headers";
  static constexpr EventKind event_kind = EventKind::request;

  std::string correlation_id{};
  std::uint16_t status = 0;
  Headers headers{};

  bool operator==(const ResponseHeaders&) const = default;
};

struct ResponseBodyChunk {
  static constexpr std::string_view event_name = "agent.response_body_chunk";
  static constexpr EventKind event_kind = EventKind::request;

  std::string correlation_id{};
  std::uint32_t chunk_index = 0;
  std::string data{};  ///< Bytes.
  bool is_last = false;
  std::optional<std::uint64_t> total_size{};
  std::uint64_t bytes_transferred = 0;
  std::uint64_t proxy_buffer_available = 0;  ///< gRPC only.
  std::uint64_t timestamp_ms = 0;            ///< gRPC only.

  bool operator==(const ResponseBodyChunk&) const = default;
};

struct RequestComplete {
  static constexpr std::string_view event_name = "agent.request_complete";
  static constexpr EventKind event_kind = EventKind::request;

  std::string correlation_id{};
  std::uint16_t status = 0;
  std::uint64_t duration_ms = 0;
  std::uint64_t request_body_size = 0;
  std::uint64_t response_body_size = 0;
  std::uint32_t upstream_attempts = 1;    ///< Unix sockets only.
  std::optional<std::string> upstream{};  ///< gRPC only.
  bool from_cache = false;                ///< gRPC only.
  std::optional<std::string> error{};

  bool operator==(const RequestComplete&) const = default;
};

struct WebSocketFrame {
  static constexpr std::string_view event_name = "agent.websocket_frame";
  static constexpr EventKind event_kind = EventKind::request;

  std::string correlation_id{};
  FrameType frame_type = FrameType::text;
  std::string data{};  ///< Bytes.
  bool client_to_server = false;
  std::uint64_t frame_index = 0;  ///< Unix sockets only, as all that follow.
  bool fin = true;
  std::optional<std::string> route_id{};
  std::string client_ip{};

  bool operator==(const WebSocketFrame&) const = default;
};

/// A text to look at. The two wires have little in common here.
struct GuardrailInspect {
  static constexpr std::string_view event_name = "agent.guardrail_inspect";
  static constexpr EventKind event_kind = EventKind::request;

  std::string correlation_id{};
  std::string content{};
  std::optional<std::string> model{};
  std::string inspection_type{};          ///< Unix sockets only: `prompt_injection`, `pii_detection`.
  std::vector<std::string> categories{};  ///< Unix sockets only.
  std::optional<std::string> route_id{};  ///< Unix sockets only.
  StringMap metadata{};                   ///< Unix sockets only.
  GuardrailContentType content_type = GuardrailContentType::unspecified;  ///< gRPC only.
  std::string context_json{};                                             ///< gRPC only.

  bool operator==(const GuardrailInspect&) const = default;
};

/// A new configuration. Over Unix sockets answered as any event; over gRPC there is no answer: the `Pong` to a `Ping`
/// behind it says that it was accepted, the end of the stream that it was not.
struct Configure {
  static constexpr std::string_view event_name = "agent.configure";
  static constexpr EventKind event_kind = EventKind::request;

  std::string correlation_id{};  ///< Unix sockets only.
  std::string config_json{};
  std::optional<std::string> config_version{};
  bool is_initial = false;         ///< gRPC only.
  std::uint64_t timestamp_ms = 0;  ///< gRPC only.

  bool operator==(const Configure&) const = default;
};

struct Cancel {
  static constexpr std::string_view event_name = "agent.cancel";
  static constexpr EventKind event_kind = EventKind::agent;

  std::string correlation_id{};
  CancelReason reason = CancelReason::unspecified;
  std::uint64_t timestamp_ms = 0;
  std::optional<std::string> blocking_agent_id{};  ///< gRPC only.
  std::optional<std::string> manual_reason{};      ///< gRPC only.

  bool operator==(const Cancel&) const = default;
};

struct Ping {
  static constexpr std::string_view event_name = "agent.ping";
  static constexpr EventKind event_kind = EventKind::heartbeat;

  std::uint64_t sequence = 0;
  std::uint64_t timestamp_ms = 0;

  bool operator==(const Ping&) const = default;
};

/// The listener's answer to a `ReverseRegistration`. Unix sockets only.
struct ReverseRegistrationResponse {
  static constexpr std::string_view event_name = "agent.reverse_registration_response";
  static constexpr EventKind event_kind = EventKind::registration;

  bool success = false;
  std::optional<std::string> error{};
  std::string proxy_id{};
  std::string proxy_version{};
  std::string connection_id{};  ///< Empty when it failed.

  bool operator==(const ReverseRegistrationResponse&) const = default;
};

// From agent to proxy.

struct HandshakeResponse {
  static constexpr std::string_view event_name = "agent.handshake_response";
  static constexpr EventKind event_kind = EventKind::registration;

  std::uint32_t protocol_version = 0;
  /// Missing only over gRPC; Unix sockets carry a blank one then.
  std::optional<AgentCapabilities> capabilities{};
  bool success = false;
  std::optional<std::string> error{};
  Encoding encoding = Encoding::json;  ///< Unix sockets only: one that was offered.

  bool operator==(const HandshakeResponse&) const = default;
};

/// The answer to an event.
struct AgentResponse {
  static constexpr std::string_view event_name = "agent.response";
  static constexpr EventKind event_kind = EventKind::response;

  std::string correlation_id{};
  Decision decision{};
  std::vector<HeaderOp> request_headers{};
  std::vector<HeaderOp> response_headers{};
  StringMap routing_metadata{};  ///< Unix sockets only.
  AuditMetadata audit{};
  std::optional<std::uint64_t> processing_time_ms{};  ///< gRPC only.
  bool needs_more = false;                            ///< The decision is provisional: keep the chunks coming.
  std::optional<BodyMutation> request_body_mutation{};
  std::optional<BodyMutation> response_body_mutation{};
  std::optional<WebSocketDecision> websocket_decision{};

  bool operator==(const AgentResponse&) const = default;
};

struct HealthStatus {
  static constexpr std::string_view event_name = "agent.health_status";
  static constexpr EventKind event_kind = EventKind::heartbeat;

  std::string agent_id{};
  HealthState state = HealthState::unspecified;
  std::optional<std::string> message{};
  std::optional<LoadMetrics> load{};
  std::optional<ResourceMetrics> resources{};
  std::optional<std::uint64_t> valid_until_ms{};
  std::uint64_t timestamp_ms = 0;
  std::vector<std::string> disabled_features{};  ///< While degraded, as is the next.
  float timeout_multiplier = 0;
  std::optional<std::uint64_t> drain_eta_ms{};    ///< While draining.
  std::optional<std::string> unhealthy_reason{};  ///< While unhealthy, as is the next.
  bool recoverable = false;

  bool operator==(const HealthStatus&) const = default;
};

struct MetricsReport {
  static constexpr std::string_view event_name = "agent.metrics_report";
  static constexpr EventKind event_kind = EventKind::metrics;

  std::string agent_id{};
  std::uint64_t timestamp_ms = 0;
  std::uint64_t interval_ms = 0;
  std::vector<CounterMetric> counters{};
  std::vector<GaugeMetric> gauges{};
  std::vector<HistogramMetric> histograms{};

  bool operator==(const MetricsReport&) const = default;
};

struct ConfigUpdateRequest {
  static constexpr std::string_view event_name = "agent.config_update_request";
  static constexpr EventKind event_kind = EventKind::agent;

  std::string request_id{};
  std::uint64_t timestamp_ms = 0;
  ConfigUpdate update{};

  bool operator==(const ConfigUpdateRequest&) const = default;
};

struct FlowControlSignal {
  static constexpr std::string_view event_name = "agent.flow_control";
  static constexpr EventKind event_kind = EventKind::agent;

  std::optional<std::string> correlation_id{};  ///< Nothing: the whole connection.
  FlowAction action = FlowAction::unspecified;
  std::optional<std::uint64_t> buffer_available{};
  std::uint64_t timestamp_ms = 0;

  bool operator==(const FlowControlSignal&) const = default;
};

struct Pong {
  static constexpr std::string_view event_name = "agent.pong";
  static constexpr EventKind event_kind = EventKind::heartbeat;

  std::uint64_t sequence = 0;           ///< That of the ping.
  std::uint64_t ping_timestamp_ms = 0;  ///< As above.
  std::uint64_t timestamp_ms = 0;       ///< gRPC only.

  bool operator==(const Pong&) const = default;
};

/// gRPC only.
struct LogMessage {
  static constexpr std::string_view event_name = "agent.log";
  static constexpr EventKind event_kind = EventKind::agent;

  LogLevel level = LogLevel::unspecified;
  std::string message{};
  std::optional<std::string> correlation_id{};
  StringMap fields{};
  std::uint64_t timestamp_ms = 0;

  bool operator==(const LogMessage&) const = default;
};

/// First message of an agent that dialled its proxy. Unix sockets only.
struct ReverseRegistration {
  static constexpr std::string_view event_name = "agent.reverse_registration";
  static constexpr EventKind event_kind = EventKind::registration;

  std::uint32_t protocol_version = kAgentProtocolVersion;
  std::string agent_id{};
  AgentCapabilities capabilities{};
  std::optional<std::string> auth_token{};  ///< A secret: never logged.
  std::string metadata_json{};              ///< Empty: none.

  bool operator==(const ReverseRegistration&) const = default;
};

// Both directions; receivers' views of what came, never sent.

/// A message of a known kind whose content is broken, while the frames around it are sound: only the request it
/// belongs to is harmed, or the report is lost. An event or answer that does not even tell its request, and a broken
/// handshake, end the stream instead.
struct InvalidMessage {
  static constexpr std::string_view event_name = "agent.invalid_message";
  static constexpr EventKind event_kind = EventKind::agent;

  std::string_view kind{};       ///< `event_name` of what it should have been.
  std::string correlation_id{};  ///< Empty for what is neither an event nor an answer.
  std::string error{};           ///< Names the field.

  bool operator==(const InvalidMessage&) const = default;
};

/// A message that this version cannot name. Receivers skip it.
struct UnknownMessage {
  static constexpr std::string_view event_name = "agent.unknown_message";
  static constexpr EventKind event_kind = EventKind::agent;

  /// The frame's type byte, or the first field number in the envelope, 0 when there was none.
  std::uint32_t number = 0;

  bool operator==(const UnknownMessage&) const = default;
};

/// What an agent reads.
using ProxyToAgent = std::variant<HandshakeRequest, RequestHeaders, RequestBodyChunk, ResponseHeaders,
                                  ResponseBodyChunk, WebSocketFrame, GuardrailInspect, RequestComplete, Cancel,
                                  Configure, Ping, ReverseRegistrationResponse, InvalidMessage, UnknownMessage>;
/// What a proxy reads.
using AgentToProxy =
    std::variant<HandshakeResponse, AgentResponse, HealthStatus, MetricsReport, ConfigUpdateRequest, FlowControlSignal,
                 Pong, LogMessage, ReverseRegistration, InvalidMessage, UnknownMessage>;

/// The `event_name` of whatever `message` holds.
template <class... Messages>
[[nodiscard]] std::string_view message_name(const std::variant<Messages...>& message) {
  return std::visit([](const auto& held) { return std::decay_t<decltype(held)>::event_name; }, message);
}

}  // namespace sharingbus::transport::agent_messages

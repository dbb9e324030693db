#include <cstdint>
#include <utility>

#include "transport/codec/internal/agent_wire.hpp"
#include "transport/codec/internal/agent_wire_common.hpp"

namespace sharingbus::transport::internal {

using namespace agent_messages;  // NOLINT(google-build-using-namespace): this file exists to convert between the two

namespace {

InvalidMessage invalid(std::string_view kind, std::string correlation_id, std::string error) {
  return {.kind = kind, .correlation_id = std::move(correlation_id), .error = std::move(error)};
}

RequestMetadata from_wire(agent_wire::RequestMetadata& in) {
  return {.correlation_id = std::move(*in.mutable_correlation_id()),
          .request_id = std::move(*in.mutable_request_id()),
          .client_ip = std::move(*in.mutable_client_ip()),
          .client_port = static_cast<std::uint16_t>(in.client_port()),
          .server_name = optional_of<std::string>(in.has_server_name(), in.server_name()),
          .protocol = std::move(*in.mutable_protocol()),
          .tls_version = optional_of<std::string>(in.has_tls_version(), in.tls_version()),
          .tls_cipher = {},
          .route_id = optional_of<std::string>(in.has_route_id(), in.route_id()),
          .upstream_id = optional_of<std::string>(in.has_upstream_id(), in.upstream_id()),
          .timestamp_ms = in.timestamp_ms(),
          .traceparent = optional_of<std::string>(in.has_traceparent(), in.traceparent())};
}

void to_wire(const RequestMetadata& in, agent_wire::RequestMetadata& out) {
  out.set_correlation_id(to_valid_utf8(in.correlation_id));
  out.set_request_id(to_valid_utf8(in.request_id));
  out.set_client_ip(to_valid_utf8(in.client_ip));
  out.set_client_port(in.client_port);
  if (in.server_name) out.set_server_name(to_valid_utf8(*in.server_name));
  out.set_protocol(to_valid_utf8(in.protocol));
  if (in.tls_version) out.set_tls_version(to_valid_utf8(*in.tls_version));
  if (in.route_id) out.set_route_id(to_valid_utf8(*in.route_id));
  if (in.upstream_id) out.set_upstream_id(to_valid_utf8(*in.upstream_id));
  out.set_timestamp_ms(in.timestamp_ms);
  if (in.traceparent) out.set_traceparent(to_valid_utf8(*in.traceparent));
}

HandshakeRequest from_wire(agent_wire::HandshakeRequest& in) {
  HandshakeRequest out{.supported_versions = {in.supported_versions().begin(), in.supported_versions().end()},
                       .proxy_id = std::move(*in.mutable_proxy_id()),
                       .proxy_version = std::move(*in.mutable_proxy_version()),
                       .config_json = std::move(*in.mutable_config_json()),
                       .supported_encodings = {}};
  // Proxies without a configuration to give send an empty one.
  if (out.config_json == "{}") out.config_json.clear();
  return out;
}

ProxyToAgent from_wire(agent_wire::RequestHeadersEvent& in) {
  if (in.metadata().client_port() > UINT16_MAX) {
    return invalid(RequestHeaders::event_name, in.metadata().correlation_id(), "metadata.client_port is above 65535");
  }
  return RequestHeaders{.metadata = from_wire(*in.mutable_metadata()),
                        .method = std::move(*in.mutable_method()),
                        .uri = std::move(*in.mutable_uri()),
                        .http_version = std::move(*in.mutable_http_version()),
                        .headers = to_headers(in.headers())};
}

ProxyToAgent from_wire(agent_wire::ResponseHeadersEvent& in) {
  if (in.status_code() > UINT16_MAX) {
    return invalid(ResponseHeaders::event_name, in.correlation_id(), "status_code is above 65535");
  }
  return ResponseHeaders{.correlation_id = std::move(*in.mutable_correlation_id()),
                         .status = static_cast<std::uint16_t>(in.status_code()),
                         .headers = to_headers(in.headers())};
}

template <class Chunk>
Chunk chunk_from_wire(agent_wire::BodyChunkEvent& in) {
  return {.correlation_id = std::move(*in.mutable_correlation_id()),
          .chunk_index = in.chunk_index(),
          .data = std::move(*in.mutable_data()),
          .is_last = in.is_last(),
          .total_size = optional_of<std::uint64_t>(in.has_total_size(), in.total_size()),
          .bytes_transferred = in.bytes_transferred(),
          .proxy_buffer_available = in.proxy_buffer_available(),
          .timestamp_ms = in.timestamp_ms()};
}
template <class Chunk>
void chunk_to_wire(const Chunk& in, agent_wire::BodyChunkEvent& out) {
  out.set_correlation_id(to_valid_utf8(in.correlation_id));
  out.set_chunk_index(in.chunk_index);
  out.set_data(in.data);
  out.set_is_last(in.is_last);
  if (in.total_size) out.set_total_size(*in.total_size);
  out.set_bytes_transferred(in.bytes_transferred);
  out.set_proxy_buffer_available(in.proxy_buffer_available);
  out.set_timestamp_ms(in.timestamp_ms);
}

WebSocketFrame from_wire(agent_wire::WebSocketFrameEvent& in) {
  WebSocketFrame out;
  out.correlation_id = std::move(*in.mutable_correlation_id());
  out.client_to_server = in.client_to_server();
  out.frame_type = to_enum<FrameType>(in.frame_type());
  out.data = std::move(*in.mutable_payload());
  return out;
}

GuardrailInspect from_wire(agent_wire::GuardrailInspectEvent& in) {
  GuardrailInspect out;
  out.correlation_id = std::move(*in.mutable_correlation_id());
  out.content = std::move(*in.mutable_content());
  out.content_type = to_enum<GuardrailContentType>(in.content_type());
  out.model = optional_of<std::string>(in.has_model(), in.model());
  out.context_json = std::move(*in.mutable_context_json());
  return out;
}

ProxyToAgent from_wire(agent_wire::RequestCompleteEvent& in) {
  if (in.status_code() > UINT16_MAX) {
    return invalid(RequestComplete::event_name, in.correlation_id(), "status_code is above 65535");
  }
  return RequestComplete{.correlation_id = std::move(*in.mutable_correlation_id()),
                         .status = static_cast<std::uint16_t>(in.status_code()),
                         .duration_ms = in.duration_ms(),
                         .request_body_size = in.bytes_received(),
                         .response_body_size = in.bytes_sent(),
                         .upstream_attempts = 1,
                         .upstream = optional_of<std::string>(in.has_upstream(), in.upstream()),
                         .from_cache = in.from_cache(),
                         .error = optional_of<std::string>(in.has_error(), in.error())};
}

Cancel from_wire(agent_wire::CancelRequest& in) {
  return {.correlation_id = std::move(*in.mutable_correlation_id()),
          .reason = to_enum<CancelReason>(in.reason()),
          .timestamp_ms = in.timestamp_ms(),
          .blocking_agent_id = optional_of<std::string>(in.has_blocking_agent_id(), in.blocking_agent_id()),
          .manual_reason = optional_of<std::string>(in.has_manual_reason(), in.manual_reason())};
}

Configure from_wire(agent_wire::ConfigureEvent& in) {
  return {.correlation_id = {},
          .config_json = std::move(*in.mutable_config_json()),
          .config_version = optional_of<std::string>(in.has_config_version(), in.config_version()),
          .is_initial = in.is_initial(),
          .timestamp_ms = in.timestamp_ms()};
}

}  // namespace

ProxyToAgent from_wire(agent_wire::ProxyToAgent& in) {
  using Case = agent_wire::ProxyToAgent::MessageCase;
  switch (in.message_case()) {
    case Case::kHandshake:
      return from_wire(*in.mutable_handshake());
    case Case::kRequestHeaders:
      return from_wire(*in.mutable_request_headers());
    case Case::kRequestBodyChunk:
      return chunk_from_wire<RequestBodyChunk>(*in.mutable_request_body_chunk());
    case Case::kResponseHeaders:
      return from_wire(*in.mutable_response_headers());
    case Case::kResponseBodyChunk:
      return chunk_from_wire<ResponseBodyChunk>(*in.mutable_response_body_chunk());
    case Case::kWebsocketFrame:
      return from_wire(*in.mutable_websocket_frame());
    case Case::kGuardrail:
      return from_wire(*in.mutable_guardrail());
    case Case::kRequestComplete:
      return from_wire(*in.mutable_request_complete());
    case Case::kCancel:
      return from_wire(*in.mutable_cancel());
    case Case::kConfigure:
      return from_wire(*in.mutable_configure());
    case Case::kPing:
      return Ping{in.ping().sequence(), in.ping().timestamp_ms()};
    case Case::MESSAGE_NOT_SET:
      break;
  }
  return UnknownMessage{};
}

void to_wire(const HandshakeRequest& in, agent_wire::ProxyToAgent& envelope) {
  auto& out = *envelope.mutable_handshake();
  for (const std::uint32_t version : in.supported_versions)
    out.add_supported_versions(version);
  out.set_proxy_id(to_valid_utf8(in.proxy_id));
  out.set_proxy_version(to_valid_utf8(in.proxy_version));
  out.set_config_json(in.config_json.empty() ? "{}" : to_valid_utf8(in.config_json));
}

void to_wire(const RequestHeaders& in, agent_wire::ProxyToAgent& envelope) {
  auto& out = *envelope.mutable_request_headers();
  to_wire(in.metadata, *out.mutable_metadata());
  out.set_method(to_valid_utf8(in.method));
  out.set_uri(to_valid_utf8(in.uri));
  out.set_http_version(to_valid_utf8(in.http_version));
  from_headers(in.headers, *out.mutable_headers());
}

void to_wire(const RequestBodyChunk& in, agent_wire::ProxyToAgent& envelope) {
  chunk_to_wire(in, *envelope.mutable_request_body_chunk());
}

void to_wire(const ResponseHeaders& in, agent_wire::ProxyToAgent& envelope) {
  auto& out = *envelope.mutable_response_headers();
  out.set_correlation_id(to_valid_utf8(in.correlation_id));
  out.set_status_code(in.status);
  from_headers(in.headers, *out.mutable_headers());
}

void to_wire(const ResponseBodyChunk& in, agent_wire::ProxyToAgent& envelope) {
  chunk_to_wire(in, *envelope.mutable_response_body_chunk());
}

void to_wire(const WebSocketFrame& in, agent_wire::ProxyToAgent& envelope) {
  auto& out = *envelope.mutable_websocket_frame();
  out.set_correlation_id(to_valid_utf8(in.correlation_id));
  out.set_client_to_server(in.client_to_server);
  out.set_frame_type(static_cast<int>(in.frame_type));
  out.set_payload(in.data);
}

void to_wire(const GuardrailInspect& in, agent_wire::ProxyToAgent& envelope) {
  auto& out = *envelope.mutable_guardrail();
  out.set_correlation_id(to_valid_utf8(in.correlation_id));
  out.set_content(to_valid_utf8(in.content));
  out.set_content_type(static_cast<int>(in.content_type));
  if (in.model) out.set_model(to_valid_utf8(*in.model));
  out.set_context_json(to_valid_utf8(in.context_json));
}

void to_wire(const RequestComplete& in, agent_wire::ProxyToAgent& envelope) {
  auto& out = *envelope.mutable_request_complete();
  out.set_correlation_id(to_valid_utf8(in.correlation_id));
  out.set_status_code(in.status);
  out.set_duration_ms(in.duration_ms);
  out.set_bytes_received(in.request_body_size);
  out.set_bytes_sent(in.response_body_size);
  if (in.upstream) out.set_upstream(to_valid_utf8(*in.upstream));
  out.set_from_cache(in.from_cache);
  if (in.error) out.set_error(to_valid_utf8(*in.error));
}

void to_wire(const Cancel& in, agent_wire::ProxyToAgent& envelope) {
  auto& out = *envelope.mutable_cancel();
  out.set_correlation_id(to_valid_utf8(in.correlation_id));
  out.set_reason(static_cast<int>(in.reason));
  out.set_timestamp_ms(in.timestamp_ms);
  if (in.blocking_agent_id) out.set_blocking_agent_id(to_valid_utf8(*in.blocking_agent_id));
  if (in.manual_reason) out.set_manual_reason(to_valid_utf8(*in.manual_reason));
}

void to_wire(const Configure& in, agent_wire::ProxyToAgent& envelope) {
  auto& out = *envelope.mutable_configure();
  out.set_config_json(to_valid_utf8(in.config_json));
  if (in.config_version) out.set_config_version(to_valid_utf8(*in.config_version));
  out.set_is_initial(in.is_initial);
  out.set_timestamp_ms(in.timestamp_ms);
}

void to_wire(const Ping& in, agent_wire::ProxyToAgent& envelope) {
  auto& out = *envelope.mutable_ping();
  out.set_sequence(in.sequence);
  out.set_timestamp_ms(in.timestamp_ms);
}

}  // namespace sharingbus::transport::internal

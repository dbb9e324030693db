#include <string>

#include "transport/codec/internal/agent_uds_write.hpp"

// What a proxy sends.
namespace sharingbus::transport::internal {

template <class W>
void fields(W& to, const HandshakeRequest& in) {
  to.key("supported_versions");
  to.begin_array(in.supported_versions.size());
  for (const std::uint32_t version : in.supported_versions)
    to.number(version);
  to.end_array();
  field(to, "proxy_id", in.proxy_id);
  field(to, "proxy_version", in.proxy_version);
  json_field(to, "config", in.config_json);
  filled_field(to, "supported_encodings", in.supported_encodings);
}

template <class W>
void fields(W& to, const ReverseRegistrationResponse& in) {
  field(to, "success", in.success);
  optional_field(to, "error", in.error);
  field(to, "proxy_id", in.proxy_id);
  field(to, "proxy_version", in.proxy_version);
  field(to, "connection_id", in.connection_id);
}

/// Top-level copies of the id exist in JSON only.
static void copy_of_id(JsonWriter& to, const std::string& correlation_id) {
  field(to, "correlation_id", correlation_id);
}
static void copy_of_id(MsgpackWriter&, const std::string&) {}

template <class W>
void fields(W& to, const RequestHeaders& in) {
  copy_of_id(to, in.metadata.correlation_id);
  field(to, "metadata", in.metadata);
  field(to, "method", in.method);
  field(to, "uri", in.uri);
  headers_field(to, in.headers);
}

template <class W, class Chunk>
void chunk_fields(W& to, const Chunk& in, std::string_view transferred) {
  field(to, "correlation_id", in.correlation_id);
  bytes_field(to, "data", in.data);
  field(to, "is_last", in.is_last);
  optional_field(to, "total_size", in.total_size);
  field(to, "chunk_index", in.chunk_index);
  field(to, transferred, in.bytes_transferred);
}
template <class W>
void fields(W& to, const RequestBodyChunk& in) {
  chunk_fields(to, in, "bytes_received");
}
template <class W>
void fields(W& to, const ResponseBodyChunk& in) {
  chunk_fields(to, in, "bytes_sent");
}

template <class W>
void fields(W& to, const ResponseHeaders& in) {
  field(to, "correlation_id", in.correlation_id);
  field(to, "status", in.status);
  headers_field(to, in.headers);
}

template <class W>
void fields(W& to, const RequestComplete& in) {
  field(to, "correlation_id", in.correlation_id);
  field(to, "status", in.status);
  field(to, "duration_ms", in.duration_ms);
  field(to, "request_body_size", in.request_body_size);
  field(to, "response_body_size", in.response_body_size);
  field(to, "upstream_attempts", in.upstream_attempts);
  optional_field(to, "error", in.error);
}

static std::string opcode_of(FrameType type) {
  switch (type) {
    case FrameType::continuation:
      return "continuation";
    case FrameType::text:
      return "text";
    case FrameType::binary:
      return "binary";
    case FrameType::ping:
      return "ping";
    case FrameType::pong:
      return "pong";
    case FrameType::close:
      return "close";
  }
  return std::to_string(static_cast<int>(type));
}

template <class W>
void fields(W& to, const WebSocketFrame& in) {
  field(to, "correlation_id", in.correlation_id);
  field(to, "opcode", opcode_of(in.frame_type));
  bytes_field(to, "data", in.data);
  field(to, "client_to_server", in.client_to_server);
  field(to, "frame_index", in.frame_index);
  field(to, "fin", in.fin);
  optional_field(to, "route_id", in.route_id);
  field(to, "client_ip", in.client_ip);
}

template <class W>
void fields(W& to, const GuardrailInspect& in) {
  field(to, "correlation_id", in.correlation_id);
  field(to, "inspection_type", in.inspection_type);
  field(to, "content", in.content);
  optional_field(to, "model", in.model);
  field(to, "categories", in.categories);
  optional_field(to, "route_id", in.route_id);
  field(to, "metadata", in.metadata);
}

template <class W>
void fields(W& to, const Configure& in) {
  field(to, "correlation_id", in.correlation_id);
  json_field(to, "config", in.config_json);
  to.key("config_version");
  if (in.config_version) {
    to.text(*in.config_version);
  } else {
    to.null();
  }
}

template <class W>
void fields(W& to, const Cancel& in) {
  field(to, "correlation_id", in.correlation_id);
  // Numbered from 0 here, without "unspecified", which becomes the last one, "manual".
  const int reason = static_cast<int>(in.reason);
  field(to, "reason", reason > 0 ? reason - 1 : static_cast<int>(CancelReason::manual) - 1);
  field(to, "timestamp_ms", in.timestamp_ms);
}

template <class W>
void fields(W& to, const Ping& in) {
  field(to, "sequence", in.sequence);
  field(to, "timestamp_ms", in.timestamp_ms);
}

template Result<std::string> encode_uds(const HandshakeRequest&, Encoding);
template Result<std::string> encode_uds(const RequestHeaders&, Encoding);
template Result<std::string> encode_uds(const RequestBodyChunk&, Encoding);
template Result<std::string> encode_uds(const ResponseHeaders&, Encoding);
template Result<std::string> encode_uds(const ResponseBodyChunk&, Encoding);
template Result<std::string> encode_uds(const WebSocketFrame&, Encoding);
template Result<std::string> encode_uds(const GuardrailInspect&, Encoding);
template Result<std::string> encode_uds(const RequestComplete&, Encoding);
template Result<std::string> encode_uds(const Cancel&, Encoding);
template Result<std::string> encode_uds(const Configure&, Encoding);
template Result<std::string> encode_uds(const Ping&, Encoding);
template Result<std::string> encode_uds(const ReverseRegistrationResponse&, Encoding);

}  // namespace sharingbus::transport::internal

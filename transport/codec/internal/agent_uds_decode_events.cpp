#include <array>
#include <utility>

#include "transport/codec/internal/agent_uds_decode.hpp"

namespace sharingbus::transport::internal {

using namespace agent_messages;  // NOLINT(google-build-using-namespace): the subject's vocabulary

namespace {

void read_metadata(const PayloadValue& in, RequestMetadata& out, Issue& issue) {
  Fields fields(in, "metadata.", issue);
  fields.required("correlation_id", out.correlation_id);
  fields.required("request_id", out.request_id);
  fields.required("client_ip", out.client_ip);
  fields.required("client_port", out.client_port);
  fields.optional("server_name", out.server_name);
  fields.required("protocol", out.protocol);
  fields.optional("tls_version", out.tls_version);
  fields.optional("tls_cipher", out.tls_cipher);
  fields.optional("route_id", out.route_id);
  fields.optional("upstream_id", out.upstream_id);
  std::string_view timestamp;
  fields.required("timestamp", timestamp);
  out.timestamp_ms = from_rfc3339(timestamp);
  fields.optional("traceparent", out.traceparent);
}

/// A map from names to lists of values; a single text stands for a list of one.
void read_headers(Fields& fields, Headers& out) {
  const PayloadValue* names = fields.next("headers");
  if (names == nullptr || !names->is_map()) return fields.wrong("headers", "a map of lists of texts");
  out.reserve(names->size());
  for (const auto& [name, values] : PayloadMembers(*names)) {
    const auto add = [&out, &fields, name = name](const PayloadValue& line) {
      Header& header = out.emplace_back();
      header.name = name;
      if (read(line, header.value) != kFine) fields.wrong("headers", "a map of lists of texts");
    };
    if (values.is_array()) {
      for (const PayloadValue& line : PayloadElements(values))
        add(line);
    } else {
      add(values);
    }
  }
}

template <class Chunk>
void read_chunk(const PayloadValue& in, Chunk& out, std::string_view transferred, Issue& issue) {
  Fields fields(in, "", issue);
  fields.required("correlation_id", out.correlation_id);
  fields.required("data", Bytes{out.data});
  fields.required("is_last", out.is_last);
  fields.optional("total_size", out.total_size);
  fields.defaulted("chunk_index", out.chunk_index);
  fields.defaulted(transferred, out.bytes_transferred);
}

FrameType frame_type_of(std::string_view opcode, bool& known) {
  constexpr std::array<std::string_view, 6> kNames = {"continuation", "text", "binary", "ping", "pong", "close"};
  for (std::size_t i = 0; i < kNames.size(); ++i) {
    if (opcode == kNames.at(i)) return static_cast<FrameType>(i);
  }
  known = false;
  return FrameType::binary;
}

}  // namespace

void read_message(const PayloadValue& in, HandshakeRequest& out, Issue& issue) {
  Fields fields(in, "", issue);
  fields.required("supported_versions", out.supported_versions);
  fields.required("proxy_id", out.proxy_id);
  fields.required("proxy_version", out.proxy_version);
  fields.defaulted("config", AnyJson{out.config_json});
  fields.defaulted("supported_encodings", out.supported_encodings);
}

void read_message(const PayloadValue& in, ReverseRegistrationResponse& out, Issue& issue) {
  Fields fields(in, "", issue);
  fields.required("success", out.success);
  fields.optional("error", out.error);
  fields.defaulted("proxy_id", out.proxy_id);
  fields.defaulted("proxy_version", out.proxy_version);
  fields.defaulted("connection_id", out.connection_id);
}

void read_message(const PayloadValue& in, RequestHeaders& out, Issue& issue) {
  Fields fields(in, "", issue);
  const PayloadValue* metadata = fields.next("metadata");
  if (metadata == nullptr) return issue.raise("metadata is missing");
  read_metadata(*metadata, out.metadata, issue);
  fields.required("method", out.method);
  fields.required("uri", out.uri);
  read_headers(fields, out.headers);
}

void read_message(const PayloadValue& in, RequestBodyChunk& out, Issue& issue) {
  read_chunk(in, out, "bytes_received", issue);
}

void read_message(const PayloadValue& in, ResponseHeaders& out, Issue& issue) {
  Fields fields(in, "", issue);
  fields.required("correlation_id", out.correlation_id);
  fields.required("status", out.status);
  read_headers(fields, out.headers);
}

void read_message(const PayloadValue& in, ResponseBodyChunk& out, Issue& issue) {
  read_chunk(in, out, "bytes_sent", issue);
}

void read_message(const PayloadValue& in, RequestComplete& out, Issue& issue) {
  Fields fields(in, "", issue);
  fields.required("correlation_id", out.correlation_id);
  fields.required("status", out.status);
  fields.required("duration_ms", out.duration_ms);
  fields.defaulted("request_body_size", out.request_body_size);
  fields.defaulted("response_body_size", out.response_body_size);
  fields.defaulted("upstream_attempts", out.upstream_attempts);
  fields.optional("error", out.error);
}

void read_message(const PayloadValue& in, WebSocketFrame& out, Issue& issue) {
  Fields fields(in, "", issue);
  fields.required("correlation_id", out.correlation_id);
  std::string_view opcode;
  fields.required("opcode", opcode);
  bool known = true;
  out.frame_type = frame_type_of(opcode, known);
  if (!known) fields.wrong("opcode", "the name of one");
  fields.required("data", Bytes{out.data});
  fields.required("client_to_server", out.client_to_server);
  fields.defaulted("frame_index", out.frame_index);
  fields.defaulted("fin", out.fin);
  fields.optional("route_id", out.route_id);
  fields.defaulted("client_ip", out.client_ip);
}

void read_message(const PayloadValue& in, GuardrailInspect& out, Issue& issue) {
  Fields fields(in, "", issue);
  fields.required("correlation_id", out.correlation_id);
  fields.required("inspection_type", out.inspection_type);
  fields.required("content", out.content);
  fields.optional("model", out.model);
  fields.defaulted("categories", out.categories);
  fields.optional("route_id", out.route_id);
  fields.defaulted("metadata", out.metadata);
}

void read_message(const PayloadValue& in, Configure& out, Issue& issue) {
  Fields fields(in, "", issue);
  fields.required("correlation_id", out.correlation_id);
  fields.required("config", AnyJson{out.config_json});
  fields.optional("config_version", out.config_version);
}

void read_message(const PayloadValue& in, Cancel& out, Issue& issue) {
  Fields fields(in, "", issue);
  fields.required("correlation_id", out.correlation_id);
  // Numbered from 0 here.
  std::int32_t reason = -1;
  fields.defaulted("reason", reason);
  if (reason >= -1 && reason < INT32_MAX) out.reason = static_cast<CancelReason>(reason + 1);
  fields.defaulted("timestamp_ms", out.timestamp_ms);
}

void read_message(const PayloadValue& in, Ping& out, Issue& issue) {
  Fields fields(in, "", issue);
  fields.required("sequence", out.sequence);
  fields.defaulted("timestamp_ms", out.timestamp_ms);
}

namespace {

std::string text_at(const PayloadValue* value) {
  return value != nullptr && value->is_text() ? std::string(value->bytes()) : std::string();
}

/// A struct's field, be it a map or an array.
const PayloadValue* member(const PayloadValue* in, std::string_view key, std::size_t position) {
  if (in == nullptr) return nullptr;
  if (in->is_map()) return in->find(key);
  return in->is_array() ? in->element(position) : nullptr;
}

}  // namespace

std::string id_of_event(const PayloadValue& in) {
  if (in.is_map()) {
    const std::string id = text_at(in.find("correlation_id"));
    if (!id.empty()) return id;
  }
  const std::string id = text_at(member(member(&in, "metadata", 0), "correlation_id", 0));
  if (!id.empty()) return id;
  return in.is_map() ? std::string() : text_at(member(&in, "", 0));
}

std::string id_of_answer(const PayloadValue& in) {
  const PayloadValue* custom = member(member(&in, "audit", 5), "custom", 4);
  return custom != nullptr && custom->is_map() ? text_at(custom->find("correlation_id")) : std::string();
}

}  // namespace sharingbus::transport::internal

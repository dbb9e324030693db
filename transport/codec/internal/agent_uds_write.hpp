#pragma once

#include <algorithm>
#include <cmath>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#include <boost/container/small_vector.hpp>

#include "transport/codec/internal/agent_uds.hpp"
#include "transport/codec/internal/text_writer.hpp"

// How payloads of Unix socket frames are written, in either encoding. Optional fields that are not set, and fields that
// readers give their default anyway, are left out. A message is described by its `fields(writer, message)`, which its
// source file has; `encode_uds` finds it there.
namespace sharingbus::transport::internal {

using namespace agent_messages;  // NOLINT(google-build-using-namespace): the subject's vocabulary

// Values.

template <class W>
void write(W& to, std::string_view value) {
  to.text(value);
}
template <class W>
void write(W& to, bool value) {
  to.boolean(value);
}
template <class W>
void write(W& to, std::uint16_t value) {
  to.number(value);
}
template <class W>
void write(W& to, std::uint32_t value) {
  to.number(value);
}
template <class W>
void write(W& to, std::uint64_t value) {
  to.number(value);
}
template <class W>
void write(W& to, std::int32_t value) {
  to.signed_number(value);
}
template <class W>
void write(W& to, float value) {
  to.real(std::isfinite(value) ? value : 0.0F);
}
template <class W>
void write(W& to, double value) {
  to.real(std::isfinite(value) ? value : 0.0);
}
template <class W>
void write(W& to, const std::vector<std::string>& values) {
  to.begin_array(values.size());
  for (const std::string& value : values)
    to.text(value);
  to.end_array();
}
template <class W>
void write(W& to, const StringMap& values) {
  to.begin_map(values.size());
  for (const auto& [key, value] : values) {
    to.map_key(key);
    to.text(value);
  }
  to.end_map();
}

// Parts, whose definitions are below.
template <class W>
void write(W& to, const RequestMetadata& in);
template <class W>
void write(W& to, const AgentCapabilities& in);
template <class W>
void write(W& to, const std::vector<HeaderOp>& ops);
template <class W>
void write(W& to, const Decision& decision);
template <class W>
void write(W& to, const BodyMutation& in);
template <class W>
void write(W& to, const WebSocketDecision& in);
template <class W>
void write(W& to, const LoadMetrics& in);
template <class W>
void write(W& to, const ResourceMetrics& in);

template <class W, class T>
void field(W& to, std::string_view key, const T& value) {
  to.key(key);
  write(to, value);
}
template <class W, class T>
void optional_field(W& to, std::string_view key, const std::optional<T>& value) {
  if (value) field(to, key, *value);
}
/// Left out when it has nothing in it.
template <class W, class Container>
void filled_field(W& to, std::string_view key, const Container& value) {
  if (!value.empty()) field(to, key, value);
}
template <class W>
void bytes_field(W& to, std::string_view key, std::string_view value) {
  to.key(key);
  to.bytes(value);
}
template <class W>
void json_field(W& to, std::string_view key, std::string_view json_text) {
  to.key(key);
  if (json_text.empty()) return to.null();
  to.json(json_text, key);
}

/// Lines of one name lie together in an array, in their order.
template <class W>
void headers_field(W& to, const Headers& headers) {
  boost::container::small_vector<const Header*, 32> lines;
  for (const Header& header : headers)
    lines.push_back(&header);
  // By place where names are equal: their order stays.
  std::sort(lines.begin(), lines.end(), [](const Header* a, const Header* b) {
    const int order = a->name.compare(b->name);
    return order != 0 ? order < 0 : a < b;
  });
  const auto run_end = [&lines](auto from) {
    return std::find_if(from, lines.end(), [from](const Header* line) { return line->name != (*from)->name; });
  };
  std::size_t names = 0;
  for (auto at = lines.begin(); at != lines.end(); at = run_end(at))
    ++names;
  to.key("headers");
  to.begin_map(names);
  for (auto at = lines.begin(); at != lines.end();) {
    const auto end = run_end(at);
    to.map_key((*at)->name);
    to.begin_array(static_cast<std::size_t>(end - at));
    for (; at != end; ++at)
      to.text((*at)->value);
    to.end_array();
  }
  to.end_map();
}

// Parts.

template <class W>
void write(W& to, const RequestMetadata& in) {
  to.begin_struct();
  field(to, "correlation_id", in.correlation_id);
  field(to, "request_id", in.request_id);
  field(to, "client_ip", in.client_ip);
  field(to, "client_port", in.client_port);
  optional_field(to, "server_name", in.server_name);
  field(to, "protocol", in.protocol);
  optional_field(to, "tls_version", in.tls_version);
  optional_field(to, "tls_cipher", in.tls_cipher);
  optional_field(to, "route_id", in.route_id);
  optional_field(to, "upstream_id", in.upstream_id);
  const Rfc3339 timestamp = to_rfc3339(in.timestamp_ms);
  field(to, "timestamp", std::string_view(timestamp.data(), timestamp.size()));
  optional_field(to, "traceparent", in.traceparent);
  to.end_struct();
}

/// Every key is mandatory for readers.
template <class W>
void write(W& to, const AgentCapabilities& in) {
  to.begin_struct();
  field(to, "agent_id", in.agent_id);
  field(to, "name", in.name);
  field(to, "version", in.version);
  to.key("supported_events");
  to.begin_array(in.supported_events.size());
  for (const EventType event : in.supported_events)
    to.signed_number(static_cast<int>(event));
  to.end_array();
  to.key("features");
  to.begin_struct();
  field(to, "streaming_body", in.features.streaming_body);
  field(to, "websocket", in.features.websocket);
  field(to, "guardrails", in.features.guardrails);
  field(to, "config_push", in.features.config_push);
  field(to, "metrics_export", in.features.metrics_export);
  field(to, "concurrent_requests", in.features.concurrent_requests);
  field(to, "cancellation", in.features.cancellation);
  field(to, "flow_control", in.features.flow_control);
  field(to, "health_reporting", in.features.health_reporting);
  to.end_struct();
  to.key("limits");
  to.begin_struct();
  field(to, "max_body_size", in.limits.max_body_size);
  field(to, "max_concurrency", in.limits.max_concurrency);
  field(to, "preferred_chunk_size", in.limits.preferred_chunk_size);
  to.end_struct();
  to.end_struct();
}

template <class W>
void write(W& to, const std::vector<HeaderOp>& ops) {
  to.begin_array(ops.size());
  for (const HeaderOp& op : ops) {
    const bool remove = op.action == HeaderOp::Action::remove;
    to.begin_struct();
    to.key(remove ? "remove" : op.action == HeaderOp::Action::add ? "add" : "set");
    to.begin_struct();
    field(to, "name", op.name);
    if (!remove) field(to, "value", op.value);
    to.end_struct();
    to.end_struct();
  }
  to.end_array();
}

template <class W>
void write(W& to, const Decision& decision) {
  if (std::holds_alternative<Allow>(decision)) return to.text("allow");
  to.begin_struct();
  if (const auto* block = std::get_if<Block>(&decision)) {
    to.key("block");
    to.begin_struct();
    field(to, "status", block->status);
    to.key("body");
    if (block->body) {
      to.text(*block->body);
    } else {
      to.null();
    }
    to.key("headers");
    if (block->headers.empty()) {
      to.null();
    } else {
      // A map from name to text: of lines with the same name the last one is left.
      StringMap headers;
      for (const Header& header : block->headers)
        headers[header.name] = header.value;
      write(to, headers);
    }
    to.end_struct();
  } else if (const auto* redirect = std::get_if<Redirect>(&decision)) {
    to.key("redirect");
    to.begin_struct();
    field(to, "url", redirect->url);
    field(to, "status", redirect->status);
    to.end_struct();
  } else if (const auto* challenge = std::get_if<Challenge>(&decision)) {
    to.key("challenge");
    to.begin_struct();
    field(to, "challenge_type", challenge->challenge_type);
    field(to, "params", challenge->params);
    to.end_struct();
  }
  to.end_struct();
}

/// The answer's correlation id travels in it.
template <class W>
void write_audit(W& to, const AuditMetadata& in, const std::string& correlation_id) {
  to.begin_struct();
  filled_field(to, "tags", in.tags);
  filled_field(to, "rule_ids", in.rule_ids);
  optional_field(to, "confidence", in.confidence);
  filled_field(to, "reason_codes", in.reason_codes);
  to.key("custom");
  to.begin_map(in.custom_json.size() + 1 - in.custom_json.count("correlation_id"));
  for (const auto& [key, value] : in.custom_json) {
    if (key == "correlation_id") continue;
    to.map_key(key);
    to.json(value, "audit.custom");
  }
  to.map_key("correlation_id");
  to.text(correlation_id);
  to.end_map();
  to.end_struct();
}

template <class W>
void write(W& to, const BodyMutation& in) {
  to.begin_struct();
  to.key("data");
  if (in.data) {
    to.bytes(*in.data);
  } else {
    to.null();
  }
  field(to, "chunk_index", in.chunk_index);
  to.end_struct();
}

template <class W>
void write(W& to, const WebSocketDecision& in) {
  if (in.action != WebSocketDecision::Action::close) {
    return to.text(in.action == WebSocketDecision::Action::drop ? "drop" : "allow");
  }
  to.begin_struct();
  to.key("close");
  to.begin_struct();
  field(to, "code", in.code);
  field(to, "reason", in.reason);
  to.end_struct();
  to.end_struct();
}

template <class W>
void write(W& to, const LoadMetrics& in) {
  to.begin_struct();
  field(to, "in_flight", in.in_flight);
  field(to, "queue_depth", in.queue_depth);
  field(to, "avg_latency_ms", in.avg_latency_ms);
  field(to, "p50_latency_ms", in.p50_latency_ms);
  field(to, "p95_latency_ms", in.p95_latency_ms);
  field(to, "p99_latency_ms", in.p99_latency_ms);
  field(to, "requests_processed", in.requests_processed);
  field(to, "requests_rejected", in.requests_rejected);
  field(to, "requests_timed_out", in.requests_timed_out);
  to.end_struct();
}

template <class W>
void write(W& to, const ResourceMetrics& in) {
  to.begin_struct();
  optional_field(to, "cpu_percent", in.cpu_percent);
  optional_field(to, "memory_bytes", in.memory_bytes);
  optional_field(to, "memory_limit", in.memory_limit);
  optional_field(to, "active_threads", in.active_threads);
  optional_field(to, "open_fds", in.open_fds);
  optional_field(to, "fd_limit", in.fd_limit);
  optional_field(to, "connections", in.connections);
  to.end_struct();
}

template <class W, class Metric>
void named_fields(W& to, const Metric& in) {
  field(to, "name", in.name);
  optional_field(to, "help", in.help);
  field(to, "labels", in.labels);
}

template <class W>
void write(W& to, const HistogramMetric& in) {
  to.begin_struct();
  named_fields(to, in);
  field(to, "sum", in.sum);
  field(to, "count", in.count);
  to.key("buckets");
  to.begin_array(in.buckets.size());
  for (const HistogramBucket& bucket : in.buckets) {
    to.begin_struct();
    to.key("le");
    if (std::isfinite(bucket.le)) {
      to.real(bucket.le);
    } else {
      to.text("+Inf");
    }
    field(to, "count", bucket.count);
    to.end_struct();
  }
  to.end_array();
  to.end_struct();
}

template <class W>
void update_fields(W& to, const RequestReload&) {
  field(to, "type", std::string_view("request_reload"));
}
template <class W>
void update_fields(W& to, const RuleUpdate& in) {
  field(to, "type", std::string_view("rule_update"));
  field(to, "rule_set", in.rule_set);
  to.key("rules");
  to.begin_array(in.rules.size());
  for (const RuleDefinition& rule : in.rules) {
    to.begin_struct();
    field(to, "id", rule.id);
    field(to, "priority", rule.priority);
    json_field(to, "definition", rule.definition_json);
    field(to, "enabled", rule.enabled);
    optional_field(to, "description", rule.description);
    filled_field(to, "tags", rule.tags);
    to.end_struct();
  }
  to.end_array();
  field(to, "remove_rules", in.remove_rules);
}
template <class W>
void update_fields(W& to, const ListUpdate& in) {
  field(to, "type", std::string_view("list_update"));
  field(to, "list_id", in.list_id);
  field(to, "add", in.add);
  field(to, "remove", in.remove);
}
template <class W>
void update_fields(W& to, const RestartRequired& in) {
  field(to, "type", std::string_view("restart_required"));
  field(to, "reason", in.reason);
  field(to, "grace_period_ms", in.grace_period_ms);
}
template <class W>
void update_fields(W& to, const ConfigError& in) {
  field(to, "type", std::string_view("config_error"));
  field(to, "error", in.error);
  optional_field(to, "field", in.field);
}

template <class Message>
constexpr UdsType type_of() {
  if constexpr (std::is_same_v<Message, HandshakeRequest>) return UdsType::handshake_request;
  if constexpr (std::is_same_v<Message, ReverseRegistration>) return UdsType::handshake_request;
  if constexpr (std::is_same_v<Message, HandshakeResponse>) return UdsType::handshake_response;
  if constexpr (std::is_same_v<Message, ReverseRegistrationResponse>) return UdsType::handshake_response;
  if constexpr (std::is_same_v<Message, RequestHeaders>) return UdsType::request_headers;
  if constexpr (std::is_same_v<Message, RequestBodyChunk>) return UdsType::request_body_chunk;
  if constexpr (std::is_same_v<Message, ResponseHeaders>) return UdsType::response_headers;
  if constexpr (std::is_same_v<Message, ResponseBodyChunk>) return UdsType::response_body_chunk;
  if constexpr (std::is_same_v<Message, RequestComplete>) return UdsType::request_complete;
  if constexpr (std::is_same_v<Message, WebSocketFrame>) return UdsType::websocket_frame;
  if constexpr (std::is_same_v<Message, GuardrailInspect>) return UdsType::guardrail_inspect;
  if constexpr (std::is_same_v<Message, Configure>) return UdsType::configure;
  if constexpr (std::is_same_v<Message, AgentResponse>) return UdsType::agent_response;
  if constexpr (std::is_same_v<Message, HealthStatus>) return UdsType::health_status;
  if constexpr (std::is_same_v<Message, MetricsReport>) return UdsType::metrics_report;
  if constexpr (std::is_same_v<Message, ConfigUpdateRequest>) return UdsType::config_update_request;
  if constexpr (std::is_same_v<Message, FlowControlSignal>) return UdsType::flow_control;
  if constexpr (std::is_same_v<Message, Cancel>) return UdsType::cancel;
  if constexpr (std::is_same_v<Message, Ping>) return UdsType::ping;
  if constexpr (std::is_same_v<Message, Pong>) return UdsType::pong;
}

/// JSON whatever was negotiated.
[[nodiscard]] constexpr bool always_json(UdsType type) {
  switch (type) {
    case UdsType::handshake_request:
    case UdsType::handshake_response:
    case UdsType::cancel:
    case UdsType::ping:
    case UdsType::pong:
      return true;
    default:
      return false;
  }
}

/// Where frames are written, so that each costs one allocation of its size; the thread's. What a large one took is
/// given back.
class Scratch {
 public:
  Scratch() : buffer_(kept()) {}
  ~Scratch() { buffer_.clear(std::size_t{64} * 1024); }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;

  [[nodiscard]] WriteBuffer& buffer() noexcept { return buffer_; }

 private:
  static WriteBuffer& kept() {
    thread_local WriteBuffer buffer;
    return buffer;
  }

  WriteBuffer& buffer_;
};

template <class Writer, class Message>
Result<std::string> payload(UdsType type, const Message& message) {
  Scratch frame;
  frame.buffer().append(static_cast<char>(type));
  Writer writer(frame.buffer());
  writer.begin_struct();
  fields(writer, message);
  writer.end_struct();
  if (writer.error()) return writer.error();
  return std::string(frame.buffer().written());
}

template <class Message>
Result<std::string> encode_uds(const Message& message, Encoding encoding) {
  constexpr UdsType kType = type_of<Message>();
  if constexpr (!always_json(kType)) {
    if (encoding == Encoding::msgpack) return payload<MsgpackWriter>(kType, message);
  }
  return payload<JsonWriter>(kType, message);
}

}  // namespace sharingbus::transport::internal

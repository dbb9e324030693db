#include <string>

#include "transport/codec/internal/agent_uds_write.hpp"

// What an agent sends.
namespace sharingbus::transport::internal {

template <class W>
void fields(W& to, const HandshakeResponse& in) {
  field(to, "protocol_version", in.protocol_version);
  field(to, "capabilities", in.capabilities.value_or(AgentCapabilities{}));
  field(to, "success", in.success);
  optional_field(to, "error", in.error);
  field(to, "encoding", std::string_view(in.encoding == Encoding::msgpack ? "msgpack" : "json"));
}

template <class W>
void fields(W& to, const ReverseRegistration& in) {
  field(to, "protocol_version", in.protocol_version);
  field(to, "agent_id", in.agent_id);
  field(to, "capabilities", in.capabilities);
  optional_field(to, "auth_token", in.auth_token);
  if (!in.metadata_json.empty()) json_field(to, "metadata", in.metadata_json);
}

template <class W>
void fields(W& to, const AgentResponse& in) {
  field(to, "version", kAgentProtocolVersion);
  field(to, "decision", in.decision);
  filled_field(to, "request_headers", in.request_headers);
  filled_field(to, "response_headers", in.response_headers);
  filled_field(to, "routing_metadata", in.routing_metadata);
  to.key("audit");
  write_audit(to, in.audit, in.correlation_id);
  if (in.needs_more) field(to, "needs_more", true);
  optional_field(to, "request_body_mutation", in.request_body_mutation);
  optional_field(to, "response_body_mutation", in.response_body_mutation);
  optional_field(to, "websocket_decision", in.websocket_decision);
}

template <class W>
void fields(W& to, const HealthStatus& in) {
  field(to, "agent_id", in.agent_id);
  // An integer, because that is what published proxies look for.
  field(to, "state", static_cast<std::int32_t>(in.state));
  optional_field(to, "message", in.message);
  optional_field(to, "load", in.load);
  optional_field(to, "resources", in.resources);
  optional_field(to, "valid_until_ms", in.valid_until_ms);
  field(to, "timestamp_ms", in.timestamp_ms);
  filled_field(to, "disabled_features", in.disabled_features);
  field(to, "timeout_multiplier", in.timeout_multiplier);
  optional_field(to, "drain_eta_ms", in.drain_eta_ms);
  optional_field(to, "unhealthy_reason", in.unhealthy_reason);
  field(to, "recoverable", in.recoverable);
}

template <class W>
void fields(W& to, const MetricsReport& in) {
  field(to, "agent_id", in.agent_id);
  field(to, "timestamp_ms", in.timestamp_ms);
  field(to, "interval_ms", in.interval_ms);
  to.key("counters");
  to.begin_array(in.counters.size());
  for (const CounterMetric& counter : in.counters) {
    to.begin_struct();
    named_fields(to, counter);
    field(to, "value", counter.value);
    to.end_struct();
  }
  to.end_array();
  const auto finite = [](const GaugeMetric& gauge) { return std::isfinite(gauge.value); };
  to.key("gauges");
  to.begin_array(static_cast<std::size_t>(std::count_if(in.gauges.begin(), in.gauges.end(), finite)));
  for (const GaugeMetric& gauge : in.gauges) {
    if (!finite(gauge)) continue;
    to.begin_struct();
    named_fields(to, gauge);
    field(to, "value", gauge.value);
    to.end_struct();
  }
  to.end_array();
  to.key("histograms");
  to.begin_array(in.histograms.size());
  for (const HistogramMetric& histogram : in.histograms)
    write(to, histogram);
  to.end_array();
}

template <class W>
void fields(W& to, const ConfigUpdateRequest& in) {
  to.key("update_type");
  to.begin_struct();
  std::visit([&to](const auto& update) { update_fields(to, update); }, in.update);
  to.end_struct();
  field(to, "request_id", in.request_id);
  field(to, "timestamp_ms", in.timestamp_ms);
}

template <class W>
void fields(W& to, const FlowControlSignal& in) {
  optional_field(to, "correlation_id", in.correlation_id);
  field(to, "action", static_cast<std::int32_t>(in.action));
  optional_field(to, "buffer_available", in.buffer_available);
  field(to, "timestamp_ms", in.timestamp_ms);
}

template <class W>
void fields(W& to, const Pong& in) {
  // The ping's own payload comes back.
  field(to, "sequence", in.sequence);
  field(to, "timestamp_ms", in.ping_timestamp_ms);
}

template Result<std::string> encode_uds(const HandshakeResponse&, Encoding);
template Result<std::string> encode_uds(const AgentResponse&, Encoding);
template Result<std::string> encode_uds(const HealthStatus&, Encoding);
template Result<std::string> encode_uds(const MetricsReport&, Encoding);
template Result<std::string> encode_uds(const ConfigUpdateRequest&, Encoding);
template Result<std::string> encode_uds(const FlowControlSignal&, Encoding);
template Result<std::string> encode_uds(const Pong&, Encoding);
template Result<std::string> encode_uds(const ReverseRegistration&, Encoding);

}  // namespace sharingbus::transport::internal

#include <cmath>
#include <cstdlib>
#include <limits>
#include <utility>

#include "transport/codec/internal/agent_uds_decode.hpp"

namespace sharingbus::transport::internal {

using namespace agent_messages;  // NOLINT(google-build-using-namespace): the subject's vocabulary

namespace {

/// An enum of serde: a text for a variant without fields, a map with one entry for one with.
struct Variant {
  std::string_view name;
  /// Null for a text.
  const PayloadValue* content = nullptr;
};
Variant variant_of(const PayloadValue& in) {
  if (in.is_text()) return {in.bytes(), nullptr};
  if (!in.is_map() || in.size() != 1) return {};
  const auto member = *PayloadMembers(in).begin();
  return {member.key, &member.value};
}

/// Reads each element of an optional array of structs.
template <class Element, class Read>
void read_list(Fields& fields, std::string_view key, std::vector<Element>& out, Read read_one) {
  const PayloadValue* value = fields.next(key);
  if (value == nullptr || value->is_null()) return;
  if (!value->is_array()) return fields.wrong(key, "an array");
  out.reserve(value->size());
  for (const PayloadValue& each : PayloadElements(*value))
    read_one(each, out.emplace_back());
}

void read_capabilities(const PayloadValue& in, AgentCapabilities& out, Issue& issue) {
  Fields fields(in, "capabilities.", issue);
  fields.required("agent_id", out.agent_id);
  fields.required("name", out.name);
  fields.required("version", out.version);
  std::vector<std::int32_t> events;
  fields.defaulted("supported_events", events);
  for (const std::int32_t event : events)
    out.supported_events.push_back(static_cast<EventType>(event));
  if (const PayloadValue* features = fields.next("features")) {
    Fields each(*features, "capabilities.features.", issue);
    each.defaulted("streaming_body", out.features.streaming_body);
    each.defaulted("websocket", out.features.websocket);
    each.defaulted("guardrails", out.features.guardrails);
    each.defaulted("config_push", out.features.config_push);
    each.defaulted("metrics_export", out.features.metrics_export);
    each.defaulted("concurrent_requests", out.features.concurrent_requests);
    each.defaulted("cancellation", out.features.cancellation);
    each.defaulted("flow_control", out.features.flow_control);
    each.defaulted("health_reporting", out.features.health_reporting);
  }
  if (const PayloadValue* limits = fields.next("limits")) {
    Fields each(*limits, "capabilities.limits.", issue);
    each.defaulted("max_body_size", out.limits.max_body_size);
    each.defaulted("max_concurrency", out.limits.max_concurrency);
    each.defaulted("preferred_chunk_size", out.limits.preferred_chunk_size);
  }
}

void read_decision(const PayloadValue& in, Decision& out, Issue& issue) {
  const Variant variant = variant_of(in);
  if (variant.name == "allow") {
    out = Allow{};
  } else if (variant.content == nullptr) {
    issue.raise("decision is none");
  } else if (variant.name == "block") {
    Block block;
    Fields fields(*variant.content, "decision.block.", issue);
    fields.required("status", block.status);
    fields.optional("body", block.body);
    StringMap headers;
    fields.defaulted("headers", headers);
    for (auto& [name, value] : headers)
      block.headers.push_back({name, std::move(value)});
    out = std::move(block);
  } else if (variant.name == "redirect") {
    Redirect redirect;
    Fields fields(*variant.content, "decision.redirect.", issue);
    fields.required("url", redirect.url);
    fields.defaulted("status", redirect.status);
    out = std::move(redirect);
  } else if (variant.name == "challenge") {
    Challenge challenge;
    Fields fields(*variant.content, "decision.challenge.", issue);
    fields.required("challenge_type", challenge.challenge_type);
    fields.defaulted("params", challenge.params);
    out = std::move(challenge);
  } else {
    issue.raise("decision is none");
  }
}

void read_header_op(const PayloadValue& in, HeaderOp& out, Issue& issue) {
  const Variant variant = variant_of(in);
  const bool remove = variant.name == "remove";
  if (variant.content == nullptr || (!remove && variant.name != "set" && variant.name != "add")) {
    return issue.raise("a header operation is none of set, add and remove");
  }
  out.action = remove                  ? HeaderOp::Action::remove
               : variant.name == "add" ? HeaderOp::Action::add
                                       : HeaderOp::Action::set;
  Fields fields(*variant.content, "header operation: ", issue);
  fields.required("name", out.name);
  if (!remove) fields.required("value", out.value);
}

void read_audit(const PayloadValue& in, AuditMetadata& out, std::string& correlation_id, Issue& issue) {
  Fields fields(in, "audit.", issue);
  fields.defaulted("tags", out.tags);
  fields.defaulted("rule_ids", out.rule_ids);
  fields.optional("confidence", out.confidence);
  fields.defaulted("reason_codes", out.reason_codes);
  const PayloadValue* custom = fields.next("custom");
  if (custom == nullptr || custom->is_null()) return;
  if (!custom->is_map()) return issue.raise("audit.custom is no map");
  for (const auto& [key, value] : PayloadMembers(*custom)) {
    if (key == "correlation_id") {
      if (read(value, correlation_id) != kFine) issue.raise("audit.custom.correlation_id is not a text");
    } else if (read(value, AnyJson{out.custom_json[std::string(key)]}) != kFine) {
      issue.raise("audit.custom has what is not JSON");
    }
  }
}

void read_mutation(Fields& fields, std::string_view key, std::optional<BodyMutation>& out, Issue& issue) {
  const PayloadValue* value = fields.next(key);
  if (value == nullptr || value->is_null()) return;
  BodyMutation& mutation = out.emplace();
  Fields each(*value, "body_mutation.", issue);
  std::string data;
  const PayloadValue* content = each.next("data");
  if (content != nullptr && !content->is_null()) {
    if (read(*content, Bytes{data}) != kFine) each.wrong("data", "base64 text");
    mutation.data = std::move(data);
  }
  each.defaulted("chunk_index", mutation.chunk_index);
}

void read_websocket_decision(const PayloadValue& in, WebSocketDecision& out, Issue& issue) {
  const Variant variant = variant_of(in);
  if (variant.name == "allow" || variant.name == "drop") {
    out.action = variant.name == "drop" ? WebSocketDecision::Action::drop : WebSocketDecision::Action::allow;
  } else if (variant.name == "close" && variant.content != nullptr) {
    out.action = WebSocketDecision::Action::close;
    Fields fields(*variant.content, "websocket_decision.close.", issue);
    fields.required("code", out.code);
    fields.defaulted("reason", out.reason);
  } else {
    issue.raise("websocket_decision is none");
  }
}

void read_load(const PayloadValue& in, LoadMetrics& out, Issue& issue) {
  Fields fields(in, "load.", issue);
  fields.defaulted("in_flight", out.in_flight);
  fields.defaulted("queue_depth", out.queue_depth);
  fields.defaulted("avg_latency_ms", out.avg_latency_ms);
  fields.defaulted("p50_latency_ms", out.p50_latency_ms);
  fields.defaulted("p95_latency_ms", out.p95_latency_ms);
  fields.defaulted("p99_latency_ms", out.p99_latency_ms);
  fields.defaulted("requests_processed", out.requests_processed);
  fields.defaulted("requests_rejected", out.requests_rejected);
  fields.defaulted("requests_timed_out", out.requests_timed_out);
}

void read_resources(const PayloadValue& in, ResourceMetrics& out, Issue& issue) {
  Fields fields(in, "resources.", issue);
  fields.optional("cpu_percent", out.cpu_percent);
  fields.optional("memory_bytes", out.memory_bytes);
  fields.optional("memory_limit", out.memory_limit);
  fields.optional("active_threads", out.active_threads);
  fields.optional("open_fds", out.open_fds);
  fields.optional("fd_limit", out.fd_limit);
  fields.optional("connections", out.connections);
}

/// A number, or, in the form of the published library type, a struct that names it and has its details.
void read_state(const PayloadValue& in, HealthStatus& out, Issue& issue) {
  std::int32_t number = 0;
  if (read(in, number) == kFine) {
    out.state = static_cast<HealthState>(number);
    return;
  }
  Fields fields(in, "state.", issue);
  std::string_view status;
  fields.required("status", status);
  fields.defaulted("disabled_features", out.disabled_features);
  fields.defaulted("timeout_multiplier", out.timeout_multiplier);
  fields.optional("eta_ms", out.drain_eta_ms);
  fields.optional("reason", out.unhealthy_reason);
  fields.defaulted("recoverable", out.recoverable);
  out.state = status == "healthy"     ? HealthState::healthy
              : status == "degraded"  ? HealthState::degraded
              : status == "draining"  ? HealthState::draining
              : status == "unhealthy" ? HealthState::unhealthy
                                      : HealthState::unspecified;
}

template <class Metric>
void read_named(Fields& fields, Metric& out) {
  fields.required("name", out.name);
  fields.optional("help", out.help);
  fields.defaulted("labels", out.labels);
}

/// A number or its text; `+Inf` and `Inf` are infinity.
bool read_bound(const PayloadValue& in, double& out) {
  if (read(in, out) == kFine) return !std::isnan(out);
  std::string text;
  if (read(in, text) != kFine || text.empty()) return false;
  if (text == "+Inf" || text == "Inf") {
    out = std::numeric_limits<double>::infinity();
    return true;
  }
  char* end = nullptr;
  out = std::strtod(text.c_str(), &end);
  return end == text.c_str() + text.size() && !std::isnan(out);
}

void read_histogram(const PayloadValue& in, HistogramMetric& out, Issue& issue) {
  Fields fields(in, "histograms.", issue);
  read_named(fields, out);
  fields.required("sum", out.sum);
  fields.required("count", out.count);
  read_list(fields, "buckets", out.buckets, [&issue](const PayloadValue& each, HistogramBucket& bucket) {
    Fields entry(each, "histograms.buckets.", issue);
    const PayloadValue* bound = entry.next("le");
    if (bound == nullptr || !read_bound(*bound, bucket.le)) entry.wrong("le", "a number");
    entry.required("count", bucket.count);
  });
}

void read_rule(const PayloadValue& in, RuleDefinition& out, Issue& issue) {
  Fields fields(in, "rules.", issue);
  fields.required("id", out.id);
  fields.defaulted("priority", out.priority);
  fields.defaulted("definition", AnyJson{out.definition_json});
  fields.defaulted("enabled", out.enabled);
  fields.optional("description", out.description);
  fields.defaulted("tags", out.tags);
}

void read_update(const PayloadValue& in, ConfigUpdate& out, Issue& issue) {
  const PayloadValue* type = in.is_map() ? in.find("type") : nullptr;
  const std::string_view name = type != nullptr && type->is_text() ? type->bytes() : "";
  Fields fields(in, "update_type.", issue);
  if (name == "request_reload") {
    out = RequestReload{};
  } else if (name == "rule_update") {
    RuleUpdate update;
    fields.required("rule_set", update.rule_set);
    read_list(fields, "rules", update.rules,
              [&issue](const PayloadValue& each, RuleDefinition& rule) { read_rule(each, rule, issue); });
    fields.defaulted("remove_rules", update.remove_rules);
    out = std::move(update);
  } else if (name == "list_update") {
    ListUpdate update;
    fields.required("list_id", update.list_id);
    fields.defaulted("add", update.add);
    fields.defaulted("remove", update.remove);
    out = std::move(update);
  } else if (name == "restart_required") {
    RestartRequired update;
    fields.required("reason", update.reason);
    fields.defaulted("grace_period_ms", update.grace_period_ms);
    out = std::move(update);
  } else if (name == "config_error") {
    ConfigError update;
    fields.required("error", update.error);
    fields.optional("field", update.field);
    out = std::move(update);
  } else {
    issue.raise("update_type.type names none");
  }
}

/// A number; the published library type has it as a text, or in a struct.
void read_action(const PayloadValue& in, FlowAction& out, Issue& issue) {
  std::int32_t number = 0;
  if (read(in, number) == kFine) {
    out = static_cast<FlowAction>(number);
    return;
  }
  std::string_view name = variant_of(in).name;
  if (in.is_map()) {
    for (const char* key : {"type", "action"}) {
      if (const PayloadValue* value = in.find(key); value != nullptr && value->is_text()) name = value->bytes();
    }
  }
  if (name == "pause") {
    out = FlowAction::pause;
  } else if (name == "resume") {
    out = FlowAction::resume;
  } else if (name == "update_capacity") {
    out = FlowAction::update_capacity;
  } else {
    issue.raise("action is none");
  }
}

}  // namespace

void read_message(const PayloadValue& in, HandshakeResponse& out, Issue& issue) {
  Fields fields(in, "", issue);
  fields.required("protocol_version", out.protocol_version);
  const PayloadValue* capabilities = fields.next("capabilities");
  if (capabilities != nullptr && !capabilities->is_null()) {
    read_capabilities(*capabilities, out.capabilities.emplace(), issue);
  }
  fields.required("success", out.success);
  fields.optional("error", out.error);
  std::string_view encoding = "json";
  fields.defaulted("encoding", encoding);
  if (encoding != "json" && encoding != "msgpack") fields.wrong("encoding", "json or msgpack");
  out.encoding = encoding == "msgpack" ? Encoding::msgpack : Encoding::json;
}

void read_message(const PayloadValue& in, ReverseRegistration& out, Issue& issue) {
  Fields fields(in, "", issue);
  fields.required("protocol_version", out.protocol_version);
  fields.required("agent_id", out.agent_id);
  const PayloadValue* capabilities = fields.next("capabilities");
  if (capabilities == nullptr) return issue.raise("capabilities is missing");
  read_capabilities(*capabilities, out.capabilities, issue);
  fields.optional("auth_token", out.auth_token);
  fields.defaulted("metadata", AnyJson{out.metadata_json});
}

void read_message(const PayloadValue& in, AgentResponse& out, Issue& issue) {
  Fields fields(in, "", issue);
  std::uint32_t version = 0;
  fields.required("version", version);
  const PayloadValue* decision = fields.next("decision");
  if (decision == nullptr) return issue.raise("decision is missing");
  read_decision(*decision, out.decision, issue);
  const auto op = [&issue](const PayloadValue& each, HeaderOp& one) { read_header_op(each, one, issue); };
  read_list(fields, "request_headers", out.request_headers, op);
  read_list(fields, "response_headers", out.response_headers, op);
  fields.defaulted("routing_metadata", out.routing_metadata);
  const PayloadValue* audit = fields.next("audit");
  if (audit != nullptr && !audit->is_null()) read_audit(*audit, out.audit, out.correlation_id, issue);
  if (out.correlation_id.empty()) issue.raise("audit.custom.correlation_id is missing");
  fields.defaulted("needs_more", out.needs_more);
  read_mutation(fields, "request_body_mutation", out.request_body_mutation, issue);
  read_mutation(fields, "response_body_mutation", out.response_body_mutation, issue);
  const PayloadValue* websocket = fields.next("websocket_decision");
  if (websocket != nullptr && !websocket->is_null()) {
    read_websocket_decision(*websocket, out.websocket_decision.emplace(), issue);
  }
}

void read_message(const PayloadValue& in, HealthStatus& out, Issue& issue) {
  Fields fields(in, "", issue);
  fields.defaulted("agent_id", out.agent_id);
  const PayloadValue* state = fields.next("state");
  if (state == nullptr) return issue.raise("state is missing");
  read_state(*state, out, issue);
  fields.optional("message", out.message);
  const PayloadValue* load = fields.next("load");
  if (load != nullptr && !load->is_null()) read_load(*load, out.load.emplace(), issue);
  const PayloadValue* resources = fields.next("resources");
  if (resources != nullptr && !resources->is_null()) read_resources(*resources, out.resources.emplace(), issue);
  fields.optional("valid_until_ms", out.valid_until_ms);
  fields.defaulted("timestamp_ms", out.timestamp_ms);
  fields.defaulted("disabled_features", out.disabled_features);
  fields.defaulted("timeout_multiplier", out.timeout_multiplier);
  fields.optional("drain_eta_ms", out.drain_eta_ms);
  fields.optional("unhealthy_reason", out.unhealthy_reason);
  fields.defaulted("recoverable", out.recoverable);
}

void read_message(const PayloadValue& in, MetricsReport& out, Issue& issue) {
  Fields fields(in, "", issue);
  fields.required("agent_id", out.agent_id);
  fields.required("timestamp_ms", out.timestamp_ms);
  fields.required("interval_ms", out.interval_ms);
  read_list(fields, "counters", out.counters, [&issue](const PayloadValue& each, CounterMetric& counter) {
    Fields entry(each, "counters.", issue);
    read_named(entry, counter);
    entry.required("value", counter.value);
  });
  read_list(fields, "gauges", out.gauges, [&issue](const PayloadValue& each, GaugeMetric& gauge) {
    Fields entry(each, "gauges.", issue);
    read_named(entry, gauge);
    entry.required("value", gauge.value);
  });
  read_list(fields, "histograms", out.histograms,
            [&issue](const PayloadValue& each, HistogramMetric& histogram) { read_histogram(each, histogram, issue); });
}

void read_message(const PayloadValue& in, ConfigUpdateRequest& out, Issue& issue) {
  Fields fields(in, "", issue);
  const PayloadValue* update = fields.next("update_type");
  if (update == nullptr) return issue.raise("update_type is missing");
  read_update(*update, out.update, issue);
  fields.required("request_id", out.request_id);
  fields.required("timestamp_ms", out.timestamp_ms);
}

void read_message(const PayloadValue& in, FlowControlSignal& out, Issue& issue) {
  Fields fields(in, "", issue);
  fields.optional("correlation_id", out.correlation_id);
  const PayloadValue* action = fields.next("action");
  if (action == nullptr) return issue.raise("action is missing");
  read_action(*action, out.action, issue);
  fields.optional("buffer_available", out.buffer_available);
  fields.defaulted("timestamp_ms", out.timestamp_ms);
}

void read_message(const PayloadValue& in, Pong& out, Issue& issue) {
  Fields fields(in, "", issue);
  fields.defaulted("sequence", out.sequence);
  fields.defaulted("timestamp_ms", out.ping_timestamp_ms);
}

}  // namespace sharingbus::transport::internal

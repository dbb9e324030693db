#include <cstdint>
#include <type_traits>
#include <utility>
#include <variant>

#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>
#include <boost/json/string.hpp>

#include "transport/codec/internal/agent_wire.hpp"
#include "transport/codec/internal/agent_wire_common.hpp"

namespace sharingbus::transport::internal {

using namespace agent_messages;  // NOLINT(google-build-using-namespace): this file exists to convert between the two

namespace {

AgentCapabilities from_wire(const agent_wire::AgentCapabilities& in) {
  AgentCapabilities out;
  out.protocol_version = in.protocol_version();
  out.agent_id = in.agent_id();
  out.name = in.name();
  out.version = in.version();
  for (const int event : in.supported_events())
    out.supported_events.push_back(to_enum<EventType>(event));
  const auto& features = in.features();
  out.features = {features.streaming_body(), features.websocket(),      features.guardrails(),
                  features.config_push(),    features.metrics_export(), features.concurrent_requests(),
                  features.cancellation(),   features.flow_control(),   features.health_reporting()};
  const auto& limits = in.limits();
  out.limits = {limits.max_body_size(), limits.max_concurrency(), limits.preferred_chunk_size(),
                optional_of<std::uint64_t>(limits.has_max_memory(), limits.max_memory()),
                optional_of<std::uint64_t>(limits.has_max_processing_time_ms(), limits.max_processing_time_ms())};
  const auto& health = in.health_config();
  out.health_config = {health.report_interval_ms(), health.include_load_metrics(), health.include_resource_metrics()};
  return out;
}

void to_wire(const AgentCapabilities& in, agent_wire::AgentCapabilities& out) {
  out.set_protocol_version(in.protocol_version);
  out.set_agent_id(to_valid_utf8(in.agent_id));
  out.set_name(to_valid_utf8(in.name));
  out.set_version(to_valid_utf8(in.version));
  for (const EventType event : in.supported_events)
    out.add_supported_events(static_cast<int>(event));
  auto& features = *out.mutable_features();
  features.set_streaming_body(in.features.streaming_body);
  features.set_websocket(in.features.websocket);
  features.set_guardrails(in.features.guardrails);
  features.set_config_push(in.features.config_push);
  features.set_metrics_export(in.features.metrics_export);
  features.set_concurrent_requests(in.features.concurrent_requests);
  features.set_cancellation(in.features.cancellation);
  features.set_flow_control(in.features.flow_control);
  features.set_health_reporting(in.features.health_reporting);
  auto& limits = *out.mutable_limits();
  limits.set_max_body_size(in.limits.max_body_size);
  limits.set_max_concurrency(in.limits.max_concurrency);
  limits.set_preferred_chunk_size(in.limits.preferred_chunk_size);
  if (in.limits.max_memory) limits.set_max_memory(*in.limits.max_memory);
  if (in.limits.max_processing_time_ms) limits.set_max_processing_time_ms(*in.limits.max_processing_time_ms);
  auto& health = *out.mutable_health_config();
  health.set_report_interval_ms(in.health_config.report_interval_ms);
  health.set_include_load_metrics(in.health_config.include_load_metrics);
  health.set_include_resource_metrics(in.health_config.include_resource_metrics);
}

HandshakeResponse from_wire(const agent_wire::HandshakeResponse& in) {
  HandshakeResponse out;
  out.protocol_version = in.protocol_version();
  if (in.has_capabilities()) out.capabilities = from_wire(in.capabilities());
  out.success = in.success();
  out.error = optional_of<std::string>(in.has_error(), in.error());
  return out;
}

std::vector<HeaderOp> from_wire(const google::protobuf::RepeatedPtrField<agent_wire::HeaderOp>& in) {
  std::vector<HeaderOp> out;
  out.reserve(static_cast<std::size_t>(in.size()));
  for (const auto& op : in) {
    switch (op.operation_case()) {
      case agent_wire::HeaderOp::kSet:
        out.push_back({HeaderOp::Action::set, op.set().name(), op.set().value()});
        break;
      case agent_wire::HeaderOp::kAdd:
        out.push_back({HeaderOp::Action::add, op.add().name(), op.add().value()});
        break;
      case agent_wire::HeaderOp::kRemove:
        out.push_back({HeaderOp::Action::remove, op.remove(), {}});
        break;
      case agent_wire::HeaderOp::OPERATION_NOT_SET:
        break;  // says nothing to do
    }
  }
  return out;
}

void to_wire(const std::vector<HeaderOp>& in, google::protobuf::RepeatedPtrField<agent_wire::HeaderOp>& out) {
  for (const HeaderOp& op : in) {
    auto& wire_op = *out.Add();
    if (op.action == HeaderOp::Action::remove) {
      wire_op.set_remove(to_valid_utf8(op.name));
      continue;
    }
    auto& header = op.action == HeaderOp::Action::set ? *wire_op.mutable_set() : *wire_op.mutable_add();
    header.set_name(to_valid_utf8(op.name));
    header.set_value(to_valid_utf8(op.value));
  }
}

// Some agents write JSON text into these, others plain text.
std::string json_of(const std::string& text) {
  boost::json::error_code code;
  boost::json::parse(text, code);
  return code ? boost::json::serialize(boost::json::string(text)) : text;
}

AuditMetadata from_wire(const agent_wire::AuditMetadata& in) {
  AuditMetadata out{.tags = to_texts(in.tags()),
                    .rule_ids = to_texts(in.rule_ids()),
                    .confidence = optional_of<float>(in.has_confidence(), in.confidence()),
                    .reason_codes = to_texts(in.reason_codes()),
                    .custom_json = {}};
  for (const auto& [key, value] : in.custom())
    out.custom_json[key] = json_of(value);
  return out;
}

void to_wire(const AuditMetadata& in, agent_wire::AuditMetadata& out) {
  from_texts(in.tags, *out.mutable_tags());
  from_texts(in.rule_ids, *out.mutable_rule_ids());
  if (in.confidence) out.set_confidence(*in.confidence);
  from_texts(in.reason_codes, *out.mutable_reason_codes());
  from_map(in.custom_json, *out.mutable_custom());
}

/// Nothing, with the reason, when there is no usable decision.
std::optional<Decision> decision_of(const agent_wire::AgentResponse& in, std::string& error) {
  const auto in_range = [&error](std::uint32_t status) {
    if (status > UINT16_MAX) error = "decision status is above 65535";
    return error.empty();
  };
  switch (in.decision_case()) {
    case agent_wire::AgentResponse::kAllow:
      return Allow{};
    case agent_wire::AgentResponse::kBlock:
      if (!in_range(in.block().status())) return std::nullopt;
      return Block{static_cast<std::uint16_t>(in.block().status()),
                   optional_of<std::string>(in.block().has_body(), in.block().body()),
                   to_headers(in.block().headers())};
    case agent_wire::AgentResponse::kRedirect:
      if (!in_range(in.redirect().status())) return std::nullopt;
      return Redirect{in.redirect().url(), static_cast<std::uint16_t>(in.redirect().status())};
    case agent_wire::AgentResponse::kChallenge:
      return Challenge{in.challenge().challenge_type(), to_map(in.challenge().params())};
    case agent_wire::AgentResponse::DECISION_NOT_SET:
      break;
  }
  // While more is needed nothing is decided. Otherwise nobody may take silence for consent.
  if (in.needs_more()) return Allow{};
  error = "decision is missing";
  return std::nullopt;
}

AgentToProxy from_wire(agent_wire::AgentResponse& in) {
  std::string error;
  auto decision = decision_of(in, error);
  if (!decision) {
    return InvalidMessage{.kind = AgentResponse::event_name, .correlation_id = in.correlation_id(), .error = error};
  }
  AgentResponse out;
  out.correlation_id = std::move(*in.mutable_correlation_id());
  out.decision = *std::move(decision);
  out.request_headers = from_wire(in.request_headers());
  out.response_headers = from_wire(in.response_headers());
  if (in.has_audit()) out.audit = from_wire(in.audit());
  out.processing_time_ms = optional_of<std::uint64_t>(in.has_processing_time_ms(), in.processing_time_ms());
  out.needs_more = in.needs_more();
  return out;
}

LoadMetrics from_wire(const agent_wire::LoadMetrics& in) {
  return {in.in_flight(),          in.queue_depth(),       in.avg_latency_ms(),
          in.p50_latency_ms(),     in.p95_latency_ms(),    in.p99_latency_ms(),
          in.requests_processed(), in.requests_rejected(), in.requests_timed_out()};
}

void to_wire(const LoadMetrics& in, agent_wire::LoadMetrics& out) {
  out.set_in_flight(in.in_flight);
  out.set_queue_depth(in.queue_depth);
  out.set_avg_latency_ms(in.avg_latency_ms);
  out.set_p50_latency_ms(in.p50_latency_ms);
  out.set_p95_latency_ms(in.p95_latency_ms);
  out.set_p99_latency_ms(in.p99_latency_ms);
  out.set_requests_processed(in.requests_processed);
  out.set_requests_rejected(in.requests_rejected);
  out.set_requests_timed_out(in.requests_timed_out);
}

ResourceMetrics from_wire(const agent_wire::ResourceMetrics& in) {
  return {.cpu_percent = optional_of<float>(in.has_cpu_percent(), in.cpu_percent()),
          .memory_bytes = optional_of<std::uint64_t>(in.has_memory_bytes(), in.memory_bytes()),
          .memory_limit = optional_of<std::uint64_t>(in.has_memory_limit(), in.memory_limit()),
          .active_threads = optional_of<std::uint32_t>(in.has_active_threads(), in.active_threads()),
          .open_fds = optional_of<std::uint32_t>(in.has_open_fds(), in.open_fds()),
          .fd_limit = optional_of<std::uint32_t>(in.has_fd_limit(), in.fd_limit()),
          .connections = optional_of<std::uint32_t>(in.has_connections(), in.connections())};
}

void to_wire(const ResourceMetrics& in, agent_wire::ResourceMetrics& out) {
  if (in.cpu_percent) out.set_cpu_percent(*in.cpu_percent);
  if (in.memory_bytes) out.set_memory_bytes(*in.memory_bytes);
  if (in.memory_limit) out.set_memory_limit(*in.memory_limit);
  if (in.active_threads) out.set_active_threads(*in.active_threads);
  if (in.open_fds) out.set_open_fds(*in.open_fds);
  if (in.fd_limit) out.set_fd_limit(*in.fd_limit);
  if (in.connections) out.set_connections(*in.connections);
}

HealthStatus from_wire(const agent_wire::HealthStatus& in) {
  HealthStatus out;
  out.agent_id = in.agent_id();
  out.state = to_enum<HealthState>(in.state());
  out.message = optional_of<std::string>(in.has_message(), in.message());
  if (in.has_load()) out.load = from_wire(in.load());
  if (in.has_resources()) out.resources = from_wire(in.resources());
  out.valid_until_ms = optional_of<std::uint64_t>(in.has_valid_until_ms(), in.valid_until_ms());
  out.timestamp_ms = in.timestamp_ms();
  out.disabled_features = to_texts(in.disabled_features());
  out.timeout_multiplier = in.timeout_multiplier();
  out.drain_eta_ms = optional_of<std::uint64_t>(in.has_drain_eta_ms(), in.drain_eta_ms());
  out.unhealthy_reason = optional_of<std::string>(in.has_unhealthy_reason(), in.unhealthy_reason());
  out.recoverable = in.recoverable();
  return out;
}

template <class Metric, class Wire>
Metric named(const Wire& in) {
  Metric out;
  out.name = in.name();
  // An empty help is none.
  if (!in.help().empty()) out.help = in.help();
  out.labels = to_map(in.labels());
  return out;
}
template <class Metric, class Wire>
void to_named(const Metric& in, Wire& out) {
  out.set_name(to_valid_utf8(in.name));
  if (in.help) out.set_help(to_valid_utf8(*in.help));
  from_map(in.labels, *out.mutable_labels());
}

MetricsReport from_wire(const agent_wire::MetricsReport& in) {
  MetricsReport out;
  out.agent_id = in.agent_id();
  out.timestamp_ms = in.timestamp_ms();
  out.interval_ms = in.interval_ms();
  for (const auto& counter : in.counters()) {
    out.counters.push_back(named<CounterMetric>(counter));
    out.counters.back().value = counter.value();
  }
  for (const auto& gauge : in.gauges()) {
    out.gauges.push_back(named<GaugeMetric>(gauge));
    out.gauges.back().value = gauge.value();
  }
  for (const auto& histogram : in.histograms()) {
    HistogramMetric metric = named<HistogramMetric>(histogram);
    metric.sum = histogram.sum();
    metric.count = histogram.count();
    for (const auto& bucket : histogram.buckets())
      metric.buckets.push_back({bucket.le(), bucket.count()});
    out.histograms.push_back(std::move(metric));
  }
  return out;
}

RuleDefinition from_wire(const agent_wire::RuleDefinition& in) {
  return {.id = in.id(),
          .priority = in.priority(),
          .definition_json = in.definition_json(),
          .enabled = in.enabled(),
          .description = optional_of<std::string>(in.has_description(), in.description()),
          .tags = to_texts(in.tags())};
}

ConfigUpdateRequest from_wire(const agent_wire::ConfigUpdateRequest& in) {
  ConfigUpdateRequest out;
  out.request_id = in.request_id();
  out.timestamp_ms = in.timestamp_ms();
  switch (in.update_type_case()) {
    case agent_wire::ConfigUpdateRequest::kRuleUpdate: {
      RuleUpdate update{.rule_set = in.rule_update().rule_set(),
                        .rules = {},
                        .remove_rules = to_texts(in.rule_update().remove_rules())};
      for (const auto& rule : in.rule_update().rules())
        update.rules.push_back(from_wire(rule));
      out.update = std::move(update);
      break;
    }
    case agent_wire::ConfigUpdateRequest::kListUpdate:
      out.update =
          ListUpdate{in.list_update().list_id(), to_texts(in.list_update().add()), to_texts(in.list_update().remove())};
      break;
    case agent_wire::ConfigUpdateRequest::kRestartRequired:
      out.update = RestartRequired{in.restart_required().reason(), in.restart_required().grace_period_ms()};
      break;
    case agent_wire::ConfigUpdateRequest::kConfigError:
      out.update = ConfigError{in.config_error().error(),
                               optional_of<std::string>(in.config_error().has_field(), in.config_error().field())};
      break;
    case agent_wire::ConfigUpdateRequest::kRequestReload:
    case agent_wire::ConfigUpdateRequest::UPDATE_TYPE_NOT_SET:
      break;  // which is what peers take a missing one for
  }
  return out;
}

void to_wire(const RequestReload&, agent_wire::ConfigUpdateRequest& out) {
  out.mutable_request_reload();
}
void to_wire(const RuleUpdate& in, agent_wire::ConfigUpdateRequest& out) {
  auto& update = *out.mutable_rule_update();
  update.set_rule_set(to_valid_utf8(in.rule_set));
  for (const RuleDefinition& rule : in.rules) {
    auto& wire_rule = *update.add_rules();
    wire_rule.set_id(to_valid_utf8(rule.id));
    wire_rule.set_priority(rule.priority);
    wire_rule.set_definition_json(to_valid_utf8(rule.definition_json));
    wire_rule.set_enabled(rule.enabled);
    if (rule.description) wire_rule.set_description(to_valid_utf8(*rule.description));
    from_texts(rule.tags, *wire_rule.mutable_tags());
  }
  from_texts(in.remove_rules, *update.mutable_remove_rules());
}
void to_wire(const ListUpdate& in, agent_wire::ConfigUpdateRequest& out) {
  auto& update = *out.mutable_list_update();
  update.set_list_id(to_valid_utf8(in.list_id));
  from_texts(in.add, *update.mutable_add());
  from_texts(in.remove, *update.mutable_remove());
}
void to_wire(const RestartRequired& in, agent_wire::ConfigUpdateRequest& out) {
  out.mutable_restart_required()->set_reason(to_valid_utf8(in.reason));
  out.mutable_restart_required()->set_grace_period_ms(in.grace_period_ms);
}
void to_wire(const ConfigError& in, agent_wire::ConfigUpdateRequest& out) {
  out.mutable_config_error()->set_error(to_valid_utf8(in.error));
  if (in.field) out.mutable_config_error()->set_field(to_valid_utf8(*in.field));
}

}  // namespace

AgentToProxy from_wire(agent_wire::AgentToProxy& in) {
  using Case = agent_wire::AgentToProxy::MessageCase;
  switch (in.message_case()) {
    case Case::kHandshake:
      return from_wire(in.handshake());
    case Case::kResponse:
      return from_wire(*in.mutable_response());
    case Case::kHealth:
      return from_wire(in.health());
    case Case::kMetrics:
      return from_wire(in.metrics());
    case Case::kConfigUpdate:
      return from_wire(in.config_update());
    case Case::kFlowControl: {
      const auto& flow = in.flow_control();
      return FlowControlSignal{optional_of<std::string>(flow.has_correlation_id(), flow.correlation_id()),
                               to_enum<FlowAction>(flow.action()),
                               optional_of<std::uint64_t>(flow.has_buffer_available(), flow.buffer_available()),
                               flow.timestamp_ms()};
    }
    case Case::kPong:
      return Pong{in.pong().sequence(), in.pong().ping_timestamp_ms(), in.pong().timestamp_ms()};
    case Case::kLog: {
      const auto& log = in.log();
      return LogMessage{to_enum<LogLevel>(log.level()), log.message(),
                        optional_of<std::string>(log.has_correlation_id(), log.correlation_id()), to_map(log.fields()),
                        log.timestamp_ms()};
    }
    case Case::MESSAGE_NOT_SET:
      break;
  }
  return UnknownMessage{};
}

void to_wire(const HandshakeResponse& in, agent_wire::AgentToProxy& envelope) {
  auto& out = *envelope.mutable_handshake();
  out.set_protocol_version(in.protocol_version);
  if (in.capabilities) to_wire(*in.capabilities, *out.mutable_capabilities());
  out.set_success(in.success);
  if (in.error) out.set_error(to_valid_utf8(*in.error));
}

void to_wire(const AgentResponse& in, agent_wire::AgentToProxy& envelope) {
  auto& out = *envelope.mutable_response();
  out.set_correlation_id(to_valid_utf8(in.correlation_id));
  if (const auto* block = std::get_if<Block>(&in.decision)) {
    out.mutable_block()->set_status(block->status);
    if (block->body) out.mutable_block()->set_body(to_valid_utf8(*block->body));
    from_headers(block->headers, *out.mutable_block()->mutable_headers());
  } else if (const auto* redirect = std::get_if<Redirect>(&in.decision)) {
    out.mutable_redirect()->set_url(to_valid_utf8(redirect->url));
    out.mutable_redirect()->set_status(redirect->status);
  } else if (const auto* challenge = std::get_if<Challenge>(&in.decision)) {
    out.mutable_challenge()->set_challenge_type(to_valid_utf8(challenge->challenge_type));
    from_map(challenge->params, *out.mutable_challenge()->mutable_params());
  } else {
    out.mutable_allow();
  }
  to_wire(in.request_headers, *out.mutable_request_headers());
  to_wire(in.response_headers, *out.mutable_response_headers());
  if (in.audit != AuditMetadata{}) to_wire(in.audit, *out.mutable_audit());
  if (in.processing_time_ms) out.set_processing_time_ms(*in.processing_time_ms);
  out.set_needs_more(in.needs_more);
}

void to_wire(const HealthStatus& in, agent_wire::AgentToProxy& envelope) {
  auto& out = *envelope.mutable_health();
  out.set_agent_id(to_valid_utf8(in.agent_id));
  out.set_state(static_cast<int>(in.state));
  if (in.message) out.set_message(to_valid_utf8(*in.message));
  if (in.load) to_wire(*in.load, *out.mutable_load());
  if (in.resources) to_wire(*in.resources, *out.mutable_resources());
  if (in.valid_until_ms) out.set_valid_until_ms(*in.valid_until_ms);
  out.set_timestamp_ms(in.timestamp_ms);
  from_texts(in.disabled_features, *out.mutable_disabled_features());
  out.set_timeout_multiplier(in.timeout_multiplier);
  if (in.drain_eta_ms) out.set_drain_eta_ms(*in.drain_eta_ms);
  if (in.unhealthy_reason) out.set_unhealthy_reason(to_valid_utf8(*in.unhealthy_reason));
  out.set_recoverable(in.recoverable);
}

void to_wire(const MetricsReport& in, agent_wire::AgentToProxy& envelope) {
  auto& out = *envelope.mutable_metrics();
  out.set_agent_id(to_valid_utf8(in.agent_id));
  out.set_timestamp_ms(in.timestamp_ms);
  out.set_interval_ms(in.interval_ms);
  for (const CounterMetric& counter : in.counters) {
    auto& metric = *out.add_counters();
    to_named(counter, metric);
    metric.set_value(counter.value);
  }
  for (const GaugeMetric& gauge : in.gauges) {
    auto& metric = *out.add_gauges();
    to_named(gauge, metric);
    metric.set_value(gauge.value);
  }
  for (const HistogramMetric& histogram : in.histograms) {
    auto& metric = *out.add_histograms();
    to_named(histogram, metric);
    metric.set_sum(histogram.sum);
    metric.set_count(histogram.count);
    for (const HistogramBucket& bucket : histogram.buckets) {
      metric.add_buckets()->set_le(bucket.le);
      metric.mutable_buckets()->rbegin()->set_count(bucket.count);
    }
  }
}

void to_wire(const ConfigUpdateRequest& in, agent_wire::AgentToProxy& envelope) {
  auto& out = *envelope.mutable_config_update();
  out.set_request_id(to_valid_utf8(in.request_id));
  out.set_timestamp_ms(in.timestamp_ms);
  std::visit([&out](const auto& update) { to_wire(update, out); }, in.update);
}

void to_wire(const FlowControlSignal& in, agent_wire::AgentToProxy& envelope) {
  auto& out = *envelope.mutable_flow_control();
  if (in.correlation_id) out.set_correlation_id(to_valid_utf8(*in.correlation_id));
  out.set_action(static_cast<int>(in.action));
  if (in.buffer_available) out.set_buffer_available(*in.buffer_available);
  out.set_timestamp_ms(in.timestamp_ms);
}

void to_wire(const Pong& in, agent_wire::AgentToProxy& envelope) {
  auto& out = *envelope.mutable_pong();
  out.set_sequence(in.sequence);
  out.set_ping_timestamp_ms(in.ping_timestamp_ms);
  out.set_timestamp_ms(in.timestamp_ms);
}

void to_wire(const LogMessage& in, agent_wire::AgentToProxy& envelope) {
  auto& out = *envelope.mutable_log();
  out.set_level(static_cast<int>(in.level));
  out.set_message(to_valid_utf8(in.message));
  if (in.correlation_id) out.set_correlation_id(to_valid_utf8(*in.correlation_id));
  from_map(in.fields, *out.mutable_fields());
  out.set_timestamp_ms(in.timestamp_ms);
}

}  // namespace sharingbus::transport::internal

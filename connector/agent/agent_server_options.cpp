#include "connector/agent/agent_server_options.hpp"

#include <boost/json/parse.hpp>

namespace sharingbus::connector {
namespace {

constexpr std::size_t kMaxWindow = 1'000'000;

Error invalid(std::string_view field, std::string_view rule) {
  return {errc::invalid_argument, std::string(field) + " must be " + std::string(rule)};
}

}  // namespace

transport::agent_messages::AgentCapabilities default_agent_capabilities() {
  using enum transport::agent_messages::EventType;
  transport::agent_messages::AgentCapabilities out;
  out.agent_id = "sharingbus";
  out.name = "sharingbus";
  out.version = "1";
  out.supported_events = {request_headers,  request_body_chunk, response_headers,  response_body_chunk,
                          request_complete, websocket_frame,    guardrail_inspect, configure};
  out.features = {.streaming_body = true,
                  .websocket = true,
                  .guardrails = true,
                  .config_push = true,
                  .metrics_export = true,
                  .concurrent_requests = 100,
                  .cancellation = true,
                  .flow_control = true,
                  .health_reporting = true};
  out.limits.max_processing_time_ms = 5000;
  return out;
}

Result<> AgentServerOptions::validate() const {
  if (capabilities.agent_id.empty()) return invalid("capabilities.agent_id", "set");
  if (capabilities.name.empty()) return invalid("capabilities.name", "set");
  if (fail_mode != AgentFailMode::closed && fail_mode != AgentFailMode::open) {
    return invalid("fail_mode", "closed or open");
  }
  if (processing_timeout <= Duration::zero()) return invalid("processing_timeout", "above 0");
  if (handshake_timeout <= Duration::zero()) return invalid("handshake_timeout", "above 0");
  if (max_concurrent == 0) return invalid("max_concurrent", "at least 1");
  if (window.controls == 0) return invalid("window.controls", "at least 1");
  if (window.requests <= max_concurrent) return invalid("window.requests", "above max_concurrent");
  if (std::size_t{window.requests} + window.controls > kMaxWindow) {
    return invalid("window", "at most 1000000 messages in all");
  }
  if (pause_waiting >= window.requests) return invalid("pause_waiting", "below window.requests");
  if (max_connections == 0) return invalid("max_connections", "at least 1");
  if (health_interval < Duration::zero()) return invalid("health_interval", "0 or above");
  if (metrics_interval < Duration::zero()) return invalid("metrics_interval", "0 or above");
  return {};
}

Result<> ReverseOptions::validate() const {
  if (connections == 0) return invalid("connections", "at least 1");
  if (connect_timeout <= Duration::zero()) return invalid("connect_timeout", "above 0");
  if (backoff.base_ms == 0) return invalid("backoff.base_ms", "above 0");
  if (backoff.cap_ms < backoff.base_ms) return invalid("backoff.cap_ms", "at least backoff.base_ms");
  if (stable_after <= Duration::zero()) return invalid("stable_after", "above 0");
  if (!metadata_json.empty()) {
    boost::json::error_code code;
    boost::json::parse(metadata_json, code);
    if (code) return invalid("metadata_json", "JSON");
  }
  return {};
}

}  // namespace sharingbus::connector

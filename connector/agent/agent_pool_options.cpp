#include "connector/agent/agent_pool_options.hpp"

#include <algorithm>

namespace sharingbus::connector {
namespace {

Error invalid(std::string_view field, std::string_view rule) {
  return {errc::invalid_argument, std::string(field) + " must be " + std::string(rule)};
}

Result<> validate_times(const AgentPoolOptions& options) {
  if (options.connect_timeout <= Duration::zero()) return invalid("connect_timeout", "above 0");
  if (options.request_timeout <= Duration::zero()) return invalid("request_timeout", "above 0");
  if (options.reconnect_interval <= Duration::zero()) return invalid("reconnect_interval", "above 0");
  if (options.reconnect_interval_max < options.reconnect_interval) {
    return invalid("reconnect_interval_max", "at least reconnect_interval");
  }
  if (options.drain_timeout < Duration::zero()) return invalid("drain_timeout", "0 or above");
  if (options.health_check_interval <= Duration::zero()) return invalid("health_check_interval", "above 0");
  if (options.flow_control_wait <= Duration::zero()) return invalid("flow_control_wait", "above 0");
  if (options.sticky_session_timeout && *options.sticky_session_timeout <= Duration::zero()) {
    return invalid("sticky_session_timeout", "above 0");
  }
  if (options.hedge_after < Duration::zero()) return invalid("hedge_after", "0 or above");
  if (options.affinity_timeout <= Duration::zero()) return invalid("affinity_timeout", "above 0");
  return {};
}

Result<> validate_bounds(const AgentPoolOptions& options) {
  if (options.connections_per_agent == 0 || options.connections_per_agent > 1024) {
    return invalid("connections_per_agent", "1 to 1024");
  }
  if (options.calls_in_a_row == 0) return invalid("calls_in_a_row", "at least 1");
  if (options.max_concurrent_per_connection == 0) return invalid("max_concurrent_per_connection", "at least 1");
  if (options.channel_buffer == 0) return invalid("channel_buffer", "at least 1");
  if (options.max_sticky_sessions == 0) return invalid("max_sticky_sessions", "at least 1");
  if (options.max_affinities == 0) return invalid("max_affinities", "at least 1");
  if (options.errors_until_unhealthy == 0) return invalid("errors_until_unhealthy", "at least 1");
  for (const std::string& encoding : options.encodings) {
    if (encoding != "json" && encoding != "msgpack") return invalid("encodings", "json or msgpack, not " + encoding);
  }
  return {};
}

}  // namespace

Result<AgentEndpoint> parse_agent_endpoint(std::string_view text) {
  using transport::AgentCarrier;
  if (text.starts_with("unix:") || text.starts_with("/") || text.ends_with(".sock")) {
    auto endpoint =
        transport::parse_endpoint(text.starts_with("unix:") ? std::string(text) : "unix:" + std::string(text));
    if (!endpoint) return endpoint.error();
    return AgentEndpoint{AgentCarrier::uds, std::move(*endpoint)};
  }
  std::string spelled(text);
  if (text.starts_with("http://")) spelled.replace(0, 4, "grpc");
  if (text.starts_with("https://")) spelled.replace(0, 5, "grpcs");
  if (text.find("://") == std::string_view::npos) spelled.insert(0, "grpc://");
  auto endpoint = transport::parse_endpoint(spelled);
  if (!endpoint) return endpoint.error();
  if (endpoint->scheme != "grpc" && endpoint->scheme != "grpcs") {
    return Error(errc::invalid_endpoint, "'" + std::string(text) + "': agents are at unix:, grpc:// or grpcs://, not " +
                                             endpoint->scheme + "://");
  }
  return AgentEndpoint{AgentCarrier::grpc, std::move(*endpoint)};
}

Result<> AgentPoolOptions::validate() const {
  if (auto valid = validate_times(*this); !valid) return valid;
  if (auto valid = validate_bounds(*this); !valid) return valid;
  if (auto valid = circuit_breaker.validate(); !valid) return valid;
  if (auto valid = outliers.validate(); !valid) return valid;
  if (auto valid = retry.validate(); !valid) return valid;
  if (auto valid = config.validate(); !valid) return valid;
  return metrics.validate();
}

}  // namespace sharingbus::connector

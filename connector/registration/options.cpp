#include "connector/registration/options.hpp"

namespace sharingbus::connector {

Result<> RunnerOptions::validate() const {
  const auto invalid = [](const char* what) {
    return Error(errc::invalid_argument, std::string("RunnerOptions::") + what);
  };
  if (const auto valid = endpoint(); !valid) {
    return Error(errc::invalid_endpoint, "RunnerOptions::host: " + valid.error().message);
  }
  if (max_streams_per_channel == 0) return invalid("max_streams_per_channel must be at least 1");
  if (connect_timeout <= Duration::zero()) return invalid("connect_timeout must be positive");
  if (reconnect_delay < Duration::zero()) return invalid("reconnect_delay must not be negative");
  if (max_backoff < Duration::zero()) return invalid("max_backoff must not be negative");
  if (reconnect_jitter < Duration::zero()) return invalid("reconnect_jitter must not be negative");
  if (max_waiting_requests == 0) return invalid("max_waiting_requests must be at least 1");
  if (max_waiting_requests > kMostRequests) return invalid("max_waiting_requests must be at most 1000000");
  if (max_concurrent_requests > kMostRequests) return invalid("max_concurrent_requests must be at most 1000000");
  if (request_timeout < Duration::zero()) return invalid("request_timeout must not be negative");
  if (heartbeat_interval <= Duration::zero()) return invalid("heartbeat_interval must be positive");
  if (heartbeat_slack < Duration::zero()) return invalid("heartbeat_slack must not be negative");
  if (heartbeat_timeout <= Duration::zero()) return invalid("heartbeat_timeout must be positive");
  if (minimum_stream_life < Duration::zero()) return invalid("minimum_stream_life must not be negative");
  if (drain < Duration::zero()) return invalid("drain must not be negative");
  return limits.validate();
}

}  // namespace sharingbus::connector

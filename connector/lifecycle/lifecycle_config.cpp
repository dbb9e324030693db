#include "connector/lifecycle/lifecycle_config.hpp"

#include <string>

namespace sharingbus::connector {

Result<> LifecycleConfig::validate() const {
  const auto invalid = [](const char* what) {
    return Error(errc::invalid_argument, std::string("LifecycleConfig::") + what);
  };
  // Written so that a NaN is refused too.
  const auto in = [](double value, double low, double high) { return value >= low && value <= high; };
  if (heartbeat_interval <= Duration::zero()) return invalid("heartbeat_interval must be positive");
  if (heartbeat_timeout <= Duration::zero()) return invalid("heartbeat_timeout must be positive");
  if (reconnect.delay < Duration::zero()) return invalid("reconnect.delay must not be negative");
  if (reconnect.max_delay < Duration::zero()) return invalid("reconnect.max_delay must not be negative");
  if (!in(reconnect.multiplier, 1, 1e6)) return invalid("reconnect.multiplier must be 1..1000000");
  if (!in(reconnect.jitter, 0, 1)) return invalid("reconnect.jitter must be 0..1");
  if (healthy_after == 0) return invalid("healthy_after must be at least 1");
  if (failed_after == 0) return invalid("failed_after must be at least 1");
  if (supervision.window <= Duration::zero()) return invalid("supervision.window must be positive");
  if (stop_timeout < Duration::zero()) return invalid("stop_timeout must not be negative");
  return limits.validate();
}

}  // namespace sharingbus::connector

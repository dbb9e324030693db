#pragma once

#include <cstddef>
#include <cstdint>

#include "bus/base/result.hpp"
#include "bus/base/timer.hpp"
#include "connector/lifecycle/reconnect_policy.hpp"
#include "connector/lifecycle/supervision.hpp"
#include "transport/stream_options.hpp"

namespace sharingbus::connector {

/// How a manager treats its services. (Spec 5, LifecycleConfig.)
struct LifecycleConfig {
  /// Between probes of a running service.
  Duration heartbeat_interval = std::chrono::seconds(30);
  /// A running service silent for longer fails its check. Checks are due every third of it from the service's start.
  Duration heartbeat_timeout = std::chrono::seconds(90);
  ReconnectOptions reconnect{};
  /// Off: no service is reconnected, whatever its transport says.
  bool auto_reconnect = true;
  /// Signs of life after which a service that comes back is back (m), and failed checks in a row after which a running
  /// one has timed out (n). Both damp flapping; at least 1.
  std::uint32_t healthy_after = 1;
  std::uint32_t failed_after = 1;
  SupervisionOptions supervision{};
  /// What a service's transport gets to end in good order at a stop before it is cancelled. Transports that have graces
  /// of their own (processes) need them to fit in here.
  Duration stop_timeout = std::chrono::seconds(15);
  /// Of every service's stream.
  transport::StreamLimits limits{};

  /// `invalid_argument`, naming the field.
  [[nodiscard]] Result<> validate() const;
};

}  // namespace sharingbus::connector

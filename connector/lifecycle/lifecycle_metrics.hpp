#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "bus/sharing_bus.hpp"
#include "connector/lifecycle/lifecycle_events.hpp"

namespace sharingbus::connector {

/// What happened to one service, or to all. Time stamps are Unix milliseconds, 0: never.
struct LifecycleMetrics {
  std::uint64_t starts = 0;
  std::uint64_t stops = 0;
  std::uint64_t heartbeats = 0;
  std::uint64_t heartbeat_timeouts = 0;
  std::uint64_t errors = 0;
  std::uint64_t reconnect_attempts = 0;
  std::uint64_t reconnects = 0;
  std::uint64_t reconnect_failures = 0;
  std::int64_t last_heartbeat_at_ms = 0;
  std::int64_t last_error_at_ms = 0;
  std::string last_error;
};

/// Counts what managers publish on a bus: an inline subscriber, so exact under any load. Per service it counts those
/// that it was told of. All functions: any thread. May outlive the bus.
class LifecycleMetricsObserver {
 public:
  /// `clock` must outlive it.
  LifecycleMetricsObserver(SharingBus& bus, const Clock& clock);
  ~LifecycleMetricsObserver();

  /// Starts counting the events of service `id` on their own.
  void watch(const std::string& id);
  /// Zeros for an id that is not watched.
  [[nodiscard]] LifecycleMetrics metrics(const std::string& id) const;
  /// Of all services, watched or not.
  [[nodiscard]] LifecycleMetrics totals() const;
  [[nodiscard]] SubscriptionStats stats() const;

 private:
  class Table;
  const std::unique_ptr<Table> table_;
  Subscription subscription_;
};

}  // namespace sharingbus::connector

#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>

#include "bus/sharing_bus.hpp"

namespace sharingbus::connector {

/// What the gateways of a bus did. Counters by reason have the names of `errc` as keys, e.g. `capacity_exceeded`.
struct GatewayMetrics {
  std::uint64_t connectors_registered = 0;
  /// Of these, those that took over from an older stream.
  std::uint64_t connectors_replaced = 0;
  std::uint64_t requests_dispatched = 0;
  /// Of the dispatched: with an answer, good or bad.
  std::uint64_t requests_answered = 0;

  /// Streams that were ended before they were registered.
  std::map<std::string, std::uint64_t> streams_refused;
  /// Registered connectors that went; `timed_out` are those that were silent, `none` those that ended in good order.
  std::map<std::string, std::uint64_t> connectors_disconnected;
  /// Requests that never went out.
  std::map<std::string, std::uint64_t> requests_refused;
  /// Requests that went out and got no answer.
  std::map<std::string, std::uint64_t> requests_failed;
};

/// Counts the gateway events of a bus: an inline subscriber, so exact under any load. All functions: any thread. May
/// outlive the bus.
class GatewayMetricsObserver {
 public:
  explicit GatewayMetricsObserver(SharingBus& bus);
  ~GatewayMetricsObserver();
  GatewayMetricsObserver(const GatewayMetricsObserver&) = delete;
  GatewayMetricsObserver& operator=(const GatewayMetricsObserver&) = delete;

  [[nodiscard]] GatewayMetrics metrics() const;

 private:
  class Table;
  const std::unique_ptr<Table> table_;
  Subscription subscription_;
};

}  // namespace sharingbus::connector

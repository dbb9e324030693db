#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>

#include "bus/base/timer.hpp"
#include "bus/sharing_bus.hpp"

namespace sharingbus::connector {

/// What one registration did. Time stamps are Unix milliseconds, 0: never. (Spec 2, Metrics per registration.)
struct RegistrationMetrics {
  /// Requests that got their permit.
  std::uint64_t requests_received = 0;
  /// Requests that succeeded; `bytes_out` and `total_duration` are of these.
  std::uint64_t requests_processed = 0;
  std::uint64_t requests_failed = 0;
  /// Of the failed ones: handlers that returned after their request had been answered.
  std::uint64_t late_answers = 0;
  std::uint64_t bytes_in = 0;
  std::uint64_t bytes_out = 0;
  Duration total_duration{};
  std::int64_t last_request_at_ms = 0;
  std::int64_t last_connected_at_ms = 0;
  std::int64_t last_disconnected_at_ms = 0;
  std::string last_disconnect_reason;
  std::uint64_t reconnection_attempts = 0;
  std::uint64_t successful_reconnects = 0;
  std::uint64_t total_disconnects = 0;
  std::uint64_t current_backoff_ms = 0;
};

/// Keeps the metrics of the registrations that it was told of: an inline bus subscriber, so exact under any load. All
/// functions: any thread. May outlive the bus.
class RegistrationMetricsObserver {
 public:
  explicit RegistrationMetricsObserver(SharingBus& bus);
  ~RegistrationMetricsObserver();

  /// Starts counting the events of registration `uid`.
  void watch(const Uuid& uid);
  void forget(const Uuid& uid);
  /// Zeros for a uid that is not watched.
  [[nodiscard]] RegistrationMetrics metrics(const Uuid& uid) const;
  [[nodiscard]] SubscriptionStats stats() const;

 private:
  class Table;
  const std::unique_ptr<Table> table_;
  Subscription subscription_;
};

}  // namespace sharingbus::connector

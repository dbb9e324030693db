#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>

#include "bus/base/timer.hpp"
#include "bus/sharing_bus.hpp"

namespace sharingbus::connector {

/// What an agent of a pool went through. Counters by reason have the names of `errc` as keys, e.g. `stream_failed`;
/// `none` is good order.
struct PoolAgentMetrics {
  std::uint64_t connections_opened = 0;
  std::map<std::string, std::uint64_t> connections_closed;
  std::map<std::string, std::uint64_t> connect_failures;
  /// Connections that became unhealthy, were paused, or were ejected as outliers; how often.
  std::uint64_t unhealthy = 0;
  std::uint64_t pauses = 0;
  std::uint64_t ejections = 0;
  std::uint64_t circuit_changes = 0;
  std::uint64_t pushes_acknowledged = 0;
  /// Refused, expired or given up.
  std::uint64_t pushes_failed = 0;
  std::uint64_t config_requests = 0;
  /// Connections that are up. Exact for what happened since the observer was made.
  std::int64_t connections = 0;
};

/// Counts the events of a bus's agent pools, for each agent: an inline subscriber, so exact under any load. Bounded:
/// agents beyond `agents_max` are counted together, under the empty id. All functions: any thread. May outlive the
/// bus.
class PoolMetricsObserver {
 public:
  explicit PoolMetricsObserver(SharingBus& bus, std::size_t agents_max = 10'000);
  ~PoolMetricsObserver();
  PoolMetricsObserver(const PoolMetricsObserver&) = delete;
  PoolMetricsObserver& operator=(const PoolMetricsObserver&) = delete;

  /// Zeros for an agent that nothing was heard of.
  [[nodiscard]] PoolAgentMetrics metrics(std::string_view agent_id) const;
  /// Prometheus text; names are `<prefix>_connections_opened_total` and so on, the label is `agent`.
  [[nodiscard]] std::string to_prometheus(std::string_view prefix = "agent_pool") const;

 private:
  class Table;
  const std::unique_ptr<Table> table_;
  Subscription subscription_;
};

/// What the agent servers of a bus did.
struct AgentServerMetrics {
  std::uint64_t proxies_connected = 0;
  std::map<std::string, std::uint64_t> proxies_refused;
  std::map<std::string, std::uint64_t> proxies_disconnected;
  /// By outcome (`allowed`, `blocked`, …): every event exactly once.
  std::map<std::string, std::uint64_t> answers;
  /// Of those that were answered.
  Duration total_duration{};
  std::uint64_t pauses = 0;
  std::int64_t connections = 0;
};

/// Counts the events of a bus's agent servers; everything else as for `PoolMetricsObserver`.
class AgentServerMetricsObserver {
 public:
  explicit AgentServerMetricsObserver(SharingBus& bus);
  ~AgentServerMetricsObserver();
  AgentServerMetricsObserver(const AgentServerMetricsObserver&) = delete;
  AgentServerMetricsObserver& operator=(const AgentServerMetricsObserver&) = delete;

  [[nodiscard]] AgentServerMetrics metrics() const;
  [[nodiscard]] std::string to_prometheus(std::string_view prefix = "agent_server") const;

 private:
  class Table;
  const std::unique_ptr<Table> table_;
  Subscription subscription_;
};

}  // namespace sharingbus::connector

#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>

#include "bus/base/timer.hpp"
#include "connector/agent/agent_server_events.hpp"
#include "transport/messages/agent_messages.hpp"

namespace sharingbus::connector::internal {

/// What an agent server tells proxies of its load. Any thread.
class ServerLoad {
 public:
  void waiting(std::ptrdiff_t change) noexcept { waiting_.fetch_add(change, std::memory_order_relaxed); }
  void running(std::ptrdiff_t change) noexcept { running_.fetch_add(change, std::memory_order_relaxed); }
  void answered(AgentOutcome outcome, bool timed_out, Duration duration) noexcept;

  [[nodiscard]] transport::agent_messages::LoadMetrics load() const;
  /// The standard series. The report's own fields are left to the caller.
  void fill(transport::agent_messages::MetricsReport& report) const;

 private:
  /// Upper bounds of the buckets, in microseconds; one more bucket for what is above.
  static constexpr std::array<std::uint64_t, 11> kBounds = {10,     50,     100,     500,     1'000,    5'000,
                                                            10'000, 50'000, 100'000, 500'000, 1'000'000};

  [[nodiscard]] float percentile_ms(double share) const;

  std::atomic<std::ptrdiff_t> waiting_{0};
  std::atomic<std::ptrdiff_t> running_{0};
  std::atomic<std::uint64_t> answered_{0};
  std::atomic<std::uint64_t> blocked_{0};
  std::atomic<std::uint64_t> failed_{0};
  std::atomic<std::uint64_t> timed_out_{0};
  std::atomic<std::uint64_t> total_us_{0};
  std::array<std::atomic<std::uint64_t>, kBounds.size() + 1> buckets_{};
};

}  // namespace sharingbus::connector::internal

#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "bus/base/timer.hpp"

namespace sharingbus::connector {

/// Durations by bucket. Recording is three relaxed additions; any thread.
class DurationHistogram {
 public:
  /// Upper bounds in microseconds; a last bucket takes all above.
  static constexpr std::array<std::uint64_t, 14> kBoundsUs = {
      10, 50, 100, 500, 1'000, 5'000, 10'000, 50'000, 100'000, 500'000, 1'000'000, 5'000'000, 10'000'000, 30'000'000};

  void record(Duration duration) noexcept;

  [[nodiscard]] std::uint64_t count() const noexcept { return count_.load(std::memory_order_relaxed); }
  /// Seconds.
  [[nodiscard]] double sum() const noexcept;
  /// Mean in microseconds; 0 when there are none.
  [[nodiscard]] double mean_us() const noexcept;
  /// The bound of the bucket that holds the given share (0 to 1) of the durations, in microseconds; 0 when there are
  /// none, infinite when it is beyond the last bound.
  [[nodiscard]] double percentile_us(double share) const noexcept;
  /// Appends `<name>_bucket…`, `<name>_sum` and `<name>_count`.
  void append_prometheus(std::string_view name, std::string& out) const;

 private:
  std::array<std::atomic<std::uint64_t>, kBoundsUs.size() + 1> buckets_{};
  std::atomic<std::uint64_t> count_{0};
  std::atomic<std::uint64_t> sum_ns_{0};
};

/// What a pool's calls came to. Every call of any kind counts, also one that found no connection. Any thread.
/// (Spec 4, Config and metrics.)
struct ProtocolMetrics {
  std::atomic<std::uint64_t> requests{0};
  std::atomic<std::uint64_t> responses{0};
  /// Every call that failed, whatever the reason; the three below are among them.
  std::atomic<std::uint64_t> errors{0};
  std::atomic<std::uint64_t> timeouts{0};
  /// Calls whose connection failed or closed, or that found none.
  std::atomic<std::uint64_t> connection_errors{0};
  /// Calls whose event did not encode.
  std::atomic<std::uint64_t> serialization_errors{0};
  std::atomic<std::uint64_t> cancelled{0};
  /// Calls that a paused agent turned away, whatever the mode made of it.
  std::atomic<std::uint64_t> flow_control_rejections{0};
  std::atomic<std::uint64_t> flow_control_pauses{0};
  std::atomic<std::uint64_t> flow_control_resumes{0};
  std::atomic<std::uint64_t> affinity_evictions{0};
  std::atomic<std::uint64_t> retries{0};
  std::atomic<std::uint64_t> hedges{0};
  /// Answers that nobody waited for (any more).
  std::atomic<std::uint64_t> late_answers{0};
  /// Calls under way, from entry to completion.
  std::atomic<std::int64_t> in_flight{0};
  std::atomic<std::int64_t> affinities{0};
  std::atomic<std::int64_t> healthy_connections{0};
  std::atomic<std::int64_t> paused_connections{0};
  DurationHistogram serialization;
  DurationHistogram request_duration;

  /// Prometheus text; names are `<prefix>_requests_total` and so on.
  [[nodiscard]] std::string to_prometheus(std::string_view prefix = "agent_protocol") const;
};

}  // namespace sharingbus::connector

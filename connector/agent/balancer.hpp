#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <random>
#include <span>
#include <string_view>

#include "bus/base/timer.hpp"

namespace sharingbus::connector {

/// How a connection is chosen among an agent's healthy ones. Ties go round, so that idle traffic does not pile up on
/// the first connection.
enum class BalanceStrategy : std::uint8_t {
  round_robin,
  /// The fewest requests under way.
  least_in_flight,
  /// The lowest rate of recent errors.
  lowest_error_rate,
  random,
  /// The lowest product of peak-sensitive latency and requests under way: shuns a slow connection at once, comes back
  /// slowly.
  peak_ewma,
  /// The less loaded of two random ones.
  power_of_two_choices,
};
[[nodiscard]] std::string_view to_string(BalanceStrategy strategy) noexcept;
[[nodiscard]] std::optional<BalanceStrategy> parse_balance_strategy(std::string_view name) noexcept;

/// What a balancer knows of one connection.
struct ConnectionLoad {
  /// Healthy, not paused, not ejected: may be chosen.
  bool usable = false;
  /// At its concurrency limit: chosen only when all are.
  bool full = false;
  std::uint32_t in_flight = 0;
  /// 0 to 1.
  double error_rate = 0;
  /// Seconds; 0: none measured.
  double latency = 0;
};

/// Chooses. No allocation, O(connections). One thread at a time.
class Balancer {
 public:
  /// What is chosen stays so for `calls_in_a_row` (at least 1) picks, while it is usable and not full.
  explicit Balancer(BalanceStrategy strategy, std::uint64_t seed = 1, std::size_t calls_in_a_row = 1);

  /// An index into `loads`; nothing when none is usable.
  [[nodiscard]] std::optional<std::size_t> pick(std::span<const ConnectionLoad> loads);

 private:
  class Candidates;

  [[nodiscard]] std::size_t choose(const Candidates& candidates, std::span<const ConnectionLoad> loads);
  [[nodiscard]] std::size_t below(std::size_t count);

  BalanceStrategy strategy_;
  std::size_t calls_in_a_row_;
  std::size_t left_of_row_ = 0;
  std::size_t last_ = 0;
  std::size_t next_ = 0;
  std::minstd_rand random_;
};

/// A latency average that follows a rise at once and a fall with a half-life: a slow answer counts fully, and is
/// forgotten by and by. A value; O(1).
class PeakEwma {
 public:
  explicit PeakEwma(Duration half_life = std::chrono::seconds(10)) : half_life_(half_life) {}

  void observe(Duration latency, TimePoint now);
  /// Seconds.
  [[nodiscard]] double value() const noexcept { return value_; }

 private:
  Duration half_life_;
  double value_ = 0;
  TimePoint at_{};
};

}  // namespace sharingbus::connector

#include "connector/agent/balancer.hpp"

#include <algorithm>
#include <array>
#include <cmath>

namespace sharingbus::connector {
namespace {

constexpr std::array<std::string_view, 6> kNames = {"round_robin", "least_in_flight", "lowest_error_rate",
                                                    "random",      "peak_ewma",       "power_of_two_choices"};

double busy_time(const ConnectionLoad& load) {
  return load.latency * (static_cast<double>(load.in_flight) + 1);
}

}  // namespace

/// The candidates of one choice: the usable ones that are not full, or all usable ones when all are full.
class Balancer::Candidates {
 public:
  explicit Candidates(std::span<const ConnectionLoad> loads) : loads_(loads) {
    std::size_t usable = 0;
    for (const ConnectionLoad& load : loads) {
      if (!load.usable) continue;
      ++usable;
      if (!load.full) ++count_;
    }
    full_too_ = count_ == 0;
    if (full_too_) count_ = usable;
  }

  [[nodiscard]] std::size_t count() const noexcept { return count_; }
  [[nodiscard]] bool has(std::size_t index) const { return loads_[index].usable && (full_too_ || !loads_[index].full); }
  /// Index of the `n`th, from 0; there must be so many.
  [[nodiscard]] std::size_t nth(std::size_t n) const {
    std::size_t index = 0;
    for (;; ++index) {
      if (has(index) && n-- == 0) return index;
    }
  }
  /// The least by `measure`; of equal ones the first at or after the `start`th.
  template <class Measure>
  [[nodiscard]] std::size_t least(std::size_t start, Measure measure) const {
    std::size_t index = nth(start);
    std::size_t best = index;
    for (std::size_t step = 1; step < loads_.size(); ++step) {
      if (++index == loads_.size()) index = 0;
      if (has(index) && measure(loads_[index]) < measure(loads_[best])) best = index;
    }
    return best;
  }

 private:
  std::span<const ConnectionLoad> loads_;
  std::size_t count_ = 0;
  bool full_too_ = false;
};

std::string_view to_string(BalanceStrategy strategy) noexcept {
  const auto index = static_cast<std::size_t>(strategy);
  return index < kNames.size() ? kNames[index] : "unknown";
}

std::optional<BalanceStrategy> parse_balance_strategy(std::string_view name) noexcept {
  const auto found = std::find(kNames.begin(), kNames.end(), name);
  if (found == kNames.end()) return std::nullopt;
  return static_cast<BalanceStrategy>(found - kNames.begin());
}

Balancer::Balancer(BalanceStrategy strategy, std::uint64_t seed, std::size_t calls_in_a_row)
    : strategy_(strategy), calls_in_a_row_(calls_in_a_row), random_(static_cast<std::minstd_rand::result_type>(seed)) {}

std::size_t Balancer::below(std::size_t count) {
  constexpr std::uint64_t kRange = std::minstd_rand::max() - std::minstd_rand::min() + std::uint64_t{1};
  return static_cast<std::size_t>((random_() - std::minstd_rand::min()) * static_cast<std::uint64_t>(count) / kRange);
}

std::optional<std::size_t> Balancer::pick(std::span<const ConnectionLoad> loads) {
  if (left_of_row_ != 0 && last_ < loads.size() && loads[last_].usable && !loads[last_].full) {
    --left_of_row_;
    return last_;
  }
  const Candidates candidates(loads);
  const std::size_t count = candidates.count();
  if (count == 0) return std::nullopt;
  last_ = count == 1 ? candidates.nth(0) : choose(candidates, loads);
  left_of_row_ = calls_in_a_row_ - 1;
  return last_;
}

/// Of two candidates at least.
std::size_t Balancer::choose(const Candidates& candidates, std::span<const ConnectionLoad> loads) {
  const std::size_t count = candidates.count();
  switch (strategy_) {
    case BalanceStrategy::round_robin:
      break;
    case BalanceStrategy::least_in_flight:
      return candidates.least(next_++ % count, [](const ConnectionLoad& load) { return load.in_flight; });
    case BalanceStrategy::lowest_error_rate:
      return candidates.least(next_++ % count, [](const ConnectionLoad& load) { return load.error_rate; });
    case BalanceStrategy::random:
      return candidates.nth(below(count));
    case BalanceStrategy::peak_ewma:
      return candidates.least(next_++ % count, busy_time);
    case BalanceStrategy::power_of_two_choices: {
      const std::size_t first = below(count);
      const std::size_t second = (first + 1 + below(count - 1)) % count;
      const std::size_t a = candidates.nth(first);
      const std::size_t b = candidates.nth(second);
      return loads[b].in_flight < loads[a].in_flight ? b : a;
    }
  }
  return candidates.nth(next_++ % count);
}

void PeakEwma::observe(Duration latency, TimePoint now) {
  const double seconds = std::chrono::duration<double>(latency).count();
  if (seconds >= value_) {
    value_ = seconds;
  } else {
    const double share = std::exp2(-std::chrono::duration<double>(now - at_).count() /
                                   std::chrono::duration<double>(half_life_).count());
    value_ = seconds + (value_ - seconds) * share;
  }
  at_ = now;
}

}  // namespace sharingbus::connector

#pragma once

#include <algorithm>
#include <cstdint>

#include "bus/base/result.hpp"
#include "bus/base/timer.hpp"

namespace sharingbus::connector {

struct RetryOptions {
  /// How often a call that lost its connection before it was answered may be asked again, on another one. 0: never.
  /// Agents may then see an event twice, so it is for those whose answers have no side effects.
  std::uint32_t attempts = 0;
  /// Retries for each request, on average.
  double ratio = 0.2;
  /// Retries a second that are always allowed.
  double min_per_second = 10;
  /// The most that can be saved up.
  double burst = 100;

  /// `invalid_argument`, naming the field.
  [[nodiscard]] Result<> validate() const {
    if (!(ratio >= 0 && ratio <= 1)) return Error(errc::invalid_argument, "retry.ratio must be 0 to 1");
    if (!(min_per_second >= 0)) return Error(errc::invalid_argument, "retry.min_per_second must not be negative");
    if (!(burst >= 1)) return Error(errc::invalid_argument, "retry.burst must be at least 1");
    return {};
  }
};

/// Bounds retries to a share of the requests, so that an agent in trouble is not asked several times as often as one
/// without. O(1). One thread at a time.
class RetryBudget {
 public:
  explicit RetryBudget(RetryOptions options) noexcept : options_(options), saved_(options.burst) {}

  void requested() noexcept { saved_ = std::min(saved_ + options_.ratio, options_.burst); }
  /// Whether one more retry is within the budget; takes it.
  [[nodiscard]] bool take(TimePoint now) noexcept {
    if (last_ != TimePoint{} && now > last_) {
      const double passed = std::chrono::duration<double>(now - last_).count();
      saved_ = std::min(saved_ + passed * options_.min_per_second, options_.burst);
    }
    last_ = now;
    if (saved_ < 1) return false;
    saved_ -= 1;
    return true;
  }

 private:
  RetryOptions options_;
  double saved_;
  TimePoint last_{};
};

}  // namespace sharingbus::connector

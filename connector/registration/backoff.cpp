#include "connector/registration/backoff.hpp"

#include <algorithm>
#include <limits>
#include <memory>
#include <utility>

#include <absl/random/random.h>

namespace sharingbus::connector {
namespace {

constexpr std::uint64_t kMax = std::numeric_limits<std::uint64_t>::max();

std::uint64_t saturating_add(std::uint64_t a, std::uint64_t b) {
  return a > kMax - b ? kMax : a + b;
}
std::uint64_t saturating_multiply(std::uint64_t a, std::uint64_t b) {
  return a != 0 && b > kMax / a ? kMax : a * b;
}

}  // namespace

Backoff::Backoff(BackoffOptions options, Random random) : options_(options), random_(std::move(random)) {}

std::uint64_t Backoff::delay_ms(std::uint64_t attempt) {
  const std::uint64_t exponent = std::min<std::uint64_t>(attempt == 0 ? 0 : attempt - 1, 20);
  const std::uint64_t exponential = saturating_multiply(options_.base_ms, std::uint64_t{1} << exponent);
  const std::uint64_t capped = std::min(options_.cap_ms, exponential);
  if (options_.jitter_ms == 0) return capped;
  switch (options_.mode) {
    case JitterMode::additive:
      return std::min(options_.cap_ms, saturating_add(exponential, random_(options_.jitter_ms)));
    case JitterMode::equal: {
      const std::uint64_t half = capped / 2;
      return half + random_(capped - half);
    }
    case JitterMode::decorrelated: {
      const std::uint64_t low = std::min(options_.base_ms, options_.cap_ms);
      const std::uint64_t high = std::clamp(saturating_multiply(std::max(previous_ms_, low), 3), low, options_.cap_ms);
      previous_ms_ = low + random_(high - low);
      return previous_ms_;
    }
  }
  return capped;
}

std::uint64_t Backoff::at_least_ms(std::uint64_t delay, std::uint64_t asked) const noexcept {
  return asked == 0 ? delay : std::min(options_.cap_ms, saturating_add(asked, delay));
}

Backoff::Random seeded_random() {
  // 32 bytes, where the standard's engines take 2.5 KB for each of many registrations.
  return [engine = std::make_shared<absl::InsecureBitGen>()](std::uint64_t bound) {
    return absl::Uniform<std::uint64_t>(absl::IntervalClosed, *engine, 0, bound);
  };
}

}  // namespace sharingbus::connector

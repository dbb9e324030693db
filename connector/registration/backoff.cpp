#include "connector/registration/backoff.hpp"

#include <algorithm>
#include <limits>
#include <memory>
#include <random>
#include <utility>

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

Backoff::Random seeded_random() {
  std::random_device entropy;
  std::seed_seq seed{entropy(), entropy(), entropy(), entropy()};
  return [engine = std::make_shared<std::mt19937_64>(seed)](std::uint64_t bound) {
    return std::uniform_int_distribution<std::uint64_t>(0, bound)(*engine);
  };
}

}  // namespace sharingbus::connector

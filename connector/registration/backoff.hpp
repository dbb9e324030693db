#pragma once

#include <cstdint>
#include <functional>

#include "bus/base/timer.hpp"

namespace sharingbus::connector {

/// How the wait before the n-th attempt is spread. The cap is a strict upper bound in all of them, and with jitter 0
/// all are exact: min(cap, base × 2^min(attempt-1, 20)). (Spec 2, Backoff.)
enum class JitterMode : std::uint8_t {
  /// min(cap, base × 2^min(attempt-1, 20) + uniform(0..jitter)): at the cap nothing is spread any more.
  additive,
  /// Uniform in d/2..d of the capped exponential d: spread at the cap too.
  equal,
  /// Uniform in base..3 × the previous wait, capped: spreads fastest.
  decorrelated,
};

struct BackoffOptions {
  std::uint64_t base_ms = 500;
  std::uint64_t cap_ms = 60'000;
  std::uint64_t jitter_ms = 500;
  JitterMode mode = JitterMode::additive;
};

/// Waits between attempts. All arithmetic saturates. No I/O, no clock; one owner.
class Backoff {
 public:
  /// Uniform in 0..bound, both inclusive.
  using Random = std::function<std::uint64_t(std::uint64_t bound)>;

  Backoff(BackoffOptions options, Random random);

  /// The wait in ms before attempt `attempt` (from 1).
  std::uint64_t delay_ms(std::uint64_t attempt);
  /// `delay` after what a peer asked for, which is never more than the cap.
  [[nodiscard]] std::uint64_t at_least_ms(std::uint64_t delay, std::uint64_t asked) const noexcept;
  /// With the attempts: `decorrelated` starts over.
  void reset() noexcept { previous_ms_ = 0; }

 private:
  BackoffOptions options_;
  Random random_;
  std::uint64_t previous_ms_ = 0;
};

/// A source for `Backoff`, seeded from the machine's entropy. Not for several threads at once.
[[nodiscard]] Backoff::Random seeded_random();

}  // namespace sharingbus::connector

#pragma once

#include <cstdint>

#include "bus/base/result.hpp"
#include "bus/base/timer.hpp"
#include "connector/registration/backoff.hpp"

namespace sharingbus::connector {

/// Waits between attempts to reconnect a service. (Spec 5, LifecycleConfig.)
struct ReconnectOptions {
  std::uint32_t max_attempts = 5;
  Duration delay = std::chrono::milliseconds(1000);
  Duration max_delay = std::chrono::milliseconds(30'000);
  /// At least 1.
  double multiplier = 2.0;
  /// Each wait is spread evenly by this share of itself, to both sides: 0.1 is ±10 %. 0..1.
  double jitter = 0.1;

  bool operator==(const ReconnectOptions&) const = default;
};

/// No I/O, no clock; one owner.
class ReconnectPolicy {
 public:
  /// `random` as for `Backoff`: uniform in 0..bound, both inclusive.
  ReconnectPolicy(ReconnectOptions options, Backoff::Random random);

  /// min(max_delay, delay × multiplier^attempts ± jitter), where `attempts` have been made before. The cap is strict.
  [[nodiscard]] Duration delay(std::uint32_t attempts) const;
  [[nodiscard]] std::uint32_t max_attempts() const noexcept { return options_.max_attempts; }

 private:
  const ReconnectOptions options_;
  const Backoff::Random random_;
};

}  // namespace sharingbus::connector

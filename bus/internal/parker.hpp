#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>

#include "bus/base/timer.hpp"
#include "bus/subscription.hpp"

namespace sharingbus::internal {

/// One thread waits, others wake it: no wake-up is lost, and one that comes first is remembered.
class Parker {
 public:
  /// How long `WaitStrategy::phased` looks before it sleeps.
  static constexpr std::chrono::microseconds kPhase{20};

  /// Waits for `wake`, or until `deadline` (null: for ever). False: the deadline passed.
  bool wait(WaitStrategy strategy, const std::chrono::steady_clock::time_point* deadline);
  /// Any thread.
  void wake() noexcept;

 private:
  bool take() noexcept { return state_.exchange(kIdle, std::memory_order_acq_rel) == kWoken; }
  bool spin(std::chrono::steady_clock::time_point until);
  bool sleep(const std::chrono::steady_clock::time_point* deadline);

  static constexpr std::uint32_t kIdle = 0;
  static constexpr std::uint32_t kAsleep = 1;
  static constexpr std::uint32_t kWoken = 2;
  std::atomic<std::uint32_t> state_{kIdle};
};

}  // namespace sharingbus::internal

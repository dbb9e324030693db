#pragma once

#include <chrono>
#include <cstdint>
#include <functional>

namespace sharingbus {

/// Monotonic time, as every timeout, interval and backoff of the framework sees it.
using Duration = std::chrono::nanoseconds;
using TimePoint = std::chrono::time_point<std::chrono::steady_clock, Duration>;

/// Where time comes from. Production reads the machine's clocks, tests advance a manual one.
class Clock {
 public:
  virtual ~Clock() = default;
  /// Monotonic. Any thread.
  [[nodiscard]] virtual TimePoint now() const = 0;
  /// Wall time in milliseconds since 1970 UTC; only for time stamps, never for timeouts. Any thread.
  [[nodiscard]] virtual std::int64_t unix_ms() const = 0;
};

using TimerId = std::uint64_t;

/// A clock that can call back. One service carries every timer of a process: N idle components cost no N timers of the
/// operating system. Handed to components by reference; must outlive them. All functions: any thread.
class TimerService : public Clock {
 public:
  /// Calls `fn` once when `now() >= at`, on the service's own executor; `fn` must be short and must not block, throwing
  /// ends the program. Returns an id that is never reused. O(log n).
  virtual TimerId schedule_at(TimePoint at, std::function<void()> fn) = 0;
  /// True when the timer had not fired: its `fn` will not be called. False when it fired, is firing or never was.
  virtual bool cancel(TimerId id) = 0;

  TimerId schedule_after(Duration delay, std::function<void()> fn) { return schedule_at(now() + delay, std::move(fn)); }
};

}  // namespace sharingbus

#pragma once

#include <chrono>
#include <cstdint>
#include <string>

#include "bus/base/log.hpp"
#include "bus/base/timer.hpp"

namespace sharingbus::internal {

/// Rate limit for "lost N events" warnings: at most one a second, with the count since the last. Dispatcher-confined.
class DropLog {
 public:
  /// `clock()`: the time; asked for only when there is somewhere to log to. `what()`: the text before the count; called
  /// only when it is logged.
  template <class Clock, class What>
  void count(Clock&& clock, const LogSink& log, std::uint64_t lost, What&& what) {
    since_ += lost;
    if (!log) return;
    const TimePoint now = clock();
    if (logged_once_ && now - last_ < std::chrono::seconds(1)) return;
    log(LogLevel::warn, what() + " lost=" + std::to_string(since_));
    logged_once_ = true;
    last_ = now;
    since_ = 0;
  }

 private:
  std::uint64_t since_ = 0;
  TimePoint last_{};
  bool logged_once_ = false;
};

}  // namespace sharingbus::internal

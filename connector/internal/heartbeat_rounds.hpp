#pragma once

#include <algorithm>
#include <cstddef>

#include "bus/base/timer.hpp"

namespace sharingbus::connector::internal {

/// Puts heartbeats together that fall due almost at once: timers that fire, messages that are written and answers that
/// come together cost one wake-up instead of one each. For users on one strand whose intervals are the same.
class HeartbeatRounds {
 public:
  /// A round is no larger, so that what comes behind it need not wait for long.
  static constexpr std::size_t kMost = 64;

  /// When to send what is due at `due`: with the last round that was planned, if that is between `earliest` and `due`
  /// and has room, else then.
  [[nodiscard]] TimePoint join(TimePoint earliest, TimePoint due) noexcept {
    if (round_ >= earliest && round_ <= due && size_ < kMost) {
      ++size_;
      return round_;
    }
    if (due > round_) {
      round_ = due;
      size_ = 1;
    }
    return due;
  }

 private:
  TimePoint round_{};
  std::size_t size_ = 0;
};

}  // namespace sharingbus::connector::internal

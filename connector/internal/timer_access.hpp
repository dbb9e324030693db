#pragma once

#include <cstdint>
#include <functional>
#include <mutex>
#include <unordered_set>
#include <utility>

#include "bus/base/timer.hpp"

namespace sharingbus::connector::internal {

/// Both clocks at once.
struct Moment {
  TimePoint now;
  std::int64_t unix_ms = 0;
};

/// The timer service, for as long as its owner lives: work that runs after a gateway, say, was destroyed without
/// `close` finds a clock that stands still and timers that never fire. Any thread.
class TimerAccess {
 public:
  explicit TimerAccess(TimerService& timers) : timers_(&timers), last_{timers.now(), timers.unix_ms()} {}

  [[nodiscard]] Moment moment() {
    const std::scoped_lock lock(mutex_);
    if (timers_ != nullptr) last_ = {timers_->now(), timers_->unix_ms()};
    return last_;
  }
  [[nodiscard]] TimePoint now() {
    const std::scoped_lock lock(mutex_);
    if (timers_ != nullptr) last_.now = timers_->now();
    return last_.now;
  }

  /// `fn` must post what it does; whoever it wakes calls `fired`. 0 once let go.
  TimerId schedule_at(TimePoint at, std::function<void()> fn) {
    const std::scoped_lock lock(mutex_);
    if (timers_ == nullptr) return 0;
    const TimerId id = timers_->schedule_at(at, std::move(fn));
    armed_.insert(id);
    return id;
  }
  void fired(TimerId id) {
    const std::scoped_lock lock(mutex_);
    armed_.erase(id);
  }
  void cancel(TimerId id) {
    const std::scoped_lock lock(mutex_);
    if (armed_.erase(id) != 0 && timers_ != nullptr) timers_->cancel(id);
  }
  /// Cancels what is armed and never touches the service again.
  void let_go() {
    const std::scoped_lock lock(mutex_);
    if (timers_ == nullptr) return;
    for (const TimerId id : armed_)
      timers_->cancel(id);
    armed_.clear();
    timers_ = nullptr;
  }

 private:
  std::mutex mutex_;
  TimerService* timers_;
  Moment last_;
  std::unordered_set<TimerId> armed_;
};

}  // namespace sharingbus::connector::internal

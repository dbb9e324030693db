#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <unordered_map>
#include <utility>

#include "bus/base/timer.hpp"

namespace sharingbus::test {

/// Virtual time, moved by hand. Timers fire on the thread that advances, one by one, in order of time and then of
/// scheduling. All functions: any thread; one `advance` at a time.
class ManualTimerService final : public TimerService {
 public:
  explicit ManualTimerService(TimePoint start = TimePoint{} + std::chrono::hours(1),
                              std::int64_t unix_ms = 1'700'000'000'000)
      : now_(start), start_(start), unix_ms_at_start_(unix_ms) {}

  [[nodiscard]] TimePoint now() const override {
    const std::scoped_lock lock(mutex_);
    return now_;
  }
  [[nodiscard]] std::int64_t unix_ms() const override {
    const std::scoped_lock lock(mutex_);
    return unix_ms_at_start_ + std::chrono::duration_cast<std::chrono::milliseconds>(now_ - start_).count();
  }
  /// What `unix_ms` says from this moment on; it advances with virtual time.
  void set_unix_ms(std::int64_t unix_ms) {
    const std::scoped_lock lock(mutex_);
    unix_ms_at_start_ = unix_ms;
    start_ = now_;
  }

  TimerId schedule_at(TimePoint at, std::function<void()> fn) override {
    const std::scoped_lock lock(mutex_);
    const TimerId id = ++last_id_;
    timers_.emplace(std::pair(at, id), std::move(fn));
    times_.emplace(id, at);
    return id;
  }

  bool cancel(TimerId id) override {
    std::function<void()> forgotten;
    const std::scoped_lock lock(mutex_);
    const auto found = times_.find(id);
    if (found == times_.end()) return false;
    const auto timer = timers_.find({found->second, id});
    forgotten = std::move(timer->second);
    timers_.erase(timer);
    times_.erase(found);
    return true;
  }

  /// Moves time forward and fires what falls due on the way, timers that fire and schedule anew included; `now()` is
  /// each timer's own time while it fires. Returns how many fired. `advance({})` fires what is due already.
  std::size_t advance(Duration by) {
    std::size_t fired = 0;
    std::unique_lock lock(mutex_);
    const TimePoint until = now_ + by;
    while (!timers_.empty() && timers_.begin()->first.first <= until) {
      const auto [at, id] = timers_.begin()->first;
      auto fn = std::move(timers_.begin()->second);
      timers_.erase(timers_.begin());
      times_.erase(id);
      now_ = std::max(now_, at);
      lock.unlock();
      fn();
      ++fired;
      // What it holds may end with it, and use this service.
      fn = nullptr;
      lock.lock();
    }
    now_ = std::max(now_, until);
    return fired;
  }

  /// When the next timer falls due; nothing when there is none.
  [[nodiscard]] std::optional<TimePoint> next_deadline() const {
    const std::scoped_lock lock(mutex_);
    if (timers_.empty()) return std::nullopt;
    return timers_.begin()->first.first;
  }
  [[nodiscard]] std::size_t pending() const {
    const std::scoped_lock lock(mutex_);
    return timers_.size();
  }

 private:
  mutable std::mutex mutex_;
  TimePoint now_;
  TimePoint start_;
  std::int64_t unix_ms_at_start_;
  TimerId last_id_ = 0;
  std::map<std::pair<TimePoint, TimerId>, std::function<void()>> timers_;
  std::unordered_map<TimerId, TimePoint> times_;
};

}  // namespace sharingbus::test

#pragma once

#include <memory>

#include <boost/asio/any_io_executor.hpp>

#include "bus/base/clock.hpp"
#include "bus/base/timer.hpp"

namespace sharingbus {

/// Real time on an Asio executor: one operating-system timer for every timer of the process. Destroying it forgets
/// all timers; a `fn` that is running then is finished first when the executor is single-threaded or a strand. While
/// timers are pending it keeps the executor's context running.
class AsyncTimerService final : public TimerService {
 public:
  explicit AsyncTimerService(boost::asio::any_io_executor executor);
  ~AsyncTimerService() override;
  AsyncTimerService(const AsyncTimerService&) = delete;
  AsyncTimerService& operator=(const AsyncTimerService&) = delete;

  [[nodiscard]] TimePoint now() const override { return clock_.now(); }
  [[nodiscard]] std::int64_t unix_ms() const override { return clock_.unix_ms(); }
  TimerId schedule_at(TimePoint at, std::function<void()> fn) override;
  bool cancel(TimerId id) override;
  /// Timers that have not fired.
  [[nodiscard]] std::size_t pending() const;

 private:
  class Queue;
  SystemClock clock_;
  std::shared_ptr<Queue> queue_;
};

}  // namespace sharingbus

#include "bus/async_timer_service.hpp"

#include <map>
#include <mutex>
#include <unordered_map>
#include <utility>

#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>

namespace sharingbus {

class AsyncTimerService::Queue : public std::enable_shared_from_this<Queue> {
 public:
  explicit Queue(const boost::asio::any_io_executor& executor) : timer_(executor) {}

  TimerId add(TimePoint at, std::function<void()> fn) {
    const std::scoped_lock lock(mutex_);
    const TimerId id = ++last_id_;
    by_time_.emplace(std::pair(at, id), std::move(fn));
    due_.emplace(id, at);
    if (!armed_ || at < armed_for_) arm();
    return id;
  }

  bool cancel(TimerId id) {
    std::function<void()> forgotten;
    const std::scoped_lock lock(mutex_);
    const auto found = due_.find(id);
    if (found == due_.end()) return false;
    const auto entry = by_time_.find({found->second, id});
    forgotten = std::move(entry->second);
    by_time_.erase(entry);
    due_.erase(found);
    if (by_time_.empty()) timer_.cancel();
    return true;
  }

  void stop() {
    std::map<std::pair<TimePoint, TimerId>, std::function<void()>> forgotten;
    const std::scoped_lock lock(mutex_);
    forgotten.swap(by_time_);
    due_.clear();
    timer_.cancel();
  }

  std::size_t pending() const {
    const std::scoped_lock lock(mutex_);
    return by_time_.size();
  }

 private:
  /// Under the mutex, which also keeps the timer to one thread at a time.
  void arm() {
    if (by_time_.empty()) {
      armed_ = false;
      return;
    }
    armed_ = true;
    armed_for_ = by_time_.begin()->first.first;
    timer_.expires_at(std::chrono::time_point_cast<std::chrono::steady_clock::duration>(armed_for_));
    timer_.async_wait([self = shared_from_this(), round = ++round_](const auto&) { self->fire(round); });
  }

  void fire(std::uint64_t round) {
    std::unique_lock lock(mutex_);
    if (round != round_) return;
    const TimePoint now = std::chrono::steady_clock::now();
    // One by one, so that each may still cancel those behind it.
    while (!by_time_.empty() && by_time_.begin()->first.first <= now) {
      auto fn = std::move(by_time_.begin()->second);
      due_.erase(by_time_.begin()->first.second);
      by_time_.erase(by_time_.begin());
      lock.unlock();
      fn();
      // What it holds may end with it, and use this service.
      fn = nullptr;
      lock.lock();
    }
    arm();
  }

  mutable std::mutex mutex_;
  boost::asio::steady_timer timer_;
  std::map<std::pair<TimePoint, TimerId>, std::function<void()>> by_time_;
  std::unordered_map<TimerId, TimePoint> due_;
  TimerId last_id_ = 0;
  std::uint64_t round_ = 0;
  bool armed_ = false;
  TimePoint armed_for_{};
};

AsyncTimerService::AsyncTimerService(boost::asio::any_io_executor executor)
    : queue_(std::make_shared<Queue>(executor)) {}

AsyncTimerService::~AsyncTimerService() {
  queue_->stop();
}

TimerId AsyncTimerService::schedule_at(TimePoint at, std::function<void()> fn) {
  return queue_->add(at, std::move(fn));
}

bool AsyncTimerService::cancel(TimerId id) {
  return queue_->cancel(id);
}

std::size_t AsyncTimerService::pending() const {
  return queue_->pending();
}

}  // namespace sharingbus

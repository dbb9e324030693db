#include "bus/async.hpp"

#include <atomic>
#include <condition_variable>
#include <mutex>
#include <thread>

namespace sharingbus {

class CallbackSubscription::Loop : public std::enable_shared_from_this<Loop> {
 public:
  Loop(Subscription subscription, boost::asio::any_io_executor executor, Callback callback)
      : subscription_(std::move(subscription)), executor_(std::move(executor)), callback_(std::move(callback)) {}

  void start() {
    const std::scoped_lock lock(mutex_);
    wait();
  }

  void stop() noexcept {
    Subscription ended;
    std::unique_lock lock(mutex_);
    stopped_ = true;
    if (!subscription_) return;
    // Breaks the circle of the parked wake function and this loop.
    subscription_.cancel_notify();
    if (running_) {
      if (runner_ == std::this_thread::get_id()) return;
      waited_for_ = true;
      idle_.wait(lock, [this] { return !running_; });
    }
    last_stats_ = subscription_.stats();
    ended = std::move(subscription_);
  }

  SubscriptionStats stats() const {
    const std::scoped_lock lock(mutex_);
    SubscriptionStats stats = subscription_ ? subscription_.stats() : last_stats_;
    stats.callback_failures += failures_.load(std::memory_order_relaxed);
    return stats;
  }

  SubscriptionId id() const {
    const std::scoped_lock lock(mutex_);
    return subscription_ ? subscription_.id() : last_stats_.id;
  }

 private:
  /// Under the mutex, so that stop() finds either a parked wake function or a posted run.
  void wait() {
    const bool parked = subscription_.notify_when_ready([self = shared_from_this()] { self->schedule(); });
    if (!parked) schedule();
  }

  void schedule() {
    boost::asio::post(executor_, [self = shared_from_this()] { self->run(); });
  }

  bool enter() {
    const std::scoped_lock lock(mutex_);
    if (stopped_ || !subscription_) return false;
    running_ = true;
    runner_ = std::this_thread::get_id();
    return true;
  }

  void leave(bool ended) {
    Subscription gone;
    {
      const std::scoped_lock lock(mutex_);
      running_ = false;
      runner_ = {};
      if (!waited_for_ && (stopped_ || ended)) {
        last_stats_ = subscription_.stats();
        gone = std::move(subscription_);
      } else if (!stopped_) {
        wait();
      }
    }
    idle_.notify_all();
  }

  void run() {
    // A bounded turn, so that a busy subscription does not starve its neighbours on the executor. One by one, so that
    // what a stopped callback never sees counts as discarded and not as received.
    if (!enter()) return;
    bool ended = false;
    for (int i = 0; i < kTurn && !ended && !stopped_; ++i) {
      const Received next = subscription_.try_receive();
      if (next.empty()) break;
      ended = next.closed() != nullptr;
      try {
        callback_(next);
      } catch (...) {
        failures_.fetch_add(1, std::memory_order_relaxed);
      }
    }
    leave(ended);
  }

  static constexpr int kTurn = 64;

  Subscription subscription_;
  const boost::asio::any_io_executor executor_;
  const Callback callback_;
  std::atomic<std::uint64_t> failures_{0};
  std::atomic<bool> stopped_{false};
  mutable std::mutex mutex_;
  std::condition_variable idle_;
  bool running_ = false;
  /// stop() will take the subscription, so that it has ended when stop() returns.
  bool waited_for_ = false;
  std::thread::id runner_;
  SubscriptionStats last_stats_;
};

CallbackSubscription& CallbackSubscription::operator=(CallbackSubscription&& other) noexcept {
  if (this != &other) {
    stop();
    loop_ = std::move(other.loop_);
  }
  return *this;
}

CallbackSubscription::~CallbackSubscription() {
  stop();
}

void CallbackSubscription::stop() noexcept {
  if (loop_ != nullptr) std::exchange(loop_, nullptr)->stop();
}

SubscriptionId CallbackSubscription::id() const noexcept {
  return loop_->id();
}

SubscriptionStats CallbackSubscription::stats() const {
  return loop_->stats();
}

CallbackSubscription subscribe_on(SharingBus& bus, boost::asio::any_io_executor executor, SubscriptionOptions options,
                                  CallbackSubscription::Callback callback) {
  auto loop = std::make_shared<CallbackSubscription::Loop>(bus.subscribe(std::move(options)), std::move(executor),
                                                           std::move(callback));
  loop->start();
  return CallbackSubscription(std::move(loop));
}

}  // namespace sharingbus

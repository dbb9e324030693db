#include <atomic>
#include <mutex>
#include <thread>
#include <utility>
#include <variant>

#include <boost/asio/post.hpp>

#include "bus/async.hpp"
#include "bus/internal/event_access.hpp"

namespace sharingbus {

/// Runs the members that have something to receive, one after the other, in jobs on the executor.
class CallbackGroup::Worker final : public detail::WakeTarget, public std::enable_shared_from_this<Worker> {
 public:
  explicit Worker(boost::asio::any_io_executor executor) : executor_(std::move(executor)) {}

  void wake(detail::Waiter* first, detail::Waiter* last) noexcept override {
    // Once they are added, a job on its way may run the last of them and let go of the last of us.
    const auto keep = shared_from_this();
    add(first, last);
    // seq_cst with drain and ~Job: either they find the new chain, or we find that they have been.
    if (dropped_.load(std::memory_order_seq_cst)) return drop_all();
    if (!scheduled_.load(std::memory_order_seq_cst)) schedule();
  }
  void drop(detail::Waiter* waiter) noexcept override;

  void schedule() noexcept {
    if (!scheduled_.exchange(true, std::memory_order_seq_cst)) boost::asio::post(executor_, Job{shared_from_this()});
  }

  /// Held while a member lets go of its subscription, or somebody asks for its figures.
  std::mutex ends;

 private:
  /// One turn of the worker, which its executor may also throw away.
  struct Job {
    explicit Job(std::shared_ptr<Worker> owner) noexcept : worker(std::move(owner)) {}
    Job(Job&&) noexcept = default;
    Job& operator=(Job&&) = delete;
    ~Job() {
      if (worker == nullptr) return;
      worker->dropped_.store(true, std::memory_order_seq_cst);
      worker->drop_all();
    }
    void operator()() {
      const auto owner = std::exchange(worker, nullptr);
      owner->drain();
    }
    std::shared_ptr<Worker> worker;
  };

  void add(detail::Waiter* first, detail::Waiter* last) noexcept {
    last->next = ready_.load(std::memory_order_relaxed);
    while (!ready_.compare_exchange_weak(last->next, first, std::memory_order_seq_cst, std::memory_order_relaxed)) {
    }
  }
  void drain() noexcept;
  void drop_all() noexcept;

  const boost::asio::any_io_executor executor_;
  std::atomic<detail::Waiter*> ready_{nullptr};
  std::atomic<bool> scheduled_{false};
  /// The executor's context threw our job away: nobody will be run any more.
  std::atomic<bool> dropped_{false};
};

/// One subscription of a group. While it is parked or ready it keeps itself alive.
class CallbackSubscription::Member final : public detail::Waiter {
 public:
  using AnyCallback = std::variant<Callback, BatchCallback>;

  Member(std::shared_ptr<CallbackGroup::Worker> worker, Subscription subscription, AnyCallback callback)
      : Waiter(*worker),
        subscription_(std::move(subscription)),
        callback_(std::move(callback)),
        worker_(std::move(worker)) {}

  /// Does not park on this thread, for from then on the worker's may be at work.
  static void start(const std::shared_ptr<Member>& member) {
    member->kept_ = member;
    member->next = nullptr;
    member->worker_->wake(member.get(), member.get());
  }

  void forget() noexcept { kept_.reset(); }

  /// True: there is more to do, call again.
  bool run() noexcept {
    auto keep = std::move(kept_);
    State expected = State::idle;
    if (!state_.compare_exchange_strong(expected, State::running, std::memory_order_acq_rel)) return false;
    runner_.store(std::this_thread::get_id(), std::memory_order_relaxed);
    std::size_t budget = kTurn;
    bool ended = false;
    bool empty = false;
    while (budget != 0 && !ended && !stopping()) {
      const Lent lent = subscription_.lend(budget);
      empty = lent.empty();
      if (empty) break;
      ended = lent.closed() != nullptr;
      budget -= lent.events().size();
      if (const auto* each = std::get_if<Callback>(&callback_)) {
        call_each(*each, lent);
      } else {
        guarded([&] { std::get<BatchCallback>(callback_)(lent); });
      }
    }
    const bool again = !ended && !stopping() && (!empty || !park(keep));
    if (!leave(ended, keep) || !again) return false;
    kept_ = std::move(keep);
    return true;
  }

  void stop() noexcept {
    State state = state_.load(std::memory_order_acquire);
    for (;;) {
      if (state == State::stopped || state == State::stopping) break;
      const State to = state == State::running ? State::stopping : State::stopped;
      if (!state_.compare_exchange_weak(state, to, std::memory_order_acq_rel, std::memory_order_acquire)) continue;
      if (to == State::stopped) {
        finish();
        return;
      }
      break;
    }
    if (runner_.load(std::memory_order_relaxed) == std::this_thread::get_id()) return;
    // Whoever runs it takes it down.
    while ((state = state_.load(std::memory_order_acquire)) != State::stopped)
      state_.wait(state, std::memory_order_acquire);
  }

  SubscriptionStats stats() const {
    const std::scoped_lock lock(worker_->ends);
    SubscriptionStats stats = subscription_ ? subscription_.stats() : *last_stats_;
    stats.callback_failures += failures_.load(std::memory_order_relaxed);
    return stats;
  }
  SubscriptionId id() const {
    const std::scoped_lock lock(worker_->ends);
    return subscription_ ? subscription_.id() : last_stats_->id;
  }

 private:
  enum class State : std::uint8_t {
    idle,
    running,
    /// Asked to stop while it was running.
    stopping,
    stopped,
  };

  [[nodiscard]] bool stopping() const noexcept { return state_.load(std::memory_order_relaxed) == State::stopping; }

  template <class Fn>
  void guarded(Fn&& fn) noexcept {
    try {
      fn();
    } catch (...) {
      failures_.fetch_add(1, std::memory_order_relaxed);
    }
  }

  void call_each(const Callback& callback, const Lent& lent) noexcept {
    if (const Gap* gap = lent.gap()) return guarded([&] { callback(Received(*gap)); });
    if (const Closed* closed = lent.closed()) return guarded([&] { callback(Received(*closed)); });
    const auto events = lent.events();
    for (std::size_t i = 0; i < events.size(); ++i) {
      Received received(EventAccess::adopt(events[i].get()));
      guarded([&] { callback(received); });
      EventAccess::forget(received);
      if (stopping()) return subscription_.unreceive(events.size() - i - 1);
    }
  }

  /// False when there is something to receive already, else `keep` is what keeps it alive while it is parked.
  bool park(std::shared_ptr<Member>& keep) {
    kept_ = std::move(keep);
    if (subscription_.park(this)) return true;
    keep = std::move(kept_);
    return false;
  }

  /// True: goes on. Else `keep` keeps it alive until the caller is done with it.
  bool leave(bool ended, std::shared_ptr<Member>& keep) noexcept {
    runner_.store({}, std::memory_order_relaxed);
    State expected = State::running;
    const State to = ended ? State::stopped : State::idle;
    if (!state_.compare_exchange_strong(expected, to, std::memory_order_acq_rel) || ended) {
      if (auto parked = finish()) keep = std::move(parked);
      state_.store(State::stopped, std::memory_order_release);
      state_.notify_all();
      return false;
    }
    return true;
  }

  /// By the one who moved the state to stopped, or from running. Returns what kept it alive while it was parked.
  std::shared_ptr<Member> finish() noexcept {
    // Goes after the lock, for what is queued goes with it.
    Subscription gone;
    const std::scoped_lock lock(worker_->ends);
    // When it was woken already, the worker lets go of it in its next turn.
    std::shared_ptr<Member> keep = subscription_.unpark(this) ? std::move(kept_) : nullptr;
    last_stats_ = std::make_unique<SubscriptionStats>(subscription_.stats());
    last_stats_->closed = true;
    gone = std::move(subscription_);
    return keep;
  }

  static constexpr std::size_t kTurn = 256;

  // What a turn touches comes first.
  std::atomic<State> state_{State::idle};
  std::atomic<std::thread::id> runner_{};
  Subscription subscription_;
  std::shared_ptr<Member> kept_;
  const AnyCallback callback_;
  const std::shared_ptr<CallbackGroup::Worker> worker_;
  std::atomic<std::uint64_t> failures_{0};
  std::unique_ptr<SubscriptionStats> last_stats_;
};

void CallbackGroup::Worker::drain() noexcept {
  detail::Waiter* chain = ready_.exchange(nullptr, std::memory_order_seq_cst);
  detail::Waiter* again_first = nullptr;
  detail::Waiter* again_last = nullptr;
  while (chain != nullptr) {
    auto* const member = static_cast<CallbackSubscription::Member*>(chain);
    chain = chain->next;
    // With many members each is cold; look ahead.
    if (chain != nullptr) __builtin_prefetch(chain->next, 1);
    if (!member->run()) continue;
    member->next = nullptr;
    if (again_first == nullptr) {
      again_first = member;
    } else {
      again_last->next = member;
    }
    again_last = member;
  }
  if (again_first != nullptr) add(again_first, again_last);
  if (ready_.load(std::memory_order_seq_cst) != nullptr) {
    boost::asio::post(executor_, Job{shared_from_this()});
    return;
  }
  scheduled_.exchange(false, std::memory_order_seq_cst);
  if (ready_.load(std::memory_order_seq_cst) != nullptr) schedule();
}

void CallbackGroup::Worker::drop(detail::Waiter* waiter) noexcept {
  static_cast<CallbackSubscription::Member*>(waiter)->forget();
}

void CallbackGroup::Worker::drop_all() noexcept {
  detail::Waiter* chain = ready_.exchange(nullptr, std::memory_order_seq_cst);
  while (chain != nullptr)
    drop(std::exchange(chain, chain->next));
}

CallbackGroup::CallbackGroup(SharingBus& bus, boost::asio::any_io_executor executor)
    : bus_(&bus), worker_(std::make_shared<Worker>(std::move(executor))) {}

template <class AnyCallback>
CallbackSubscription CallbackGroup::add(SubscriptionOptions options, AnyCallback callback) {
  auto member =
      std::make_shared<CallbackSubscription::Member>(worker_, bus_->subscribe(std::move(options)), std::move(callback));
  CallbackSubscription::Member::start(member);
  return CallbackSubscription(std::move(member));
}

CallbackSubscription CallbackGroup::subscribe(SubscriptionOptions options, CallbackSubscription::Callback callback) {
  return add(std::move(options), std::move(callback));
}

CallbackSubscription CallbackGroup::subscribe_batches(SubscriptionOptions options,
                                                      CallbackSubscription::BatchCallback callback) {
  return add(std::move(options), std::move(callback));
}

CallbackSubscription::CallbackSubscription(std::shared_ptr<Member> member) noexcept : member_(std::move(member)) {}

CallbackSubscription& CallbackSubscription::operator=(CallbackSubscription&& other) noexcept {
  if (this != &other) {
    stop();
    member_ = std::move(other.member_);
  }
  return *this;
}

CallbackSubscription::~CallbackSubscription() {
  stop();
}

void CallbackSubscription::stop() noexcept {
  if (member_ != nullptr) std::exchange(member_, nullptr)->stop();
}

SubscriptionId CallbackSubscription::id() const noexcept {
  return member_->id();
}

SubscriptionStats CallbackSubscription::stats() const {
  return member_->stats();
}

CallbackSubscription subscribe_on(SharingBus& bus, boost::asio::any_io_executor executor, SubscriptionOptions options,
                                  CallbackSubscription::Callback callback) {
  return CallbackGroup(bus, std::move(executor)).subscribe(std::move(options), std::move(callback));
}

}  // namespace sharingbus

#pragma once

#include <atomic>
#include <condition_variable>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <thread>
#include <unordered_map>
#include <utility>
#include <variant>

#include "bus/async.hpp"
#include "bus/internal/asymmetric_fence.hpp"
#include "bus/internal/async_post.hpp"
#include "bus/internal/event_access.hpp"
#include "bus/internal/group_inbox.hpp"
#include "bus/internal/job_tail.hpp"
#include "bus/internal/subscriber_state.hpp"

namespace sharingbus {

/// Runs the members that have something to receive, one after the other, in jobs on the executor: those that are parked
/// at a queue of their own, in the order in which they were woken, and what came to the inbox for the others.
class CallbackGroup::Worker final : public detail::WakeTarget,
                                    public internal::GroupInbox,
                                    public internal::JobTail::Task,
                                    public std::enable_shared_from_this<Worker> {
 public:
  using Member = CallbackSubscription::Member;

  Worker(boost::asio::any_io_executor executor, CallbackGroupOptions options)
      : options_(options), executor_(std::move(executor)) {
    if (const auto* const context = internal::io_context_executor(*executor_)) context_ = *context;
    internal::prepare_fences();
  }
  /// The worker as the group's handles have it: while there is one, there may be more members.
  static std::shared_ptr<Worker> make(boost::asio::any_io_executor executor, CallbackGroupOptions options);

  void wake(detail::Waiter* first, detail::Waiter* last) noexcept override {
    // Once they are added, a job on its way may run the last of them and let go of the last of us.
    auto keep = shared_from_this();
    if (internal::JobTail* const tail = usable_tail(); tail != nullptr && become_consumer()) {
      if (goes_on_here()) {
        chain_ = first;
        return tail->take(std::move(keep));
      }
      add(first, last);
      if (send_job_or_rest()) return;
    } else {
      add(first, last);
    }
    go();
  }
  void drop(detail::Waiter* waiter) noexcept override;
  void publish() noexcept override {
    auto keep = shared_from_this();
    show();
    internal::JobTail* const tail = usable_tail();
    if (tail == nullptr || !become_consumer()) return go();
    if (goes_on_here()) return tail->take(std::move(keep));
    if (!send_job_or_rest()) go();
  }

  void run_in_tail() noexcept override { drain(); }

  // Which member is at work. A member is told to stop, and looks whether it was, in an order that the fences make:
  // either it sees that, or whoever stops it sees that it is at work.

  /// The worker's: from here on `member` is at work, or nobody.
  void turn_to(const Member* member) noexcept {
    // Release: whoever sees this sees what the member before did.
    at_work_.store(member, std::memory_order_release);
    internal::light_fence();
    if (stoppers_.load(std::memory_order_relaxed) != 0) [[unlikely]]
      tell_stoppers();
  }
  /// Until `member`, which was told to stop, is not at work; at once inside its own callback, and then false.
  bool wait_for_end_of(const Member* member) noexcept;

  /// Members that were not stopped: without one, nothing goes to the executor, whose context may be gone.
  void join() noexcept { members_.fetch_add(1, std::memory_order_relaxed); }
  /// With `ends` held.
  void leave() noexcept {
    members_.fetch_sub(1, std::memory_order_release);
    let_go_if_unused();
  }

  /// Held while a member lets go of its subscription, somebody asks for its figures, or a job is posted.
  std::mutex ends;

 private:
  /// One turn of the worker, which its executor may also throw away.
  struct Job {
    explicit Job(std::shared_ptr<Worker> owner) noexcept : worker(std::move(owner)) {}
    Job(Job&&) noexcept = default;
    Job& operator=(Job&&) = delete;
    ~Job() {
      if (worker != nullptr) worker->dropped();
    }
    void operator()() {
      const auto owner = std::exchange(worker, nullptr);
      owner->drain();
    }
    std::shared_ptr<Worker> worker;
  };
  /// What stands back while others in the inbox get their turn.
  struct Backlog {
    std::deque<Entry> entries;
    /// In this job.
    std::size_t taken = 0;
  };
  /// Entries of the inbox in a job, so that others on the executor get their turn.
  static constexpr std::size_t kTurn = 512;
  /// When more than so many wait, a member gets no more than its share of a job.
  static constexpr std::size_t kCrowd = 1024;
  static constexpr std::size_t kShare = 256;
  /// From so many members on, the next one is not at hand.
  static constexpr std::uint32_t kCold = 128;
  static constexpr std::size_t kAhead = 4;

  void add(detail::Waiter* first, detail::Waiter* last) noexcept {
    last->next = ready_.load(std::memory_order_relaxed);
    while (!ready_.compare_exchange_weak(last->next, first, std::memory_order_seq_cst, std::memory_order_relaxed)) {
    }
  }
  /// Whether there is nothing for a consumer who has read the inbox up to `read`.
  [[nodiscard]] bool idle(std::uint64_t read) const noexcept {
    return ready_.load(std::memory_order_seq_cst) == nullptr && shown() == read;
  }
  /// Whether nobody was. seq_cst with the end of drain: either it finds what was added or shown, or we find that it has
  /// been.
  [[nodiscard]] bool become_consumer() noexcept {
    return !scheduled_.load(std::memory_order_seq_cst) && !scheduled_.exchange(true, std::memory_order_seq_cst);
  }
  /// Something was added or shown.
  void go() noexcept {
    while (become_consumer() && !send_job_or_rest()) {
    }
  }
  [[nodiscard]] internal::JobTail* usable_tail() const noexcept {
    internal::JobTail* const tail = internal::JobTail::here();
    if (tail == nullptr || !context_ || !tail->free()) return nullptr;
    return tail->after() == internal::JobTail::After::job || options_.inside_publish ? tail : nullptr;
  }
  [[nodiscard]] bool goes_on_here() noexcept;
  [[nodiscard]] bool send_job_or_rest() noexcept;
  [[nodiscard]] bool rest() noexcept;
  [[nodiscard]] bool post_job() noexcept;
  void let_go_if_unused() noexcept;
  void drain() noexcept;
  void run(detail::Waiter* chain) noexcept;
  void read_inbox() noexcept;
  void take(const Entry& entry) noexcept;
  void take_cold(std::span<const Entry> entries) noexcept;
  void take_or_keep(const Entry& entry);
  void take_backlogs() noexcept;
  [[nodiscard]] bool discard() noexcept;
  void dropped() noexcept;
  void tell_stoppers() noexcept;

  const CallbackGroupOptions options_;
  /// The executor, if it is that of an `io_context`, which may be gone like the executor below.
  std::optional<boost::asio::io_context::executor_type> context_;
  /// The consumer looks at the context: with fences, so that it does not go meanwhile.
  std::atomic<bool> looking_{false};
  /// Members that the consumer has for the tail.
  detail::Waiter* chain_ = nullptr;

  // Guarded by `ends`. The bus may keep what it has of let-go members for longer than the executor's context lives, so
  // the executor goes with the last of members and handles.
  std::optional<boost::asio::any_io_executor> executor_;
  bool handles_ = true;
  /// The executor is gone: there are no members and will be none.
  std::atomic<bool> unused_{false};

  std::atomic<detail::Waiter*> ready_{nullptr};
  /// A job is on its way or at work, or somebody throws away what came. Whoever set it is the consumer.
  std::atomic<bool> scheduled_{false};
  /// The executor's context threw our job away: nobody will be run any more.
  std::atomic<bool> dropped_{false};
  /// The consumer's. Mostly there are none.
  std::unordered_map<Member*, Backlog> backlogs_;
  std::atomic<std::uint32_t> members_{0};
  std::atomic<std::thread::id> runner_{};
  std::atomic<const Member*> at_work_{nullptr};
  std::atomic<std::uint32_t> stoppers_{0};
  std::condition_variable moved_on_;
};

/// One subscription of a group. It keeps itself alive while it is parked or ready, or until the last entry in the
/// inbox.
class CallbackSubscription::Member final : public internal::InboxMember {
 public:
  using AnyCallback = std::variant<Callback, BatchCallback>;

  Member(std::shared_ptr<CallbackGroup::Worker> worker, AnyCallback callback)
      : InboxMember(*worker), callback_(std::move(callback)), worker_(std::move(worker)) {}

  static std::shared_ptr<Member> begin(SharingBus& bus, std::shared_ptr<CallbackGroup::Worker> worker,
                                       SubscriptionOptions options, AnyCallback callback);

  // The worker's.

  /// Of one that is parked: true when there is more to do, call again.
  bool run() noexcept;
  void take(const internal::GroupInbox::Entry& entry) noexcept;
  void take_event(const BusEvent& event) noexcept {
    if (stopped()) [[unlikely]]
      return EventAccess::release(event);
    state->receive_of_inbox(event);
    Received received(EventAccess::adopt(&event));
    call(received);
    EventAccess::forget(received);
    EventAccess::release(event);
    if (stopped()) [[unlikely]]
      finish();
  }
  /// Nothing keeps it alive any more but its handle.
  void forget() noexcept { kept_.reset(); }
  void prefetch_state() const noexcept {
    if (state != nullptr) state->prefetch_received();
  }

  // Any thread.

  void stop() noexcept {
    stopped_.store(true, std::memory_order_seq_cst);
    if (worker_->wait_for_end_of(this)) finish();
  }
  SubscriptionStats stats() const {
    const std::scoped_lock lock(worker_->ends);
    SubscriptionStats stats = last_stats_ == nullptr ? subscription_.stats() : *last_stats_;
    stats.callback_failures += failures_.load(std::memory_order_relaxed);
    return stats;
  }
  SubscriptionId id() const {
    const std::scoped_lock lock(worker_->ends);
    return last_stats_ == nullptr ? subscription_.id() : last_stats_->id;
  }

 private:
  static constexpr std::size_t kTurn = 256;

  [[nodiscard]] bool stopped() const noexcept { return stopped_.load(std::memory_order_relaxed); }
  template <class Fn>
  void guarded(Fn&& fn) noexcept {
    try {
      fn();
    } catch (...) {
      failures_.fetch_add(1, std::memory_order_relaxed);
    }
  }
  void call_each(const Callback& callback, const Lent& lent) noexcept;
  void call(const Received& received) noexcept {
    guarded([&] { (*std::get_if<Callback>(&callback_))(received); });
  }
  void adopt(Subscription subscription) noexcept;
  bool park(std::shared_ptr<Member>& keep);
  void finish() noexcept;

  // What a turn touches comes first.
  std::atomic<bool> stopped_{false};
  std::atomic<std::uint32_t> failures_{0};
  AnyCallback callback_;
  std::shared_ptr<Member> kept_;
  Subscription subscription_;
  const std::shared_ptr<CallbackGroup::Worker> worker_;
  /// Set when it has let go of its subscription.
  std::unique_ptr<SubscriptionStats> last_stats_;
};

}  // namespace sharingbus

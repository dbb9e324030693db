#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <optional>
#include <span>
#include <stdexcept>
#include <thread>
#include <unordered_map>
#include <utility>
#include <variant>

#include "bus/async.hpp"
#include "bus/internal/asymmetric_fence.hpp"
#include "bus/internal/async_post.hpp"
#include "bus/internal/bus_core.hpp"
#include "bus/internal/event_access.hpp"
#include "bus/internal/group_inbox.hpp"
#include "bus/internal/job_tail.hpp"

namespace sharingbus {

using internal::GroupInbox;

/// Runs the members that have something to receive, one after the other, in jobs on the executor: those that are parked
/// at a queue of their own, in the order in which they were woken, and what came to the inbox for the others.
class CallbackGroup::Worker final : public detail::WakeTarget,
                                    public GroupInbox,
                                    public internal::JobTail::Task,
                                    public std::enable_shared_from_this<Worker> {
 public:
  using Member = CallbackSubscription::Member;

  explicit Worker(boost::asio::any_io_executor executor) : executor_(std::move(executor)) {
    internal::prepare_fences();
  }
  /// The worker as the group's handles have it: while there is one, there may be more members.
  static std::shared_ptr<Worker> make(boost::asio::any_io_executor executor);

  void wake(detail::Waiter* first, detail::Waiter* last) noexcept override {
    // Once they are added, a job on its way may run the last of them and let go of the last of us.
    const auto keep = shared_from_this();
    add(first, last);
    go();
  }
  void drop(detail::Waiter* waiter) noexcept override;
  void publish() noexcept override {
    const auto keep = shared_from_this();
    show();
    go();
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
  /// Something was added or shown. seq_cst with the end of drain: either it finds that, or we find that it has been.
  void go() noexcept {
    if (!scheduled_.load(std::memory_order_seq_cst)) schedule();
  }
  void schedule() noexcept;
  [[nodiscard]] bool post_job() noexcept;
  void let_go_if_unused() noexcept;
  void drain() noexcept;
  void run_ready() noexcept;
  void read_inbox() noexcept;
  void take(const Entry& entry) noexcept;
  void take_cold(std::span<const Entry> entries) noexcept;
  void take_or_keep(const Entry& entry);
  void take_backlogs() noexcept;
  [[nodiscard]] bool discard() noexcept;
  void dropped() noexcept;
  void tell_stoppers() noexcept;

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
  void take(const GroupInbox::Entry& entry) noexcept;
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

// --- Member ---------------------------------------------------------------------------------------------------------

std::shared_ptr<CallbackSubscription::Member> CallbackSubscription::Member::begin(
    SharingBus& bus, std::shared_ptr<CallbackGroup::Worker> worker, SubscriptionOptions options, AnyCallback callback) {
  // Runs are worth a queue of one's own.
  const bool each = std::holds_alternative<Callback>(callback);
  if (const auto valid = options.validate(); !valid) throw std::invalid_argument(valid.error().message);
  auto member = std::make_shared<Member>(std::move(worker), std::move(callback));
  const auto core = internal::CoreAccess::of(bus.publisher());
  internal::SubscriberState::Inbox inbox;
  if (each) inbox = {member->worker_.get(), member.get()};
  // From here on events may come for it.
  member->kept_ = member;
  member->worker_->join();
  std::shared_ptr<internal::SubscriberState> state;
  try {
    state = core->subscribe(std::move(options), nullptr, false, inbox);
  } catch (...) {
    {
      const std::scoped_lock lock(member->worker_->ends);
      member->worker_->leave();
    }
    member->kept_.reset();
    throw;
  }
  const bool has_inbox = state->inbox() != nullptr;
  member->adopt(Subscription(core, std::move(state)));
  if (!has_inbox) {
    // Does not park on this thread, for from then on the worker's may be at work.
    member->next = nullptr;
    member->worker_->wake(member.get(), member.get());
  }
  return member;
}

/// The worker may have been at work already, and even have come to the end.
void CallbackSubscription::Member::adopt(Subscription subscription) noexcept {
  const std::scoped_lock lock(worker_->ends);
  if (last_stats_ == nullptr) std::swap(subscription_, subscription);
}

bool CallbackSubscription::Member::run() noexcept {
  auto keep = std::move(kept_);
  if (stopped()) return false;
  std::size_t budget = kTurn;
  bool ended = false;
  bool empty = false;
  while (budget != 0 && !ended && !stopped()) {
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
  if (ended || stopped()) {
    finish();
    return false;
  }
  if (empty && park(keep)) return false;
  kept_ = std::move(keep);
  return true;
}

void CallbackSubscription::Member::call_each(const Callback& callback, const Lent& lent) noexcept {
  if (const Gap* gap = lent.gap()) return guarded([&] { callback(Received(*gap)); });
  if (const Closed* closed = lent.closed()) return guarded([&] { callback(Received(*closed)); });
  const auto events = lent.events();
  for (std::size_t i = 0; i < events.size(); ++i) {
    Received received(EventAccess::adopt(events[i].get()));
    guarded([&] { callback(received); });
    EventAccess::forget(received);
    if (stopped()) return subscription_.unreceive(events.size() - i - 1);
  }
}

void CallbackSubscription::Member::take(const GroupInbox::Entry& entry) noexcept {
  using Kind = GroupInbox::Entry::Kind;
  if (stopped()) return entry.discard();
  switch (entry.kind()) {
    case Kind::event:
      return take_event(entry.event());
    case Kind::gap:
      call(Received(entry.take_gap()));
      break;
    case Kind::look:
      if (const auto gap = state->look_for_gap()) call(Received(*gap));
      break;
    case Kind::last:
      if (const auto closed = state->closed()) call(Received(*closed));
      stopped_.store(true, std::memory_order_relaxed);
      break;
  }
  if (stopped()) finish();
}

/// False when there is something to receive already, else `keep` is what keeps it alive while it is parked.
bool CallbackSubscription::Member::park(std::shared_ptr<Member>& keep) {
  kept_ = std::move(keep);
  if (subscription_.park(this)) return true;
  keep = std::move(kept_);
  return false;
}

/// It is not at work and will not be, or this is the worker. Once; later calls find nothing to do.
void CallbackSubscription::Member::finish() noexcept {
  // They go after the lock, for what they hold is the user's.
  std::shared_ptr<Member> keep;
  AnyCallback callback;
  Subscription gone;
  const std::scoped_lock lock(worker_->ends);
  if (last_stats_ != nullptr) return;
  // When it was woken already, the worker lets go of it in its next turn.
  if (subscription_ && state == nullptr && subscription_.unpark(this)) keep = std::move(kept_);
  last_stats_ = std::make_unique<SubscriptionStats>(subscription_ ? subscription_.stats() : state->stats());
  last_stats_->closed = true;
  callback = std::move(callback_);
  gone = std::move(subscription_);
  worker_->leave();
}

// --- Worker ---------------------------------------------------------------------------------------------------------

bool CallbackGroup::Worker::wait_for_end_of(const Member* member) noexcept {
  stoppers_.fetch_add(1, std::memory_order_seq_cst);
  internal::heavy_fence();
  bool over = true;
  if (at_work_.load(std::memory_order_acquire) == member) {
    if (runner_.load(std::memory_order_relaxed) == std::this_thread::get_id()) {
      over = false;
    } else {
      std::unique_lock lock(ends);
      moved_on_.wait(lock, [&] { return at_work_.load(std::memory_order_acquire) != member; });
    }
  }
  stoppers_.fetch_sub(1, std::memory_order_relaxed);
  return over;
}

void CallbackGroup::Worker::tell_stoppers() noexcept {
  // Under the mutex a stopper either has not looked yet, or sleeps.
  { const std::scoped_lock lock(ends); }
  moved_on_.notify_all();
}

std::shared_ptr<CallbackGroup::Worker> CallbackGroup::Worker::make(boost::asio::any_io_executor executor) {
  struct Handles {
    explicit Handles(std::shared_ptr<Worker> of) noexcept : worker(std::move(of)) {}
    Handles(const Handles&) = delete;
    Handles& operator=(const Handles&) = delete;
    ~Handles() {
      const std::scoped_lock lock(worker->ends);
      worker->handles_ = false;
      worker->let_go_if_unused();
    }
    const std::shared_ptr<Worker> worker;
  };
  const auto handles = std::make_shared<Handles>(std::make_shared<Worker>(std::move(executor)));
  return {handles, handles->worker.get()};
}

void CallbackGroup::Worker::let_go_if_unused() noexcept {
  if (handles_ || members_.load(std::memory_order_relaxed) != 0) return;
  executor_.reset();
  unused_.store(true, std::memory_order_seq_cst);
}

/// Of executors that run a function at once when asked for it on a thread of theirs.
static bool runs_here(const boost::asio::any_io_executor& executor) noexcept {
  const auto* const context = internal::io_context_executor(executor);
  return context != nullptr && context->running_in_this_thread();
}

/// False: the executor is gone. Under the mutex, so that it does not go meanwhile.
bool CallbackGroup::Worker::post_job() noexcept {
  const std::scoped_lock lock(ends);
  if (!executor_) return false;
  if (internal::JobTail* tail = internal::JobTail::here()) {
    if (runs_here(*executor_) && tail->take(shared_from_this())) return true;
  }
  internal::post(*executor_, Job{shared_from_this()});
  return true;
}

void CallbackGroup::Worker::schedule() noexcept {
  while (!scheduled_.exchange(true, std::memory_order_seq_cst)) {
    if (!discard() && post_job()) return;
    const std::uint64_t end = read();
    scheduled_.exchange(false, std::memory_order_seq_cst);
    if (idle(end)) return;
  }
}

void CallbackGroup::Worker::drain() noexcept {
  runner_.store(std::this_thread::get_id(), std::memory_order_relaxed);
  run_ready();
  read_inbox();
  turn_to(nullptr);
  runner_.store({}, std::memory_order_relaxed);
  if (!idle(read()) || !backlogs_.empty()) {
    if (post_job()) return;
    (void)discard();
  }
  const std::uint64_t end = read();
  scheduled_.exchange(false, std::memory_order_seq_cst);
  if (!idle(end)) schedule();
}

void CallbackGroup::Worker::run_ready() noexcept {
  detail::Waiter* chain = ready_.exchange(nullptr, std::memory_order_seq_cst);
  detail::Waiter* again_first = nullptr;
  detail::Waiter* again_last = nullptr;
  while (chain != nullptr) {
    auto* const member = static_cast<Member*>(chain);
    chain = chain->next;
    // With many members each is cold; look ahead.
    if (chain != nullptr) __builtin_prefetch(chain->next, 1);
    turn_to(member);
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
}

inline void CallbackGroup::Worker::take(const Entry& entry) noexcept {
  auto& member = static_cast<Member&>(entry.member());
  turn_to(&member);
  if (entry.kind() == Entry::Kind::event) [[likely]]
    return member.take_event(entry.event());
  member.take(entry);
  if (entry.kind() != Entry::Kind::last) return;
  turn_to(nullptr);
  member.forget();
}

void CallbackGroup::Worker::read_inbox() noexcept {
  const bool crowded = !backlogs_.empty() || shown() - read() > kCrowd;
  take_backlogs();
  std::size_t budget = kTurn;
  while (budget != 0) {
    auto entries = readable();
    if (entries.empty()) break;
    entries = entries.first(std::min(entries.size(), budget));
    if (crowded) {
      for (const Entry& entry : entries)
        take_or_keep(entry);
    } else if (members_.load(std::memory_order_relaxed) < kCold) {
      for (const Entry& entry : entries)
        take(entry);
    } else {
      take_cold(entries);
    }
    taken(entries.size());
    budget -= entries.size();
  }
  if (crowded) std::erase_if(backlogs_, [](const auto& backlog) { return backlog.second.entries.empty(); });
}

/// Looks ahead.
void CallbackGroup::Worker::take_cold(std::span<const Entry> entries) noexcept {
  for (std::size_t i = 0; i < entries.size(); ++i) {
    if (i + 2 * kAhead < entries.size()) __builtin_prefetch(&entries[i + 2 * kAhead].member(), 1);
    if (i + kAhead < entries.size()) static_cast<const Member&>(entries[i + kAhead].member()).prefetch_state();
    take(entries[i]);
  }
}

void CallbackGroup::Worker::take_or_keep(const Entry& entry) {
  Backlog& backlog = backlogs_[&static_cast<Member&>(entry.member())];
  if (!backlog.entries.empty() || backlog.taken == kShare) {
    backlog.entries.push_back(entry);
    return;
  }
  ++backlog.taken;
  take(entry);
}

void CallbackGroup::Worker::take_backlogs() noexcept {
  for (auto& [member, backlog] : backlogs_) {
    for (backlog.taken = 0; backlog.taken < kShare && !backlog.entries.empty(); ++backlog.taken) {
      const Entry entry = backlog.entries.front();
      backlog.entries.pop_front();
      take(entry);
    }
  }
}

/// By the consumer, when nobody is to be run: throws away what came. False: somebody is.
bool CallbackGroup::Worker::discard() noexcept {
  // Before the look at the members: whoever joins after it has nothing in front of this.
  const std::uint64_t end = shown();
  if (dropped_.load(std::memory_order_seq_cst) || unused_.load(std::memory_order_seq_cst)) {
    detail::Waiter* chain = ready_.exchange(nullptr, std::memory_order_seq_cst);
    while (chain != nullptr)
      drop(std::exchange(chain, chain->next));
  } else if (members_.load(std::memory_order_acquire) != 0 || ready_.load(std::memory_order_seq_cst) != nullptr) {
    return false;
  }
  const auto throw_away = [](const Entry& entry) {
    entry.discard();
    if (entry.kind() == Entry::Kind::last) static_cast<Member&>(entry.member()).forget();
  };
  for (const auto& [member, backlog] : std::exchange(backlogs_, {}))
    std::for_each(backlog.entries.begin(), backlog.entries.end(), throw_away);
  while (read() != end) {
    const Entry entry = readable().front();
    taken(1);
    throw_away(entry);
  }
  return true;
}

void CallbackGroup::Worker::drop(detail::Waiter* waiter) noexcept {
  static_cast<Member*>(waiter)->forget();
}

/// The executor threw a job away, so we are the consumer.
void CallbackGroup::Worker::dropped() noexcept {
  dropped_.store(true, std::memory_order_seq_cst);
  (void)discard();
  const std::uint64_t end = read();
  scheduled_.exchange(false, std::memory_order_seq_cst);
  if (!idle(end)) schedule();
}

// --- what the user has ----------------------------------------------------------------------------------------------

CallbackGroup::CallbackGroup(SharingBus& bus, boost::asio::any_io_executor executor)
    : bus_(&bus), worker_(Worker::make(std::move(executor))) {}

template <class AnyCallback>
CallbackSubscription CallbackGroup::add(SubscriptionOptions options, AnyCallback callback) {
  return CallbackSubscription(
      CallbackSubscription::Member::begin(*bus_, worker_->shared_from_this(), std::move(options), std::move(callback)));
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

// The worker of a callback group.
#include <algorithm>
#include <utility>

#include "bus/internal/callback_group.hpp"

namespace sharingbus {

bool CallbackGroup::Worker::wait_for_end_of(const Member* member) noexcept {
  // Inside a callback this thread knows who is at work.
  if (runner_.load(std::memory_order_relaxed) == std::this_thread::get_id()) {
    return at_work_.load(std::memory_order_relaxed) != member;
  }
  stoppers_.fetch_add(1, std::memory_order_seq_cst);
  internal::heavy_fence();
  if (at_work_.load(std::memory_order_acquire) == member) {
    std::unique_lock lock(ends);
    moved_on_.wait(lock, [&] { return at_work_.load(std::memory_order_acquire) != member; });
  }
  stoppers_.fetch_sub(1, std::memory_order_relaxed);
  return true;
}

void CallbackGroup::Worker::tell_stoppers() noexcept {
  // Under the mutex a stopper either has not looked yet, or sleeps.
  { const std::scoped_lock lock(ends); }
  moved_on_.notify_all();
}

std::shared_ptr<CallbackGroup::Worker> CallbackGroup::Worker::make(boost::asio::any_io_executor executor,
                                                                   CallbackGroupOptions options) {
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
  const auto handles = std::make_shared<Handles>(std::make_shared<Worker>(std::move(executor), options));
  return {handles, handles->worker.get()};
}

void CallbackGroup::Worker::let_go_if_unused() noexcept {
  if (handles_ || members_.load(std::memory_order_relaxed) != 0) return;
  unused_.store(true, std::memory_order_seq_cst);
  internal::heavy_fence();
  while (looking_.load(std::memory_order_acquire))
    std::this_thread::yield();
  executor_.reset();
}

/// By the consumer: whether this thread runs the context, and there is somebody to be run.
bool CallbackGroup::Worker::goes_on_here() noexcept {
  looking_.store(true, std::memory_order_relaxed);
  internal::light_fence();
  const bool here = !unused_.load(std::memory_order_relaxed) && !dropped_.load(std::memory_order_relaxed) &&
                    context_->running_in_this_thread();
  looking_.store(false, std::memory_order_release);
  return here;
}

/// False: the executor is gone. Under the mutex, so that it does not go meanwhile.
bool CallbackGroup::Worker::post_job() noexcept {
  const std::scoped_lock lock(ends);
  if (!executor_) return false;
  internal::post(*executor_, Job{shared_from_this()});
  return true;
}

/// By the consumer. False: there is something again, and no consumer.
bool CallbackGroup::Worker::send_job_or_rest() noexcept {
  return (!discard() && post_job()) || rest();
}

/// By the consumer, who has nothing to do any more. False: there is something again.
bool CallbackGroup::Worker::rest() noexcept {
  const std::uint64_t end = read();
  scheduled_.exchange(false, std::memory_order_seq_cst);
  return idle(end);
}

void CallbackGroup::Worker::drain() noexcept {
  runner_.store(std::this_thread::get_id(), std::memory_order_relaxed);
  run(std::exchange(chain_, nullptr));
  run(ready_.exchange(nullptr, std::memory_order_seq_cst));
  read_inbox();
  turn_to(nullptr);
  runner_.store({}, std::memory_order_relaxed);
  if (!idle(read()) || !backlogs_.empty()) {
    if (post_job()) return;
    (void)discard();
  }
  if (!rest()) go();
}

void CallbackGroup::Worker::run(detail::Waiter* chain) noexcept {
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
  if (!rest()) go();
}

}  // namespace sharingbus

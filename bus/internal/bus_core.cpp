#include "bus/internal/bus_core.hpp"

#include <algorithm>
#include <array>
#include <stdexcept>
#include <thread>
#include <utility>

#include "bus/internal/asymmetric_fence.hpp"
#include "bus/internal/dispatch_scope.hpp"
#include "bus/internal/event_access.hpp"
#include "bus/internal/job_tail.hpp"

namespace sharingbus::internal {

namespace {

/// Busy for `time`, without touching memory that others write.
void relax_for(std::chrono::nanoseconds time) noexcept {
  const auto until = std::chrono::steady_clock::now() + time;
  while (std::chrono::steady_clock::now() < until) {
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#endif
  }
}

/// Whether publishers who would rather wait do so for it.
bool gives_credit(const SubscriberState& state) noexcept {
  return state.overflow() == Overflow::backpressure && !state.is_inline();
}

}  // namespace

BusCore::BusCore(BusOptions options)
    : options_(std::move(options)),
      clock_(options_.clock != nullptr ? *options_.clock : system_clock_),
      ingress_(options_.ingress_capacity, options_.ingress_capacity_bytes),
      fanout_(options_, clock_) {
  prepare_fences();
}

BusCore::~BusCore() {
  for (BusEvent* event : evicted_)
    EventAccess::release(*event);
}

bool BusCore::dispatching_here() const noexcept {
  for (const DispatchFrame* frame = t_dispatch_frames; frame != nullptr; frame = frame->outer) {
    if (frame->core == this) return true;
  }
  return false;
}

void BusCore::lock() noexcept {
  lock_waiters_.fetch_add(1, std::memory_order_acq_rel);
  while (!try_lock())
    dispatching_.wait(true, std::memory_order_relaxed);
  lock_waiters_.fetch_sub(1, std::memory_order_acq_rel);
}

void BusCore::unlock() noexcept {
  // A read-modify-write, like every try_lock: a publisher whose try_lock failed comes before this in the order of
  // `dispatching_`, so has_work() after it sees that publisher's event.
  dispatching_.exchange(false, std::memory_order_acq_rel);
  if (lock_waiters_.load(std::memory_order_acquire) != 0) [[unlikely]]
    tell_waiters();
}

/// Whoever waits for room as well: what is left in the ring may be for a job that stands behind him.
void BusCore::tell_waiters() noexcept {
  dispatching_.notify_all();
  if (room_waiters_.load(std::memory_order_relaxed) != 0) tell_of_room();
}

void BusCore::tell_of_room() noexcept {
  room_told_.fetch_add(1, std::memory_order_release);
  room_told_.notify_all();
}

// --- engines --------------------------------------------------------------------------------------------------------

bool BusCore::side_or_close_due() const noexcept {
  return side_next_.load(std::memory_order_acquire) <= ingress_.head() ||
         (ingress_.closed() && !finished_.load(std::memory_order_acquire) && ingress_.head() == ingress_.tail());
}

bool BusCore::has_work() const noexcept {
  return ingress_.ready() || side_or_close_due();
}

bool BusCore::pending_work() const noexcept {
  return ingress_.pending() || side_or_close_due();
}

void BusCore::notify_other_dispatcher() noexcept {
  if (options_.engine == Engine::combining) {
    // Inside a callback of whichever bus, what would run in our tail is for whoever dispatches that one.
    if (t_dispatch_frames != nullptr) return drive();
    const JobTail tail(JobTail::After::publish);
    return drive_from_outside();
  }
  if (options_.engine == Engine::thread && resting_.load(std::memory_order_seq_cst)) wake_runner();
}

/// Commands draw no ticket, so here it takes a read-modify-write of the very variable that the engine exchanges.
void BusCore::notify_dispatcher_of_command() noexcept {
  switch (options_.engine) {
    case Engine::combining:
      return drive();
    case Engine::manual:
      return;
    case Engine::thread:
      return wake_runner();
    case Engine::executor:
      return schedule_job();
  }
}

void BusCore::wake_runner() noexcept {
  if (resting_.exchange(false, std::memory_order_seq_cst)) parker_.wake();
}

void BusCore::schedule_job() noexcept {
  if (!scheduled_.exchange(true, std::memory_order_seq_cst))
    options_.scheduler->schedule(DispatchJob(shared_from_this()));
}

void BusCore::run_job() noexcept {
  static constexpr int kTurnsOfJob = 4;
  // What it takes runs when all is said below about the next job: callbacks may take their time.
  const JobTail tail(JobTail::After::job);
  std::size_t count = 0;
  if (try_lock()) {
    {
      const DispatchScope scope(*this);
      for (int i = 0; i < kTurnsOfJob && has_work(); ++i)
        count += run_turn(Fanout::kTurn);
    }
    unlock();
  }
  if (options_.wait == WaitStrategy::phased) pace(count);
  const bool pending = pending_work();
  if (pending) idle_since_ = TimePoint{};
  if (pending || lingers()) return options_.scheduler->schedule(DispatchJob(shared_from_this()));
  scheduled_.exchange(false, std::memory_order_seq_cst);
  if (pending_work()) schedule_job();
}

/// Whoever looks at once for the next event takes the cache lines away from the one who is writing it. So, when there
/// is little to do, looks stand further and further apart, until a look finds a fair part of a turn.
void BusCore::pace(std::size_t count) noexcept {
  static constexpr std::chrono::nanoseconds kClose{500};
  static constexpr std::chrono::nanoseconds kFar{8'000};
  if (count > Fanout::kTurn / 2) {
    pause_ = std::max(pause_ / 2, kClose);
    return;
  }
  if (count < Fanout::kTurn / 4) pause_ = std::min(pause_ * 2, kFar);
  relax_for(pause_);
}

/// Whether a job that found nothing comes back to look again, so that the executor's thread does not go to sleep yet.
bool BusCore::lingers() noexcept {
  if (options_.wait == WaitStrategy::block || finished_.load(std::memory_order_relaxed)) return false;
  if (options_.wait == WaitStrategy::spin) return true;
  const TimePoint now = std::chrono::steady_clock::now();
  if (idle_since_ == TimePoint{}) idle_since_ = now;
  if (now - idle_since_ < Parker::kPhase) return true;
  idle_since_ = TimePoint{};
  return false;
}

void BusCore::run() {
  if (options_.engine != Engine::thread || running_.exchange(true, std::memory_order_acq_rel)) return;
  for (;;) {
    lock();
    {
      const DispatchScope scope(*this);
      while (has_work())
        run_turn(Fanout::kTurn);
    }
    unlock();
    if (finished_.load(std::memory_order_acquire)) break;
    resting_.exchange(true, std::memory_order_seq_cst);
    if (pending_work() || finished_.load(std::memory_order_acquire)) {
      // Either a publisher is about to wake us, or has an event half written.
      if (resting_.exchange(false, std::memory_order_seq_cst)) std::this_thread::yield();
      continue;
    }
    parker_.wait(options_.wait, nullptr);
  }
  running_.store(false, std::memory_order_release);
}

void BusCore::drive() noexcept {
  if (t_dispatch_frames != nullptr && dispatching_here()) return;
  drive_from_outside();
}

/// Not from inside a callback of this bus.
void BusCore::drive_from_outside() noexcept {
  do {
    if (!try_lock()) return;
    {
      const DispatchScope scope(*this);
      while (has_work())
        run_turn(Fanout::kTurn);
    }
    unlock();
  } while (has_work());
}

std::size_t BusCore::poll(std::size_t limit) {
  if (dispatching_here() || !try_lock()) return 0;
  std::size_t count = 0;
  {
    const DispatchScope scope(*this);
    while (count < limit && has_work())
      count += run_turn(std::min(limit - count, Fanout::kTurn));
  }
  unlock();
  // Those who published meanwhile left their events to us, beyond the limit, too.
  if (options_.engine == Engine::combining) drive();
  return count;
}

void BusCore::flush() {
  if (dispatching_here()) return;
  const std::uint64_t target = ingress_.tail();
  for (;;) {
    lock();
    {
      const DispatchScope scope(*this);
      while (has_work() && (ingress_.head() < target || side_or_close_due()))
        run_turn(Fanout::kTurn);
    }
    const bool done = ingress_.head() >= target;
    unlock();
    if (done) break;
    // A publisher that holds a ticket has not finished writing its event.
    std::this_thread::yield();
  }
  if (options_.engine == Engine::combining) drive();
}

void BusCore::close() {
  ingress_.close();
  admit_waiting();
  if (dispatching_here()) return;
  while (!finished_.load(std::memory_order_acquire)) {
    lock();
    {
      const DispatchScope scope(*this);
      while (has_work())
        run_turn(Fanout::kTurn);
    }
    unlock();
    // A publisher that holds a ticket has not finished writing its event.
    if (!finished_.load(std::memory_order_acquire)) std::this_thread::yield();
  }
}

// --- dispatching ----------------------------------------------------------------------------------------------------

std::size_t BusCore::run_turn(std::size_t limit) noexcept {
  std::array<BusEvent*, Fanout::kTurn> batch;
  const std::size_t count = ingress_.pop_many(std::span(batch).first(std::min(limit, batch.size())));
  if (count != 0 && room_waiters_.load(std::memory_order_seq_cst) != 0) tell_of_room();
  fanout_.begin_turn();
  std::size_t from = 0;
  while (from < count) {
    settle_side_until(batch[from]->sequence() - 1);
    // Commands that come from now on have a place behind this batch, or may as well have one.
    const std::uint64_t next = side_next_.load(std::memory_order_acquire);
    std::size_t to = count;
    if (batch[count - 1]->sequence() > next) [[unlikely]] {
      // The place of one that came just now may even be before `from`.
      to = from + 1;
      while (to < count && batch[to]->sequence() <= next)
        ++to;
    }
    fanout_.dispatch(std::span(batch).subspan(from, to - from));
    from = to;
  }
  settle_side_until(ingress_.head());
  finish_turn();
  finish_close_if_drained();
  return count;
}

void BusCore::finish_turn() noexcept {
  fanout_.finish_turn();
  credit_.set_done(settled());
  if (credit_.limited()) credit_.remove_ended();
  for (EventDraft& notice : fanout_.notices())
    publish(notice, Mode::publish);
  fanout_.notices().clear();
  admit_waiting();
}

std::uint64_t BusCore::settled() const noexcept {
  const auto& counters = fanout_.counters();
  return counters.dispatched.load(std::memory_order_relaxed) + counters.lost.load(std::memory_order_relaxed);
}

void BusCore::settle_side_until(std::uint64_t ticket) noexcept {
  while (side_next_.load(std::memory_order_acquire) <= ticket) {
    std::unique_lock lock(side_mutex_);
    const std::uint64_t command_at = commands_.empty() ? kNever : commands_.front().at;
    const std::uint64_t evicted_at = evicted_.empty() ? kNever : evicted_.front()->sequence() - 1;
    if (std::min(command_at, evicted_at) > ticket) return;
    if (command_at <= evicted_at) {
      Command command = std::move(commands_.front());
      commands_.pop_front();
      update_side_next();
      lock.unlock();
      apply(command);
    } else {
      BusEvent* event = evicted_.front();
      evicted_.pop_front();
      update_side_next();
      lock.unlock();
      fanout_.lose(*event);
    }
  }
}

void BusCore::apply(Command& command) {
  switch (command.kind) {
    case Command::Kind::add:
      // Later than its place when the dispatcher was past it before it heard of the command.
      fanout_.add(*command.state, std::max(command.at, settled()) + 1);
      if (gives_credit(*command.state)) credit_.joined(*command.state);
      return;
    case Command::Kind::end:
      return fanout_.end(command.state, CloseReason::unsubscribed);
    case Command::Kind::collect: {
      fanout_.collect(command.state);
      const std::scoped_lock lock(registry_mutex_);
      registry_.erase(command.state->id());
      return;
    }
    case Command::Kind::flushed:
      return command.done();
  }
}

void BusCore::finish_close_if_drained() noexcept {
  if (finished_.load(std::memory_order_relaxed)) return;
  if (!ingress_.closed() || ingress_.head() != ingress_.tail()) return;
  std::vector<StatePtr> alive;
  {
    const std::scoped_lock lock(registry_mutex_);
    registry_closed_ = true;
    // From here on a handle that goes takes its state out of the registry at once.
    for (const auto& [id, state] : registry_)
      alive.push_back(state);
  }
  settle_side_until(kNever - 1);
  fanout_.end_all(CloseReason::bus_closed);
  finish_turn();
  finished_.store(true, std::memory_order_release);
  finished_.notify_all();
  // Whoever's turn this was, run() is to return.
  if (options_.engine == Engine::thread) wake_runner();
}

// --- the side entrance ----------------------------------------------------------------------------------------------

void BusCore::update_side_next() {
  std::uint64_t next = kNever;
  if (!commands_.empty()) next = commands_.front().at;
  if (!evicted_.empty()) next = std::min(next, evicted_.front()->sequence() - 1);
  side_next_.store(next, std::memory_order_release);
}

void BusCore::post_command(Command::Kind kind, StatePtr state, std::function<void()> done) {
  const std::scoped_lock lock(side_mutex_);
  // Under the mutex, so that commands stand in the order of their places.
  commands_.push_back({kind, ingress_.tail(), std::move(state), std::move(done)});
  update_side_next();
}

void BusCore::when_flushed(std::function<void()> done) {
  {
    const std::scoped_lock lock(registry_mutex_);
    if (!registry_closed_) post_command(Command::Kind::flushed, nullptr, std::exchange(done, nullptr));
  }
  if (done) return done();
  notify_dispatcher_of_command();
}

std::shared_ptr<SubscriberState> BusCore::subscribe(SubscriptionOptions options, SubscriberState::Callback callback,
                                                    bool dead_letters, SubscriberState::Inbox inbox) {
  if (callback != nullptr) options.capacity = 1;  // not looked at
  if (const auto valid = options.validate(); !valid) throw std::invalid_argument(valid.error().message);
  StatePtr state;
  {
    const std::scoped_lock lock(registry_mutex_);
    state = std::make_shared<SubscriberState>(++last_id_, std::move(options), std::move(callback), ledger_,
                                              registry_closed_ ? SubscriberState::Inbox{} : inbox);
    state->wants_dead_letters = dead_letters;
    if (registry_closed_) {
      state->end(CloseReason::bus_closed);
      return state;
    }
    registry_.emplace(state->id(), state);
    try {
      // Before it has its place, lest events that are published behind that take more than it has room for.
      if (gives_credit(*state)) credit_.add(state);
      post_command(Command::Kind::add, state);
    } catch (...) {
      credit_.remove(*state);
      registry_.erase(state->id());
      throw;
    }
  }
  notify_dispatcher_of_command();
  return state;
}

void BusCore::unsubscribe(SubscriptionId id) {
  StatePtr state;
  {
    const std::scoped_lock lock(registry_mutex_);
    const auto found = registry_.find(id);
    if (found == registry_.end()) return;
    state = std::move(found->second);
    registry_.erase(found);
    if (registry_closed_) return;
    post_command(Command::Kind::end, state);
  }
  notify_dispatcher_of_command();
}

void BusCore::let_go(SubscriberState& state) {
  state.let_go();
  StatePtr collected;
  {
    const std::scoped_lock lock(registry_mutex_);
    const auto found = registry_.find(state.id());
    if (found == registry_.end()) return;
    if (registry_closed_) {
      collected = std::move(found->second);
      registry_.erase(found);
      return;
    }
    post_command(Command::Kind::collect, found->second);
  }
  // Nobody will make room in its queue any more, so publishers who wait for that must not wait for the next event.
  if (state.overflow() == Overflow::backpressure) notify_dispatcher_of_command();
}

std::size_t BusCore::subscriber_count() const {
  const std::scoped_lock lock(registry_mutex_);
  return registry_.size();
}

BusSnapshot BusCore::snapshot() const {
  const auto read = [](const std::atomic<std::uint64_t>& counter) { return counter.load(std::memory_order_relaxed); };
  BusSnapshot snapshot;
  {
    const std::scoped_lock lock(registry_mutex_);
    for (const auto& [id, state] : registry_)
      snapshot.subscriptions.push_back(state->stats());
  }
  const auto& counters = fanout_.counters();
  snapshot.dispatched = read(counters.dispatched);
  snapshot.ingress_lost = read(counters.lost);
  snapshot.ingress_refused = read(refused_);
  snapshot.publish_waiting = read(waiting_count_);
  snapshot.publish_waited = read(waited_);
  snapshot.published = ingress_.tail();
  snapshot.ingress_depth =
      snapshot.published - std::min(snapshot.published, snapshot.dispatched + snapshot.ingress_lost);
  snapshot.history_depth = read(counters.history_depth);
  snapshot.dead_letters = read(counters.dead_letters);
  snapshot.stage_failures = read(counters.stage_failures);
  snapshot.closed = ingress_.closed();
  for (const auto& stage : options_.stages)
    snapshot.stages.emplace_back(stage->name());
  snapshot.retired.subscriptions = read(ledger_.subscriptions);
  snapshot.retired.matched = read(ledger_.matched);
  snapshot.retired.received = read(ledger_.received);
  snapshot.retired.lagged = read(ledger_.lagged);
  snapshot.retired.discarded = read(ledger_.discarded);
  return snapshot;
}

}  // namespace sharingbus::internal

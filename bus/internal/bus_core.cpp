#include "bus/internal/bus_core.hpp"

#include <algorithm>
#include <limits>
#include <stdexcept>
#include <thread>
#include <utility>

namespace sharingbus::internal {

namespace {

/// The buses that this thread is dispatching right now, innermost first.
struct DispatchFrame {
  const BusCore* core;
  const DispatchFrame* outer;
};
thread_local const DispatchFrame* t_frames = nullptr;

void bump(std::atomic<std::uint64_t>& counter, std::uint64_t value = 1) noexcept {
  counter.store(counter.load(std::memory_order_relaxed) + value, std::memory_order_relaxed);
}

}  // namespace

/// Marks this thread as the dispatcher, which makes publishing from inside callbacks re-entrant.
class BusCore::DispatchScope {
 public:
  explicit DispatchScope(const BusCore& core) noexcept : frame_{&core, t_frames} { t_frames = &frame_; }
  ~DispatchScope() { t_frames = frame_.outer; }
  DispatchScope(const DispatchScope&) = delete;
  DispatchScope& operator=(const DispatchScope&) = delete;

 private:
  DispatchFrame frame_;
};

BusCore::BusCore(BusOptions options)
    : options_(std::move(options)),
      clock_(options_.clock != nullptr ? *options_.clock : system_clock_),
      ingress_(options_.ingress_capacity) {}

BusCore::~BusCore() {
  for (BusEvent* event : evicted_) EventAccess::release(*event);
}

bool BusCore::dispatching_here() const noexcept {
  for (const DispatchFrame* frame = t_frames; frame != nullptr; frame = frame->outer) {
    if (frame->core == this) return true;
  }
  return false;
}

void BusCore::lock() noexcept {
  lock_waiters_.fetch_add(1, std::memory_order_acq_rel);
  while (!try_lock()) dispatching_.wait(true, std::memory_order_relaxed);
  lock_waiters_.fetch_sub(1, std::memory_order_acq_rel);
}

void BusCore::unlock() noexcept {
  // A read-modify-write, like every try_lock: a publisher whose try_lock failed comes before this in the order of
  // `dispatching_`, so has_work() after it sees that publisher's event.
  dispatching_.exchange(false, std::memory_order_acq_rel);
  if (lock_waiters_.load(std::memory_order_acquire) != 0) dispatching_.notify_all();
}

PublishResult BusCore::publish(EventDraft draft, Mode mode) noexcept {
  if (!draft) return {};
  BusEvent* event = EventAccess::take(draft);
  std::uint64_t sequence = 0;
  const auto refuse = [event](PublishStatus status) {
    EventAccess::release(*event);
    return PublishResult{status, 0};
  };
  for (;;) {
    const bool may_use_reserve = mode == Mode::publish && t_frames != nullptr && dispatching_here();
    const auto pushed = ingress_.push(event, may_use_reserve ? Ingress::kReserve : 0, sequence);
    if (pushed == Ingress::Push::done) break;
    if (pushed == Ingress::Push::closed) return refuse(PublishStatus::refused_closed);
    if (mode == Mode::try_publish) {
      if (options_.engine == Engine::combining && !dispatching_here() && dispatch_one_turn()) continue;
      refused_.fetch_add(1, std::memory_order_relaxed);
      return refuse(PublishStatus::refused_full);
    }
    make_room();
  }
  if (options_.engine == Engine::combining) drive();
  return {PublishStatus::accepted, sequence};
}

bool BusCore::dispatch_one_turn() noexcept {
  if (!try_lock()) return false;
  {
    const DispatchScope scope(*this);
    run_turn(kTurn);
  }
  unlock();
  return true;
}

/// The ingress is full and a plain publish came.
void BusCore::make_room() noexcept {
  // Waiting inside a callback of any bus could close a circle of waiting threads, so there the oldest gives way.
  const bool nested = t_frames != nullptr;
  if (options_.engine == Engine::manual || (nested && dispatching_here())) return evict_oldest();
  if (dispatch_one_turn()) return;
  if (nested) return evict_oldest();
  // seq_cst on the counter and on the head, here and in run_turn: either the dispatcher sees that we wait, or we see
  // that it popped. Wait only while the ring is still full: one that was emptied meanwhile may never see a pop again.
  room_waiters_.fetch_add(1, std::memory_order_seq_cst);
  if (const std::uint64_t head = ingress_.head(); ingress_.full_at(head)) {
    if (try_lock()) {
      unlock();
    } else {
      ingress_.wait_for_pop(head);
    }
  }
  room_waiters_.fetch_sub(1, std::memory_order_relaxed);
}

void BusCore::evict_oldest() noexcept {
  {
    const std::scoped_lock lock(side_mutex_);
    const std::size_t reserve = dispatching_here() ? Ingress::kReserve : 0;
    if (!ingress_.full_at(ingress_.head(), reserve)) return;
    evict_under_side_mutex();
    if (evicted_.size() <= options_.ingress_capacity) return;
  }
  // Nobody polls: so that they do not pile up, their losses are settled here.
  if (dispatching_here() || !try_lock()) return;
  {
    const DispatchScope scope(*this);
    turn_time_ = clock_.now();
    settle_side_until(ingress_.head());
    wake_touched();
  }
  unlock();
}

void BusCore::evict_under_side_mutex() noexcept {
  // Announced before it is popped: whoever pops the next event then looks here first, so the loss keeps its place.
  side_next_.store(std::min(side_next_.load(std::memory_order_relaxed), ingress_.head()), std::memory_order_release);
  if (BusEvent* event = ingress_.pop()) {
    evicted_.push_back(event);
  } else {
    // Its publisher holds a ticket and is two instructions from done.
    std::this_thread::yield();
  }
  update_side_next();
}

void BusCore::update_side_next() {
  std::uint64_t next = kNever;
  if (!commands_.empty()) next = commands_.front().at;
  if (!evicted_.empty()) next = std::min(next, evicted_.front()->sequence() - 1);
  side_next_.store(next, std::memory_order_release);
}

void BusCore::post_command(Command::Kind kind, StatePtr state) {
  const std::scoped_lock lock(side_mutex_);
  // Under the mutex, so that commands stand in the order of their places.
  commands_.push_back({kind, ingress_.tail(), std::move(state)});
  update_side_next();
}

bool BusCore::has_work() const noexcept {
  return ingress_.ready() || side_next_.load(std::memory_order_acquire) <= ingress_.head() ||
         (ingress_.closed() && !finished_.load(std::memory_order_acquire) && ingress_.head() == ingress_.tail());
}

void BusCore::drive() noexcept {
  if (t_frames != nullptr && dispatching_here()) return;
  do {
    if (!try_lock()) return;
    {
      const DispatchScope scope(*this);
      while (has_work()) run_turn(kTurn);
    }
    unlock();
  } while (has_work());
}

std::size_t BusCore::poll(std::size_t limit) {
  if (dispatching_here() || !try_lock()) return 0;
  std::size_t count = 0;
  {
    const DispatchScope scope(*this);
    while (count < limit && has_work()) count += run_turn(std::min(limit - count, kTurn));
  }
  unlock();
  // Those who published meanwhile left their events to us, beyond the limit, too.
  if (options_.engine == Engine::combining) drive();
  return count;
}

std::size_t BusCore::run_turn(std::size_t limit) noexcept {
  std::array<BusEvent*, kTurn> batch;
  std::size_t count = 0;
  while (count < std::min(limit, kTurn)) {
    BusEvent* event = ingress_.pop();
    if (event == nullptr) break;
    batch[count++] = event;
  }
  if (count != 0 && room_waiters_.load(std::memory_order_seq_cst) != 0) ingress_.notify_pop();
  if (count != 0 || options_.engine == Engine::manual) turn_time_ = clock_.now();
  for (std::size_t i = 0; i < count; ++i) {
    settle_side_until(batch[i]->sequence() - 1);
    dispatch(*batch[i]);
  }
  settle_side_until(ingress_.head());
  wake_touched();
  finish_close_if_drained();
  return count;
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
      lose(*event);
    }
  }
}

void BusCore::apply(Command& command) {
  SubscriberState& state = *command.state;
  switch (command.kind) {
    case Command::Kind::add:
      state.table_position = table_.size();
      table_.push_back(command.state);
      index_.add(&state, state.filter());
      break;
    case Command::Kind::end:
      remove_from_table(state);
      state.end(CloseReason::unsubscribed);
      touch(state);
      removed_.push_back(std::move(command.state));
      break;
    case Command::Kind::collect: {
      remove_from_table(state);
      const std::scoped_lock lock(registry_mutex_);
      registry_.erase(state.id());
      removed_.push_back(std::move(command.state));
      break;
    }
  }
}

void BusCore::remove_from_table(SubscriberState& state) {
  if (state.table_position >= table_.size() || table_[state.table_position].get() != &state) return;
  index_.remove(&state, state.filter());
  StatePtr& place = table_[state.table_position];
  removed_.push_back(std::exchange(place, std::move(table_.back())));
  if (place) place->table_position = state.table_position;
  table_.pop_back();
}

void BusCore::run_stages(BusEvent& event) noexcept {
  StagedEvent staged(event);
  for (const auto& stage : options_.stages) {
    try {
      stage->on_event(staged);
    } catch (...) {
      bump(stage_failures_);
    }
  }
}

void BusCore::dispatch(BusEvent& event) noexcept {
  if (options_.timestamps) EventAccess::set_published_at(event, turn_time_);
  run_stages(event);
  matches_.clear();
  index_.for_each_match(event, [this](SubscriberState& state) { matches_.push_back(&state); });
  // One count for every match and one for the dispatcher, set while nobody else can see the event.
  EventAccess::set_references(event, static_cast<std::uint32_t>(matches_.size()) + 1);
  std::uint32_t to_release = 1;
  for (SubscriberState* state : matches_) {
    switch (state->offer(event)) {
      case SubscriberState::Offer::taken: touch(*state); continue;
      case SubscriberState::Offer::lent: break;
      case SubscriberState::Offer::ended:
        touch(*state);
        remove_from_table(*state);
        break;
      case SubscriberState::Offer::lost:
        touch(*state);
        state->drop_log.count(turn_time_, options_.log, "subscriber queue full name=", state->name());
        break;
    }
    ++to_release;
  }
  EventAccess::release(event, to_release);
  bump(dispatched_);
}

void BusCore::lose(BusEvent& event) noexcept {
  run_stages(event);
  index_.for_each_match(event, [&](SubscriberState& state) {
    state.lose(event);
    touch(state);
  });
  EventAccess::release(event);
  bump(lost_);
  ingress_drop_log_.count(turn_time_, options_.log, "ingress full, oldest event gave way", {});
}

void BusCore::touch(SubscriberState& state) {
  if (std::exchange(state.touched, true)) return;
  touched_.push_back(&state);
}

void BusCore::wake_touched() noexcept {
  for (SubscriberState* state : touched_) {
    state->touched = false;
    state->wake();
  }
  touched_.clear();
  removed_.clear();
}

void BusCore::finish_close_if_drained() noexcept {
  if (finished_.load(std::memory_order_relaxed)) return;
  if (!ingress_.closed() || ingress_.head() != ingress_.tail()) return;
  {
    const std::scoped_lock lock(registry_mutex_);
    registry_closed_ = true;
  }
  settle_side_until(kNever - 1);
  for (const StatePtr& state : table_) {
    state->end(CloseReason::bus_closed);
    touch(*state);
    index_.remove(state.get(), state->filter());
  }
  removed_.insert(removed_.end(), table_.begin(), table_.end());
  table_.clear();
  wake_touched();
  finished_.store(true, std::memory_order_release);
  finished_.notify_all();
}

void BusCore::close() {
  ingress_.close();
  if (dispatching_here()) return;
  while (!finished_.load(std::memory_order_acquire)) {
    lock();
    {
      const DispatchScope scope(*this);
      while (has_work()) run_turn(kTurn);
    }
    unlock();
    // A publisher that holds a ticket has not finished writing its event.
    if (!finished_.load(std::memory_order_acquire)) std::this_thread::yield();
  }
}

std::shared_ptr<SubscriberState> BusCore::subscribe(SubscriptionOptions options, SubscriberState::Callback callback) {
  if (callback == nullptr && options.capacity == 0) {
    throw std::invalid_argument("SubscriptionOptions::capacity must be at least 1");
  }
  if (options.capacity > SubscriptionOptions::kCapacityMax) {
    throw std::invalid_argument("SubscriptionOptions::capacity must be at most " +
                                std::to_string(SubscriptionOptions::kCapacityMax));
  }
  StatePtr state;
  {
    const std::scoped_lock lock(registry_mutex_);
    state = std::make_shared<SubscriberState>(++last_id_, std::move(options), std::move(callback), ledger_);
    if (registry_closed_) {
      state->end(CloseReason::bus_closed);
      return state;
    }
    registry_.emplace(state->id(), state);
    post_command(Command::Kind::add, state);
  }
  if (options_.engine == Engine::combining) drive();
  return state;
}

void BusCore::unsubscribe(SubscriptionId id) {
  StatePtr state;
  {
    const std::scoped_lock lock(registry_mutex_);
    auto node = registry_.extract(id);
    if (node.empty()) return;
    state = std::move(node.mapped());
    if (registry_closed_) return;
    post_command(Command::Kind::end, state);
  }
  if (options_.engine == Engine::combining) drive();
}

void BusCore::let_go(SubscriberState& state) {
  state.let_go();
  StatePtr collected;
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

std::size_t BusCore::subscriber_count() const {
  const std::scoped_lock lock(registry_mutex_);
  return registry_.size();
}

BusSnapshot BusCore::snapshot() const {
  BusSnapshot snapshot;
  {
    const std::scoped_lock lock(registry_mutex_);
    for (const auto& [id, state] : registry_) snapshot.subscriptions.push_back(state->stats());
  }
  snapshot.dispatched = dispatched_.load(std::memory_order_relaxed);
  snapshot.ingress_lost = lost_.load(std::memory_order_relaxed);
  snapshot.ingress_refused = refused_.load(std::memory_order_relaxed);
  snapshot.published = ingress_.tail();
  snapshot.ingress_depth = snapshot.published - std::min(snapshot.published, snapshot.dispatched + snapshot.ingress_lost);
  snapshot.stage_failures = stage_failures_.load(std::memory_order_relaxed);
  snapshot.closed = ingress_.closed();
  for (const auto& stage : options_.stages) snapshot.stages.emplace_back(stage->name());
  snapshot.retired.subscriptions = ledger_->subscriptions.load(std::memory_order_relaxed);
  snapshot.retired.matched = ledger_->matched.load(std::memory_order_relaxed);
  snapshot.retired.received = ledger_->received.load(std::memory_order_relaxed);
  snapshot.retired.lagged = ledger_->lagged.load(std::memory_order_relaxed);
  snapshot.retired.discarded = ledger_->discarded.load(std::memory_order_relaxed);
  return snapshot;
}

}  // namespace sharingbus::internal

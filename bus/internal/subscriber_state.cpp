#include "bus/internal/subscriber_state.hpp"

#include <algorithm>
#include <optional>
#include <utility>

#include "bus/internal/parker.hpp"

namespace sharingbus::internal {
namespace {

void add(std::atomic<std::uint64_t>& counter, std::uint64_t value = 1) noexcept {
  // One writer at a time, so a plain load and store is enough.
  counter.store(counter.load(std::memory_order_relaxed) + value, std::memory_order_relaxed);
}

std::uint64_t read(const std::atomic<std::uint64_t>& counter) noexcept {
  return counter.load(std::memory_order_relaxed);
}

/// What is the same thing to `latest_per_key` unless the user says otherwise.
std::string default_key(const BusEvent& event) {
  const Routing& routing = event.routing();
  std::string key(event.type_name());
  const auto add_field = [&key](std::string_view value) { (key += '\0').append(value); };
  add_field(routing.connector_uid ? to_string(*routing.connector_uid) : std::string());
  add_field(routing.connector_id ? *routing.connector_id : std::string_view());
  add_field(routing.native_session_id ? *routing.native_session_id : std::string_view());
  return key;
}

bool displaces(Overflow overflow) noexcept {
  return overflow == Overflow::drop_oldest || overflow == Overflow::latest_per_key;
}

bool wants_inbox(const SubscriptionOptions& options) noexcept {
  return !options.filter.is_all() && options.capacity_bytes == 0 && options.start.from == Start::From::live &&
         (options.overflow == Overflow::drop_newest || options.overflow == Overflow::close_subscriber);
}

std::unique_ptr<ConflatingQueue> displacing_queue(SubscriptionOptions& options) {
  ConflatingQueue::Key key;
  if (options.overflow == Overflow::latest_per_key) key = options.key ? std::move(options.key) : default_key;
  return std::make_unique<ConflatingQueue>(options.capacity, options.capacity_bytes, std::move(key));
}

}  // namespace

struct SubscriberState::InlineCall {
  explicit InlineCall(Callback fn) : callback(std::move(fn)) {}
  const Callback callback;
  std::atomic<bool> calling{false};
  std::atomic<std::thread::id> caller{};
};

/// Made with the first loss.
struct SubscriberState::Losses {
  DropLog log;
  // With an inbox. How many entries say that there is a gap, and how many of them the receiver has come to: the gap
  // that is open belongs to the last one.
  std::mutex mutex;
  Gap gap;
  /// The dispatcher alone opens it.
  std::atomic<bool> open{false};
  std::uint64_t looks = 0;
  std::uint64_t looks_seen = 0;
};

/// What most subscriptions do without.
struct SubscriberState::Rare {
  std::string name;
  std::function<void(const EventRef&)> on_drop;
  SlowPolicy slow;
  Start start;
  std::size_t capacity_bytes;
  std::atomic<std::uint64_t> failures{0};
  std::optional<InlineCall> inline_call;
  std::unique_ptr<ConflatingQueue> displacing;

  Rare(Kind kind, SubscriptionOptions& options, Callback& callback)
      : name(std::move(options.name)),
        on_drop(std::move(options.on_drop)),
        slow(options.slow),
        start(options.start),
        capacity_bytes(options.capacity_bytes) {
    if (kind == Kind::inline_call) inline_call.emplace(std::move(callback));
    if (kind == Kind::displacing) displacing = displacing_queue(options);
  }

  static std::unique_ptr<Rare> of(Kind kind, SubscriptionOptions& options, Callback& callback) {
    if ((kind == Kind::stream || kind == Kind::inbox) && options.name.empty() && !options.on_drop &&
        !options.slow.enabled() && options.start.from == Start::From::live && options.capacity_bytes == 0) {
      return nullptr;
    }
    return std::make_unique<Rare>(kind, options, callback);
  }
};

/// The receiver's thread, asleep.
class SubscriberState::Sleeper final : public detail::WakeTarget, public detail::Waiter {
 public:
  Sleeper() : Waiter(static_cast<WakeTarget&>(*this)) {}
  void wake(Waiter* /*first*/, Waiter* /*last*/) noexcept override { parker.wake(); }
  void drop(Waiter* /*waiter*/) noexcept override {}
  Parker parker;
};

/// What receivers that wait on a thread or with a function need.
struct SubscriberState::Receiver {
  Sleeper sleeper;
  /// The one that notify_when_ready parked last; it may be gone already.
  detail::Waiter* function = nullptr;
};

class SubscriberState::FunctionWaiter final : public detail::WakeTarget, public detail::Waiter {
 public:
  explicit FunctionWaiter(std::function<void()> wake)
      : Waiter(static_cast<WakeTarget&>(*this)), wake_(std::move(wake)) {}
  void wake(Waiter* /*first*/, Waiter* /*last*/) noexcept override {
    const auto call = std::move(wake_);
    delete this;
    call();
  }
  void drop(Waiter* /*waiter*/) noexcept override { delete this; }

 private:
  std::function<void()> wake_;
};

SubscriberState::SubscriberState(SubscriptionId id, SubscriptionOptions options, Callback callback, Ledger& ledger,
                                 Inbox inbox)
    : id_(id),
      inbox_(inbox.inbox != nullptr && wants_inbox(options) ? inbox.inbox : nullptr),
      capacity_(callback != nullptr ? 0 : static_cast<std::uint32_t>(options.capacity)),
      kind_(callback != nullptr           ? Kind::inline_call
            : inbox_ != nullptr           ? Kind::inbox
            : displaces(options.overflow) ? Kind::displacing
                                          : Kind::stream),
      overflow_(options.overflow),
      wait_(options.wait),
      on_throw_(options.on_throw),
      takes_runs_(options.filter.is_all() && kind_ == Kind::stream && options.capacity_bytes == 0),
      may_lose_quietly_(options.overflow != Overflow::close_subscriber && options.on_drop == nullptr),
      filter_(std::move(options.filter)),
      rare_(Rare::of(kind_, options, callback)),
      ledger_(ledger) {
  if (kind_ != Kind::inbox) return;
  parked_.store(inbox.member, std::memory_order_relaxed);
  inbox.member->state = this;
}

SubscriberState::~SubscriberState() {
  if (kind_ != Kind::inbox) {
    if (detail::Waiter* waiter = take_parked()) waiter->target->drop(waiter);
  }
  ledger_.subscriptions.fetch_add(1, std::memory_order_relaxed);
  ledger_.matched.fetch_add(read(matched_), std::memory_order_relaxed);
  ledger_.received.fetch_add(read(received_), std::memory_order_relaxed);
  ledger_.lagged.fetch_add(read(lagged_), std::memory_order_relaxed);
  const std::unique_ptr<StreamQueue> queue(queue_.load(std::memory_order_acquire));
  std::uint64_t queued = queue != nullptr ? queue->discard() : 0;
  if (kind_ == Kind::displacing) queued = displacing().discard();
  // What lies in the inbox is thrown away by the worker.
  if (kind_ == Kind::inbox) queued = depth();
  ledger_.discarded.fetch_add(queued, std::memory_order_relaxed);
}

ConflatingQueue& SubscriberState::displacing() const noexcept {
  return *rare_->displacing;
}

StreamQueue& SubscriberState::make_queue() {
  auto* const queue = new StreamQueue(capacity_, rare_ != nullptr ? rare_->capacity_bytes : 0);
  // Release pairs with the receiver's acquire in next_lent and the like.
  queue_.store(queue, std::memory_order_release);
  return *queue;
}

std::uint64_t SubscriberState::depth() const {
  if (kind_ == Kind::displacing) return displacing().depth();
  if (kind_ == Kind::inbox) {
    // In this order, so that what comes in between makes it more and never less.
    const std::uint64_t received = received_.load(std::memory_order_acquire);
    const std::uint64_t lagged = lagged_.load(std::memory_order_acquire);
    return std::min<std::uint64_t>(matched_.load(std::memory_order_relaxed) - lagged - received, capacity_);
  }
  const StreamQueue* const queue = queue_.load(std::memory_order_acquire);
  return queue != nullptr ? queue->depth() : 0;
}

std::string SubscriberState::name() const {
  if (rare_ != nullptr && !rare_->name.empty()) return rare_->name;
  return "subscription-" + std::to_string(id_);
}

SubscriptionStats SubscriberState::stats() const {
  SubscriptionStats stats;
  stats.id = id_;
  stats.name = name();
  stats.filter = filter_.text();
  stats.capacity = capacity();
  stats.overflow = overflow_;
  stats.matched = read(matched_);
  stats.received = read(received_);
  stats.lagged = read(lagged_);
  stats.queued = depth();
  if (kind_ == Kind::displacing) {
    stats.queued_bytes = displacing().bytes();
    stats.high_water = displacing().high_water();
  } else if (kind_ == Kind::inbox) {
    stats.high_water = high_water_.load(std::memory_order_relaxed);
  } else if (const StreamQueue* queue = queue_.load(std::memory_order_acquire)) {
    stats.queued_bytes = queue->bytes();
    stats.high_water = queue->high_water();
  }
  stats.callback_failures = callback_failures();
  stats.last_received_sequence = read(last_received_);
  stats.closed = ended_.load(std::memory_order_acquire) || is_let_go();
  return stats;
}

bool SubscriberState::hooks_losses() const noexcept {
  return rare_ != nullptr && rare_->on_drop != nullptr;
}

const std::function<void(const EventRef&)>& SubscriberState::on_drop() const noexcept {
  return rare_->on_drop;
}

const SlowPolicy& SubscriberState::slow_policy() const noexcept {
  static const SlowPolicy none;
  return rare_ != nullptr ? rare_->slow : none;
}

const Start& SubscriberState::start() const noexcept {
  static const Start live;
  return rare_ != nullptr ? rare_->start : live;
}

SubscriberState::Losses& SubscriberState::losses() {
  if (losses_ == nullptr) losses_ = std::make_unique<Losses>();
  return *losses_;
}

DropLog& SubscriberState::drop_log() {
  return losses().log;
}

bool SubscriberState::producer_balanced() const noexcept {
  // A queue that displaces moves what it took to what it lost, so there the halves cannot be told apart. With an inbox,
  // what was taken is what was not lost.
  if (kind_ == Kind::displacing || kind_ == Kind::inbox) return true;
  const StreamQueue* const queue = queue_.load(std::memory_order_relaxed);
  const std::uint64_t taken = is_inline() ? read(received_) : queue != nullptr ? queue->accepted() : 0;
  return read(matched_) == taken + read(lagged_);
}

SubscriberState::Offer SubscriberState::offer(const BusEvent& event, std::vector<EventRef>& displaced) {
  if (kind_ == Kind::inline_call) return call_inline(event);
  if (kind_ == Kind::inbox && push_to_inbox(event)) return Offer::taken;
  add(matched_);
  if (kind_ == Kind::inbox) return Offer::lost;
  const bool taken = kind_ == Kind::displacing ? displacing().push(event, displaced) : made_queue().push(event);
  return taken ? Offer::taken : Offer::lost;
}

bool SubscriberState::make_way(std::uint64_t matched) {
  // What wraps around does not matter to the difference. Acquire pairs with book_received: what was received is out of
  // the way.
  const auto depth = static_cast<std::uint32_t>(matched - read(lagged_) - received_.load(std::memory_order_acquire));
  if (depth >= capacity_) return false;
  const std::uint32_t high_water = std::max(high_water_.load(std::memory_order_relaxed), depth + 1);
  high_water_.store(high_water, std::memory_order_relaxed);
  free_until_ = static_cast<std::uint32_t>(matched) + high_water - depth;
  if (losses_ != nullptr) settle_gap();
  return true;
}

/// An event follows the open gap, so its place is fixed.
void SubscriberState::settle_gap() {
  if (!losses_->open.load(std::memory_order_relaxed)) return;
  const std::scoped_lock lock(losses_->mutex);
  if (losses_->open.exchange(false, std::memory_order_relaxed)) inbox_->push_gap(losses_->gap, member());
}

void SubscriberState::open_gap(const Gap& gap) {
  Losses& losses = this->losses();
  const std::scoped_lock lock(losses.mutex);
  if (losses.open) {
    losses.gap = {std::min(losses.gap.first, gap.first), std::max(losses.gap.last, gap.last),
                  losses.gap.count + gap.count};
    return;
  }
  losses.open = true;
  losses.gap = gap;
  ++losses.looks;
  inbox_->push_look(member());
}

std::optional<Gap> SubscriberState::look_for_gap() {
  Losses& losses = *losses_;
  const std::scoped_lock lock(losses.mutex);
  // An earlier entry's gap was settled; what is open now stands behind events that came after it.
  if (++losses.looks_seen != losses.looks || !losses.open) return std::nullopt;
  losses.open = false;
  return losses.gap;
}

std::optional<Closed> SubscriberState::closed() const noexcept {
  if (!ended_.load(std::memory_order_acquire)) return std::nullopt;
  return Closed{close_reason_};
}

StreamQueue::RunTaken SubscriberState::offer_run(const EventBlock& block) {
  const auto taken = made_queue().push_run(block);
  add(matched_, taken.events);
  return taken;
}

void SubscriberState::count_matched(std::uint64_t count) noexcept {
  add(matched_, count);
}

void SubscriberState::count_callback_failure() noexcept {
  // Whatever throws is among them.
  add(rare_->failures);
}

std::uint64_t SubscriberState::callback_failures() const noexcept {
  return rare_ != nullptr ? read(rare_->failures) : 0;
}

void SubscriberState::lose(const Gap& gap, bool in_band) {
  count_lagged(gap.count);
  if (!in_band || is_inline()) return;
  if (kind_ == Kind::inbox) {
    // The next one to be pushed fixes the gap's place.
    free_until_ = static_cast<std::uint32_t>(read(matched_));
    return open_gap(gap);
  }
  if (kind_ == Kind::displacing) return displacing().lose(gap);
  made_queue().lose(gap);
}

void SubscriberState::announce(Gap gap) {
  if (!is_inline()) kind_ == Kind::displacing ? displacing().begin_with(gap) : made_queue().push_gap(gap);
}

SubscriberState::Offer SubscriberState::call_inline(const BusEvent& event) {
  InlineCall& call = *rare_->inline_call;
  call.caller.store(std::this_thread::get_id(), std::memory_order_relaxed);
  // seq_cst with let_go: either we see that the handle is gone, or it sees that we are calling.
  call.calling.store(true, std::memory_order_seq_cst);
  if (!let_go_.load(std::memory_order_seq_cst)) {
    add(matched_);
    EventRef lent = EventAccess::adopt(&event);
    try {
      call.callback(lent);
    } catch (...) {
      count_callback_failure();
      if (on_throw_ == OnThrow::close) end(CloseReason::callback_failed);
    }
    EventAccess::forget(lent);
    book_received(1, event.sequence());
  }
  // seq_cst with let_go, once more: either it sees that the call is over, or we see that it waits.
  call.calling.store(false, std::memory_order_seq_cst);
  if (let_go_.load(std::memory_order_seq_cst)) call.calling.notify_all();
  return Offer::lent;
}

void SubscriberState::end(CloseReason why) noexcept {
  if (ended_.load(std::memory_order_relaxed)) return;
  close_reason_ = why;
  // Release pairs with the acquire in lend: everything offered is in the queue before the end is seen.
  ended_.store(true, std::memory_order_release);
}

Lent SubscriberState::next_lent(std::size_t limit) {
  if (kind_ == Kind::displacing) return displacing().lend(limit);
  StreamQueue* const queue = queue_.load(std::memory_order_acquire);
  return queue != nullptr ? queue->lend(limit) : Lent();
}

Received SubscriberState::next_received() {
  if (kind_ == Kind::displacing) return displacing().pop();
  StreamQueue* const queue = queue_.load(std::memory_order_acquire);
  return queue != nullptr ? queue->pop() : Received();
}

Lent SubscriberState::lend(std::size_t limit) {
  // One variable, returned in one place: it is built where the caller wants it.
  Lent next = next_lent(std::max<std::size_t>(limit, 1));
  if (const auto events = next.events(); !events.empty()) {
    book_received(events.size(), events.back()->sequence());
  } else if (next.empty() && ended_.load(std::memory_order_acquire)) {
    // The end is published after the last event, so look once more.
    next = next_lent(std::max<std::size_t>(limit, 1));
    if (next.empty()) {
      next = Lent(Closed{close_reason_});
    } else if (const auto last = next.events(); !last.empty()) {
      book_received(last.size(), last.back()->sequence());
    }
  }
  return next;
}

Received SubscriberState::receive() {
  Received next = next_received();
  if (next.empty() && ended_.load(std::memory_order_acquire)) {
    next = next_received();
    if (next.empty()) return Received(Closed{close_reason_});
  }
  if (const EventRef* event = next.event()) book_received(1, (*event)->sequence());
  return next;
}

std::size_t SubscriberState::receive_batch(std::span<Received> out) {
  std::size_t count = 0;
  while (count < out.size()) {
    out[count] = receive();
    if (out[count].empty()) break;
    if (out[count++].closed() != nullptr) break;
  }
  return count;
}

void SubscriberState::unreceive(std::size_t count) noexcept {
  received_.store(read(received_) - count, std::memory_order_relaxed);
  if (kind_ == Kind::displacing) return displacing().unreceive(count);
  // There is one, for it lent something.
  queue_.load(std::memory_order_relaxed)->unreceive(count);
}

Received SubscriberState::wait(const std::chrono::steady_clock::time_point* deadline) {
  for (;;) {
    Received next = receive();
    if (!next.empty()) return next;
    if (receiver_ == nullptr) receiver_ = std::make_unique<Receiver>();
    Sleeper& sleeper = receiver_->sleeper;
    if (!park(&sleeper)) continue;
    if (!sleeper.parker.wait(wait_, deadline)) {
      // Whoever has taken us just now is about to wake us; wait for him, lest he wakes our next sleep.
      if (!unpark(&sleeper)) sleeper.parker.wait(WaitStrategy::block, nullptr);
      return receive();
    }
  }
}

bool SubscriberState::park(detail::Waiter* waiter) {
  return park_as(waiter, nullptr);
}

/// `function`: the waiter when it is one of notify_when_ready.
bool SubscriberState::park_as(detail::Waiter* waiter, detail::Waiter* function) {
  if (receiver_ != nullptr) receiver_->function = function;
  // Once parked, somebody else may be woken and receive, so nothing of the consumer's side may be touched after that.
  const StreamQueue* queue = queue_.load(std::memory_order_acquire);
  const StreamQueue::Position at = queue != nullptr ? queue->position() : StreamQueue::Position{};
  // seq_cst, as all looks after it: see take_parked_behind_fence.
  if (detail::Waiter* replaced = parked_.exchange(waiter, std::memory_order_seq_cst)) replaced->target->drop(replaced);
  queue = queue_.load(std::memory_order_seq_cst);
  const bool readable =
      kind_ == Kind::displacing ? displacing().readable() : queue != nullptr && queue->readable_at(at);
  if (!readable && !ended_.load(std::memory_order_seq_cst)) return true;
  // Something came in between. If the dispatcher was faster it has woken, or is about to wake, the waiter.
  return !unpark(waiter);
}

bool SubscriberState::unpark(detail::Waiter* waiter) {
  // Like every change of parked_ a read-modify-write, else the next park() would not see what came before a wake-up.
  return parked_.compare_exchange_strong(waiter, nullptr, std::memory_order_acq_rel);
}

bool SubscriberState::notify_when_ready(std::function<void()> wake) {
  if (receiver_ == nullptr) receiver_ = std::make_unique<Receiver>();
  auto* const waiter = new FunctionWaiter(std::move(wake));
  if (park_as(waiter, waiter)) return true;
  receiver_->function = nullptr;
  delete waiter;
  return false;
}

bool SubscriberState::cancel_notify() {
  detail::Waiter* const waiter = receiver_ != nullptr ? std::exchange(receiver_->function, nullptr) : nullptr;
  if (waiter == nullptr || !unpark(waiter)) return false;
  waiter->target->drop(waiter);
  return true;
}

void SubscriberState::let_go() noexcept {
  let_go_.store(true, std::memory_order_seq_cst);
  if (!is_inline()) return;
  InlineCall& call = *rare_->inline_call;
  while (call.calling.load(std::memory_order_seq_cst)) {
    if (call.caller.load(std::memory_order_relaxed) == std::this_thread::get_id()) return;
    call.calling.wait(true, std::memory_order_acquire);
  }
}

}  // namespace sharingbus::internal

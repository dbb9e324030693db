#include "bus/internal/subscriber_state.hpp"

#include <utility>

namespace sharingbus::internal {
namespace {

void add(std::atomic<std::uint64_t>& counter, std::uint64_t value = 1) noexcept {
  // One writer at a time, so a plain load and store is enough.
  counter.store(counter.load(std::memory_order_relaxed) + value, std::memory_order_relaxed);
}

std::uint64_t read(const std::atomic<std::uint64_t>& counter) noexcept {
  return counter.load(std::memory_order_relaxed);
}

SubscriptionOptions with_name(SubscriptionOptions options, SubscriptionId id, bool is_inline) {
  if (options.name.empty()) options.name = "subscription-" + std::to_string(id);
  if (is_inline) options.capacity = 0;
  return options;
}

}  // namespace

SubscriberState::SubscriberState(SubscriptionId id, SubscriptionOptions options, Callback callback,
                                 std::shared_ptr<Ledger> ledger)
    : id_(id),
      options_(with_name(std::move(options), id, callback != nullptr)),
      callback_(std::move(callback)),
      ledger_(std::move(ledger)),
      queue_(options_.capacity) {}

SubscriberState::~SubscriberState() {
  ledger_->subscriptions.fetch_add(1, std::memory_order_relaxed);
  ledger_->matched.fetch_add(read(matched_), std::memory_order_relaxed);
  ledger_->received.fetch_add(read(received_), std::memory_order_relaxed);
  ledger_->lagged.fetch_add(read(lagged_), std::memory_order_relaxed);
  ledger_->discarded.fetch_add(queue_.discard(), std::memory_order_relaxed);
}

SubscriptionStats SubscriberState::stats() const {
  SubscriptionStats stats;
  stats.id = id_;
  stats.name = options_.name;
  stats.filter = options_.filter.text();
  stats.capacity = options_.capacity;
  stats.matched = read(matched_);
  stats.received = read(received_);
  stats.lagged = read(lagged_);
  stats.queued = queue_.depth();
  stats.high_water = queue_.high_water();
  stats.callback_failures = read(callback_failures_);
  stats.last_received_sequence = read(last_received_);
  stats.closed = ended_.load(std::memory_order_acquire) || is_let_go();
  return stats;
}

SubscriberState::Offer SubscriberState::offer(const BusEvent& event) {
  if (callback_) return call_inline(event);
  add(matched_);
  if (queue_.push(&event)) return Offer::taken;
  add(lagged_);
  return Offer::lost;
}

void SubscriberState::lose(const BusEvent& event) {
  add(matched_);
  add(lagged_);
  if (!callback_) queue_.lose(event.sequence());
}

SubscriberState::Offer SubscriberState::call_inline(const BusEvent& event) {
  caller_.store(std::this_thread::get_id(), std::memory_order_relaxed);
  // seq_cst with let_go: either we see that the handle is gone, or it sees that we are calling.
  calling_.store(true, std::memory_order_seq_cst);
  if (!let_go_.load(std::memory_order_seq_cst)) {
    add(matched_);
    EventRef lent = EventAccess::adopt(&event);
    try {
      callback_(lent);
    } catch (...) {
      add(callback_failures_);
      if (options_.on_throw == OnThrow::close) end(CloseReason::callback_failed);
    }
    EventAccess::forget(lent);
    add(received_);
    last_received_.store(event.sequence(), std::memory_order_relaxed);
  }
  // seq_cst with let_go, once more: either it sees that the call is over, or we see that it waits.
  calling_.store(false, std::memory_order_seq_cst);
  if (let_go_.load(std::memory_order_seq_cst)) calling_.notify_all();
  return ended_.load(std::memory_order_relaxed) ? Offer::ended : Offer::lent;
}

void SubscriberState::end(CloseReason why) noexcept {
  if (ended_.load(std::memory_order_relaxed)) return;
  close_reason_ = why;
  // Release pairs with the acquire in closed_if_ended: everything offered is in the queue before the end is seen.
  ended_.store(true, std::memory_order_release);
}

void SubscriberState::wake() {
  // A read-modify-write on both sides orders this with park(): either it sees our event, or we see that it parked.
  if (!parked_.exchange(false, std::memory_order_acq_rel)) return;
  std::function<void()> call;
  {
    const std::scoped_lock lock(wake_mutex_);
    call = std::exchange(wake_, nullptr);
    wake_condition_.notify_all();
  }
  if (call) call();
}

Received SubscriberState::closed_if_ended() noexcept {
  if (!ended_.load(std::memory_order_acquire)) return {};
  // The end is published after the last event, so look once more.
  Received last = queue_.pop();
  return last.empty() ? Received(Closed{close_reason_}) : std::move(last);
}

Received SubscriberState::receive() {
  Received next = queue_.pop();
  if (next.empty()) next = closed_if_ended();
  if (const EventRef* event = next.event()) {
    add(received_);
    last_received_.store((*event)->sequence(), std::memory_order_relaxed);
  }
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

bool SubscriberState::readable() const noexcept {
  return queue_.readable() || ended_.load(std::memory_order_acquire);
}

Received SubscriberState::wait(const std::chrono::steady_clock::time_point* deadline) {
  for (;;) {
    Received next = receive();
    if (!next.empty()) return next;
    std::unique_lock lock(wake_mutex_);
    parked_.exchange(true, std::memory_order_acq_rel);
    if (readable()) continue;
    const auto woken = [this] { return !parked_.load(std::memory_order_acquire); };
    if (deadline == nullptr) {
      wake_condition_.wait(lock, woken);
    } else if (!wake_condition_.wait_until(lock, *deadline, woken)) {
      // Like every change of parked_ a read-modify-write, else the next park() would not see what came before a wake().
      parked_.exchange(false, std::memory_order_acq_rel);
      lock.unlock();
      return receive();
    }
  }
}

bool SubscriberState::park(std::function<void()> wake) {
  {
    const std::scoped_lock lock(wake_mutex_);
    wake_ = std::move(wake);
  }
  parked_.exchange(true, std::memory_order_acq_rel);
  if (!readable()) return true;
  // Something came in between. If the dispatcher was faster it has called, or is about to call, `wake`.
  return !unpark();
}

bool SubscriberState::unpark() {
  const std::scoped_lock lock(wake_mutex_);
  return std::exchange(wake_, nullptr) != nullptr;
}

void SubscriberState::let_go() noexcept {
  let_go_.store(true, std::memory_order_seq_cst);
  if (!callback_) return;
  while (calling_.load(std::memory_order_seq_cst)) {
    if (caller_.load(std::memory_order_relaxed) == std::this_thread::get_id()) return;
    calling_.wait(true, std::memory_order_acquire);
  }
}

}  // namespace sharingbus::internal

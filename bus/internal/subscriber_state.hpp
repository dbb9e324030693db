#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include "bus/detail/waiter.hpp"
#include "bus/internal/conflating_queue.hpp"
#include "bus/internal/drop_log.hpp"
#include "bus/internal/stream_queue.hpp"
#include "bus/subscription.hpp"

namespace sharingbus::internal {

/// The books of subscriptions that are gone. Whoever holds a state holds its bus's core, and the core has this.
struct Ledger {
  std::atomic<std::uint64_t> subscriptions{0};
  std::atomic<std::uint64_t> matched{0};
  std::atomic<std::uint64_t> received{0};
  std::atomic<std::uint64_t> lagged{0};
  std::atomic<std::uint64_t> discarded{0};
};

/// What the bus and a `Subscription` share: queue or inline callback, counters, and the parked receiver.
/// Producer side = the dispatcher; consumer side = the receiver. Lives until both let go.
class SubscriberState {
 public:
  using Callback = std::function<void(const EventRef&)>;

  SubscriberState(SubscriptionId id, SubscriptionOptions options, Callback callback, Ledger& ledger);
  ~SubscriberState();
  SubscriberState(const SubscriberState&) = delete;
  SubscriberState& operator=(const SubscriberState&) = delete;

  [[nodiscard]] SubscriptionId id() const noexcept { return id_; }
  [[nodiscard]] std::string name() const;
  [[nodiscard]] const Filter& filter() const noexcept { return filter_; }
  [[nodiscard]] Overflow overflow() const noexcept { return overflow_; }
  [[nodiscard]] bool is_inline() const noexcept { return inline_call_ != nullptr; }
  /// Gets every event, whole turns at a time.
  [[nodiscard]] bool takes_runs() const noexcept { return takes_runs_; }
  [[nodiscard]] SubscriptionStats stats() const;
  [[nodiscard]] std::uint64_t callback_failures() const noexcept;

  // Producer side.

  enum class Offer : std::uint8_t {
    /// The queue keeps one counted reference. What gave way for it was appended to `displaced`.
    taken,
    /// The caller keeps the reference: an inline callback saw the event.
    lent,
    /// The caller keeps the reference: no room.
    lost,
  };
  Offer offer(const BusEvent& event, std::vector<EventRef>& displaced);
  /// For `takes_runs` subscribers.
  StreamQueue::RunTaken offer_run(const EventBlock& block);
  /// Books losses: `gap` of events that matched; `in_band` unless the queue has it at its place already.
  void lose(Gap gap, bool in_band);
  /// They matched, but nothing more is to be done about them.
  void count_matched(std::uint64_t count) noexcept;
  /// A gap of unknown size at the start of a late join.
  void announce(Gap gap);
  /// A hook of the user's threw.
  void count_callback_failure() noexcept;
  /// After this nothing is offered any more.
  void end(CloseReason why) noexcept;
  [[nodiscard]] bool ended() const noexcept { return ended_.load(std::memory_order_relaxed); }
  /// Whoever is parked, to be woken by the caller.
  [[nodiscard]] detail::Waiter* take_parked() noexcept {
    queue_.prefetch_consumer();
    __builtin_prefetch(&received_, 1);
    // A read-modify-write on both sides orders this with park(): either it sees our event, or we see that it parked.
    return parked_.exchange(nullptr, std::memory_order_acq_rel);
  }
  [[nodiscard]] const std::function<void(const EventRef&)>& on_drop() const noexcept;
  [[nodiscard]] const SlowPolicy& slow_policy() const noexcept;
  [[nodiscard]] const Start& start() const noexcept;
  [[nodiscard]] DropLog& drop_log();
  [[nodiscard]] std::uint64_t lagged() const noexcept { return lagged_.load(std::memory_order_relaxed); }
  [[nodiscard]] std::uint64_t depth() const { return displacing_ ? displacing_->depth() : queue_.depth(); }
  [[nodiscard]] std::size_t capacity() const noexcept { return queue_.capacity(); }
  [[nodiscard]] std::uint64_t received() const noexcept { return received_.load(std::memory_order_relaxed); }
  /// The producer's half of the books, exact at any moment: every match was taken, seen, or lost.
  [[nodiscard]] bool producer_balanced() const noexcept;
  void prefetch() const noexcept {
    __builtin_prefetch(this, 1);
    queue_.prefetch_producer();
  }
  void prefetch_place() const noexcept { queue_.prefetch_place(); }

  // Consumer side.

  Received receive();
  std::size_t receive_batch(std::span<Received> out);
  Lent lend(std::size_t limit);
  void unreceive(std::size_t count) noexcept;
  Received wait(const std::chrono::steady_clock::time_point* deadline);
  bool park(detail::Waiter* waiter);
  bool unpark(detail::Waiter* waiter);
  bool notify_when_ready(std::function<void()> wake);
  bool cancel_notify();

  // Any thread.

  /// The handle is gone: nobody will receive any more. Waits for a running inline callback, unless called from it.
  void let_go() noexcept;
  [[nodiscard]] bool is_let_go() const noexcept { return let_go_.load(std::memory_order_acquire); }

 private:
  struct Rare;
  struct InlineCall;
  class Sleeper;
  class FunctionWaiter;
  struct Receiver;

  Offer call_inline(const BusEvent& event);
  Lent next_lent(std::size_t limit);
  bool park_as(detail::Waiter* waiter, detail::Waiter* function);
  void book_received(std::uint64_t count, std::uint64_t last_sequence) noexcept;

  // The dispatcher's cache line.
  const SubscriptionId id_;
  std::atomic<detail::Waiter*> parked_{nullptr};
  std::atomic<std::uint64_t> matched_{0};
  const std::unique_ptr<InlineCall> inline_call_;
  /// Instead of `queue_`, for the policies that displace.
  const std::unique_ptr<ConflatingQueue> displacing_;
  std::unique_ptr<DropLog> drop_log_;

 public:
  /// The dispatcher's.
  std::uint32_t table_position = ~std::uint32_t{0};
  bool touched = false;
  /// Set before the state is added: it gets what others lose.
  bool wants_dead_letters = false;

 private:
  const Overflow overflow_;
  const WaitStrategy wait_;
  const OnThrow on_throw_;
  const bool takes_runs_;
  CloseReason close_reason_ = CloseReason::unsubscribed;  // written before ended_
  std::atomic<bool> ended_{false};
  std::atomic<bool> let_go_{false};

  StreamQueue queue_;

  // Written by the receiver, or the dispatcher for an inline subscription.
  std::atomic<std::uint64_t> received_{0};
  std::atomic<std::uint64_t> last_received_{0};
  std::unique_ptr<Receiver> receiver_;
  // Written by the dispatcher, seldom.
  std::atomic<std::uint64_t> lagged_{0};
  const Filter filter_;
  /// Options that most subscriptions leave alone.
  const std::unique_ptr<Rare> rare_;
  Ledger& ledger_;
};
static_assert(sizeof(SubscriberState) == 256, "10,000 idle subscriptions are to be cheap");

}  // namespace sharingbus::internal

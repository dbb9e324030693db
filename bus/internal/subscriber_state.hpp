#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include "bus/detail/waiter.hpp"
#include "bus/internal/conflating_queue.hpp"
#include "bus/internal/drop_log.hpp"
#include "bus/internal/group_inbox.hpp"
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

  /// Where a member of a callback group would rather get its events than from a queue of its own. Not used when the
  /// subscription needs one: it takes every event, displaces, bounds bytes, joins late, or gives credit.
  struct Inbox {
    GroupInbox* inbox = nullptr;
    InboxMember* member = nullptr;
  };

  SubscriberState(SubscriptionId id, SubscriptionOptions options, Callback callback, Ledger& ledger, Inbox inbox);
  ~SubscriberState();
  SubscriberState(const SubscriberState&) = delete;
  SubscriberState& operator=(const SubscriberState&) = delete;

  [[nodiscard]] SubscriptionId id() const noexcept { return id_; }
  [[nodiscard]] std::string name() const;
  [[nodiscard]] const Filter& filter() const noexcept { return filter_; }
  [[nodiscard]] Overflow overflow() const noexcept { return overflow_; }
  /// Null: it has a queue of its own.
  [[nodiscard]] GroupInbox* inbox() const noexcept { return inbox_; }
  [[nodiscard]] bool is_inline() const noexcept { return kind_ == Kind::inline_call; }
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
  /// Of one with an inbox, what `offer` does when there is room and nothing else to be done; else false, and nothing
  /// happened.
  [[nodiscard, gnu::always_inline]] bool push_to_inbox(const BusEvent& event) {
    const std::uint64_t matched = matched_.load(std::memory_order_relaxed);
    if (static_cast<std::uint32_t>(matched) == free_until_ && !make_way(matched)) [[unlikely]]
      return false;
    matched_.store(matched + 1, std::memory_order_relaxed);
    inbox_->push_event(event, member());
    return true;
  }
  // For `takes_runs` subscribers: `offer` without the cases that they are not, and for a turn. False: no room.
  [[nodiscard]] bool offer_to_stream(const BusEvent& event) {
    matched_.store(matched_.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
    return made_queue().push(event);
  }
  /// `lose` for the one that was just offered. False: whoever receives need not be looked after.
  bool lose_of_stream(const BusEvent& event) {
    count_lagged(1);
    return queue_.load(std::memory_order_relaxed)->lose_refused(event.sequence());
  }
  /// What both do for one who lost the last event, too, and has not received since. False: he has, and nothing
  /// happened.
  [[nodiscard]] bool lose_again(std::uint64_t sequence) noexcept {
    StreamQueue* const queue = queue_.load(std::memory_order_relaxed);
    if (queue == nullptr || !queue->lose_again(sequence)) return false;
    matched_.store(matched_.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
    count_lagged(1);
    return true;
  }
  StreamQueue::RunTaken offer_run(const EventBlock& block);
  /// Books losses: `gap` of events that matched; `in_band` unless the queue has it at its place already.
  void lose(const Gap& gap, bool in_band);
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
    // A read-modify-write on both sides orders this with park(): either it sees our event, or we see that it parked.
    return parked_.exchange(nullptr, std::memory_order_acq_rel);
  }
  /// The same, cheaper when nobody is, behind a full_fence: either park() is before the fence, and we see it, or it
  /// sees our event.
  [[nodiscard]] detail::Waiter* take_parked_behind_fence() noexcept {
    return parked_.load(std::memory_order_relaxed) != nullptr ? take_parked() : nullptr;
  }
  /// What whoever was parked is going to touch.
  void prefetch_consumer() const noexcept {
    if (const StreamQueue* queue = queue_.load(std::memory_order_relaxed)) queue->prefetch_consumer();
    __builtin_prefetch(&received_, 1);
  }
  [[nodiscard]] bool hooks_losses() const noexcept;
  /// A loss has no more effect than to be booked, unless it is heard of by others.
  [[nodiscard]] bool may_lose_quietly() const noexcept { return may_lose_quietly_; }
  /// Only when there is one.
  [[nodiscard]] const std::function<void(const EventRef&)>& on_drop() const noexcept;
  [[nodiscard]] const SlowPolicy& slow_policy() const noexcept;
  [[nodiscard]] const Start& start() const noexcept;
  [[nodiscard]] DropLog& drop_log();
  /// No more comes: the last entry in its inbox.
  void end_inbox() { inbox_->push_last(member()); }
  [[nodiscard]] std::uint64_t lagged() const noexcept { return lagged_.load(std::memory_order_relaxed); }
  [[nodiscard]] std::uint64_t depth() const;
  /// 0: inline, no queue.
  [[nodiscard]] std::size_t capacity() const noexcept { return capacity_; }
  [[nodiscard]] std::uint64_t received() const noexcept { return received_.load(std::memory_order_relaxed); }
  /// The producer's half of the books, exact at any moment: every match was taken, seen, or lost.
  [[nodiscard]] bool producer_balanced() const noexcept;
  // In this order, each when what the one before asked for is likely to be there.
  void prefetch() const noexcept { __builtin_prefetch(&matched_, 1); }
  void prefetch_queue() const noexcept {
    if (const StreamQueue* queue = queue_.load(std::memory_order_relaxed)) queue->prefetch_producer();
  }
  void prefetch_place() const noexcept {
    if (const StreamQueue* queue = queue_.load(std::memory_order_relaxed)) queue->prefetch_place();
  }

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
  // Of one with an inbox, when the group's worker comes to an entry of it.
  void receive_of_inbox(const BusEvent& event) noexcept { book_received(1, event.sequence()); }
  /// At an entry that says there is a loss: the gap, unless events have followed it.
  std::optional<Gap> look_for_gap();
  [[nodiscard]] std::optional<Closed> closed() const noexcept;
  void prefetch_received() const noexcept { __builtin_prefetch(&received_, 1); }

  // Any thread.

  /// The handle is gone: nobody will receive any more. Waits for a running inline callback, unless called from it.
  void let_go() noexcept;
  [[nodiscard]] bool is_let_go() const noexcept { return let_go_.load(std::memory_order_acquire); }

 private:
  enum class Kind : std::uint8_t {
    stream,
    /// Policies that displace: a ConflatingQueue instead of the StreamQueue.
    displacing,
    inline_call,
    /// What comes goes to the inbox of a callback group.
    inbox,
  };
  struct Rare;
  struct InlineCall;
  class Sleeper;
  class FunctionWaiter;
  struct Receiver;
  struct Losses;

  [[nodiscard]] InboxMember& member() const noexcept {
    return static_cast<InboxMember&>(*parked_.load(std::memory_order_relaxed));
  }
  /// Of one with an inbox, at `free_until_`: whether there is room, and then nothing in the way until a new one.
  bool make_way(std::uint64_t matched);
  void count_lagged(std::uint64_t count) noexcept {
    // Release pairs with depth: whoever sees the loss sees the match.
    lagged_.store(lagged_.load(std::memory_order_relaxed) + count, std::memory_order_release);
  }
  void open_gap(const Gap& gap);
  void settle_gap();
  Losses& losses();
  Offer call_inline(const BusEvent& event);
  [[nodiscard]] ConflatingQueue& displacing() const noexcept;
  /// Made with the first event: most of ten thousand subscriptions are idle. The dispatcher's.
  [[nodiscard]] StreamQueue& made_queue() {
    StreamQueue* const queue = queue_.load(std::memory_order_relaxed);
    return queue != nullptr ? *queue : make_queue();
  }
  StreamQueue& make_queue();
  Lent next_lent(std::size_t limit);
  Received next_received();
  bool park_as(detail::Waiter* waiter, detail::Waiter* function);
  void book_received(std::uint64_t count, std::uint64_t last_sequence) noexcept {
    // One writer. Release pairs with has_room and depth.
    received_.store(received_.load(std::memory_order_relaxed) + count, std::memory_order_release);
    last_received_.store(last_sequence, std::memory_order_relaxed);
  }

  // Written by the dispatcher.
  const SubscriptionId id_;
  /// With an inbox its member, always.
  std::atomic<detail::Waiter*> parked_{nullptr};
  std::atomic<std::uint64_t> matched_{0};
  std::atomic<std::uint64_t> lagged_{0};
  /// Owned.
  std::atomic<StreamQueue*> queue_{nullptr};
  GroupInbox* const inbox_;

 public:
  /// The dispatcher's.
  std::uint32_t table_position = ~std::uint32_t{0};
  bool touched = false;
  /// Set before the state is added: it gets what others lose.
  bool wants_dead_letters = false;

 private:
  std::atomic<bool> ended_{false};
  CloseReason close_reason_ = CloseReason::unsubscribed;  // written before ended_
  const std::uint32_t capacity_;
  // With an inbox: the low bits of the number of matches at which more may be queued than ever before, or a gap waits
  // for its place; and the most that were queued.
  std::uint32_t free_until_ = 0;
  std::atomic<std::uint32_t> high_water_{0};
  std::atomic<bool> let_go_{false};
  const Kind kind_ : 4;
  const Overflow overflow_ : 4;
  const WaitStrategy wait_ : 4;
  const OnThrow on_throw_ : 2;
  const bool takes_runs_ : 1;
  const bool may_lose_quietly_ : 1;

  // Seldom looked at. It keeps apart what the two sides write.
  std::unique_ptr<Losses> losses_;
  const Filter filter_;
  /// What most subscriptions do without.
  const std::unique_ptr<Rare> rare_;
  Ledger& ledger_;
  std::unique_ptr<Receiver> receiver_;

  // Written by the receiver, or the dispatcher for an inline subscription.
  std::atomic<std::uint64_t> received_{0};
  std::atomic<std::uint64_t> last_received_{0};
};
static_assert(sizeof(SubscriberState) <= 136, "10,000 idle subscriptions are to be cheap");

}  // namespace sharingbus::internal

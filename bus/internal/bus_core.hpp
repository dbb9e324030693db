#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <span>
#include <vector>

#include <absl/container/btree_map.h>

#include "bus/base/clock.hpp"
#include "bus/detail/pending_publish.hpp"
#include "bus/internal/credit.hpp"
#include "bus/internal/event_access.hpp"
#include "bus/internal/fanout.hpp"
#include "bus/internal/ingress.hpp"
#include "bus/internal/parker.hpp"
#include "bus/internal/subscriber_state.hpp"
#include "bus/sharing_bus.hpp"

namespace sharingbus::internal {

/// The bus without its handle: ingress, dispatch lock, engines, and the order in which everything happens. Held by the
/// `SharingBus`, its publishers and its subscriptions, so that each of them may outlive the bus.
class BusCore : public std::enable_shared_from_this<BusCore> {
 public:
  explicit BusCore(BusOptions options);
  ~BusCore();

  enum class Mode : std::uint8_t { publish, try_publish };
  /// Takes the event over, also when it is refused.
  PublishResult publish(BusEvent& event) noexcept;
  /// With `try_publish` a refused draft is left as it was.
  PublishResult publish(EventDraft& draft, Mode mode) noexcept;
  PublishBatchResult publish_batch(std::span<EventDraft> drafts) noexcept;
  void publish_when_room(std::shared_ptr<detail::PendingPublish> pending);
  bool cancel_publish(const std::shared_ptr<detail::PendingPublish>& pending);

  std::size_t poll(std::size_t limit);
  void run();
  /// One job of `Engine::executor`.
  void run_job() noexcept;
  void flush();
  void when_flushed(std::function<void()> done);
  void close();

  std::shared_ptr<SubscriberState> subscribe(SubscriptionOptions options, SubscriberState::Callback callback,
                                             bool dead_letters = false, SubscriberState::Inbox inbox = {});
  void unsubscribe(SubscriptionId id);
  /// The handle is gone: collected at the next dispatch.
  void let_go(SubscriberState& state);
  /// A backpressure subscription has received something.
  void credit_returned();
  [[nodiscard]] std::size_t subscriber_count() const;
  [[nodiscard]] BusSnapshot snapshot() const;
  [[nodiscard]] std::uint64_t new_source() noexcept { return ++last_source_; }

 private:
  using StatePtr = std::shared_ptr<SubscriberState>;
  /// Something to be done before the event with this ticket is dispatched.
  struct Command {
    enum class Kind : std::uint8_t { add, end, collect, flushed };
    Kind kind;
    std::uint64_t at;
    StatePtr state;
    std::function<void()> done;
  };

  // Any thread.
  bool try_lock() noexcept { return !dispatching_.exchange(true, std::memory_order_acq_rel); }
  void lock() noexcept;
  void unlock() noexcept;
  void tell_waiters() noexcept;
  void tell_of_room() noexcept;
  void drive() noexcept;
  void drive_from_outside() noexcept;
  bool dispatch_one_turn() noexcept;
  void look_again() noexcept;
  /// Something was pushed. The ticket was drawn with seq_cst before, and the engines look for tickets after they said,
  /// with seq_cst, that they rest: so either they see the ticket, or we see that they rest.
  void notify_dispatcher() noexcept {
    if (options_.engine != Engine::executor) return notify_other_dispatcher();
    if (!scheduled_.load(std::memory_order_seq_cst)) schedule_job();
  }
  void notify_other_dispatcher() noexcept;
  void notify_dispatcher_of_command() noexcept;
  void wake_runner() noexcept;
  void schedule_job() noexcept;
  void pace(std::size_t count) noexcept;
  bool lingers() noexcept;
  PublishResult publish_where_room(EventDraft& draft, Mode mode) noexcept;
  void make_room(std::size_t bytes) noexcept;
  void evict_oldest(std::size_t bytes) noexcept;
  void evict_under_side_mutex() noexcept;
  void post_command(Command::Kind kind, StatePtr state, std::function<void()> done = {});
  void update_side_next();
  bool try_push_waiting(detail::PendingPublish& pending, PublishResult& result) noexcept;
  void admit_waiting() noexcept {
    if (waiting_count_.load(std::memory_order_seq_cst) != 0) [[unlikely]]
      admit_those_waiting();
  }
  void admit_those_waiting() noexcept;
  /// Something can be dispatched now; with `pending_work` also something whose publisher is still writing it.
  [[nodiscard]] bool has_work() const noexcept;
  [[nodiscard]] bool pending_work() const noexcept;
  [[nodiscard]] bool side_or_close_due() const noexcept;
  [[nodiscard]] bool dispatching_here() const noexcept;
  [[nodiscard]] bool may_help() const noexcept { return options_.engine != Engine::manual && !dispatching_here(); }

  // Under the dispatch lock.
  std::size_t run_turn(std::size_t limit) noexcept;
  /// The events below this ticket were dispatched, or lost.
  [[nodiscard]] std::uint64_t settled() const noexcept;
  void settle_side_until(std::uint64_t ticket) noexcept;
  void apply(Command& command);
  void finish_turn() noexcept;
  void finish_close_if_drained() noexcept;

  static constexpr std::uint64_t kNever = ~std::uint64_t{0};

  const BusOptions options_;
  const SystemClock system_clock_;
  const Clock& clock_;
  Ledger ledger_;
  Ingress ingress_;
  Credit credit_;

  alignas(64) std::atomic<bool> dispatching_{false};
  std::atomic<std::uint32_t> lock_waiters_{0};
  std::atomic<std::uint32_t> room_waiters_{0};
  std::atomic<bool> finished_{false};
  /// Engine::thread: the thread in run() found nothing to do. Engine::executor: a job is on its way or at work.
  std::atomic<bool> resting_{false};
  std::atomic<bool> scheduled_{false};
  std::atomic<bool> running_{false};
  // The job's; one is there at a time.
  TimePoint idle_since_{};
  std::chrono::nanoseconds pause_{500};
  Parker parker_;
  std::atomic<std::uint64_t> refused_{0};
  std::atomic<std::uint64_t> last_source_{0};

  // The side entrance: what happens at an exact place of the order without a ticket of its own.
  std::mutex side_mutex_;
  std::deque<Command> commands_;
  std::deque<BusEvent*> evicted_;
  /// The smallest ticket at which one of them is due.
  std::atomic<std::uint64_t> side_next_{kNever};

  // async_publish.
  std::mutex waiting_mutex_;
  std::deque<std::shared_ptr<detail::PendingPublish>> waiting_;
  std::atomic<std::uint64_t> waiting_count_{0};
  std::atomic<std::uint64_t> waited_{0};

  Fanout fanout_;

  mutable std::mutex registry_mutex_;
  absl::btree_map<SubscriptionId, StatePtr> registry_;
  SubscriptionId last_id_ = 0;
  bool registry_closed_ = false;

  /// Changes when those who wait for room are to look again. Here, for it is seldom looked at.
  std::atomic<std::uint32_t> room_told_{0};
};

inline PublishResult BusCore::publish(BusEvent& event) noexcept {
  if (const std::uint64_t sequence = ingress_.push_at_once(&event)) [[likely]] {
    notify_dispatcher();
    return {PublishStatus::accepted, sequence};
  }
  EventDraft draft = EventAccess::draft_of(&event);
  return publish_where_room(draft, Mode::publish);
}

inline PublishResult BusCore::publish(EventDraft& draft, Mode mode) noexcept {
  if (!draft) return {};
  if (mode == Mode::publish) return publish(*EventAccess::take(draft));
  return publish_where_room(draft, mode);
}

/// For the functions behind the asynchronous forms.
struct CoreAccess {
  static const std::shared_ptr<BusCore>& of(const Publisher& publisher) noexcept { return publisher.core_; }
};

}  // namespace sharingbus::internal

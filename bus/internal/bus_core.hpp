#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <vector>

#include "bus/base/clock.hpp"
#include "bus/internal/drop_log.hpp"
#include "bus/internal/ingress.hpp"
#include "bus/internal/match_index.hpp"
#include "bus/internal/subscriber_state.hpp"
#include "bus/sharing_bus.hpp"

namespace sharingbus::internal {

/// The bus without its handle: ingress, dispatcher, subscription table. Held by the `SharingBus`, its publishers and
/// its subscriptions, so that each of them may outlive the bus.
class BusCore {
 public:
  explicit BusCore(BusOptions options);
  ~BusCore();

  enum class Mode : std::uint8_t { publish, try_publish };
  PublishResult publish(EventDraft draft, Mode mode) noexcept;
  std::size_t poll(std::size_t limit);
  void close();

  std::shared_ptr<SubscriberState> subscribe(SubscriptionOptions options, SubscriberState::Callback callback);
  void unsubscribe(SubscriptionId id);
  /// The handle is gone: collected at the next dispatch.
  void let_go(SubscriberState& state);
  [[nodiscard]] std::size_t subscriber_count() const;
  [[nodiscard]] BusSnapshot snapshot() const;
  [[nodiscard]] std::uint64_t new_source() noexcept { return ++last_source_; }

 private:
  using StatePtr = std::shared_ptr<SubscriberState>;
  /// A change of the subscription table, to be made before the event with this ticket is dispatched.
  struct Command {
    enum class Kind : std::uint8_t { add, end, collect };
    Kind kind;
    std::uint64_t at;
    StatePtr state;
  };
  class DispatchScope;

  // Any thread.
  bool try_lock() noexcept { return !dispatching_.exchange(true, std::memory_order_acq_rel); }
  void lock() noexcept;
  void unlock() noexcept;
  void drive() noexcept;
  bool dispatch_one_turn() noexcept;
  void make_room() noexcept;
  void evict_oldest() noexcept;
  void evict_under_side_mutex() noexcept;
  void post_command(Command::Kind kind, StatePtr state);
  void update_side_next();
  [[nodiscard]] bool has_work() const noexcept;
  [[nodiscard]] bool dispatching_here() const noexcept;

  // Under the dispatch lock.
  std::size_t run_turn(std::size_t limit) noexcept;
  void settle_side_until(std::uint64_t ticket) noexcept;
  void apply(Command& command);
  void remove_from_table(SubscriberState& state);
  void dispatch(BusEvent& event) noexcept;
  void lose(BusEvent& event) noexcept;
  void run_stages(BusEvent& event) noexcept;
  void touch(SubscriberState& state);
  void wake_touched() noexcept;
  void finish_close_if_drained() noexcept;

  static constexpr std::size_t kTurn = 128;
  static constexpr std::uint64_t kNever = ~std::uint64_t{0};

  const BusOptions options_;
  const SystemClock system_clock_;
  const Clock& clock_;
  const std::shared_ptr<Ledger> ledger_ = std::make_shared<Ledger>();
  Ingress ingress_;

  alignas(64) std::atomic<bool> dispatching_{false};
  std::atomic<std::uint32_t> lock_waiters_{0};
  std::atomic<std::uint32_t> room_waiters_{0};
  std::atomic<bool> finished_{false};
  std::atomic<std::uint64_t> refused_{0};
  std::atomic<std::uint64_t> last_source_{0};

  // The side entrance: what happens at an exact place of the order without a ticket of its own.
  std::mutex side_mutex_;
  std::deque<Command> commands_;
  std::deque<BusEvent*> evicted_;
  /// The smallest ticket at which one of them is due.
  std::atomic<std::uint64_t> side_next_{kNever};

  // Dispatcher-confined.
  std::vector<StatePtr> table_;
  MatchIndex<SubscriberState> index_;
  std::vector<SubscriberState*> matches_;
  std::vector<SubscriberState*> touched_;
  std::vector<StatePtr> removed_;
  TimePoint turn_time_{};
  DropLog ingress_drop_log_;

  // Written by the dispatcher.
  std::atomic<std::uint64_t> dispatched_{0};
  std::atomic<std::uint64_t> lost_{0};
  std::atomic<std::uint64_t> stage_failures_{0};

  mutable std::mutex registry_mutex_;
  std::map<SubscriptionId, StatePtr> registry_;
  SubscriptionId last_id_ = 0;
  bool registry_closed_ = false;
};

}  // namespace sharingbus::internal

#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "bus/internal/drop_log.hpp"
#include "bus/internal/history.hpp"
#include "bus/internal/match_index.hpp"
#include "bus/internal/slow_monitor.hpp"
#include "bus/internal/subscriber_state.hpp"
#include "bus/sharing_bus.hpp"

namespace sharingbus::internal {

/// The dispatcher's half of a bus: who is subscribed, and what becomes of an event. Used by one thread at a time, the
/// one that dispatches; only the counters may be read by others.
class Fanout {
 public:
  using StatePtr = std::shared_ptr<SubscriberState>;
  /// Events of one turn.
  static constexpr std::size_t kTurn = 128;

  Fanout(const BusOptions& options, const Clock& clock);

  void begin_turn() noexcept { now_.reset(); }
  /// At most kTurn events, in order, between which nobody joins or leaves. Consumes one reference to each.
  void dispatch(std::span<BusEvent* const> events) noexcept;
  /// An event that gave way in the ingress, at its place. Consumes one reference.
  void lose(BusEvent& event) noexcept;
  /// Judges the slow and wakes whoever got something.
  void finish_turn() noexcept;
  /// What the bus itself has to say; to be published by the caller after a turn.
  [[nodiscard]] std::vector<EventDraft>& notices() noexcept { return notices_; }

  /// From the event `next_sequence` on.
  /// The caller keeps `state` alive until it is ended or collected, and applied by then.
  void add(SubscriberState& state, std::uint64_t next_sequence);
  void end(const StatePtr& state, CloseReason why);
  void collect(const StatePtr& state);
  /// The caller keeps all of them alive.
  void end_all(CloseReason why);

  struct Counters {
    std::atomic<std::uint64_t> dispatched{0};
    std::atomic<std::uint64_t> lost{0};
    std::atomic<std::uint64_t> stage_failures{0};
    std::atomic<std::uint64_t> history_depth{0};
    std::atomic<std::uint64_t> dead_letters{0};
  };
  [[nodiscard]] const Counters& counters() const noexcept { return counters_; }

 private:
  struct Match {
    BusEvent* event;
    SubscriberState* state;
  };

  void run_stages(std::span<BusEvent* const> events) noexcept;
  void prepare(std::span<BusEvent* const> events) noexcept;
  void settle(BusEvent& event, std::uint32_t references) noexcept;
  void settle_other(BusEvent& event, std::uint32_t references) noexcept;
  void deliver_matches(std::span<BusEvent* const> events, std::uint32_t already) noexcept;
  void deliver_to_matches(BusEvent& event, std::uint32_t already) noexcept;
  void deliver_cold_matches(std::span<BusEvent* const> events, std::uint32_t already) noexcept;
  void dispatch_prepared(std::span<BusEvent* const> events) noexcept;
  void deliver_to_shared(BusEvent& event) noexcept;
  void deliver_block(std::span<BusEvent* const> events) noexcept;
  void lose_rest(SubscriberState& state, const EventBlock& block, std::size_t from) noexcept;
  void deliver(SubscriberState& state, BusEvent& event) noexcept;
  void lose_new(SubscriberState& state, BusEvent& event) noexcept;
  [[nodiscard]] bool tells_of_losses(const SubscriberState& state) const noexcept;
  [[nodiscard]] bool loses_quietly(const SubscriberState& state) const noexcept;
  /// `event` matched `state` and was not or no longer kept.
  void book_loss(SubscriberState& state, const EventRef& event, bool in_band) noexcept;
  void log_loss(SubscriberState& state, std::uint64_t count);
  void tell_of_loss(SubscriberState& state, const EventRef& event) noexcept;
  void look_who_hears_losses() noexcept;
  void replay(SubscriberState& state, std::uint64_t next_sequence);
  void remove(SubscriberState& state);
  void touch(SubscriberState& state);
  void touch_inbox(GroupInbox& inbox);
  void wake_touched() noexcept;
  void publish_inboxes() noexcept;
  [[nodiscard]] bool balanced() const noexcept;

  /// One clock read a turn, and none when nothing needs it.
  [[nodiscard]] TimePoint now() noexcept {
    if (!now_) now_ = clock_.now();
    return *now_;
  }

  const BusOptions& options_;
  const Clock& clock_;
  std::optional<TimePoint> now_;
  std::vector<SubscriberState*> table_;
  /// Those that get every event, whole turns at a time; the others are in the index.
  std::vector<SubscriberState*> shared_;
  MatchIndex<SubscriberState> index_;
  MatchIndex<SubscriberState> dead_letter_index_;
  SlowMonitor slow_;
  History history_;
  /// The subscription that a notice is about, while that notice is dispatched.
  SubscriptionId left_out_ = 0;
  bool losing_dead_letter_ = false;
  /// By the log or by dead-letter subscriptions.
  bool losses_are_heard_ = false;

  std::vector<Match> matches_;
  std::vector<EventRef> displaced_;
  /// The first `touched_count_` are to be looked after when the turn is over.
  std::vector<SubscriberState*> touched_;
  std::size_t touched_count_ = 0;
  std::vector<GroupInbox*> inboxes_;
  std::vector<SubscriberState*> to_close_;
  /// Kept until the turn is over.
  std::vector<StatePtr> removed_;
  std::vector<EventDraft> notices_;
  DropLog ingress_drop_log_;
  Counters counters_;
};

}  // namespace sharingbus::internal

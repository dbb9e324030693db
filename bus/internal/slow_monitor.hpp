#pragma once

#include <cstdint>
#include <vector>

#include "bus/event.hpp"
#include "bus/internal/subscriber_state.hpp"

namespace sharingbus::internal {

/// Watches the subscriptions that have a `SlowPolicy`. Dispatcher-confined.
class SlowMonitor {
 public:
  void add(SubscriberState& state, TimePoint now);
  void remove(const SubscriberState& state);
  [[nodiscard]] bool empty() const noexcept { return watched_.empty(); }

  /// Looks at all of them. Appends what is to be published to `notices`, and to `to_close` those whose policy ends
  /// them.
  void look(TimePoint now, std::vector<EventDraft>& notices, std::vector<SubscriberState*>& to_close);

  /// Whom a notice is about, or 0 when the event is none.
  [[nodiscard]] static SubscriptionId subject_of(const BusEvent& event) noexcept;

 private:
  struct Watched {
    SubscriberState* state;
    bool lagging = false;
    /// Losses up to the last time it kept up, and up to the last look.
    std::uint64_t lagged_before = 0;
    std::uint64_t lagged_seen = 0;
    /// What was queued at `since` has been received when the subscriber has received this many.
    std::uint64_t mark = 0;
    TimePoint since{};
  };
  static void advance_mark(Watched& watched, TimePoint now);

  std::vector<Watched> watched_;
};

}  // namespace sharingbus::internal

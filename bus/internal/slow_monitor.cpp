#include "bus/internal/slow_monitor.hpp"

#include <algorithm>

namespace sharingbus::internal {

void SlowMonitor::add(SubscriberState& state, TimePoint now) {
  Watched watched{.state = &state, .since = now};
  watched_.push_back(watched);
}

void SlowMonitor::remove(const SubscriberState& state) {
  std::erase_if(watched_, [&](const Watched& watched) { return watched.state == &state; });
}

void SlowMonitor::advance_mark(Watched& watched, TimePoint now) {
  const std::uint64_t received = watched.state->received();
  const std::uint64_t queued = watched.state->depth();
  if (queued != 0 && received < watched.mark) return;
  watched.mark = received + queued;
  watched.since = now;
}

void SlowMonitor::look(TimePoint now, std::vector<EventDraft>& notices, std::vector<SubscriberState*>& to_close) {
  for (Watched& watched : watched_) {
    SubscriberState& state = *watched.state;
    if (state.ended()) continue;
    const SlowPolicy& policy = state.slow_policy();
    const std::uint64_t lagged = state.lagged();
    advance_mark(watched, now);
    const bool losing = lagged != watched.lagged_seen;
    const Duration behind = now - watched.since;
    const bool too_late = policy.behind > Duration::zero() && behind >= policy.behind;
    const bool keeps_up = !losing && !too_late && state.depth() * 2 <= state.capacity();
    watched.lagged_seen = lagged;
    if (!watched.lagging) {
      if (keeps_up) watched.lagged_before = lagged;
      const bool too_many = policy.lost != 0 && lagged - watched.lagged_before >= policy.lost;
      if (!too_many && !too_late) continue;
      watched.lagging = true;
      notices.push_back(make_event(SubscriberLagging{state.id(), state.name(), lagged, state.depth(), behind},
                                   routing_for<SubscriberLagging>(), EventOrigin::runtime));
      if (policy.close) to_close.push_back(&state);
    } else if (keeps_up) {
      watched.lagging = false;
      watched.lagged_before = lagged;
      notices.push_back(make_event(SubscriberRecovered{state.id(), state.name(), lagged},
                                   routing_for<SubscriberRecovered>(), EventOrigin::runtime));
    }
  }
}

SubscriptionId SlowMonitor::subject_of(const BusEvent& event) noexcept {
  if (const auto* lagging = event.get_if<SubscriberLagging>()) return lagging->subscription;
  if (const auto* recovered = event.get_if<SubscriberRecovered>()) return recovered->subscription;
  return 0;
}

}  // namespace sharingbus::internal

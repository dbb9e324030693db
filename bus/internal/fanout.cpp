#include "bus/internal/fanout.hpp"

#include <algorithm>
#include <cassert>
#include <utility>

#include "bus/internal/asymmetric_fence.hpp"
#include "bus/internal/event_access.hpp"
#include "bus/internal/event_block.hpp"

namespace sharingbus::internal {
namespace {

void bump(std::atomic<std::uint64_t>& counter, std::uint64_t value = 1) noexcept {
  counter.store(counter.load(std::memory_order_relaxed) + value, std::memory_order_relaxed);
}

constexpr std::size_t kAhead = 6;

}  // namespace

Fanout::Fanout(const BusOptions& options, const Clock& clock)
    : options_(options), clock_(clock), history_(options.history_events, options.history_bytes) {
  matches_.reserve(kTurn);
  look_who_hears_losses();
}

void Fanout::look_who_hears_losses() noexcept {
  losses_are_heard_ = options_.log || !dead_letter_index_.empty();
}

void Fanout::run_stages(std::span<BusEvent* const> events) noexcept {
  const std::span stages(options_.stages);
  if (stages.size() == 1) {
    try {
      if (const std::size_t failed = stages[0]->on_turn(StagedTurn(events)); failed != 0)
        bump(counters_.stage_failures, failed);
    } catch (...) {
      bump(counters_.stage_failures);
    }
    return;
  }
  // Event by event: a stage may count on those before it having seen this one and none after it.
  for (BusEvent* event : events) {
    StagedEvent staged(*event);
    for (const auto& stage : stages) {
      try {
        stage->on_event(staged);
      } catch (...) {
        bump(counters_.stage_failures);
      }
    }
  }
}

void Fanout::prepare(std::span<BusEvent* const> events) noexcept {
  if (options_.timestamps) {
    const TimePoint at = now();
    for (BusEvent* event : events)
      EventAccess::set_published_at(*event, at);
  }
  if (!options_.stages.empty()) run_stages(events);
}

void Fanout::dispatch(std::span<BusEvent* const> events) noexcept {
  prepare(events);
  if (slow_.empty()) {
    dispatch_prepared(events);
  } else {
    // A notice is dispatched alone, because one subscription must not get it.
    std::size_t from = 0;
    for (std::size_t i = 0; i < events.size(); ++i) {
      const SubscriptionId subject = SlowMonitor::subject_of(*events[i]);
      if (subject == 0) continue;
      dispatch_prepared(events.subspan(from, i - from));
      left_out_ = subject;
      dispatch_prepared(events.subspan(i, 1));
      left_out_ = 0;
      from = i + 1;
    }
    dispatch_prepared(events.subspan(from));
  }
  bump(counters_.dispatched, events.size());
}

inline void Fanout::touch_inbox(GroupInbox& inbox) {
  if (!inbox.listed) [[unlikely]] {
    inbox.listed = true;
    inboxes_.push_back(&inbox);
  }
}

inline void Fanout::touch(SubscriberState& state) {
  if (GroupInbox* inbox = state.inbox()) return touch_inbox(*inbox);
  if (std::exchange(state.touched, true)) return;
  if (touched_count_ == touched_.size()) [[unlikely]]
    touched_.resize(touched_count_ * 2 + 16);
  touched_[touched_count_++] = &state;
}

inline bool Fanout::tells_of_losses(const SubscriberState& state) const noexcept {
  return state.hooks_losses() || !dead_letter_index_.empty();
}

/// A loss of its has no more effect than to be booked.
inline bool Fanout::loses_quietly(const SubscriberState& state) const noexcept {
  return state.may_lose_quietly() && !losses_are_heard_;
}

/// Sets an event's references, while nobody else can see it, and puts it into the history, which has one of its own.
/// The dispatcher holds one of an event that nobody wants.
inline void Fanout::settle(BusEvent& event, std::uint32_t references) noexcept {
  if (references == 0 || history_.enabled()) return settle_other(event, references);
  EventAccess::set_references(event, references);
}

/// One that nobody wants, or that is kept.
void Fanout::settle_other(BusEvent& event, std::uint32_t references) noexcept {
  const bool kept = history_.enabled();
  EventAccess::set_references(event, std::max<std::uint32_t>(references, 1) + (kept ? 1 : 0));
  if (kept) {
    history_.append(EventAccess::adopt(&event));
    counters_.history_depth.store(history_.events().size(), std::memory_order_relaxed);
  }
  if (references == 0) EventAccess::release(event);
}

/// Matches and delivers event by event, for what there is of subscribers is at hand. `already`: references that are
/// others'.
void Fanout::deliver_matches(std::span<BusEvent* const> events, std::uint32_t already) noexcept {
  const auto by_connector = index_.by_connector();
  const bool plain = left_out_ == 0 && !history_.enabled();
  for (BusEvent* event : events) {
    SubscriberState* const only = plain ? by_connector.only_match(*event) : nullptr;
    // Nobody sees what is in an inbox before the turn is over.
    if (only != nullptr && only->inbox() != nullptr && only->push_to_inbox(*event)) [[likely]] {
      EventAccess::set_references(*event, already + 1);
      touch_inbox(*only->inbox());
    } else {
      deliver_to_matches(*event, already);
    }
  }
}

void Fanout::deliver_to_matches(BusEvent& event, std::uint32_t already) noexcept {
  std::uint32_t references = already;
  matches_.clear();
  index_.for_each_match(
      event, [&](SubscriberState & state) __attribute__((always_inline)) {
        if (left_out_ != 0 && state.id() == left_out_) [[unlikely]]
          return;
        ++references;
        if (state.inbox() != nullptr && state.push_to_inbox(event)) [[likely]] {
          touch_inbox(*state.inbox());
        } else {
          matches_.push_back({&event, &state});
        }
      });
  settle(event, references);
  for (std::size_t i = 0; i < matches_.size(); ++i)
    deliver(*matches_[i].state, event);
}

/// The same for very many subscribers, of whom each is cold: first all matches of the turn, then the deliveries, each
/// step with a look ahead.
void Fanout::deliver_cold_matches(std::span<BusEvent* const> events, std::uint32_t already) noexcept {
  matches_.clear();
  for (const BusEvent* event : events)
    index_.prefetch(*event);
  for (BusEvent* event : events) {
    const std::size_t before = matches_.size();
    index_.for_each_match(
        *event, [&](SubscriberState & state) __attribute__((always_inline)) {
          // In this order: looking at the state would fetch it.
          if (left_out_ == 0 || state.id() != left_out_) [[likely]]
            matches_.push_back({event, &state});
        });
    settle(*event, already + static_cast<std::uint32_t>(matches_.size() - before));
  }
  for (std::size_t i = 0; i < matches_.size(); ++i) {
    const auto ahead = [&](std::size_t steps) -> const SubscriberState& {
      return *matches_[std::min(i + steps * kAhead, matches_.size() - 1)].state;
    };
    ahead(3).prefetch();
    const SubscriberState& next = ahead(2);
    if (next.inbox() == nullptr) {
      next.prefetch_queue();
      ahead(1).prefetch_place();
    }
    SubscriberState& state = *matches_[i].state;
    if (state.inbox() != nullptr && !state.ended() && state.push_to_inbox(*matches_[i].event)) {
      touch_inbox(*state.inbox());
    } else {
      deliver(state, *matches_[i].event);
    }
  }
}

void Fanout::dispatch_prepared(std::span<BusEvent* const> events) noexcept {
  if (events.empty()) return;
  const bool whole_turns = events.size() > 1 && left_out_ == 0;
  std::uint32_t shared_references = 0;
  if (!shared_.empty()) {
    shared_references = whole_turns ? 1 : static_cast<std::uint32_t>(shared_.size());
    if (left_out_ != 0) {
      const auto is_left_out = [this](const SubscriberState* state) { return state->id() == left_out_; };
      shared_references -= static_cast<std::uint32_t>(std::count_if(shared_.begin(), shared_.end(), is_left_out));
    }
  }
  if (index_.empty()) {
    // One is what an event has from the start.
    if (shared_references != 1 || history_.enabled()) {
      for (BusEvent* event : events)
        settle(*event, shared_references);
    }
  } else if (index_.large()) {
    deliver_cold_matches(events, shared_references);
  } else {
    deliver_matches(events, shared_references);
  }
  // After all references are set, and whoever is served above ended for himself alone.
  if (shared_.empty()) return;
  if (whole_turns) {
    deliver_block(events);
  } else {
    deliver_to_shared(*events.front());
  }
}

/// One event. Whoever has no room for it comes first, and with the next one before anybody else: a reference that
/// nobody takes is given back without a read-modify-write as long as nobody else has one.
void Fanout::deliver_to_shared(BusEvent& event) noexcept {
  bool private_to_us = index_.empty() && !history_.enabled();
  std::size_t i = shared_.size();
  if (private_to_us && !losses_are_heard_ && left_out_ == 0) {
    const std::uint64_t sequence = event.sequence();
    for (; i > 0 && shared_[i - 1]->lose_again(sequence); --i)
      EventAccess::release_private(event);
  }
  // Who loses this one is put right before those.
  std::size_t losers = i;
  // By index, and backwards: a subscriber that ends while it is served is replaced by the last one.
  while (i-- > 0) {
    SubscriberState& state = *shared_[i];
    if (left_out_ != 0 && state.id() == left_out_) continue;
    if (state.offer_to_stream(event)) [[likely]] {
      touch(state);
      private_to_us = false;
      continue;
    }
    if (loses_quietly(state)) [[likely]] {
      if (state.lose_of_stream(event)) touch(state);
    } else {
      private_to_us = false;
      lose_new(state, event);
    }
    if (private_to_us) {
      EventAccess::release_private(event);
      continue;
    }
    EventAccess::release(event);
    if (losers <= shared_.size() && shared_[i] == &state) std::swap(shared_[i], shared_[--losers]);
  }
}

void Fanout::deliver_block(std::span<BusEvent* const> events) noexcept {
  EventBlock* const block = EventBlock::make(events, static_cast<std::uint32_t>(shared_.size()) + 1);
  // Our own hold: whoever took the front of the block may be done with it while we book what he lost.
  std::uint32_t unused = 1;
  for (std::size_t i = shared_.size(); i-- > 0;) {
    SubscriberState& state = *shared_[i];
    const auto taken = state.offer_run(*block);
    touch(state);
    if (taken.events < events.size()) [[unlikely]]
      lose_rest(state, *block, taken.events);
    if (!taken.holds) ++unused;
  }
  block->release(unused);
}

/// The block's events from `from` on found no room.
void Fanout::lose_rest(SubscriberState& state, const EventBlock& block, std::size_t from) noexcept {
  const bool closes = state.overflow() == Overflow::close_subscriber;
  const std::size_t end = closes ? from + 1 : block.size();
  const std::span<const EventRef> lost(block.events() + from, end - from);
  state.count_matched(lost.size());
  state.lose({lost.front()->sequence(), lost.back()->sequence(), lost.size()}, true);
  if (tells_of_losses(state)) {
    for (const EventRef& event : lost)
      tell_of_loss(state, event);
  }
  log_loss(state, lost.size());
  if (!closes) return;
  state.end(CloseReason::overflowed);
  remove(state);
}

void Fanout::deliver(SubscriberState& state, BusEvent& event) noexcept {
  if (state.ended()) return EventAccess::release(event);
  switch (state.offer(event, displaced_)) {
    case SubscriberState::Offer::taken:
      touch(state);
      if (displaced_.empty()) return;
      for (const EventRef& lost : displaced_)
        book_loss(state, lost, false);
      displaced_.clear();
      return;
    case SubscriberState::Offer::lent:
      break;
    case SubscriberState::Offer::lost:
      lose_new(state, event);
      return EventAccess::release(event);
  }
  if (state.ended()) {
    touch(state);
    remove(state);
  }
  EventAccess::release(event);
}

/// The new event is what is lost, for there is no room. Consumes no reference.
void Fanout::lose_new(SubscriberState& state, BusEvent& event) noexcept {
  EventRef lost = EventAccess::adopt(&event);
  touch(state);
  book_loss(state, lost, true);
  EventAccess::forget(lost);
  if (state.overflow() != Overflow::close_subscriber) return;
  state.end(CloseReason::overflowed);
  remove(state);
}

void Fanout::book_loss(SubscriberState& state, const EventRef& event, bool in_band) noexcept {
  state.lose({event->sequence(), event->sequence(), 1}, in_band);
  tell_of_loss(state, event);
  log_loss(state, 1);
}

void Fanout::log_loss(SubscriberState& state, std::uint64_t count) {
  if (!options_.log) return;
  state.drop_log().count([this] { return now(); }, options_.log, count,
                         [&] { return "subscriber queue full name=" + state.name(); });
}

void Fanout::tell_of_loss(SubscriberState& state, const EventRef& event) noexcept {
  if (state.hooks_losses()) {
    try {
      state.on_drop()(event);
    } catch (...) {
      state.count_callback_failure();
    }
  }
  if (dead_letter_index_.empty() || losing_dead_letter_) return;
  const BusEvent& lost = *event;
  std::vector<SubscriberState*> readers;
  dead_letter_index_.for_each_match(lost, [&](SubscriberState& reader) { readers.push_back(&reader); });
  if (readers.empty()) return;
  EventDraft draft =
      make_event(DeadLetter{event, state.id(), state.name()}, Routing(lost.routing()), lost.origin(), lost.source());
  BusEvent* letter = EventAccess::take(draft);
  EventAccess::set_sequence(*letter, lost.sequence());
  if (options_.timestamps) EventAccess::set_published_at(*letter, now());
  bump(counters_.dead_letters);
  // What a dead-letter subscription loses makes no further letter.
  losing_dead_letter_ = true;
  EventAccess::set_references(*letter, static_cast<std::uint32_t>(readers.size()));
  std::vector<EventRef> outer;
  outer.swap(displaced_);
  for (SubscriberState* reader : readers)
    deliver(*reader, *letter);
  outer.swap(displaced_);
  losing_dead_letter_ = false;
}

void Fanout::lose(BusEvent& event) noexcept {
  if (options_.timestamps) EventAccess::set_published_at(event, now());
  BusEvent* const one = &event;
  run_stages(std::span(&one, 1));
  left_out_ = SlowMonitor::subject_of(event);
  EventRef lost = EventAccess::adopt(&event);
  const auto lose_for = [&](SubscriberState& state) {
    if (left_out_ != 0 && state.id() == left_out_) return;
    state.count_matched(1);
    state.lose({event.sequence(), event.sequence(), 1}, true);
    tell_of_loss(state, lost);
    touch(state);
  };
  for (SubscriberState* state : shared_)
    lose_for(*state);
  if (!index_.empty()) index_.for_each_match(event, lose_for);
  left_out_ = 0;
  bump(counters_.lost);
  ingress_drop_log_.count([this] { return now(); }, options_.log, 1,
                          [] { return std::string("ingress full, oldest event gave way"); });
}

void Fanout::add(SubscriberState& state, std::uint64_t next_sequence) {
  state.table_position = static_cast<std::uint32_t>(table_.size());
  if (state.wants_dead_letters) {
    dead_letter_index_.add(&state, state.filter());
    look_who_hears_losses();
  } else {
    replay(state, next_sequence);
    if (state.takes_runs()) {
      shared_.push_back(&state);
    } else {
      index_.add(&state, state.filter());
    }
  }
  if (state.slow_policy().enabled()) slow_.add(state, now());
  table_.push_back(&state);
  if (state.ended()) remove(state);
}

void Fanout::replay(SubscriberState& state, std::uint64_t next_sequence) {
  const Start& start = state.start();
  if (start.from == Start::From::live) return;
  const auto& events = history_.events();
  std::vector<const EventRef*> wanted;
  for (auto event = events.rbegin(); event != events.rend(); ++event) {
    if (start.from == Start::From::last && wanted.size() == start.value) break;
    if (start.from == Start::From::sequence && (*event)->sequence() < start.value) break;
    if (state.filter().matches(**event)) wanted.push_back(&*event);
  }
  const std::uint64_t oldest = events.empty() ? next_sequence : events.front()->sequence();
  const std::uint64_t first = std::max<std::uint64_t>(start.value, 1);
  if (start.from == Start::From::sequence && first < oldest) state.announce({first, oldest - 1, 0});
  for (auto event = wanted.rbegin(); event != wanted.rend() && !state.ended(); ++event) {
    EventAccess::retain(***event);
    deliver(state, const_cast<BusEvent&>(***event));
  }
  touch(state);
}

void Fanout::end(const StatePtr& state, CloseReason why) {
  remove(*state);
  state->end(why);
  // That of one with an inbox is touched with its last entry; when it had been removed before, it may be gone.
  if (state->inbox() == nullptr) touch(*state);
  removed_.push_back(state);
}

void Fanout::collect(const StatePtr& state) {
  remove(*state);
  removed_.push_back(state);
}

void Fanout::remove(SubscriberState& state) {
  if (state.table_position >= table_.size() || table_[state.table_position] != &state) return;
  if (state.wants_dead_letters) {
    dead_letter_index_.remove(&state, state.filter());
    look_who_hears_losses();
  } else if (state.takes_runs()) {
    const auto place = std::find(shared_.begin(), shared_.end(), &state);
    *place = shared_.back();
    shared_.pop_back();
  } else {
    index_.remove(&state, state.filter());
  }
  if (state.slow_policy().enabled()) slow_.remove(state);
  if (state.inbox() != nullptr) {
    state.end_inbox();
    touch(state);
  }
  table_[state.table_position] = table_.back();
  table_.back()->table_position = state.table_position;
  state.table_position = ~std::uint32_t{0};
  table_.pop_back();
}

void Fanout::end_all(CloseReason why) {
  while (!table_.empty()) {
    SubscriberState& state = *table_.back();
    remove(state);
    state.end(why);
    touch(state);
  }
}

void Fanout::finish_turn() noexcept {
  if (!slow_.empty()) {
    slow_.look(now(), notices_, to_close_);
    for (SubscriberState* state : to_close_) {
      state->end(CloseReason::too_slow);
      touch(*state);
      remove(*state);
    }
    to_close_.clear();
  }
  assert(balanced());
  wake_touched();
  publish_inboxes();
  removed_.clear();
}

void Fanout::publish_inboxes() noexcept {
  for (GroupInbox* inbox : inboxes_) {
    inbox->listed = false;
    inbox->publish();
  }
  inboxes_.clear();
}

bool Fanout::balanced() const noexcept {
  const std::span touched = std::span(touched_).first(touched_count_);
  return std::all_of(touched.begin(), touched.end(),
                     [](const SubscriberState* state) { return state->producer_balanced(); });
}

void Fanout::wake_touched() noexcept {
  // Waiters of one target in a row are handed over together.
  detail::Waiter* first = nullptr;
  detail::Waiter* last = nullptr;
  // One fence for all of them is cheaper than a read-modify-write for each that is at work.
  const bool fenced = touched_count_ > 1;
  if (fenced) full_fence();
  for (SubscriberState* state : std::span(touched_).first(touched_count_)) {
    state->touched = false;
    detail::Waiter* const waiter = fenced ? state->take_parked_behind_fence() : state->take_parked();
    if (waiter == nullptr) continue;
    state->prefetch_consumer();
    waiter->next = nullptr;
    // Its owner is likely to look at what follows it, soon.
    __builtin_prefetch(reinterpret_cast<const std::byte*>(waiter) + 64, 1);
    if (first != nullptr && last->target == waiter->target) {
      last = last->next = waiter;
      continue;
    }
    if (first != nullptr) first->target->wake(first, last);
    first = last = waiter;
  }
  if (first != nullptr) first->target->wake(first, last);
  touched_count_ = 0;
}

}  // namespace sharingbus::internal

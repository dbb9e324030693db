// How events get into a bus.
#include <algorithm>
#include <array>
#include <thread>
#include <utility>

#include "bus/internal/bus_core.hpp"
#include "bus/internal/dispatch_scope.hpp"
#include "bus/internal/event_access.hpp"

namespace sharingbus::internal {

/// Makes room, unless the mode forbids it.
PublishResult BusCore::publish_where_room(EventDraft& draft, Mode mode) noexcept {
  BusEvent* const event = EventAccess::peek(draft);
  std::uint64_t sequence = 0;
  for (;;) {
    const bool may_use_reserve = mode == Mode::publish && t_dispatch_frames != nullptr && dispatching_here();
    const Ingress::Limit* const until = mode == Mode::publish ? nullptr : &credit_.until();
    const auto pushed = ingress_.push(event, may_use_reserve ? Ingress::kReserve : 0, until, sequence);
    if (pushed == Ingress::Push::done) break;
    if (pushed == Ingress::Push::closed) return {PublishStatus::refused_closed, 0};
    if (mode == Mode::try_publish) {
      if (may_help() && ingress_.pending() && dispatch_one_turn()) continue;
      refused_.fetch_add(1, std::memory_order_relaxed);
      // What it has weighed in on for a moment may have been in the way of one who waits.
      if (ingress_.bounded_in_bytes()) admit_waiting();
      look_again();
      return {PublishStatus::refused_full, 0};
    }
    make_room(event->size_bytes());
  }
  EventAccess::take(draft);
  notify_dispatcher();
  return {PublishStatus::accepted, sequence};
}

PublishBatchResult BusCore::publish_batch(std::span<EventDraft> drafts) noexcept {
  PublishBatchResult result;
  const auto one_by_one = [&](std::span<EventDraft> some) {
    for (EventDraft& draft : some) {
      const PublishResult one = publish(draft, Mode::publish);
      if (!one.accepted()) return false;
      ++result.accepted;
      result.last_sequence = one.sequence;
    }
    return true;
  };
  std::array<BusEvent*, Fanout::kTurn> chunk;
  while (!drafts.empty()) {
    std::size_t wanted = 0;
    while (wanted < std::min(drafts.size(), chunk.size()) && drafts[wanted]) {
      chunk[wanted] = EventAccess::peek(drafts[wanted]);
      ++wanted;
    }
    std::uint64_t first = 0;
    const std::size_t count =
        ingress_.bounded_in_bytes() ? 0 : ingress_.push_many(std::span(chunk).first(wanted), first);
    if (count == 0) {
      // Full, closed, empty draft: all the ways a single publish knows.
      if (!one_by_one(drafts.first(1)) && ingress_.closed()) break;
      drafts = drafts.subspan(1);
      continue;
    }
    for (EventDraft& draft : drafts.first(count))
      EventAccess::take(draft);
    result.accepted += count;
    result.last_sequence = first + count - 1;
    drafts = drafts.subspan(count);
    notify_dispatcher();
  }
  for (EventDraft& refused : drafts)
    refused = EventDraft();
  return result;
}

bool BusCore::dispatch_one_turn() noexcept {
  if (!try_lock()) return false;
  {
    const DispatchScope scope(*this);
    run_turn(Fanout::kTurn);
  }
  unlock();
  return true;
}

/// After turns that were not followed by a push: a command that came meanwhile found the dispatch lock taken and left
/// its work to us, and it drew no ticket.
void BusCore::look_again() noexcept {
  if (options_.engine == Engine::combining) drive();
}

/// The ingress is full and a plain publish came.
void BusCore::make_room(std::size_t bytes) noexcept {
  // Waiting inside a callback of any bus could close a circle of waiting threads, so there the oldest gives way.
  const bool nested = t_dispatch_frames != nullptr;
  if (options_.engine == Engine::manual || (nested && dispatching_here())) return evict_oldest(bytes);
  if (dispatch_one_turn()) return;
  if (nested) return evict_oldest(bytes);
  // seq_cst on the counter and on the head, here and in run_turn: either the dispatcher sees that we wait, or we see
  // that it popped. And whoever holds the lock sees, when he leaves, that we wait for it too: he may leave a full ring.
  room_waiters_.fetch_add(1, std::memory_order_seq_cst);
  lock_waiters_.fetch_add(1, std::memory_order_acq_rel);
  const std::uint32_t told = room_told_.load(std::memory_order_acquire);
  if (ingress_.full_now(bytes)) {
    if (try_lock()) {
      unlock();
    } else {
      room_told_.wait(told, std::memory_order_acquire);
    }
  }
  lock_waiters_.fetch_sub(1, std::memory_order_relaxed);
  room_waiters_.fetch_sub(1, std::memory_order_relaxed);
}

void BusCore::evict_oldest(std::size_t bytes) noexcept {
  {
    const std::scoped_lock lock(side_mutex_);
    const std::size_t reserve = dispatching_here() ? Ingress::kReserve : 0;
    if (!ingress_.full_at(ingress_.head(), bytes, reserve)) return;
    evict_under_side_mutex();
    if (evicted_.size() <= options_.ingress_capacity) return;
  }
  // Nobody polls: so that they do not pile up, their losses are settled here.
  if (dispatching_here() || !try_lock()) return;
  {
    const DispatchScope scope(*this);
    fanout_.begin_turn();
    settle_side_until(ingress_.head());
    finish_turn();
  }
  unlock();
}

void BusCore::evict_under_side_mutex() noexcept {
  // Announced before it is popped: whoever pops the next event then looks here first, so the loss keeps its place.
  side_next_.store(std::min(side_next_.load(std::memory_order_relaxed), ingress_.head()), std::memory_order_release);
  if (BusEvent* event = ingress_.pop()) {
    evicted_.push_back(event);
    if (room_waiters_.load(std::memory_order_seq_cst) != 0) tell_of_room();
  } else {
    // Its publisher holds a ticket and is two instructions from done.
    std::this_thread::yield();
  }
  update_side_next();
}

bool BusCore::try_push_waiting(detail::PendingPublish& pending, PublishResult& result) noexcept {
  std::uint64_t sequence = 0;
  switch (ingress_.push(EventAccess::peek(pending.draft), 0, &credit_.until(), sequence)) {
    case Ingress::Push::full:
      return false;
    case Ingress::Push::closed:
      result = {PublishStatus::refused_closed, 0};
      return true;
    case Ingress::Push::done:
      break;
  }
  EventAccess::take(pending.draft);
  result = {PublishStatus::accepted, sequence};
  return true;
}

void BusCore::publish_when_room(std::shared_ptr<detail::PendingPublish> pending) {
  if (!pending->draft) return pending->complete({});
  PublishResult result;
  for (;;) {
    // Behind those who wait already.
    if (waiting_count_.load(std::memory_order_seq_cst) == 0 && try_push_waiting(*pending, result)) {
      notify_dispatcher();
      return pending->complete(result);
    }
    if (!may_help() || !ingress_.pending() || !dispatch_one_turn()) break;
  }
  {
    const std::scoped_lock lock(waiting_mutex_);
    waiting_.push_back(std::move(pending));
    waiting_count_.store(waiting_.size(), std::memory_order_seq_cst);
    waited_.fetch_add(1, std::memory_order_relaxed);
  }
  // Room may have come before anybody could see that we wait.
  admit_waiting();
  look_again();
}

bool BusCore::cancel_publish(const std::shared_ptr<detail::PendingPublish>& pending) {
  const std::scoped_lock lock(waiting_mutex_);
  const auto found = std::find(waiting_.begin(), waiting_.end(), pending);
  if (found == waiting_.end()) return false;
  waiting_.erase(found);
  waiting_count_.store(waiting_.size(), std::memory_order_seq_cst);
  return true;
}

void BusCore::admit_those_waiting() noexcept {
  std::deque<std::pair<std::shared_ptr<detail::PendingPublish>, PublishResult>> done;
  {
    const std::scoped_lock lock(waiting_mutex_);
    PublishResult result;
    while (!waiting_.empty() && try_push_waiting(*waiting_.front(), result)) {
      done.emplace_back(std::move(waiting_.front()), result);
      waiting_.pop_front();
    }
    waiting_count_.store(waiting_.size(), std::memory_order_seq_cst);
  }
  if (done.empty()) return;
  for (const auto& [pending, result] : done)
    pending->complete(result);
  // Not as a publisher does: whoever let them in is not to run callbacks in his call.
  if (options_.engine == Engine::combining) return drive();
  notify_dispatcher();
}

void BusCore::credit_returned() {
  if (!credit_.limited()) return;
  credit_.update();
  admit_waiting();
}

}  // namespace sharingbus::internal

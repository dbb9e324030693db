#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <iterator>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include "bus/internal/ingress.hpp"
#include "bus/internal/subscriber_state.hpp"

namespace sharingbus::internal {

/// The bus-wide credit of `Overflow::backpressure`: which tickets may be given to publishers that would rather wait
/// than have their event lost. Every accepted event is assumed to match, until it is dispatched and known.
class Credit {
 public:
  using StatePtr = std::shared_ptr<SubscriberState>;

  /// The first ticket that may not be given out. Any thread.
  [[nodiscard]] const Ingress::Limit& until() const noexcept { return until_; }
  /// Any thread.
  [[nodiscard]] bool limited() const noexcept { return until_.load(std::memory_order_seq_cst) != Ingress::kUnlimited; }

  /// Any thread. A late join has no room until it has joined.
  void add(StatePtr state) {
    const std::scoped_lock lock(mutex_);
    const bool joining = state->start().from != Start::From::live;
    entries_.push_back({std::move(state), joining});
    update_under_lock();
  }

  /// One that nobody has heard of yet.
  void remove(const SubscriberState& state) {
    const std::scoped_lock lock(mutex_);
    std::erase_if(entries_, [&](const Entry& entry) { return entry.state.get() == &state; });
    update_under_lock();
  }

  // The dispatcher's.
  /// What it asked for is in its queue. Counts from the next update on.
  void joined(const SubscriberState& state) {
    const std::scoped_lock lock(mutex_);
    for (Entry& entry : entries_) {
      if (entry.state.get() == &state) entry.joining = false;
    }
  }
  void remove_ended() {
    // They go after the lock, for what they have queued is the user's.
    std::vector<Entry> gone;
    const std::scoped_lock lock(mutex_);
    const auto stays = [](const Entry& entry) { return !entry.state->ended() && !entry.state->is_let_go(); };
    const auto first_gone = std::partition(entries_.begin(), entries_.end(), stays);
    gone.assign(std::move_iterator(first_gone), std::move_iterator(entries_.end()));
    entries_.erase(first_gone, entries_.end());
    update_under_lock();
  }
  /// All tickets below `done` are in the queues.
  void set_done(std::uint64_t done) noexcept { done_.store(done, std::memory_order_release); }

  /// Any thread, after a queue got longer or shorter.
  void update() {
    const std::scoped_lock lock(mutex_);
    update_under_lock();
  }

 private:
  struct Entry {
    StatePtr state;
    bool joining;
  };

  void update_under_lock() {
    // First how far the dispatcher is, then how full the queues are: what comes between is counted twice, never missed.
    const std::uint64_t done = done_.load(std::memory_order_acquire);
    std::uint64_t room = Ingress::kUnlimited;
    for (const auto& [state, joining] : entries_) {
      const std::uint64_t capacity = joining ? 0 : state->capacity();
      room = std::min(room, capacity - std::min(state->depth(), capacity));
    }
    until_.store(room == Ingress::kUnlimited ? room : done + room, std::memory_order_seq_cst);
  }

  Ingress::Limit until_{Ingress::kUnlimited};
  std::atomic<std::uint64_t> done_{0};
  std::mutex mutex_;
  std::vector<Entry> entries_;
};

}  // namespace sharingbus::internal

#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
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
  [[nodiscard]] std::uint64_t until() const noexcept { return until_.load(std::memory_order_seq_cst); }
  /// Any thread.
  [[nodiscard]] bool limited() const noexcept { return until() != Ingress::kUnlimited; }

  // The dispatcher's.
  void add(StatePtr state) {
    const std::scoped_lock lock(mutex_);
    states_.push_back(std::move(state));
    update_under_lock();
  }
  void remove_ended() {
    const std::scoped_lock lock(mutex_);
    std::erase_if(states_, [](const StatePtr& state) { return state->ended() || state->is_let_go(); });
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
  void update_under_lock() {
    // First how far the dispatcher is, then how full the queues are: what comes between is counted twice, never missed.
    const std::uint64_t done = done_.load(std::memory_order_acquire);
    std::uint64_t room = Ingress::kUnlimited;
    for (const StatePtr& state : states_) {
      room =
          std::min<std::uint64_t>(room, state->capacity() - std::min<std::uint64_t>(state->depth(), state->capacity()));
    }
    until_.store(room == Ingress::kUnlimited ? room : done + room, std::memory_order_seq_cst);
  }

  std::atomic<std::uint64_t> until_{Ingress::kUnlimited};
  std::atomic<std::uint64_t> done_{0};
  std::mutex mutex_;
  std::vector<StatePtr> states_;
};

}  // namespace sharingbus::internal

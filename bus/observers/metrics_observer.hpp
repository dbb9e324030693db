#pragma once

#include <array>
#include <atomic>
#include <cstdint>

#include "bus/event.hpp"
#include "bus/sharing_bus.hpp"

namespace sharingbus {

/// The books of a bus and of every subscription, at one look.
struct BusLedger {
  BusSnapshot bus;

  /// Whether every account adds up; always so at a quiet moment, when nobody publishes, dispatches or receives.
  [[nodiscard]] bool balanced() const noexcept;
};

/// Counts every event of a bus by kind, and their bytes. An inline subscriber: it has no queue and so is exact under
/// any load. Reading is wait-free and may be done from any thread. It may outlive the bus.
class MetricsObserver {
 public:
  explicit MetricsObserver(SharingBus& bus, Filter filter = Filter::all());
  MetricsObserver(const MetricsObserver&) = delete;
  MetricsObserver& operator=(const MetricsObserver&) = delete;

  [[nodiscard]] std::uint64_t events() const noexcept { return total_.load(std::memory_order_relaxed); }
  [[nodiscard]] std::uint64_t events(EventKind kind) const noexcept {
    return by_kind_[static_cast<std::size_t>(kind)].load(std::memory_order_relaxed);
  }
  [[nodiscard]] std::uint64_t bytes() const noexcept { return bytes_.load(std::memory_order_relaxed); }
  /// O(subscriptions). Any thread, while the bus exists.
  [[nodiscard]] BusLedger ledger() const { return {bus_.snapshot()}; }
  [[nodiscard]] SubscriptionStats stats() const { return subscription_.stats(); }

 private:
  void count(const BusEvent& event) noexcept;

  const SharingBus& bus_;
  std::atomic<std::uint64_t> total_{0};
  std::atomic<std::uint64_t> bytes_{0};
  std::array<std::atomic<std::uint64_t>, kEventKindCount> by_kind_{};
  Subscription subscription_;
};

}  // namespace sharingbus

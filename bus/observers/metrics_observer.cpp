#include "bus/observers/metrics_observer.hpp"

#include <algorithm>
#include <utility>

namespace sharingbus {
namespace {

void add(std::atomic<std::uint64_t>& counter, std::uint64_t value) noexcept {
  // Only the dispatcher writes.
  counter.store(counter.load(std::memory_order_relaxed) + value, std::memory_order_relaxed);
}

}  // namespace

bool BusLedger::balanced() const noexcept {
  const auto holds = [](const SubscriptionStats& stats) { return stats.balanced(); };
  const RetiredTotals& retired = bus.retired;
  return bus.published == bus.dispatched + bus.ingress_lost + bus.ingress_depth &&
         std::all_of(bus.subscriptions.begin(), bus.subscriptions.end(), holds) &&
         retired.matched == retired.received + retired.lagged + retired.discarded;
}

MetricsObserver::MetricsObserver(SharingBus& bus, Filter filter) : bus_(bus) {
  SubscriptionOptions options;
  options.name = "metrics";
  options.filter = std::move(filter);
  subscription_ = bus.subscribe_inline(std::move(options), [this](const EventRef& event) { count(*event); });
}

void MetricsObserver::count(const BusEvent& event) noexcept {
  add(total_, 1);
  add(bytes_, event.size_bytes());
  if (const auto kind = static_cast<std::size_t>(event.kind()); kind < by_kind_.size()) add(by_kind_[kind], 1);
}

}  // namespace sharingbus

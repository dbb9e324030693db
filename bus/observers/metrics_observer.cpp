#include "bus/observers/metrics_observer.hpp"

#include <utility>

namespace sharingbus {
namespace {

void add(std::atomic<std::uint64_t>& counter, std::uint64_t value) noexcept {
  // Only the dispatcher writes.
  counter.store(counter.load(std::memory_order_relaxed) + value, std::memory_order_relaxed);
}

}  // namespace

MetricsObserver::MetricsObserver(SharingBus& bus, Filter filter) {
  SubscriptionOptions options;
  options.name = "metrics";
  options.filter = std::move(filter);
  subscription_ = bus.subscribe_inline(std::move(options), [this](const EventRef& event) { count(*event); });
}

void MetricsObserver::count(const BusEvent& event) noexcept {
  add(total_, 1);
  add(bytes_, event.size_bytes());
  add(by_kind_[static_cast<std::size_t>(event.kind())], 1);
}

}  // namespace sharingbus

#include "connector/lifecycle/lifecycle_metrics.hpp"

#include <mutex>
#include <unordered_map>

namespace sharingbus::connector {
namespace {

using Count = std::uint64_t LifecycleMetrics::*;

/// The service that the event is about, and what it counts as; null for events that count as nothing.
struct Counted {
  const std::string* id = nullptr;
  Count count = nullptr;
};

template <class Event>
bool counts(const BusEvent& event, Count count, Counted& counted) {
  const auto* payload = event.get_if<Event>();
  if (payload != nullptr) counted = {&payload->id, count};
  return payload != nullptr;
}

Counted counted(const BusEvent& event) {
  using M = LifecycleMetrics;
  Counted found;
  [[maybe_unused]] const bool any = counts<ServiceHeartbeat>(event, &M::heartbeats, found) ||
                                    counts<ServiceStarted>(event, &M::starts, found) ||
                                    counts<ServiceStopped>(event, &M::stops, found) ||
                                    counts<ServiceHeartbeatTimeout>(event, &M::heartbeat_timeouts, found) ||
                                    counts<ServiceError>(event, &M::errors, found) ||
                                    counts<ServiceReconnecting>(event, &M::reconnect_attempts, found) ||
                                    counts<ServiceReconnected>(event, &M::reconnects, found) ||
                                    counts<ServiceReconnectFailed>(event, &M::reconnect_failures, found);
  return found;
}

void apply(LifecycleMetrics& metrics, const BusEvent& event, Count count, std::int64_t unix_ms) {
  ++(metrics.*count);
  if (event.is<ServiceHeartbeat>()) metrics.last_heartbeat_at_ms = unix_ms;
  if (const auto* error = event.get_if<ServiceError>()) {
    metrics.last_error_at_ms = unix_ms;
    metrics.last_error = error->error;
  }
}

}  // namespace

class LifecycleMetricsObserver::Table {
 public:
  explicit Table(const Clock& clock) : clock_(clock) {}

  void watch(const std::string& id) {
    const std::scoped_lock lock(mutex_);
    metrics_.try_emplace(id);
  }
  LifecycleMetrics read(const std::string& id) const {
    const std::scoped_lock lock(mutex_);
    const auto found = metrics_.find(id);
    return found != metrics_.end() ? found->second : LifecycleMetrics{};
  }
  LifecycleMetrics totals() const {
    const std::scoped_lock lock(mutex_);
    return totals_;
  }

  void take(const BusEvent& event) {
    const Counted what = counted(event);
    if (what.id == nullptr) return;
    const std::int64_t unix_ms = clock_.unix_ms();
    const std::scoped_lock lock(mutex_);
    apply(totals_, event, what.count, unix_ms);
    const auto found = metrics_.find(*what.id);
    if (found != metrics_.end()) apply(found->second, event, what.count, unix_ms);
  }

 private:
  const Clock& clock_;
  mutable std::mutex mutex_;
  LifecycleMetrics totals_;
  std::unordered_map<std::string, LifecycleMetrics> metrics_;
};

LifecycleMetricsObserver::LifecycleMetricsObserver(SharingBus& bus, const Clock& clock)
    : table_(std::make_unique<Table>(clock)) {
  SubscriptionOptions options;
  options.name = "lifecycle metrics";
  options.filter = Filter::kind(EventKind::service);
  subscription_ = bus.subscribe_inline(std::move(options), [this](const EventRef& event) { table_->take(*event); });
}

LifecycleMetricsObserver::~LifecycleMetricsObserver() = default;

void LifecycleMetricsObserver::watch(const std::string& id) {
  table_->watch(id);
}

LifecycleMetrics LifecycleMetricsObserver::metrics(const std::string& id) const {
  return table_->read(id);
}

LifecycleMetrics LifecycleMetricsObserver::totals() const {
  return table_->totals();
}

SubscriptionStats LifecycleMetricsObserver::stats() const {
  return subscription_.stats();
}

}  // namespace sharingbus::connector

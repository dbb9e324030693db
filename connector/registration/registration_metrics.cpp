#include "connector/registration/registration_metrics.hpp"

#include <chrono>
#include <mutex>
#include <unordered_map>

#include "connector/registration/events.hpp"

namespace sharingbus::connector {

class RegistrationMetricsObserver::Table {
 public:
  void watch(const Uuid& uid) {
    const std::scoped_lock lock(mutex_);
    metrics_.try_emplace(uid);
  }
  void forget(const Uuid& uid) {
    const std::scoped_lock lock(mutex_);
    metrics_.erase(uid);
  }
  RegistrationMetrics read(const Uuid& uid) const {
    const std::scoped_lock lock(mutex_);
    const auto found = metrics_.find(uid);
    return found != metrics_.end() ? found->second : RegistrationMetrics{};
  }

  void apply(const BusEvent& event) {
    if (!event.routing().connector_uid) return;
    const std::scoped_lock lock(mutex_);
    const auto found = metrics_.find(*event.routing().connector_uid);
    if (found == metrics_.end()) return;
    RegistrationMetrics& m = found->second;
    if (const auto* started = event.get_if<ExecuteStarted>()) {
      ++m.requests_received;
      m.bytes_in += started->bytes_in;
      m.last_request_at_ms = started->at_unix_ms;
    } else if (const auto* finished = event.get_if<ExecuteFinished>()) {
      if (!finished->success) {
        ++m.requests_failed;
        return;
      }
      ++m.requests_processed;
      m.bytes_out += finished->bytes_out;
      m.total_duration += finished->duration;
    } else if (event.is<ExecuteLate>()) {
      ++m.late_answers;
    } else if (const auto* registered = event.get_if<Registered>()) {
      m.last_connected_at_ms = registered->at_unix_ms;
      m.current_backoff_ms = 0;
      if (registered->again) ++m.successful_reconnects;
    } else if (const auto* renewed = event.get_if<RegistrationRenewed>()) {
      m.last_connected_at_ms = renewed->at_unix_ms;
    } else if (const auto* disconnected = event.get_if<Disconnected>()) {
      ++m.total_disconnects;
      m.last_disconnected_at_ms = disconnected->at_unix_ms;
      m.last_disconnect_reason = disconnected->reason;
    } else if (const auto* backing_off = event.get_if<BackingOff>()) {
      ++m.reconnection_attempts;
      m.current_backoff_ms =
          static_cast<std::uint64_t>(std::chrono::duration_cast<std::chrono::milliseconds>(backing_off->delay).count());
    }
  }

 private:
  mutable std::mutex mutex_;
  std::unordered_map<Uuid, RegistrationMetrics> metrics_;
};

RegistrationMetricsObserver::RegistrationMetricsObserver(SharingBus& bus) : table_(std::make_unique<Table>()) {
  SubscriptionOptions options;
  options.name = "registration metrics";
  options.filter = Filter::origin(EventOrigin::connector);
  subscription_ = bus.subscribe_inline(std::move(options), [this](const EventRef& event) { table_->apply(*event); });
}

RegistrationMetricsObserver::~RegistrationMetricsObserver() = default;

void RegistrationMetricsObserver::watch(const Uuid& uid) {
  table_->watch(uid);
}

void RegistrationMetricsObserver::forget(const Uuid& uid) {
  table_->forget(uid);
}

RegistrationMetrics RegistrationMetricsObserver::metrics(const Uuid& uid) const {
  return table_->read(uid);
}

SubscriptionStats RegistrationMetricsObserver::stats() const {
  return subscription_.stats();
}

}  // namespace sharingbus::connector

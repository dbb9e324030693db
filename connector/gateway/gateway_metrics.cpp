#include "connector/gateway/gateway_metrics.hpp"

#include <mutex>

#include "connector/gateway/gateway_events.hpp"
#include "connector/internal/error_reason.hpp"

namespace sharingbus::connector {

using internal::reason_of;

class GatewayMetricsObserver::Table {
 public:
  void apply(const BusEvent& event) {
    const std::scoped_lock lock(mutex_);
    if (event.is<RequestDispatched>()) {
      ++metrics_.requests_dispatched;
    } else if (const auto* completed = event.get_if<RequestCompleted>()) {
      if (completed->error) {
        ++metrics_.requests_failed[reason_of(completed->error)];
      } else {
        ++metrics_.requests_answered;
      }
    } else if (const auto* refused = event.get_if<RequestRefused>()) {
      ++metrics_.requests_refused[reason_of(refused->error)];
    } else if (const auto* registered = event.get_if<ConnectorRegistered>()) {
      ++metrics_.connectors_registered;
      if (registered->replaced) ++metrics_.connectors_replaced;
    } else if (const auto* stream = event.get_if<ConnectorRefused>()) {
      ++metrics_.streams_refused[reason_of(stream->error)];
    } else if (const auto* gone = event.get_if<ConnectorDisconnected>()) {
      ++metrics_.connectors_disconnected[reason_of(gone->error)];
    }
  }
  GatewayMetrics read() const {
    const std::scoped_lock lock(mutex_);
    return metrics_;
  }

 private:
  mutable std::mutex mutex_;
  GatewayMetrics metrics_;
};

GatewayMetricsObserver::GatewayMetricsObserver(SharingBus& bus) : table_(std::make_unique<Table>()) {
  SubscriptionOptions options;
  options.name = "connector metrics";
  options.filter = Filter::origin(EventOrigin::gateway);
  subscription_ = bus.subscribe_inline(std::move(options), [this](const EventRef& event) { table_->apply(*event); });
}

GatewayMetricsObserver::~GatewayMetricsObserver() = default;

GatewayMetrics GatewayMetricsObserver::metrics() const {
  return table_->read();
}

}  // namespace sharingbus::connector

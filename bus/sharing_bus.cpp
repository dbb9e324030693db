#include "bus/sharing_bus.hpp"

#include <stdexcept>
#include <utility>

#include "bus/internal/bus_core.hpp"

namespace sharingbus {

using internal::BusCore;

Result<> BusOptions::validate() const {
  if (ingress_capacity == 0) return Error(errc::invalid_argument, "BusOptions::ingress_capacity must be at least 1");
  if (ingress_capacity > SubscriptionOptions::kCapacityMax) {
    return Error(errc::invalid_argument,
                 "BusOptions::ingress_capacity must be at most " + std::to_string(SubscriptionOptions::kCapacityMax));
  }
  if (history_events > kHistoryMax) {
    return Error(errc::invalid_argument, "BusOptions::history_events must be at most " + std::to_string(kHistoryMax));
  }
  if (history_bytes != 0 && history_events == 0) {
    return Error(errc::invalid_argument, "BusOptions::history_bytes needs history_events");
  }
  if ((engine == Engine::executor) != (scheduler != nullptr)) {
    return Error(errc::invalid_argument, "BusOptions::scheduler belongs to engine = executor, which needs it");
  }
  for (const auto& stage : stages) {
    if (stage == nullptr) return Error(errc::invalid_argument, "BusOptions::stages must not contain null");
  }
  return {};
}

void DispatchJob::operator()() const {
  core_->run_job();
}

PublishResult detail::publish(BusCore* core, BusEvent* event) noexcept {
  if (core != nullptr && event != nullptr) [[likely]]
    return core->publish(*event);
  if (event != nullptr) EventAccess::release(*event);
  return {};
}

PublishResult Publisher::try_publish(EventDraft&& event) const noexcept {
  return core_ != nullptr ? core_->publish(event, BusCore::Mode::try_publish) : PublishResult{};
}

PublishBatchResult Publisher::publish_batch(std::span<EventDraft> events) const noexcept {
  if (core_ != nullptr) return core_->publish_batch(events);
  for (EventDraft& event : events)
    event = EventDraft();
  return {};
}

SharingBus::SharingBus(BusOptions options) {
  if (const auto valid = options.validate(); !valid) throw std::invalid_argument(valid.error().message);
  core_ = std::make_shared<BusCore>(std::move(options));
}

SharingBus::~SharingBus() {
  core_->close();
}

PublishResult SharingBus::try_publish(EventDraft&& event) noexcept {
  return core_->publish(event, BusCore::Mode::try_publish);
}

PublishBatchResult SharingBus::publish_batch(std::span<EventDraft> events) noexcept {
  return core_->publish_batch(events);
}

std::uint64_t SharingBus::new_source() noexcept {
  return core_->new_source();
}

Subscription SharingBus::subscribe_all() {
  return subscribe(SubscriptionOptions{});
}

Subscription SharingBus::subscribe(Filter filter, std::size_t capacity) {
  SubscriptionOptions options;
  options.filter = std::move(filter);
  options.capacity = capacity;
  return subscribe(std::move(options));
}

Subscription SharingBus::subscribe(SubscriptionOptions options) {
  return {core_, core_->subscribe(std::move(options), nullptr)};
}

Subscription SharingBus::subscribe_inline(SubscriptionOptions options, std::function<void(const EventRef&)> callback) {
  if (callback == nullptr) throw std::invalid_argument("subscribe_inline needs a callback");
  return {core_, core_->subscribe(std::move(options), std::move(callback))};
}

Subscription SharingBus::subscribe_dead_letters(SubscriptionOptions options) {
  return {core_, core_->subscribe(std::move(options), nullptr, true)};
}

void SharingBus::unsubscribe(SubscriptionId id) {
  core_->unsubscribe(id);
}

std::size_t SharingBus::subscriber_count() const {
  return core_->subscriber_count();
}

std::size_t SharingBus::poll(std::size_t limit) {
  return core_->poll(limit);
}

void SharingBus::run() {
  // A copy: the handle may go while the last turn is on its way out.
  const auto core = core_;
  core->run();
}

void SharingBus::flush() {
  core_->flush();
}

void SharingBus::close() {
  core_->close();
}

BusSnapshot SharingBus::snapshot() const {
  return core_->snapshot();
}

}  // namespace sharingbus

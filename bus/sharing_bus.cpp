#include "bus/sharing_bus.hpp"

#include <stdexcept>
#include <utility>

#include "bus/internal/bus_core.hpp"

namespace sharingbus {

using internal::BusCore;

Result<> BusOptions::validate() const {
  if (ingress_capacity == 0) return Error(errc::invalid_argument, "BusOptions::ingress_capacity must be at least 1");
  for (const auto& stage : stages) {
    if (stage == nullptr) return Error(errc::invalid_argument, "BusOptions::stages must not contain null");
  }
  return {};
}

PublishResult Publisher::publish(EventDraft event) const noexcept {
  return core_ != nullptr ? core_->publish(std::move(event), BusCore::Mode::publish) : PublishResult{};
}

PublishResult Publisher::try_publish(EventDraft event) const noexcept {
  return core_ != nullptr ? core_->publish(std::move(event), BusCore::Mode::try_publish) : PublishResult{};
}

SharingBus::SharingBus(BusOptions options) {
  if (const auto valid = options.validate(); !valid) throw std::invalid_argument(valid.error().message);
  core_ = std::make_shared<BusCore>(std::move(options));
}

SharingBus::~SharingBus() {
  core_->close();
}

PublishResult SharingBus::publish(EventDraft event) noexcept {
  return core_->publish(std::move(event), BusCore::Mode::publish);
}

PublishResult SharingBus::try_publish(EventDraft event) noexcept {
  return core_->publish(std::move(event), BusCore::Mode::try_publish);
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

void SharingBus::unsubscribe(SubscriptionId id) {
  core_->unsubscribe(id);
}

std::size_t SharingBus::subscriber_count() const {
  return core_->subscriber_count();
}

std::size_t SharingBus::poll(std::size_t limit) {
  return core_->poll(limit);
}

void SharingBus::close() {
  core_->close();
}

BusSnapshot SharingBus::snapshot() const {
  return core_->snapshot();
}

}  // namespace sharingbus

#include "bus/subscription.hpp"

#include <utility>

#include "bus/internal/bus_core.hpp"

namespace sharingbus {

std::string_view to_string(CloseReason why) noexcept {
  switch (why) {
    case CloseReason::unsubscribed: return "unsubscribed";
    case CloseReason::bus_closed: return "bus_closed";
    case CloseReason::callback_failed: return "callback_failed";
  }
  return "unknown";
}

Subscription::Subscription(std::shared_ptr<internal::BusCore> core,
                           std::shared_ptr<internal::SubscriberState> state) noexcept
    : core_(std::move(core)), state_(std::move(state)) {}

Subscription& Subscription::operator=(Subscription&& other) noexcept {
  if (this != &other) {
    let_go();
    core_ = std::move(other.core_);
    state_ = std::move(other.state_);
  }
  return *this;
}

Subscription::~Subscription() {
  let_go();
}

void Subscription::let_go() noexcept {
  if (state_ != nullptr) core_->let_go(*state_);
  state_.reset();
  core_.reset();
}

SubscriptionId Subscription::id() const noexcept {
  return state_->id();
}

SubscriptionStats Subscription::stats() const {
  return state_->stats();
}

Received Subscription::try_receive() {
  return state_->receive();
}

Received Subscription::receive_for(std::chrono::nanoseconds timeout) {
  const auto deadline = std::chrono::steady_clock::now() + timeout;
  return state_->wait(&deadline);
}

Received Subscription::receive() {
  return state_->wait(nullptr);
}

std::size_t Subscription::receive_batch(std::span<Received> out) {
  return state_->receive_batch(out);
}

bool Subscription::notify_when_ready(std::function<void()> wake) {
  return state_->park(std::move(wake));
}

bool Subscription::cancel_notify() {
  return state_->unpark();
}

void Subscription::unsubscribe() {
  if (state_ != nullptr) core_->unsubscribe(state_->id());
}

Subscription::Iterator& Subscription::Iterator::operator++() {
  for (;;) {
    const Received next = subscription_->receive();
    if (const EventRef* event = next.event()) {
      current_ = *event;
      return *this;
    }
    if (next.closed() != nullptr) {
      current_ = {};
      subscription_ = nullptr;
      return *this;
    }
  }
}

}  // namespace sharingbus

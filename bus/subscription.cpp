#include "bus/subscription.hpp"

#include <utility>

#include "bus/internal/bus_core.hpp"

namespace sharingbus {

std::string_view to_string(CloseReason why) noexcept {
  switch (why) {
    case CloseReason::unsubscribed:
      return "unsubscribed";
    case CloseReason::bus_closed:
      return "bus_closed";
    case CloseReason::callback_failed:
      return "callback_failed";
    case CloseReason::overflowed:
      return "overflowed";
    case CloseReason::too_slow:
      return "too_slow";
  }
  return "unknown";
}

std::string_view to_string(Overflow overflow) noexcept {
  switch (overflow) {
    case Overflow::drop_newest:
      return "drop_newest";
    case Overflow::drop_oldest:
      return "drop_oldest";
    case Overflow::latest_per_key:
      return "latest_per_key";
    case Overflow::backpressure:
      return "backpressure";
    case Overflow::close_subscriber:
      return "close_subscriber";
  }
  return "unknown";
}

Result<> SubscriptionOptions::validate() const {
  const auto refuse = [](const std::string& text) {
    return Error(errc::invalid_argument, "SubscriptionOptions::" + text);
  };
  if (capacity == 0) return refuse("capacity must be at least 1");
  if (capacity > kCapacityMax) return refuse("capacity must be at most " + std::to_string(kCapacityMax));
  if (key && overflow != Overflow::latest_per_key) return refuse("key needs overflow = latest_per_key");
  if (capacity_bytes != 0 && overflow == Overflow::backpressure) {
    return refuse("capacity_bytes cannot be had with overflow = backpressure, whose credit is counted in events");
  }
  if (slow.behind < Duration::zero()) return refuse("slow.behind must not be negative");
  return {};
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

void Subscription::received() {
  if (state_->overflow() == Overflow::backpressure) core_->credit_returned();
}

Received Subscription::try_receive() {
  Received next = state_->receive();
  received();
  return next;
}

Received Subscription::receive_for(std::chrono::nanoseconds timeout) {
  const auto deadline = std::chrono::steady_clock::now() + timeout;
  Received next = state_->wait(&deadline);
  received();
  return next;
}

Received Subscription::receive() {
  Received next = state_->wait(nullptr);
  received();
  return next;
}

std::size_t Subscription::receive_batch(std::span<Received> out) {
  const std::size_t count = state_->receive_batch(out);
  received();
  return count;
}

Lent Subscription::lend(std::size_t limit) {
  const Lent next = state_->lend(limit);
  received();
  return next;
}

void Subscription::unreceive(std::size_t count) noexcept {
  state_->unreceive(count);
}

bool Subscription::park(detail::Waiter* waiter) {
  return state_->park(waiter);
}

bool Subscription::unpark(detail::Waiter* waiter) {
  return state_->unpark(waiter);
}

bool Subscription::notify_when_ready(std::function<void()> wake) {
  return state_->notify_when_ready(std::move(wake));
}

bool Subscription::cancel_notify() {
  return state_->cancel_notify();
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

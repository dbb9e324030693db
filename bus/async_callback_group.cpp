#include <stdexcept>
#include <utility>

#include "bus/async.hpp"
#include "bus/internal/bus_core.hpp"
#include "bus/internal/callback_group.hpp"

namespace sharingbus {

using internal::GroupInbox;

// --- one subscription -----------------------------------------------------------------------------------------------

std::shared_ptr<CallbackSubscription::Member> CallbackSubscription::Member::begin(
    SharingBus& bus, std::shared_ptr<CallbackGroup::Worker> worker, SubscriptionOptions options, AnyCallback callback) {
  // Runs are worth a queue of one's own.
  const bool each = std::holds_alternative<Callback>(callback);
  if (const auto valid = options.validate(); !valid) throw std::invalid_argument(valid.error().message);
  auto member = std::make_shared<Member>(std::move(worker), std::move(callback));
  const auto core = internal::CoreAccess::of(bus.publisher());
  internal::SubscriberState::Inbox inbox;
  if (each) inbox = {member->worker_.get(), member.get()};
  // From here on events may come for it.
  member->kept_ = member;
  member->worker_->join();
  std::shared_ptr<internal::SubscriberState> state;
  try {
    state = core->subscribe(std::move(options), nullptr, false, inbox);
  } catch (...) {
    {
      const std::scoped_lock lock(member->worker_->ends);
      member->worker_->leave();
    }
    member->kept_.reset();
    throw;
  }
  const bool has_inbox = state->inbox() != nullptr;
  member->adopt(Subscription(core, std::move(state)));
  if (!has_inbox) {
    // Does not park on this thread, for from then on the worker's may be at work.
    member->next = nullptr;
    member->worker_->wake(member.get(), member.get());
  }
  return member;
}

/// The worker may have been at work already, and even have come to the end.
void CallbackSubscription::Member::adopt(Subscription subscription) noexcept {
  const std::scoped_lock lock(worker_->ends);
  if (last_stats_ == nullptr) std::swap(subscription_, subscription);
}

bool CallbackSubscription::Member::run() noexcept {
  auto keep = std::move(kept_);
  if (stopped()) return false;
  std::size_t budget = kTurn;
  bool ended = false;
  bool empty = false;
  while (budget != 0 && !ended) {
    const Lent lent = subscription_.lend(budget);
    empty = lent.empty();
    if (empty) break;
    if (stopped()) [[unlikely]] {
      // By the destructor of what was lent before, or by whoever waited for this receive.
      if (const auto events = lent.events(); !events.empty()) subscription_.unreceive(events.size());
      break;
    }
    ended = lent.closed() != nullptr;
    budget -= lent.events().size();
    if (const auto* each = std::get_if<Callback>(&callback_)) {
      call_each(*each, lent);
    } else {
      guarded([&] { std::get<BatchCallback>(callback_)(lent); });
    }
    if (stopped()) [[unlikely]]
      break;
  }
  if (ended || stopped()) {
    finish();
    return false;
  }
  if (empty && park(keep)) return false;
  kept_ = std::move(keep);
  return true;
}

void CallbackSubscription::Member::call_each(const Callback& callback, const Lent& lent) noexcept {
  if (const Gap* gap = lent.gap()) return guarded([&] { callback(Received(*gap)); });
  if (const Closed* closed = lent.closed()) return guarded([&] { callback(Received(*closed)); });
  const auto events = lent.events();
  for (std::size_t i = 0; i < events.size(); ++i) {
    Received received(EventAccess::adopt(events[i].get()));
    guarded([&] { callback(received); });
    EventAccess::forget(received);
    if (stopped()) return subscription_.unreceive(events.size() - i - 1);
  }
}

void CallbackSubscription::Member::take(const GroupInbox::Entry& entry) noexcept {
  using Kind = GroupInbox::Entry::Kind;
  if (stopped()) return entry.discard();
  switch (entry.kind()) {
    case Kind::event:
      return take_event(entry.event());
    case Kind::gap:
      call(Received(entry.take_gap()));
      break;
    case Kind::look:
      if (const auto gap = state->look_for_gap()) call(Received(*gap));
      break;
    case Kind::last:
      if (const auto closed = state->closed()) call(Received(*closed));
      stopped_.store(true, std::memory_order_relaxed);
      break;
  }
  if (stopped()) finish();
}

/// False when there is something to receive already, else `keep` is what keeps it alive while it is parked.
bool CallbackSubscription::Member::park(std::shared_ptr<Member>& keep) {
  kept_ = std::move(keep);
  if (subscription_.park(this)) return true;
  keep = std::move(kept_);
  return false;
}

/// It is not at work and will not be, or this is the worker. Once; later calls find nothing to do.
void CallbackSubscription::Member::finish() noexcept {
  // They go after the lock, for what they hold is the user's.
  std::shared_ptr<Member> keep;
  AnyCallback callback;
  Subscription gone;
  const std::scoped_lock lock(worker_->ends);
  if (last_stats_ != nullptr) return;
  // When it was woken already, the worker lets go of it in its next turn.
  if (subscription_ && state == nullptr && subscription_.unpark(this)) keep = std::move(kept_);
  last_stats_ = std::make_unique<SubscriptionStats>(subscription_ ? subscription_.stats() : state->stats());
  last_stats_->closed = true;
  callback = std::move(callback_);
  gone = std::move(subscription_);
  worker_->leave();
}

// --- what the user has ----------------------------------------------------------------------------------------------

CallbackGroup::CallbackGroup(SharingBus& bus, boost::asio::any_io_executor executor, CallbackGroupOptions options)
    : bus_(&bus), worker_(Worker::make(std::move(executor), options)) {}

template <class AnyCallback>
CallbackSubscription CallbackGroup::add(SubscriptionOptions options, AnyCallback callback) {
  return CallbackSubscription(
      CallbackSubscription::Member::begin(*bus_, worker_->shared_from_this(), std::move(options), std::move(callback)));
}

CallbackSubscription CallbackGroup::subscribe(SubscriptionOptions options, CallbackSubscription::Callback callback) {
  return add(std::move(options), std::move(callback));
}

CallbackSubscription CallbackGroup::subscribe_batches(SubscriptionOptions options,
                                                      CallbackSubscription::BatchCallback callback) {
  return add(std::move(options), std::move(callback));
}

CallbackSubscription::CallbackSubscription(std::shared_ptr<Member> member) noexcept : member_(std::move(member)) {}

CallbackSubscription& CallbackSubscription::operator=(CallbackSubscription&& other) noexcept {
  if (this != &other) {
    stop();
    member_ = std::move(other.member_);
  }
  return *this;
}

CallbackSubscription::~CallbackSubscription() {
  stop();
}

void CallbackSubscription::stop() noexcept {
  if (member_ != nullptr) std::exchange(member_, nullptr)->stop();
}

SubscriptionId CallbackSubscription::id() const noexcept {
  return member_->id();
}

SubscriptionStats CallbackSubscription::stats() const {
  return member_->stats();
}

CallbackSubscription subscribe_on(SharingBus& bus, boost::asio::any_io_executor executor, SubscriptionOptions options,
                                  CallbackSubscription::Callback callback) {
  return CallbackGroup(bus, std::move(executor)).subscribe(std::move(options), std::move(callback));
}

}  // namespace sharingbus

#pragma once

#include <functional>
#include <memory>
#include <utility>

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/async_result.hpp>
#include <boost/system/error_code.hpp>

#include "bus/detail/async_operations.hpp"
#include "bus/sharing_bus.hpp"
#include "bus/subscription.hpp"

namespace sharingbus {

/// Makes `executor` the place where a bus with `Engine::executor` dispatches: at most one job of the bus is there at a
/// time, each does a few turns and hands itself back, so that others get theirs. The executor's context must be running
/// for anything to move; it does not keep the context running while nothing is published.
[[nodiscard]] std::shared_ptr<DispatchScheduler> dispatch_on(boost::asio::any_io_executor executor);

/// Waits for the next event, gap or end of stream.
///
/// Completion: `void(boost::system::error_code, Received)`, always posted to the token's associated executor (the
/// system executor when it has none). Errors: `operation_aborted` after cancellation of any type, which leaves the
/// subscription as it was and loses nothing. One receive at a time; the subscription must outlive it, so cancel before
/// letting the subscription go. Start it on the thread or strand that receives from this subscription,
/// which must be the token's executor, too.
template <class CompletionToken>
auto async_receive(Subscription& subscription, CompletionToken&& token) {
  return boost::asio::async_initiate<CompletionToken, void(boost::system::error_code, Received)>(
      [](auto handler, Subscription* from) { detail::start_wait<detail::TakesNext>(*from, std::move(handler)); }, token,
      &subscription);
}

/// Waits until `lend` or `try_receive` would yield something; rarely it completes early, so go on waiting when they
/// yield nothing. A coroutine that waits once and lends until there is nothing costs one wake-up for a whole batch.
///
/// Completion: `void(boost::system::error_code)`; everything else as for `async_receive`.
template <class CompletionToken>
auto async_wait(Subscription& subscription, CompletionToken&& token) {
  return boost::asio::async_initiate<CompletionToken, void(boost::system::error_code)>(
      [](auto handler, Subscription* from) { detail::start_wait<detail::TakesNothing>(*from, std::move(handler)); },
      token, &subscription);
}

/// Publishes when there is room: while the ingress is full or a backpressure subscription could overflow, it waits, in
/// order with the others that wait. What is published this way is never lost to a backpressure subscription, unless
/// plain `publish` or callbacks took the room.
///
/// Completion: `void(boost::system::error_code, PublishResult)`, always posted to the token's associated executor; the
/// result is `refused_closed` when the bus closes first. Errors: `operation_aborted` after cancellation of any type,
/// when the event was not published. Any thread. The bus need not outlive it.
template <class CompletionToken>
auto async_publish(const Publisher& publisher, EventDraft event, CompletionToken&& token) {
  return boost::asio::async_initiate<CompletionToken, void(boost::system::error_code, PublishResult)>(
      [](auto handler, Publisher to, EventDraft draft) {
        detail::start_publish(std::move(to), std::move(draft), std::move(handler));
      },
      token, publisher, std::move(event));
}
template <class CompletionToken>
auto async_publish(SharingBus& bus, EventDraft event, CompletionToken&& token) {
  return async_publish(bus.publisher(), std::move(event), std::forward<CompletionToken>(token));
}

/// Completes when all that was published before it was started has been dispatched.
///
/// Completion: `void(boost::system::error_code)`, without error, posted to the token's associated executor; also when
/// the bus closes. Not cancellable. Any thread, also inside callbacks. Under `Engine::manual` somebody must poll.
template <class CompletionToken>
auto async_flush(SharingBus& bus, CompletionToken&& token) {
  return boost::asio::async_initiate<CompletionToken, void(boost::system::error_code)>(
      [](auto handler, Publisher to) { detail::start_flush(to, std::move(handler)); }, token, bus.publisher());
}

/// A subscription whose callback runs on an executor of the user's, one call at a time, in order: events, gaps, and
/// `Closed` as the last. Letting it go unsubscribes: afterwards the callback is not running and will not run; called
/// from inside the callback it does not wait. Move-only. What a callback throws is caught and counted.
class CallbackSubscription {
 public:
  /// What it is given is lent for the call: copy the `EventRef` to keep an event.
  using Callback = std::function<void(const Received&)>;
  /// Gets whole runs of events at once.
  using BatchCallback = std::function<void(const Lent&)>;

  CallbackSubscription() noexcept = default;
  CallbackSubscription(CallbackSubscription&&) noexcept = default;
  CallbackSubscription& operator=(CallbackSubscription&& other) noexcept;
  ~CallbackSubscription();

  explicit operator bool() const noexcept { return member_ != nullptr; }
  [[nodiscard]] SubscriptionId id() const noexcept;
  /// Any thread.
  [[nodiscard]] SubscriptionStats stats() const;

 private:
  friend class CallbackGroup;
  class Member;
  explicit CallbackSubscription(std::shared_ptr<Member> member) noexcept;
  void stop() noexcept;

  std::shared_ptr<Member> member_;
};

struct CallbackGroupOptions {
  /// Where a publisher dispatches (`Engine::combining`) on a thread that runs the group's `io_context`, its callbacks
  /// run at the end of that very `publish`, not after another turn of the executor: half the latency, for publishers
  /// that hold nothing a callback needs. They never run inside each other: what a callback publishes comes later.
  bool inside_publish = false;
};

/// Callback subscriptions that share one worker on an executor: their callbacks run one at a time, in turns, and one
/// wake-up serves all that became ready in a dispatch turn. Thousands of mostly idle subscriptions cost what is
/// delivered. A callback that blocks holds up its own group, so give those that may block a group each
/// (`subscribe_on`). Letting the group go leaves its subscriptions as they are.
class CallbackGroup {
 public:
  /// The bus must outlive the group, not the subscriptions. Does not keep the executor's context running while nothing
  /// arrives.
  CallbackGroup(SharingBus& bus, boost::asio::any_io_executor executor, CallbackGroupOptions options = {});

  /// Any thread. Throws like `SharingBus::subscribe`.
  [[nodiscard]] CallbackSubscription subscribe(SubscriptionOptions options, CallbackSubscription::Callback callback);
  [[nodiscard]] CallbackSubscription subscribe_batches(SubscriptionOptions options,
                                                       CallbackSubscription::BatchCallback callback);

 private:
  friend class CallbackSubscription::Member;
  class Worker;
  template <class AnyCallback>
  CallbackSubscription add(SubscriptionOptions options, AnyCallback callback);

  SharingBus* bus_;
  std::shared_ptr<Worker> worker_;
};

/// Subscribes `callback` on `executor`, in a group of its own.
[[nodiscard]] CallbackSubscription subscribe_on(SharingBus& bus, boost::asio::any_io_executor executor,
                                                SubscriptionOptions options, CallbackSubscription::Callback callback);

}  // namespace sharingbus

#pragma once

#include <atomic>
#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/associated_cancellation_slot.hpp>
#include <boost/asio/associated_executor.hpp>
#include <boost/asio/async_result.hpp>
#include <boost/asio/cancellation_type.hpp>
#include <boost/asio/error.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/prefer.hpp>
#include <boost/system/error_code.hpp>
#include <functional>
#include <memory>
#include <utility>

#include "bus/sharing_bus.hpp"
#include "bus/subscription.hpp"

namespace sharingbus {

namespace detail {

/// One waiting `async_receive`. Kept alive by the parked wake function, or by the posted completion.
template <class Handler>
class ReceiveOperation : public std::enable_shared_from_this<ReceiveOperation<Handler>> {
 public:
  ReceiveOperation(Subscription& subscription, Handler handler)
      : subscription_(subscription),
        handler_(std::move(handler)),
        executor_(boost::asio::prefer(boost::asio::get_associated_executor(handler_),
                                      boost::asio::execution::outstanding_work.tracked)) {}

  void start() {
    auto slot = boost::asio::get_associated_cancellation_slot(handler_);
    if (slot.is_connected()) {
      slot.assign([weak = this->weak_from_this()](boost::asio::cancellation_type) {
        if (const auto self = weak.lock()) self->cancel();
      });
    }
    wait();
  }

 private:
  void wait() {
    if (!subscription_.notify_when_ready([self = this->shared_from_this()] { self->schedule(false); })) {
      schedule(false);
    } else if (cancel_requested_) {
      cancel();
    }
  }

  void cancel() {
    cancel_requested_ = true;
    // The dispatcher may be resuming us right now; then the receive completes normally if there is something.
    if (subscription_.cancel_notify()) schedule(true);
  }

  void schedule(bool cancelled) {
    boost::asio::post(executor_, [self = this->shared_from_this(), cancelled] { self->complete(cancelled); });
  }

  void complete(bool cancelled) {
    Received received;
    if (!cancelled) {
      received = subscription_.try_receive();
      if (received.empty()) {
        if (!cancel_requested_) return wait();
        cancelled = true;
      }
    }
    boost::asio::get_associated_cancellation_slot(handler_).clear();
    Handler handler = std::move(handler_);
    const auto error =
        cancelled ? boost::system::error_code(boost::asio::error::operation_aborted) : boost::system::error_code{};
    std::move(handler)(error, std::move(received));
  }

  using Executor = std::decay_t<decltype(boost::asio::prefer(
      boost::asio::get_associated_executor(std::declval<Handler&>()), boost::asio::execution::outstanding_work.tracked))>;

  Subscription& subscription_;
  Handler handler_;
  Executor executor_;
  std::atomic<bool> cancel_requested_{false};
};

}  // namespace detail

/// Waits for the next event, gap or end of stream.
///
/// Completion: `void(boost::system::error_code, Received)`, always posted to the token's associated executor (the
/// system executor when it has none). Errors: `operation_aborted` after cancellation of any type, which leaves the
/// subscription as it was and loses nothing. One receive at a time; the subscription must outlive it, so cancel before
/// letting the subscription go. Start it on the thread or strand that receives from this subscription.
template <class CompletionToken>
auto async_receive(Subscription& subscription, CompletionToken&& token) {
  return boost::asio::async_initiate<CompletionToken, void(boost::system::error_code, Received)>(
      [](auto handler, Subscription* from) {
        using Handler = std::decay_t<decltype(handler)>;
        std::make_shared<detail::ReceiveOperation<Handler>>(*from, std::move(handler))->start();
      },
      token, &subscription);
}

/// A subscription whose callback runs on an executor of the user's, one call at a time, in order: events, gaps, and
/// `Closed` as the last. Letting it go unsubscribes: afterwards the callback is not running and will not run; called
/// from inside the callback it does not wait. Move-only. What a callback throws is caught and counted.
class CallbackSubscription {
 public:
  using Callback = std::function<void(const Received&)>;

  CallbackSubscription() noexcept = default;
  CallbackSubscription(CallbackSubscription&&) noexcept = default;
  CallbackSubscription& operator=(CallbackSubscription&& other) noexcept;
  ~CallbackSubscription();

  explicit operator bool() const noexcept { return loop_ != nullptr; }
  [[nodiscard]] SubscriptionId id() const noexcept;
  /// Any thread.
  [[nodiscard]] SubscriptionStats stats() const;

 private:
  friend CallbackSubscription subscribe_on(SharingBus& bus, boost::asio::any_io_executor executor,
                                           SubscriptionOptions options, Callback callback);
  class Loop;
  explicit CallbackSubscription(std::shared_ptr<Loop> loop) noexcept : loop_(std::move(loop)) {}
  void stop() noexcept;

  std::shared_ptr<Loop> loop_;
};

/// Subscribes `callback` on `executor`; one wake-up serves a whole batch. Does not keep the executor's context running
/// while nothing arrives.
[[nodiscard]] CallbackSubscription subscribe_on(SharingBus& bus, boost::asio::any_io_executor executor,
                                                SubscriptionOptions options, CallbackSubscription::Callback callback);

}  // namespace sharingbus

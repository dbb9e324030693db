#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <type_traits>
#include <utility>

#include <boost/asio/associated_cancellation_slot.hpp>
#include <boost/asio/associated_executor.hpp>
#include <boost/asio/cancellation_type.hpp>
#include <boost/asio/error.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/prefer.hpp>
#include <boost/asio/recycling_allocator.hpp>
#include <boost/system/error_code.hpp>

#include "bus/detail/pending_publish.hpp"
#include "bus/detail/waiter.hpp"
#include "bus/sharing_bus.hpp"
#include "bus/subscription.hpp"

/// The operations behind bus/async.hpp.
namespace sharingbus::detail {

template <class Handler>
using TrackedExecutor = std::decay_t<decltype(boost::asio::prefer(
    boost::asio::get_associated_executor(std::declval<Handler&>()), boost::asio::execution::outstanding_work.tracked))>;

/// A handler and the executor that it completes on, kept running meanwhile.
template <class Handler>
class Completion {
 public:
  explicit Completion(Handler handler)
      : handler_(std::move(handler)),
        executor_(boost::asio::prefer(boost::asio::get_associated_executor(handler_),
                                      boost::asio::execution::outstanding_work.tracked)) {}

  template <class Fn>
  void on_cancel(Fn fn) {
    auto slot = boost::asio::get_associated_cancellation_slot(handler_);
    if (slot.is_connected()) slot.assign([fn](boost::asio::cancellation_type) { fn(); });
  }
  template <class Fn>
  void post(Fn fn) {
    boost::asio::post(executor_, std::move(fn));
  }
  template <class... Results>
  void operator()(Results&&... results) {
    boost::asio::get_associated_cancellation_slot(handler_).clear();
    Handler handler = std::move(handler_);
    std::move(handler)(std::forward<Results>(results)...);
  }

 private:
  Handler handler_;
  TrackedExecutor<Handler> executor_;
};

inline boost::system::error_code aborted_if(bool cancelled) {
  return cancelled ? boost::system::error_code(boost::asio::error::operation_aborted) : boost::system::error_code{};
}

/// `async_receive`: completes with what is next. False: there is nothing, wait on.
struct TakesNext {
  template <class Handler>
  static bool complete(Subscription& subscription, Completion<Handler>& completion, bool cancelled, bool may_wait) {
    Received next;
    if (!cancelled) next = subscription.try_receive();
    if (next.empty() && !cancelled && may_wait) return false;
    const bool aborted = next.empty();
    completion(aborted_if(aborted), std::move(next));
    return true;
  }
};

/// `async_wait`: takes nothing.
struct TakesNothing {
  template <class Handler>
  static bool complete(Subscription&, Completion<Handler>& completion, bool cancelled, bool) {
    completion(aborted_if(cancelled));
    return true;
  }
};

/// One waiting receiver. While it is parked or posted it keeps itself alive.
template <class Takes, class Handler>
class WaitOperation final : public WakeTarget,
                            public Waiter,
                            public std::enable_shared_from_this<WaitOperation<Takes, Handler>> {
 public:
  WaitOperation(Subscription& subscription, Handler handler)
      : Waiter(static_cast<WakeTarget&>(*this)), subscription_(subscription), completion_(std::move(handler)) {}

  void start() {
    completion_.on_cancel([weak = this->weak_from_this()] {
      if (const auto self = weak.lock()) self->cancel();
    });
    wait();
  }

  void wake(Waiter* /*first*/, Waiter* /*last*/) noexcept override { schedule(false); }
  void drop(Waiter* /*waiter*/) noexcept override { parked_.reset(); }

 private:
  void wait() {
    parked_ = this->shared_from_this();
    if (!subscription_.park(this)) {
      schedule(false);
    } else if (cancel_requested_) {
      cancel();
    }
  }

  void cancel() {
    cancel_requested_ = true;
    // The dispatcher may be resuming us right now; then the receive completes normally if there is something.
    if (subscription_.unpark(this)) schedule(true);
  }

  void schedule(bool cancelled) {
    completion_.post([self = std::move(parked_), cancelled] { self->complete(cancelled); });
  }

  void complete(bool cancelled) {
    const auto self = this->shared_from_this();
    if (!Takes::complete(subscription_, completion_, cancelled, !cancel_requested_)) wait();
  }

  Subscription& subscription_;
  Completion<Handler> completion_;
  std::shared_ptr<WaitOperation> parked_;
  std::atomic<bool> cancel_requested_{false};
};

template <class Takes, class Handler>
void start_wait(Subscription& subscription, Handler handler) {
  using Operation = WaitOperation<Takes, Handler>;
  std::allocate_shared<Operation>(boost::asio::recycling_allocator<Operation>(), subscription, std::move(handler))
      ->start();
}

/// Publishes now or when there is room, and completes `pending` either way.
void publish_when_room(const Publisher& publisher, std::shared_ptr<PendingPublish> pending);
/// True when it was waiting: it will not be completed, and its draft was not published.
bool cancel_publish(const Publisher& publisher, const std::shared_ptr<PendingPublish>& pending);

template <class Handler>
class PublishOperation final : public PendingPublish, public std::enable_shared_from_this<PublishOperation<Handler>> {
 public:
  PublishOperation(Publisher publisher, EventDraft event, Handler handler)
      : PendingPublish(std::move(event)), publisher_(std::move(publisher)), completion_(std::move(handler)) {}

  void start() {
    completion_.on_cancel([weak = this->weak_from_this()] {
      const auto self = weak.lock();
      if (self != nullptr && cancel_publish(self->publisher_, self)) self->finish(true, {});
    });
    publish_when_room(publisher_, this->shared_from_this());
  }

  void complete(PublishResult result) noexcept override { finish(false, result); }

 private:
  void finish(bool cancelled, PublishResult result) {
    completion_.post(
        [self = this->shared_from_this(), cancelled, result] { self->completion_(aborted_if(cancelled), result); });
  }

  const Publisher publisher_;
  Completion<Handler> completion_;
};

template <class Handler>
void start_publish(Publisher publisher, EventDraft draft, Handler handler) {
  using Operation = PublishOperation<Handler>;
  std::allocate_shared<Operation>(boost::asio::recycling_allocator<Operation>(), std::move(publisher), std::move(draft),
                                  std::move(handler))
      ->start();
}

/// Calls `done` on the dispatching thread once all that was published before has been dispatched, or at once.
void when_flushed(const Publisher& publisher, std::function<void()> done);

template <class Handler>
void start_flush(const Publisher& publisher, Handler handler) {
  auto completion = std::make_shared<Completion<Handler>>(std::move(handler));
  when_flushed(publisher,
               [completion] { completion->post([completion] { (*completion)(boost::system::error_code{}); }); });
}

}  // namespace sharingbus::detail

#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/associated_executor.hpp>
#include <boost/asio/async_result.hpp>
#include <boost/asio/execution/outstanding_work.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/prefer.hpp>

#include "bus/base/error.hpp"
#include "bus/base/timer.hpp"
#include "bus/base/uuid.hpp"
#include "bus/sharing_bus.hpp"
#include "connector/gateway/gateway_events.hpp"
#include "connector/gateway/gateway_options.hpp"
#include "connector/inline_executor.hpp"
#include "connector/payload.hpp"
#include "transport/endpoint.hpp"
#include "transport/listener.hpp"

namespace sharingbus::connector {

/// One request to a connector.
struct ExecuteCall {
  /// An empty one goes out as `{}`, and an unspecified encoding as JSON: old connectors fail on both.
  Payload payload{};
  /// Nothing: the connector as a whole.
  std::optional<std::string> capability{};
  /// Goes along; `connector_arn` and `timeout_ms` (what is left of `timeout`) are set by the gateway. A `session_id`
  /// becomes the `native_session_id` of the request's events, and with a `scroll_id` beside it `SessionRegistered` is
  /// published first.
  Context context{};
  /// From the call to its answer. Must be above 0.
  Duration timeout = std::chrono::seconds(30);
};

/// A connector's answer.
struct ExecuteReply {
  /// The handler's own verdict.
  bool success = false;
  Payload payload{};
  /// The handler's own text, when `success` is false.
  std::string error;
  /// From the call to the answer, as the gateway saw it.
  Duration duration{};
};

using ExecuteCallback = std::function<void(Error, ExecuteReply)>;

namespace internal {

class GatewayCore;

/// Waits for the answer to one request, and gets it once; or never, when the executor throws away what is left.
class AnswerTaker {
 public:
  AnswerTaker() = default;
  AnswerTaker(const AnswerTaker&) = delete;
  AnswerTaker& operator=(const AnswerTaker&) = delete;
  virtual ~AnswerTaker() = default;
  virtual void take(Error error, ExecuteReply reply) = 0;
};

}  // namespace internal

/// A registered connector.
struct SessionInfo {
  /// `tenant.type.instance`
  std::string address;
  std::string arn;
  std::string display_name;
  std::string version;
  std::string peer;
  /// Of its stream: what its events have as `connector_uid`.
  Uuid uid;
  std::int64_t registered_at_unix_ms = 0;
  /// Requests without an answer yet.
  std::size_t pending = 0;
  /// Requests that got an answer, good or bad, and those that got none.
  std::uint64_t answered = 0;
  std::uint64_t failed = 0;
  /// Answers that nobody waited for (any more).
  std::uint64_t late_answers = 0;
};

/// The server that connectors register with. It sees its streams only through the bus that it is given: it subscribes
/// to `StreamOpened` of its listeners, gives every stream a session of its own, with a queue that has room for all the
/// credit it grants, and publishes what it does (gateway_events.hpp).
///
/// Started by `serve`, stopped by `close`. All functions: any thread. It owns its listeners and sessions; bus, timers
/// and the executor's context must outlive it. Sessions work on a strand each, so the executor may have many threads.
class Gateway {
 public:
  /// Throws `std::invalid_argument` when `options.validate()` fails.
  Gateway(boost::asio::any_io_executor executor, SharingBus& bus, TimerService& timers, GatewayOptions options = {});
  /// After a completed `close`: frees memory. Otherwise it cancels everything and does not wait: pending requests are
  /// completed with `closed` when the executor runs on, and never touch bus, timers or listeners again.
  ~Gateway();
  Gateway(const Gateway&) = delete;
  Gateway& operator=(const Gateway&) = delete;

  /// What a listener must be made with to be served: publisher, decoder, ids. Limits may be changed.
  [[nodiscard]] transport::ListenerOptions make_listener_options();
  /// Takes the listener, starts it and returns the endpoint that was bound. As many listeners as you like. Errors:
  /// those of `Listener::listen`; `invalid_argument` for one that was not made with `make_listener_options`; `closed`.
  Result<transport::Endpoint> serve(std::unique_ptr<transport::Listener> listener);

  /// Runs a request on the connector at `address` (`tenant.type.instance`).
  ///
  /// Completion: `void(Error, ExecuteReply)`, posted to the token's executor, or the gateway's where it has none; with
  /// `InlineExecutor` it is called where the answer arrives, but never from within this call. An answer, also one with
  /// `success = false`, comes without an Error. Errors: `not_found` (no such connector), `capacity_exceeded` (too many
  /// pending), `message_too_large`, `timed_out`, `invalid_argument` (timeout), `closed` (the gateway is closing); when
  /// the stream goes, its own code and text, at that moment. Cancellation: none; the timeout bounds it. When the
  /// session is idle, the request is written and published within this call: as with `SharingBus::publish`, hold no
  /// lock that an inline subscriber takes. Give the call a name before `co_await`: GCC 12 copies a braced temporary in
  /// such an expression bit by bit.
  template <class CompletionToken>
  auto async_execute(std::string address, ExecuteCall call, CompletionToken&& token) {
    return boost::asio::async_initiate<CompletionToken, void(Error, ExecuteReply)>(
        [](auto handler, Gateway* self, std::string to, ExecuteCall what) {
          self->execute_for(std::move(to), std::move(what), std::move(handler));
        },
        token, this, std::move(address), std::move(call));
  }
  /// The same with a function, which is called once, on the executor but never from within this call. What it throws is
  /// logged and goes no further.
  void execute(std::string address, ExecuteCall call, ExecuteCallback callback);

  /// Asks a connector to open a new stream in place of its present one, as a load balancer's other end might want.
  /// Requests that are pending then are still answered on the old one. False: no such connector.
  bool ask_to_reconnect(const std::string& address);

  /// Registered connectors, by address.
  [[nodiscard]] std::vector<SessionInfo> sessions() const;
  [[nodiscard]] std::size_t session_count() const;
  [[nodiscard]] boost::asio::any_io_executor get_executor() const;

  /// Refuses new streams and requests, asks the connectors to go elsewhere, waits up to `drain` for the pending
  /// requests and then for the streams to end in good order, cancels what is left, and calls `done` on the executor
  /// when every session, listener, timer and callback is gone. Idempotent: every `done` is called, and the earliest end
  /// of a drain counts.
  void close(Duration drain, std::function<void()> done);

 private:
  template <class Completion>
  static constexpr bool kInline =
      std::same_as<boost::asio::associated_executor_t<Completion, boost::asio::any_io_executor>, InlineExecutor>;
  /// A completion and where it is posted.
  template <class Completion, class Executor>
  class TakerFor final : public internal::AnswerTaker {
   public:
    TakerFor(Completion completion, Executor executor)
        : completion_(std::move(completion)), executor_(std::move(executor)) {}
    void take(Error error, ExecuteReply reply) override {
      Completion once = std::move(completion_);
      if constexpr (kInline<Completion>) {
        if (!executing_here()) return std::move(once)(std::move(error), std::move(reply));
      }
      boost::asio::post(executor_,
                        [once = std::move(once), error = std::move(error), reply = std::move(reply)]() mutable {
                          std::move(once)(std::move(error), std::move(reply));
                        });
    }

   private:
    Completion completion_;
    Executor executor_;
  };
  template <class Completion>
  void execute_for(std::string address, ExecuteCall call, Completion completion) {
    const auto begin = [&](auto executor) {
      auto taker = std::make_unique<TakerFor<Completion, decltype(executor)>>(std::move(completion), executor);
      execute_anywhere(std::move(address), std::move(call), std::move(taker));
    };
    if constexpr (kInline<Completion>) {
      begin(get_executor());
    } else {
      begin(boost::asio::prefer(boost::asio::get_associated_executor(completion, get_executor()),
                                boost::asio::execution::outstanding_work.tracked));
    }
  }
  /// As `execute`, but `taker` may be called by any thread and from within this call, so it has to post.
  void execute_anywhere(std::string address, ExecuteCall call, std::unique_ptr<internal::AnswerTaker> taker);
  /// Whether this thread is within `execute_anywhere`, of any gateway.
  [[nodiscard]] static bool executing_here() noexcept;

  SharingBus& bus_;
  const std::shared_ptr<internal::GatewayCore> core_;
};

}  // namespace sharingbus::connector

#pragma once

#include <functional>
#include <map>
#include <memory>
#include <utility>
#include <vector>

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/associated_executor.hpp>
#include <boost/asio/async_result.hpp>
#include <boost/asio/dispatch.hpp>
#include <boost/asio/executor_work_guard.hpp>

#include "bus/base/result.hpp"
#include "bus/base/timer.hpp"
#include "bus/sharing_bus.hpp"
#include "connector/identity.hpp"
#include "connector/registration/options.hpp"
#include "connector/registration/registration_metrics.hpp"
#include "transport/dialer.hpp"

namespace sharingbus::connector {

/// Asks a runner to end; copyable, any thread, may outlive the runner. The signal never resets.
class ShutdownHandle {
 public:
  void shutdown() const;
  [[nodiscard]] bool signalled() const;

 private:
  friend class MultiConnectorRunner;
  class Signal;
  explicit ShutdownHandle(std::shared_ptr<Signal> signal) : signal_(std::move(signal)) {}
  std::shared_ptr<Signal> signal_;
};

/// Runs many registrations in one process over one dialer, which shares channels among their streams (spec 3). One
/// registration's failure never touches another. What becomes of each is told by `async_wait`, by `end_reasons`, and on
/// the bus by `RegistrationEnded`.
///
/// All functions: any thread. The bus, the timers and the dialer must outlive the runner; the runner must outlive its
/// `run`.
class MultiConnectorRunner {
 public:
  /// Second and later registrations of a key are dropped, with a warning. Throws `std::invalid_argument` when the
  /// options do not validate or a registration has no connector.
  MultiConnectorRunner(boost::asio::any_io_executor executor, SharingBus& bus, TimerService& timers,
                       transport::Dialer& dialer, RunnerOptions options, std::vector<Registration> registrations = {});
  ~MultiConnectorRunner();
  MultiConnectorRunner(const MultiConnectorRunner&) = delete;
  MultiConnectorRunner& operator=(const MultiConnectorRunner&) = delete;

  /// Before `run`, or between runs. Errors: `already_running`, `invalid_argument` (duplicate, or no connector).
  Result<> add(Registration registration);
  /// While running: drives it from now on. Errors: `invalid_state` when not running, `closed` after a shutdown,
  /// `invalid_argument` (duplicate, also of one that is being removed; no connector), `handler_failed` when the
  /// connector threw as it was asked for its type. A refused registration is not listed.
  Result<> add_running(Registration registration);
  /// Ends one registration as a shutdown does, drain included, and forgets it; at once when not running. Like any last
  /// one to end, it ends `run`. Completion: `void(Error)` when nothing of it is left; `not_found`.
  template <class CompletionToken>
  auto async_remove(const Address& key, CompletionToken&& token) {
    return initiate(token, [key](MultiConnectorRunner& self, auto done) { self.remove(key, std::move(done)); });
  }
  void remove(const Address& key, std::function<void(Error)> done);
  /// Waits until a registration has ended, now or, if it never ran, after a `run` to come. Completion: `void(Error)`
  /// with why it ended (success after a shutdown or a removal); `not_found`; `closed` when the runner is destroyed.
  template <class CompletionToken>
  auto async_wait(const Address& key, CompletionToken&& token) {
    return initiate(token, [key](MultiConnectorRunner& self, auto done) { self.wait(key, std::move(done)); });
  }
  void wait(const Address& key, std::function<void(Error)> done);
  /// The keys, in order.
  [[nodiscard]] std::vector<Address> registrations() const;

  /// Drives every registration until all have ended: after a shutdown, or, with reconnect off, each by itself.
  /// Completion: `void(Error)`, on the token's executor. Success whatever became of single registrations, see
  /// `end_reasons`; `already_running` while running. With shutdown signalled already, or nothing registered (a
  /// warning), it opens nothing and completes with success. Not cancellable otherwise than by `shutdown`.
  template <class CompletionToken>
  auto async_run(CompletionToken&& token) {
    return initiate(token, [](MultiConnectorRunner& self, auto done) { self.run(std::move(done)); });
  }
  /// The same with a plain callback, called once on some thread of the executor; so are those of `remove` and `wait`.
  void run(std::function<void(Error)> done);

  [[nodiscard]] ShutdownHandle shutdown_handle() const;
  /// By key; zeros before `run`.
  [[nodiscard]] std::map<Address, RegistrationMetrics> metrics_snapshot() const;
  /// Why each registration that has ended did; success after a shutdown.
  [[nodiscard]] std::map<Address, Error> end_reasons() const;
  [[nodiscard]] boost::asio::any_io_executor executor() const;

 private:
  class State;

  /// Calls `start` with a callback that completes the token on its executor.
  template <class CompletionToken, class Start>
  auto initiate(CompletionToken&& token, Start start) {
    return boost::asio::async_initiate<CompletionToken, void(Error)>(
        [](auto handler, MultiConnectorRunner* self, Start begin) {
          auto executor = boost::asio::get_associated_executor(handler, self->executor());
          auto shared = std::make_shared<decltype(handler)>(std::move(handler));
          begin(*self, [shared, work = boost::asio::make_work_guard(executor)](Error error) {
            boost::asio::dispatch(work.get_executor(), [shared, error = std::move(error)]() mutable {
              std::move (*shared)(std::move(error));
            });
          });
        },
        token, this, std::move(start));
  }

  const std::shared_ptr<State> state_;
};

}  // namespace sharingbus::connector

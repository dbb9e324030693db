#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/associated_executor.hpp>
#include <boost/asio/async_result.hpp>
#include <boost/asio/execution/outstanding_work.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/prefer.hpp>

#include "bus/base/result.hpp"
#include "bus/base/timer.hpp"
#include "bus/sharing_bus.hpp"
#include "connector/lifecycle/lifecycle_config.hpp"
#include "connector/lifecycle/lifecycle_events.hpp"
#include "connector/lifecycle/registry.hpp"
#include "connector/lifecycle/service.hpp"
#include "transport/dialer.hpp"

namespace sharingbus::connector {

/// Makes the dialer of a service from its transport: where concrete transports come in. Called once for each service,
/// on the manager's strand; the manager owns what it makes.
using DialerFactory = std::function<Result<std::unique_ptr<transport::Dialer>>(const TransportConfig&)>;

/// Keeps services running: opens their transports, probes them with JSON-RPC `ping`s, reconnects what fails, and stops
/// them in order. What it does is on the bus (lifecycle_events.hpp). (Spec 5, Manager.)
///
/// A service whose transport names no command and no address is driven from outside: it is opened and probed by nobody,
/// and `handle_heartbeat` and `handle_error` tell the manager of it.
///
/// Every operation has two forms: with a completion token (`async_…`, completing on the token's executor, or the
/// manager's where it has none), and with a function that is called once on the manager's strand. Both complete after
/// the events of the operation were dispatched. Errors have the code of what went wrong and one of the texts `Service
/// 'X' not found`, `Connection failed: …`, `Reconnection failed after N attempts`, `Invalid state: …`, `Internal error:
/// …`. None can be cancelled; `stop_service` and `close` end what they wait for.
///
/// All functions: any thread. Executor, bus, timers and what the dialers need must outlive a completed `close`.
class LifecycleManager {
 public:
  using Done = std::function<void(Error)>;
  using StartDone = std::function<void(Error, std::string id)>;
  using IdsDone = std::function<void(Error, std::vector<std::string> ids)>;

  /// Throws `std::invalid_argument` when `config.validate()` fails. `factory` may be empty where every service is
  /// driven from outside.
  LifecycleManager(boost::asio::any_io_executor executor, SharingBus& bus, TimerService& timers,
                   LifecycleConfig config = {}, DialerFactory factory = {});
  /// Must have been closed, unless no service is there.
  ~LifecycleManager();
  LifecycleManager(const LifecycleManager&) = delete;
  LifecycleManager& operator=(const LifecycleManager&) = delete;

  /// Registers a service and starts it. Completes when it runs (its transport is open, its greeting answered), or
  /// with `Connection failed: …` when it could not be opened: it stays registered then, and reconnects where it may.
  /// Errors: `internal` (a second service of that name or id, no name), `invalid_state` (a dependency that is not
  /// there; stopped meanwhile), `closed`, and those of the transport.
  void start_service(ExtensionService service, ServicePolicy policy, StartDone done);
  template <class CompletionToken>
  auto async_start_service(ExtensionService service, ServicePolicy policy, CompletionToken&& token) {
    return initiate<Error, std::string>(
        std::forward<CompletionToken>(token),
        [self = this, service = std::move(service), policy = std::move(policy)](StartDone done) mutable {
          self->start_service(std::move(service), std::move(policy), std::move(done));
        });
  }

  /// Completes when the service is stopped and unregistered, its link closed and its transport gone. Wins over a
  /// reconnect. Errors: `not_found`.
  void stop_service(std::string id, Done done);
  template <class CompletionToken>
  auto async_stop_service(std::string id, CompletionToken&& token) {
    return initiate<Error>(std::forward<CompletionToken>(token), [self = this, id = std::move(id)](Done done) mutable {
      self->stop_service(std::move(id), std::move(done));
    });
  }

  /// The service lives. Errors: `internal` (unknown).
  void handle_heartbeat(std::string id, Done done);
  template <class CompletionToken>
  auto async_handle_heartbeat(std::string id, CompletionToken&& token) {
    return initiate<Error>(std::forward<CompletionToken>(token), [self = this, id = std::move(id)](Done done) mutable {
      self->handle_heartbeat(std::move(id), std::move(done));
    });
  }

  /// The service has failed. Completes when the reconnect has ended that this begins, or finds under way; at once where
  /// none is allowed. Errors: `not_found`, `reconnect_failed`, `invalid_state` (stopping, or stopped meanwhile).
  void handle_error(std::string id, std::string text, Done done);
  template <class CompletionToken>
  auto async_handle_error(std::string id, std::string text, CompletionToken&& token) {
    return initiate<Error>(std::forward<CompletionToken>(token),
                           [self = this, id = std::move(id), text = std::move(text)](Done done) mutable {
                             self->handle_error(std::move(id), std::move(text), std::move(done));
                           });
  }

  /// The service's own flag; a reconnect needs that of the config too. Off ends one that is under way at its next
  /// attempt. Errors: `not_found`.
  void set_auto_reconnect(std::string id, bool on, Done done);
  template <class CompletionToken>
  auto async_set_auto_reconnect(std::string id, bool on, CompletionToken&& token) {
    return initiate<Error>(std::forward<CompletionToken>(token),
                           [self = this, id = std::move(id), on](Done done) mutable {
                             self->set_auto_reconnect(std::move(id), on, std::move(done));
                           });
  }

  /// Stops every service that is there, one after another, in the reverse order of their starts.
  void stop_all(Done done);
  template <class CompletionToken>
  auto async_stop_all(CompletionToken&& token) {
    return initiate<Error>(std::forward<CompletionToken>(token),
                           [self = this](Done done) { self->stop_all(std::move(done)); });
  }

  /// Running services that were silent for longer than `ServiceRegistry::kSilenceMax`: they time out now.
  void health_check(IdsDone done);
  template <class CompletionToken>
  auto async_health_check(CompletionToken&& token) {
    return initiate<Error, std::vector<std::string>>(
        std::forward<CompletionToken>(token), [self = this](IdsDone done) { self->health_check(std::move(done)); });
  }

  /// Nothing for an unknown service.
  [[nodiscard]] std::optional<ServiceStatus> get_status(const std::string& id) const;
  /// It is there and runs.
  [[nodiscard]] bool is_healthy(const std::string& id) const;
  [[nodiscard]] std::size_t count() const;
  /// The services as they are: the one place where their status is kept.
  [[nodiscard]] const ServiceRegistry& registry() const;
  [[nodiscard]] const LifecycleConfig& config() const;
  [[nodiscard]] boost::asio::any_io_executor get_executor() const;

  /// Refuses what comes from now on, stops every service as `stop_all` does, cancels what is left after `drain`, and
  /// calls `done` on the executor when nothing is left: no service, link, dialer or timer, and every operation has
  /// completed. Idempotent: every `done` is called, and the earliest end of a drain counts.
  void close(Duration drain, std::function<void()> done);

 private:
  template <class... Results, class CompletionToken, class Start>
  auto initiate(CompletionToken&& token, Start start) {
    return boost::asio::async_initiate<CompletionToken, void(Results...)>(
        [](auto handler, boost::asio::any_io_executor fallback, Start begin) {
          using Completion = std::decay_t<decltype(handler)>;
          auto executor = boost::asio::prefer(boost::asio::get_associated_executor(handler, fallback),
                                              boost::asio::execution::outstanding_work.tracked);
          // Shared because std::function wants to be copyable; called once.
          auto shared = std::make_shared<Completion>(std::move(handler));
          begin([shared, executor](Results... results) {
            boost::asio::post(executor, [shared, all = std::make_tuple(std::move(results)...)]() mutable {
              Completion call_once = std::move(*shared);
              std::apply(std::move(call_once), std::move(all));
            });
          });
        },
        token, get_executor(), std::move(start));
  }

  class Core;
  const std::shared_ptr<Core> core_;
};

}  // namespace sharingbus::connector

#pragma once

#include <functional>
#include <memory>

#include <boost/asio/any_io_executor.hpp>

#include "bus/base/timer.hpp"
#include "bus/sharing_bus.hpp"
#include "connector/registration/options.hpp"
#include "transport/dialer.hpp"

namespace sharingbus::connector {

namespace internal {
struct SharedStrand;
}  // namespace internal

/// Keeps one connector registered with a gateway (spec 2): opens a stream, registers, answers heartbeats and requests,
/// and comes back with backoff when the stream goes. It is a bus subscriber: what its stream receives reaches it as
/// events of its `connector_uid` and origin `transport`, and what it does is on the bus as the events of
/// connector/registration/events.hpp.
///
/// One runner drives one registration once: `start`, `shutdown`, `ended`. `start` and `shutdown` may be called from any
/// thread, `shutdown` also after `ended`; all work happens on a strand of `executor` (or on a shared one), handlers on
/// strands of their own. The bus, the timers and the dialer must outlive `ended`.
class RegistrationRunner {
 public:
  /// `options` must validate. Throws what the connector's `connector_type` throws.
  RegistrationRunner(boost::asio::any_io_executor executor, SharingBus& bus, TimerService& timers,
                     transport::Dialer& dialer, Registration registration, const RunnerOptions& options);
  /// The same on a strand that it shares with other runners; `executor` is for handlers only.
  RegistrationRunner(const internal::SharedStrand& shared, boost::asio::any_io_executor executor, SharingBus& bus,
                     TimerService& timers, transport::Dialer& dialer, Registration registration,
                     const RunnerOptions& options);
  /// The runner must have ended, or never been started.
  ~RegistrationRunner();
  RegistrationRunner(const RegistrationRunner&) = delete;
  RegistrationRunner& operator=(const RegistrationRunner&) = delete;

  /// The uid that its events carry.
  [[nodiscard]] const Uuid& uid() const noexcept;
  /// Begins. `ended` is called once, on the runner's strand, where it must not block, when nothing of the registration
  /// is left: no stream, handler or timer. Success after a shutdown, else what ended it (only with reconnect off).
  void start(std::function<void(Error)> ended);
  /// Ends it: running requests get `RunnerOptions::drain`, then they are cancelled. Idempotent.
  void shutdown();

 private:
  class Driver;
  std::shared_ptr<Driver> driver_;
};

}  // namespace sharingbus::connector

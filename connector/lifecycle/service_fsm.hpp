#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "bus/base/result.hpp"
#include "bus/base/timer.hpp"
#include "connector/lifecycle/lifecycle_config.hpp"
#include "connector/lifecycle/lifecycle_events.hpp"
#include "connector/lifecycle/reconnect_policy.hpp"
#include "connector/lifecycle/service.hpp"

namespace sharingbus::connector {

/// Whether a service may go from one status to another; to stay where it is, it always may. Errors: `invalid_state`.
/// (Spec 5, Exact points.)
[[nodiscard]] Result<> check_transition(ServiceStatus from, ServiceStatus to);

/// The life of one service without I/O: what happens and the time go in, actions come out, in the order in which they
/// are to be carried out. Only legal transitions are made.
///
/// Owned by one driver, which starts it once and calls `tick` when `next_deadline` has come. `config` and `policy` must
/// outlive it. No thread safety.
class ServiceFsm {
 public:
  // What the driver has to do, besides publishing the events of lifecycle_events.hpp.
  /// Open the transport; then `link_ready` or `link_lost`.
  struct OpenLink {};
  struct SendProbe {};
  /// End the link in good order, or at once. `link_lost` follows, and until then no `OpenLink`.
  struct FinishLink {};
  struct CancelLink {
    Error why;
  };
  /// Let the transport go; then `released`.
  struct ReleaseTransport {};
  /// The start is over: success when the service runs.
  struct StartEnded {
    Error error;
  };
  /// A reconnect begins: those that depend on its outcome wait from now on.
  struct RecoveryBegan {};
  /// What `fail` has begun is over: success when the service runs again, or was never to be reconnected.
  struct RecoveryEnded {
    Error error;
  };
  /// Signs of life reset the count of attempts, attempts raise it.
  struct RetryCount {
    std::uint32_t count = 0;
  };

  using Action =
      std::variant<ServiceStarted, ServiceStatusChanged, ServiceHeartbeat, ServiceHeartbeatTimeout, ServiceError,
                   ServiceReconnecting, ServiceReconnected, ServiceReconnectFailed, ServiceStopped, OpenLink, SendProbe,
                   FinishLink, CancelLink, ReleaseTransport, StartEnded, RecoveryBegan, RecoveryEnded, RetryCount>;
  using Actions = std::vector<Action>;

  ServiceFsm(const ExtensionService& service, const LifecycleConfig& config, const ReconnectPolicy& policy);

  [[nodiscard]] ServiceStatus status() const noexcept { return status_; }
  [[nodiscard]] bool reconnect_allowed() const noexcept { return config_.auto_reconnect && auto_reconnect_; }
  /// A reconnect is under way, waits included.
  [[nodiscard]] bool recovering() const noexcept { return recovering_; }
  /// Waits for other services, at its start or to come back.
  [[nodiscard]] bool blocked() const noexcept { return phase_ == Phase::blocked; }
  /// Running, and may be taken down to come back after others.
  [[nodiscard]] bool may_hold() const noexcept {
    return phase_ == Phase::running && !from_outside_ && reconnect_allowed();
  }
  /// When to call `tick`; nothing while there is nothing to wait for.
  [[nodiscard]] std::optional<TimePoint> next_deadline() const;

  /// Begins the life. `blocked`: the transport is opened only after `unblock`.
  void start(TimePoint now, bool blocked, Actions& out);
  /// The link is open and the service has been greeted.
  void link_ready(TimePoint now, Actions& out);
  /// The link is gone, or never came to be. Success: the peer ended it in good order.
  void link_lost(const Error& why, TimePoint now, Actions& out);
  /// The service has answered a probe.
  void probe_answered(TimePoint now, Actions& out);
  /// Somebody else says that it lives.
  void heartbeat(TimePoint now, Actions& out);
  /// Somebody says that it failed. Success: a `RecoveryEnded` will follow or is among the actions. Errors:
  /// `invalid_state` while it stops; the `ServiceError` is published nevertheless.
  [[nodiscard]] Error fail(const std::string& text, TimePoint now, Actions& out);
  /// It has been silent for too long by somebody else's measure. Nothing unless it runs.
  void time_out(TimePoint now, Actions& out);
  /// Ends the life; `ServiceStopped` is the last action. Wins over everything under way. Idempotent.
  void stop(TimePoint now, Actions& out);
  /// A stop that is under way ends at once.
  void hurry(TimePoint now, Actions& out);
  /// The transport is gone.
  void released(Actions& out);
  /// Takes a service that `may_hold` down until `unblock`.
  void hold(TimePoint now, Actions& out);
  void unblock(TimePoint now, Actions& out);
  /// What it waits for will not come.
  void give_up(const std::string& why, Actions& out);
  /// Off ends a reconnect at its next attempt.
  void set_auto_reconnect(bool on) noexcept { auto_reconnect_ = on; }
  void tick(TimePoint now, Actions& out);

 private:
  enum class Phase : std::uint8_t {
    idle,     // not started
    blocked,  // starting, or reconnecting after being held: waits for others
    opening,  // starting
    running,
    failed,       // error, and nothing under way
    backing_off,  // reconnecting: waits for the time of the attempt, and for the old link to go
    attempting,   // reconnecting: waits for the link, then for answers
    stopping,
    releasing,  // stopping: waits for the transport to go
    stopped,
  };

  void transition(ServiceStatus to, Actions& out);
  void open(TimePoint now, Actions& out);
  void enter_running(TimePoint now, Actions& out);
  void alive(TimePoint now);
  void cancel_link(const Error& why, Actions& out);
  void finish_link(TimePoint now, Actions& out);
  void start_failed(const Error& why, TimePoint now, Actions& out);
  void recover(const std::string& reason, TimePoint now, Actions& out);
  void next_attempt(TimePoint now, Actions& out);
  void attempt(TimePoint now, Actions& out);
  void recovered(TimePoint now, Actions& out);
  void end_recovery(ServiceStatus status, const Error& error, Actions& out);
  void give_up_attempts(std::uint32_t reported, Actions& out);
  void release(Actions& out);
  void check_silence(TimePoint now, Actions& out);
  [[nodiscard]] TimePoint first_check_after(TimePoint at) const;
  [[nodiscard]] Duration check_interval() const;

  const LifecycleConfig& config_;
  const ReconnectPolicy& policy_;
  const std::string id_;
  const Duration timeout_;
  const bool from_outside_;
  bool auto_reconnect_;

  Phase phase_ = Phase::idle;
  ServiceStatus status_ = ServiceStatus::starting;
  bool recovering_ = false;
  /// From `OpenLink` to `link_lost`.
  bool has_link_ = false;
  bool link_ready_ = false;
  bool cancelled_ = false;
  std::uint32_t attempts_ = 0;
  std::uint32_t good_ = 0;
  std::uint32_t bad_ = 0;
  std::string last_failure_;
  RestartIntensity restarts_;
  TimePoint began_{};
  TimePoint last_alive_{};
  TimePoint next_probe_{};
  TimePoint next_check_{};
  /// Of the phase: opening, backing_off, attempting.
  TimePoint deadline_{};
  /// Of a `FinishLink`.
  std::optional<TimePoint> finish_by_;
};

}  // namespace sharingbus::connector

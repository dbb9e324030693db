#include "connector/lifecycle/service_fsm.hpp"

#include <algorithm>
#include <array>
#include <utility>

#include "bus/base/bounded.hpp"

namespace sharingbus::connector {
namespace {

using enum ServiceStatus;

/// By the status that a service has: those that it may go to.
constexpr std::array<std::array<bool, kServiceStatuses.size()>, kServiceStatuses.size()> kLegal{{
    // starting, running, stopping, stopped, error, reconnecting
    {false, true, true, false, true, false},     // starting
    {false, false, true, false, true, true},     // running
    {false, false, false, true, false, false},   // stopping
    {false, false, false, false, false, false},  // stopped
    {false, true, true, false, false, true},     // error
    {false, true, true, false, true, false},     // reconnecting
}};

TimePoint after(TimePoint now, Duration wait) {
  return now + bounded(wait);
}

/// The first of `due`, `due` + interval, … that lies ahead: what was missed is not made up for.
TimePoint next_in(TimePoint due, Duration interval, TimePoint now) {
  interval = bounded(interval);
  return due + interval * ((now - due) / interval + 1);
}

Error connection_failed(const Error& why) {
  Error error = why ? why : Error(errc::stream_closed, "the service closed the connection");
  error.message = "Connection failed: " + to_string(error);
  return error;
}

std::string in_seconds(Duration duration) {
  const auto ms = std::chrono::duration_cast<std::chrono::milliseconds>(duration).count();
  return ms % 1000 == 0 ? std::to_string(ms / 1000) + " s" : std::to_string(ms) + " ms";
}

}  // namespace

Result<> check_transition(ServiceStatus from, ServiceStatus to) {
  if (from == to || kLegal[static_cast<std::size_t>(from)][static_cast<std::size_t>(to)]) return {};
  return Error(errc::invalid_state,
               "Invalid state: " + std::string(to_string(from)) + " does not go to " + std::string(to_string(to)));
}

ServiceFsm::ServiceFsm(const ExtensionService& service, const LifecycleConfig& config, const ReconnectPolicy& policy)
    : config_(config),
      policy_(policy),
      id_(service.id),
      timeout_(std::max(service.transport.timeout, Duration(1))),
      from_outside_(service.transport.driven_from_outside()),
      auto_reconnect_(service.transport.auto_reconnect),
      restarts_(config.supervision.max_restarts, config.supervision.window) {}

std::optional<TimePoint> ServiceFsm::next_deadline() const {
  std::optional<TimePoint> next = finish_by_;
  const auto consider = [&](TimePoint at) { next = next ? std::min(*next, at) : at; };
  switch (phase_) {
    case Phase::running:
      consider(next_check_);
      if (link_ready_) consider(next_probe_);
      break;
    case Phase::opening:
      if (!cancelled_) consider(deadline_);
      break;
    case Phase::attempting:
      if (!cancelled_) consider(deadline_);
      if (link_ready_ && !cancelled_ && good_ != 0) consider(next_probe_);
      break;
    case Phase::backing_off:
      // When it is over and the old link is not gone, that is what is waited for.
      if (deadline_ != TimePoint::max()) consider(deadline_);
      break;
    default:
      break;
  }
  return next;
}

// The start.

void ServiceFsm::start(TimePoint now, bool blocked, Actions& out) {
  if (phase_ != Phase::idle) return;
  began_ = now;
  out.emplace_back(ServiceStarted{id_});
  if (blocked) {
    phase_ = Phase::blocked;
  } else {
    open(now, out);
  }
}

void ServiceFsm::open(TimePoint now, Actions& out) {
  if (from_outside_) {
    enter_running(now, out);
    out.emplace_back(StartEnded{});
    return;
  }
  phase_ = Phase::opening;
  deadline_ = after(now, timeout_);
  has_link_ = true;
  cancelled_ = false;
  out.emplace_back(OpenLink{});
}

void ServiceFsm::enter_running(TimePoint now, Actions& out) {
  phase_ = Phase::running;
  next_probe_ = after(now, config_.heartbeat_interval);
  alive(now);
  transition(running, out);
}

void ServiceFsm::start_failed(const Error& why, TimePoint now, Actions& out) {
  const Error error = connection_failed(why);
  out.emplace_back(ServiceError{id_, error.message});
  transition(ServiceStatus::error, out);
  out.emplace_back(StartEnded{error});
  recover(error.message, now, out);
}

// The link.

void ServiceFsm::link_ready(TimePoint now, Actions& out) {
  if (!has_link_ || link_ready_ || cancelled_) return;
  if (phase_ == Phase::opening) {
    link_ready_ = true;
    enter_running(now, out);
    out.emplace_back(SendProbe{});
    out.emplace_back(StartEnded{});
  } else if (phase_ == Phase::attempting) {
    link_ready_ = true;
    deadline_ = after(now, timeout_);
    out.emplace_back(SendProbe{});
  }
}

void ServiceFsm::link_lost(const Error& why, TimePoint now, Actions& out) {
  if (!has_link_) return;
  has_link_ = false;
  link_ready_ = false;
  cancelled_ = false;
  finish_by_.reset();
  switch (phase_) {
    case Phase::opening:
      return start_failed(why, now, out);
    case Phase::running: {
      const std::string text = why ? to_string(why) : "the service ended the connection";
      out.emplace_back(ServiceError{id_, text});
      transition(ServiceStatus::error, out);
      return recover(text, now, out);
    }
    case Phase::attempting:
      last_failure_ = connection_failed(why).message;
      return next_attempt(now, out);
    case Phase::backing_off:
      if (deadline_ == TimePoint::max()) attempt(now, out);
      return;
    case Phase::stopping:
      return release(out);
    default:
      return;
  }
}

void ServiceFsm::cancel_link(const Error& why, Actions& out) {
  if (!has_link_ || cancelled_) return;
  cancelled_ = true;
  link_ready_ = false;
  finish_by_.reset();
  out.emplace_back(CancelLink{why});
}

// Signs of life.

void ServiceFsm::alive(TimePoint now) {
  last_alive_ = now;
  bad_ = 0;
  next_check_ = first_check_after(after(now, config_.heartbeat_timeout));
}

void ServiceFsm::probe_answered(TimePoint now, Actions& out) {
  if (phase_ == Phase::running) return heartbeat(now, out);
  if (phase_ != Phase::attempting || cancelled_) return;
  out.emplace_back(ServiceHeartbeat{id_});
  if (++good_ >= config_.healthy_after) return recovered(now, out);
  next_probe_ = after(now, config_.heartbeat_interval);
  deadline_ = after(next_probe_, timeout_);
}

void ServiceFsm::heartbeat(TimePoint now, Actions& out) {
  if (phase_ == Phase::idle || phase_ == Phase::stopped) return;
  out.emplace_back(ServiceHeartbeat{id_});
  alive(now);
  if (from_outside_ && phase_ == Phase::backing_off) {
    if (++good_ >= config_.healthy_after) recovered(now, out);
    return;
  }
  if (phase_ == Phase::attempting || attempts_ == 0) return;
  attempts_ = 0;
  out.emplace_back(RetryCount{0});
}

Duration ServiceFsm::check_interval() const {
  return std::max(config_.heartbeat_timeout / 3, Duration(1));
}

TimePoint ServiceFsm::first_check_after(TimePoint at) const {
  const Duration interval = check_interval();
  return began_ + interval * ((at - began_) / interval + 1);
}

void ServiceFsm::check_silence(TimePoint now, Actions& out) {
  if (next_check_ > now) return;
  const auto failed = (now - next_check_) / check_interval() + 1;
  bad_ = static_cast<std::uint32_t>(std::min<std::int64_t>(bad_ + failed, config_.failed_after));
  if (bad_ >= config_.failed_after) return time_out(now, out);
  next_check_ += failed * check_interval();
}

void ServiceFsm::time_out(TimePoint now, Actions& out) {
  if (phase_ != Phase::running) return;
  const Duration silent = now - last_alive_;
  out.emplace_back(ServiceHeartbeatTimeout{id_, silent});
  transition(reconnecting, out);
  recover("no sign of life for " + in_seconds(silent), now, out);
}

// Reconnecting.

Error ServiceFsm::fail(const std::string& text, TimePoint now, Actions& out) {
  out.emplace_back(ServiceError{id_, text});
  switch (phase_) {
    case Phase::stopping:
    case Phase::releasing:
    case Phase::stopped:
    case Phase::idle:
      return {errc::invalid_state, "Invalid state: service is " + std::string(to_string(status_))};
    case Phase::backing_off:
    case Phase::attempting:
      return {};
    case Phase::blocked:
      if (status_ == reconnecting) return {};
      [[fallthrough]];
    case Phase::opening:
      transition(ServiceStatus::error, out);
      out.emplace_back(StartEnded{connection_failed(Error(errc::stream_failed, text))});
      break;
    case Phase::running:
    case Phase::failed:
      transition(ServiceStatus::error, out);
      break;
  }
  recover(text, now, out);
  return {};
}

void ServiceFsm::recover(const std::string& reason, TimePoint now, Actions& out) {
  last_failure_ = reason;
  if (!reconnect_allowed()) return end_recovery(ServiceStatus::error, {}, out);
  cancel_link(Error(errc::cancelled, reason), out);
  const SupervisionOptions& supervision = config_.supervision;
  if (supervision.strategy != SupervisionStrategy::none && !restarts_.allow(now)) {
    last_failure_ = "more than " + std::to_string(supervision.max_restarts) + " restarts within " +
                    in_seconds(supervision.window) + ": " + reason;
    return give_up_attempts(supervision.max_restarts, out);
  }
  recovering_ = true;
  attempts_ = 0;
  out.emplace_back(RecoveryBegan{});
  next_attempt(now, out);
}

void ServiceFsm::next_attempt(TimePoint now, Actions& out) {
  if (!reconnect_allowed()) {
    return end_recovery(ServiceStatus::error,
                        Error(errc::invalid_state, "Invalid state: auto reconnect was switched off"), out);
  }
  if (attempts_ >= policy_.max_attempts()) return give_up_attempts(attempts_, out);
  const Duration wait = policy_.delay(attempts_);
  ++attempts_;
  good_ = 0;
  phase_ = Phase::backing_off;
  deadline_ = after(now, wait);
  out.emplace_back(RetryCount{attempts_});
  out.emplace_back(ServiceReconnecting{id_, attempts_, policy_.max_attempts(), wait, last_failure_});
  transition(reconnecting, out);
}

void ServiceFsm::attempt(TimePoint now, Actions& out) {
  if (!reconnect_allowed()) return next_attempt(now, out);
  if (from_outside_) {
    last_failure_ = "no heartbeat within the wait";
    return next_attempt(now, out);
  }
  if (has_link_) {
    deadline_ = TimePoint::max();
    return;
  }
  phase_ = Phase::attempting;
  deadline_ = after(now, timeout_);
  has_link_ = true;
  cancelled_ = false;
  out.emplace_back(OpenLink{});
}

void ServiceFsm::recovered(TimePoint now, Actions& out) {
  attempts_ = 0;
  recovering_ = false;
  out.emplace_back(RetryCount{0});
  out.emplace_back(ServiceReconnected{id_});
  enter_running(now, out);
  out.emplace_back(RecoveryEnded{});
}

void ServiceFsm::end_recovery(ServiceStatus status, const Error& error, Actions& out) {
  recovering_ = false;
  phase_ = Phase::failed;
  transition(status, out);
  out.emplace_back(RecoveryEnded{error});
}

void ServiceFsm::give_up_attempts(std::uint32_t reported, Actions& out) {
  out.emplace_back(ServiceReconnectFailed{id_, attempts_, last_failure_});
  end_recovery(ServiceStatus::error,
               Error(errc::reconnect_failed, "Reconnection failed after " + std::to_string(reported) + " attempts"),
               out);
}

// Waiting for others.

void ServiceFsm::hold(TimePoint now, Actions& out) {
  if (!may_hold()) return;
  phase_ = Phase::blocked;
  recovering_ = true;
  attempts_ = 0;
  last_failure_ = "a service before it failed";
  transition(reconnecting, out);
  finish_link(now, out);
}

void ServiceFsm::unblock(TimePoint now, Actions& out) {
  if (phase_ != Phase::blocked) return;
  if (status_ == starting) return open(now, out);
  next_attempt(now, out);
}

void ServiceFsm::give_up(const std::string& why, Actions& out) {
  if (phase_ != Phase::blocked) return;
  if (status_ == starting) {
    const Error error = connection_failed(Error(errc::stream_failed, why));
    phase_ = Phase::failed;
    out.emplace_back(ServiceError{id_, error.message});
    out.emplace_back(ServiceReconnectFailed{id_, 0, why});
    transition(ServiceStatus::error, out);
    out.emplace_back(StartEnded{error});
    return;
  }
  last_failure_ = why;
  give_up_attempts(attempts_, out);
}

// The end.

void ServiceFsm::stop(TimePoint now, Actions& out) {
  if (phase_ == Phase::stopping || phase_ == Phase::releasing || phase_ == Phase::stopped) return;
  const Error stopped_by(errc::invalid_state, "Invalid state: the service was stopped");
  const bool was_starting = status_ == starting && phase_ != Phase::idle;
  const bool in_order = phase_ == Phase::running || phase_ == Phase::failed || phase_ == Phase::blocked;
  phase_ = Phase::stopping;
  transition(stopping, out);
  if (was_starting) out.emplace_back(StartEnded{stopped_by});
  if (std::exchange(recovering_, false)) out.emplace_back(RecoveryEnded{stopped_by});
  if (!has_link_) return release(out);
  if (!in_order) return cancel_link(stopped_by, out);
  finish_link(now, out);
}

void ServiceFsm::finish_link(TimePoint now, Actions& out) {
  link_ready_ = false;
  if (!has_link_ || cancelled_ || finish_by_) return;
  finish_by_ = after(now, config_.stop_timeout);
  out.emplace_back(FinishLink{});
}

void ServiceFsm::hurry(TimePoint, Actions& out) {
  if (phase_ == Phase::stopping) cancel_link(Error(errc::cancelled, "the service was stopped"), out);
}

void ServiceFsm::release(Actions& out) {
  phase_ = Phase::releasing;
  out.emplace_back(ReleaseTransport{});
}

void ServiceFsm::released(Actions& out) {
  if (phase_ != Phase::releasing) return;
  phase_ = Phase::stopped;
  transition(stopped, out);
  out.emplace_back(ServiceStopped{id_});
}

// Time.

void ServiceFsm::tick(TimePoint now, Actions& out) {
  if (finish_by_ && *finish_by_ <= now) cancel_link(Error(errc::timed_out, "it did not end in time"), out);
  switch (phase_) {
    case Phase::running:
      check_silence(now, out);
      if (phase_ != Phase::running || !link_ready_ || next_probe_ > now) return;
      next_probe_ = next_in(next_probe_, config_.heartbeat_interval, now);
      out.emplace_back(SendProbe{});
      return;
    case Phase::opening:
      if (deadline_ > now || cancelled_) return;
      return cancel_link(Error(errc::connect_timeout, "not up within " + in_seconds(timeout_)), out);
    case Phase::attempting:
      if (cancelled_) return;
      if (deadline_ <= now) {
        return cancel_link(Error(errc::timed_out, "no answer within " + in_seconds(timeout_)), out);
      }
      if (!link_ready_ || good_ == 0 || next_probe_ > now) return;
      next_probe_ = TimePoint::max();
      out.emplace_back(SendProbe{});
      return;
    case Phase::backing_off:
      if (deadline_ <= now) attempt(now, out);
      return;
    default:
      return;
  }
}

void ServiceFsm::transition(ServiceStatus to, Actions& out) {
  if (to == status_ || !check_transition(status_, to)) return;
  out.emplace_back(ServiceStatusChanged{id_, std::exchange(status_, to), to});
}

}  // namespace sharingbus::connector

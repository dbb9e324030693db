#include "connector/registration/registration_fsm.hpp"

#include <algorithm>
#include <utility>

namespace sharingbus::connector {
namespace {

namespace messages = transport::messages;

/// How long a peer may take to finish its side before the stream is cancelled.
constexpr Duration kFinishTimeout = std::chrono::seconds(1);

/// The statuses of §4.8 that speak of our tokens or our message; all others are transient.
bool counts_as_rejection(const Error& error) {
  return error.is(errc::unauthenticated) || error.is(errc::invalid_argument) || error.is(errc::malformed_frame);
}

}  // namespace

RegistrationFsm::RegistrationFsm(std::string address, RegistrationTimes times, Backoff backoff)
    : address_(std::move(address)), times_(times), backoff_(std::move(backoff)) {}

void RegistrationFsm::start(TimePoint, Actions& actions) {
  if (state_ != State::idle) return;
  if (shutdown_) return end({}, actions);
  open(actions);
}

void RegistrationFsm::open(Actions& actions) {
  state_ = State::opening;
  registered_ = false;
  paused_ = false;
  outcome_.reset();
  failure_ = {};
  actions.push_back(RegistrationAttempt{address_});
  actions.push_back(OpenStream{drive_.session_token});
}

void RegistrationFsm::stream_opened(TimePoint now, Actions&) {
  if (state_ != State::opening) return;
  state_ = State::registering;
  deadline_ = now + times_.register_timeout;
}

void RegistrationFsm::message(const messages::ConnectorMessage& message, TimePoint now, std::int64_t unix_ms,
                              Actions& actions) {
  if (state_ == State::opening || state_ == State::registering) {
    // Other messages that come before the answer are skipped.
    if (const auto* response = std::get_if<messages::RegisterResponse>(&message)) {
      register_answered(*response, now, unix_ms, actions);
    }
    return;
  }
  if (state_ != State::driving && state_ != State::draining) return;
  ReactionSink sink;
  sink.send = [&](messages::ConnectorMessage reply) { actions.push_back(Send{std::move(reply)}); };
  sink.execute = [&](messages::ExecuteRequest request) { actions.push_back(Execute{std::move(request)}); };
  sink.notice = [&](bool warn, std::string text) {
    actions.push_back(RegistrationNotice{address_, std::move(text), warn});
  };
  const auto outcome = react(message, drive_, sink, now, unix_ms);
  if (const auto* response = std::get_if<messages::RegisterResponse>(&message)) {
    if (!response->success) {
      count_rejection();
    } else {
      rejections_ = 0;
      actions.push_back(RegistrationRenewed{address_, response->connector_arn, unix_ms});
    }
  }
  if (outcome && state_ == State::driving) {
    end_stream(*outcome, Error(errc::rejected, "ended by the connector after a rejection"), now, actions);
  }
}

void RegistrationFsm::register_answered(const messages::RegisterResponse& response, TimePoint now,
                                        std::int64_t unix_ms, Actions& actions) {
  if (!response.success) {
    count_rejection();
    failure_ = Error(errc::rejected, "register failed: status='" + std::to_string(static_cast<int>(response.status)) +
                                         "' error='" + response.error + "'");
    state_ = State::closing;
    deadline_ = now + kFinishTimeout;
    actions.push_back(CancelStream{failure_});
    return;
  }
  rejections_ = 0;
  registered_ = true;
  if (!response.session_token.empty()) drive_.session_token = response.session_token;
  drive_.last_connected_unix_ms = unix_ms;
  drive_.last_heartbeat_response = now;
  drive_.heartbeat_answered = false;
  registered_at_ = now;
  next_heartbeat_ = now + times_.heartbeat_interval;
  state_ = State::driving;
  actions.push_back(Registered{address_, response.connector_arn, std::exchange(registered_before_, true), unix_ms});
}

void RegistrationFsm::count_rejection() {
  // The first rejection keeps the tokens, the second in a row drops the session token. (protocol-connector §4.8.)
  if (++rejections_ < 2) return;
  rejections_ = 0;
  drive_.session_token.clear();
}

void RegistrationFsm::end_stream(StreamOutcome outcome, Error why, TimePoint now, Actions& actions) {
  outcome_ = outcome;
  state_ = State::closing;
  deadline_ = now + kFinishTimeout;
  actions.push_back(CancelExecutes{});
  actions.push_back(CancelStream{std::move(why)});
}

void RegistrationFsm::send_failed(TimePoint now, Actions& actions) {
  if (state_ != State::driving) return;
  end_stream(StreamOutcome::outbound_closed, Error(errc::stream_failed, "the stream takes no more messages"), now,
             actions);
}

void RegistrationFsm::stream_closed(const Error& error, TimePoint now, std::int64_t unix_ms, Actions& actions) {
  if (state_ == State::idle || state_ == State::backing_off || state_ == State::ended) return;
  if (registered_) {
    const bool good_order = !error || error.is(errc::stream_closed);
    const StreamOutcome by_peer = good_order ? StreamOutcome::server_closed : StreamOutcome::stream_error;
    const StreamOutcome outcome = outcome_.value_or(by_peer);
    actions.push_back(CancelExecutes{});
    actions.push_back(Disconnected{address_, std::string(to_string(outcome)), error, unix_ms});
    if (now - registered_at_ >= times_.minimum_stream_life || drive_.heartbeat_answered) {
      attempt_ = 0;
      backoff_.reset();
    }
    in_flight_ = 0;
    if (shutdown_) return end({}, actions);
    return next_attempt(now, actions, Error(errc::stream_failed, std::string(to_string(outcome))));
  }
  Error why = failure_ ? failure_ : error;
  if (!failure_ && (!error || error.is(errc::stream_closed))) {
    why = Error(errc::stream_closed, "stream closed before register response");
  } else if (!failure_ && state_ == State::registering && counts_as_rejection(error)) {
    count_rejection();
  }
  if (shutdown_) return end({}, actions);
  actions.push_back(RegistrationFailed{address_, why});
  next_attempt(now, actions, why);
}

void RegistrationFsm::next_attempt(TimePoint now, Actions& actions, const Error& why) {
  if (!times_.reconnect) return end(why, actions);
  ++attempt_;
  const std::uint64_t delay_ms = backoff_.delay_ms(attempt_);
  // Far beyond any real cap, but keeps the sum below from overflowing.
  constexpr std::uint64_t kLongestMs = 365ULL * 24 * 3600 * 1000;
  const auto delay = std::chrono::milliseconds(std::min(delay_ms, kLongestMs));
  state_ = State::backing_off;
  deadline_ = now + delay;
  actions.push_back(BackingOff{address_, attempt_, delay});
}

void RegistrationFsm::in_flight_changed(std::size_t count, TimePoint now, Actions& actions) {
  in_flight_ = count;
  if (state_ == State::draining && count == 0) begin_finish(now, actions);
}

void RegistrationFsm::reading_paused(bool paused, TimePoint now) {
  if (paused_ && !paused) drive_.last_heartbeat_response = now;
  paused_ = paused;
}

void RegistrationFsm::begin_finish(TimePoint now, Actions& actions) {
  state_ = State::closing;
  deadline_ = now + kFinishTimeout;
  actions.push_back(FinishStream{});
}

void RegistrationFsm::shutdown(TimePoint now, Actions& actions) {
  if (std::exchange(shutdown_, true)) return;
  switch (state_) {
    case State::idle:
    case State::draining:
    case State::ended: return;
    case State::backing_off: return end({}, actions);
    case State::opening:
    case State::registering:
      state_ = State::closing;
      deadline_ = now + kFinishTimeout;
      actions.push_back(CancelStream{Error(errc::cancelled, "shutdown")});
      return;
    case State::closing: return;
    case State::driving: break;
  }
  outcome_ = StreamOutcome::shutdown;
  actions.push_back(DrainExecutes{});
  if (in_flight_ == 0) return begin_finish(now, actions);
  state_ = State::draining;
  deadline_ = now + times_.drain;
}

void RegistrationFsm::tick(TimePoint now, std::int64_t unix_ms, Actions& actions) {
  switch (state_) {
    case State::registering:
      if (now < deadline_) return;
      failure_ = Error(errc::timed_out, "register response not received within deadline");
      state_ = State::closing;
      deadline_ = now + kFinishTimeout;
      actions.push_back(CancelStream{failure_});
      return;
    case State::backing_off:
      if (now >= deadline_) open(actions);
      return;
    case State::draining:
      if (now >= deadline_) {
        actions.push_back(CancelExecutes{true});
        begin_finish(now, actions);
        return;
      }
      break;
    case State::closing:
      if (now >= deadline_) {
        deadline_ = TimePoint::max();
        actions.push_back(CancelStream{Error(errc::cancelled, "the peer did not finish the stream")});
      }
      return;
    case State::driving: break;
    default: return;
  }
  if (state_ == State::driving && !paused_ && now - drive_.last_heartbeat_response > times_.heartbeat_timeout) {
    return end_stream(StreamOutcome::heartbeat_timeout, Error(errc::timed_out, "no heartbeat response in time"), now,
                      actions);
  }
  if (now >= next_heartbeat_) {
    // Missed ticks collapse into one.
    const auto missed = (now - next_heartbeat_) / times_.heartbeat_interval;
    next_heartbeat_ += times_.heartbeat_interval * (missed + 1);
    messages::HeartbeatRequest heartbeat;
    heartbeat.timestamp_ms = unix_ms;
    actions.push_back(Send{std::move(heartbeat)});
  }
}

std::optional<TimePoint> RegistrationFsm::next_deadline() const {
  switch (state_) {
    case State::registering:
    case State::backing_off:
    case State::closing:
      return deadline_ == TimePoint::max() ? std::nullopt : std::optional(deadline_);
    case State::draining: return std::min(deadline_, next_heartbeat_);
    case State::driving:
      if (paused_) return next_heartbeat_;
      // The watchdog fires after *more* than the timeout.
      return std::min(next_heartbeat_, drive_.last_heartbeat_response + times_.heartbeat_timeout + Duration(1));
    default: return std::nullopt;
  }
}

void RegistrationFsm::end(Error error, Actions& actions) {
  state_ = State::ended;
  actions.push_back(End{std::move(error)});
}

}  // namespace sharingbus::connector

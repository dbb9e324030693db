#include "connector/registration/registration_fsm.hpp"

#include <algorithm>
#include <utility>

#include "connector/internal/heartbeat_rounds.hpp"

namespace sharingbus::connector {
namespace {

namespace messages = transport::messages;

/// How long a peer may take to finish its side before the stream is cancelled.
constexpr Duration kFinishTimeout = std::chrono::seconds(1);
/// The same when nothing is lost by it: a shutdown with nothing in flight takes no longer than 10 ms.
constexpr Duration kQuietFinishTimeout = std::chrono::milliseconds(5);

/// A heartbeat is early by no more than this part of the interval.
constexpr int kSlackPart = 20;

/// The statuses of §4.8 that speak of our tokens or our message; all others are transient.
bool counts_as_rejection(const Error& error) {
  return error.is(errc::unauthenticated) || error.is(errc::invalid_argument) || error.is(errc::malformed_frame);
}

}  // namespace

RegistrationFsm::RegistrationFsm(std::string address, RegistrationTimes times, Backoff backoff,
                                 internal::HeartbeatRounds* rounds)
    : address_(std::move(address)), times_(times), rounds_(rounds), backoff_(std::move(backoff)) {}

void RegistrationFsm::start(TimePoint, Actions& actions) {
  if (state_ != State::idle) return;
  if (shutdown_) return end({}, actions);
  open(actions);
}

RegistrationFsm RegistrationFsm::replacement(TimePoint now, Actions& actions) {
  superseded_ = true;
  RegistrationFsm next(address_, times_, backoff_, rounds_);
  next.drive_.session_token = drive_.session_token;
  next.registered_before_ = registered_before_;
  // Not by the answered heartbeat: the wish to be replaced is one, and would reset it for ever.
  const bool lived = now - registered_at_ >= times_.minimum_stream_life;
  next.attempt_ = lived ? 0 : attempt_;
  if (lived) next.backoff_.reset();
  next.next_attempt(now, actions, Error(errc::stream_closed, "the gateway asked to reconnect"));
  return next;
}

void RegistrationFsm::open(Actions& actions) {
  state_ = State::opening;
  registered_ = false;
  paused_ = false;
  heartbeat_sent_ = false;
  going_away_ = false;
  replace_wanted_ = false;
  drive_.reconnect_wanted = false;
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

void RegistrationFsm::stream_going_away(Actions& actions) {
  if (state_ != State::opening && state_ != State::registering && state_ != State::driving) return;
  going_away_ = true;
  drive_.reconnect_wanted = true;
  replace_if_wanted(actions);
}

void RegistrationFsm::replace_if_wanted(Actions& actions) {
  if (!drive_.reconnect_wanted || state_ != State::driving || std::exchange(replace_wanted_, true)) return;
  const bool can = times_.reconnect && !superseded_;
  const std::string why = going_away_ ? "the gateway's connection is going away" : "the gateway asked to reconnect";
  actions.push_back(RegistrationNotice{
      address_, why + (can ? ": opening a replacement" : ", but this stream is not to be replaced: it stays"), !can});
  if (can) actions.push_back(ReplaceStream{});
}

void RegistrationFsm::message(messages::ConnectorMessage message, TimePoint now, std::int64_t unix_ms,
                              Actions& actions) {
  if (state_ == State::opening || state_ == State::registering) {
    // Other messages that come before the answer are skipped.
    if (const auto* response = std::get_if<messages::RegisterResponse>(&message)) {
      register_answered(*response, now, unix_ms, actions);
    }
    return;
  }
  if (state_ != State::driving && state_ != State::retiring && state_ != State::draining) return;
  ReactionSink sink;
  sink.send = [&](messages::ConnectorMessage reply) { actions.push_back(Send{std::move(reply)}); };
  sink.execute = [&](messages::ExecuteRequest request) { actions.push_back(Execute{std::move(request)}); };
  sink.notice = [&](bool warn, std::string text) {
    actions.push_back(RegistrationNotice{address_, std::move(text), warn});
  };
  // Requests are handed on without a copy, and of their kind nothing more is asked below.
  const bool request = std::holds_alternative<messages::ExecuteRequest>(message);
  const auto outcome =
      request ? react(std::move(message), drive_, sink, now, unix_ms) : react(message, drive_, sink, now, unix_ms);
  if (const auto* response = std::get_if<messages::RegisterResponse>(&message)) {
    if (!response->success) {
      count_rejection();
    } else {
      rejections_ = 0;
      actions.push_back(RegistrationRenewed{address_, response->connector_arn, unix_ms});
    }
  }
  // One that answers nothing shows no life, and must not reset the backoff.
  if (!heartbeat_sent_) drive_.heartbeat_answered = false;
  if (outcome && state_ == State::driving) {
    return end_stream(*outcome, Error(errc::rejected, "ended by the connector after a rejection"), now, actions);
  }
  replace_if_wanted(actions);
  if (const auto* echo = std::get_if<messages::HeartbeatResponse>(&message); echo && state_ == State::retiring) {
    barrier_passed_ = barrier_passed_ || echo->timestamp_ms == barrier_ms_;
    finish_if_retired(now, actions);
  }
}

void RegistrationFsm::register_answered(const messages::RegisterResponse& response, TimePoint now, std::int64_t unix_ms,
                                        Actions& actions) {
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
  // Told before it was registered.
  replace_if_wanted(actions);
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
  if (state_ != State::driving && state_ != State::retiring) return;
  end_stream(StreamOutcome::outbound_closed, Error(errc::stream_failed, "the stream takes no more messages"), now,
             actions);
}

void RegistrationFsm::stream_closed(const Error& error, TimePoint now, std::int64_t unix_ms, Actions& actions,
                                    Duration retry_after) {
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
    if (shutdown_ || superseded_) return end({}, actions);
    return next_attempt(now, actions, Error(errc::stream_failed, std::string(to_string(outcome))), retry_after);
  }
  Error why = failure_ ? failure_ : error;
  if (!failure_ && (!error || error.is(errc::stream_closed))) {
    why = Error(errc::stream_closed, "stream closed before register response");
  } else if (!failure_ && state_ == State::registering && counts_as_rejection(error)) {
    count_rejection();
  }
  if (shutdown_) return end({}, actions);
  actions.push_back(RegistrationFailed{address_, why});
  next_attempt(now, actions, why, retry_after);
}

void RegistrationFsm::next_attempt(TimePoint now, Actions& actions, const Error& why, Duration at_least) {
  if (!times_.reconnect) return end(why, actions);
  ++attempt_;
  const auto asked = std::chrono::duration_cast<std::chrono::milliseconds>(at_least).count();
  const std::uint64_t delay_ms =
      backoff_.at_least_ms(backoff_.delay_ms(attempt_), asked > 0 ? static_cast<std::uint64_t>(asked) : 0);
  // Far beyond any real cap, but keeps the sum below from overflowing.
  constexpr std::uint64_t kLongestMs = 365ULL * 24 * 3600 * 1000;
  const auto delay = std::chrono::milliseconds(std::min(delay_ms, kLongestMs));
  state_ = State::backing_off;
  deadline_ = now + delay;
  actions.push_back(BackingOff{address_, attempt_, delay});
}

void RegistrationFsm::in_flight_changed(std::size_t count, TimePoint now, Actions& actions) {
  in_flight_ = count;
  if (state_ == State::draining && count == 0) begin_finish(now, kFinishTimeout, actions);
  finish_if_retired(now, actions);
}

void RegistrationFsm::reading_paused(bool paused, TimePoint now) {
  if (paused_ && !paused) drive_.last_heartbeat_response = now;
  paused_ = paused;
}

void RegistrationFsm::begin_finish(TimePoint now, Duration patience, Actions& actions) {
  state_ = State::closing;
  deadline_ = now + patience;
  actions.push_back(FinishStream{});
}

void RegistrationFsm::retire(TimePoint now, std::int64_t unix_ms, Actions& actions) {
  superseded_ = true;
  if (state_ != State::driving) return;
  state_ = State::retiring;
  deadline_ = now + times_.drain;
  barrier_passed_ = false;
  barrier_ms_ = unix_ms;
  next_heartbeat_ = now + times_.heartbeat_interval;
  send_heartbeat(unix_ms, actions);
}

void RegistrationFsm::finish_if_retired(TimePoint now, Actions& actions) {
  if (state_ != State::retiring || !barrier_passed_ || in_flight_ != 0) return;
  outcome_ = StreamOutcome::server_closed;
  begin_finish(now, kFinishTimeout, actions);
}

void RegistrationFsm::shutdown(TimePoint now, Actions& actions, bool all_sent) {
  if (std::exchange(shutdown_, true)) return;
  switch (state_) {
    case State::idle:
    case State::draining:
    case State::ended:
      return;
    case State::backing_off:
      return end({}, actions);
    case State::opening:
    case State::registering:
      state_ = State::closing;
      deadline_ = now + kFinishTimeout;
      actions.push_back(CancelStream{Error(errc::cancelled, "shutdown")});
      return;
    case State::closing:
      if (all_sent) deadline_ = std::min(deadline_, now + kQuietFinishTimeout);
      return;
    case State::driving:
    case State::retiring:
      break;
  }
  outcome_ = StreamOutcome::shutdown;
  actions.push_back(DrainExecutes{});
  if (in_flight_ == 0) return begin_finish(now, all_sent ? kQuietFinishTimeout : kFinishTimeout, actions);
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
    case State::retiring:
      if (now >= deadline_) {
        // The gateway does not echo, or does not answer: it had time enough to send what it had.
        deadline_ = TimePoint::max();
        barrier_passed_ = true;
        finish_if_retired(now, actions);
        if (state_ != State::retiring) return;
      }
      break;
    case State::draining:
      if (now >= deadline_) {
        actions.push_back(CancelExecutes{true});
        begin_finish(now, kFinishTimeout, actions);
        return;
      }
      break;
    case State::closing:
      if (now >= deadline_) {
        deadline_ = TimePoint::max();
        actions.push_back(CancelStream{Error(errc::cancelled, "the peer did not finish the stream")});
      }
      return;
    case State::driving:
      break;
    default:
      return;
  }
  const bool watched = state_ == State::driving || state_ == State::retiring;
  if (watched && !paused_ && now - drive_.last_heartbeat_response > times_.heartbeat_timeout) {
    return end_stream(StreamOutcome::heartbeat_timeout, Error(errc::timed_out, "no heartbeat response in time"), now,
                      actions);
  }
  if (now >= next_heartbeat_) {
    // Missed ticks collapse into one.
    const auto missed = (now - next_heartbeat_) / times_.heartbeat_interval;
    next_heartbeat_ += times_.heartbeat_interval * (missed + 1);
    if (rounds_ != nullptr) {
      const Duration slack = std::min(times_.heartbeat_slack, times_.heartbeat_interval / kSlackPart);
      next_heartbeat_ = rounds_->join(std::max(next_heartbeat_ - slack, now + Duration(1)), next_heartbeat_);
    }
    send_heartbeat(unix_ms, actions);
  }
}

void RegistrationFsm::send_heartbeat(std::int64_t unix_ms, Actions& actions) {
  heartbeat_sent_ = true;
  messages::HeartbeatRequest heartbeat;
  heartbeat.timestamp_ms = unix_ms;
  actions.push_back(Send{std::move(heartbeat)});
}

std::optional<TimePoint> RegistrationFsm::next_deadline() const {
  switch (state_) {
    case State::registering:
    case State::backing_off:
    case State::closing:
      return deadline_ == TimePoint::max() ? std::nullopt : std::optional(deadline_);
    case State::draining:
      return std::min(deadline_, next_heartbeat_);
    case State::retiring:
    case State::driving: {
      const TimePoint next = state_ == State::retiring ? std::min(deadline_, next_heartbeat_) : next_heartbeat_;
      if (paused_) return next;
      // The watchdog fires after *more* than the timeout.
      return std::min(next, drive_.last_heartbeat_response + times_.heartbeat_timeout + Duration(1));
    }
    default:
      return std::nullopt;
  }
}

void RegistrationFsm::end(Error error, Actions& actions) {
  state_ = State::ended;
  actions.push_back(End{std::move(error)});
}

}  // namespace sharingbus::connector

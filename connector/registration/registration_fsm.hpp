#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "bus/base/error.hpp"
#include "bus/base/timer.hpp"
#include "connector/registration/backoff.hpp"
#include "connector/registration/events.hpp"
#include "connector/registration/reactions.hpp"
#include "transport/messages/connector_messages.hpp"

namespace sharingbus::connector {

namespace internal {
class HeartbeatRounds;
}

/// The times that govern a registration's life; see RunnerOptions.
struct RegistrationTimes {
  Duration register_timeout = std::chrono::seconds(30);
  Duration heartbeat_interval = std::chrono::seconds(30);
  Duration heartbeat_timeout = std::chrono::seconds(45);
  /// See RunnerOptions.
  Duration heartbeat_slack{};
  Duration minimum_stream_life = std::chrono::seconds(10);
  Duration drain = std::chrono::seconds(5);
  bool reconnect = true;
};

/// The state machine of one registration (spec 2, Life of a registration): no I/O, no clock, no randomness of its own.
/// Its owner feeds it what happened and the time, carries out the actions that it appends to `actions`, in order, and
/// calls `tick` at `next_deadline`. One owner, one thread at a time.
class RegistrationFsm {
 public:
  enum class State : std::uint8_t {
    idle,
    opening,
    registering,
    driving,
    /// A replacement has taken over; what is in flight here is still answered.
    retiring,
    draining,
    closing,
    backing_off,
    ended,
  };

  /// Open a stream with the register message as its first, carrying `session_token`.
  struct OpenStream {
    std::string session_token;
  };
  struct Send {
    transport::messages::ConnectorMessage message;
  };
  /// Run the connector's handler, and answer on this stream.
  struct Execute {
    transport::messages::ExecuteRequest request;
  };
  /// Take no more executes; report how many still run by `in_flight_changed`.
  struct DrainExecutes {};
  /// Cancel what runs: the drain is over (`answer` them as failed), or the stream is.
  struct CancelExecutes {
    bool answer = false;
  };
  /// Nothing more will be sent; wait for the stream's end.
  struct FinishStream {};
  /// End the stream at once; wait for its end.
  struct CancelStream {
    Error why;
  };
  /// The gateway wants this stream replaced, or goes away: make a machine with `replacement`, and `retire` this one
  /// once that has registered, or was rejected. At most once a stream.
  struct ReplaceStream {};
  /// This machine is over; the last action ever.
  struct End {
    Error error;
  };
  using Action = std::variant<OpenStream, Send, Execute, DrainExecutes, CancelExecutes, FinishStream, CancelStream,
                              ReplaceStream, End, RegistrationAttempt, Registered, RegistrationRenewed,
                              RegistrationFailed, Disconnected, BackingOff, RegistrationNotice>;
  using Actions = std::vector<Action>;

  /// `rounds`, which must outlive it: with whom its heartbeats go out; null: on their own.
  RegistrationFsm(std::string address, RegistrationTimes times, Backoff backoff,
                  internal::HeartbeatRounds* rounds = nullptr);

  /// A machine that opens the stream that replaces this one's, after a jittered wait that grows while replacements do
  /// not live long; this one will not open another any more. Only after ReplaceStream.
  [[nodiscard]] RegistrationFsm replacement(TimePoint now, Actions& actions);

  void start(TimePoint now, Actions& actions);
  void stream_opened(TimePoint now, Actions& actions);
  /// The stream's connection is about to end (GOAWAY): as if the gateway had asked for a replacement.
  void stream_going_away(Actions& actions);
  void message(transport::messages::ConnectorMessage message, TimePoint now, std::int64_t unix_ms, Actions& actions);
  /// A message that could not be sent because the stream takes no more.
  void send_failed(TimePoint now, Actions& actions);
  /// `retry_after`: how long the peer asked to be left alone; bounded by the backoff's cap.
  void stream_closed(const Error& error, TimePoint now, std::int64_t unix_ms, Actions& actions,
                     Duration retry_after = Duration::zero());
  /// Handlers that run or wait.
  void in_flight_changed(std::size_t count, TimePoint now, Actions& actions);
  /// The same while nothing comes of it, which is as long as it does not `wait_for_requests`.
  void note_in_flight(std::size_t count) noexcept { in_flight_ = count; }
  [[nodiscard]] bool waits_for_requests() const noexcept {
    return state_ == State::draining || state_ == State::retiring;
  }
  /// Whether an ExecuteRequest is run: `message` asks for nothing else then.
  [[nodiscard]] bool takes_requests() const noexcept { return state_ == State::driving || waits_for_requests(); }
  /// Reading was paused for lack of room, or goes on: the watchdog is suspended, and starts anew.
  void reading_paused(bool paused, TimePoint now);
  /// The replacement serves. This stream ends when all that is in flight is answered, and the gateway has echoed a
  /// heartbeat sent now, behind which it can have nothing for this stream any more; for an echo it has the drain's
  /// time.
  void retire(TimePoint now, std::int64_t unix_ms, Actions& actions);
  /// `all_sent`: nothing waits to go out, so that a peer that does not end its side need not be waited for.
  void shutdown(TimePoint now, Actions& actions, bool all_sent = false);
  void tick(TimePoint now, std::int64_t unix_ms, Actions& actions);
  /// When `tick` is due next, if ever.
  [[nodiscard]] std::optional<TimePoint> next_deadline() const;

  [[nodiscard]] State state() const noexcept { return state_; }
  [[nodiscard]] const DriveState& drive() const noexcept { return drive_; }

 private:
  void open(Actions& actions);
  void register_answered(const transport::messages::RegisterResponse& response, TimePoint now, std::int64_t unix_ms,
                         Actions& actions);
  void replace_if_wanted(Actions& actions);
  void end_stream(StreamOutcome outcome, Error why, TimePoint now, Actions& actions);
  void begin_finish(TimePoint now, Duration patience, Actions& actions);
  void finish_if_retired(TimePoint now, Actions& actions);
  void send_heartbeat(std::int64_t unix_ms, Actions& actions);
  void next_attempt(TimePoint now, Actions& actions, const Error& why, Duration at_least = Duration::zero());
  void end(Error error, Actions& actions);
  void count_rejection();

  std::string address_;
  RegistrationTimes times_;
  internal::HeartbeatRounds* rounds_;
  Backoff backoff_;

  State state_ = State::idle;
  bool shutdown_ = false;
  /// Another machine goes on: this one opens no more streams.
  bool superseded_ = false;
  bool registered_before_ = false;
  /// On this stream.
  bool registered_ = false;
  DriveState drive_;
  TimePoint registered_at_{};
  std::uint64_t attempt_ = 0;
  unsigned rejections_ = 0;
  std::size_t in_flight_ = 0;
  bool paused_ = false;
  /// On this stream: a heartbeat went out; its connection is going away; a replacement was asked for.
  bool heartbeat_sent_ = false;
  bool going_away_ = false;
  bool replace_wanted_ = false;
  /// Of retiring: the time stamp of the heartbeat that was sent then, and whether its echo has come.
  std::int64_t barrier_ms_ = 0;
  bool barrier_passed_ = false;
  /// Why this side ends the stream, while it waits for the end.
  std::optional<StreamOutcome> outcome_;
  Error failure_;

  TimePoint next_heartbeat_{};
  /// Of the register wait, the drain, the close or the backoff, by state.
  TimePoint deadline_{};
};

}  // namespace sharingbus::connector

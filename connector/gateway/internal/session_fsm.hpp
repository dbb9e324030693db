#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "bus/base/error.hpp"
#include "bus/base/timer.hpp"
#include "connector/gateway/gateway_events.hpp"
#include "connector/gateway/gateway_options.hpp"
#include "connector/identity.hpp"
#include "connector/internal/timer_access.hpp"
#include "transport/messages/connector_messages.hpp"

namespace sharingbus::connector::internal {

/// Of a register request: sanitised, each part cut to what an identity may have.
[[nodiscard]] Address address_of(const transport::messages::RegisterRequest& request);

/// Names the field and never what it holds: clients search this text for words that make them drop their credentials
/// (protocol-connector G13, §4.8), and "invalid connector" tells them that repeating will not help.
[[nodiscard]] Error check_identity(const transport::messages::RegisterRequest& request);

/// Who a registered connector is; all of it sanitised and bounded.
struct ConnectorIdentity {
  /// `tenant.type.instance`
  std::string address;
  std::string arn;
  std::string display_name;
  std::string version;
};

/// The gateway's half of one stream: no I/O, no clock, no randomness of its own. Its owner feeds it what happened,
/// carries out the actions that it appends, in order, and calls `tick` at `next_deadline`. One thread at a time.
///
/// awaiting_register ──▶ registered [──▶ hosting] ──▶ finishing | cancelled ──▶ closed. Executing is the owner's
/// business: it may while the state is `registered`.
class SessionFsm {
 public:
  enum class State : std::uint8_t {
    awaiting_register,
    registered,
    /// Its own registration is over; the stream goes on for the others that share it.
    hosting,
    /// Nothing more is sent; waits for the stream's end, but not for ever.
    finishing,
    /// Waits for the stream's end.
    cancelled,
    /// The stream is over.
    closed,
  };

  struct Send {
    transport::messages::ConnectorMessage message;
  };
  /// Claim this address, and say at once by `claimed` or `claim_refused` what came of it.
  struct Claim {
    ConnectorIdentity identity;
  };
  /// The address is free again and pending requests fail, because of `why`.
  struct Release {
    Error why;
  };
  struct FinishStream {};
  struct CancelStream {
    Error why;
  };
  using Action = std::variant<Send, Claim, Release, FinishStream, CancelStream, ConnectorRegistered, ConnectorRefused,
                              ConnectorDisconnected>;
  using Actions = std::vector<Action>;
  /// Makes a token for an address that expires at a Unix time in seconds; empty: it cannot.
  using TokenSource = std::function<std::string(std::string_view, std::int64_t)>;

  /// `options` must outlive it.
  SessionFsm(const GatewayOptions& options, TokenSource tokens, std::string peer, TimePoint opened_at);

  // Messages; each counts as a sign of life.
  /// `bytes`: what the stream has sent so far.
  void message(const transport::messages::RegisterRequest& request, std::size_t bytes, Moment at, Actions& actions);
  void message(const transport::messages::HeartbeatRequest& request, Moment at, Actions& actions);
  void message(const transport::messages::UnknownMessage& unknown, Moment at, Actions& actions);
  /// Any other; `name` is its event name.
  void other_message(std::string_view name, Moment at, Actions& actions);
  /// The same of a registered one.
  void heard(TimePoint now) noexcept { last_message_ = now; }

  void claimed(bool replaced, Moment at, Actions& actions);
  void claim_refused(const Error& why, Moment at, Actions& actions);
  void tick(Moment at, Actions& actions);
  /// Tells a registered connector to replace this stream, now and with every answer to a heartbeat, unless the stream
  /// is `shared`: its heartbeats are for all.
  void ask_to_reconnect(Moment at, Actions& actions);
  /// The stream has other registrations too.
  void share() noexcept { shared_ = true; }
  /// This registration ends, and the stream stays for the others that share it, until `end`.
  void host(const Error& why, Actions& actions);
  /// Ends the stream for a reason of the gateway's: graceful lets out what is queued.
  void end(const Error& why, bool graceful, Moment at, Actions& actions);
  void stream_closed(const Error& error, Actions& actions);

  /// When `tick` is due next, if ever.
  [[nodiscard]] std::optional<TimePoint> next_deadline() const;
  [[nodiscard]] State state() const noexcept { return state_; }
  [[nodiscard]] bool registered() const noexcept { return state_ == State::registered; }
  [[nodiscard]] bool hosting() const noexcept { return state_ == State::hosting; }
  [[nodiscard]] bool reconnect_asked() const noexcept { return reconnect_asked_; }
  /// Empty before the claim.
  [[nodiscard]] const ConnectorIdentity& identity() const noexcept { return identity_; }

 private:
  void register_again(const transport::messages::RegisterRequest& request, Moment at, Actions& actions);
  [[nodiscard]] std::string make_token(Moment at) const;
  void send_registered(Moment at, Actions& actions);
  void refuse(const Error& why, std::string address, std::string arn, Moment at, Actions& actions);
  void violation(const std::string& message, Actions& actions);
  void leave_registered(const Error& why, Actions& actions);
  void begin_finish(Moment at, Actions& actions);
  void cancel(const Error& why, Actions& actions);
  /// When the peer is asked for a sign of life, should none have come by then.
  [[nodiscard]] TimePoint next_heartbeat() const;

  const GatewayOptions& options_;
  const TokenSource tokens_;
  const std::string peer_;

  State state_ = State::awaiting_register;
  bool reconnect_asked_ = false;
  bool shared_ = false;
  ConnectorIdentity identity_;
  std::string token_;
  /// Of the register wait or of finishing, by state.
  TimePoint deadline_;
  TimePoint last_message_;
  /// The last heartbeat of the gateway's own, or the registration.
  TimePoint last_asked_{};
};

}  // namespace sharingbus::connector::internal

#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "bus/base/error.hpp"
#include "bus/base/timer.hpp"
#include "bus/event.hpp"

/// What a registration does, as bus events of origin `connector`; routing has its uid as `connector_uid`, and its
/// address.
namespace sharingbus::connector {

/// A stream is being opened.
struct RegistrationAttempt {
  static constexpr std::string_view event_name = "registration.attempt";
  static constexpr EventKind event_kind = EventKind::registration;
  std::string address;
};

/// The gateway said yes.
struct Registered {
  static constexpr std::string_view event_name = "registration.registered";
  static constexpr EventKind event_kind = EventKind::registration;
  std::string address;
  std::string arn;
  /// True for the second and later times.
  bool again = false;
  std::int64_t at_unix_ms = 0;
};

/// The gateway said yes again on the same stream.
struct RegistrationRenewed {
  static constexpr std::string_view event_name = "registration.renewed";
  static constexpr EventKind event_kind = EventKind::registration;
  std::string address;
  std::string arn;
  std::int64_t at_unix_ms = 0;
};

/// No stream, or no yes; see `BackingOff` or `RegistrationEnded` for what comes next.
struct RegistrationFailed {
  static constexpr std::string_view event_name = "registration.failed";
  static constexpr EventKind event_kind = EventKind::registration;
  std::string address;
  Error error;
};

/// A registered stream is over.
struct Disconnected {
  static constexpr std::string_view event_name = "registration.disconnected";
  static constexpr EventKind event_kind = EventKind::registration;
  std::string address;
  /// `shutdown`, `server-closed`, `stream-error`, `heartbeat-timeout` or `outbound-closed`.
  std::string reason;
  /// The transport's own words.
  Error detail;
  std::int64_t at_unix_ms = 0;
};

/// The next attempt is due after `delay`.
struct BackingOff {
  static constexpr std::string_view event_name = "registration.backing_off";
  static constexpr EventKind event_kind = EventKind::registration;
  std::string address;
  /// Attempts since the last good stream, from 1.
  std::uint64_t attempt = 0;
  Duration delay{};
};

/// Something worth a log line that changes nothing, e.g. an approval that is pending.
struct RegistrationNotice {
  static constexpr std::string_view event_name = "registration.notice";
  static constexpr EventKind event_kind = EventKind::registration;
  std::string address;
  std::string text;
  bool warn = false;
};

/// The registration is over for good.
struct RegistrationEnded {
  static constexpr std::string_view event_name = "registration.ended";
  static constexpr EventKind event_kind = EventKind::registration;
  std::string address;
  /// Success after a shutdown; else what ended it.
  Error error;
};

/// A request got its permit.
struct ExecuteStarted {
  static constexpr std::string_view event_name = "execute.started";
  static constexpr EventKind event_kind = EventKind::request;
  std::string request_id;
  std::size_t bytes_in = 0;
  std::int64_t at_unix_ms = 0;
};

/// A request's answer is on its way, or lost with its stream.
struct ExecuteFinished {
  static constexpr std::string_view event_name = "execute.finished";
  static constexpr EventKind event_kind = EventKind::response;
  std::string request_id;
  bool success = false;
  std::size_t bytes_out = 0;
  Duration duration{};
  /// Why not, when `success` is false.
  std::string error;
};

/// A handler returned after its request had been answered: cancelled at its deadline or at the end of the drain. What
/// it gave is dropped.
struct ExecuteLate {
  static constexpr std::string_view event_name = "execute.late";
  static constexpr EventKind event_kind = EventKind::response;
  std::string request_id;
  /// From its permit to its return.
  Duration duration{};
};

}  // namespace sharingbus::connector

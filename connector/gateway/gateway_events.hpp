#pragma once

#include <cstddef>
#include <string>

#include "bus/base/error.hpp"
#include "bus/base/timer.hpp"
#include "bus/event.hpp"

/// What a gateway does, as bus events of origin `gateway`. Routing has the session's uid (its link's) as
/// `connector_uid`, and, once it is known, the address, which is the `connector_id` too. Requests carry the caller's
/// `session_id` as `native_session_id`.
namespace sharingbus::connector {

/// A connector has its address; a `ConnectorDisconnected` follows in any case.
struct ConnectorRegistered {
  static constexpr std::string_view event_name = "gateway.connector_registered";
  static constexpr EventKind event_kind = EventKind::connector_lifecycle;
  std::string address;
  std::string arn;
  /// At most 256 bytes of each are kept.
  std::string display_name;
  std::string version;
  std::string peer;
  /// It took over from an older stream, whose `ConnectorDisconnected` comes later.
  bool replaced = false;
};

/// A stream that never became a registered connector was ended by the gateway, or a connection that never had a stream
/// by its listener.
struct ConnectorRefused {
  static constexpr std::string_view event_name = "gateway.connector_refused";
  static constexpr EventKind event_kind = EventKind::connector_lifecycle;
  /// Empty when it did not say who it is.
  std::string address;
  std::string peer;
  Error error;
};

/// A registered connector is gone, whoever ended its stream. Its pending requests have been completed by then.
struct ConnectorDisconnected {
  static constexpr std::string_view event_name = "gateway.connector_disconnected";
  static constexpr EventKind event_kind = EventKind::connector_lifecycle;
  std::string address;
  std::string peer;
  Error error;
};

/// A request never went out: no such connector, a limit, a deadline that had passed. Its caller is told the same.
struct RequestRefused {
  static constexpr std::string_view event_name = "gateway.request_refused";
  static constexpr EventKind event_kind = EventKind::response;
  std::string request_id;
  std::string address;
  Error error;
};

/// A request is on its way to its connector; exactly one `RequestCompleted` follows. Those that were refused before
/// that have neither, but `RequestRefused`.
struct RequestDispatched {
  static constexpr std::string_view event_name = "gateway.request_dispatched";
  static constexpr EventKind event_kind = EventKind::request;
  std::string request_id;
  std::string address;
  /// Of the payload.
  std::size_t bytes = 0;
};

struct RequestCompleted {
  static constexpr std::string_view event_name = "gateway.request_completed";
  static constexpr EventKind event_kind = EventKind::response;
  std::string request_id;
  std::string address;
  /// Why there is no answer; no error: it was answered.
  Error error;
  /// The handler's own verdict.
  bool success = false;
  /// From the call to its completion.
  Duration duration{};
};

}  // namespace sharingbus::connector

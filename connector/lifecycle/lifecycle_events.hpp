#pragma once

#include <cstdint>
#include <string>

#include "bus/base/timer.hpp"
#include "bus/event.hpp"
#include "connector/lifecycle/service.hpp"

/// What happens to services, as bus events of kind `service` and origin `service`; routing has the service's uid (its
/// id where that is a UUID) as `connector_uid` and its name as `connector_id`. (Spec 5, Manager.)
namespace sharingbus::connector {

/// A service was registered and is being started.
struct ServiceStarted {
  static constexpr std::string_view event_name = "service.started";
  static constexpr EventKind event_kind = EventKind::service;
  std::string id;
};

/// Every transition, and nothing else.
struct ServiceStatusChanged {
  static constexpr std::string_view event_name = "service.status_changed";
  static constexpr EventKind event_kind = EventKind::service;
  std::string id;
  ServiceStatus old_status = ServiceStatus::starting;
  ServiceStatus new_status = ServiceStatus::starting;
};

/// A sign of life: an answer to a probe, or `handle_heartbeat`.
struct ServiceHeartbeat {
  static constexpr std::string_view event_name = "service.heartbeat";
  static constexpr EventKind event_kind = EventKind::service;
  std::string id;
};

/// A running service gave no sign of life for longer than the timeout.
struct ServiceHeartbeatTimeout {
  static constexpr std::string_view event_name = "service.heartbeat_timeout";
  static constexpr EventKind event_kind = EventKind::service;
  std::string id;
  Duration silent{};
};

/// Something went wrong with a service: `handle_error`, or its transport.
struct ServiceError {
  static constexpr std::string_view event_name = "service.error";
  static constexpr EventKind event_kind = EventKind::service;
  std::string id;
  std::string error;
};

/// An attempt to reconnect begins with its wait.
struct ServiceReconnecting {
  static constexpr std::string_view event_name = "service.reconnecting";
  static constexpr EventKind event_kind = EventKind::service;
  std::string id;
  /// From 1.
  std::uint32_t attempt = 0;
  std::uint32_t max = 0;
  /// The wait before it.
  Duration delay{};
  /// Why there is an attempt: what ended the service, or the attempt before this one.
  std::string reason;
};

/// A service is back, and has answered.
struct ServiceReconnected {
  static constexpr std::string_view event_name = "service.reconnected";
  static constexpr EventKind event_kind = EventKind::service;
  std::string id;
};

/// No further attempt will be made.
struct ServiceReconnectFailed {
  static constexpr std::string_view event_name = "service.reconnect_failed";
  static constexpr EventKind event_kind = EventKind::service;
  std::string id;
  /// Attempts that were made.
  std::uint32_t attempts = 0;
  /// Why the last one failed, or why there are no more.
  std::string reason;
};

/// A service is stopped and no longer registered.
struct ServiceStopped {
  static constexpr std::string_view event_name = "service.stopped";
  static constexpr EventKind event_kind = EventKind::service;
  std::string id;
};

}  // namespace sharingbus::connector

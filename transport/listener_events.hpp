#pragma once

#include <cstdint>
#include <string>

#include "bus/base/error.hpp"
#include "bus/event.hpp"

namespace sharingbus::transport {

/// A listener has closed a connection that never had a stream, or refused to have it; its streams, if any were to come,
/// are not known. With the listener's origin, and without a `connector_uid`.
struct ConnectionRefused {
  static constexpr std::string_view event_name = "connection.refused";
  static constexpr EventKind event_kind = EventKind::stream;

  /// `Listener::id()`.
  std::uint64_t listener = 0;
  /// The peer's address as the transport knows it.
  std::string peer;
  /// `capacity_exceeded`: there were as many as there may be. `timed_out`: nothing came of it in time.
  Error error;
};

}  // namespace sharingbus::transport

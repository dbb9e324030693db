#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "bus/event.hpp"

/// What a child process tells besides its frames. Published by the process transport with the routing, id and origin of
/// the child's stream, between its `StreamOpened` and its `StreamClosed`; they cost no credit.
namespace sharingbus::transport {

/// The child's program runs. Right after `StreamOpened`.
struct ProcessStarted {
  static constexpr std::string_view event_name = "process.started";
  static constexpr EventKind event_kind = EventKind::stream;

  /// Also the id of its process group.
  std::int32_t pid = 0;
};

/// The child has ended and was reaped; what was left of its process group has been killed. Frames that it wrote before
/// may still follow, as far as there is credit.
struct ProcessExited {
  static constexpr std::string_view event_name = "process.exited";
  static constexpr EventKind event_kind = EventKind::stream;

  std::int32_t pid = 0;
  /// What it exited with; 0 when a signal ended it.
  std::int32_t status = 0;
  /// The signal that ended it; 0 when it exited.
  std::int32_t signal = 0;
};

/// A line that the child wrote to its standard error. Only with `ProcessDialerOptions::publish_stderr`.
struct ProcessStderr {
  static constexpr std::string_view event_name = "process.stderr";
  static constexpr EventKind event_kind = EventKind::stream;

  std::int32_t pid = 0;
  /// Without its end of line; bytes as the child wrote them, at most `max_stderr_line_bytes`.
  std::string line;
  /// Lines before this one that were dropped because they came too fast.
  std::uint64_t dropped_before = 0;
};

}  // namespace sharingbus::transport

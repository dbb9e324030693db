#pragma once

#include <optional>
#include <string>

#include "bus/base/timer.hpp"

namespace sharingbus::cli {

/// Tells systemd how this program is doing, see sd_notify(3). Does nothing when it was not started by systemd, or not
/// as a service that notifies. Any thread.
class SystemdNotifier {
 public:
  /// Reads NOTIFY_SOCKET, WATCHDOG_USEC and WATCHDOG_PID.
  SystemdNotifier();

  /// Sends one message, e.g. `READY=1`. What cannot be sent is lost: there is nobody to tell.
  void notify(const std::string& message) const;
  /// How often `WATCHDOG=1` is due, half of what systemd waits for it; nothing when it does not.
  [[nodiscard]] std::optional<Duration> watchdog_interval() const { return watchdog_; }

 private:
  std::string socket_;
  std::optional<Duration> watchdog_;
};

}  // namespace sharingbus::cli

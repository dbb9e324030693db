#include "transport/websocket/websocket_options.hpp"

namespace sharingbus::transport {

Result<> WebSocketTimes::validate() const {
  if (ping_interval <= Duration::zero()) return Error(errc::invalid_argument, "ping_interval must be above 0");
  if (idle_timeout <= ping_interval) {
    return Error(errc::invalid_argument, "idle_timeout must be above ping_interval, or no ping could be answered");
  }
  if (close_timeout <= Duration::zero()) return Error(errc::invalid_argument, "close_timeout must be above 0");
  return {};
}

}  // namespace sharingbus::transport

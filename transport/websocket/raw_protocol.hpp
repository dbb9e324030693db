#pragma once

#include <memory>
#include <string>

#include "transport/websocket/message_protocol.hpp"

namespace sharingbus::transport {

/// A message is a frame, binary when sent, text or binary when it comes. `path` is served and asked for, whatever query
/// follows it.
[[nodiscard]] std::shared_ptr<const MessageProtocol> make_raw_protocol(std::string path = "/");

}  // namespace sharingbus::transport

#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "transport/messages/connector_messages.hpp"

// The two messages that nearly all traffic consists of, straight between bytes and the plain structs: Protobuf's own
// objects in between cost more than half of the allocations of a round trip. What is out of the ordinary (other
// messages, unknown or repeated fields, text that is not UTF-8, numbers in more bytes than they need) is left to
// Protobuf.
namespace sharingbus::transport::internal {

/// The frame's ExecuteRequest or ExecuteResponse; nothing when Protobuf has to look at it.
[[nodiscard]] std::optional<messages::ConnectorMessage> read_execute(std::string_view frame);

// The same bytes as Protobuf's; nothing when Protobuf has to write them.
[[nodiscard]] std::optional<std::string> write_execute(const messages::ExecuteRequest& message);
[[nodiscard]] std::optional<std::string> write_execute(const messages::ExecuteResponse& message);

}  // namespace sharingbus::transport::internal

#pragma once

#include <optional>

#include "transport/frame_decoder.hpp"
#include "transport/messages/connector_messages.hpp"

namespace sharingbus::transport {

/// Decodes serialized `StreamMessage`s of the connector protocol into one event per message struct of
/// `transport/messages/connector_messages.hpp`.
///
/// - ExecuteRequest, InvokeRequest and WebSocketOpenRequest cost a request credit, all others a control credit.
/// - An ExecuteRequest or InvokeRequest whose context has a `session_id` carries it as `native_session_id`.
/// - The kind follows the message: registration, request, response, heartbeat, metrics, stream.
class ConnectorFrameDecoder final : public FrameDecoder {
 public:
  [[nodiscard]] Result<DecodedFrame> decode(std::string_view frame, const StreamIdentity& stream) const override;
};

/// Which credit the message in `event` cost, so that its receiver gives back the same; nothing when the event holds no
/// message of the protocol. O(kinds of messages).
[[nodiscard]] std::optional<FrameClass> frame_class_of(const BusEvent& event);
/// A copy of the message that `event` holds; nothing when it holds none. O(kinds of messages).
[[nodiscard]] std::optional<messages::ConnectorMessage> message_of(const BusEvent& event);

/// The context key that names the caller's session.
inline constexpr const char* kSessionIdKey = "session_id";
/// The context key that names the session's scroll id, where the caller knows it.
inline constexpr const char* kScrollIdKey = "scroll_id";

}  // namespace sharingbus::transport

#include "transport/codec/connector_frame_decoder.hpp"

#include <type_traits>
#include <utility>
#include <variant>

#include "transport/codec/connector_protobuf.hpp"
#include "transport/messages/connector_messages.hpp"

namespace sharingbus::transport {
namespace {

template <class T, class... Others>
inline constexpr bool kIsOneOf = (std::is_same_v<T, Others> || ...);

template <class T>
constexpr EventKind kind_of_message() {
  using namespace messages;
  if constexpr (kIsOneOf<T, RegisterRequest, RegisterResponse, ApprovalNotification, CredentialsIssued>) {
    return EventKind::registration;
  } else if constexpr (kIsOneOf<T, ExecuteRequest, InvokeRequest>) {
    return EventKind::request;
  } else if constexpr (kIsOneOf<T, ExecuteResponse, InvokeResponse>) {
    return EventKind::response;
  } else if constexpr (kIsOneOf<T, HeartbeatRequest, HeartbeatResponse>) {
    return EventKind::heartbeat;
  } else if constexpr (std::is_same_v<T, MetricsReport>) {
    return EventKind::metrics;
  } else {
    return EventKind::stream;
  }
}

template <class T>
constexpr FrameClass class_of_message() {
  using namespace messages;
  return kIsOneOf<T, ExecuteRequest, InvokeRequest, WebSocketOpenRequest> ? FrameClass::request : FrameClass::control;
}

/// Calls `fn` with the message in `event`, as the alternative of ConnectorMessage that it is. False when it is none.
template <class Fn, class... Messages>
bool visit_message(const BusEvent& event, Fn fn, const std::variant<Messages...>*) {
  const auto visit_if = [&](const auto* message) {
    if (message != nullptr) fn(*message);
    return message != nullptr;
  };
  return (visit_if(event.get_if<Messages>()) || ...);
}

constexpr const messages::ConnectorMessage* kAnyMessage = nullptr;

}  // namespace

Result<DecodedFrame> ConnectorFrameDecoder::decode(std::string_view frame, const StreamIdentity& stream) const {
  auto message = decode_connector_message(frame);
  if (!message) return std::move(message).error();
  return std::visit(
      [&](auto&& decoded) {
        using Message = std::decay_t<decltype(decoded)>;
        Routing routing = stream.routing;
        routing.kind = kind_of_message<Message>();
        if constexpr (kIsOneOf<Message, messages::ExecuteRequest, messages::InvokeRequest>) {
          if (const auto session = decoded.context.find(kSessionIdKey); session != decoded.context.end()) {
            routing.native_session_id = session->second;
          }
        }
        return Result<DecodedFrame>(DecodedFrame{
            make_event(std::forward<decltype(decoded)>(decoded), std::move(routing), stream.origin, stream.source,
                       frame.size()),
            class_of_message<Message>()});
      },
      std::move(*message));
}

std::optional<FrameClass> frame_class_of(const BusEvent& event) {
  std::optional<FrameClass> found;
  visit_message(
      event, [&]<class Message>(const Message&) { found = class_of_message<Message>(); }, kAnyMessage);
  return found;
}

std::optional<messages::ConnectorMessage> message_of(const BusEvent& event) {
  std::optional<messages::ConnectorMessage> found;
  visit_message(
      event, [&](const auto& message) { found.emplace(message); }, kAnyMessage);
  return found;
}

}  // namespace sharingbus::transport

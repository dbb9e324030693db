#include "transport/codec/agent_frame_decoder.hpp"

#include <type_traits>
#include <utility>
#include <variant>

#include "transport/codec/agent_codec.hpp"

namespace sharingbus::transport {
namespace {

using namespace agent_messages;  // NOLINT(google-build-using-namespace): the subject's vocabulary

template <class Message>
FrameClass class_of(const Message& message, AgentRole role) {
  if (role == AgentRole::proxy) return FrameClass::control;
  if constexpr (std::is_same_v<Message, InvalidMessage>) {
    return message.correlation_id.empty() ? FrameClass::control : FrameClass::request;
  }
  return Message::event_kind == EventKind::request ? FrameClass::request : FrameClass::control;
}

template <class Any>
Result<DecodedFrame> event_of(Result<Any> message, std::size_t bytes, const StreamIdentity& stream, AgentRole role) {
  if (!message) return std::move(message).error();
  return std::visit(
      [&](auto&& held) {
        using Message = std::decay_t<decltype(held)>;
        const FrameClass frame_class = class_of(held, role);
        Routing routing = stream.routing;
        routing.kind = Message::event_kind;
        // Messages are large to move.
        return Result<DecodedFrame>(DecodedFrame{
            EventDraft::make(std::move(held), std::move(routing), stream.origin, stream.source, bytes), frame_class});
      },
      *std::move(message));
}

template <class... Messages>
std::optional<FrameClass> find_class(const BusEvent& event, AgentRole role, const std::variant<Messages...>*) {
  std::optional<FrameClass> found;
  const auto look = [&](const auto* message) {
    if (message != nullptr) found = class_of(*message, role);
    return message != nullptr;
  };
  (void)(look(event.get_if<Messages>()) || ...);
  return found;
}

}  // namespace

Result<DecodedFrame> AgentFrameDecoder::decode(std::string_view frame, const StreamIdentity& stream) const {
  if (role_ == AgentRole::agent) {
    return event_of(carrier_ == AgentCarrier::grpc ? decode_for_agent_protobuf(frame) : decode_for_agent_uds(frame),
                    frame.size(), stream, role_);
  }
  return event_of(carrier_ == AgentCarrier::grpc ? decode_for_proxy_protobuf(frame) : decode_for_proxy_uds(frame),
                  frame.size(), stream, role_);
}

std::optional<FrameClass> agent_frame_class_of(const BusEvent& event, AgentRole role) {
  if (role == AgentRole::agent) return find_class(event, role, static_cast<const ProxyToAgent*>(nullptr));
  return find_class(event, role, static_cast<const AgentToProxy*>(nullptr));
}

}  // namespace sharingbus::transport

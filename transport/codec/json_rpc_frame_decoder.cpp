#include "transport/codec/json_rpc_frame_decoder.hpp"

#include <algorithm>
#include <type_traits>
#include <utility>
#include <variant>

namespace sharingbus::transport {
namespace {

using namespace messages;

template <class Message>
FrameClass class_of(const Message&) {
  return std::is_same_v<Message, JsonRpcRequest> ? FrameClass::request : FrameClass::control;
}
FrameClass class_of(const JsonRpcBatch& batch) {
  const bool starts_work = std::any_of(batch.calls.begin(), batch.calls.end(), [](const JsonRpcCall& call) {
    return std::holds_alternative<JsonRpcRequest>(call);
  });
  return starts_work ? FrameClass::request : FrameClass::control;
}

}  // namespace

Result<DecodedFrame> JsonRpcFrameDecoder::decode(std::string_view frame, const StreamIdentity& stream) const {
  auto message = decode_json_rpc(frame, limits_);
  if (!message) return std::move(message).error();
  return std::visit(
      [&](auto&& decoded) {
        using Message = std::decay_t<decltype(decoded)>;
        const FrameClass frame_class = class_of(decoded);
        Routing routing = stream.routing;
        routing.kind = kEventType<Message>.kind;
        return Result<DecodedFrame>(
            DecodedFrame{make_event(std::forward<decltype(decoded)>(decoded), std::move(routing), stream.origin,
                                    stream.source, frame.size()),
                         frame_class});
      },
      std::move(*message));
}

std::optional<FrameClass> json_rpc_class_of(const BusEvent& event) {
  if (event.is<JsonRpcRequest>()) return FrameClass::request;
  if (const auto* batch = event.get_if<JsonRpcBatch>()) return class_of(*batch);
  if (event.is<JsonRpcNotification>() || event.is<JsonRpcResponse>() || event.is<JsonRpcInvalid>()) {
    return FrameClass::control;
  }
  return std::nullopt;
}

}  // namespace sharingbus::transport

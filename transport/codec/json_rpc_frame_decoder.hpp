#pragma once

#include <optional>

#include "transport/codec/json_rpc_codec.hpp"
#include "transport/frame_decoder.hpp"

namespace sharingbus::transport {

/// Decodes frames of JSON-RPC 2.0, one body each, into one event per struct of
/// `transport/messages/json_rpc_messages.hpp`.
///
/// - A request, and a batch with a request in it, costs a request credit; all others a control credit.
/// - What is no JSON-RPC is an event too, `JsonRpcInvalid`: the framing is sound, and the standard has an answer for
/// it.
///   Only a body beyond `limits` ends the stream.
class JsonRpcFrameDecoder final : public FrameDecoder {
 public:
  explicit JsonRpcFrameDecoder(JsonRpcLimits limits = {}) : limits_(limits) {}
  [[nodiscard]] Result<DecodedFrame> decode(std::string_view frame, const StreamIdentity& stream) const override;

 private:
  const JsonRpcLimits limits_;
};

/// Which credit the JSON-RPC message in `event` cost; nothing when the event holds none.
[[nodiscard]] std::optional<FrameClass> json_rpc_class_of(const BusEvent& event);

}  // namespace sharingbus::transport

#include "transport/codec/agent_control.hpp"

#include <utility>
#include <variant>

#include "transport/codec/internal/agent_wire.hpp"
#include "transport/codec/internal/protobuf_text.hpp"
#include "transport/codec/utf8.hpp"

namespace sharingbus::transport {
namespace {

namespace wire = internal::agent_wire;

constexpr std::string_view kWhat = "agent control message";

/// The same in the envelope of the event stream, whose reader knows them all.
wire::AgentToProxy as_stream_message(wire::AgentControl& in) {
  wire::AgentToProxy out;
  switch (in.message_case()) {
    case wire::AgentControl::kHealth:
      out.mutable_health()->Swap(in.mutable_health());
      break;
    case wire::AgentControl::kMetrics:
      out.mutable_metrics()->Swap(in.mutable_metrics());
      break;
    case wire::AgentControl::kConfigUpdate:
      out.mutable_config_update()->Swap(in.mutable_config_update());
      break;
    case wire::AgentControl::kLog:
      out.mutable_log()->Swap(in.mutable_log());
      break;
    case wire::AgentControl::MESSAGE_NOT_SET:
      break;
  }
  return out;
}

}  // namespace

std::string encode_agent_control(const ConfigUpdateResponse& response) {
  wire::ProxyControl envelope;
  auto& out = *envelope.mutable_config_response();
  out.set_request_id(to_valid_utf8(response.request_id));
  out.set_accepted(response.accepted);
  if (response.error) out.set_error(to_valid_utf8(*response.error));
  out.set_timestamp_ms(response.timestamp_ms);
  return internal::serialize(envelope);
}

std::string encode_agent_control(const DrainRequest& request) {
  wire::ProxyControl envelope;
  auto& out = *envelope.mutable_drain();
  out.set_duration_ms(request.duration_ms);
  out.set_reason(static_cast<std::int32_t>(request.reason));
  out.set_timestamp_ms(request.timestamp_ms);
  return internal::serialize(envelope);
}

std::string encode_agent_control(const ShutdownRequest& request) {
  wire::ProxyControl envelope;
  auto& out = *envelope.mutable_shutdown();
  out.set_reason(static_cast<std::int32_t>(request.reason));
  out.set_grace_period_ms(request.grace_period_ms);
  out.set_timestamp_ms(request.timestamp_ms);
  return internal::serialize(envelope);
}

Result<agent_messages::AgentToProxy> decode_agent_control(std::string_view bytes) {
  if (!internal::fits_protobuf(bytes)) return internal::malformed(kWhat, bytes, "more than Protobuf can hold");
  wire::AgentControl envelope;
  if (!envelope.ParseFromArray(bytes.data(), static_cast<int>(bytes.size()))) {
    return internal::parse_failure(kWhat, bytes, envelope);
  }
  if (envelope.message_case() == wire::AgentControl::MESSAGE_NOT_SET) {
    auto unset = internal::unset_kind(kWhat, bytes, envelope);
    if (unset.error) return *std::move(unset.error);
    return agent_messages::AgentToProxy(agent_messages::UnknownMessage{unset.number});
  }
  wire::AgentToProxy message = as_stream_message(envelope);
  return internal::from_wire(message);
}

Result<DecodedFrame> AgentControlDecoder::decode(std::string_view frame, const StreamIdentity& stream) const {
  auto message = decode_agent_control(frame);
  if (!message) return std::move(message).error();
  return std::visit(
      [&](auto&& held) {
        Routing routing = stream.routing;
        routing.kind = std::decay_t<decltype(held)>::event_kind;
        return Result<DecodedFrame>(DecodedFrame{make_event(std::forward<decltype(held)>(held), std::move(routing),
                                                            stream.origin, stream.source, frame.size()),
                                                 FrameClass::control});
      },
      *std::move(message));
}

}  // namespace sharingbus::transport

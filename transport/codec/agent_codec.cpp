#include "transport/codec/agent_codec.hpp"

#include <array>
#include <cstdint>
#include <type_traits>
#include <utility>
#include <variant>

#include <google/protobuf/io/coded_stream.h>

#include "transport/codec/internal/agent_uds_decode.hpp"
#include "transport/codec/internal/agent_wire.hpp"
#include "transport/codec/internal/kept_part.hpp"
#include "transport/codec/internal/protobuf_text.hpp"

namespace sharingbus::transport {
namespace {

using namespace agent_messages;  // NOLINT(google-build-using-namespace): the subject's vocabulary
using internal::UdsType;

template <class T, class... Others>
inline constexpr bool kIsOneOf = (std::is_same_v<T, Others> || ...);

template <class Message>
inline constexpr bool kFromProxy =
    kIsOneOf<Message, HandshakeRequest, RequestHeaders, RequestBodyChunk, ResponseHeaders, ResponseBodyChunk,
             WebSocketFrame, GuardrailInspect, RequestComplete, Cancel, Configure, Ping>;
template <class Message>
inline constexpr bool kOnGrpc =
    !kIsOneOf<Message, ReverseRegistration, ReverseRegistrationResponse, InvalidMessage, UnknownMessage>;
template <class Message>
inline constexpr bool kOnUds = !kIsOneOf<Message, LogMessage, InvalidMessage, UnknownMessage>;
/// What is answered, and so tells its request.
template <class Message>
inline constexpr bool kIsEvent = kIsOneOf<Message, RequestHeaders, RequestBodyChunk, ResponseHeaders, ResponseBodyChunk,
                                          WebSocketFrame, GuardrailInspect, RequestComplete, Configure>;
template <class Message>
inline constexpr bool kIsHandshake =
    kIsOneOf<Message, HandshakeRequest, HandshakeResponse, ReverseRegistration, ReverseRegistrationResponse>;

constexpr std::string_view kWhat = "agent message";

Error not_carried(std::string_view name, std::string_view by) {
  return {errc::serialization_failed, std::string(name) + " is not carried by " + std::string(by)};
}

template <class Message, class Envelope>
Result<std::string> encode_protobuf(const Message& message, Envelope& envelope) {
  internal::to_wire(message, envelope);
  std::string bytes = internal::serialize(envelope);
  if (bytes.empty()) return Error(errc::message_too_large, "more than Protobuf can hold");
  return bytes;
}

template <class Message>
Result<std::string> encode_one(const Message& message, AgentWire wire) {
  if (wire == AgentWire::protobuf) {
    if constexpr (kOnGrpc<Message>) {
      using Envelope = std::conditional_t<kFromProxy<Message>, internal::agent_wire::ProxyToAgent,
                                          internal::agent_wire::AgentToProxy>;
      Envelope envelope;
      if constexpr (kIsOneOf<Message, RequestHeaders, AgentResponse>) {
        internal::LentPart<Envelope> part(envelope);
        auto bytes = encode_protobuf(message, envelope);
        if (bytes) part.is_of(bytes->size());
        return bytes;
      }
      return encode_protobuf(message, envelope);
    }
    return not_carried(Message::event_name, "gRPC");
  }
  if constexpr (kOnUds<Message>) {
    return internal::encode_uds(message, wire == AgentWire::msgpack ? Encoding::msgpack : Encoding::json);
  }
  return not_carried(Message::event_name, "Unix sockets");
}

template <class... Messages>
Result<std::string> encode_one(const std::variant<Messages...>& message, AgentWire wire) {
  return std::visit([wire](const auto& held) { return encode_one(held, wire); }, message);
}

template <class Envelope>
bool parse(std::string_view bytes, Envelope& envelope) {
  google::protobuf::io::CodedInputStream coded(reinterpret_cast<const std::uint8_t*>(bytes.data()),
                                               static_cast<int>(bytes.size()));
  return envelope.MergeFromCodedStream(&coded) && coded.ConsumedEntireMessage();
}

template <class Any, class Envelope>
Result<Any> message_in(std::string_view bytes, Envelope& envelope) {
  if (!parse(bytes, envelope)) return internal::parse_failure(kWhat, bytes, envelope);
  Any message = internal::from_wire(envelope);
  if (auto* unknown = std::get_if<UnknownMessage>(&message)) {
    auto unset = internal::unset_kind(kWhat, bytes, envelope);
    if (unset.error) return *std::move(unset.error);
    unknown->number = unset.number;
  }
  if (const auto* invalid = std::get_if<InvalidMessage>(&message);
      invalid != nullptr && invalid->correlation_id.empty()) {
    return internal::malformed(kWhat, bytes, std::string(invalid->kind) + ": " + invalid->error);
  }
  return message;
}

template <class Envelope, class Any>
Result<Any> decode_protobuf(std::string_view bytes) {
  if (!internal::fits_protobuf(bytes)) return internal::malformed(kWhat, bytes, "more than Protobuf can hold");
  Envelope envelope;
  if (!internal::LentPart<Envelope>::is_in(bytes)) return message_in<Any>(bytes, envelope);
  internal::LentPart<Envelope> part(envelope);
  part.is_of(bytes.size());
  return message_in<Any>(bytes, envelope);
}

template <class Any, class Message>
Result<Any> decode_uds(std::string_view payload) {
  internal::PayloadDocument document;
  // Some peers answer pings with nothing at all.
  if constexpr (std::is_same_v<Message, Pong>) {
    if (payload.empty()) return Any(Pong{});
  }
  const auto broken = [&payload](const std::string& why) {
    return internal::malformed(Message::event_name, payload, why);
  };
  if (const auto parsed = document.parse(payload); !parsed) return broken(parsed.error().message);
  // In place: messages are large to move.
  Result<Any> read{Any(std::in_place_type<Message>)};
  internal::Issue issue;
  internal::read_message(document.root(), std::get<Message>(*read), issue);
  if (!issue) return read;
  InvalidMessage invalid{.kind = Message::event_name, .correlation_id = {}, .error = issue.text()};
  if constexpr (kIsHandshake<Message>) return broken(issue.text());
  if constexpr (kIsEvent<Message>) invalid.correlation_id = internal::id_of_event(document.root());
  if constexpr (std::is_same_v<Message, AgentResponse>)
    invalid.correlation_id = internal::id_of_answer(document.root());
  if constexpr (kIsEvent<Message> || std::is_same_v<Message, AgentResponse>) {
    if (invalid.correlation_id.empty()) return broken(issue.text());
  }
  return Any(std::move(invalid));
}

Error wrong_direction(std::string_view frame) {
  constexpr std::string_view kHex = "0123456789abcdef";
  const auto type = static_cast<unsigned char>(frame.front());
  std::string text = "type 0x";
  text += kHex[type >> 4];
  text += kHex[type & 0xf];
  return internal::malformed("frame", frame, text + " is never sent in this direction");
}

}  // namespace

template <class Message>
Result<std::string> encode_agent_message(const Message& message, AgentWire wire) {
  return encode_one(message, wire);
}

template Result<std::string> encode_agent_message(const ProxyToAgent&, AgentWire);
template Result<std::string> encode_agent_message(const AgentToProxy&, AgentWire);
template Result<std::string> encode_agent_message(const HandshakeRequest&, AgentWire);
template Result<std::string> encode_agent_message(const RequestHeaders&, AgentWire);
template Result<std::string> encode_agent_message(const RequestBodyChunk&, AgentWire);
template Result<std::string> encode_agent_message(const ResponseHeaders&, AgentWire);
template Result<std::string> encode_agent_message(const ResponseBodyChunk&, AgentWire);
template Result<std::string> encode_agent_message(const WebSocketFrame&, AgentWire);
template Result<std::string> encode_agent_message(const GuardrailInspect&, AgentWire);
template Result<std::string> encode_agent_message(const RequestComplete&, AgentWire);
template Result<std::string> encode_agent_message(const Cancel&, AgentWire);
template Result<std::string> encode_agent_message(const Configure&, AgentWire);
template Result<std::string> encode_agent_message(const Ping&, AgentWire);
template Result<std::string> encode_agent_message(const ReverseRegistrationResponse&, AgentWire);
template Result<std::string> encode_agent_message(const HandshakeResponse&, AgentWire);
template Result<std::string> encode_agent_message(const AgentResponse&, AgentWire);
template Result<std::string> encode_agent_message(const HealthStatus&, AgentWire);
template Result<std::string> encode_agent_message(const MetricsReport&, AgentWire);
template Result<std::string> encode_agent_message(const ConfigUpdateRequest&, AgentWire);
template Result<std::string> encode_agent_message(const FlowControlSignal&, AgentWire);
template Result<std::string> encode_agent_message(const Pong&, AgentWire);
template Result<std::string> encode_agent_message(const LogMessage&, AgentWire);
template Result<std::string> encode_agent_message(const ReverseRegistration&, AgentWire);
template Result<std::string> encode_agent_message(const InvalidMessage&, AgentWire);
template Result<std::string> encode_agent_message(const UnknownMessage&, AgentWire);

Result<ProxyToAgent> decode_for_agent_protobuf(std::string_view bytes) {
  return decode_protobuf<internal::agent_wire::ProxyToAgent, ProxyToAgent>(bytes);
}

Result<AgentToProxy> decode_for_proxy_protobuf(std::string_view bytes) {
  return decode_protobuf<internal::agent_wire::AgentToProxy, AgentToProxy>(bytes);
}

Result<ProxyToAgent> decode_for_agent_uds(std::string_view frame) {
  if (frame.empty()) return internal::malformed("frame", frame, "it has no type");
  const std::string_view payload = frame.substr(1);
  switch (static_cast<UdsType>(frame.front())) {
    case UdsType::handshake_request:
      return decode_uds<ProxyToAgent, HandshakeRequest>(payload);
    case UdsType::handshake_response:
      return decode_uds<ProxyToAgent, ReverseRegistrationResponse>(payload);
    case UdsType::request_headers:
      return decode_uds<ProxyToAgent, RequestHeaders>(payload);
    case UdsType::request_body_chunk:
      return decode_uds<ProxyToAgent, RequestBodyChunk>(payload);
    case UdsType::response_headers:
      return decode_uds<ProxyToAgent, ResponseHeaders>(payload);
    case UdsType::response_body_chunk:
      return decode_uds<ProxyToAgent, ResponseBodyChunk>(payload);
    case UdsType::request_complete:
      return decode_uds<ProxyToAgent, RequestComplete>(payload);
    case UdsType::websocket_frame:
      return decode_uds<ProxyToAgent, WebSocketFrame>(payload);
    case UdsType::guardrail_inspect:
      return decode_uds<ProxyToAgent, GuardrailInspect>(payload);
    case UdsType::configure:
      return decode_uds<ProxyToAgent, Configure>(payload);
    case UdsType::cancel:
      return decode_uds<ProxyToAgent, Cancel>(payload);
    case UdsType::ping:
      return decode_uds<ProxyToAgent, Ping>(payload);
    case UdsType::agent_response:
    case UdsType::health_status:
    case UdsType::metrics_report:
    case UdsType::config_update_request:
    case UdsType::flow_control:
    case UdsType::pong:
      return wrong_direction(frame);
  }
  return ProxyToAgent(UnknownMessage{static_cast<unsigned char>(frame.front())});
}

Result<AgentToProxy> decode_for_proxy_uds(std::string_view frame) {
  if (frame.empty()) return internal::malformed("frame", frame, "it has no type");
  const std::string_view payload = frame.substr(1);
  switch (static_cast<UdsType>(frame.front())) {
    case UdsType::handshake_request:
      return decode_uds<AgentToProxy, ReverseRegistration>(payload);
    case UdsType::handshake_response:
      return decode_uds<AgentToProxy, HandshakeResponse>(payload);
    case UdsType::agent_response:
      return decode_uds<AgentToProxy, AgentResponse>(payload);
    case UdsType::health_status:
      return decode_uds<AgentToProxy, HealthStatus>(payload);
    case UdsType::metrics_report:
      return decode_uds<AgentToProxy, MetricsReport>(payload);
    case UdsType::config_update_request:
      return decode_uds<AgentToProxy, ConfigUpdateRequest>(payload);
    case UdsType::flow_control:
      return decode_uds<AgentToProxy, FlowControlSignal>(payload);
    case UdsType::pong:
      return decode_uds<AgentToProxy, Pong>(payload);
    case UdsType::request_headers:
    case UdsType::request_body_chunk:
    case UdsType::response_headers:
    case UdsType::response_body_chunk:
    case UdsType::request_complete:
    case UdsType::websocket_frame:
    case UdsType::guardrail_inspect:
    case UdsType::configure:
    case UdsType::cancel:
    case UdsType::ping:
      return wrong_direction(frame);
  }
  return AgentToProxy(UnknownMessage{static_cast<unsigned char>(frame.front())});
}

}  // namespace sharingbus::transport

#include "transport/codec/connector_frame_decoder.hpp"

#include <string>
#include <utility>

#include <gtest/gtest.h>

#include "transport/codec/connector_protobuf.hpp"
#include "transport/messages/connector_messages.hpp"

namespace sharingbus::transport {
namespace {

using namespace messages;  // NOLINT(google-build-using-namespace): the subject's vocabulary

StreamIdentity identity() {
  StreamIdentity identity;
  identity.routing.connector_uid = random_uuid();
  identity.routing.address = "tenant.type.instance";
  identity.origin = EventOrigin::gateway;
  identity.source = 42;
  return identity;
}

/// Decodes what `message` encodes to, and checks what every event has in common.
template <class Message>
EventDraft event_of(const Message& message, FrameClass expected_class, EventKind expected_kind) {
  const ConnectorFrameDecoder sut;
  const StreamIdentity stream = identity();
  const std::string frame = encode_connector_message(message);
  auto decoded = sut.decode(frame, stream);
  if (!decoded.has_value()) {
    ADD_FAILURE() << to_string(decoded.error());
    return {};
  }
  EXPECT_EQ(decoded->frame_class, expected_class) << Message::event_name;
  const BusEvent& event = *decoded->event;
  EXPECT_EQ(event.type_name(), Message::event_name);
  EXPECT_EQ(event.kind(), expected_kind) << Message::event_name;
  EXPECT_EQ(event.origin(), stream.origin);
  EXPECT_EQ(event.source(), stream.source);
  EXPECT_EQ(event.routing().connector_uid, stream.routing.connector_uid);
  EXPECT_EQ(event.routing().address, stream.routing.address);
  EXPECT_GE(event.size_bytes(), sizeof(Message) + frame.size());
  const Message* payload = event.get_if<Message>();
  if (payload == nullptr) {
    ADD_FAILURE() << "no " << Message::event_name;
  } else {
    EXPECT_EQ(*payload, message);
  }
  return std::move(decoded->event);
}

TEST(ConnectorFrameDecoder, EveryMessage_HasItsKindAndClass) {
  using enum FrameClass;
  event_of(RegisterRequest{}, control, EventKind::registration);
  event_of(RegisterResponse{}, control, EventKind::registration);
  event_of(ApprovalNotification{}, control, EventKind::registration);
  event_of(CredentialsIssued{}, control, EventKind::registration);
  event_of(ExecuteRequest{}, request, EventKind::request);
  event_of(ExecuteResponse{}, control, EventKind::response);
  event_of(InvokeRequest{}, request, EventKind::request);
  event_of(InvokeResponse{}, control, EventKind::response);
  event_of(HeartbeatRequest{}, control, EventKind::heartbeat);
  event_of(HeartbeatResponse{}, control, EventKind::heartbeat);
  event_of(WebSocketOpenRequest{}, request, EventKind::stream);
  event_of(WebSocketOpenResponse{}, control, EventKind::stream);
  event_of(WebSocketFrame{}, control, EventKind::stream);
  event_of(WebSocketCloseRequest{}, control, EventKind::stream);
  event_of(MetricsReport{}, control, EventKind::metrics);
  event_of(UnknownMessage{.empty = false, .field_number = 99}, control, EventKind::stream);
  static_assert(std::variant_size_v<ConnectorMessage> == 16, "a new message needs a line here");
}

TEST(ConnectorFrameDecoder, SessionInTheContext_BecomesTheNativeSession) {
  const StringMap context{{kSessionIdKey, "session-7"}, {"tenant_id", "t"}};
  ExecuteRequest execute;
  execute.request_id = "r1";
  execute.context = context;
  InvokeRequest invoke;
  invoke.request_id = "r2";
  invoke.context = context;
  const auto executed = event_of(execute, FrameClass::request, EventKind::request);
  const auto invoked = event_of(invoke, FrameClass::request, EventKind::request);
  ASSERT_TRUE(executed && invoked);
  EXPECT_EQ(executed->routing().native_session_id, "session-7");
  EXPECT_EQ(invoked->routing().native_session_id, "session-7");
}

TEST(ConnectorFrameDecoder, NoSessionInTheContext_LeavesTheStreamsRouting) {
  ExecuteRequest execute;
  execute.context = {{"user_id", "u"}};
  const auto event = event_of(execute, FrameClass::request, EventKind::request);
  ASSERT_TRUE(event);
  EXPECT_FALSE(event->routing().native_session_id.has_value());
}

TEST(ConnectorFrameDecoder, EmptyFrame_IsAnUnknownMessage) {
  const auto decoded = ConnectorFrameDecoder().decode({}, identity());
  ASSERT_TRUE(decoded.has_value());
  ASSERT_NE(decoded->event->get_if<UnknownMessage>(), nullptr);
  EXPECT_TRUE(decoded->event->get_if<UnknownMessage>()->empty);
  EXPECT_EQ(decoded->frame_class, FrameClass::control);
}

TEST(ConnectorFrameDecoder, NoProtobuf_IsMalformed) {
  const auto decoded = ConnectorFrameDecoder().decode("\xff\xff\xff", identity());
  ASSERT_FALSE(decoded.has_value());
  EXPECT_TRUE(decoded.error().is(errc::malformed_frame));
}

}  // namespace
}  // namespace sharingbus::transport

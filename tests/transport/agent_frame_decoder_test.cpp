#include "transport/codec/agent_frame_decoder.hpp"

#include <string>
#include <variant>

#include <gtest/gtest.h>

#include "tests/transport/agent_samples.hpp"
#include "transport/codec/agent_codec.hpp"

namespace sharingbus::transport {
namespace {

using namespace agent_messages;  // NOLINT(google-build-using-namespace): the subject's vocabulary
using agent_samples::Carried;

StreamIdentity identity() {
  StreamIdentity identity;
  identity.routing.connector_uid = random_uuid();
  identity.routing.connector_id = "waf";
  identity.source = 42;
  return identity;
}

/// Every message arrives as an event of its struct, with the stream's routing, and costs what it should.
template <class Any>
void check(const std::vector<Any>& messages, AgentRole role, AgentCarrier carrier, AgentWire wire) {
  const AgentFrameDecoder sut(role, carrier);
  const StreamIdentity stream = identity();
  for (const Any& message : messages) {
    auto decoded = sut.decode(encode_agent_message(message, wire).value(), stream);
    ASSERT_TRUE(decoded.has_value()) << to_string(decoded.error());
    const BusEvent& event = *decoded->event;
    EXPECT_EQ(event.type_name(), message_name(message));
    EXPECT_EQ(event.routing().connector_uid, stream.routing.connector_uid);
    EXPECT_EQ(event.routing().connector_id, stream.routing.connector_id);
    EXPECT_EQ(event.source(), stream.source);
    std::visit(
        [&](const auto& held) {
          using Message = std::decay_t<decltype(held)>;
          EXPECT_EQ(event.kind(), Message::event_kind);
          ASSERT_NE(event.get_if<Message>(), nullptr);
          EXPECT_TRUE(*event.get_if<Message>() == held) << Message::event_name;
        },
        message);
    const bool is_event = event.kind() == EventKind::request;
    const FrameClass expected = role == AgentRole::agent && is_event ? FrameClass::request : FrameClass::control;
    EXPECT_EQ(decoded->frame_class, expected) << event.type_name();
    EXPECT_EQ(agent_frame_class_of(event, role), expected) << event.type_name();
  }
}

TEST(AgentFrameDecoder, WhatAnAgentReads_OnEveryWire) {
  check(agent_samples::of_proxy(Carried::grpc), AgentRole::agent, AgentCarrier::grpc, AgentWire::protobuf);
  check(agent_samples::of_proxy(Carried::uds), AgentRole::agent, AgentCarrier::uds, AgentWire::json);
  check(agent_samples::of_proxy(Carried::uds), AgentRole::agent, AgentCarrier::uds, AgentWire::msgpack);
}

TEST(AgentFrameDecoder, WhatAProxyReads_OnEveryWire) {
  check(agent_samples::of_agent(Carried::grpc), AgentRole::proxy, AgentCarrier::grpc, AgentWire::protobuf);
  check(agent_samples::of_agent(Carried::uds), AgentRole::proxy, AgentCarrier::uds, AgentWire::json);
  check(agent_samples::of_agent(Carried::uds), AgentRole::proxy, AgentCarrier::uds, AgentWire::msgpack);
}

TEST(AgentFrameDecoder, InvalidMessages_CostWhatTheyShouldHaveBeen) {
  const AgentFrameDecoder agent(AgentRole::agent, AgentCarrier::uds);
  const auto of = [&](std::string_view frame) { return agent.decode(frame, identity()).value().frame_class; };
  EXPECT_EQ(of(R"()"
               "\x12"
               R"({"correlation_id":"c"})"),
            FrameClass::request);
  EXPECT_EQ(of("\x41{}"), FrameClass::control);
  EXPECT_FALSE(agent_frame_class_of(*make_event(AgentResponse{}, Routing{}), AgentRole::agent).has_value());
}

TEST(AgentFrameDecoder, BrokenFrame_IsAnError) {
  const AgentFrameDecoder sut(AgentRole::agent, AgentCarrier::grpc);
  EXPECT_TRUE(sut.decode("\x12\xff", identity()).error().is(errc::malformed_frame));
}

}  // namespace
}  // namespace sharingbus::transport

// Both ends of a Phoenix channel, message by message (protocol-connector §3.2, §3.3).
#include "transport/websocket/phoenix_protocol.hpp"

#include <memory>
#include <string>

#include <gtest/gtest.h>

namespace sharingbus::transport {
namespace {

using Role = MessageProtocol::Role;

constexpr const char* kJoin = R"(["1","1","connector:lobby","phx_join",{}])";
constexpr const char* kJoined = R"(["1","1","connector:lobby","phx_reply",{"status":"ok","response":{}}])";
constexpr const char* kUnmatched = R"({"status":"error","response":{"reason":"unmatched topic"}})";

class Phoenix : public testing::Test {
 protected:
  const std::shared_ptr<const MessageProtocol> protocol = make_phoenix_protocol();
  const std::unique_ptr<MessageChannel> dialer = protocol->make_channel(Role::dialer);
  const std::unique_ptr<MessageChannel> listener = protocol->make_channel(Role::listener);

  static std::string sent(const ProtocolStep& step) {
    if (!step.reply) return "nothing";
    EXPECT_FALSE(step.reply->binary);
    return step.reply->bytes;
  }
  static bool nothing(const ProtocolStep& step) {
    return !step.reply && !step.opened && !step.frame && !step.finished && !step.error;
  }
  ProtocolStep to_dialer(std::string_view text) { return dialer->receive(text, false); }
  ProtocolStep to_listener(std::string_view text) { return listener->receive(text, false); }
  void join() {
    EXPECT_EQ(sent(dialer->begin()), kJoin);
    EXPECT_TRUE(nothing(listener->begin()));
    const ProtocolStep joined = to_listener(kJoin);
    EXPECT_TRUE(joined.opened);
    EXPECT_EQ(sent(joined), kJoined);
    EXPECT_TRUE(to_dialer(sent(joined)).opened);
  }
};

TEST_F(Phoenix, Join_ThenFrames_CountTheirRefsAsTheReferenceDoes) {
  join();
  EXPECT_EQ(dialer->encode("a").bytes, R"(["1","2","connector:lobby","proto",{"data":"YQ=="}])");
  EXPECT_EQ(dialer->heartbeat()->bytes, R"([null,"3","phoenix","heartbeat",{}])");
  EXPECT_EQ(dialer->encode("").bytes, R"(["1","4","connector:lobby","proto",{"data":""}])");
  EXPECT_EQ(listener->encode("a").bytes, R"(["1",null,"connector:lobby","proto",{"data":"YQ=="}])");
  EXPECT_FALSE(listener->heartbeat());
  EXPECT_EQ(dialer->farewell()->bytes, R"(["1","5","connector:lobby","phx_leave",{}])");
  EXPECT_FALSE(listener->farewell());
}

TEST_F(Phoenix, Frames_BothWays_Arrive) {
  join();
  const ProtocolStep up = to_listener(dialer->encode("up").bytes);
  ASSERT_TRUE(up.frame);
  EXPECT_EQ(*up.frame, "up");
  EXPECT_FALSE(up.reply);
  const ProtocolStep down = to_dialer(listener->encode("down").bytes);
  ASSERT_TRUE(down.frame);
  EXPECT_EQ(*down.frame, "down");
  const ProtocolStep in_reply =
      to_dialer(R"(["1","9","connector:lobby","phx_reply",{"status":"ok","response":{"data":"aW4="}}])");
  ASSERT_TRUE(in_reply.frame);
  EXPECT_EQ(*in_reply.frame, "in");
  const ProtocolStep bare = dialer->receive("\x0a\x01x", true);
  ASSERT_TRUE(bare.frame);
  EXPECT_EQ(*bare.frame, "\x0a\x01x");
}

TEST_F(Phoenix, Join_AnotherReplyOrTopic_IsNotTheAnswer) {
  dialer->begin();
  for (const char* other : {R"(["1","2","connector:lobby","phx_reply",{"status":"ok","response":{}}])",
                            R"(["1","1","other","phx_reply",{"status":"ok","response":{}}])",
                            R"([null,"1","phoenix","phx_reply",{"status":"ok","response":{}}])",
                            R"(["1","1","connector:lobby","presence_state",{}])", "{}"}) {
    EXPECT_TRUE(nothing(to_dialer(other))) << other;
  }
  EXPECT_TRUE(to_dialer(kJoined).opened);
}

TEST_F(Phoenix, Join_Refused_SaysWhy) {
  dialer->begin();
  const ProtocolStep refused =
      to_dialer(R"(["1","1","connector:lobby","phx_reply",{"status":"error","response":{"reason":"full"}}])");
  EXPECT_TRUE(refused.error.is(errc::connection_refused));
  EXPECT_EQ(refused.error.message, "the server refused to join 'connector:lobby': full");
  EXPECT_FALSE(refused.opened);
}

TEST_F(Phoenix, Join_DataBeforeTheAnswer_IsNotLost) {
  dialer->begin();
  const ProtocolStep early = to_dialer(R"([null,null,"connector:lobby","proto",{"data":"YQ=="}])");
  EXPECT_TRUE(early.opened);
  ASSERT_TRUE(early.frame);
  EXPECT_EQ(*early.frame, "a");
  EXPECT_TRUE(nothing(to_dialer(kJoined)));
}

TEST_F(Phoenix, Dialer_WhatEndsTheStream) {
  join();
  EXPECT_TRUE(to_dialer(R"(["1","1","x","phx_error",{}])").error.is(errc::stream_failed));
  EXPECT_TRUE(to_dialer(R"(["1","1","x","phx_close",{}])").finished);
  const ProtocolStep unknown = to_dialer(std::string(R"(["1","5","x","phx_reply",)") + kUnmatched + "]");
  EXPECT_TRUE(unknown.error.is(errc::stream_failed));
  EXPECT_TRUE(to_dialer("no json").error.is(errc::malformed_frame));
  EXPECT_TRUE(to_dialer(R"(["1","1","t","proto",{"data":"!"}])").error.is(errc::malformed_frame));
  EXPECT_TRUE(to_dialer(R"(["1","1","t","proto",{}])").error.is(errc::malformed_frame));
}

TEST_F(Phoenix, Dialer_WhatDoesNot) {
  join();
  EXPECT_TRUE(nothing(
      to_dialer(R"(["1","5","connector:lobby","phx_reply",{"status":"error","response":{"reason":"other"}}])")));
  EXPECT_TRUE(nothing(to_dialer(R"(["1","5","connector:lobby","whatever",{}])")));
  EXPECT_TRUE(nothing(to_dialer("[1,2,3]")));
}

TEST_F(Phoenix, Heartbeats_AreAnsweredWithWhatTheyCameWith) {
  const std::string beat = R"(["x",7,"phoenix","heartbeat",{"any":"thing"}])";
  const std::string answer = R"(["x",7,"phoenix","phx_reply",{"status":"ok","response":{}}])";
  EXPECT_EQ(sent(to_dialer(beat)), answer);
  EXPECT_EQ(sent(to_listener(beat)), answer);
}

TEST_F(Phoenix, Listener_BeforeJoining_KnowsNoTopic) {
  EXPECT_EQ(sent(to_listener(R"([null,"3","connector:lobby","proto",{"data":"YQ=="}])")),
            std::string(R"([null,"3","connector:lobby","phx_reply",)") + kUnmatched + "]");
  const ProtocolStep other = to_listener(R"(["1","1","room:1","phx_join",{}])");
  EXPECT_EQ(sent(other), std::string(R"(["1","1","room:1","phx_reply",)") + kUnmatched + "]");
  EXPECT_FALSE(other.opened);
  EXPECT_TRUE(listener->receive("\x0a\x01x", true).error.is(errc::protocol_violation));
}

TEST_F(Phoenix, Listener_JoinedAgain_AnswersWithTheNewRef) {
  join();
  const ProtocolStep again = to_listener(R"(["9","9","connector:lobby","phx_join",{}])");
  EXPECT_FALSE(again.opened);
  EXPECT_EQ(sent(again), R"(["9","9","connector:lobby","phx_reply",{"status":"ok","response":{}}])");
  EXPECT_EQ(listener->encode("a").bytes, R"(["9",null,"connector:lobby","proto",{"data":"YQ=="}])");
}

TEST_F(Phoenix, Listener_Leave_IsAnsweredAndEnds) {
  join();
  const ProtocolStep leave = to_listener(R"(["1","8","connector:lobby","phx_leave",{}])");
  EXPECT_TRUE(leave.finished);
  EXPECT_EQ(sent(leave), R"(["1","8","connector:lobby","phx_reply",{"status":"ok","response":{}}])");
}

TEST_F(Phoenix, Listener_BinaryPushes_AreFramesToo) {
  join();
  const std::string head = std::string("\x00\x01\x01\x0f\x05", 5) + "12connector:lobby";
  const ProtocolStep push = listener->receive(head + "proto" + "payload", true);
  ASSERT_TRUE(push.frame);
  EXPECT_EQ(*push.frame, "payload");
  EXPECT_TRUE(nothing(listener->receive(head + "other" + "payload", true)));
  const ProtocolStep bare = listener->receive("\x0a\x01x", true);
  ASSERT_TRUE(bare.frame);
  EXPECT_EQ(*bare.frame, "\x0a\x01x");
}

TEST_F(Phoenix, Target_PathAndVersion) {
  EXPECT_EQ(protocol->target(), "/socket/connector/websocket?vsn=2.0.0");
  EXPECT_FALSE(protocol->check_target("/socket/connector/websocket?vsn=2.0.0"));
  EXPECT_FALSE(protocol->check_target("/socket/connector/websocket?token=a&vsn=2.0.0"));
  EXPECT_FALSE(protocol->check_target("/socket/connector/websocket"));
  EXPECT_TRUE(protocol->check_target("/socket/connector/websocket?vsn=1.0.0").is(errc::invalid_argument));
  EXPECT_TRUE(protocol->check_target("/").is(errc::not_found));
  EXPECT_TRUE(protocol->check_target("/socket/connector/websocket/x").is(errc::not_found));
}

TEST_F(Phoenix, Sizes_TheLargestFrameFits) {
  join();
  for (const std::size_t size : {std::size_t{1}, std::size_t{1000}, std::size_t{100'000}})
    EXPECT_LE(dialer->encode(std::string(size, 'x')).bytes.size(), protocol->max_message_bytes(size));
  EXPECT_EQ(protocol->heartbeat_interval(Role::dialer), std::chrono::seconds(25));
  EXPECT_EQ(protocol->heartbeat_interval(Role::listener), Duration::zero());
}

}  // namespace
}  // namespace sharingbus::transport

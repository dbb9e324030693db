// Phoenix V2 messages (protocol-connector §3.2): bytes as the other side writes and reads them.
#include "transport/websocket/internal/phoenix_message.hpp"

#include <string>

#include <gtest/gtest.h>

namespace sharingbus::transport::internal {
namespace {

using Kind = PhoenixRef::Kind;

PhoenixRef text_ref(std::string text) {
  return {Kind::text, std::move(text)};
}

PhoenixMessage parsed(std::string_view text) {
  const auto result = parse_phoenix(text);
  EXPECT_TRUE(result.has_value()) << text << ": " << to_string(result.error());
  if (!result) return {};
  EXPECT_TRUE(result->has_value()) << "ignored: " << text;
  return result->value_or(PhoenixMessage());
}

bool ignored(std::string_view text) {
  const auto result = parse_phoenix(text);
  EXPECT_TRUE(result.has_value()) << text << ": " << to_string(result.error());
  return result && !result->has_value();
}

bool malformed(std::string_view text) {
  const auto result = parse_phoenix(text);
  return !result && result.error().is(errc::malformed_frame);
}

TEST(PhoenixMessage, Goldens_Written_AreTheSpecs) {
  EXPECT_EQ(write_phoenix(text_ref("1"), text_ref("1"), "connector:lobby", "phx_join", "{}"),
            R"(["1","1","connector:lobby","phx_join",{}])");
  EXPECT_EQ(write_phoenix({}, text_ref("7"), "phoenix", "heartbeat", "{}"), R"([null,"7","phoenix","heartbeat",{}])");
  EXPECT_EQ(
      write_phoenix(text_ref("x"), {Kind::number, "5"}, "phoenix", "phx_reply", R"({"status":"ok","response":{}})"),
      R"(["x",5,"phoenix","phx_reply",{"status":"ok","response":{}}])");
  EXPECT_EQ(write_phoenix_frame(text_ref("1"), text_ref("2"), "connector:lobby", std::string("\x32\x00\xff", 3)),
            R"(["1","2","connector:lobby","proto",{"data":"MgD/"}])");
  EXPECT_EQ(write_phoenix_frame(text_ref("1"), {}, "t", "a"), R"(["1",null,"t","proto",{"data":"YQ=="}])");
  EXPECT_EQ(write_phoenix_frame(text_ref("1"), {}, "t", ""), R"(["1",null,"t","proto",{"data":""}])");
}

TEST(PhoenixMessage, Goldens_Read_HaveWhatTheSpecNames) {
  const PhoenixMessage join = parsed(R"(["1","1","connector:lobby","phx_join",{}])");
  EXPECT_EQ(join, (PhoenixMessage{text_ref("1"), text_ref("1"), "connector:lobby", "phx_join", "", "", {}}));

  const PhoenixMessage reply = parsed(R"(["1","1","connector:lobby","phx_reply",{"status":"ok","response":{}}])");
  EXPECT_EQ(reply.status, "ok");
  EXPECT_FALSE(reply.data);

  const PhoenixMessage error =
      parsed(R"(["1","3","connector:lobby","phx_reply",{"response":{"reason":"unmatched topic"},"status":"error"}])");
  EXPECT_EQ(error.status, "error");
  EXPECT_EQ(error.reason, "unmatched topic");

  const PhoenixMessage data = parsed(R"(["1","4","connector:lobby","proto",{"data":"YQ=="}])");
  EXPECT_EQ(data.data, "YQ==");
  const PhoenixMessage in_reply =
      parsed(R"([null,null,"connector:lobby","phx_reply",{"status":"ok","response":{"data":"YQ=="}}])");
  EXPECT_EQ(in_reply.data, "YQ==");
  EXPECT_EQ(in_reply.join_ref, PhoenixRef());

  const PhoenixMessage beat = parsed(R"([null,"25","phoenix","heartbeat",{}])");
  EXPECT_EQ(beat.topic, "phoenix");
  EXPECT_EQ(beat.ref, text_ref("25"));
}

TEST(PhoenixMessage, Read_AnythingBesides_IsNoHindrance) {
  // More elements, blanks, numbers for refs, escapes, what is nested elsewhere.
  const PhoenixMessage message = parsed(
      " [ 1 , -2 , \"t\\u00e9\\n\" , \"proto\" , {\"x\":[{\"data\":\"no\"}],\"response\":{\"y\":{\"data\":\"no\"},"
      "\"data\":\"in\"},\"z\":{\"data\":\"no\"},\"status\":\"o\\u006b\"} , \"more\", {\"data\":\"no\"} ] ");
  EXPECT_EQ(message.join_ref, (PhoenixRef{Kind::number, "1"}));
  EXPECT_EQ(message.ref, (PhoenixRef{Kind::number, "-2"}));
  EXPECT_EQ(message.topic, "t\xc3\xa9\n");
  EXPECT_EQ(message.data, "in");
  EXPECT_EQ(message.status, "ok");
  // The last of two counts.
  EXPECT_EQ(parsed(R"(["1","1","t","proto",{"data":"one","data":"two"}])").data, "two");
  // A payload of another kind has nothing.
  EXPECT_FALSE(parsed(R"(["1","1","t","proto","data"])").data);
  EXPECT_FALSE(parsed(R"(["1","1","t","proto",["data"]])").data);
  EXPECT_FALSE(parsed(R"(["1","1","t","proto",{"data":5}])").data);
}

TEST(PhoenixMessage, Read_NoArrayOfFiveWithStrings_IsIgnored) {
  for (const char* text : {"{}", "5", "null", "\"text\"", "[]", R"(["1","1","t","e"])", R"(["1","1",null,"e",{}])",
                           R"(["1","1","t",7,{}])", R"(["1",["1"],"t","e",{}])", R"([{},"1","t","e",{}])",
                           R"([true,"1","t","e",{}])", R"(["1",1.5,"t","e",{}])"}) {
    EXPECT_TRUE(ignored(text)) << text;
  }
}

TEST(PhoenixMessage, Read_NoJson_IsMalformed) {
  for (const char* text : {"", " ", "[", "hello", R"(["1","1","t","e",{})", R"(["1","1","t","e",{}]])",
                           R"(["1","1","t","e",{}] x)", "[1,]", R"({"data")"}) {
    EXPECT_TRUE(malformed(text)) << text;
  }
  // Deeper than anybody nests by accident.
  EXPECT_TRUE(malformed(std::string(10'000, '[') + std::string(10'000, ']')));
}

TEST(PhoenixMessage, Read_WhatWasWritten_IsTheSame) {
  std::string every_byte;
  for (int byte = 0; byte < 256; ++byte)
    every_byte += static_cast<char>(byte);
  for (std::size_t size : {0U, 1U, 2U, 3U, 100U, 256U}) {
    const std::string frame = every_byte.substr(0, size);
    const std::string text = write_phoenix_frame(text_ref("a\"b"), text_ref("\\"), "top\tic", frame);
    const PhoenixMessage message = parsed(text);
    EXPECT_EQ(message.join_ref, text_ref("a\"b"));
    EXPECT_EQ(message.ref, text_ref("\\"));
    EXPECT_EQ(message.topic, "top\tic");
    ASSERT_TRUE(message.data);
    const auto decoded = decode_phoenix_data(*message.data);
    ASSERT_TRUE(decoded.has_value());
    EXPECT_EQ(*decoded, frame);
  }
}

TEST(PhoenixMessage, Data_Base64OrElseHexadecimal) {
  EXPECT_EQ(decode_phoenix_data("YWJj").value(), "abc");
  EXPECT_EQ(decode_phoenix_data("YQ==").value(), "a");
  // Base64 comes first, so what could be both is not taken for hexadecimal.
  EXPECT_EQ(decode_phoenix_data("abcd").value(), "\x69\xb7\x1d");
  EXPECT_EQ(decode_phoenix_data("0A1b2C").value(), "\x0a\x1b\x2c");
  EXPECT_EQ(decode_phoenix_data("0a").value(), "\x0a");
  for (const char* text : {"!", "YQ=", "YQ", "Y", "=", "zz-_", "0a1", "0a0b0"}) {
    const auto decoded = decode_phoenix_data(text);
    ASSERT_FALSE(decoded.has_value()) << text;
    EXPECT_TRUE(decoded.error().is(errc::malformed_frame));
  }
}

TEST(PhoenixMessage, Push_BinaryOfTheV2Serializer) {
  // kind, four sizes, join_ref, ref, topic, event, data
  const std::string push =
      std::string("\x00\x01\x01\x0f\x05", 5) + "12connector:lobbyproto" + std::string("\x0a\x00", 2);
  const auto message = parse_phoenix_push(push);
  ASSERT_TRUE(message);
  EXPECT_EQ(message->join_ref, text_ref("1"));
  EXPECT_EQ(message->ref, text_ref("2"));
  EXPECT_EQ(message->topic, "connector:lobby");
  EXPECT_EQ(message->event, "proto");
  EXPECT_EQ(message->data, std::string("\x0a\x00", 2));
  for (std::size_t size = 0; size < push.size() - 2; ++size)
    EXPECT_FALSE(parse_phoenix_push(push.substr(0, size))) << size;
  // A frame of the connector protocol begins with the tag of a field, never with 0.
  EXPECT_FALSE(parse_phoenix_push("\x0a\x05hello"));
}

TEST(PhoenixMessage, Push_NamesThatAreNoText_AreNoPush) {
  // They would come back in a reply, and that is a text message.
  const std::string push = std::string("\x00\x01\x01\x01\x01", 5) + "12te" + "data";
  ASSERT_TRUE(parse_phoenix_push(push));
  for (std::size_t field = 0; field < 4; ++field) {
    std::string broken = push;
    broken[5 + field] = '\xff';
    EXPECT_FALSE(parse_phoenix_push(broken)) << field;
  }
}

}  // namespace
}  // namespace sharingbus::transport::internal

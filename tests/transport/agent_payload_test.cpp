// What the payloads of Unix socket frames may look like: keys in any number and order, texts in any spelling; and that
// what is kept between messages does not show.
#include <stdexcept>
#include <string>
#include <utility>

#include <gtest/gtest.h>

#include "transport/codec/agent_codec.hpp"

namespace sharingbus::transport {
namespace {

using namespace agent_messages;  // NOLINT(google-build-using-namespace): the subject's vocabulary

template <class Message>
Message read(char type, const std::string& payload) {
  auto message = decode_for_agent_uds(std::string(1, type) + payload);
  if (!message) throw std::runtime_error(to_string(message.error()));
  return std::get<Message>(*std::move(message));
}
GuardrailInspect guardrail(const std::string& more) {
  return read<GuardrailInspect>(0x16, R"({"correlation_id":"c","inspection_type":"t","content":"x",)" + more + "}");
}
std::string configuration(const std::string& json) {
  return read<Configure>(0x17, R"({"correlation_id":"c","config":)" + json + "}").config_json;
}

TEST(AgentPayload, EqualKeys_TheLastCounts_EvenIfThoseBeforeAreWrong) {
  EXPECT_EQ(guardrail(R"("model":7,"model":{"a":[1]},"model":"last")").model, "last");
  EXPECT_EQ(guardrail(R"("metadata":{"a":1,"b":"2","a":"3"})").metadata, (StringMap{{"a", "3"}, {"b", "2"}}));
  EXPECT_EQ(configuration(R"({"a":[{"b":1,"b":2}],"c":{},"a":true,"d":"e","c":null})"),
            R"({"a":true,"d":"e","c":null})");
}

TEST(AgentPayload, EqualKeys_InMessagePack_TheLastCounts) {
  const std::string ping = std::string("\x41\x83\xA8sequence\x01") + "\xACtimestamp_ms\x05" + "\xA8sequence\x02";
  const auto message = decode_for_agent_uds(ping);
  ASSERT_TRUE(message.has_value()) << to_string(message.error());
  EXPECT_EQ(std::get<Ping>(*message), (Ping{.sequence = 2, .timestamp_ms = 5}));
}

TEST(AgentPayload, ManyKeys_AreToldApart) {
  // More than there are marks for keys.
  std::string members;
  StringMap expected;
  for (int round = 0; round < 2; ++round) {
    for (int i = 0; i < 1000; ++i) {
      const std::string key = "key" + std::to_string(i);
      const std::string value = std::to_string(i * 2 + round);
      members += (members.empty() ? "\"" : ",\"") + key + R"(":")" + value + '"';
      expected[key] = value;
    }
  }
  EXPECT_EQ(guardrail(R"("metadata":{)" + members + "}").metadata, expected);
}

TEST(AgentPayload, FieldsInAnyOrder_AndUnknownOnesBetween_AreFound) {
  const auto message = read<RequestComplete>(
      0x14, R"({"error":"e","x":{"status":1},"duration_ms":3,"status":204,"y":[{}],"correlation_id":"c"})");
  EXPECT_EQ(message, (RequestComplete{.correlation_id = "c", .status = 204, .duration_ms = 3, .error = "e"}));
}

TEST(AgentPayload, EscapedTextsAndKeys_AreWhatTheyMean) {
  EXPECT_EQ(guardrail(R"("\u006dodel":"a\n\"\u00e9\ud83d\ude00\\")").model, "a\n\"\xC3\xA9\xF0\x9F\x98\x80\\");
  // Longer than what a parser unescapes at once.
  std::string written;
  std::string meant;
  for (int i = 0; i < 5000; ++i) {
    written += R"(ab\t)";
    meant += "ab\t";
  }
  EXPECT_EQ(guardrail(R"("model":")" + written + '"').model, meant);
  EXPECT_EQ(guardrail(R"("model":"","route_id":"\u0041")").route_id, "A");
}

TEST(AgentPayload, TextsThatJsonMustEscape_ComeBack) {
  for (const std::size_t length : {0U, 1U, 7U, 8U, 9U, 15U, 16U, 17U, 40U}) {
    for (const char odd : {'"', '\\', '\n', '\x1f', '\x7f', 'x'}) {
      for (std::size_t at = 0; at <= length; ++at) {
        GuardrailInspect message{.correlation_id = "c", .content = std::string(length, '~'), .inspection_type = "t"};
        message.content.insert(at, 1, odd);
        const auto bytes = encode_agent_message(message, AgentWire::json);
        ASSERT_TRUE(bytes.has_value());
        const auto back = decode_for_agent_uds(*bytes);
        ASSERT_TRUE(back.has_value()) << to_string(back.error());
        EXPECT_EQ(std::get<GuardrailInspect>(*back), message);
      }
    }
  }
}

TEST(AgentPayload, Numbers_KeepTheirKind) {
  EXPECT_EQ(configuration("[1,-2,1.5,18446744073709551615,true,null]"), "[1,-2,1.5E0,18446744073709551615,true,null]");
}

TEST(AgentProtobuf, NothingIsLeft_OfTheMessageBefore) {
  RequestHeaders full{.method = "POST", .uri = "/a", .http_version = "HTTP/2", .headers = {{"a", "b"}, {"c", "d"}}};
  full.metadata.correlation_id = "one";
  full.metadata.server_name = "s";
  full.metadata.route_id = "r";
  full.metadata.timestamp_ms = 7;
  RequestHeaders bare;
  bare.metadata.correlation_id = "two";
  AgentResponse answer{.correlation_id = "one", .decision = Block{.status = 403, .body = "b", .headers = {{"x", "y"}}}};
  answer.request_headers = {{HeaderOp::Action::set, "n", "v"}};
  answer.audit.tags = {"t"};
  const AgentResponse plain{.correlation_id = "two"};
  const auto there_and_back = [](const auto& message, auto decode) {
    const auto bytes = encode_agent_message(message, AgentWire::protobuf);
    return std::get<std::decay_t<decltype(message)>>(decode(*bytes).value());
  };
  for (int i = 0; i < 2; ++i) {
    EXPECT_EQ(there_and_back(full, decode_for_agent_protobuf), full);
    EXPECT_EQ(there_and_back(bare, decode_for_agent_protobuf), bare);
    // Broken in the middle of it, and without anything in it.
    const auto bytes = encode_agent_message(full, AgentWire::protobuf);
    EXPECT_FALSE(decode_for_agent_protobuf(std::string_view(*bytes).substr(0, bytes->size() - 3)).has_value());
    EXPECT_EQ(std::get<RequestHeaders>(decode_for_agent_protobuf(std::string("\x12\x00", 2)).value()),
              RequestHeaders());
    EXPECT_EQ(there_and_back(answer, decode_for_proxy_protobuf), answer);
    EXPECT_EQ(there_and_back(plain, decode_for_proxy_protobuf), plain);
  }
}

TEST(AgentProtobuf, AnotherKindBehindTheFirst_Counts) {
  // Of a oneof the last that was written.
  const auto first = encode_agent_message(RequestHeaders{.method = "GET"}, AgentWire::protobuf);
  const auto second = encode_agent_message(Ping{.sequence = 9}, AgentWire::protobuf);
  EXPECT_EQ(std::get<Ping>(decode_for_agent_protobuf(*first + *second).value()).sequence, 9U);
  EXPECT_EQ(std::get<RequestHeaders>(decode_for_agent_protobuf(*second + *first).value()).method, "GET");
}

}  // namespace
}  // namespace sharingbus::transport

#include "transport/codec/agent_codec.hpp"

#include <memory>
#include <string>
#include <utility>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/transport/agent_samples.hpp"
#include "transport/length_prefix_framing.hpp"

namespace sharingbus::transport {
namespace {

using namespace agent_messages;  // NOLINT(google-build-using-namespace): the subject's vocabulary
using agent_samples::Carried;
using testing::HasSubstr;
using testing::StartsWith;

constexpr char kHandshake = 0x01;
constexpr char kHandshakeResponse = 0x02;
constexpr char kRequestHeaders = 0x10;
constexpr char kRequestBodyChunk = 0x11;
constexpr char kResponseHeaders = 0x12;
constexpr char kAgentResponse = 0x20;
constexpr char kHealthStatus = 0x30;
constexpr char kMetricsReport = 0x31;
constexpr char kFlowControl = 0x33;
constexpr char kCancel = 0x40;
constexpr char kPing = 0x41;
constexpr char kPong = 0x42;

template <class Message>
std::string encoded(const Message& message, AgentWire wire) {
  auto bytes = encode_agent_message(message, wire);
  if (!bytes) throw std::runtime_error(to_string(bytes.error()));
  return *std::move(bytes);
}

std::string frame(char type, std::string_view payload) {
  return std::string(1, type) + std::string(payload);
}
/// As it is on the socket.
std::string framed(const std::string& bytes) {
  std::string out;
  LengthPrefixFraming().append_header(bytes.size(), out);
  return out + bytes;
}

template <class Message>
Message for_agent(const std::string& bytes) {
  auto message = decode_for_agent_uds(bytes);
  if (!message) throw std::runtime_error(to_string(message.error()));
  return std::get<Message>(*std::move(message));
}
template <class Message>
Message for_proxy(const std::string& bytes) {
  auto message = decode_for_proxy_uds(bytes);
  if (!message) throw std::runtime_error(to_string(message.error()));
  return std::get<Message>(*std::move(message));
}

// Every message through every wire that carries it.

TEST(AgentCodec, ProxyMessages_EveryWire_ComeBackAsTheyWere) {
  for (const ProxyToAgent& message : agent_samples::of_proxy(Carried::grpc)) {
    const auto back = decode_for_agent_protobuf(encoded(message, AgentWire::protobuf));
    ASSERT_TRUE(back.has_value()) << message_name(message) << ": " << to_string(back.error());
    EXPECT_TRUE(*back == message) << message_name(message);
  }
  for (const AgentWire wire : {AgentWire::json, AgentWire::msgpack}) {
    for (const ProxyToAgent& message : agent_samples::of_proxy(Carried::uds)) {
      const auto back = decode_for_agent_uds(encoded(message, wire));
      ASSERT_TRUE(back.has_value()) << message_name(message) << ": " << to_string(back.error());
      EXPECT_TRUE(*back == message) << message_name(message) << " " << encoded(message, AgentWire::json);
    }
  }
}

TEST(AgentCodec, AgentMessages_EveryWire_ComeBackAsTheyWere) {
  for (const AgentToProxy& message : agent_samples::of_agent(Carried::grpc)) {
    const auto back = decode_for_proxy_protobuf(encoded(message, AgentWire::protobuf));
    ASSERT_TRUE(back.has_value()) << message_name(message) << ": " << to_string(back.error());
    EXPECT_TRUE(*back == message) << message_name(message);
  }
  for (const AgentWire wire : {AgentWire::json, AgentWire::msgpack}) {
    for (const AgentToProxy& message : agent_samples::of_agent(Carried::uds)) {
      const auto back = decode_for_proxy_uds(encoded(message, wire));
      ASSERT_TRUE(back.has_value()) << message_name(message) << ": " << to_string(back.error());
      EXPECT_TRUE(*back == message) << message_name(message) << " " << encoded(message, AgentWire::json);
    }
  }
}

TEST(AgentCodec, Encode_WhatAWireDoesNotCarry_SaysWhich) {
  EXPECT_THAT(encode_agent_message(LogMessage{}, AgentWire::json).error().message,
              testing::StrEq("agent.log is not carried by Unix sockets"));
  EXPECT_THAT(encode_agent_message(ReverseRegistration{}, AgentWire::protobuf).error().message,
              testing::StrEq("agent.reverse_registration is not carried by gRPC"));
  for (const AgentWire wire : {AgentWire::protobuf, AgentWire::json, AgentWire::msgpack}) {
    EXPECT_TRUE(encode_agent_message(InvalidMessage{}, wire).error().is(errc::serialization_failed));
    EXPECT_TRUE(encode_agent_message(UnknownMessage{}, wire).error().is(errc::serialization_failed));
  }
}

// Golden bytes: the published examples, and what published peers write.

TEST(AgentCodecGolden, Ping_IsJson31Bytes) {
  const std::string expected = std::string("\x00\x00\x00\x20\x41", 5) + R"({"sequence":0,"timestamp_ms":1})";
  for (const AgentWire wire : {AgentWire::json, AgentWire::msgpack}) {
    EXPECT_EQ(framed(encoded(Ping{0, 1}, wire)), expected);
  }
  EXPECT_EQ(for_agent<Ping>(expected.substr(4)), (Ping{0, 1}));
}

TEST(AgentCodecGolden, EmptyPong_IsOne) {
  const std::string bytes("\x00\x00\x00\x01\x42", 5);
  auto parser = LengthPrefixFraming().make_parser(kAgentUdsFrameBytesMax);
  std::string_view rest = bytes;
  const auto cut = parser->next(rest);
  ASSERT_TRUE(cut.has_value() && cut->has_value());
  EXPECT_EQ(for_proxy<Pong>(std::string(**cut)), Pong{});
}

TEST(AgentCodecGolden, MinimalAllowAnswer_BothWays) {
  const std::string expected = std::string("\x00\x00\x00\x4C\x20", 5) +
                               R"({"version":2,"decision":"allow","audit":{"custom":{"correlation_id":"c1"}}})";
  const AgentResponse allow{.correlation_id = "c1"};
  EXPECT_EQ(framed(encoded(allow, AgentWire::json)), expected);
  EXPECT_EQ(for_proxy<AgentResponse>(expected.substr(4)), allow);
}

TEST(AgentCodecGolden, NamedMsgpackAnswer_OfTenKeys_IsRead) {
  const std::string bytes = std::string("\x20\x8A\xA7version\x02\xA8") + "decision\xA5" + "allow\xAF" +
                            "request_headers\x90\xB0" + "response_headers\x90\xB0" + "routing_metadata\x80\xA5" +
                            "audit\x85\xA4tags\x90\xA8rule_ids\x90\xAA" + "confidence\xC0\xAC" +
                            "reason_codes\x90\xA6" + "custom\x81\xAE" + "correlation_id\xA2" +
                            "c1\xAAneeds_more\xC2\xB5" + "request_body_mutation\xC0\xB6" +
                            "response_body_mutation\xC0\xB2" + "websocket_decision\xC0";
  EXPECT_EQ(for_proxy<AgentResponse>(bytes), (AgentResponse{.correlation_id = "c1"}));
}

TEST(AgentCodecGolden, PositionalMsgpackAnswer_IsRead) {
  const std::string bytes = std::string("\x20\x9A\x02\xA5") + "allow\x90\x90\x80\x95\x90\x90\xC0\x90\x81\xAE" +
                            "correlation_id\xA2" + "c1\xC2\xC0\xC0\xC0";
  EXPECT_EQ(for_proxy<AgentResponse>(bytes), (AgentResponse{.correlation_id = "c1"}));
}

TEST(AgentCodecGolden, NamedMsgpackBlock_BothWays) {
  AgentResponse block{.correlation_id = "c1"};
  block.decision = Block{403, {}, {}};
  const std::string decision =
      std::string("\x81\xA5") + "block\x83\xA6status\xCD\x01\x93\xA4" + "body\xC0\xA7headers\xC0";
  const std::string bytes = encoded(block, AgentWire::msgpack);
  EXPECT_THAT(bytes, HasSubstr("decision" + decision));
  EXPECT_EQ(for_proxy<AgentResponse>(bytes), block);
}

TEST(AgentCodecGolden, ProtobufRequestHeaders_HaveTheirFieldNumbers) {
  RequestHeaders message;
  message.metadata.correlation_id = "c1";
  message.method = "GET";
  message.headers = {{"a", "b"}};
  const std::string expected =
      std::string("\x12\x13\x0A\x04\x0A\x02") + "c1\x12\x03GET\x2A\x06\x0A\x01" + "a\x12\x01" + "b";
  EXPECT_EQ(encoded(message, AgentWire::protobuf), expected);
  EXPECT_EQ(std::get<RequestHeaders>(decode_for_agent_protobuf(expected).value()), message);
}

TEST(AgentCodecGolden, ProtobufAllow_HasItsFieldNumbers) {
  AgentResponse message{.correlation_id = "c1"};
  message.request_headers = {{HeaderOp::Action::remove, "x", ""}};
  message.needs_more = true;
  const std::string expected = std::string("\x12\x0D\x0A\x02") + std::string("c1\x12\x00\x52\x03\x1A\x01x\x70\x01", 11);
  EXPECT_EQ(encoded(message, AgentWire::protobuf), expected);
  EXPECT_EQ(std::get<AgentResponse>(decode_for_proxy_protobuf(expected).value()), message);
}

TEST(AgentCodecGolden, PublishedProxysHandshake_IsRead) {
  const auto message = for_agent<HandshakeRequest>(frame(
      kHandshake, R"({"supported_versions":[2],"proxy_id":"zentinel-proxy","proxy_version":"0.6.45","config":null,)"
                  R"("supported_encodings":["json"]})"));
  EXPECT_EQ(message.supported_versions, std::vector<std::uint32_t>{2});
  EXPECT_EQ(message.proxy_id, "zentinel-proxy");
  EXPECT_EQ(message.config_json, "");
  EXPECT_EQ(message.supported_encodings, std::vector<std::string>{"json"});
}

TEST(AgentCodecGolden, PositionalEvents_OfOldProxies_AreRead) {
  // {"correlation_id": "c1", metadata: [11 elements, no traceparent], method, uri, headers}
  const std::string headers = std::string("\x10\x85\xAE") + "correlation_id\xA2" + "c1\xA8metadata\x9B\xA2" +
                              "c1\xA2r1\xA7" + "1.2.3.4\x50\xC0\xA8HTTP/1.1\xC0\xC0\xC0\xC0\xB4" +
                              "2026-01-01T00:00:00Z\xA6method\xA3GET\xA3uri\xA1/\xA7headers\x81\xA1h\x91\xA1v";
  const auto message = for_agent<RequestHeaders>(headers);
  EXPECT_EQ(message.metadata.correlation_id, "c1");
  EXPECT_EQ(message.metadata.client_port, 0x50);
  EXPECT_EQ(message.metadata.timestamp_ms, 1'767'225'600'000);
  EXPECT_EQ(message.headers, (Headers{{"h", "v"}}));

  // A chunk whose id is there twice.
  const std::string chunk = std::string("\x11\x84\xAE") + "correlation_id\xA2" + "c1\xAE" + "correlation_id\xA2" +
                            "c1\xA4" + "data\xA4YWJj\xA7is_last\xC3";
  EXPECT_EQ(for_agent<RequestBodyChunk>(chunk),
            (RequestBodyChunk{.correlation_id = "c1", .data = "abc", .is_last = true}));
}

// The rules of the two encodings.

TEST(AgentCodec, RequestHeaders_TopLevelId_InJsonOnly) {
  const RequestHeaders message = agent_samples::request_headers(Carried::uds);
  EXPECT_THAT(encoded(message, AgentWire::json), StartsWith(frame(kRequestHeaders, R"({"correlation_id":"c1",)")));
  EXPECT_THAT(encoded(message, AgentWire::msgpack), StartsWith(std::string("\x10\x84\xA8metadata")));
}

TEST(AgentCodec, AnswersId_TravelsInTheAuditAlone) {
  AgentResponse message{.correlation_id = "right"};
  message.audit.custom_json = {{"correlation_id", R"("smuggled")"}, {"score", "7"}};
  for (const AgentWire wire : {AgentWire::json, AgentWire::msgpack}) {
    const auto back = for_proxy<AgentResponse>(encoded(message, wire));
    EXPECT_EQ(back.correlation_id, "right");
    EXPECT_EQ(back.audit.custom_json, (StringMap{{"score", "7"}}));
  }
}

TEST(AgentCodec, CancelReasons_CountFromZeroOnUnixSockets) {
  for (int reason = 1; reason <= 6; ++reason) {
    const Cancel message{.correlation_id = "c", .reason = static_cast<CancelReason>(reason), .timestamp_ms = 1};
    const std::string bytes = encoded(message, AgentWire::msgpack);
    EXPECT_EQ(bytes, frame(kCancel, R"({"correlation_id":"c","reason":)" + std::to_string(reason - 1) +
                                        R"(,"timestamp_ms":1})"));
    EXPECT_EQ(for_agent<Cancel>(bytes), message);
    EXPECT_EQ(std::get<Cancel>(decode_for_agent_protobuf(encoded(message, AgentWire::protobuf)).value()), message);
  }
}

TEST(AgentCodec, ChunkData_Base64TextOrBinary_IsRaw) {
  const std::string json = frame(kRequestBodyChunk, R"({"correlation_id":"c","data":"AP+A","is_last":false})");
  EXPECT_EQ(for_agent<RequestBodyChunk>(json).data, std::string("\x00\xff\x80", 3));
  const std::string bin = std::string("\x13\x83\xAE") + "correlation_id\xA1" + "c\xA4" +
                          std::string("data\xC4\x03\x00\xff\x80", 9) + "\xA7is_last\xC2";
  EXPECT_EQ(for_agent<ResponseBodyChunk>(bin).data, std::string("\x00\xff\x80", 3));
  // Written as text in MessagePack too, because published agents want it so.
  EXPECT_THAT(encoded(RequestBodyChunk{.correlation_id = "c", .data = "abc"}, AgentWire::msgpack),
              HasSubstr("\xA4YWJj"));
}

TEST(AgentCodec, TextThatIsNotUtf8_IsRepairedOnEveryWire) {
  RequestHeaders message = agent_samples::request_headers(Carried::uds);
  message.uri = "/\xff";
  for (const AgentWire wire : {AgentWire::json, AgentWire::msgpack}) {
    EXPECT_EQ(for_agent<RequestHeaders>(encoded(message, wire)).uri, "/\xEF\xBF\xBD");
  }
  const auto back = decode_for_agent_protobuf(encoded(message, AgentWire::protobuf));
  EXPECT_EQ(std::get<RequestHeaders>(back.value()).uri, "/\xEF\xBF\xBD");
}

TEST(AgentCodec, JsonTexts_ThatAreNone_AreRefusedByTheSender) {
  Configure message = agent_samples::configure(Carried::uds);
  message.config_json = "{";
  for (const AgentWire wire : {AgentWire::json, AgentWire::msgpack}) {
    const auto refused = encode_agent_message(message, wire);
    ASSERT_FALSE(refused.has_value());
    EXPECT_THAT(refused.error().message, StartsWith("config is not JSON"));
  }
}

TEST(AgentCodec, GrpcAudit_PlainText_BecomesJson) {
  // custom {"a": "7", "b": "seven"}, as agents of both habits write it.
  const std::string bytes = std::string("\x12\x1F\x0A\x01") + std::string("c\x12\x00", 3) + "\x62\x18\x2A\x06\x0A\x01" +
                            "a\x12\x01" + "7" + "\x2A\x0E\x0A\x05" + "other\x12\x05seven";
  const auto message = decode_for_proxy_protobuf(bytes);
  ASSERT_TRUE(message.has_value()) << to_string(message.error());
  EXPECT_EQ(std::get<AgentResponse>(*message).audit.custom_json, (StringMap{{"a", "7"}, {"other", R"("seven")"}}));
}

TEST(AgentCodec, ReportsOfPublishedShapes_AreRead) {
  const auto degraded = for_proxy<HealthStatus>(
      frame(kHealthStatus, R"({"agent_id":"a","state":{"status":"degraded","disabled_features":["x"],)"
                           R"("timeout_multiplier":2.0},"message":null,"load":null,"timestamp_ms":1})"));
  EXPECT_EQ(degraded.state, HealthState::degraded);
  EXPECT_EQ(degraded.disabled_features, std::vector<std::string>{"x"});
  EXPECT_EQ(for_proxy<FlowControlSignal>(frame(kFlowControl, R"({"action":1})")).action, FlowAction::pause);
  EXPECT_EQ(for_proxy<FlowControlSignal>(frame(kFlowControl, R"({"action":"resume"})")).action, FlowAction::resume);
  EXPECT_EQ(for_proxy<FlowControlSignal>(frame(kFlowControl, R"({"action":{"type":"pause"}})")).action,
            FlowAction::pause);
  const auto metrics = for_proxy<MetricsReport>(frame(
      kMetricsReport, R"({"agent_id":"a","timestamp_ms":1,"interval_ms":2,"histograms":[{"name":"h","sum":1,)"
                      R"("count":2,"buckets":[{"le":1,"count":1},{"le":"2.5","count":1},{"le":"Inf","count":2}]}]})"));
  ASSERT_EQ(metrics.histograms.at(0).buckets.size(), 3U);
  EXPECT_EQ(metrics.histograms[0].buckets[1].le, 2.5);
  EXPECT_EQ(metrics.histograms[0].buckets[2].le, std::numeric_limits<double>::infinity());
}

TEST(AgentCodec, TimeStamps_Rfc3339AndDecimal_AreUnixTime) {
  const auto at = [](const std::string& text) {
    return for_agent<RequestHeaders>(
               frame(
                   kRequestHeaders,
                   R"({"metadata":{"correlation_id":"c","request_id":"r","client_ip":"","client_port":1,"protocol":"",)"
                   R"("timestamp":")" +
                       text + R"("},"method":"","uri":"","headers":{}})"))
        .metadata.timestamp_ms;
  };
  EXPECT_EQ(at("2026-01-01T00:00:00Z"), 1'767'225'600'000U);
  EXPECT_EQ(at("2026-01-01T01:30:00.123456789+01:30"), 1'767'225'600'123U);
  EXPECT_EQ(at("2024-02-29t23:59:60Z"), 1'709'251'200'000U);
  EXPECT_EQ(at("1767225600123"), 1'767'225'600'123U);
  for (const char* none : {"", "yesterday", "2026-02-30T00:00:00Z", "2026-01-01T00:00:00", "1969-12-31T23:59:59Z"}) {
    EXPECT_EQ(at(none), 0U) << none;
  }
}

// What is broken: one request's loss where it tells its request, else the stream's.

TEST(AgentCodecBroken, EventThatTellsItsRequest_IsInvalidMessage) {
  const auto invalid =
      for_agent<InvalidMessage>(frame(kResponseHeaders, R"({"correlation_id":"c1","status":70000,"headers":{}})"));
  EXPECT_EQ(invalid.kind, ResponseHeaders::event_name);
  EXPECT_EQ(invalid.correlation_id, "c1");
  EXPECT_EQ(invalid.error, "status is not an integer in range");
  EXPECT_EQ(for_agent<InvalidMessage>(frame(kRequestHeaders, R"({"metadata":{"correlation_id":"m1"}})")).correlation_id,
            "m1");
  const auto chunk = frame(kRequestBodyChunk, R"({"correlation_id":"c1","data":"not base64!","is_last":true})");
  EXPECT_EQ(for_agent<InvalidMessage>(chunk).error, "data is not base64 text");
  const auto answer =
      frame(kAgentResponse, R"({"version":2,"decision":"maybe","audit":{"custom":{"correlation_id":"c1"}}})");
  EXPECT_EQ(for_proxy<InvalidMessage>(answer), (InvalidMessage{AgentResponse::event_name, "c1", "decision is none"}));
}

TEST(AgentCodecBroken, AnswerWithoutDecision_IsNoConsent) {
  const std::string id = R"("audit":{"custom":{"correlation_id":"c1"}}})";
  EXPECT_EQ(for_proxy<InvalidMessage>(frame(kAgentResponse, R"({"version":2,)" + id)).error, "decision is missing");
  const std::string unset(
      "\x12\x04\x0A\x02"
      "c1",
      6);
  EXPECT_EQ(std::get<InvalidMessage>(decode_for_proxy_protobuf(unset).value()),
            (InvalidMessage{AgentResponse::event_name, "c1", "decision is missing"}));
  const std::string more(
      "\x12\x06\x0A\x02"
      "c1\x70\x01",
      8);
  EXPECT_TRUE(std::get<AgentResponse>(decode_for_proxy_protobuf(more).value()).needs_more);
}

TEST(AgentCodecBroken, EventWithoutId_EndsTheStream) {
  for (const std::string& payload :
       std::vector<std::string>{"", "{", "{}", "[]", "7", R"({"status":1})", "\xc1", "\x81"}) {
    const auto refused = decode_for_agent_uds(frame(kResponseHeaders, payload));
    ASSERT_FALSE(refused.has_value()) << payload;
    EXPECT_TRUE(refused.error().is(errc::malformed_frame));
    EXPECT_THAT(refused.error().message, StartsWith("agent.response_headers of "));
  }
  const auto answer = decode_for_proxy_uds(frame(kAgentResponse, R"({"version":2,"decision":"allow"})"));
  ASSERT_FALSE(answer.has_value());
  EXPECT_THAT(answer.error().message, HasSubstr("audit.custom.correlation_id is missing"));
}

TEST(AgentCodecBroken, Report_IsLostAlone) {
  EXPECT_EQ(for_proxy<InvalidMessage>(frame(kMetricsReport, R"({"agent_id":"a"})")),
            (InvalidMessage{MetricsReport::event_name, "", "timestamp_ms is missing"}));
}

TEST(AgentCodecBroken, Handshake_EndsTheStream) {
  EXPECT_THAT(decode_for_agent_uds(frame(kHandshake, R"({"proxy_id":"p"})")).error().message,
              HasSubstr("supported_versions is missing"));
  EXPECT_THAT(decode_for_proxy_uds(frame(kHandshakeResponse, R"({"protocol_version":2,"success":1})")).error().message,
              HasSubstr("success is not true or false"));
}

TEST(AgentCodecBroken, UnknownKinds_AreSkippedNotFatal) {
  for (const char type : {'\x00', '\x03', '\x18', '\x21', '\x43', '\xff'}) {
    EXPECT_EQ(for_agent<UnknownMessage>(frame(type, "whatever")).number, static_cast<unsigned char>(type));
    EXPECT_EQ(for_proxy<UnknownMessage>(frame(type, "")).number, static_cast<unsigned char>(type));
  }
  EXPECT_EQ(std::get<UnknownMessage>(decode_for_agent_protobuf(std::string("\x7A\x00", 2)).value()).number, 15U);
  EXPECT_EQ(std::get<UnknownMessage>(decode_for_proxy_protobuf("").value()).number, 0U);
}

TEST(AgentCodecBroken, KnownKinds_InTheWrongDirection_AreRefused) {
  EXPECT_THAT(decode_for_agent_uds(frame(kAgentResponse, "{}")).error().message,
              HasSubstr("type 0x20 is never sent in this direction"));
  EXPECT_THAT(decode_for_proxy_uds(frame(kPing, "{}")).error().message,
              HasSubstr("type 0x41 is never sent in this direction"));
  EXPECT_THAT(decode_for_agent_uds("").error().message, HasSubstr("it has no type"));
  EXPECT_TRUE(decode_for_agent_uds(frame(kPong, "")).error().is(errc::malformed_frame));
}

TEST(AgentCodecBroken, Protobuf_NamesTheField) {
  const auto text = decode_for_agent_protobuf(
      "\x12\x08\x0A\x06\x0A\x01"
      "c\x12\x01\xff");
  ASSERT_FALSE(text.has_value());
  EXPECT_THAT(text.error().message, HasSubstr("request_headers.metadata.request_id is not UTF-8"));
  EXPECT_THAT(decode_for_agent_protobuf("\x58\x01").error().message, HasSubstr("ping has the wrong wire type"));
  // client_port 65536
  const std::string port(
      "\x12\x09\x0A\x07\x0A\x01"
      "c\x20\x80\x80\x04",
      11);
  EXPECT_EQ(std::get<InvalidMessage>(decode_for_agent_protobuf(port).value()).error,
            "metadata.client_port is above 65535");
}

TEST(AgentCodecBroken, Nesting_IsBounded) {
  const auto configure = [](const std::string& value) {
    return frame(0x17, R"({"correlation_id":"c","config_version":null,"config":)" + value + "}");
  };
  EXPECT_TRUE(decode_for_agent_uds(configure(std::string(60, '[') + std::string(60, ']'))).has_value());
  EXPECT_FALSE(decode_for_agent_uds(configure(std::string(70, '[') + std::string(70, ']'))).has_value());
  EXPECT_FALSE(decode_for_agent_uds(frame(0x17, std::string(100'000, '\x91'))).has_value());
}

TEST(AgentCodecBroken, BinaryWhereJsonBelongs_IsRefused) {
  const std::string bytes = std::string("\x17\x82\xAE") + "correlation_id\xA1" + "c\xA6" + "config\xC4\x01x";
  EXPECT_EQ(for_agent<InvalidMessage>(bytes).error, "config is not JSON: it has binary data or infinite numbers");
}

// Framing, with the protocol's limits.

TEST(AgentFraming, LargestFrame_Passes_OneMoreDoesNot) {
  const LengthPrefixFraming framing;
  const auto header = [&framing](std::size_t size) {
    std::string out;
    framing.append_header(size, out);
    return out;
  };
  EXPECT_EQ(header(kAgentUdsFrameBytesMax), std::string("\x01\x00\x00\x00", 4));
  std::string largest = header(kAgentUdsFrameBytesMax) + std::string(kAgentUdsFrameBytesMax, 'x');
  std::string_view rest = largest;
  const auto whole = framing.make_parser(kAgentUdsFrameBytesMax)->next(rest);
  ASSERT_TRUE(whole.has_value() && whole->has_value());
  EXPECT_EQ((*whole)->size(), kAgentUdsFrameBytesMax);

  const std::string oversize = header(kAgentUdsFrameBytesMax + 1);
  rest = oversize;
  EXPECT_TRUE(framing.make_parser(kAgentUdsFrameBytesMax)->next(rest).error().is(errc::message_too_large));
  const std::string zero = header(0);
  rest = zero;
  EXPECT_TRUE(framing.make_parser(kAgentUdsFrameBytesMax)->next(rest).error().is(errc::malformed_frame));
}

TEST(AgentFraming, FramesInPieces_AreWhole) {
  const std::string bytes =
      framed(encoded(Ping{7, 8}, AgentWire::json)) + framed(encoded(Ping{9, 10}, AgentWire::json));
  auto parser = LengthPrefixFraming().make_parser(kAgentUdsFrameBytesMax);
  std::vector<std::uint64_t> seen;
  for (const char byte : bytes) {
    std::string_view rest(&byte, 1);
    const auto cut = parser->next(rest);
    ASSERT_TRUE(cut.has_value());
    if (*cut) seen.push_back(for_agent<Ping>(std::string(**cut)).sequence);
  }
  EXPECT_EQ(seen, (std::vector<std::uint64_t>{7, 9}));
  EXPECT_FALSE(parser->unfinished().has_value());
}

}  // namespace
}  // namespace sharingbus::transport

#include <cstdint>
#include <limits>
#include <random>
#include <set>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include <gtest/gtest.h>

#include "bus/base/error.hpp"
#include "tests/transport/connector_goldens.hpp"
#include "transport/codec/connector_peek.hpp"
#include "transport/codec/connector_protobuf.hpp"

namespace sharingbus::test {
namespace {

using namespace transport::messages;  // NOLINT(google-build-using-namespace): the subject's vocabulary
using transport::decode_connector_message;
using transport::encode_connector_message;

// The decoded message, or a failure and a message that equals nothing under test.
ConnectorMessage decoded(std::string_view bytes) {
  const auto result = decode_connector_message(bytes);
  if (result.has_value()) return *result;
  ADD_FAILURE() << to_string(result.error());
  return UnknownMessage{.empty = false, .field_number = 0};
}

template <class Message>
Message decoded_as(std::string_view bytes) {
  const auto message = decoded(bytes);
  if (const auto* held = std::get_if<Message>(&message)) return *held;
  ADD_FAILURE() << "decoded a " << message_name(message);
  return {};
}

// The text of the error that `bytes` must give.
std::string refusal(std::string_view bytes) {
  const auto result = decode_connector_message(bytes);
  if (result.has_value()) {
    ADD_FAILURE() << "decoded a " << message_name(*result);
    return {};
  }
  EXPECT_TRUE(result.error().is(errc::malformed_frame));
  return result.error().message;
}

// What every input must keep to: it fails as malformed, or it decodes to something that survives another round.
void expect_harmless(std::string_view bytes) {
  const auto result = decode_connector_message(bytes);
  if (!result.has_value()) {
    EXPECT_TRUE(result.error().is(errc::malformed_frame));
    return;
  }
  const auto canonical = encode_connector_message(*result);
  EXPECT_EQ(encode_connector_message(decoded(canonical)), canonical);
}

// The fields of a message, cut out of its bytes.
std::vector<std::string> split_fields(std::string_view body) {
  std::vector<std::string> fields;
  const auto varint_at = [body](std::size_t& at) {
    std::uint64_t value = 0;
    for (int shift = 0;; shift += 7) {
      const auto byte = static_cast<unsigned char>(body.at(at++));
      value |= std::uint64_t{byte & 0x7FU} << shift;
      if (byte < 0x80) return value;
    }
  };
  for (std::size_t at = 0; at < body.size();) {
    const std::size_t start = at;
    const auto wire_type = varint_at(at) & 7;
    if (wire_type == 0) varint_at(at);
    if (wire_type == 1) at += 8;
    if (wire_type == 2) {
      const auto size = varint_at(at);
      at += size;
    }
    fields.emplace_back(body.substr(start, at - start));
  }
  return fields;
}

TEST(ConnectorCodec, LiteralBytes_DecodeAndEncode) {
  // 06: heartbeat_request, length 7; 01: gateway_id "g1"; 02: timestamp_ms 300
  const std::string heartbeat("\x32\x07\x0A\x02g1\x10\xAC\x02", 9);
  const ConnectorMessage expected = HeartbeatRequest{.gateway_id = "g1", .timestamp_ms = 300};
  EXPECT_TRUE(decoded(heartbeat) == expected);
  EXPECT_EQ(encode_connector_message(expected), heartbeat);

  // 03: execute_request, length 19; 01: "r"; 02: "{}"; 03: JSON; 04: {01: "k", 02: ""}; 05: "c"
  const std::string execute(
      "\x1A\x13\x0A\x01r\x12\x02{}\x18\x01\x22\x05\x0A\x01k\x12\x00\x2A\x01"
      "c",
      21);
  const ConnectorMessage request = ExecuteRequest{.request_id = "r",
                                                  .payload = "{}",
                                                  .payload_encoding = PayloadEncoding::json,
                                                  .context = {{"k", ""}},
                                                  .capability_id = "c"};
  EXPECT_TRUE(decoded(execute) == request);
  EXPECT_EQ(encode_connector_message(request), execute);

  // 15: metrics_report, length 9; 06: avg_latency_ms 1.0
  const std::string metrics("\x7A\x09\x31\x00\x00\x00\x00\x00\x00\xF0\x3F", 11);
  EXPECT_EQ(decoded_as<MetricsReport>(metrics).avg_latency_ms, 1.0);
}

TEST(ConnectorCodec, GoldenBytes_DecodeToEveryField) {
  for (const auto& golden : connector_goldens()) {
    SCOPED_TRACE(golden.name);
    EXPECT_TRUE(decoded(golden.bytes()) == golden.message);
    EXPECT_EQ(message_name(golden.message), "connector." + std::string(golden.name));
  }
}

TEST(ConnectorCodec, GoldenMessages_EncodeToTheSameBytes) {
  for (const auto& golden : connector_goldens()) {
    SCOPED_TRACE(golden.name);
    EXPECT_EQ(encode_connector_message(golden.message), golden.bytes());
  }
}

TEST(ConnectorCodec, GoldenBytes_CoverEveryFieldOfTheProtocol) {
  std::set<std::uint32_t> numbers;
  for (const auto& golden : connector_goldens()) {
    SCOPED_TRACE(golden.name);
    numbers.insert(golden.number);
    std::set<char> tags;
    const auto fields = split_fields(golden.body);
    for (const auto& field : fields)
      tags.insert(field.front());
    EXPECT_EQ(tags.size(), golden.fields);
    for (std::size_t dropped = 0; dropped < fields.size(); ++dropped) {
      std::string body;
      for (std::size_t i = 0; i < fields.size(); ++i) {
        if (i != dropped) body += fields[i];
      }
      EXPECT_FALSE(decoded(Wire().bytes(golden.number, body)) == golden.message) << "without field " << dropped;
    }
  }
  EXPECT_EQ(numbers.size(), std::variant_size_v<ConnectorMessage> - 1);
}

TEST(ConnectorCodec, FieldsInAnyOrder_Decode) {
  for (const auto& golden : connector_goldens()) {
    if (golden.name == "register_request" || golden.name == "register_response") continue;  // order of repeated parts
    SCOPED_TRACE(golden.name);
    std::string reversed;
    for (const auto& field : split_fields(golden.body))
      reversed.insert(0, field);
    EXPECT_TRUE(decoded(Wire().bytes(golden.number, reversed)) == golden.message);
  }
}

TEST(ConnectorCodec, EmptyKnownMessage_IsThatMessageWithDefaults) {
  for (const auto& golden : connector_goldens()) {
    SCOPED_TRACE(golden.name);
    EXPECT_EQ(decoded(Wire().bytes(golden.number, "")).index(), golden.message.index());
  }
  EXPECT_EQ(decoded_as<RegisterResponse>(Wire().bytes(2, "")), RegisterResponse{});
  EXPECT_TRUE(decoded_as<RegisterResponse>(Wire().bytes(2, Wire().bytes(9, ""))).oidc_config.has_value());
  EXPECT_EQ(encode_connector_message(HeartbeatRequest{}), Wire().bytes(6, "").operator std::string());
}

TEST(ConnectorCodec, EmptyInput_IsUnknownAndEmpty) {
  EXPECT_EQ(decoded_as<UnknownMessage>(""), (UnknownMessage{.empty = true, .field_number = 0}));
  EXPECT_EQ(encode_connector_message(UnknownMessage{}), "");
}

TEST(ConnectorCodec, UnknownKind_GivesItsNumber) {
  for (const std::uint32_t number : {16U, 99U, 19'500U, (1U << 29) - 1}) {
    const UnknownMessage expected{.empty = false, .field_number = number};
    const std::string bytes = Wire().bytes(number, "from the future");
    EXPECT_EQ(decoded_as<UnknownMessage>(bytes), expected);
    const auto encoded = encode_connector_message(expected);
    EXPECT_EQ(encoded, Wire().bytes(number, "").operator std::string());
    EXPECT_EQ(decoded_as<UnknownMessage>(encoded), expected);
  }
  EXPECT_EQ(decoded_as<UnknownMessage>(Wire().varint(20, 1).bytes(30, "x")).field_number, 20U);
}

TEST(ConnectorCodec, UnknownKindWithNumberThatCannotBeWritten_EncodesEmpty) {
  for (const std::uint32_t number : {0U, 3U, 1U << 29, ~0U}) {
    EXPECT_EQ(encode_connector_message(UnknownMessage{.empty = false, .field_number = number}), "") << number;
  }
}

TEST(ConnectorCodec, UnknownFields_AreSkipped) {
  const std::string extra = Wire()
                                .varint(100, 7)
                                .fixed64(101, 7)
                                .bytes(102, "\xFF")
                                .tag(103, 3)  // a group
                                .varint(1, 1)
                                .tag(103, 4)
                                .fixed32(104, 7);
  for (const auto& golden : connector_goldens()) {
    SCOPED_TRACE(golden.name);
    EXPECT_TRUE(decoded(Wire().bytes(golden.number, golden.body + extra)) == golden.message);
    EXPECT_TRUE(decoded(Wire().bytes(golden.number, extra + golden.body)) == golden.message);
    EXPECT_TRUE(decoded(golden.bytes() + extra) == golden.message);
  }
}

TEST(ConnectorCodec, ReservedNumbers_AreSkipped) {
  for (const auto& golden : connector_goldens()) {
    std::string old;
    if (golden.number == 1) old = Wire().bytes(5, "old").varint(6, 1);
    if (golden.number == 2) old = Wire().bytes(6, "old").varint(7, 1);
    if (golden.number == 5) old = Wire().bytes(3, "old").varint(4, 1);
    if (golden.number == 10) old = Wire().bytes(4, "old").varint(5, 1);
    EXPECT_TRUE(decoded(Wire().bytes(golden.number, golden.body + old)) == golden.message) << golden.name;
  }
}

TEST(ConnectorCodec, RepeatedEnumsUnpacked_Decode) {
  const std::string capabilities = Wire().varint(3, 1).varint(3, 7).varint(4, 6).bytes(4, "\x01\x02");
  const auto request = decoded_as<RegisterRequest>(Wire().bytes(1, Wire().bytes(4, capabilities)));
  EXPECT_EQ(request.capabilities.supported_encodings, (std::vector{PayloadEncoding::json, PayloadEncoding::parquet}));
  EXPECT_EQ(request.capabilities.behaviors,
            (std::vector{ConnectorBehavior::app, ConnectorBehavior::source, ConnectorBehavior::sink}));
}

TEST(ConnectorCodec, UnknownEnumValues_Survive) {
  for (const int value : {8, 42, 1'000'000, -1, std::numeric_limits<int>::max(), std::numeric_limits<int>::min()}) {
    const auto wire_value = static_cast<std::uint64_t>(std::int64_t{value});  // negative enums take ten bytes
    const std::string execute = Wire().bytes(3, Wire().varint(3, wire_value));
    const auto request = decoded_as<ExecuteRequest>(execute);
    EXPECT_EQ(static_cast<int>(request.payload_encoding), value);
    EXPECT_EQ(encode_connector_message(request), execute);

    const std::string capabilities =
        Wire().bytes(3, Wire().raw_varint(wire_value).raw_varint(1)).bytes(4, Wire().raw_varint(wire_value));
    const std::string registration = Wire().bytes(1, Wire().bytes(4, capabilities).varint(9, wire_value).bytes(10, ""));
    const auto registered = decoded_as<RegisterRequest>(registration);
    EXPECT_EQ(static_cast<int>(registered.capabilities.supported_encodings.at(0)), value);
    EXPECT_EQ(static_cast<int>(registered.capabilities.behaviors.at(0)), value);
    EXPECT_EQ(static_cast<int>(registered.scope), value);
    EXPECT_EQ(encode_connector_message(registered), registration);

    const std::string frame = Wire().bytes(13, Wire().varint(2, wire_value));
    EXPECT_EQ(encode_connector_message(decoded(frame)), frame);
    const std::string notification = Wire().bytes(5, Wire().varint(2, wire_value));
    EXPECT_EQ(encode_connector_message(decoded(notification)), notification);
  }
}

TEST(ConnectorCodec, ExtremeNumbers_RoundTrip) {
  for (const auto value : {std::numeric_limits<std::int64_t>::min(), std::numeric_limits<std::int64_t>::max()}) {
    const ConnectorMessage heartbeat = HeartbeatResponse{.gateway_id = {}, .timestamp_ms = value};
    EXPECT_TRUE(decoded(encode_connector_message(heartbeat)) == heartbeat);
  }
  WebSocketCloseRequest close;
  close.code = std::numeric_limits<std::int32_t>::min();
  EXPECT_EQ(decoded_as<WebSocketCloseRequest>(encode_connector_message(close)), close);
  MetricsReport report;
  report.avg_latency_ms = std::numeric_limits<double>::infinity();
  report.uptime_seconds = std::numeric_limits<double>::denorm_min();
  report.custom_metrics = {{"low", std::numeric_limits<double>::lowest()}};
  EXPECT_EQ(decoded_as<MetricsReport>(encode_connector_message(report)), report);
}

TEST(ConnectorCodec, TwoKindsInOneMessage_LastWins) {
  const std::string bytes = Wire().bytes(3, Wire().bytes(1, "r")).bytes(6, Wire().bytes(1, "g"));
  EXPECT_EQ(decoded_as<HeartbeatRequest>(bytes).gateway_id, "g");
}

TEST(ConnectorCodec, KindWithWrongWireType_IsRefusedByName) {
  EXPECT_NE(refusal(Wire().varint(3, 1)).find("execute_request has the wrong wire type"), std::string::npos);
  EXPECT_NE(refusal(Wire().fixed32(15, 1)).find("metrics_report has the wrong wire type"), std::string::npos);
}

TEST(ConnectorCodec, TruncatedAtEveryOffset_IsRefused) {
  for (const auto& golden : connector_goldens()) {
    SCOPED_TRACE(golden.name);
    const std::string bytes = golden.bytes();
    for (std::size_t size = 1; size < bytes.size(); ++size)
      refusal(std::string(bytes, 0, size));
  }
}

TEST(ConnectorCodec, BodyTruncatedAtEveryOffset_IsHarmless) {
  for (const auto& golden : connector_goldens()) {
    SCOPED_TRACE(golden.name);
    for (std::size_t size = 0; size < golden.body.size(); ++size) {
      expect_harmless(Wire().bytes(golden.number, golden.body.substr(0, size)));
    }
  }
}

TEST(ConnectorCodec, EveryFlippedBit_IsHarmless) {
  for (const auto& golden : connector_goldens()) {
    SCOPED_TRACE(golden.name);
    const std::string bytes = golden.bytes();
    for (std::size_t bit = 0; bit < bytes.size() * 8; ++bit) {
      std::string flipped = bytes;
      flipped[bit / 8] = static_cast<char>(flipped[bit / 8] ^ (1 << bit % 8));
      expect_harmless(flipped);
    }
  }
}

TEST(ConnectorCodec, Garbage_IsHarmless) {
  std::mt19937 random(20'240'601);  // NOLINT(bugprone-random-generator-seed): the same garbage every time
  for (int round = 0; round < 20'000; ++round) {
    std::string garbage(random() % 64, '\0');
    for (auto& byte : garbage)
      byte = static_cast<char>(random());
    expect_harmless(garbage);
  }
}

TEST(ConnectorCodec, DeepNesting_IsRefused) {
  Wire open;
  for (int depth = 0; depth < 100'000; ++depth)
    open.tag(20, 3);
  refusal(open);
  Wire balanced;
  for (int depth = 0; depth < 100'000; ++depth)
    balanced.tag(20, 3);
  for (int depth = 0; depth < 100'000; ++depth)
    balanced.tag(20, 4);
  refusal(balanced);
}

TEST(ConnectorCodec, LengthsThatLie_AreRefused) {
  refusal(Wire().tag(3, 2).raw_varint(std::numeric_limits<std::int32_t>::max()));
  refusal(Wire().tag(3, 2).raw_varint(~std::uint64_t{0}));
  refusal(Wire().bytes(3, Wire().tag(2, 2).raw_varint(1'000'000'000)));
  refusal(std::string(11, '\xFF'));
  refusal(std::string(1, '\0'));  // field number 0
}

TEST(ConnectorCodec, LargePayload_RoundTrips) {
  std::string payload(5 * 1024 * 1024, '\0');
  for (std::size_t i = 0; i < payload.size(); ++i)
    payload[i] = static_cast<char>(i * 31);
  ExecuteResponse response{.request_id = "big",
                           .success = true,
                           .payload = payload,
                           .payload_encoding = PayloadEncoding::raw_bytes,
                           .error = "",
                           .duration_ms = 1};
  const auto bytes = encode_connector_message(response);
  EXPECT_GT(bytes.size(), payload.size());
  EXPECT_TRUE(decoded_as<ExecuteResponse>(bytes) == response);
}

TEST(ConnectorCodec, TextThatIsNotUtf8_IsRefusedByName) {
  const struct {
    std::string bytes;
    std::string_view where;
  } cases[] = {
      {Wire().bytes(3, Wire().bytes(1, "\xFF")), "execute_request.request_id is not UTF-8"},
      {Wire().bytes(2, Wire().bytes(9, Wire().bytes(5, "ok").bytes(5, "\xC3"))),
       "register_response.oidc_config.scopes is not UTF-8"},
      {Wire().bytes(1, Wire().bytes(4, Wire().bytes(6, Wire().bytes(2, "\xED\xA0\x80")))),
       "register_request.capabilities.task_types.name is not UTF-8"},
      {Wire().bytes(3, Wire().entry(4, "\xFF", "v")), "in execute_request"},
      {Wire().bytes(3, Wire().entry(4, "k", "\xFF")), "in execute_request"},
  };
  for (const auto& [bytes, where] : cases)
    EXPECT_NE(refusal(bytes).find(where), std::string::npos) << where;
  // Bytes fields take anything.
  EXPECT_EQ(decoded_as<ExecuteRequest>(Wire().bytes(3, Wire().bytes(2, "\xFF"))).payload, "\xFF");
}

TEST(ConnectorCodec, TextThatIsNotUtf8_IsRepairedOnTheWayOut) {
  ExecuteResponse response;
  response.request_id = "r";
  response.error = "cannot open \xE9t\xE9";
  response.payload = "\xFF";
  const auto seen = decoded_as<ExecuteResponse>(encode_connector_message(response));
  EXPECT_EQ(seen.error, "cannot open \xEF\xBF\xBDt\xEF\xBF\xBD");
  EXPECT_EQ(seen.payload, "\xFF");

  ExecuteRequest request;
  request.context = {{"\xFF", "\xFE"}};
  EXPECT_EQ(decoded_as<ExecuteRequest>(encode_connector_message(request)).context,
            (StringMap{{"\xEF\xBF\xBD", "\xEF\xBF\xBD"}}));
}

TEST(ConnectorCodec, MutedLog_SaysNothingAboutBadText) {
  transport::mute_protobuf_log();
  testing::internal::CaptureStderr();
  refusal(Wire().bytes(3, Wire().bytes(1, "\xFF")));
  EXPECT_EQ(testing::internal::GetCapturedStderr(), "");
}

TEST(ConnectorCodec, TooManyTaskTypes_AreRefused) {
  Wire capabilities;
  for (int i = 0; i < transport::kTaskTypesMax; ++i)
    capabilities.bytes(6, "");
  EXPECT_EQ(decoded_as<RegisterRequest>(Wire().bytes(1, Wire().bytes(4, capabilities))).capabilities.task_types.size(),
            std::size_t{transport::kTaskTypesMax});
  capabilities.bytes(6, "");
  EXPECT_NE(refusal(Wire().bytes(1, Wire().bytes(4, capabilities))).find("task_types"), std::string::npos);
}

TEST(ConnectorPeek, EveryKind_IsToldAsItIs) {
  for (const Golden& golden : connector_goldens()) {
    const std::string frame = encode_connector_message(golden.message);
    EXPECT_EQ(transport::is_heartbeat_request(frame), std::holds_alternative<HeartbeatRequest>(golden.message));
    EXPECT_EQ(transport::is_heartbeat_response(frame), std::holds_alternative<HeartbeatResponse>(golden.message));
    const auto* request = std::get_if<ExecuteRequest>(&golden.message);
    EXPECT_EQ(transport::execute_request_id(frame), request != nullptr ? request->request_id : "") << golden.name;
  }
  EXPECT_TRUE(transport::is_heartbeat_request(encode_connector_message(HeartbeatRequest{}))) << "an empty one";
}

TEST(ConnectorPeek, WhatIsBroken_HasNoId) {
  ExecuteRequest request;
  request.request_id = std::string(300, 'r');
  const std::string whole = encode_connector_message(request);
  for (std::size_t size = 0; size < whole.size(); ++size) {
    const auto id = transport::execute_request_id(std::string_view(whole).substr(0, size));
    EXPECT_TRUE(id.empty()) << size;
  }
  EXPECT_EQ(transport::execute_request_id(whole), request.request_id);
  request.request_id.clear();
  EXPECT_EQ(transport::execute_request_id(encode_connector_message(request)), "");
}

TEST(ConnectorCodec, EventNames_AreUnique) {
  std::set<std::string_view> names = {message_name(UnknownMessage{})};
  for (const auto& golden : connector_goldens())
    names.insert(message_name(golden.message));
  EXPECT_EQ(names.size(), std::variant_size_v<ConnectorMessage>);
}

}  // namespace
}  // namespace sharingbus::test

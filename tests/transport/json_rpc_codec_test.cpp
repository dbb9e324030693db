#include "transport/codec/json_rpc_codec.hpp"

#include <limits>
#include <string>
#include <vector>

#include <boost/json/parse.hpp>
#include <gtest/gtest.h>

#include "transport/codec/json_rpc_frame_decoder.hpp"

namespace sharingbus::transport {
namespace {

namespace json = boost::json;
using namespace messages;

template <class T>
T decoded(const std::string& body) {
  auto message = decode_json_rpc(body);
  if (!message) throw std::runtime_error(to_string(message.error()));
  if (!std::holds_alternative<T>(*message)) throw std::runtime_error("another message: " + body);
  return std::get<T>(std::move(*message));
}
std::int64_t code_of(const std::string& body) {
  return decoded<JsonRpcInvalid>(body).error.code;
}
json::value encoded(const JsonRpcMessage& message) {
  return json::parse(encode_json_rpc(message).value());
}

/// A server with the methods of the standard's examples.
std::optional<JsonRpcResponse> call(const JsonRpcCall& one) {
  if (const auto* invalid = std::get_if<JsonRpcInvalid>(&one)) return JsonRpcResponse{nullptr, invalid->error};
  const auto* request = std::get_if<JsonRpcRequest>(&one);
  if (request == nullptr) return std::nullopt;
  const auto argument = [&](const char* name, std::size_t at) {
    const json::value& params = *request->params;
    return params.is_array() ? params.as_array().at(at).as_int64() : params.as_object().at(name).as_int64();
  };
  if (request->method == "subtract") {
    return JsonRpcResponse{request->id, json::value(argument("minuend", 0) - argument("subtrahend", 1))};
  }
  if (request->method == "sum") {
    std::int64_t sum = 0;
    for (const json::value& term : request->params->as_array())
      sum += term.as_int64();
    return JsonRpcResponse{request->id, json::value(sum)};
  }
  if (request->method == "get_data") return JsonRpcResponse{request->id, json::value(json::array{"hello", 5})};
  return JsonRpcResponse{request->id, json_rpc_error(kJsonRpcMethodNotFound)};
}

/// What such a server sends back; empty: nothing.
std::string served(const std::string& body) {
  const JsonRpcMessage message = decode_json_rpc(body).value();
  if (const auto* batch = std::get_if<JsonRpcBatch>(&message)) {
    JsonRpcBatch answers;
    for (const JsonRpcCall& one : batch->calls) {
      if (auto answer = call(one)) answers.calls.emplace_back(std::move(*answer));
    }
    return answers.calls.empty() ? "" : encode_json_rpc(JsonRpcMessage(std::move(answers))).value();
  }
  const auto answer = std::visit(
      [](const auto& one) -> std::optional<JsonRpcResponse> {
        if constexpr (std::is_same_v<std::decay_t<decltype(one)>, JsonRpcBatch>) {
          return std::nullopt;
        } else {
          return call(one);
        }
      },
      message);
  return answer ? encode_json_rpc(JsonRpcMessage(*answer)).value() : "";
}

/// Without the `data` of errors, which the standard leaves to the server.
json::value without_data(json::value value) {
  if (value.is_array()) {
    for (json::value& one : value.as_array())
      one = without_data(std::move(one));
  } else if (value.is_object()) {
    if (auto* error = value.as_object().if_contains("error")) error->as_object().erase("data");
  }
  return value;
}

// The examples of section 7 of the standard.
struct Example {
  const char* name;
  const char* sent;
  const char* answer;  // empty: none
};
class StandardExample : public ::testing::TestWithParam<Example> {};

TEST_P(StandardExample, Server_AnswersAsTheStandardSays) {
  const std::string answer = served(GetParam().sent);
  if (*GetParam().answer == '\0') {
    EXPECT_EQ(answer, "");
  } else {
    ASSERT_NE(answer, "");
    EXPECT_EQ(without_data(json::parse(answer)), json::parse(GetParam().answer)) << answer;
  }
}
constexpr const char* kInvalidAnswer =
    R"({"jsonrpc": "2.0", "error": {"code": -32600, "message": "Invalid Request"}, "id": null})";
INSTANTIATE_TEST_SUITE_P(
    Section7, StandardExample,
    ::testing::Values(
        Example{"positional", R"({"jsonrpc": "2.0", "method": "subtract", "params": [42, 23], "id": 1})",
                R"({"jsonrpc": "2.0", "result": 19, "id": 1})"},
        Example{"positional_swapped", R"({"jsonrpc": "2.0", "method": "subtract", "params": [23, 42], "id": 2})",
                R"({"jsonrpc": "2.0", "result": -19, "id": 2})"},
        Example{"named",
                R"({"jsonrpc": "2.0", "method": "subtract", "params": {"subtrahend": 23, "minuend": 42}, "id": 3})",
                R"({"jsonrpc": "2.0", "result": 19, "id": 3})"},
        Example{"named_swapped",
                R"({"jsonrpc": "2.0", "method": "subtract", "params": {"minuend": 42, "subtrahend": 23}, "id": 4})",
                R"({"jsonrpc": "2.0", "result": 19, "id": 4})"},
        Example{"notification", R"({"jsonrpc": "2.0", "method": "update", "params": [1,2,3,4,5]})", ""},
        Example{"notification_without_params", R"({"jsonrpc": "2.0", "method": "foobar"})", ""},
        Example{"no_such_method", R"({"jsonrpc": "2.0", "method": "foobar", "id": "1"})",
                R"({"jsonrpc": "2.0", "error": {"code": -32601, "message": "Method not found"}, "id": "1"})"},
        Example{"invalid_json", R"({"jsonrpc": "2.0", "method": "foobar, "params": "bar", "baz])",
                R"({"jsonrpc": "2.0", "error": {"code": -32700, "message": "Parse error"}, "id": null})"},
        Example{"invalid_request", R"({"jsonrpc": "2.0", "method": 1, "params": "bar"})", kInvalidAnswer},
        Example{"batch_invalid_json",
                R"([ {"jsonrpc": "2.0", "method": "sum", "params": [1,2,4], "id": "1"}, {"jsonrpc": "2.0", "method" ])",
                R"({"jsonrpc": "2.0", "error": {"code": -32700, "message": "Parse error"}, "id": null})"},
        Example{"batch_empty", "[]", kInvalidAnswer},
        Example{"batch_invalid", "[1]",
                R"([{"jsonrpc": "2.0", "error": {"code": -32600, "message": "Invalid Request"}, "id": null}])"},
        Example{"batch_three_invalid", "[1,2,3]",
                R"([{"jsonrpc": "2.0", "error": {"code": -32600, "message": "Invalid Request"}, "id": null},
                    {"jsonrpc": "2.0", "error": {"code": -32600, "message": "Invalid Request"}, "id": null},
                    {"jsonrpc": "2.0", "error": {"code": -32600, "message": "Invalid Request"}, "id": null}])"},
        Example{"batch",
                R"([{"jsonrpc": "2.0", "method": "sum", "params": [1,2,4], "id": "1"},
                    {"jsonrpc": "2.0", "method": "notify_hello", "params": [7]},
                    {"jsonrpc": "2.0", "method": "subtract", "params": [42,23], "id": "2"},
                    {"foo": "boo"},
                    {"jsonrpc": "2.0", "method": "foo.get", "params": {"name": "myself"}, "id": "5"},
                    {"jsonrpc": "2.0", "method": "get_data", "id": "9"}])",
                R"([{"jsonrpc": "2.0", "result": 7, "id": "1"},
                    {"jsonrpc": "2.0", "result": 19, "id": "2"},
                    {"jsonrpc": "2.0", "error": {"code": -32600, "message": "Invalid Request"}, "id": null},
                    {"jsonrpc": "2.0", "error": {"code": -32601, "message": "Method not found"}, "id": "5"},
                    {"jsonrpc": "2.0", "result": ["hello", 5], "id": "9"}])"},
        Example{"batch_of_notifications",
                R"([{"jsonrpc": "2.0", "method": "notify_sum", "params": [1,2,4]},
                    {"jsonrpc": "2.0", "method": "notify_hello", "params": [7]}])",
                ""}),
    [](const auto& example) { return std::string(example.param.name); });

TEST(JsonRpc, Ids_ComeBackAsTheyWere) {
  for (const char* id : {"1", "-9223372036854775808", "18446744073709551615", "1.5", "\"\"", "\"1\"", "null"}) {
    const auto request = decoded<JsonRpcRequest>(std::string(R"({"jsonrpc":"2.0","method":"m","id":)") + id + "}");
    const json::value answer = encoded(JsonRpcResponse{request.id, json::value(true)});
    EXPECT_EQ(answer.as_object().at("id"), json::parse(id)) << id;
  }
}

TEST(JsonRpc, Responses_HaveResultOrError) {
  const auto result = decoded<JsonRpcResponse>(R"({"jsonrpc":"2.0","result":null,"id":7})");
  EXPECT_EQ(result.id, JsonRpcId(std::int64_t{7}));
  EXPECT_TRUE(std::get<json::value>(result.outcome).is_null());
  const auto error =
      decoded<JsonRpcResponse>(R"({"jsonrpc":"2.0","error":{"code":-32000,"message":"busy","data":[1]},"id":null})");
  EXPECT_EQ(error.id, JsonRpcId(nullptr));
  const auto& what = std::get<JsonRpcError>(error.outcome);
  EXPECT_EQ(what.code, -32000);
  EXPECT_EQ(what.message, "busy");
  EXPECT_EQ(what.data, json::value(json::array{1}));
}

TEST(JsonRpc, WhatIsNoMessage_IsAnInvalidRequest) {
  for (const char* body : {
           "1",
           "null",
           "\"text\"",
           "{}",
           R"({"method":"m","id":1})",
           R"({"jsonrpc":"1.0","method":"m"})",
           R"({"jsonrpc":2.0,"method":"m"})",
           R"({"jsonrpc":"2.0"})",
           R"({"jsonrpc":"2.0","id":1})",
           R"({"jsonrpc":"2.0","method":null})",
           R"({"jsonrpc":"2.0","method":"m","params":1})",
           R"({"jsonrpc":"2.0","method":"m","params":null,"id":1})",
           R"({"jsonrpc":"2.0","method":"m","id":true})",
           R"({"jsonrpc":"2.0","method":"m","id":[]})",
           R"({"jsonrpc":"2.0","method":"m","id":1e999})",
           R"({"jsonrpc":"2.0","result":1})",
           R"({"jsonrpc":"2.0","result":1,"id":{}})",
           R"({"jsonrpc":"2.0","result":1,"error":{"code":1,"message":""},"id":1})",
           R"({"jsonrpc":"2.0","error":1,"id":1})",
           R"({"jsonrpc":"2.0","error":{"code":"1","message":""},"id":1})",
           R"({"jsonrpc":"2.0","error":{"code":1},"id":1})",
           R"({"jsonrpc":"2.0","error":{"code":1.5,"message":""},"id":1})",
       }) {
    EXPECT_EQ(code_of(body), kJsonRpcInvalidRequest) << body;
  }
}

TEST(JsonRpc, WhatIsNoJson_IsAParseError) {
  const std::string bodies[] = {
      "", " ", "{", "tru", "{'a':1}", "\xff\xfe", "{\"a\":1} x", "\"\xff\"", std::string("\0", 1), "[1,]", "NaN"};
  for (const std::string& body : bodies)
    EXPECT_EQ(code_of(body), kJsonRpcParseError) << body;
}

TEST(JsonRpc, MembersThatTheStandardDoesNotName_AreSkipped) {
  EXPECT_EQ(decoded<JsonRpcNotification>(R"({"jsonrpc":"2.0","method":"m","trace":[1]})").method, "m");
}

TEST(JsonRpc, Depth_UpToTheLimitIsRead) {
  const auto body = [](int levels) {
    return R"({"jsonrpc":"2.0","method":"m","params":)" + std::string(levels, '[') + std::string(levels, ']') + "}";
  };
  EXPECT_EQ(decoded<JsonRpcNotification>(body(63)).method, "m");
  const auto refused = decode_json_rpc(body(64));
  ASSERT_FALSE(refused);
  EXPECT_TRUE(refused.error().is(errc::malformed_frame));
  EXPECT_EQ(refused.error().message, "JSON-RPC body is nested deeper than 64");
  EXPECT_FALSE(decode_json_rpc(std::string(1'000'000, '[')));
}

TEST(JsonRpc, Batch_UpToTheLimitIsRead) {
  const auto body = [](int calls) {
    std::string text = "[1";
    for (int i = 1; i < calls; ++i)
      text += ",1";
    return text + "]";
  };
  EXPECT_EQ(decoded<JsonRpcBatch>(body(1000)).calls.size(), 1000u);
  const auto refused = decode_json_rpc(body(1001));
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().message, "JSON-RPC batch of 1001 calls exceeds the limit of 1000");
}

TEST(JsonRpc, StandardErrors_HaveTheStandardsTexts) {
  EXPECT_EQ(json_rpc_error(-32700).message, "Parse error");
  EXPECT_EQ(json_rpc_error(-32600).message, "Invalid Request");
  EXPECT_EQ(json_rpc_error(-32601).message, "Method not found");
  EXPECT_EQ(json_rpc_error(-32602).message, "Invalid params");
  EXPECT_EQ(json_rpc_error(-32603).message, "Internal error");
  EXPECT_EQ(json_rpc_error(-32000).message, "Server error");
  EXPECT_EQ(json_rpc_error(-32099).message, "Server error");
  EXPECT_EQ(json_rpc_error(-32100).message, "");
}

TEST(JsonRpc, Encode_GivesBackWhatWasDecoded) {
  const JsonRpcMessage samples[] = {
      JsonRpcRequest{std::int64_t{1}, "m", json::value(json::object{{"a", 1}})},
      JsonRpcNotification{"n", std::nullopt},
      JsonRpcResponse{std::string("x"), json::value("y")},
      JsonRpcResponse{nullptr, JsonRpcError{-1, "text", json::value(2)}},
      JsonRpcBatch{
          {JsonRpcRequest{std::uint64_t{1} << 63, "m", json::value(json::array{})}, JsonRpcNotification{"n", {}}}},
  };
  for (const JsonRpcMessage& sample : samples)
    EXPECT_EQ(decode_json_rpc(encode_json_rpc(sample).value()).value(), sample);
}

TEST(JsonRpc, Encode_WhatJsonCannotSay_IsRefused) {
  const auto refused = [](json::value params) {
    const auto result = encode_json_rpc(JsonRpcMessage(JsonRpcNotification{"m", json::array{std::move(params)}}));
    return result ? std::string() : result.error().message;
  };
  EXPECT_EQ(refused(json::value(std::numeric_limits<double>::quiet_NaN())),
            "message cannot be JSON: a number is not finite");
  EXPECT_EQ(refused(json::value("\xff")), "message cannot be JSON: a text is not UTF-8");
  EXPECT_EQ(refused(json::value(json::object{{"\xff", 1}})), "message cannot be JSON: a key is not UTF-8");
  EXPECT_FALSE(encode_json_rpc(JsonRpcMessage(JsonRpcNotification{"\xff", {}})));
}

TEST(JsonRpcFrameDecoder, Frames_BecomeTypedEventsWithTheirKindAndCredit) {
  const JsonRpcFrameDecoder sut;
  StreamIdentity stream;
  stream.routing.connector_uid = random_uuid();
  stream.source = 7;
  const auto decode = [&](const std::string& body) { return sut.decode(body, stream).value(); };

  const auto request = decode(R"({"jsonrpc":"2.0","method":"m","id":1})");
  EXPECT_TRUE(request.event->is<JsonRpcRequest>());
  EXPECT_EQ(request.event->kind(), EventKind::request);
  EXPECT_EQ(request.frame_class, FrameClass::request);
  EXPECT_EQ(request.event->routing().connector_uid, stream.routing.connector_uid);
  EXPECT_EQ(request.event->source(), 7u);

  const auto response = decode(R"({"jsonrpc":"2.0","result":1,"id":1})");
  EXPECT_EQ(response.event->kind(), EventKind::response);
  EXPECT_EQ(response.frame_class, FrameClass::control);
  EXPECT_EQ(decode(R"({"jsonrpc":"2.0","method":"m"})").frame_class, FrameClass::control);
  EXPECT_TRUE(decode("oops").event->is<JsonRpcInvalid>());
  EXPECT_EQ(decode("[1]").frame_class, FrameClass::control);
  const auto batch = decode(R"([1,{"jsonrpc":"2.0","method":"m","id":1}])");
  EXPECT_EQ(batch.frame_class, FrameClass::request);
  EXPECT_EQ(json_rpc_class_of(*batch.event), FrameClass::request);
  EXPECT_EQ(json_rpc_class_of(*response.event), FrameClass::control);
  EXPECT_FALSE(sut.decode(std::string(100, '['), stream));
}

}  // namespace
}  // namespace sharingbus::transport

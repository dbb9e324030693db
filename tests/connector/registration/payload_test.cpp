#include "connector/payload.hpp"

#include <limits>
#include <string>
#include <utility>

#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <boost/json/parse.hpp>
#include <gtest/gtest.h>

namespace sharingbus::connector {
namespace {

namespace json = boost::json;

Payload payload(PayloadEncoding encoding, std::string bytes) {
  return {encoding, std::move(bytes)};
}
std::string nested(int depth) {
  return std::string(static_cast<std::size_t>(depth), '[') + std::string(static_cast<std::size_t>(depth), ']');
}

TEST(ToJson, JsonAndRawBytes_ReadAnyJsonValue) {
  for (const PayloadEncoding encoding : {PayloadEncoding::json, PayloadEncoding::raw_bytes}) {
    for (const char* text : {R"({"a":[1,2.5,"x",null,true]})", "[]", "\"text\"", "0", "null", " {} "}) {
      const auto value = to_json(payload(encoding, text));
      ASSERT_TRUE(value.has_value()) << text;
      EXPECT_EQ(*value, json::parse(text));
    }
  }
}

TEST(ToJson, WhatIsNoJson_IsADeserializationError) {
  for (const PayloadEncoding encoding : {PayloadEncoding::json, PayloadEncoding::raw_bytes}) {
    for (const std::string& text : {std::string(), std::string("{"), std::string("{} {}"), std::string("nope"),
                                    std::string("\xff\xfe"), std::string("\"\xc3\x28\""), std::string("1\0", 2)}) {
      const auto value = to_json(payload(encoding, text));
      ASSERT_FALSE(value.has_value()) << text;
      EXPECT_TRUE(value.error().is(errc::deserialization_failed));
      EXPECT_EQ(value.error().message.rfind("payload is not JSON: ", 0), 0u) << value.error().message;
      EXPECT_EQ(display_text(value.error()).rfind("Deserialization error: ", 0), 0u);
    }
  }
}

TEST(ToJson, Nesting_IsBounded) {
  EXPECT_TRUE(to_json(payload(PayloadEncoding::json, nested(64))).has_value());
  EXPECT_FALSE(to_json(payload(PayloadEncoding::json, nested(65))).has_value());
  EXPECT_FALSE(to_json(payload(PayloadEncoding::json, std::string(1'000'000, '['))).has_value());
  EXPECT_FALSE(to_json(payload(PayloadEncoding::json_lines, "1\n" + nested(65))).has_value());
}

TEST(ToJson, JsonLines_BecomeTheArrayOfTheNonEmptyLines) {
  const auto read = [](std::string text) { return to_json(payload(PayloadEncoding::json_lines, std::move(text))); };
  EXPECT_EQ(*read("{\"a\":1}\n\n[2]\r\n \t\n\"three\""), json::parse(R"([{"a":1},[2],"three"])"));
  EXPECT_EQ(*read("1\n"), json::parse("[1]"));
  EXPECT_EQ(*read("1"), json::parse("[1]"));
  EXPECT_EQ(*read(""), json::array());
  EXPECT_EQ(*read("\n\n"), json::array());
}

TEST(ToJson, JsonLinesWithABadLine_NamesTheLine) {
  const auto value = to_json(payload(PayloadEncoding::json_lines, "1\n\n{\n2"));
  ASSERT_FALSE(value.has_value());
  EXPECT_TRUE(value.error().is(errc::deserialization_failed));
  EXPECT_EQ(value.error().message.rfind("line 3: payload is not JSON: ", 0), 0u) << value.error().message;
}

TEST(ToJson, OtherEncodings_AreUnsupportedByName) {
  using enum PayloadEncoding;
  for (const auto& [encoding, name] :
       {std::pair(unspecified, "Unspecified"), std::pair(arrow_ipc, "ArrowIpc"), std::pair(protobuf, "Protobuf"),
        std::pair(parquet, "Parquet"), std::pair(static_cast<PayloadEncoding>(99), "99")}) {
    const auto value = to_json(payload(encoding, "{}"));
    ASSERT_FALSE(value.has_value());
    EXPECT_TRUE(value.error().is(errc::unsupported_encoding));
    EXPECT_EQ(display_text(value.error()),
              "Unsupported encoding: Encoding " + std::string(name) + " not yet implemented");
    const auto encoded = encode(json::array(), encoding);
    ASSERT_FALSE(encoded.has_value());
    EXPECT_EQ(encoded.error().message, value.error().message);
  }
}

// protocol-connector §8.5, 44: "ARROW_IPC, MSGPACK, … declared but not implemented".
TEST(ToJson, MessagePack_ReadsWhatJsonCanSay) {
  const auto read = [](std::string bytes) { return to_json(payload(PayloadEncoding::msgpack, std::move(bytes))); };
  using namespace std::string_literals;
  EXPECT_EQ(*read("\xc0"s), nullptr);
  EXPECT_EQ(*read("\x93\x01\xff\xc3"s), json::parse("[1,-1,true]"));
  EXPECT_EQ(*read("\x82\xa1"
                  "a\x01\xa1"
                  "b\x90"s),
            json::parse(R"({"a":1,"b":[]})"));
  EXPECT_EQ(*read("\xcb\x3f\xf8\0\0\0\0\0\0"s), json::value(1.5));
  EXPECT_EQ(*read("\xca\x3f\xc0\0\0"s), json::value(1.5));
  EXPECT_EQ(read("\xcf\x7f\xff\xff\xff\xff\xff\xff\xff"s)->kind(), json::kind::int64) << "as JSON text would be";
  EXPECT_EQ(*read("\xcf\xff\xff\xff\xff\xff\xff\xff\xff"s), json::value(std::numeric_limits<std::uint64_t>::max()));
  EXPECT_EQ(*read("\xd3\x80\0\0\0\0\0\0\0"s), json::value(std::numeric_limits<std::int64_t>::min()));
  EXPECT_EQ(*read("\xd9\x02\xc3\xa9"s), json::value("\u00e9"));
  EXPECT_EQ(*read("\x82\xa1"
                  "a\x01\xa1"
                  "a\x02"s),
            json::parse(R"({"a":2})"))
      << "the last of a key counts, as in JSON";
}

TEST(ToJson, MessagePackThatJsonCanNotSay_IsADeserializationErrorThatSaysWhat) {
  using namespace std::string_literals;
  const std::pair<std::string, const char*> cases[] = {
      {"", "bad or missing bytes"},
      {"\x92\x01"s, "bad or missing bytes at byte"},
      {"\x01\x01"s, "bad or missing bytes at byte"},
      {"\xc1"s, "bad or missing bytes"},
      {"\xdf\xff\xff\xff\xff"s, "bad or missing bytes"},
      {"\xdb\xff\xff\xff\xff"
       "abc"s,
       "bad or missing bytes"},
      {"\x81\x01\x01"s, "bad or missing bytes"},
      {"\xc4\x01x"s, "binary data"},
      {"\xd4\x05x"s, "extension"},
      {"\xd6\xff\0\0\0\0"s, "extension"},
      {"\xa1\xff"s, "a text is not UTF-8"},
      {"\x81\xa1\xff\x01"s, "a key is not UTF-8"},
      {"\xcb\x7f\xf8\0\0\0\0\0\0"s, "not finite"},
      {"\xca\x7f\x80\0\0"s, "not finite"},
  };
  for (const auto& [bytes, what] : cases) {
    const auto value = to_json(payload(PayloadEncoding::msgpack, bytes));
    ASSERT_FALSE(value.has_value()) << what;
    EXPECT_TRUE(value.error().is(errc::deserialization_failed));
    EXPECT_EQ(value.error().message.rfind("payload is not MessagePack: ", 0), 0u) << value.error().message;
    EXPECT_NE(value.error().message.find(what), std::string::npos) << value.error().message;
  }
}

TEST(ToJson, MessagePackNesting_IsBounded) {
  const auto nested_pack = [](std::size_t depth) { return std::string(depth, '\x91') + '\xc0'; };
  EXPECT_TRUE(to_json(payload(PayloadEncoding::msgpack, nested_pack(64))).has_value());
  EXPECT_FALSE(to_json(payload(PayloadEncoding::msgpack, nested_pack(65))).has_value());
  EXPECT_FALSE(to_json(payload(PayloadEncoding::msgpack, nested_pack(1'000'000))).has_value());
  EXPECT_FALSE(to_json(payload(PayloadEncoding::msgpack, nested_pack(3)), {.max_depth = 2}).has_value());
}

TEST(ToJson, PayloadBeyondTheLimit_IsRefusedUnread) {
  for (const PayloadEncoding encoding :
       {PayloadEncoding::json, PayloadEncoding::json_lines, PayloadEncoding::msgpack}) {
    const auto value = to_json(payload(encoding, std::string(11, ' ')), {.max_bytes = 10});
    ASSERT_FALSE(value.has_value());
    EXPECT_TRUE(value.error().is(errc::message_too_large));
    EXPECT_EQ(value.error().message, "payload of 11 bytes exceeds the limit of 10");
  }
}

TEST(EncodingName, KnownEncodings_HaveTheirNames) {
  EXPECT_EQ(encoding_name(PayloadEncoding::json), "Json");
  EXPECT_EQ(encoding_name(PayloadEncoding::raw_bytes), "RawBytes");
  EXPECT_EQ(encoding_name(PayloadEncoding::json_lines), "JsonLines");
}

TEST(FromJson, AValue_BecomesCompactJson) {
  EXPECT_EQ(from_json(json::object{{"a", 1}, {"b", nullptr}}), payload(PayloadEncoding::json, R"({"a":1,"b":null})"));
}

TEST(EncodeJson, AValue_ReadsBackTheSame) {
  const json::value value = json::parse(R"({"a":[1,-2,3.5,"é😀\u0000\n",{"deep":[[]]}],"":null})");
  const auto encoded = encode_json(value);
  ASSERT_TRUE(encoded.has_value());
  EXPECT_EQ(encoded->encoding, PayloadEncoding::json);
  EXPECT_EQ(*to_json(*encoded), value);
}

TEST(Encode, EveryEncodingThatIsRead_ReadsBackTheSame) {
  const json::value value = json::parse(R"([1,-2,3.5,"é😀\u0000\n",{"deep":[[]],"a":true},18446744073709551615,null])");
  for (const PayloadEncoding encoding :
       {PayloadEncoding::json, PayloadEncoding::raw_bytes, PayloadEncoding::json_lines, PayloadEncoding::msgpack}) {
    const auto encoded = encode(value, encoding);
    ASSERT_TRUE(encoded.has_value());
    EXPECT_EQ(encoded->encoding, encoding);
    EXPECT_EQ(*to_json(*encoded), value) << encoding_name(encoding);
  }
}

TEST(Encode, JsonLines_TakeAnArrayOnly) {
  EXPECT_EQ(encode(json::parse(R"([{"a":1},"x\n"])"), PayloadEncoding::json_lines)->bytes, "{\"a\":1}\n\"x\\n\"\n");
  EXPECT_EQ(encode(json::array(), PayloadEncoding::json_lines)->bytes, "");
  const auto encoded = encode(json::object(), PayloadEncoding::json_lines);
  ASSERT_FALSE(encoded.has_value());
  EXPECT_EQ(display_text(encoded.error()), "Serialization error: result is no array, which JSON lines are made of");
}

// "A result that does not encode" is a failure of that request, not bytes that the peer can not read.
TEST(EncodeJson, WhatJsonCanNotSay_IsASerializationError) {
  json::value deep;
  for (int i = 0; i < 200; ++i)
    deep = json::array{std::move(deep)};
  const json::value cases[] = {
      std::numeric_limits<double>::quiet_NaN(),
      std::numeric_limits<double>::infinity(),
      json::object{{"a", json::array{1, -std::numeric_limits<double>::infinity()}}},
      "\xff",
      json::object{{"bad \xc3 key", 1}},
      deep,
  };
  for (const json::value& value : cases) {
    const auto encoded = encode_json(value);
    ASSERT_FALSE(encoded.has_value());
    EXPECT_TRUE(encoded.error().is(errc::serialization_failed));
    EXPECT_EQ(display_text(encoded.error()).rfind("Serialization error: result is not JSON: ", 0), 0u)
        << display_text(encoded.error());
  }
}

TEST(DisplayText, EveryKind_HasThePeersPrefix) {
  const auto text = [](errc code) { return display_text(Error(code, "why")); };
  EXPECT_EQ(text(errc::unsupported_encoding), "Unsupported encoding: why");
  EXPECT_EQ(text(errc::deserialization_failed), "Deserialization error: why");
  EXPECT_EQ(text(errc::serialization_failed), "Serialization error: why");
  EXPECT_EQ(text(errc::timed_out), "Timeout: why");
  EXPECT_EQ(text(errc::invalid_argument), "Invalid configuration: why");
  EXPECT_EQ(text(errc::handler_failed), "Invoke failed: why");
  EXPECT_EQ(text(errc::capacity_exceeded), "Invoke failed: why");
  EXPECT_EQ(text(errc::closed), "Connector not running: why");
  EXPECT_EQ(text(errc::not_found), "Other error: why");
  EXPECT_EQ(display_text(Error(errc::handler_failed, "")).rfind("Invoke failed: ", 0), 0u);
}

}  // namespace
}  // namespace sharingbus::connector

// The short way between bytes and execute messages gives what Protobuf gives, or leaves it to Protobuf.
#include "transport/codec/internal/execute_wire.hpp"

#include <cstdint>
#include <optional>
#include <random>
#include <string>
#include <string_view>
#include <variant>

#include <gtest/gtest.h>

#include "transport/codec/connector_protobuf.hpp"
#include "transport/codec/internal/connector_wire.hpp"
#include "transport/codec/internal/protobuf_text.hpp"

namespace sharingbus::test {
namespace {

using transport::internal::read_execute;
using transport::internal::write_execute;
using namespace transport::messages;  // NOLINT(google-build-using-namespace): the subject's vocabulary
namespace wire = transport::internal::wire;

template <class Message>
std::string written_by_protobuf(const Message& message) {
  wire::StreamMessage out;
  transport::internal::to_wire(message, out);
  return transport::internal::serialize(out);
}

/// Nothing when it is neither of the two, or broken.
std::optional<ConnectorMessage> read_by_protobuf(std::string_view frame) {
  wire::StreamMessage message;
  if (!message.ParseFromArray(frame.data(), static_cast<int>(frame.size()))) return std::nullopt;
  if (message.has_execute_request()) return transport::internal::from_wire(*message.mutable_execute_request());
  if (message.has_execute_response()) return transport::internal::from_wire(*message.mutable_execute_response());
  return std::nullopt;
}

class ExecuteWire : public testing::Test {
 protected:
  static void SetUpTestSuite() { transport::mute_protobuf_log(); }

  std::uint64_t below(std::uint64_t bound) { return random_() % bound; }
  std::string text() {
    static constexpr std::string_view kLetters[] = {"a", "Z", "0", "\xC3\xA4", "\xE2\x82\xAC", "\xF0\x9F\x98\x80"};
    std::string made;
    for (std::uint64_t left = below(3) == 0 ? 0 : below(200); left != 0; --left)
      made += kLetters[below(std::size(kLetters))];
    return made;
  }
  std::string bytes() {
    std::string made(below(3) == 0 ? 0 : below(300), '\0');
    for (char& each : made)
      each = static_cast<char>(below(256));
    return made;
  }
  ExecuteRequest request() {
    ExecuteRequest made{text(), bytes(), static_cast<PayloadEncoding>(static_cast<int>(random_()) % 10), {}, text()};
    for (std::uint64_t left = below(5); left != 0; --left)
      made.context[text()] = text();
    return made;
  }
  ExecuteResponse response() {
    const auto encoding = static_cast<PayloadEncoding>(static_cast<int>(random_()) % 10);
    return {text(), below(2) == 0, bytes(), encoding, text(), static_cast<std::int64_t>(random_() >> below(64))};
  }

  std::mt19937_64 random_{20'231'127};
};

TEST_F(ExecuteWire, Written_AreProtobufsBytes) {
  for (int i = 0; i < 500; ++i) {
    const ExecuteRequest asked = request();
    const ExecuteResponse answer = response();
    EXPECT_EQ(write_execute(asked), written_by_protobuf(asked));
    EXPECT_EQ(write_execute(answer), written_by_protobuf(answer));
  }
  EXPECT_EQ(write_execute(ExecuteRequest{}), written_by_protobuf(ExecuteRequest{}));
  EXPECT_EQ(write_execute(ExecuteResponse{}), written_by_protobuf(ExecuteResponse{}));
}

TEST_F(ExecuteWire, WhatWasWritten_IsReadWithoutProtobuf) {
  for (int i = 0; i < 500; ++i) {
    ExecuteRequest asked = request();
    asked.payload_encoding = PayloadEncoding::json;
    ExecuteResponse answer = response();
    answer.payload_encoding = PayloadEncoding::unspecified;
    answer.duration_ms = static_cast<std::int64_t>(below(1U << 30U));
    EXPECT_EQ(read_execute(written_by_protobuf(asked)), ConnectorMessage(asked));
    EXPECT_EQ(read_execute(written_by_protobuf(answer)), ConnectorMessage(answer));
  }
}

TEST_F(ExecuteWire, BrokenAndUnusual_AreReadAsProtobufDoesOrLeftToIt) {
  int read = 0;
  for (int i = 0; i < 20'000; ++i) {
    std::string frame = below(2) == 0 ? written_by_protobuf(request()) : written_by_protobuf(response());
    if (frame.size() > 120) continue;
    for (std::uint64_t left = below(3); left != 0 && !frame.empty(); --left) {
      const std::size_t at = below(frame.size());
      switch (below(4)) {
        case 0:
          frame[at] = static_cast<char>(below(256));
          break;
        case 1:
          frame.erase(at, 1);
          break;
        case 2:
          frame.insert(at, 1, static_cast<char>(below(256)));
          break;
        default:
          frame += frame.substr(at);
      }
    }
    const auto message = read_execute(frame);
    if (!message) continue;
    ++read;
    const auto expected = read_by_protobuf(frame);
    ASSERT_TRUE(expected.has_value()) << testing::PrintToString(frame);
    ASSERT_EQ(*message, *expected) << testing::PrintToString(frame);
  }
  EXPECT_GT(read, 100);
}

TEST_F(ExecuteWire, TextThatIsNotUtf8_IsLeftToProtobuf) {
  ExecuteRequest asked;
  asked.context["key"] = "\xFF";
  EXPECT_EQ(write_execute(asked), std::nullopt);
  ExecuteResponse answer;
  answer.error = "\xC3";
  EXPECT_EQ(write_execute(answer), std::nullopt);
  wire::StreamMessage out;
  out.mutable_execute_request()->set_request_id("\xFF");
  EXPECT_EQ(read_execute(out.SerializeAsString()), std::nullopt);
}

TEST_F(ExecuteWire, TheSameFieldTwice_IsLeftToProtobuf) {
  const std::string once = written_by_protobuf(ExecuteResponse{"id", true, "x", PayloadEncoding::json, {}, 0});
  EXPECT_NE(read_execute(once), std::nullopt);
  EXPECT_EQ(read_execute(once + once), std::nullopt);
}

}  // namespace
}  // namespace sharingbus::test

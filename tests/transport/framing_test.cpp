// Cutting bytes into frames (spec 5, stdio, tcp and unix; design.md, framing as a value).
#include <string>
#include <string_view>
#include <vector>

#include <gtest/gtest.h>

#include "tests/fuzz/framing_differential.hpp"
#include "transport/content_length_framing.hpp"
#include "transport/length_prefix_framing.hpp"

namespace sharingbus::transport {
namespace {

using test::parse_in_pieces;
using test::Parsed;

constexpr std::size_t kLimit = 1000;

std::string framed(const Framing& framing, const std::vector<std::string>& frames) {
  std::string bytes;
  for (const std::string& frame : frames) {
    framing.append_header(frame.size(), bytes);
    bytes += frame;
  }
  return bytes;
}

Parsed parse(const Framing& framing, std::string_view bytes, std::size_t limit = kLimit) {
  Parsed whole = parse_in_pieces(framing, limit, bytes, {});
  EXPECT_EQ(whole, parse_in_pieces(framing, limit, bytes, std::string_view("\0", 1))) << "byte by byte";
  EXPECT_EQ(whole, parse_in_pieces(framing, limit, bytes, "\x02\x0c\x01"));
  return whole;
}

void expect_malformed(const Framing& framing, std::string_view bytes, std::string_view why) {
  const Parsed parsed = parse(framing, bytes);
  EXPECT_TRUE(parsed.error.is(errc::malformed_frame)) << bytes;
  EXPECT_NE(parsed.error.message.find(why), std::string::npos) << parsed.error.message;
}

const std::vector<std::string> kFrames{"a", std::string(kLimit, 'x'), std::string("\0\r\n\r\n\xff", 6), "{}"};

TEST(LengthPrefix, Header_IsFourBytesBigEndian) {
  std::string header;
  LengthPrefixFraming().append_header(0x01020304, header);
  EXPECT_EQ(header, "\x01\x02\x03\x04");
}

TEST(LengthPrefix, Frames_InAnyPieces_AreThoseThatWereWritten) {
  const LengthPrefixFraming framing;
  const Parsed parsed = parse(framing, framed(framing, kFrames));
  EXPECT_EQ(parsed.frames, kFrames);
  EXPECT_FALSE(parsed.error);
  EXPECT_EQ(parsed.unfinished, "");
}

TEST(LengthPrefix, TooLarge_IsRefusedByItsHeaderAlone) {
  const Parsed parsed = parse(LengthPrefixFraming(), std::string("\0\0\x03\xe9", 4));
  EXPECT_TRUE(parsed.error.is(errc::message_too_large));
  EXPECT_EQ(parsed.error.message, "frame of 1001 bytes exceeds the limit of 1000");
  EXPECT_TRUE(parse(LengthPrefixFraming(), "\xff\xff\xff\xff").error.is(errc::message_too_large));
}

TEST(LengthPrefix, LengthZero_IsMalformedUnlessAllowed) {
  const std::string bytes("\0\0\0\0\0\0\0\1x", 9);
  expect_malformed(LengthPrefixFraming(), bytes, "length 0");
  const LengthPrefixFraming allowing(LengthPrefixFraming::EmptyFrames::allowed);
  EXPECT_EQ(parse(allowing, bytes).frames, (std::vector<std::string>{"", "x"}));
}

TEST(LengthPrefix, EndInsideAFrame_IsTold) {
  EXPECT_EQ(parse(LengthPrefixFraming(), std::string("\0\0", 2)).unfinished, "2 of 4 bytes of its length");
  EXPECT_EQ(parse(LengthPrefixFraming(), std::string("\0\0\0\5abc", 7)).unfinished, "3 of 5 bytes");
}

TEST(ContentLength, Header_IsThatOfLanguageServers) {
  std::string header;
  ContentLengthFraming().append_header(123, header);
  EXPECT_EQ(header, "Content-Length: 123\r\n\r\n");
}

TEST(ContentLength, Frames_InAnyPieces_AreThoseThatWereWritten) {
  const ContentLengthFraming framing;
  const Parsed parsed = parse(framing, framed(framing, kFrames));
  EXPECT_EQ(parsed.frames, kFrames);
  EXPECT_FALSE(parsed.error);
  EXPECT_EQ(parsed.unfinished, "");
  EXPECT_EQ(parse(framing, "Content-Length: 0\r\n\r\n").frames, std::vector<std::string>{""});
}

TEST(ContentLength, Headers_AnyCaseAndOrder_AreRead) {
  const ContentLengthFraming framing;
  for (const std::string_view header : {"content-length: 2", "CONTENT-LENGTH:2", "Content-length: \t 2 \t",
                                        "Content-Type: application/vscode-jsonrpc; charset=utf-8\r\nContent-Length: 2",
                                        "Content-Length: 2\r\nContent-Type: x\r\nX-Other:"}) {
    EXPECT_EQ(parse(framing, std::string(header) + "\r\n\r\n{}").frames, std::vector<std::string>{"{}"}) << header;
  }
}

TEST(ContentLength, BadHeaders_AreNamed) {
  const ContentLengthFraming framing;
  expect_malformed(framing, "Content-Length: -1\r\n\r\n", "negative: '-1'");
  expect_malformed(framing, "Content-Length: 1\r\ncontent-length: 1\r\n\r\nx", "twice");
  expect_malformed(framing, "Content-Type: x\r\n\r\n", "no Content-Length");
  expect_malformed(framing, "\r\n", "no Content-Length");
  expect_malformed(framing, "Content-Length: five\r\n", "no number: 'five'");
  expect_malformed(framing, "Content-Length: \r\n", "no number: ''");
  expect_malformed(framing, "Content-Length: 1 2\r\n", "no number");
  expect_malformed(framing, "Content-Length: +1\r\n", "no number");
  expect_malformed(framing, "Content-Length: 18446744073709551616\r\n", "20 digits");
  expect_malformed(framing, "Content-Length 5\r\n", "no name");
  expect_malformed(framing, ": 5\r\n", "no name");
  expect_malformed(framing, "Content-Length: 5\n", "does not end in CRLF");
  expect_malformed(framing, "server started\x1b[0m\n", "'server started?[0m'");
}

TEST(ContentLength, HeaderSection_IsBounded) {
  expect_malformed(ContentLengthFraming(), "X: " + std::string(5000, 'x'), "exceeds 4096 bytes");
  std::string many;
  for (int i = 0; i < 1000; ++i)
    many += "X: y\r\n";
  expect_malformed(ContentLengthFraming(), many, "exceeds 4096 bytes");
  // Each section anew.
  const ContentLengthFraming tight(std::string_view("Content-Length: 2\r\n\r\n").size());
  EXPECT_EQ(parse(tight, framed(tight, {"ab", "cd"})).frames.size(), 2U);
  expect_malformed(tight, "Content-Length: 2 \r\n\r\nab", "exceeds 21 bytes");
}

TEST(ContentLength, TooLarge_IsRefusedByItsHeaderAlone) {
  const Parsed parsed = parse(ContentLengthFraming(), "Content-Length: 9999999999999999999\r\n\r\n");
  EXPECT_TRUE(parsed.error.is(errc::message_too_large));
  EXPECT_EQ(parsed.error.message, "frame of 9999999999999999999 bytes exceeds the limit of 1000");
}

TEST(ContentLength, EndInsideAFrame_IsTold) {
  EXPECT_EQ(parse(ContentLengthFraming(), "Content-Le").unfinished, "10 bytes of its header");
  EXPECT_EQ(parse(ContentLengthFraming(), "Content-Length: 5\r\n\r\nabc").unfinished, "3 of 5 bytes");
  EXPECT_EQ(parse(ContentLengthFraming(), "Content-Length: 5\r\n\r\n").unfinished, "0 of 5 bytes");
}

}  // namespace
}  // namespace sharingbus::transport

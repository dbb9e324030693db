#include "transport/codec/utf8.hpp"

#include <string>
#include <string_view>

#include <gtest/gtest.h>

namespace sharingbus::transport {
namespace {

constexpr std::string_view kReplacement = "\xEF\xBF\xBD";

std::string marks(std::string_view pattern) {
  std::string out;
  for (const char c : pattern)
    out += c == '?' ? std::string(kReplacement) : std::string(1, c);
  return out;
}

TEST(Utf8, WellFormedText_StaysAsItIs) {
  for (const std::string_view text :
       {std::string_view(""), std::string_view("plain text, longer than one word"), std::string_view("\0", 1),
        std::string_view("\x7F"), std::string_view("\xC2\x80"), std::string_view("\xDF\xBF"),
        std::string_view("\xE0\xA0\x80"), std::string_view("\xED\x9F\xBF"), std::string_view("\xEE\x80\x80"),
        std::string_view("\xEF\xBF\xBF"), std::string_view("\xF0\x90\x80\x80"), std::string_view("\xF4\x8F\xBF\xBF"),
        std::string_view("1234567\xC3\xA9 in the middle of a word \xE2\x82\xAC")}) {
    EXPECT_TRUE(is_valid_utf8(text)) << text;
    EXPECT_EQ(to_valid_utf8(text), text);
  }
}

TEST(Utf8, IllFormedText_GetsOneMarkPerMaximalPart) {
  const struct {
    std::string_view text;
    std::string_view expected;  // ? for a replacement
  } cases[] = {
      {"\x80", "?"},                    // continuation alone
      {"a\xFFz", "a?z"},                // never a lead
      {"\xC0\xAF", "??"},               // overlong, two bytes
      {"\xC1\xBF", "??"},               // overlong, two bytes
      {"\xE0\x9F\xBF", "???"},          // overlong, three bytes
      {"\xF0\x8F\xBF\xBF", "????"},     // overlong, four bytes
      {"\xED\xA0\x80", "???"},          // surrogate
      {"\xF4\x90\x80\x80", "????"},     // above U+10FFFF
      {"\xF5\x80\x80\x80", "????"},     // never a lead
      {"\xC3", "?"},                    // cut short
      {"\xE2\x82", "?"},                // cut short
      {"\xF0\x9F\x98", "?"},            // cut short
      {"\xE2\x82z", "?z"},              // broken off
      {"\xF0\x9F\x98\xC3\x41", "??A"},  // broken off by another lead
      {"12345678\xFFzzzzzzzz", "12345678?zzzzzzzz"},
  };
  for (const auto& [text, expected] : cases) {
    EXPECT_FALSE(is_valid_utf8(text)) << expected;
    EXPECT_EQ(to_valid_utf8(text), marks(expected));
    EXPECT_TRUE(is_valid_utf8(to_valid_utf8(text)));
  }
}

}  // namespace
}  // namespace sharingbus::transport

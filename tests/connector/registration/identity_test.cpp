#include "connector/identity.hpp"

#include <map>
#include <string>

#include <gtest/gtest.h>

namespace sharingbus::connector {
namespace {

TEST(SanitizeIdentifier, SeparatorsAndBlanks_BecomeDashes) {
  EXPECT_EQ(sanitize_identifier("a.b:c d\te\nf"), "a-b-c-d-e-f");
  EXPECT_EQ(sanitize_identifier("..::"), "----");
}

TEST(SanitizeIdentifier, EverythingElse_PassesThrough) {
  EXPECT_EQ(sanitize_identifier("a\rb/c\\d_é😀"), "a\rb/c\\d_é😀");
  EXPECT_EQ(sanitize_identifier(""), "");
  EXPECT_EQ(sanitize_identifier(std::string("a\0.b", 4)), std::string("a\0-b", 4));
}

TEST(Address, AnyParts_PrintInAddressAndArnForm) {
  const Address sut{"acme", "echo", "one"};
  EXPECT_EQ(to_string(sut), "acme.echo.one");
  EXPECT_EQ(to_arn(sut), "matrix:acme:echo:one");
}

TEST(Address, RawParts_AreSanitizedOneByOne) {
  EXPECT_EQ(sanitized({"a.b", "c:d", "e f"}), (Address{"a-b", "c-d", "e-f"}));
}

TEST(Address, AsAKey_OrdersByTenantTypeInstance) {
  const std::map<Address, int> map{{{"b", "a", "a"}, 3}, {{"a", "b", "a"}, 2}, {{"a", "a", "b"}, 1}};
  int expected = 1;
  for (const auto& [address, place] : map)
    EXPECT_EQ(place, expected++);
}

TEST(ParseAddress, ExactlyThreeParts_ReadsThem) {
  const auto parsed = parse_address("acme.echo.one");
  ASSERT_TRUE(parsed.has_value());
  EXPECT_EQ(*parsed, (Address{"acme", "echo", "one"}));
  EXPECT_EQ(to_string(*parsed), "acme.echo.one");
}

TEST(ParseAddress, AnythingElse_IsAnErrorThatNamesTheText) {
  for (const char* text : {"", ".", "..", "...", "acme", "acme.echo", "acme.echo.", ".echo.one", "acme..one",
                           "acme.echo.one.two", "acme.echo.one."}) {
    const auto parsed = parse_address(text);
    ASSERT_FALSE(parsed.has_value()) << text;
    EXPECT_TRUE(parsed.error().is(errc::invalid_argument));
    EXPECT_NE(parsed.error().message.find("'" + std::string(text) + "'"), std::string::npos) << parsed.error().message;
  }
}

}  // namespace
}  // namespace sharingbus::connector

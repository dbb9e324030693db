#include "bus/base/uuid.hpp"

#include <set>
#include <string>
#include <unordered_set>

#include <gtest/gtest.h>

#include "tests/bus/test_events.hpp"

namespace sharingbus {
namespace {

const std::string kText = "0123abcd-4567-89ef-0123-456789abcdef";

class AnyTextForm : public ::testing::TestWithParam<std::string> {};

TEST_P(AnyTextForm, Parsed_IsTheSameUuid) {
  const auto parsed = parse_uuid(GetParam());
  ASSERT_TRUE(parsed.has_value());
  EXPECT_EQ(to_string(*parsed), kText);
}

INSTANTIATE_TEST_SUITE_P(Spec1, AnyTextForm,
                         ::testing::Values(kText, "0123ABCD-4567-89EF-0123-456789ABCDEF",
                                           "0123aBcD-4567-89Ef-0123-456789AbCdEf", "0123abcd456789ef0123456789abcdef",
                                           "0123ABCD456789EF0123456789ABCDEF", "{0123abcd-4567-89ef-0123-456789abcdef}",
                                           "{0123ABCD456789EF0123456789ABCDEF}",
                                           "urn:uuid:0123abcd-4567-89ef-0123-456789abcdef",
                                           "URN:UUID:0123ABCD-4567-89EF-0123-456789ABCDEF"));

class NoUuid : public ::testing::TestWithParam<std::string> {};

TEST_P(NoUuid, Parsed_IsNothing) {
  EXPECT_FALSE(parse_uuid(GetParam()).has_value());
}

INSTANTIATE_TEST_SUITE_P(
    Spec1, NoUuid,
    ::testing::Values("", "-", "{}", "{", "}", "urn:uuid:", "not a uuid", "0123abcd-4567-89ef-0123-456789abcde",
                      "0123abcd-4567-89ef-0123-456789abcdef0", "0123abcd-4567-89ef-0123-456789abcdeg",
                      "0123abcd+4567-89ef-0123-456789abcdef", "0123abcd4-567-89ef-0123-456789abcdef",
                      "{0123abcd-4567-89ef-0123-456789abcdef", "0123abcd-4567-89ef-0123-456789abcdef}",
                      " 0123abcd-4567-89ef-0123-456789abcdef", "0123abcd456789ef0123456789abcdeg",
                      "------------------------------------"));

TEST(Uuid, EmbeddedNul_IsNoUuid) {
  std::string text = kText;
  text[3] = '\0';
  EXPECT_FALSE(parse_uuid(text).has_value());
}

TEST(Uuid, Random_IsVersion4AndNotRepeated) {
  std::set<Uuid> seen;
  for (int i = 0; i < 1000; ++i) {
    const Uuid random = random_uuid();
    EXPECT_EQ(random.bytes[6] >> 4, 4);
    EXPECT_EQ(random.bytes[8] >> 6, 2);
    seen.insert(random);
  }
  EXPECT_EQ(seen.size(), 1000u);
}

TEST(Uuid, TextAndBack_IsTheSame) {
  for (int i = 0; i < 100; ++i) {
    const Uuid random = random_uuid();
    EXPECT_EQ(parse_uuid(to_string(random)), random);
  }
}

TEST(Uuid, Hash_TellsNeighboursApart) {
  std::unordered_set<std::size_t> hashes;
  for (int i = 0; i < 256; ++i)
    hashes.insert(std::hash<Uuid>{}(test::uuid(static_cast<std::uint8_t>(i))));
  EXPECT_EQ(hashes.size(), 256u);
}

}  // namespace
}  // namespace sharingbus

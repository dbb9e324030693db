#include "bus/base/error.hpp"

#include <cerrno>
#include <set>
#include <string>

#include <gtest/gtest.h>

#include "bus/base/result.hpp"

namespace sharingbus {
namespace {

constexpr int kFirst = static_cast<int>(errc::invalid_argument);
constexpr int kLast = static_cast<int>(errc::internal);

TEST(Error, EveryErrc_HasANameAndATextOfItsOwn) {
  std::set<std::string> names;
  for (int value = kFirst; value <= kLast; ++value) {
    const auto code = static_cast<errc>(value);
    EXPECT_NE(to_string(code), "unknown") << value;
    EXPECT_NE(make_error_code(code).message(), "unknown error") << value;
    names.emplace(to_string(code));
  }
  EXPECT_EQ(names.size(), static_cast<std::size_t>(kLast - kFirst + 1));
}

TEST(Error, Names_BelongToTheirEnumerators) {
  // Samples from both ends and the middle: a row that is missing shifts those after it.
  EXPECT_EQ(to_string(errc::invalid_argument), "invalid_argument");
  EXPECT_EQ(to_string(errc::connect_timeout), "connect_timeout");
  EXPECT_EQ(to_string(errc::message_too_large), "message_too_large");
  EXPECT_EQ(to_string(errc::unauthenticated), "unauthenticated");
  EXPECT_EQ(to_string(errc::handler_failed), "handler_failed");
  EXPECT_EQ(to_string(errc::internal), "internal");
}

TEST(Error, UnknownValue_IsNamedSo) {
  EXPECT_EQ(to_string(static_cast<errc>(0)), "unknown");
  EXPECT_EQ(to_string(static_cast<errc>(kLast + 1)), "unknown");
  EXPECT_EQ(error_category().message(kLast + 1), "unknown error");
}

TEST(Error, Category_IsOneObjectCalledSharingbus) {
  const boost::system::error_code code = errc::closed;
  EXPECT_EQ(&code.category(), &error_category());
  EXPECT_STREQ(error_category().name(), "sharingbus");
  EXPECT_TRUE(code.failed());
}

struct Classified {
  errc code;
  Reaction reaction;
};
class Classify : public ::testing::TestWithParam<Classified> {};

TEST_P(Classify, Code_HasItsReactionClass) {
  EXPECT_EQ(classify(GetParam().code), GetParam().reaction) << to_string(GetParam().code);
}

INSTANTIATE_TEST_SUITE_P(Table, Classify,
                         ::testing::Values(Classified{errc::invalid_argument, Reaction::give_up},
                                           Classified{errc::invalid_endpoint, Reaction::give_up},
                                           Classified{errc::connection_refused, Reaction::retry_with_backoff},
                                           Classified{errc::connect_timeout, Reaction::retry_with_backoff},
                                           Classified{errc::stream_closed, Reaction::retry_with_backoff},
                                           Classified{errc::stream_failed, Reaction::retry_with_backoff},
                                           Classified{errc::unauthenticated, Reaction::reauthenticate},
                                           Classified{errc::unimplemented, Reaction::give_up},
                                           Classified{errc::timed_out, Reaction::retry_with_backoff},
                                           Classified{errc::cancelled, Reaction::give_up},
                                           Classified{errc::closed, Reaction::give_up},
                                           Classified{errc::handler_failed, Reaction::give_up}));

TEST(Error, ForeignCode_IsRetriedWithBackoff) {
  EXPECT_EQ(classify({ECONNRESET, boost::system::system_category()}), Reaction::retry_with_backoff);
}

TEST(Error, DefaultConstructed_MeansSuccess) {
  const Error error;
  EXPECT_FALSE(error);
  EXPECT_FALSE(error.is(errc::invalid_argument));
}

TEST(Error, Text_IsTheMessageOrElseTheCodesOwn) {
  EXPECT_EQ(to_string(Error(errc::timed_out, "no answer from peer")), "no answer from peer");
  EXPECT_EQ(to_string(Error(errc::timed_out, "")), "timed out");
  EXPECT_TRUE(Error(errc::timed_out, "").is(errc::timed_out));
}

TEST(Result, ValueOfAnError_ThrowsItsText) {
  const Result<int> result = Error(errc::not_found, "no connector x");
  ASSERT_FALSE(result.has_value());
  EXPECT_TRUE(result.error().is(errc::not_found));
  try {
    (void)result.value();
    FAIL() << "must throw";
  } catch (const std::runtime_error& error) {
    EXPECT_STREQ(error.what(), "no connector x");
  }
}

}  // namespace
}  // namespace sharingbus

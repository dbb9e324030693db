// TlsOptions and the contexts made from them: what is refused, and in which words.
#include <gtest/gtest.h>

#include "tests/support/test_certificates.hpp"
#include "transport/tls/tls_context.hpp"

namespace sharingbus::test {
namespace {

using namespace transport;

class Tls : public testing::Test {
 protected:
  Tls() {
    authority_.write_certificate(folder_ / "ca.pem");
    authority_.issue({}, folder_ / "leaf.pem", folder_ / "leaf.key");
    identity_.certificate_file = folder_ / "leaf.pem";
    identity_.key_file = folder_ / "leaf.key";
  }
  static std::string refusal(const Result<>& result) { return result ? "" : result.error().message; }

  TemporaryFolder folder_;
  TestAuthority authority_;
  TlsOptions identity_;
};

TEST_F(Tls, Listener_WithoutACertificate_IsRefused) {
  EXPECT_EQ(refusal(TlsOptions{}.validate_for_listener()), "certificate_file is missing");
}

TEST_F(Tls, HalfAnIdentity_IsRefusedByName) {
  TlsOptions half = identity_;
  half.key_file.clear();
  EXPECT_EQ(refusal(half.validate_for_listener()), "certificate_file is set, but key_file is not");
  half = identity_;
  half.certificate_file.clear();
  half.insecure = true;
  EXPECT_EQ(refusal(half.validate_for_dialer()), "key_file is set, but certificate_file is not");
}

TEST_F(Tls, OptionsOfTheOtherSide_AreRefused) {
  TlsOptions options = identity_;
  options.insecure = true;
  EXPECT_EQ(refusal(options.validate_for_listener()), "insecure is for dialers");
  options = identity_;
  options.server_name = "a";
  EXPECT_EQ(refusal(options.validate_for_listener()), "server_name is for dialers");
  options = identity_;
  options.require_client_certificate = true;
  EXPECT_EQ(refusal(options.validate_for_dialer()), "require_client_certificate is for listeners");
  EXPECT_EQ(refusal(options.validate_for_listener()), "require_client_certificate needs ca_file");
}

TEST_F(Tls, KeyOfAnotherCertificate_IsRefused) {
  authority_.issue({}, folder_ / "other.pem", folder_ / "other.key");
  TlsOptions options = identity_;
  options.key_file = folder_ / "other.key";
  EXPECT_EQ(refusal(options.validate_for_listener()),
            "key_file '" + (folder_ / "other.key") + "': does not belong to the certificate");
}

TEST_F(Tls, ExpiredCertificate_IsRefusedAtOnce) {
  authority_.issue({.seconds = -10}, folder_ / "old.pem", folder_ / "old.key");
  TlsOptions options = identity_;
  options.certificate_file = folder_ / "old.pem";
  options.key_file = folder_ / "old.key";
  EXPECT_EQ(refusal(options.validate_for_listener()),
            "certificate_file '" + (folder_ / "old.pem") + "': the certificate has expired");
}

TEST_F(Tls, FileThatIsNoPem_IsRefusedByName) {
  std::ofstream(folder_ / "noise") << "hello";
  TlsOptions options = identity_;
  options.ca_file = folder_ / "noise";
  EXPECT_EQ(refusal(options.validate_for_listener()),
            "ca_file '" + (folder_ / "noise") + "': holds no certificate in PEM");
}

TEST_F(Tls, Context_StaysUntilAFileChanges) {
  TlsContext context(identity_, TlsContext::Role::listener, "http/1.1");
  const auto first = context.current();
  ASSERT_TRUE(first.has_value()) << first.error().message;
  EXPECT_EQ(*context.current(), *first);
  authority_.issue({}, folder_ / "new.pem", folder_ / "new.key");
  std::filesystem::rename(folder_ / "new.pem", folder_ / "leaf.pem");
  std::filesystem::rename(folder_ / "new.key", folder_ / "leaf.key");
  const auto second = context.current();
  ASSERT_TRUE(second.has_value());
  EXPECT_NE(*second, *first);
}

TEST_F(Tls, Context_FilesBecomeUnusable_KeepsTheLastGoodOne) {
  TlsContext context(identity_, TlsContext::Role::listener, "");
  const auto first = context.current();
  ASSERT_TRUE(first.has_value());
  std::filesystem::remove(folder_ / "leaf.key");
  EXPECT_EQ(*context.current(), *first);
}

TEST_F(Tls, Context_NeverUsable_SaysWhy) {
  TlsContext context({}, TlsContext::Role::listener, "");
  const auto made = context.current();
  ASSERT_FALSE(made.has_value());
  EXPECT_EQ(made.error().message, "certificate_file is missing");
}

}  // namespace
}  // namespace sharingbus::test

// TLS over gRPC, with real handshakes (issue 5; protocol-connector §2.2; weaknesses 5 and 6).
#include <cstdlib>

#include "tests/support/test_certificates.hpp"
#include "tests/transport/grpc_rig.hpp"

namespace sharingbus::test {
namespace {

using namespace transport;

class GrpcTls : public GrpcRig {
 protected:
  GrpcTls() {
    authority_.write_certificate(folder_ / "ca.pem");
    authority_.issue({}, folder_ / "server.pem", folder_ / "server.key");
  }

  [[nodiscard]] TlsOptions server_tls() const {
    TlsOptions tls;
    tls.certificate_file = folder_ / "server.pem";
    tls.key_file = folder_ / "server.key";
    return tls;
  }
  [[nodiscard]] TlsOptions client_tls() const {
    TlsOptions tls;
    tls.ca_file = folder_ / "ca.pem";
    return tls;
  }
  void listen_with(TlsOptions tls) {
    GrpcListenerOptions options = listener_options();
    options.tls = std::move(tls);
    listen(std::move(options), {"grpcs", "127.0.0.1", 0});
  }
  /// Dials, and returns how it went: an empty text when the stream opened.
  std::string outcome(TlsOptions tls, const std::string& host = "127.0.0.1") {
    GrpcDialerOptions options;
    options.tls = std::move(tls);
    dial_to({"grpcs", host, endpoint.port}, options);
    StreamRecord& stream = open();
    return client.opens(stream) ? "" : stream.ending();
  }
  void replace_server_certificate(const TestAuthority& by, const TestAuthority::Leaf& leaf) {
    // gRPC takes the two only when they fit together.
    by.issue(leaf, folder_ / "new.pem", folder_ / "new.key");
    std::filesystem::rename(folder_ / "new.key", folder_ / "server.key");
    std::filesystem::rename(folder_ / "new.pem", folder_ / "server.pem");
  }
  /// The outcome of the first connection for which `expected` holds, or of the last one after a long time.
  std::string outcome_once_it_is(bool (*expected)(const std::string&), const TlsOptions& tls) {
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(30);
    std::string last = outcome(tls);
    while (!expected(last) && std::chrono::steady_clock::now() < deadline)
      last = outcome(tls);
    return last;
  }

  TemporaryFolder folder_;
  TestAuthority authority_;
};

TEST_F(GrpcTls, TrustedCertificate_MessagesGoBothWays) {
  listen_with(server_tls());
  EXPECT_EQ(endpoint.scheme, "grpcs");
  GrpcDialerOptions options;
  options.tls = client_tls();
  dial(options);
  StreamRecord& stream = open(stream_options(), "Chello");
  ASSERT_TRUE(client.opens(stream)) << stream.ending();
  ASSERT_TRUE(server.sees(1));
  server.at(0).link->grant(kPlenty);
  ASSERT_TRUE(server.gets(server.at(0), 1));
  EXPECT_EQ(server.at(0).frames.front(), "Chello");
  EXPECT_EQ(server.at(0).link->send("Cback"), SendStatus::queued);
  EXPECT_TRUE(client.gets(stream, 1));
}

TEST_F(GrpcTls, CertificateOfAStranger_IsRefused) {
  listen_with(server_tls());
  const TestAuthority stranger("a stranger");
  stranger.write_certificate(folder_ / "stranger.pem");
  TlsOptions tls;
  tls.ca_file = folder_ / "stranger.pem";
  EXPECT_NE(outcome(tls), "");
}

TEST_F(GrpcTls, ExpiredCertificate_IsRefused) {
  listen_with(server_tls());
  ASSERT_EQ(outcome(client_tls()), "");
  // No listener begins with one that has expired, but it may expire while it is in use.
  replace_server_certificate(authority_, {.seconds = -10});
  EXPECT_NE(outcome_once_it_is([](const std::string& text) { return !text.empty(); }, client_tls()), "");
}

TEST_F(GrpcTls, CertificateOfAnotherName_IsRefusedUnlessThatNameIsExpected) {
  authority_.issue({.names = "DNS:gateway.example"}, folder_ / "other.pem", folder_ / "other.key");
  TlsOptions tls = server_tls();
  tls.certificate_file = folder_ / "other.pem";
  tls.key_file = folder_ / "other.key";
  listen_with(tls);
  EXPECT_NE(outcome(client_tls()), "");
  TlsOptions expecting = client_tls();
  expecting.server_name = "gateway.example";
  EXPECT_EQ(outcome(expecting), "");
}

TEST_F(GrpcTls, NoCaFile_TrustsTheSystemsRoots) {
  listen_with(server_tls());
  EXPECT_NE(outcome({}), "") << "the test's authority is not one of the system's";
  ASSERT_EQ(setenv("SSL_CERT_FILE", (folder_ / "ca.pem").c_str(), 1), 0);
  const std::string chosen = outcome({});
  unsetenv("SSL_CERT_FILE");
  EXPECT_EQ(chosen, "");
}

TEST_F(GrpcTls, Insecure_BelievesAnybody) {
  authority_.issue({.names = "DNS:somebody.else"}, folder_ / "other.pem", folder_ / "other.key");
  TlsOptions tls = server_tls();
  tls.certificate_file = folder_ / "other.pem";
  tls.key_file = folder_ / "other.key";
  listen_with(tls);
  TlsOptions insecure;
  insecure.insecure = true;
  EXPECT_EQ(outcome(insecure), "");
}

TEST_F(GrpcTls, ClientCertificateDemanded_OnlyThoseWhoHaveOneGetIn) {
  TlsOptions tls = server_tls();
  tls.ca_file = folder_ / "ca.pem";
  tls.require_client_certificate = true;
  listen_with(tls);
  EXPECT_NE(outcome(client_tls()), "");

  authority_.issue({.names = "DNS:client"}, folder_ / "client.pem", folder_ / "client.key");
  TlsOptions known = client_tls();
  known.certificate_file = folder_ / "client.pem";
  known.key_file = folder_ / "client.key";
  EXPECT_EQ(outcome(known), "");

  const TestAuthority stranger("a stranger");
  stranger.issue({.names = "DNS:client"}, folder_ / "client.pem", folder_ / "client.key");
  EXPECT_NE(outcome(known), "");
}

TEST_F(GrpcTls, RenewedCertificate_IsUsedWithoutARestart) {
  listen_with(server_tls());
  ASSERT_EQ(outcome(client_tls()), "");
  const TestAuthority next("the next authority");
  next.write_certificate(folder_ / "next.pem");
  replace_server_certificate(next, {});
  TlsOptions expecting;
  expecting.ca_file = folder_ / "next.pem";
  EXPECT_EQ(outcome_once_it_is([](const std::string& text) { return text.empty(); }, expecting), "");
}

TEST_F(GrpcTls, PlainClient_IsRefusedAndTheListenerGoesOn) {
  listen_with(server_tls());
  dial_to({"grpc", "127.0.0.1", endpoint.port});
  StreamRecord& plain = open();
  EXPECT_FALSE(client.opens(plain));
  EXPECT_EQ(outcome(client_tls()), "");
}

TEST_F(GrpcTls, FileMissing_NamesTheFieldAndTheFile) {
  TlsOptions tls = server_tls();
  tls.key_file = folder_ / "nothing.key";
  GrpcListenerOptions options = listener_options();
  options.tls = tls;
  GrpcListener unusable({"grpcs", "127.0.0.1", 0}, std::move(options));
  const auto bound = unusable.listen();
  ASSERT_FALSE(bound.has_value());
  EXPECT_TRUE(bound.error().is(errc::invalid_argument));
  EXPECT_EQ(bound.error().message, "key_file '" + (folder_ / "nothing.key") + "': No such file or directory");

  endpoint = {"grpcs", "127.0.0.1", 1};
  TlsOptions dialling;
  dialling.ca_file = folder_ / "nothing.pem";
  EXPECT_NE(outcome(dialling).find("ca_file '" + (folder_ / "nothing.pem") + "': No such file"), std::string::npos);
}

}  // namespace
}  // namespace sharingbus::test

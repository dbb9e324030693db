#include "transport/grpc/internal/tls_credentials.hpp"

#include <string>

#include <grpc/grpc_security_constants.h>
#include <grpcpp/security/tls_certificate_provider.h>
#include <grpcpp/security/tls_certificate_verifier.h>
#include <grpcpp/security/tls_credentials_options.h>

namespace sharingbus::transport::internal {
namespace {

namespace tls = grpc::experimental;

/// Tells `options` what to watch: `roots` if any, and our own certificate if any.
void watch(tls::TlsCredentialsOptions& options, const TlsOptions& ours, const std::string& roots) {
  const bool identity = !ours.certificate_file.empty();
  if (roots.empty() && !identity) return;
  options.set_certificate_provider(std::make_shared<tls::FileWatcherCertificateProvider>(
      ours.key_file, ours.certificate_file, roots, kReloadSeconds));
  if (!roots.empty()) options.watch_root_certs();
  if (identity) options.watch_identity_key_cert_pairs();
}

}  // namespace

std::shared_ptr<grpc::ChannelCredentials> channel_credentials(const TlsOptions& options) {
  tls::TlsChannelCredentialsOptions credentials;
  std::string roots;
  if (options.insecure) {
    credentials.set_verify_server_certs(false);
    credentials.set_check_call_host(false);
    credentials.set_certificate_verifier(std::make_shared<tls::NoOpCertificateVerifier>());
  } else {
    roots = options.ca_file.empty() ? system_roots_file() : options.ca_file;
  }
  watch(credentials, options, roots);
  return tls::TlsCredentials(credentials);
}

std::shared_ptr<grpc::ServerCredentials> server_credentials(const TlsOptions& options) {
  const std::string roots = options.require_client_certificate ? options.ca_file : std::string();
  tls::TlsServerCredentialsOptions credentials(std::make_shared<tls::FileWatcherCertificateProvider>(
      options.key_file, options.certificate_file, roots, kReloadSeconds));
  credentials.watch_identity_key_cert_pairs();
  if (options.require_client_certificate) {
    credentials.watch_root_certs();
    credentials.set_cert_request_type(GRPC_SSL_REQUEST_AND_REQUIRE_CLIENT_CERTIFICATE_AND_VERIFY);
    // Who vouches for a client is what counts; clients have no name to be checked against.
    credentials.set_certificate_verifier(std::make_shared<tls::NoOpCertificateVerifier>());
  }
  return tls::TlsServerCredentials(credentials);
}

}  // namespace sharingbus::transport::internal

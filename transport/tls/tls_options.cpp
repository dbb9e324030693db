#include "transport/tls/tls_options.hpp"

#include <array>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <unistd.h>

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509.h>

namespace sharingbus::transport {
namespace {

using Bio = std::unique_ptr<BIO, decltype(&BIO_free)>;
using Certificate = std::unique_ptr<X509, decltype(&X509_free)>;
using Key = std::unique_ptr<EVP_PKEY, decltype(&EVP_PKEY_free)>;

Error unusable(std::string_view field, std::string_view file, std::string_view why) {
  return {errc::invalid_argument, std::string(field) + " '" + std::string(file) + "': " + std::string(why)};
}

Result<Bio> open_file(std::string_view field, const std::string& file) {
  Bio bio(BIO_new_file(file.c_str(), "r"), &BIO_free);
  if (bio == nullptr) {
    const std::string why = std::strerror(errno);
    ERR_clear_error();
    return unusable(field, file, why);
  }
  return bio;
}

/// No pass phrase is ever asked for: a program without a terminal would wait for ever.
int no_pass_phrase(char* /*buffer*/, int /*size*/, int /*writing*/, void* /*user*/) {
  return -1;
}

Result<Certificate> read_certificate(std::string_view field, const std::string& file) {
  auto bio = open_file(field, file);
  if (!bio) return bio.error();
  Certificate certificate(PEM_read_bio_X509(bio->get(), nullptr, &no_pass_phrase, nullptr), &X509_free);
  ERR_clear_error();
  if (certificate == nullptr) return unusable(field, file, "holds no certificate in PEM");
  return certificate;
}

Result<> check_roots(const std::string& file) {
  auto certificate = read_certificate("ca_file", file);
  if (!certificate) return certificate.error();
  return {};
}

Result<> check_identity(const TlsOptions& options) {
  auto certificate = read_certificate("certificate_file", options.certificate_file);
  if (!certificate) return certificate.error();
  if (X509_cmp_current_time(X509_get0_notAfter(certificate->get())) < 0) {
    return unusable("certificate_file", options.certificate_file, "the certificate has expired");
  }
  auto bio = open_file("key_file", options.key_file);
  if (!bio) return bio.error();
  const Key key(PEM_read_bio_PrivateKey(bio->get(), nullptr, &no_pass_phrase, nullptr), &EVP_PKEY_free);
  const bool fits = key != nullptr && X509_check_private_key(certificate->get(), key.get()) == 1;
  ERR_clear_error();
  if (key == nullptr)
    return unusable("key_file", options.key_file, "holds no private key in PEM without a pass phrase");
  if (!fits) return unusable("key_file", options.key_file, "does not belong to the certificate");
  return {};
}

Result<> check_files(const TlsOptions& options) {
  if (options.certificate_file.empty() != options.key_file.empty()) {
    return Error(errc::invalid_argument, options.key_file.empty() ? "certificate_file is set, but key_file is not"
                                                                  : "key_file is set, but certificate_file is not");
  }
  if (!options.ca_file.empty()) {
    if (auto valid = check_roots(options.ca_file); !valid) return valid;
  }
  if (options.certificate_file.empty()) return {};
  return check_identity(options);
}

}  // namespace

Result<> TlsOptions::validate_for_dialer() const {
  if (require_client_certificate) {
    return Error(errc::invalid_argument, "require_client_certificate is for listeners");
  }
  if (!insecure && ca_file.empty() && system_roots_file().empty()) {
    return Error(errc::invalid_argument, "ca_file is not set, and the system has no root certificates");
  }
  return check_files(*this);
}

Result<> TlsOptions::validate_for_listener() const {
  if (insecure) return Error(errc::invalid_argument, "insecure is for dialers");
  if (!server_name.empty()) return Error(errc::invalid_argument, "server_name is for dialers");
  if (certificate_file.empty()) return Error(errc::invalid_argument, "certificate_file is missing");
  if (require_client_certificate && ca_file.empty()) {
    return Error(errc::invalid_argument, "require_client_certificate needs ca_file");
  }
  return check_files(*this);
}

std::string system_roots_file() {
  // The same name that OpenSSL itself obeys.
  if (const char* chosen = std::getenv("SSL_CERT_FILE"); chosen != nullptr && *chosen != '\0') return chosen;
  const std::array places{"/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem",
                          X509_get_default_cert_file()};
  for (const char* place : places) {
    if (access(place, R_OK) == 0) return place;
  }
  return {};
}

}  // namespace sharingbus::transport

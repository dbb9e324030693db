#pragma once

#include <array>
#include <filesystem>
#include <fstream>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

namespace sharingbus::test {

/// A folder that goes with its owner.
class TemporaryFolder {
 public:
  TemporaryFolder() {
    std::string name = (std::filesystem::temp_directory_path() / "sharingbus-test-XXXXXX").string();
    if (mkdtemp(name.data()) == nullptr) throw std::runtime_error("no temporary folder");
    path_ = name;
  }
  ~TemporaryFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  [[nodiscard]] std::string operator/(const std::string& name) const { return (path_ / name).string(); }

 private:
  std::filesystem::path path_;
};

/// A certificate authority of the test's own.
class TestAuthority {
 public:
  explicit TestAuthority(const std::string& name = "SharingBus test authority") : key_(make_key()) {
    certificate_ = make(name, key_.get(), nullptr, {}, 3600);
  }

  struct Leaf {
    /// As OpenSSL writes them: `DNS:localhost,IP:127.0.0.1`.
    std::string names = "DNS:localhost,IP:127.0.0.1";
    /// Until when it is valid, in seconds from now.
    long seconds = 3600;
  };
  /// Writes `certificate` and `key`, signed by this authority, to files.
  void issue(const Leaf& leaf, const std::string& certificate_file, const std::string& key_file) const {
    const Key key = make_key();
    write(certificate_file, [&, made = make("leaf", key.get(), this, leaf.names, leaf.seconds)](BIO* out) {
      return PEM_write_bio_X509(out, made.get());
    });
    write(key_file,
          [&](BIO* out) { return PEM_write_bio_PrivateKey(out, key.get(), nullptr, nullptr, 0, nullptr, nullptr); });
  }
  void write_certificate(const std::string& file) const {
    write(file, [&](BIO* out) { return PEM_write_bio_X509(out, certificate_.get()); });
  }

 private:
  using Key = std::unique_ptr<EVP_PKEY, decltype(&EVP_PKEY_free)>;
  using Certificate = std::unique_ptr<X509, decltype(&X509_free)>;

  static Key make_key() { return {EVP_EC_gen("P-256"), &EVP_PKEY_free}; }

  static void add_extension(X509* certificate, X509* issuer, int id, const char* value) {
    X509V3_CTX context;
    X509V3_set_ctx(&context, issuer, certificate, nullptr, nullptr, 0);
    X509_EXTENSION* const extension = X509V3_EXT_conf_nid(nullptr, &context, id, value);
    if (extension == nullptr) throw std::runtime_error(std::string("no extension ") + value);
    X509_add_ext(certificate, extension, -1);
    X509_EXTENSION_free(extension);
  }

  /// Signed by `issuer`, or by itself.
  static Certificate make(const std::string& name, EVP_PKEY* key, const TestAuthority* issuer, const std::string& names,
                          long seconds) {
    static long serial = 1;
    Certificate made(X509_new(), &X509_free);
    X509* const x = made.get();
    X509_set_version(x, X509_VERSION_3);
    ASN1_INTEGER_set(X509_get_serialNumber(x), ++serial);
    X509_gmtime_adj(X509_getm_notBefore(x), -86'400);
    X509_gmtime_adj(X509_getm_notAfter(x), seconds);
    X509_set_pubkey(x, key);
    X509_NAME* const subject = X509_get_subject_name(x);
    X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_UTF8, reinterpret_cast<const unsigned char*>(name.c_str()), -1,
                               -1, 0);
    X509* const by = issuer != nullptr ? issuer->certificate_.get() : x;
    X509_set_issuer_name(x, X509_get_subject_name(by));
    add_extension(x, by, NID_basic_constraints, issuer != nullptr ? "CA:FALSE" : "critical,CA:TRUE");
    add_extension(x, by, NID_subject_key_identifier, "hash");
    if (!names.empty()) add_extension(x, by, NID_subject_alt_name, names.c_str());
    if (X509_sign(x, issuer != nullptr ? issuer->key_.get() : key, EVP_sha256()) == 0) {
      throw std::runtime_error("a certificate was not signed");
    }
    return made;
  }

  template <class Fn>
  static void write(const std::string& file, Fn&& fn) {
    const std::unique_ptr<BIO, decltype(&BIO_free)> out(BIO_new_file(file.c_str(), "w"), &BIO_free);
    if (out == nullptr || fn(out.get()) != 1) throw std::runtime_error("cannot write " + file);
  }

  Key key_;
  Certificate certificate_{nullptr, &X509_free};
};

}  // namespace sharingbus::test

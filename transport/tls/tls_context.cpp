#include "transport/tls/tls_context.hpp"

#include <sys/stat.h>
#include <utility>

#include <boost/asio/ip/address.hpp>
#include <boost/asio/ssl/error.hpp>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

namespace sharingbus::transport {
namespace {

namespace ssl = boost::asio::ssl;

std::string alpn_list(const std::string& protocol) {
  if (protocol.empty()) return {};
  return std::string(1, static_cast<char>(protocol.size())) + protocol;
}

/// A listener's answer to what a peer offers; `user` is our list of one.
int choose_protocol(SSL* /*ssl*/, const unsigned char** chosen, unsigned char* chosen_size,
                    const unsigned char* offered, unsigned int offered_size, void* user) {
  const auto& ours = *static_cast<const std::string*>(user);
  unsigned char* found = nullptr;
  const int result = SSL_select_next_proto(&found, chosen_size, reinterpret_cast<const unsigned char*>(ours.data()),
                                           static_cast<unsigned int>(ours.size()), offered, offered_size);
  *chosen = found;
  return result == OPENSSL_NPN_NEGOTIATED ? SSL_TLSEXT_ERR_OK : SSL_TLSEXT_ERR_ALERT_FATAL;
}

Error not_loaded(std::string_view field, const std::string& file, const boost::system::error_code& error) {
  return {errc::invalid_argument, std::string(field) + " '" + file + "': " + error.message()};
}

}  // namespace

TlsContext::TlsContext(TlsOptions options, Role role, std::string protocol)
    : options_(std::move(options)), role_(role), alpn_(alpn_list(protocol)) {}

TlsContext::Stamps TlsContext::stamps() const {
  Stamps stamps;
  const std::array files{&options_.ca_file, &options_.certificate_file, &options_.key_file};
  for (std::size_t i = 0; i < files.size(); ++i) {
    struct stat status {};
    if (files[i]->empty() || stat(files[i]->c_str(), &status) != 0) continue;
    stamps[i] = {status.st_mtim.tv_sec * 1'000'000'000 + status.st_mtim.tv_nsec,
                 static_cast<std::uint64_t>(status.st_size), status.st_ino};
  }
  return stamps;
}

Result<TlsContext::Ptr> TlsContext::current() {
  const std::scoped_lock lock(mutex_);
  const Stamps now = stamps();
  if (current_ != nullptr && now == seen_) return current_;
  auto made = make();
  if (made) {
    current_ = *made;
    seen_ = now;
  } else if (current_ == nullptr) {
    return made.error();
  }
  return current_;
}

Result<TlsContext::Ptr> TlsContext::make() const {
  const auto valid = role_ == Role::dialer ? options_.validate_for_dialer() : options_.validate_for_listener();
  if (!valid) return valid.error();
  auto context =
      std::make_shared<ssl::context>(role_ == Role::dialer ? ssl::context::tls_client : ssl::context::tls_server);
  SSL_CTX* const native = context->native_handle();
  SSL_CTX_set_min_proto_version(native, TLS1_2_VERSION);
  SSL_CTX_set_options(native, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION);

  boost::system::error_code error;
  const bool verifies = role_ == Role::dialer ? !options_.insecure : options_.require_client_certificate;
  if (verifies) {
    const std::string roots = options_.ca_file.empty() ? system_roots_file() : options_.ca_file;
    context->load_verify_file(roots, error);
    if (error) return not_loaded("ca_file", roots, error);
    const bool demanded = role_ == Role::listener;
    context->set_verify_mode(demanded ? ssl::verify_peer | ssl::verify_fail_if_no_peer_cert : ssl::verify_peer, error);
  }
  if (!options_.certificate_file.empty()) {
    context->use_certificate_chain_file(options_.certificate_file, error);
    if (error) return not_loaded("certificate_file", options_.certificate_file, error);
    context->use_private_key_file(options_.key_file, ssl::context::pem, error);
    if (error) return not_loaded("key_file", options_.key_file, error);
  }
  if (alpn_.empty()) return context;
  if (role_ == Role::dialer) {
    SSL_CTX_set_alpn_protos(native, reinterpret_cast<const unsigned char*>(alpn_.data()),
                            static_cast<unsigned int>(alpn_.size()));
  } else {
    // A context may outlive us with its connections, so it has a list of its own.
    auto keep = std::make_shared<std::string>(alpn_);
    SSL_CTX_set_alpn_select_cb(native, &choose_protocol, keep.get());
    return Ptr(context.get(), [context, keep](ssl::context*) mutable { context.reset(); });
  }
  return context;
}

Result<> expect_peer(SSL* handle, const TlsOptions& options, const std::string& host) {
  const std::string& name = options.server_name.empty() ? host : options.server_name;
  boost::system::error_code no_address;
  boost::asio::ip::make_address(name, no_address);
  const bool is_name = no_address.failed();
  // What SSL_set_tlsext_host_name expands to, but for its cast.
  bool done = !is_name || SSL_ctrl(handle, SSL_CTRL_SET_TLSEXT_HOSTNAME, TLSEXT_NAMETYPE_host_name,
                                   const_cast<char*>(name.c_str())) == 1;
  if (!options.insecure) {
    X509_VERIFY_PARAM* const expected = SSL_get0_param(handle);
    X509_VERIFY_PARAM_set_hostflags(expected, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
    const int set = is_name ? X509_VERIFY_PARAM_set1_host(expected, name.c_str(), name.size())
                            : X509_VERIFY_PARAM_set1_ip_asc(expected, name.c_str());
    done = done && set == 1;
  }
  if (!done) return Error(errc::internal, "cannot demand the name '" + name + "' of the peer's certificate");
  return {};
}

Error handshake_error(SSL* handle, const boost::system::error_code& error, const std::string& peer) {
  std::string why = error.message();
  if (const long verified = SSL_get_verify_result(handle); verified != X509_V_OK) {
    why = std::string("the peer's certificate: ") + X509_verify_cert_error_string(verified);
  } else if (error == ssl::error::stream_truncated) {
    why = "the peer closed the connection";
  }
  return {errc::connection_refused, peer + ": TLS handshake failed: " + why};
}

}  // namespace sharingbus::transport

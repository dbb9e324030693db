#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>

#include <boost/asio/ssl/context.hpp>

#include "bus/base/result.hpp"
#include "transport/tls/tls_options.hpp"

namespace sharingbus::transport {

/// The OpenSSL side of `TlsOptions`, for transports that run over Asio: TLS 1.2 and newer, made again for new
/// connections when a file has changed. Connections keep the context that they were made with.
///
/// Any thread. Reading files blocks, a few microseconds while nothing has changed.
class TlsContext {
 public:
  enum class Role : std::uint8_t { dialer, listener };

  /// `protocol` is offered, and for a listener demanded of those who offer any, by ALPN (RFC 7301), such as `http/1.1`;
  /// empty: no ALPN.
  TlsContext(TlsOptions options, Role role, std::string protocol);

  using Ptr = std::shared_ptr<boost::asio::ssl::context>;
  /// For the next connection. After files have become unusable the last good context stays in use; an error
  /// (`invalid_argument`, as `TlsOptions::validate_for_…` says it) only when there never was one.
  [[nodiscard]] Result<Ptr> current();
  [[nodiscard]] const TlsOptions& options() const noexcept { return options_; }

 private:
  /// What tells a file from its successor.
  struct Stamp {
    std::int64_t modified_ns = 0;
    std::uint64_t size = 0;
    std::uint64_t inode = 0;
    bool operator==(const Stamp&) const = default;
  };
  using Stamps = std::array<Stamp, 3>;

  [[nodiscard]] Stamps stamps() const;
  [[nodiscard]] Result<Ptr> make() const;

  const TlsOptions options_;
  const Role role_;
  /// As ALPN wants it: a length byte and the name.
  const std::string alpn_;
  std::mutex mutex_;
  Ptr current_;
  Stamps seen_;
};

/// Before a dialled connection's handshake: SNI, and that the certificate must be for this name, `options.server_name`
/// or else `host`; neither for an address in SNI (RFC 6066), nothing at all with `options.insecure`. `ssl` is the
/// stream's `native_handle()`. Errors: `internal` when OpenSSL has no memory.
[[nodiscard]] Result<> expect_peer(SSL* ssl, const TlsOptions& options, const std::string& host);

/// Why a handshake failed, in words that name the certificate's fault where there is one; `error` is Asio's. As
/// `connection_refused` for a dialer (it never opened).
[[nodiscard]] Error handshake_error(SSL* ssl, const boost::system::error_code& error, const std::string& peer);

}  // namespace sharingbus::transport

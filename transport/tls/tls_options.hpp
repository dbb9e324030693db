#pragma once

#include <string>

#include "bus/base/result.hpp"

namespace sharingbus::transport {

/// TLS for every transport alike: the same files, the same root store, the same switch. All files are PEM and are read
/// again for new connections when they have changed, so that certificates are renewed without a restart.
///
/// A value; any thread.
struct TlsOptions {
  /// Who may have signed the peer's certificate. Empty: the system's roots (`system_roots_file`). A listener needs it
  /// for `require_client_certificate`.
  std::string ca_file;
  /// Our own certificate with its chain, and its private key: both or neither. A listener needs them.
  std::string certificate_file;
  std::string key_file;
  /// Listeners: a peer without a certificate that `ca_file` vouches for is refused.
  bool require_client_certificate = false;
  /// Dialers: the name that the peer's certificate must have, and that is sent as SNI. Empty: the endpoint's host.
  std::string server_name;
  /// Dialers: whoever answers is believed, with any certificate and name. Whoever sits in between can read and change
  /// everything, so programs should say so in their log when it is set.
  bool insecure = false;

  bool operator==(const TlsOptions&) const = default;

  /// Checks the combination and reads every file, so that a mistake shows before the first connection. Blocks on the
  /// file system. Errors: `invalid_argument`, naming the field and the file: missing, no PEM, a key that does not
  /// belong to the certificate, a certificate that is no longer valid.
  [[nodiscard]] Result<> validate_for_dialer() const;
  [[nodiscard]] Result<> validate_for_listener() const;
};

/// The system's root certificates in one file: `SSL_CERT_FILE` when it is set, else where Debian, Fedora, Alpine or
/// OpenSSL keep them. Empty: none was found. Any thread that does not race with setenv.
[[nodiscard]] std::string system_roots_file();

}  // namespace sharingbus::transport

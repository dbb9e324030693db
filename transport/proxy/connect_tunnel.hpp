#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>

#include <boost/asio/any_io_executor.hpp>

#include "bus/base/result.hpp"
#include "bus/base/timer.hpp"
#include "transport/endpoint.hpp"
#include "transport/proxy/proxy_settings.hpp"
#include "transport/tls/tls_options.hpp"

namespace sharingbus::transport {

struct ConnectTunnelOptions {
  Proxy proxy;
  /// Where the proxy shall connect to.
  Endpoint target;
  /// For a proxy that is reached over TLS.
  TlsOptions proxy_tls;
  /// From a connection's arrival until the proxy has said yes.
  Duration connect_timeout = std::chrono::seconds(10);
  /// Connections at once; further ones are closed at once.
  std::size_t max_connections = 4096;

  /// `invalid_argument`, naming the field; reads the TLS files.
  [[nodiscard]] Result<> validate() const;
};

struct ConnectTunnelStats {
  std::size_t connections = 0;
  std::uint64_t opened = 0;
  std::uint64_t failed = 0;
};

/// A door on the loopback interface: whoever connects there is connected with `target` through an HTTP proxy. So every
/// transport goes through proxies alike, also gRPC, whose own proxy support follows other rules. Bytes are handed on as
/// they are, with the flow control of both sides; an end of one direction is handed on as such.
///
/// Every local user can connect to the door while it is open, and gets no further than the proxy lets anybody who has
/// its credentials.
///
/// Any thread. Works on `executor`, on a strand of its own.
class ConnectTunnel {
 public:
  /// Opens nothing yet. `timers` must outlive it. Throws `std::invalid_argument` when `options.validate()` fails.
  ConnectTunnel(boost::asio::any_io_executor executor, TimerService& timers, ConnectTunnelOptions options);
  /// As `close`, without waiting.
  ~ConnectTunnel();
  ConnectTunnel(const ConnectTunnel&) = delete;
  ConnectTunnel& operator=(const ConnectTunnel&) = delete;

  /// Opens the door. Returns where it is: `tcp`, 127.0.0.1 and a port. Call once. Errors: `address_in_use` (no port is
  /// free), `invalid_state` (second call, or closed).
  [[nodiscard]] Result<Endpoint> listen();
  /// Why the latest connection could not be made, success when it could. The text begins with `Proxy unreachable: `
  /// (`connection_refused`, `connect_timeout`), `Proxy authentication failed: ` (`unauthenticated`) or
  /// `Proxy CONNECT failed: ` (`rejected`).
  [[nodiscard]] Error last_failure() const;
  [[nodiscard]] ConnectTunnelStats stats() const;
  /// Closes the door and every connection, then calls `done`, on the executor. Idempotent: every `done` that is not
  /// null is called.
  void close(std::function<void()> done);

 private:
  class State;
  std::shared_ptr<State> state_;
};

}  // namespace sharingbus::transport

#pragma once

#include <chrono>
#include <cstddef>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include <CLI/CLI.hpp>

#include "bus/base/log.hpp"
#include "bus/base/result.hpp"
#include "cli/runtime.hpp"
#include "transport/dialer.hpp"
#include "transport/endpoint.hpp"
#include "transport/listener.hpp"
#include "transport/proxy/connect_tunnel.hpp"
#include "transport/proxy/proxy_settings.hpp"
#include "transport/tls/tls_options.hpp"

namespace sharingbus::cli {

/// How `connect` and `demo` get to a gateway.
struct DialSettings {
  std::size_t max_streams_per_channel = 80;
  std::size_t max_message_bytes = 4 * 1024 * 1024;
  Duration connect_timeout = std::chrono::seconds(10);
  transport::TlsOptions tls{};
  std::optional<transport::Proxy> proxy{};
};

/// The dialer that an endpoint's scheme asks for, and the door through a proxy where there is one.
class GatewayDialer {
 public:
  /// The settings must validate.
  GatewayDialer(Runtime& runtime, const transport::Endpoint& endpoint, const DialSettings& settings);
  ~GatewayDialer();
  GatewayDialer(const GatewayDialer&) = delete;
  GatewayDialer& operator=(const GatewayDialer&) = delete;

  /// Before the first stream. Errors: the door cannot be opened.
  [[nodiscard]] Result<> open();
  [[nodiscard]] transport::Dialer& dialer() { return *dialer_; }
  /// Closes dialer and door, then calls `done`.
  void close(std::function<void()> done);

 private:
  Runtime& runtime_;
  const transport::Endpoint endpoint_;
  const DialSettings settings_;
  std::unique_ptr<transport::ConnectTunnel> door_;
  std::unique_ptr<transport::Dialer> dialer_;
};

/// How a gateway is reached: for TLS, and for connections that have no stream yet.
struct ListenSettings {
  transport::TlsOptions tls{};
  Duration handshake_timeout = std::chrono::seconds(10);
  // gRPC's, see GrpcListenerOptions.
  std::size_t max_unused_connections = 4096;
  Duration max_connection_idle = std::chrono::minutes(5);
};

/// The listener that `endpoint`'s scheme asks for: `grpc`, `grpcs`, `ws` or `wss`, the last two with Phoenix channels.
[[nodiscard]] std::unique_ptr<transport::Listener> make_listener(Runtime& runtime, const transport::Endpoint& endpoint,
                                                                 transport::ListenerOptions base,
                                                                 const ListenSettings& settings, const LogSink& log);

/// As many descriptors as the system lets us have: a connection is one, and the usual limit of 1024 is there for
/// programs that cannot use more.
void raise_descriptor_limit();

/// The flags of `connect` about certificates and proxies.
class DialFlags {
 public:
  void add(CLI::App& app);
  /// TLS and proxy for `endpoint`. Throws `CLI::ValidationError` that names the flag; warns of what is dangerous.
  void apply(const transport::Endpoint& endpoint, const LogSink& log, DialSettings& settings) const;

 private:
  transport::TlsOptions tls_;
  std::string proxy_;
};

/// The flags of `pool` about certificates: those of `connect`, without a proxy.
class AgentTlsFlags {
 public:
  void add(CLI::App& app);
  /// For `endpoint`. Throws `CLI::ValidationError` that names the flag; warns of what is dangerous.
  [[nodiscard]] transport::TlsOptions tls(const std::string& flag, const transport::Endpoint& endpoint,
                                          const LogSink& log) const;

 private:
  transport::TlsOptions tls_;
};

/// The flags of servers about certificates.
class ServeFlags {
 public:
  /// `peers`: whose certificates `--tls-ca` is about.
  void add(CLI::App& app, const std::string& peers = "Connectors");
  /// Throws `CLI::ValidationError` that names the flag.
  void check() const;
  [[nodiscard]] bool with_tls() const { return tls_ != transport::TlsOptions{}; }
  [[nodiscard]] transport::TlsOptions tls() const;

 private:
  transport::TlsOptions tls_;
};

}  // namespace sharingbus::cli

#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "bus/base/result.hpp"
#include "bus/base/timer.hpp"
#include "transport/endpoint.hpp"
#include "transport/listener.hpp"
#include "transport/tls/tls_options.hpp"

namespace sharingbus::transport {

/// Further methods of a listener's port, with options of their own; `StreamOpened::listener` is `base.id`.
struct GrpcService {
  std::vector<std::string> methods;
  ListenerOptions base;
};

struct GrpcListenerOptions {
  ListenerOptions base;
  /// Paths of the bidirectional streaming methods that are served; all others are answered with UNIMPLEMENTED.
  std::vector<std::string> methods = {"/matrix.connectors.v1.ConnectorService/Connect"};
  /// What else is served on this port. `base.max_links` counts their streams too. A unary method is a stream of one
  /// message each way, which is read with credit for one: only then does its client's half-close not end it.
  std::vector<GrpcService> services = {};
  /// Streams that one connection may carry. At least 1.
  std::size_t max_concurrent_streams = 1024;
  /// Connections on which no stream was opened yet; those beyond are closed at once. At least 1.
  std::size_t max_unused_connections = 4096;
  /// A connection that has not got as far as HTTP/2 after this long, TLS included, is closed.
  Duration handshake_timeout = std::chrono::seconds(10);
  /// A connection without streams for this long is closed in good order (GOAWAY).
  Duration max_connection_idle = std::chrono::minutes(5);
  /// PINGs that come more often than this while there is no data are noted, but never punished.
  Duration min_ping_interval = std::chrono::seconds(1);
  /// HTTP/2 PING after this long without inbound data, and how long it may stay unanswered until the connection is
  /// dead: this is how a peer that vanished without a word is found.
  Duration keepalive_interval = std::chrono::seconds(30);
  Duration keepalive_timeout = std::chrono::seconds(10);
  /// For `grpcs`; `grpc` is plain.
  TlsOptions tls;

  /// `invalid_argument`, naming the field.
  [[nodiscard]] Result<> validate() const;
};

/// Accepts gRPC streams. Headers are answered at once, without waiting for a message.
///
/// Refused streams (`max_links`, `stop_accepting`) see UNAVAILABLE. `Link::finish` sends what is queued and ends the
/// stream with OK; `Link::cancel` ends it with the status that its error maps to (README.md) and the error's text. When
/// the peer half-closes, what is queued goes out, then the stream ends with `stream_closed`. A peer that goes without
/// that, by a reset or with its connection, is `stream_failed`, credit or not. Connections that are closed because they
/// are too many, or never had a stream in time, are `ConnectionRefused` events.
///
/// Any thread. What arrives is decoded and published on threads of the listener's own: half as many as there are
/// processors, 16 at most.
class GrpcListener final : public Listener {
 public:
  /// Binds nothing yet. Throws `std::invalid_argument` when `options.validate()` fails.
  GrpcListener(Endpoint endpoint, GrpcListenerOptions options);
  /// Closes and waits for it: not on those threads, and so neither inside callbacks of inline subscriptions nor inside
  /// the `done` of `close`.
  ~GrpcListener() override;
  GrpcListener(const GrpcListener&) = delete;
  GrpcListener& operator=(const GrpcListener&) = delete;

  /// May wait for the resolution of a host name. SO_REUSEPORT is off: an address in use is an error. With `grpcs` the
  /// TLS files are read: `invalid_argument` names the one that is unusable.
  Result<Endpoint> listen() override;
  [[nodiscard]] std::uint64_t id() const noexcept override;
  void stop_accepting() override;
  /// gRPC's shutdown blocks, so a thread that lives until `done` has returned carries it out.
  void close(std::function<void()> done) override;
  [[nodiscard]] std::size_t link_count() const override;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace sharingbus::transport

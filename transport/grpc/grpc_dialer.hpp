#pragma once

#include <chrono>
#include <cstddef>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "bus/base/result.hpp"
#include "bus/base/timer.hpp"
#include "transport/dialer.hpp"
#include "transport/endpoint.hpp"
#include "transport/tls/tls_options.hpp"

namespace sharingbus::transport {

struct GrpcDialerOptions {
  /// Path of the bidirectional streaming method that every stream calls.
  std::string method = "/matrix.connectors.v1.ConnectorService/Connect";
  /// Another path of the same method, for servers that know it by an older name; empty: none. When a stream ends with
  /// `unimplemented`, the next one that is opened takes the other path: so dial once more, at once.
  std::string fallback_method;
  /// Streams that share one connection, opening ones included; a further connection is made when all are at this
  /// number. At least 1. Servers queue silently above a limit of their own, often 100.
  std::size_t max_streams_per_channel = 80;
  /// HTTP/2 PING after this long without inbound data, also while idle; gRPC doubles it when the server objects.
  Duration keepalive_interval = std::chrono::seconds(30);
  /// A connection whose PING stays unanswered for this long is dead: its streams end with `stream_failed`.
  Duration keepalive_timeout = std::chrono::seconds(10);
  /// Memory guard for whole connections, above `StreamLimits::max_inbound_bytes`, which is the limit that names the
  /// size: nothing larger is ever buffered. Make it about twice the largest `max_inbound_bytes` of the streams.
  std::size_t max_receive_bytes = std::size_t{8} * 1024 * 1024;
  /// For `grpcs`; `grpc` is plain.
  TlsOptions tls;
  /// Connections are made to this address instead of the endpoint's, which stays the name that the server is asked for
  /// and that its certificate must have: the door of a `ConnectTunnel`. Scheme `tcp`.
  std::optional<Endpoint> connect_to;
  /// With `connect_to`: why connections from there on fail, if they do; it then is why the stream could not be opened.
  /// Any thread.
  std::function<Error()> connect_failure;

  /// `invalid_argument`, naming the field.
  [[nodiscard]] Result<> validate() const;
};

/// Opens streams to one gRPC server over shared channels; each channel is a TCP connection of its own.
///
/// A stream's place on a channel is reserved when `open` is called and given back when the stream has ended. Channels
/// are made when they are needed; one that failed to connect is replaced at the next `open`, so the pace of
/// reconnecting is the caller's and not gRPC's. One on which a stream got no answer within its connect timeout takes no
/// more streams than it has. gRPC's own proxy support, retries, compression and service config are off.
///
/// Streams end with `connection_refused` as soon as connecting failed (the message has the address and gRPC's text),
/// with `connect_timeout` when the server's headers do not come in time, `stream_closed` when the server ended the
/// stream with OK, else with what the server's status maps to (README.md), its text kept. A scheme other than `grpc`
/// and `grpcs` ends every stream with `invalid_endpoint`, unusable TLS files with `invalid_argument`.
///
/// Any thread. What arrives is decoded and published on threads that all dialers of the process share: half as many as
/// there are processors, 16 at most.
class GrpcDialer final : public Dialer {
 public:
  /// Connects to nothing yet. `timers` must outlive the dialer. Throws `std::invalid_argument` when
  /// `options.validate()` fails.
  GrpcDialer(Endpoint endpoint, GrpcDialerOptions options, TimerService& timers);
  /// Closes and waits for it: not on those threads, and so not inside callbacks of inline subscriptions.
  ~GrpcDialer() override;
  GrpcDialer(const GrpcDialer&) = delete;
  GrpcDialer& operator=(const GrpcDialer&) = delete;

  std::shared_ptr<Link> open(StreamOptions options, std::string first_frame) override;
  void close(std::function<void()> done) override;
  [[nodiscard]] DialerStats stats() const override;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace sharingbus::transport

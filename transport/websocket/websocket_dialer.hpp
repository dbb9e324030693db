#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include <boost/asio/any_io_executor.hpp>

#include "bus/base/result.hpp"
#include "bus/base/timer.hpp"
#include "transport/dialer.hpp"
#include "transport/endpoint.hpp"
#include "transport/tls/tls_options.hpp"
#include "transport/websocket/message_protocol.hpp"
#include "transport/websocket/websocket_options.hpp"

namespace sharingbus::transport {

struct WebSocketDialerOptions {
  /// What the messages mean, and which path is asked for. Required.
  std::shared_ptr<const MessageProtocol> protocol;
  WebSocketTimes times;
  /// For `wss`; `ws` is plain.
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

/// Opens streams to `ws://host:port` or `wss://…`, each a connection of its own. The name is resolved at each `open`;
/// its addresses are tried one after the other until one accepts, each with an even share of the connect timeout that
/// is left.
///
/// Streams end with `connection_refused` when nobody accepts or the server does not upgrade (the message has the
/// system's or the server's text; 401, 403, 404 and 501 are `unauthenticated`, `rejected`, `not_found` and
/// `unimplemented`), `connect_timeout`, `stream_closed` when the server closed with 1000 or without a code,
/// `stream_failed` when the connection broke, else with what the server's close code stands for (README.md). A scheme
/// other than `ws` and `wss` ends every stream with `invalid_endpoint`, unusable TLS files with `invalid_argument`.
/// `StreamClosed::retry_after` is what `Retry-After` said, or the 5 s of codes 1012 and 1013.
///
/// Any thread. Works on the executor that it is given, each stream on a strand of it, so it may have many threads.
/// Context and timers must outlive the dialer and the last `StreamClosed`.
class WebSocketDialer final : public Dialer {
 public:
  /// Connects to nothing yet. Throws `std::invalid_argument` when `options.validate()` fails.
  WebSocketDialer(boost::asio::any_io_executor executor, TimerService& timers, Endpoint endpoint,
                  WebSocketDialerOptions options);
  /// Cancels what is open; the rest happens on the executor.
  ~WebSocketDialer() override;
  WebSocketDialer(const WebSocketDialer&) = delete;
  WebSocketDialer& operator=(const WebSocketDialer&) = delete;

  std::shared_ptr<Link> open(StreamOptions options, std::string first_frame) override;
  void close(std::function<void()> done) override;
  [[nodiscard]] DialerStats stats() const override;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace sharingbus::transport

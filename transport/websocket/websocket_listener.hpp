#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>

#include <boost/asio/any_io_executor.hpp>

#include "bus/base/log.hpp"
#include "bus/base/result.hpp"
#include "bus/base/timer.hpp"
#include "transport/endpoint.hpp"
#include "transport/listener.hpp"
#include "transport/tls/tls_options.hpp"
#include "transport/websocket/message_protocol.hpp"
#include "transport/websocket/websocket_options.hpp"

namespace sharingbus::transport {

struct WebSocketListenerOptions {
  ListenerOptions base;
  /// What the messages mean, and which path is served. Required.
  std::shared_ptr<const MessageProtocol> protocol;
  WebSocketTimes times;
  /// For `wss`; `ws` is plain.
  TlsOptions tls;
  /// From a connection's arrival until its stream is open: TLS, the upgrade, and what the protocol asks for.
  Duration handshake_timeout = std::chrono::seconds(10);
  /// The upgrade request with all its headers.
  std::size_t max_request_bytes = std::size_t{8} * 1024;
  /// Connections whose stream is not open yet; further ones wait in the kernel.
  std::size_t max_handshakes = 1024;
  /// What those that are refused for want of room, or after `stop_accepting`, are told to wait (503, `Retry-After`). In
  /// whole seconds; 0: nothing.
  Duration retry_after = std::chrono::seconds(1);
  /// Hears when connections cannot be accepted for want of descriptors or memory, once each time it begins.
  LogSink log = stderr_log();

  /// `invalid_argument`, naming the field.
  [[nodiscard]] Result<> validate() const;
};

/// Accepts streams at `ws://host:port` or `wss://…`, host an address of this machine or a name of one; of several
/// addresses of a name the first that can be bound. Requests for other paths are answered with 404, those that ask for
/// no WebSocket with 426, those beyond `max_links` and after `stop_accepting` with 503. Of a connection that was
/// refused or failed before its stream was open there is a `StreamClosed` without a `StreamOpened`, unless it said
/// nothing at all. Out of descriptors or memory it accepts nothing for 100 ms at a time.
///
/// `Link::cancel` tells the peer the error's close code and text (README.md). Any thread. Works on the executor that it
/// is given, each stream on a strand of it, so it may have many threads. Context and timers must outlive the listener
/// and the last `StreamClosed`.
class WebSocketListener final : public Listener {
 public:
  /// Binds nothing yet. Throws `std::invalid_argument` when `options.validate()` fails.
  WebSocketListener(boost::asio::any_io_executor executor, TimerService& timers, Endpoint endpoint,
                    WebSocketListenerOptions options);
  /// Closes; what is open ends on the executor.
  ~WebSocketListener() override;
  WebSocketListener(const WebSocketListener&) = delete;
  WebSocketListener& operator=(const WebSocketListener&) = delete;

  /// Resolving a name that is no address blocks. With `wss` the TLS files are read: `invalid_argument` names the one
  /// that is unusable.
  Result<Endpoint> listen() override;
  [[nodiscard]] std::uint64_t id() const noexcept override;
  void stop_accepting() override;
  void close(std::function<void()> done) override;
  [[nodiscard]] std::size_t link_count() const override;

 private:
  class State;
  std::shared_ptr<State> state_;
};

}  // namespace sharingbus::transport

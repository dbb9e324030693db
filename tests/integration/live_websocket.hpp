#pragma once

#include <functional>
#include <memory>
#include <string>
#include <utility>

#include "connector/registration/multiplexed_dialer.hpp"
#include "tests/integration/live_world.hpp"
#include "transport/websocket/phoenix_protocol.hpp"
#include "transport/websocket/websocket_dialer.hpp"
#include "transport/websocket/websocket_listener.hpp"

namespace sharingbus::test {

/// Phoenix channels over WebSockets; with TLS when there are files.
inline LiveTransport over_websocket(const transport::TlsOptions& server = {},
                                    const transport::TlsOptions& client = {}) {
  const std::string scheme = server == transport::TlsOptions{} ? "ws" : "wss";
  LiveTransport sockets{"websocket", {scheme, "127.0.0.1", 0}, {}, {}};
  sockets.make_listener = [server](boost::asio::any_io_executor executor, TimerService& timers,
                                   const transport::Endpoint& at, transport::ListenerOptions base) {
    transport::WebSocketListenerOptions options;
    options.base = std::move(base);
    options.protocol = transport::make_phoenix_protocol();
    options.tls = server;
    return std::make_unique<transport::WebSocketListener>(std::move(executor), timers, at, std::move(options));
  };
  sockets.make_dialer = [client](boost::asio::any_io_executor executor, TimerService& timers, SharingBus& /*bus*/,
                                 const transport::Endpoint& to) {
    transport::WebSocketDialerOptions options;
    options.protocol = transport::make_phoenix_protocol();
    options.tls = client;
    return std::make_unique<transport::WebSocketDialer>(std::move(executor), timers, to, std::move(options));
  };
  return sockets;
}

/// A MultiplexedDialer and the one below it.
class LiveMultiplexedDialer final : public transport::Dialer {
 public:
  LiveMultiplexedDialer(std::unique_ptr<transport::Dialer> below, boost::asio::any_io_executor executor,
                        TimerService& timers, SharingBus& bus)
      : below_(std::move(below)), shared_(std::move(executor), bus, timers, *below_) {}

  std::shared_ptr<transport::Link> open(transport::StreamOptions options, std::string first_frame) override {
    return shared_.open(std::move(options), std::move(first_frame));
  }
  void close(std::function<void()> done) override {
    shared_.close([this, done = std::move(done)] { below_->close(done); });
  }
  transport::DialerStats stats() const override { return shared_.stats(); }

 private:
  const std::unique_ptr<transport::Dialer> below_;
  connector::MultiplexedDialer shared_;
};

/// The same, with all connectors on one socket.
inline LiveTransport over_shared_websocket(const transport::TlsOptions& server = {},
                                           const transport::TlsOptions& client = {}) {
  LiveTransport sockets = over_websocket(server, client);
  sockets.name = "shared_websocket";
  sockets.make_dialer = [below = sockets.make_dialer](boost::asio::any_io_executor executor, TimerService& timers,
                                                      SharingBus& bus, const transport::Endpoint& to) {
    return std::make_unique<LiveMultiplexedDialer>(below(executor, timers, bus, to), executor, timers, bus);
  };
  return sockets;
}

}  // namespace sharingbus::test

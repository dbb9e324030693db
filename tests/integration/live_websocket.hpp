#pragma once

#include <memory>
#include <utility>

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
  sockets.make_dialer = [client](boost::asio::any_io_executor executor, TimerService& timers,
                                 const transport::Endpoint& to) {
    transport::WebSocketDialerOptions options;
    options.protocol = transport::make_phoenix_protocol();
    options.tls = client;
    return std::make_unique<transport::WebSocketDialer>(std::move(executor), timers, to, std::move(options));
  };
  return sockets;
}

}  // namespace sharingbus::test

#pragma once

#include <memory>
#include <utility>

#include "tests/integration/live_world.hpp"
#include "transport/grpc/grpc_dialer.hpp"
#include "transport/grpc/grpc_listener.hpp"

namespace sharingbus::test {

/// With TLS when there are files.
inline LiveTransport over_grpc(const transport::TlsOptions& server = {}, const transport::TlsOptions& client = {}) {
  const std::string scheme = server == transport::TlsOptions{} ? "grpc" : "grpcs";
  LiveTransport sockets{"grpc", {scheme, "127.0.0.1", 0}, {}, {}};
  sockets.make_listener = [server](auto, TimerService&, const transport::Endpoint& at,
                                   transport::ListenerOptions base) {
    transport::GrpcListenerOptions options;
    options.base = std::move(base);
    options.tls = server;
    return std::make_unique<transport::GrpcListener>(at, std::move(options));
  };
  sockets.make_dialer = [client](auto, TimerService& timers, SharingBus&, const transport::Endpoint& to) {
    transport::GrpcDialerOptions options;
    options.tls = client;
    return std::make_unique<transport::GrpcDialer>(to, std::move(options), timers);
  };
  return sockets;
}

}  // namespace sharingbus::test

#include <memory>
#include <optional>
#include <string>
#include <utility>

#include <boost/asio/ip/tcp.hpp>

#include "tests/conformance/transport_suite.hpp"
#include "tests/support/context_threads.hpp"
#include "tests/support/test_certificates.hpp"
#include "transport/websocket/phoenix_protocol.hpp"
#include "transport/websocket/raw_protocol.hpp"
#include "transport/websocket/websocket_dialer.hpp"
#include "transport/websocket/websocket_listener.hpp"

namespace sharingbus::test {
namespace {

using boost::asio::ip::tcp;
using transport::Dialer;
using transport::Endpoint;
using transport::Listener;
using transport::ListenerOptions;
using transport::MessageProtocol;

/// An authority, and what it issued to localhost; made once, as making keys takes its time.
struct Certificates {
  Certificates() {
    const TestAuthority authority;
    authority.write_certificate(folder / "ca.pem");
    authority.issue({}, folder / "cert.pem", folder / "key.pem");
  }
  TemporaryFolder folder;
};
const Certificates& certificates() {
  static const Certificates all;
  return all;
}

class WebSockets final : public TransportUnderTest {
 public:
  WebSockets(std::string scheme, std::shared_ptr<const MessageProtocol> protocol, std::size_t threads)
      : scheme_(std::move(scheme)), protocol_(std::move(protocol)), threads_(threads) {}

  std::unique_ptr<Listener> make_listener(ListenerOptions options, const Endpoint* at) override {
    transport::WebSocketListenerOptions listening;
    listening.base = std::move(options);
    listening.protocol = protocol_;
    if (scheme_ == "wss") {
      listening.tls.certificate_file = certificates().folder / "cert.pem";
      listening.tls.key_file = certificates().folder / "key.pem";
    }
    return std::make_unique<transport::WebSocketListener>(threads_.executor(), threads_.timers(),
                                                          at != nullptr ? *at : Endpoint{scheme_, "127.0.0.1", 0},
                                                          std::move(listening));
  }
  std::unique_ptr<Dialer> make_dialer(const Endpoint& to) override {
    transport::WebSocketDialerOptions dialing;
    dialing.protocol = protocol_;
    if (scheme_ == "wss") dialing.tls.ca_file = certificates().folder / "ca.pem";
    return std::make_unique<transport::WebSocketDialer>(threads_.executor(), threads_.timers(), to, std::move(dialing));
  }
  /// Bound, so that nobody else takes the port, but not listening.
  Endpoint refused_endpoint() override { return endpoint_of(bound_); }
  /// The kernel accepts for a listener that never does.
  std::optional<Endpoint> silent_endpoint() override {
    silent_.listen();
    return endpoint_of(silent_);
  }

 private:
  tcp::acceptor bind() {
    tcp::acceptor socket(context_, tcp::v4());
    socket.bind({boost::asio::ip::address_v4::loopback(), 0});
    return socket;
  }
  Endpoint endpoint_of(const tcp::acceptor& socket) const {
    return {scheme_, "127.0.0.1", socket.local_endpoint().port()};
  }

  const std::string scheme_;
  const std::shared_ptr<const MessageProtocol> protocol_;
  boost::asio::io_context context_;
  tcp::acceptor bound_ = bind();
  tcp::acceptor silent_ = bind();
  ContextThreads threads_;
};

TransportCase plain_raw() {
  return {"plain_raw", [] { return std::make_unique<WebSockets>("ws", transport::make_raw_protocol(), 1); }};
}
TransportCase tls_raw_two_threads() {
  return {"tls_raw_two_threads", [] { return std::make_unique<WebSockets>("wss", transport::make_raw_protocol(), 2); }};
}
TransportCase plain_phoenix_two_threads() {
  return {"plain_phoenix_two_threads",
          [] { return std::make_unique<WebSockets>("ws", transport::make_phoenix_protocol(), 2); }};
}
TransportCase tls_phoenix() {
  return {"tls_phoenix", [] { return std::make_unique<WebSockets>("wss", transport::make_phoenix_protocol(), 1); }};
}

INSTANTIATE_TEST_SUITE_P(WebSocket, TransportConformance,
                         testing::Values(plain_raw(), tls_raw_two_threads(), plain_phoenix_two_threads(),
                                         tls_phoenix()),
                         case_name);

}  // namespace
}  // namespace sharingbus::test

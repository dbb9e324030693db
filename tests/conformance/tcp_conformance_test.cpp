#include <memory>
#include <utility>

#include <boost/asio/ip/tcp.hpp>

#include "tests/conformance/framing_cases.hpp"
#include "tests/conformance/transport_suite.hpp"
#include "tests/support/context_threads.hpp"
#include "transport/tcp/tcp_dialer.hpp"
#include "transport/tcp/tcp_listener.hpp"

namespace sharingbus::test {
namespace {

using boost::asio::ip::tcp;
using transport::Dialer;
using transport::Endpoint;
using transport::Framing;
using transport::Listener;
using transport::ListenerOptions;

class Tcp final : public TransportUnderTest {
 public:
  Tcp(std::shared_ptr<const Framing> framing, std::size_t threads) : framing_(std::move(framing)), threads_(threads) {}

  std::unique_ptr<Listener> make_listener(ListenerOptions options, const Endpoint* at) override {
    transport::TcpListenerOptions listening;
    listening.base = std::move(options);
    listening.framing = framing_;
    return std::make_unique<transport::TcpListener>(threads_.executor(), threads_.timers(),
                                                    at != nullptr ? *at : Endpoint{"tcp", "127.0.0.1", 0},
                                                    std::move(listening));
  }
  std::unique_ptr<Dialer> make_dialer(const Endpoint& to) override {
    transport::TcpDialerOptions dialing;
    dialing.framing = framing_;
    return std::make_unique<transport::TcpDialer>(threads_.executor(), threads_.timers(), to, std::move(dialing));
  }
  /// Bound, so that nobody else takes the port, but not listening.
  Endpoint refused_endpoint() override { return endpoint_of(bound_); }
  /// Its queue is full, so that the kernel answers nothing.
  std::optional<Endpoint> silent_endpoint() override {
    silent_.listen(0);
    filler_.connect(silent_.local_endpoint());
    return endpoint_of(silent_);
  }

 private:
  tcp::acceptor bind() {
    tcp::acceptor socket(context_, tcp::v4());
    socket.bind({boost::asio::ip::address_v4::loopback(), 0});
    return socket;
  }
  static Endpoint endpoint_of(const tcp::acceptor& socket) {
    return {"tcp", "127.0.0.1", socket.local_endpoint().port()};
  }

  const std::shared_ptr<const Framing> framing_;
  boost::asio::io_context context_;
  tcp::acceptor bound_ = bind();
  tcp::acceptor silent_ = bind();
  tcp::socket filler_{context_};
  ContextThreads threads_;
};

INSTANTIATE_TEST_SUITE_P(Tcp, TransportConformance, framing_cases<Tcp>(), case_name);

}  // namespace
}  // namespace sharingbus::test

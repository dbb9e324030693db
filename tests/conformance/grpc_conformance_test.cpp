#include <memory>
#include <thread>
#include <utility>

#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>

#include "bus/async_timer_service.hpp"
#include "tests/conformance/transport_suite.hpp"
#include "transport/grpc/grpc_dialer.hpp"
#include "transport/grpc/grpc_listener.hpp"

namespace sharingbus::test {
namespace {

namespace asio = boost::asio;
using asio::ip::tcp;

using transport::Dialer;
using transport::Endpoint;
using transport::GrpcDialer;
using transport::GrpcDialerOptions;
using transport::GrpcListener;
using transport::GrpcListenerOptions;
using transport::Listener;
using transport::ListenerOptions;

class Grpc final : public TransportUnderTest {
 public:
  explicit Grpc(GrpcDialerOptions dialing) : dialing_(std::move(dialing)) {}
  ~Grpc() override {
    work_.reset();
    thread_.join();
  }

  std::unique_ptr<Listener> make_listener(ListenerOptions options, const Endpoint* at) override {
    GrpcListenerOptions listening;
    listening.base = std::move(options);
    return std::make_unique<GrpcListener>(at != nullptr ? *at : Endpoint{"grpc", "127.0.0.1", 0}, std::move(listening));
  }
  std::unique_ptr<Dialer> make_dialer(const Endpoint& to) override {
    return std::make_unique<GrpcDialer>(to, dialing_, timers_);
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
    socket.bind({asio::ip::address_v4::loopback(), 0});
    return socket;
  }
  static Endpoint endpoint_of(const tcp::acceptor& socket) {
    return {"grpc", "127.0.0.1", socket.local_endpoint().port()};
  }

  const GrpcDialerOptions dialing_;
  asio::io_context context_;
  asio::executor_work_guard<asio::io_context::executor_type> work_{context_.get_executor()};
  AsyncTimerService timers_{context_.get_executor()};
  tcp::acceptor bound_ = bind();
  tcp::acceptor silent_ = bind();
  std::thread thread_{[this] { context_.run(); }};
};

TransportCase shared_channels() {
  return {"shared_channels", [] { return std::make_unique<Grpc>(GrpcDialerOptions{}); }};
}
/// Every stream on a connection of its own.
TransportCase own_channels() {
  return {"own_channels", [] {
            GrpcDialerOptions options;
            options.max_streams_per_channel = 1;
            return std::make_unique<Grpc>(std::move(options));
          }};
}

INSTANTIATE_TEST_SUITE_P(Grpc, TransportConformance, testing::Values(shared_channels(), own_channels()), case_name);

}  // namespace
}  // namespace sharingbus::test

// Through real HTTP proxies on loopback (protocol-connector §2.4; weakness 5).
#include "transport/proxy/connect_tunnel.hpp"

#include <future>
#include <memory>
#include <thread>

#include <boost/asio/read.hpp>

#include "bus/async_timer_service.hpp"
#include "tests/support/manual_clock.hpp"
#include "tests/support/test_certificates.hpp"
#include "tests/support/test_proxy.hpp"
#include "tests/transport/grpc_rig.hpp"
#include "transport/tls/tls_context.hpp"

namespace sharingbus::test {
namespace {

using namespace transport;
namespace asio = boost::asio;
using asio::ip::tcp;

class ConnectTunnelTest : public GrpcRig {
 protected:
  ~ConnectTunnelTest() override {
    dialer.reset();
    if (tunnel_) close(*tunnel_);
    work_.reset();
    thread_.join();
  }

  void open_tunnel(ConnectTunnelOptions options) {
    tunnel_ = std::make_unique<ConnectTunnel>(context_.get_executor(), time_, std::move(options));
    const auto door = tunnel_->listen();
    ASSERT_TRUE(door.has_value()) << door.error().message;
    door_ = *door;
  }
  void open_tunnel(const TestProxy& proxy) {
    ConnectTunnelOptions options;
    options.proxy.host = "127.0.0.1";
    options.proxy.port = proxy.port();
    options.target = endpoint;
    open_tunnel(options);
  }
  GrpcDialerOptions through() {
    GrpcDialerOptions options;
    options.connect_to = door_;
    options.connect_failure = [this] { return tunnel_->last_failure(); };
    return options;
  }
  void exchange(StreamRecord& stream) {
    ASSERT_TRUE(client.opens(stream)) << stream.ending();
    ASSERT_TRUE(server.sees(1));
    server.at(0).link->grant(kPlenty);
    ASSERT_EQ(stream.link->send("Cthere"), SendStatus::queued);
    ASSERT_TRUE(server.gets(server.at(0), 1));
    ASSERT_EQ(server.at(0).link->send("Cback"), SendStatus::queued);
    ASSERT_TRUE(client.gets(stream, 1));
  }
  /// Connects to the door and reads to the end.
  std::string read_to_the_end(const std::string& say = {}) {
    asio::io_context context;
    tcp::socket socket(context);
    socket.connect({asio::ip::address_v4::loopback(), door_.port});
    asio::write(socket, asio::buffer(say));
    if (!say.empty()) socket.shutdown(tcp::socket::shutdown_send);
    std::string all;
    boost::system::error_code error;
    asio::read(socket, asio::dynamic_buffer(all), error);
    return all;
  }

  asio::io_context context_;
  asio::executor_work_guard<asio::io_context::executor_type> work_{context_.get_executor()};
  ManualTimerService time_;
  Endpoint door_;
  std::unique_ptr<ConnectTunnel> tunnel_;
  std::thread thread_{[this] { context_.run(); }};
};

TEST_F(ConnectTunnelTest, Grpc_GoesThroughTheProxyToTheNamedTarget) {
  listen();
  const TestProxy proxy;
  open_tunnel(proxy);
  dial(through());
  exchange(open());
  ASSERT_EQ(proxy.requests().size(), 1U);
  const std::string where = "127.0.0.1:" + std::to_string(endpoint.port);
  EXPECT_EQ(proxy.requests()[0], "CONNECT " + where + " HTTP/1.1\r\nHost: " + where + "\r\n\r\n");
  EXPECT_EQ(tunnel_->stats().opened, 1U);
  EXPECT_EQ(tunnel_->stats().connections, 1U);
}

TEST_F(ConnectTunnelTest, GrpcWithTls_ChecksTheTargetsOwnCertificateThroughTheTunnel) {
  const TemporaryFolder folder;
  const TestAuthority authority;
  authority.write_certificate(folder / "ca.pem");
  authority.issue({.names = "DNS:localhost"}, folder / "server.pem", folder / "server.key");
  GrpcListenerOptions serving = listener_options();
  serving.tls.certificate_file = folder / "server.pem";
  serving.tls.key_file = folder / "server.key";
  listen(std::move(serving), {"grpcs", "127.0.0.1", 0});
  endpoint.host = "localhost";
  const TestProxy proxy;
  open_tunnel(proxy);
  GrpcDialerOptions options = through();
  options.tls.ca_file = folder / "ca.pem";
  dial(options);
  exchange(open());

  // The name that counts is the target's, not the door's.
  options.tls.server_name = "elsewhere.example";
  dial(options);
  EXPECT_FALSE(client.opens(open()));
}

TEST_F(ConnectTunnelTest, Credentials_AreSentAtOnceAndTheirRefusalIsNamed) {
  listen();
  const TestProxy proxy([](const std::string& request) {
    // user:pass:word
    if (request.find("\r\nProxy-Authorization: Basic dXNlcjpwYXNzOndvcmQ=\r\n") != std::string::npos) {
      return TestProxy::yes(request);
    }
    return std::string("HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n");
  });
  open_tunnel(proxy);
  dial(through());
  StreamRecord& refused = open();
  ASSERT_TRUE(client.closes(refused));
  EXPECT_TRUE(refused.closed->error.is(errc::unauthenticated)) << refused.ending();
  EXPECT_NE(refused.ending().find("Proxy authentication failed: status 407 Proxy Authentication Required"),
            std::string::npos)
      << refused.ending();

  close(*tunnel_);
  ConnectTunnelOptions known;
  known.proxy = {false, "127.0.0.1", proxy.port(), "user", "pass:word"};
  known.target = endpoint;
  open_tunnel(known);
  dial(through());
  exchange(open());
}

TEST_F(ConnectTunnelTest, OtherAnswers_AreRefusalsWithTheProxysWords) {
  const std::pair<const char*, const char*> kCases[] = {
      {"HTTP/1.1 503 Not now\r\n\r\n", "Proxy CONNECT failed: status 503 Not now"},
      {"HTTP/1.0 302 Found\r\nLocation: http://elsewhere/\r\n\r\n", "Proxy CONNECT failed: status 302 Found"},
      {"SSH-2.0-OpenSSH_9\r\n\r\n", "Proxy CONNECT failed: the answer is no HTTP"},
      {"", "Proxy CONNECT failed: the proxy closed the connection"},
  };
  listen();
  for (const auto& [answer, text] : kCases) {
    const TestProxy proxy([answer = std::string(answer)](const std::string&) { return answer; });
    open_tunnel(proxy);
    EXPECT_EQ(read_to_the_end(), "");
    EXPECT_TRUE(tunnel_->last_failure().is(errc::rejected)) << answer;
    EXPECT_EQ(tunnel_->last_failure().message.substr(0, std::string(text).size()), text);
    EXPECT_EQ(tunnel_->stats().failed, 1U);
    close(*tunnel_);
  }
}

TEST_F(ConnectTunnelTest, AnswerWithoutEnd_IsRefusedAt8KiB) {
  listen();
  const TestProxy proxy([](const std::string&) { return "HTTP/1.1 500 x\r\nA: " + std::string(64 * 1024, 'a'); });
  open_tunnel(proxy);
  EXPECT_EQ(read_to_the_end(), "");
  EXPECT_TRUE(tunnel_->last_failure().is(errc::rejected)) << tunnel_->last_failure().message;
}

TEST_F(ConnectTunnelTest, NoProxyThere_IsUnreachable) {
  listen();
  const BoundPort nobody(false);
  ConnectTunnelOptions options;
  options.proxy.host = "127.0.0.1";
  options.proxy.port = nobody.endpoint().port;
  options.target = endpoint;
  open_tunnel(options);
  dial(through());
  StreamRecord& stream = open();
  ASSERT_TRUE(client.closes(stream));
  EXPECT_TRUE(stream.closed->error.is(errc::connection_refused)) << stream.ending();
  EXPECT_NE(stream.ending().find("Proxy unreachable: http://127.0.0.1:"), std::string::npos) << stream.ending();
}

TEST_F(ConnectTunnelTest, SilentProxy_TimesOutByTheInjectedClock) {
  listen();
  const BoundPort silent(true);
  ConnectTunnelOptions options;
  options.proxy.host = "127.0.0.1";
  options.proxy.port = silent.endpoint().port;
  options.target = endpoint;
  options.connect_timeout = std::chrono::seconds(5);
  open_tunnel(options);
  auto end = std::async(std::launch::async, [this] { return read_to_the_end(); });
  while (time_.pending() == 0)
    std::this_thread::yield();
  time_.advance(std::chrono::seconds(5));
  EXPECT_EQ(end.get(), "");
  EXPECT_TRUE(tunnel_->last_failure().is(errc::connect_timeout)) << tunnel_->last_failure().message;
}

TEST_F(ConnectTunnelTest, WhatComesWithTheAnswer_BelongsToTheTarget) {
  listen();
  const TestProxy proxy([](const std::string& request) { return TestProxy::yes(request) + "early words"; });
  endpoint = {"tcp", "127.0.0.1", proxy.port()};
  open_tunnel(proxy);
  const BoundPort silent(true);
  asio::io_context context;
  tcp::socket socket(context);
  socket.connect({asio::ip::address_v4::loopback(), door_.port});
  std::string early(11, ' ');
  asio::read(socket, asio::buffer(early));
  EXPECT_EQ(early, "early words");
}

TEST_F(ConnectTunnelTest, EndOfOneDirection_LeavesTheOtherOpen) {
  // A server that answers only when it has read everything.
  asio::io_context context;
  tcp::acceptor acceptor(context, {asio::ip::address_v4::loopback(), 0});
  endpoint = {"tcp", "127.0.0.1", acceptor.local_endpoint().port()};
  std::thread server_thread([&] {
    tcp::socket socket(context);
    acceptor.accept(socket);
    std::string all;
    boost::system::error_code error;
    asio::read(socket, asio::dynamic_buffer(all), error);
    asio::write(socket, asio::buffer(std::to_string(all.size())));
  });
  const TestProxy proxy;
  open_tunnel(proxy);
  EXPECT_EQ(read_to_the_end(std::string(1'000'000, 'x')), "1000000");
  server_thread.join();
}

TEST_F(ConnectTunnelTest, ProxyOverTls_IsVerifiedAndThenUsed) {
  const TemporaryFolder folder;
  const TestAuthority authority;
  authority.write_certificate(folder / "ca.pem");
  authority.issue({}, folder / "proxy.pem", folder / "proxy.key");
  TlsOptions identity;
  identity.certificate_file = folder / "proxy.pem";
  identity.key_file = folder / "proxy.key";
  TlsContext serving(identity, TlsContext::Role::listener, "");
  const TestProxy proxy(TestProxy::yes, *serving.current());

  asio::io_context context;
  tcp::acceptor acceptor(context, {asio::ip::address_v4::loopback(), 0});
  std::thread echo([&] {
    tcp::socket socket(context);
    acceptor.accept(socket);
    std::array<char, 64> buffer;
    const std::size_t count = socket.read_some(asio::buffer(buffer));
    asio::write(socket, asio::buffer(buffer.data(), count));
  });
  ConnectTunnelOptions options;
  options.proxy = {true, "127.0.0.1", proxy.port(), "", ""};
  options.proxy_tls.ca_file = folder / "ca.pem";
  options.target = {"tcp", "127.0.0.1", acceptor.local_endpoint().port()};
  open_tunnel(options);
  {
    tcp::socket socket(context);
    socket.connect({asio::ip::address_v4::loopback(), door_.port});
    asio::write(socket, asio::buffer(std::string("hello")));
    std::string back(5, ' ');
    asio::read(socket, asio::buffer(back));
    EXPECT_EQ(back, "hello");
  }
  echo.join();
  close(*tunnel_);

  const TestAuthority stranger("a stranger");
  stranger.write_certificate(folder / "ca.pem");
  open_tunnel(options);
  EXPECT_EQ(read_to_the_end(), "");
  EXPECT_NE(tunnel_->last_failure().message.find("the peer's certificate: "), std::string::npos)
      << tunnel_->last_failure().message;
}

TEST_F(ConnectTunnelTest, Close_EndsConnectionsAndTheDoor) {
  listen();
  const TestProxy proxy;
  open_tunnel(proxy);
  dial(through());
  StreamRecord& stream = open();
  exchange(stream);
  close(*tunnel_);
  EXPECT_TRUE(client.closes(stream));
  EXPECT_EQ(tunnel_->stats().connections, 0U);
  asio::io_context context;
  tcp::socket socket(context);
  boost::system::error_code error;
  socket.connect({asio::ip::address_v4::loopback(), door_.port}, error);
  EXPECT_EQ(error, asio::error::connection_refused);
}

TEST_F(ConnectTunnelTest, CloseWhileConnecting_Ends) {
  listen();
  const BoundPort silent(true);
  ConnectTunnelOptions options;
  options.proxy.host = "127.0.0.1";
  options.proxy.port = silent.endpoint().port;
  options.target = endpoint;
  open_tunnel(options);
  auto end = std::async(std::launch::async, [this] { return read_to_the_end(); });
  while (tunnel_->stats().connections == 0)
    std::this_thread::yield();
  close(*tunnel_);
  EXPECT_EQ(end.get(), "");
}

TEST_F(ConnectTunnelTest, TooManyConnections_AreClosedAtOnce) {
  listen();
  const TestProxy proxy;
  ConnectTunnelOptions options;
  options.proxy.host = "127.0.0.1";
  options.proxy.port = proxy.port();
  options.target = endpoint;
  options.max_connections = 1;
  open_tunnel(options);
  dial(through());
  exchange(open());
  EXPECT_EQ(read_to_the_end(), "");
  EXPECT_EQ(tunnel_->stats().connections, 1U);
}

}  // namespace
}  // namespace sharingbus::test

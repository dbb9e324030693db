// Names, addresses and socket options.
#include <netinet/tcp.h>
#include <string>

#include "tests/transport/byte_stream_rig.hpp"
#include "transport/tcp/internal/tcp_socket.hpp"
#include "transport/tcp/tcp_dialer.hpp"
#include "transport/tcp/tcp_listener.hpp"

namespace sharingbus::test {
namespace {

using namespace transport;
using std::chrono::milliseconds;
using std::chrono::seconds;

class Tcp : public ByteStreamRig {
 protected:
  std::unique_ptr<TcpListener> make_listener(const Endpoint& at) {
    TcpListenerOptions options;
    options.base = listener_options();
    options.framing = framing;
    return std::make_unique<TcpListener>(threads.executor(), timers, at, std::move(options));
  }
};

TEST_F(Tcp, Dial_NameWithSeveralAddresses_TriesAll) {
  // Only one of them: where "localhost" is [::1] too, that one refuses.
  const auto listener = make_listener({"tcp", "127.0.0.1", 0});
  const auto bound = listener->listen();
  ASSERT_TRUE(bound.has_value());
  TcpDialer dialer(threads.executor(), timers, {"tcp", "localhost", bound->port}, {framing, {}});
  StreamRecord& stream = open(dialer);
  ASSERT_TRUE(client.opens(stream)) << stream.ending();
  EXPECT_EQ(stream.opened->peer, to_string(*bound));
  close_and_wait(dialer);
  close_and_wait(*listener);
  EXPECT_EQ(timers.pending(), 0U);
}

TEST_F(Tcp, Dial_UnknownName_IsRefusedByName) {
  TcpDialer dialer(threads.executor(), timers, {"tcp", "no-such-host.invalid", 5}, {framing, {}});
  StreamRecord& stream = open(dialer);
  ASSERT_TRUE(client.closes(stream));
  EXPECT_TRUE(stream.closed_with(errc::connection_refused)) << stream.ending();
  EXPECT_NE(stream.ending().find("tcp://no-such-host.invalid:5"), std::string::npos) << stream.ending();
}

TEST_F(Tcp, Dial_AnotherScheme_IsNamed) {
  TcpDialer dialer(threads.executor(), timers, {"grpc", "127.0.0.1", 5}, {framing, {}});
  StreamRecord& stream = open(dialer);
  ASSERT_TRUE(client.closes(stream));
  EXPECT_TRUE(stream.closed_with(errc::invalid_endpoint)) << stream.ending();
}

TEST_F(Tcp, Listen_AddressOfNobodyHere_IsNamed) {
  for (const char* host : {"192.0.2.1", "no-such-host.invalid"}) {
    const auto bound = make_listener({"tcp", host, 0})->listen();
    ASSERT_FALSE(bound.has_value());
    EXPECT_TRUE(bound.error().is(errc::invalid_endpoint)) << to_string(bound.error());
  }
}

TEST_F(Tcp, SocketOptions_AreSet) {
  const int fd = ::socket(AF_INET, SOCK_STREAM, 0);
  const auto value = [fd](int level, int name) {
    int result = 0;
    socklen_t size = sizeof result;
    ::getsockopt(fd, level, name, &result, &size);
    return result;
  };
  transport::internal::set_tcp_options(fd, {.no_delay = false, .keepalive = std::nullopt});
  EXPECT_EQ(value(IPPROTO_TCP, TCP_NODELAY), 0);
  EXPECT_EQ(value(SOL_SOCKET, SO_KEEPALIVE), 0);
  TcpSocketOptions options;
  options.keepalive = TcpKeepalive{milliseconds(1500), seconds(7), 4};
  transport::internal::set_tcp_options(fd, options);
  EXPECT_NE(value(IPPROTO_TCP, TCP_NODELAY), 0);
  EXPECT_NE(value(SOL_SOCKET, SO_KEEPALIVE), 0);
  EXPECT_EQ(value(IPPROTO_TCP, TCP_KEEPIDLE), 2);
  EXPECT_EQ(value(IPPROTO_TCP, TCP_KEEPINTVL), 7);
  EXPECT_EQ(value(IPPROTO_TCP, TCP_KEEPCNT), 4);
  ::close(fd);
}

TEST_F(Tcp, Options_Bad_AreNamed) {
  TcpSocketOptions socket;
  socket.keepalive->probes = 0;
  EXPECT_EQ(socket.validate().error().message, "keepalive.probes must be 1 to 127");
  socket.keepalive = TcpKeepalive{Duration::zero(), seconds(1), 1};
  EXPECT_EQ(socket.validate().error().message, "keepalive.idle must be above 0 and at most 32767 s");
  socket.keepalive = TcpKeepalive{seconds(1), seconds(40'000), 1};
  EXPECT_EQ(socket.validate().error().message, "keepalive.interval must be above 0 and at most 32767 s");
  EXPECT_EQ(TcpDialerOptions{}.validate().error().message, "framing is missing");
  EXPECT_THROW(TcpDialer(threads.executor(), timers, {"tcp", "x", 1}, {}), std::invalid_argument);
}

}  // namespace
}  // namespace sharingbus::test

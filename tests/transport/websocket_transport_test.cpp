// What a WebSocket's peers see on the wire, and what becomes of what they do (protocol-connector §3.1, §3.3, §6.3).
#include <algorithm>
#include <chrono>
#include <future>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>

#include <boost/asio/post.hpp>
#include <gtest/gtest.h>

#include "tests/support/context_threads.hpp"
#include "tests/support/manual_clock.hpp"
#include "tests/support/poll_until.hpp"
#include "tests/support/stream_observer.hpp"
#include "tests/support/test_certificates.hpp"
#include "tests/support/websocket_script.hpp"
#include "transport/websocket/phoenix_protocol.hpp"
#include "transport/websocket/raw_protocol.hpp"
#include "transport/websocket/websocket_dialer.hpp"
#include "transport/websocket/websocket_listener.hpp"

namespace sharingbus::test {
namespace {

using namespace transport;
using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr Credit kPlenty{1'000'000, 1'000'000};
constexpr Credit kNone{};
constexpr std::uint8_t kText = 1;
constexpr std::uint8_t kBinary = 2;
constexpr std::uint8_t kClose = 8;
constexpr std::uint8_t kPing = 9;
constexpr std::uint8_t kPong = 10;

template <class Fn>
bool happens(Fn fn) {
  return poll_until(std::move(fn), seconds(40));
}

template <class T>
void close_and_wait(T& what) {
  std::promise<void> closed;
  what.close([&closed] { closed.set_value(); });
  closed.get_future().wait();
}

/// Real sockets, virtual time.
class WebSocketTransport : public testing::Test {
 protected:
  ~WebSocketTransport() override {
    if (dialer) close_and_wait(*dialer);
    if (listener) close_and_wait(*listener);
    EXPECT_EQ(timers.pending(), 0U);
  }

  WebSocketListenerOptions listener_options() {
    WebSocketListenerOptions options;
    options.base.publisher = server.bus.publisher();
    options.base.decoder = decoder;
    options.base.new_source = [this] { return server.bus.new_source(); };
    options.base.id = server.bus.new_source();
    options.protocol = make_raw_protocol();
    return options;
  }
  void listen(WebSocketListenerOptions options, const std::string& scheme = "ws") {
    listener = std::make_unique<WebSocketListener>(threads.executor(), timers, Endpoint{scheme, "127.0.0.1", 0},
                                                   std::move(options));
    const auto bound = listener->listen();
    ASSERT_TRUE(bound.has_value()) << to_string(bound.error());
    endpoint = *bound;
  }
  StreamRecord& dial(const Endpoint& to, WebSocketDialerOptions options = {}, Credit credit = kPlenty) {
    if (!options.protocol) options.protocol = make_raw_protocol();
    dialer = std::make_unique<WebSocketDialer>(threads.executor(), timers, to, std::move(options));
    StreamOptions stream;
    stream.publisher = client.bus.publisher();
    stream.decoder = decoder;
    stream.id = client.bus.new_source();
    stream.initial_credit = credit;
    return client.of(dialer->open(std::move(stream), {}));
  }
  /// An accepted stream whose peer is `script`; joined by it where the protocol asks for that.
  StreamRecord& accept(WebSocketScript& script, const std::string& target = "/") {
    EXPECT_EQ(script.ask(target).substr(0, 12), "HTTP/1.1 101");
    EXPECT_TRUE(server.sees(1));
    StreamRecord& stream = server.at(0);
    EXPECT_TRUE(server.opens(stream));
    stream.link->grant(kPlenty);
    return stream;
  }
  /// What can be done without anything from outside is done, as the executor's one thread takes turns.
  void settle() {
    for (int i = 0; i < 20; ++i) {
      std::promise<void> turn;
      boost::asio::post(threads.executor(), [&turn] { turn.set_value(); });
      turn.get_future().wait();
    }
  }
  /// Lets virtual time pass until `done`; steps are short, so that what happens in between has its turn.
  template <class Fn>
  bool passes(Duration step, Fn done) {
    return happens([&] {
      timers.advance(step);
      return done();
    });
  }

  const std::shared_ptr<const FrameDecoder> decoder = std::make_shared<TextFrameDecoder>();
  ContextThreads threads{1};
  ManualTimerService timers;
  StreamObserver client;
  StreamObserver server;
  Endpoint endpoint;
  std::unique_ptr<WebSocketListener> listener;
  std::unique_ptr<WebSocketDialer> dialer;
};

TEST_F(WebSocketTransport, Dialer_UpgradeRequest_HasWhatTheSpecNamesAndNoMore) {
  WebSocketScript script;
  WebSocketDialerOptions options;
  options.protocol = make_phoenix_protocol();
  StreamRecord& stream = dial(script.endpoint(), std::move(options));
  script.accept();
  const std::string request = script.upgrade();
  EXPECT_EQ(request.substr(0, request.find("\r\n")), "GET /socket/connector/websocket?vsn=2.0.0 HTTP/1.1");
  EXPECT_NE(request.find("\r\nHost: " + authority(script.endpoint()) + "\r\n"), std::string::npos) << request;
  EXPECT_NE(request.find("\r\nSec-WebSocket-Version: 13\r\n"), std::string::npos) << request;
  for (const char* unwanted : {"Origin", "User-Agent", "Protocol", "Extensions", "Cookie"})
    EXPECT_EQ(request.find(unwanted), std::string::npos) << request;
  EXPECT_EQ(std::count(request.begin(), request.end(), '\n'), 7) << request;

  const auto join = script.read_frame();
  EXPECT_EQ(join.opcode, kText);
  EXPECT_EQ(join.payload, R"(["1","1","connector:lobby","phx_join",{}])");
  EXPECT_FALSE(stream.opened);
  script.write(
      WebSocketScript::frame(kText, R"(["1","1","connector:lobby","phx_reply",{"status":"ok","response":{}}])", false));
  ASSERT_TRUE(client.opens(stream)) << stream.ending();
  EXPECT_EQ(stream.link->send("Chi"), SendStatus::queued);
  EXPECT_EQ(script.read_frame().payload, R"(["1","2","connector:lobby","proto",{"data":"Q2hp"}])");
  // A heartbeat of the channel each 25 s.
  ASSERT_TRUE(happens([&] { return timers.pending() >= 2; }));
  timers.advance(seconds(25));
  EXPECT_EQ(script.read_frame().payload, R"([null,"3","phoenix","heartbeat",{}])");
  script.write(WebSocketScript::frame(kText, R"(["1","1","connector:lobby","phx_error",{}])", false));
  ASSERT_TRUE(client.closes(stream));
  EXPECT_TRUE(stream.closed_with(errc::stream_failed)) << stream.ending();
}

TEST_F(WebSocketTransport, Dialer_Refusals_HaveTheServersWords) {
  struct Case {
    std::string answer;
    errc error;
    std::string words;
    Duration retry_after;
  };
  for (const Case& each :
       {Case{"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 7\r\nContent-Length: 5\r\n\r\nlater",
             errc::connection_refused, "503 Service Unavailable: later", seconds(7)},
        Case{"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", errc::not_found, "404 Not Found", {}},
        Case{"HTTP/1.1 401 No\r\nContent-Length: 0\r\n\r\n", errc::unauthenticated, "401 No", {}},
        Case{"HTTP/1.1 429 Slow\r\nRetry-After: Fri, 31 Dec 1999 23:59:59 GMT\r\nContent-Length: 0\r\n\r\n",
             errc::connection_refused,
             "429",
             {}},
        Case{"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", errc::connection_refused, "200 OK", {}},
        Case{"SSH-2.0-OpenSSH_9.2\r\n", errc::connection_refused, "no HTTP", {}},
        Case{"", errc::connection_refused, "closed the connection instead of answering", {}}}) {
    SCOPED_TRACE(each.answer);
    WebSocketScript script;
    StreamRecord& stream = dial(script.endpoint());
    script.accept();
    script.read_to("\r\n\r\n");
    script.write(each.answer);
    script.close();
    ASSERT_TRUE(client.closes(stream));
    EXPECT_FALSE(stream.opened);
    EXPECT_TRUE(stream.closed_with(each.error)) << stream.ending();
    EXPECT_NE(stream.ending().find(each.words), std::string::npos) << stream.ending();
    EXPECT_NE(stream.ending().find(to_string(script.endpoint())), std::string::npos) << stream.ending();
    EXPECT_EQ(stream.closed->retry_after, each.retry_after);
    close_and_wait(*dialer);
  }
}

TEST_F(WebSocketTransport, CloseCodes_OfThePeer_SayHowItEnded) {
  struct Case {
    std::string frame;
    errc error;
    Duration retry_after;
  };
  for (const Case& each : {Case{WebSocketScript::close_frame(1000, "", false), errc::stream_closed, {}},
                           Case{WebSocketScript::frame(kClose, "", false), errc::stream_closed, {}},
                           Case{WebSocketScript::close_frame(1001, "", false), errc::stream_failed, {}},
                           Case{WebSocketScript::close_frame(1002, "idle", false), errc::protocol_violation, {}},
                           Case{WebSocketScript::close_frame(1009, "", false), errc::message_too_large, {}},
                           Case{WebSocketScript::close_frame(1012, "", false), errc::stream_failed, seconds(5)},
                           Case{WebSocketScript::close_frame(1013, "", false), errc::capacity_exceeded, seconds(5)},
                           Case{WebSocketScript::close_frame(4711, "", false), errc::stream_failed, {}},
                           Case{"", errc::stream_failed, {}}}) {
    WebSocketScript script;
    StreamRecord& stream = dial(script.endpoint());
    script.accept();
    script.upgrade();
    ASSERT_TRUE(client.opens(stream)) << stream.ending();
    // What came before the end comes before it.
    script.write(WebSocketScript::frame(kBinary, "Clast", false) + each.frame);
    if (each.frame.empty()) {
      script.close();
    } else {
      EXPECT_EQ(script.read_frame().opcode, kClose);
      script.close();
    }
    ASSERT_TRUE(client.closes(stream));
    EXPECT_TRUE(stream.closed_with(each.error)) << stream.ending();
    EXPECT_EQ(stream.closed->retry_after, each.retry_after) << stream.ending();
    EXPECT_EQ(stream.frames, std::vector<std::string>{"Clast"});
    close_and_wait(*dialer);
  }
}

TEST_F(WebSocketTransport, CloseCodes_OfCancel_AreToldWithTheText) {
  struct Case {
    Error error;
    int code;
  };
  for (const Case& each :
       {Case{{errc::message_too_large, "so large"}, 1009}, Case{{errc::capacity_exceeded, "full"}, 1013},
        Case{{errc::rejected, "not you"}, 1008}, Case{{errc::internal, std::string(500, 'x')}, 1011}}) {
    listen(listener_options());
    WebSocketScript script(endpoint);
    EXPECT_EQ(script.ask("/").substr(0, 12), "HTTP/1.1 101");
    ASSERT_TRUE(server.wait([&] { return !server.order.empty() && server.of(server.order.back()).link; }));
    StreamRecord& stream = server.of(server.order.back());
    stream.link->cancel(each.error);
    const auto close = script.read_frame();
    EXPECT_EQ(close.opcode, kClose);
    ASSERT_GE(close.payload.size(), 2U);
    EXPECT_EQ(static_cast<unsigned char>(close.payload[0]) * 256 + static_cast<unsigned char>(close.payload[1]),
              each.code);
    EXPECT_EQ(close.payload.substr(2), each.error.message.substr(0, 123));
    // At once: nobody waits for the peer's Close.
    ASSERT_TRUE(server.closes(stream));
    EXPECT_EQ(script.read_frame().opcode, 0);
    server.order.clear();
    close_and_wait(*listener);
  }
}

TEST_F(WebSocketTransport, Listener_OtherRequests_AreAnsweredInHttp) {
  WebSocketListenerOptions options = listener_options();
  options.protocol = make_phoenix_protocol();
  options.base.max_links = 1;
  options.retry_after = milliseconds(1500);
  listen(std::move(options));
  const auto answer = [this](const std::string& request) {
    WebSocketScript script(endpoint);
    script.write(request);
    return script.read_all();
  };
  EXPECT_EQ(answer("GET /health HTTP/1.1\r\nHost: x\r\n\r\n").substr(0, 30), "HTTP/1.1 426 Upgrade Required\r");
  EXPECT_EQ(answer("hello\r\n\r\n").substr(0, 24), "HTTP/1.1 400 Bad Request");
  EXPECT_EQ(answer("GET / HTTP/1.1\r\nX: " + std::string(10'000, 'x') + "\r\n\r\n").substr(0, 24),
            "HTTP/1.1 400 Bad Request");
  const auto asked = [this](const std::string& target) {
    WebSocketScript script(endpoint);
    std::string text = script.ask(target);
    return text + script.read_all();
  };
  EXPECT_EQ(asked("/elsewhere").substr(0, 22), "HTTP/1.1 404 Not Found");
  EXPECT_EQ(asked("/socket/connector/websocket?vsn=1.0.0").substr(0, 24), "HTTP/1.1 400 Bad Request");

  WebSocketScript taken(endpoint);
  EXPECT_EQ(taken.ask("/socket/connector/websocket?vsn=2.0.0").substr(0, 12), "HTTP/1.1 101");
  const std::string full = asked("/socket/connector/websocket?vsn=2.0.0");
  EXPECT_EQ(full.substr(0, 32), "HTTP/1.1 503 Service Unavailable");
  EXPECT_NE(full.find("\r\nRetry-After: 2\r\n"), std::string::npos) << full;
  EXPECT_NE(full.find("the limit of 1 streams is reached"), std::string::npos) << full;
  // Each refusal is on the bus, with its reason.
  ASSERT_TRUE(server.sees(6));
  for (std::size_t i = 0; i < 6; ++i) {
    ASSERT_TRUE(server.closes(server.at(i)));
    EXPECT_FALSE(server.at(i).opened);
    EXPECT_TRUE(server.at(i).closed->error);
  }
  EXPECT_TRUE(server.at(5).closed_with(errc::capacity_exceeded)) << server.at(5).ending();
  // Who says nothing was nobody.
  WebSocketScript silent(endpoint);
  silent.close();
  listener->stop_accepting();
  EXPECT_EQ(asked("/socket/connector/websocket").substr(0, 32), "HTTP/1.1 503 Service Unavailable");
  EXPECT_TRUE(server.sees(7));
}

TEST_F(WebSocketTransport, Listener_WhoNeverFinishesTheHandshake_IsDropped) {
  for (const char* so_far : {"", "GET / HTTP/1.1\r\nX: slow"}) {
    WebSocketListenerOptions options = listener_options();
    options.max_handshakes = 1;
    listen(std::move(options));
    WebSocketScript slow(endpoint);
    slow.write(so_far);
    ASSERT_TRUE(happens([&] { return timers.pending() == 1; }));
    // The next one waits until there is room for it.
    WebSocketScript next(endpoint);
    timers.advance(seconds(10));
    EXPECT_EQ(slow.read_all(), "");
    EXPECT_EQ(next.ask("/").substr(0, 12), "HTTP/1.1 101");
    close_and_wait(*listener);
  }
}

TEST_F(WebSocketTransport, Listener_WhoNeverJoins_IsDropped) {
  WebSocketListenerOptions options = listener_options();
  options.protocol = make_phoenix_protocol();
  listen(std::move(options));
  WebSocketScript script(endpoint);
  EXPECT_EQ(script.ask("/socket/connector/websocket?vsn=2.0.0").substr(0, 12), "HTTP/1.1 101");
  script.write(WebSocketScript::frame(kText, R"([null,"1","phoenix","heartbeat",{}])", true));
  EXPECT_EQ(script.read_frame().payload, R"([null,"1","phoenix","phx_reply",{"status":"ok","response":{}}])");
  timers.advance(seconds(10));
  EXPECT_EQ(script.read_frame().opcode, kClose);
  ASSERT_TRUE(server.sees(1));
  ASSERT_TRUE(server.closes(server.at(0)));
  EXPECT_TRUE(server.at(0).closed_with(errc::timed_out)) << server.at(0).ending();
  EXPECT_FALSE(server.at(0).opened);
}

TEST_F(WebSocketTransport, Phoenix_Leave_IsAnsweredAndCloses) {
  WebSocketListenerOptions options = listener_options();
  options.protocol = make_phoenix_protocol();
  listen(std::move(options));
  WebSocketScript script(endpoint);
  EXPECT_EQ(script.ask("/socket/connector/websocket?vsn=2.0.0").substr(0, 12), "HTTP/1.1 101");
  script.write(WebSocketScript::frame(kText, R"(["4","4","connector:lobby","phx_join",{"token":"x"}])", true));
  EXPECT_EQ(script.read_frame().payload, R"(["4","4","connector:lobby","phx_reply",{"status":"ok","response":{}}])");
  ASSERT_TRUE(server.sees(1));
  StreamRecord& stream = server.at(0);
  ASSERT_TRUE(server.opens(stream));
  stream.link->grant(kPlenty);
  script.write(WebSocketScript::frame(kText, R"(["4","5","connector:lobby","proto",{"data":"Q2hp"}])", true) +
               WebSocketScript::frame(kText, R"(["4","6","connector:lobby","phx_leave",{}])", true));
  EXPECT_EQ(script.read_frame().payload, R"(["4","6","connector:lobby","phx_reply",{"status":"ok","response":{}}])");
  const auto close = script.read_frame();
  EXPECT_EQ(close.opcode, kClose);
  EXPECT_EQ(close.payload, "\x03\xe8");
  script.write(WebSocketScript::close_frame(1000, "", true));
  script.close();
  ASSERT_TRUE(server.closes(stream));
  EXPECT_TRUE(stream.closed_with(errc::stream_closed)) << stream.ending();
  EXPECT_EQ(stream.frames, std::vector<std::string>{"Chi"});
}

constexpr std::string_view kBeat = R"([null,"1","phoenix","heartbeat",{}])";
constexpr std::string_view kBeatReply = R"([null,"1","phoenix","phx_reply",{"status":"ok","response":{}}])";

/// A channel whose client, `script`, has not read a frame that is more than the system takes for it.
class PhoenixBacklog : public WebSocketTransport {
 protected:
  static constexpr std::size_t kLarge = std::size_t{12} * 1024 * 1024;

  StreamRecord& begin(WebSocketScript& script) {
    EXPECT_EQ(script.ask("/socket/connector/websocket?vsn=2.0.0").substr(0, 12), "HTTP/1.1 101");
    script.write(WebSocketScript::frame(kText, R"(["4","4","connector:lobby","phx_join",{}])", true));
    EXPECT_EQ(script.read_frame().payload, R"(["4","4","connector:lobby","phx_reply",{"status":"ok","response":{}}])");
    EXPECT_TRUE(server.sees(1));
    StreamRecord& stream = server.at(0);
    EXPECT_TRUE(server.opens(stream));
    stream.link->grant(kPlenty);
    EXPECT_EQ(stream.link->send(std::string(kLarge, 'C')), SendStatus::queued);
    settle();
    return stream;
  }
  void listen_for_channels() {
    WebSocketListenerOptions options = listener_options();
    options.protocol = make_phoenix_protocol();
    listen(std::move(options));
  }
};

TEST_F(PhoenixBacklog, Heartbeats_AreAnsweredBehindIt) {
  listen_for_channels();
  WebSocketScript script(endpoint, 256 * 1024);
  StreamRecord& stream = begin(script);
  for (int i = 0; i < 3; ++i)
    script.write(WebSocketScript::frame(kText, kBeat, true));
  script.write(WebSocketScript::frame(kText, R"(["4","5","connector:lobby","proto",{"data":"Q2hp"}])", true));
  // Read behind them; and the stream is not about to end.
  ASSERT_TRUE(server.gets(stream, 1));
  EXPECT_EQ(timers.pending(), 1U);
  ASSERT_FALSE(stream.closed) << stream.ending();
  EXPECT_EQ(stream.frames, std::vector<std::string>{"Chi"});
  const auto large = script.read_frame();
  EXPECT_EQ(large.opcode, kText);
  EXPECT_GT(large.payload.size(), kLarge);
  for (int i = 0; i < 3; ++i)
    EXPECT_EQ(script.read_frame().payload, kBeatReply) << i;
}

TEST_F(PhoenixBacklog, PeerThatAsksWithoutReading_IsBounded) {
  listen_for_channels();
  WebSocketScript script(endpoint, 256 * 1024);
  StreamRecord& stream = begin(script);
  std::string beats;
  for (std::size_t replied = 0; replied <= std::size_t{80} * 1024; replied += kBeatReply.size())
    beats += WebSocketScript::frame(kText, kBeat, true);
  script.write(beats);
  // What it gets to take our Close.
  ASSERT_TRUE(happens([&] { return timers.pending() == 2; }));
  timers.advance(seconds(1));
  ASSERT_TRUE(server.closes(stream));
  EXPECT_TRUE(stream.closed_with(errc::capacity_exceeded)) << stream.ending();
}

TEST_F(WebSocketTransport, Pings_AreAnsweredWithoutCreditToo) {
  listen(listener_options());
  WebSocketScript script(endpoint);
  EXPECT_EQ(script.ask("/").substr(0, 12), "HTTP/1.1 101");
  ASSERT_TRUE(server.sees(1));
  script.write(WebSocketScript::frame(kPing, "are you there", true));
  const auto pong = script.read_frame();
  EXPECT_EQ(pong.opcode, kPong);
  EXPECT_EQ(pong.payload, "are you there");
  // And the end is seen, too.
  script.close();
  ASSERT_TRUE(server.closes(server.at(0)));
  EXPECT_TRUE(server.at(0).closed_with(errc::stream_failed)) << server.at(0).ending();
}

TEST_F(WebSocketTransport, Watchdog_SilentPeer_IsPingedThenGivenUp) {
  listen(listener_options());
  WebSocketScript script(endpoint);
  StreamRecord& stream = accept(script);
  ASSERT_TRUE(happens([&] { return timers.pending() == 1; }));
  timers.advance(seconds(30));
  EXPECT_EQ(script.read_frame().opcode, kPing);
  // An answer gives it another 30 s.
  script.write(WebSocketScript::frame(kPong, "", true) + WebSocketScript::frame(kBinary, "Calive", true));
  ASSERT_TRUE(server.gets(stream, 1));
  timers.advance(seconds(45));
  EXPECT_EQ(script.read_frame().opcode, kPing);
  EXPECT_FALSE(stream.closed);
  ASSERT_TRUE(passes(seconds(5), [&] {
    static_cast<void>(server.wait([] { return true; }));
    return stream.closed.has_value();
  }));
  EXPECT_TRUE(stream.closed_with(errc::stream_failed)) << stream.ending();
  EXPECT_NE(stream.ending().find("nothing came from the peer for "), std::string::npos) << stream.ending();
}

TEST_F(WebSocketTransport, Watchdog_PausedForWantOfCredit_WaitsAndPings) {
  listen(listener_options());
  WebSocketScript script(endpoint);
  EXPECT_EQ(script.ask("/").substr(0, 12), "HTTP/1.1 101");
  ASSERT_TRUE(server.sees(1));
  StreamRecord& stream = server.at(0);
  // Both are read together, so the message is held soon after the ping was answered.
  script.write(WebSocketScript::frame(kPing, "", true) + WebSocketScript::frame(kBinary, "Cone", true));
  EXPECT_EQ(script.read_frame().opcode, kPong);
  settle();
  for (int i = 0; i < 10; ++i) {
    timers.advance(seconds(30));
    EXPECT_EQ(script.read_frame().opcode, kPing) << i;
    settle();
  }
  static_cast<void>(server.wait([] { return true; }));
  EXPECT_FALSE(stream.closed) << stream.ending();
  EXPECT_TRUE(stream.frames.empty());
  stream.link->grant(kPlenty);
  ASSERT_TRUE(server.gets(stream, 1));
}

TEST_F(WebSocketTransport, Finish_PeerThatDoesNotAnswerTheClose_IsGivenUp) {
  listen(listener_options());
  WebSocketScript script(endpoint);
  StreamRecord& stream = accept(script);
  stream.link->finish();
  const auto close = script.read_frame();
  EXPECT_EQ(close.opcode, kClose);
  EXPECT_EQ(close.payload, "\x03\xe8");
  ASSERT_TRUE(happens([&] { return timers.pending() == 1; }));
  timers.advance(seconds(29));
  EXPECT_FALSE(stream.closed);
  timers.advance(seconds(1));
  ASSERT_TRUE(server.closes(stream));
  EXPECT_TRUE(stream.closed_with(errc::timed_out)) << stream.ending();
}

TEST_F(WebSocketTransport, Messages_TooLarge_AreRefusedByTheirHeader) {
  WebSocketListenerOptions options = listener_options();
  options.base.limits.max_inbound_bytes = 1000;
  listen(std::move(options));
  WebSocketScript script(endpoint);
  StreamRecord& stream = accept(script);
  // A claim of 4 GiB: nothing of it is waited for.
  script.write(std::string("\x82\xff\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\x00", 14));
  const auto close = script.read_frame();
  EXPECT_EQ(close.opcode, kClose);
  EXPECT_EQ(close.payload.substr(0, 2), "\x03\xf1");
  script.close();
  ASSERT_TRUE(server.closes(stream));
  EXPECT_TRUE(stream.closed_with(errc::message_too_large)) << stream.ending();
}

TEST_F(WebSocketTransport, Messages_AgainstTheProtocol_EndTheStream) {
  for (const std::string& bytes : {std::string("\x82\x01x", 3), std::string("\xf2\x80\0\0\0\0", 6),
                                   std::string("\x83\x80\0\0\0\0", 6), std::string("\x80\x80\0\0\0\0", 6)}) {
    listen(listener_options());
    WebSocketScript script(endpoint);
    EXPECT_EQ(script.ask("/").substr(0, 12), "HTTP/1.1 101");
    ASSERT_TRUE(server.wait([&] { return !server.order.empty(); }));
    StreamRecord& stream = server.of(server.order.back());
    script.write(bytes);
    const auto close = script.read_frame();
    EXPECT_EQ(close.opcode, kClose);
    EXPECT_EQ(close.payload.substr(0, 2), "\x03\xea");
    script.close();
    ASSERT_TRUE(server.closes(stream));
    EXPECT_TRUE(stream.closed_with(errc::protocol_violation)) << stream.ending();
    server.order.clear();
    close_and_wait(*listener);
  }
}

TEST_F(WebSocketTransport, Tls_Certificates_AreCheckedAndNamed) {
  const TestAuthority authority;
  const TestAuthority stranger("somebody else");
  const TemporaryFolder folder;
  authority.write_certificate(folder / "ca.pem");
  stranger.write_certificate(folder / "stranger.pem");
  authority.issue({"DNS:elsewhere", 3600}, folder / "cert.pem", folder / "key.pem");
  WebSocketListenerOptions options = listener_options();
  options.tls.certificate_file = folder / "cert.pem";
  options.tls.key_file = folder / "key.pem";
  listen(std::move(options), "wss");

  const auto ending = [&](const TlsOptions& tls) {
    WebSocketDialerOptions dialing;
    dialing.tls = tls;
    StreamRecord& stream = dial(endpoint, std::move(dialing));
    const bool opened = client.opens(stream);
    if (!opened) static_cast<void>(client.closes(stream));
    const std::string text = opened ? "opened" : stream.ending();
    close_and_wait(*dialer);
    return text;
  };
  TlsOptions tls;
  tls.ca_file = folder / "stranger.pem";
  EXPECT_NE(ending(tls).find("the peer's certificate"), std::string::npos);
  tls.ca_file = folder / "ca.pem";
  EXPECT_NE(ending(tls).find("mismatch"), std::string::npos);
  tls.server_name = "elsewhere";
  EXPECT_EQ(ending(tls), "opened");
  tls = {};
  tls.insecure = true;
  EXPECT_EQ(ending(tls), "opened");
  tls = {};
  tls.ca_file = folder / "missing.pem";
  EXPECT_NE(ending(tls).find("missing.pem"), std::string::npos);
}

TEST_F(WebSocketTransport, Tls_ListenerWithoutCertificate_SaysSo) {
  WebSocketListener without(threads.executor(), timers, {"wss", "127.0.0.1", 0}, listener_options());
  const auto bound = without.listen();
  ASSERT_FALSE(bound.has_value());
  EXPECT_EQ(to_string(bound.error()), "certificate_file is missing");
}

TEST_F(WebSocketTransport, Names_AreResolvedAndNamed) {
  listen(listener_options());
  StreamRecord& stream = dial({"ws", "localhost", endpoint.port});
  ASSERT_TRUE(client.opens(stream)) << stream.ending();
  close_and_wait(*dialer);
  StreamRecord& unknown = dial({"ws", "no-such-host.invalid", 5});
  ASSERT_TRUE(client.closes(unknown));
  EXPECT_TRUE(unknown.closed_with(errc::connection_refused)) << unknown.ending();
  EXPECT_NE(unknown.ending().find("ws://no-such-host.invalid:5"), std::string::npos) << unknown.ending();
  close_and_wait(*dialer);
  StreamRecord& other = dial({"grpc", "127.0.0.1", 5});
  ASSERT_TRUE(client.closes(other));
  EXPECT_TRUE(other.closed_with(errc::invalid_endpoint)) << other.ending();
}

TEST_F(WebSocketTransport, Options_AreChecked) {
  const auto refused = [](const auto& options) { return to_string(options.validate().error()); };
  WebSocketDialerOptions dialing;
  EXPECT_EQ(refused(dialing), "protocol is missing");
  dialing.protocol = make_raw_protocol();
  EXPECT_TRUE(dialing.validate().has_value());
  dialing.times.idle_timeout = seconds(30);
  EXPECT_EQ(refused(dialing), "idle_timeout must be above ping_interval, or no ping could be answered");
  WebSocketListenerOptions listening = listener_options();
  EXPECT_TRUE(listening.validate().has_value());
  listening.max_handshakes = 0;
  EXPECT_EQ(refused(listening), "max_handshakes must be at least 1");
  EXPECT_THROW(WebSocketListener(threads.executor(), timers, endpoint, listening), std::invalid_argument);
}

}  // namespace
}  // namespace sharingbus::test

// What TCP and Unix sockets add to the contract that the conformance suite checks: peers that speak bytes, refusals,
// and the limits of the system.
#include <cerrno>
#include <string>
#include <sys/resource.h>
#include <vector>

#include "tests/support/log_capture.hpp"
#include "tests/support/poll_until.hpp"
#include "tests/transport/byte_stream_rig.hpp"
#include "transport/tcp/tcp_dialer.hpp"
#include "transport/tcp/tcp_listener.hpp"
#include "transport/uds/uds_dialer.hpp"
#include "transport/uds/uds_listener.hpp"

namespace sharingbus::test {
namespace {

using namespace transport;
using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr auto kPatience = seconds(40);

/// The same tests over both; the parameter is the scheme.
class Sockets : public ByteStreamRig, public testing::WithParamInterface<std::string> {
 protected:
  bool tcp() const { return GetParam() == "tcp"; }

  std::unique_ptr<Listener> make_listener(ListenerOptions base, const Endpoint* where = nullptr) {
    if (tcp()) {
      TcpListenerOptions options;
      options.base = std::move(base);
      options.framing = framing;
      options.log = log.sink();
      return std::make_unique<TcpListener>(
          threads.executor(), timers, where != nullptr ? *where : Endpoint{"tcp", "127.0.0.1", 0}, std::move(options));
    }
    UdsListenerOptions options;
    options.base = std::move(base);
    options.framing = framing;
    options.log = log.sink();
    return std::make_unique<UdsListener>(
        threads.executor(), timers, where != nullptr ? *where : Endpoint{"unix", folder / "s", 0}, std::move(options));
  }
  std::unique_ptr<Dialer> make_dialer(const Endpoint& to) {
    if (tcp()) return std::make_unique<TcpDialer>(threads.executor(), timers, to, TcpDialerOptions{framing, {}});
    return std::make_unique<UdsDialer>(threads.executor(), timers, to, UdsDialerOptions{framing});
  }
  void listen(ListenerOptions base) {
    listener = make_listener(std::move(base));
    const auto bound = listener->listen();
    ASSERT_TRUE(bound.has_value()) << to_string(bound.error());
    at = *bound;
  }
  void listen() { listen(listener_options()); }
  /// The newest accepted stream, with credit.
  StreamRecord& accepted(std::size_t number = 1, Credit credit = kPlenty) {
    EXPECT_TRUE(server.sees(number));
    StreamRecord& stream = server.at(number - 1);
    EXPECT_TRUE(server.opens(stream)) << stream.ending();
    if (credit != kNone) stream.link->grant(credit);
    return stream;
  }
  void TearDown() override {
    if (listener) close_and_wait(*listener);
    EXPECT_EQ(timers.pending(), 0U);
  }

  LogCapture log;
  std::unique_ptr<Listener> listener;
  Endpoint at;
};

TEST_P(Sockets, Bytes_OneAtATime_AreFrames) {
  listen();
  RawPeer peer(at);
  StreamRecord& stream = accepted();
  for (const char byte : framed("Cone") + framed("Ctwo"))
    peer.write(std::string(1, byte));
  ASSERT_TRUE(server.gets(stream, 2));
  EXPECT_EQ(stream.frames, (std::vector<std::string>{"Cone", "Ctwo"}));
}

TEST_P(Sockets, Frames_ManyInOneRead_StopWithTheCredit) {
  listen();
  RawPeer peer(at);
  StreamRecord& stream = accepted(1, kNone);
  std::string bytes;
  for (int i = 0; i < 1000; ++i)
    bytes += framed("C" + std::to_string(i));
  peer.write(bytes);
  for (std::size_t i = 1; i <= 1000; ++i) {
    stream.link->grant({1, 1});
    ASSERT_TRUE(server.gets(stream, i));
    ASSERT_EQ(stream.frames.size(), i);
    ASSERT_EQ(stream.frames.back(), "C" + std::to_string(i - 1));
  }
}

TEST_P(Sockets, HalfClose_OfThePeer_LetsTheAnswersOut) {
  listen();
  RawPeer peer(at);
  StreamRecord& stream = accepted(1, kNone);
  peer.write(framed("Cquestion"));
  peer.half_close();
  ASSERT_EQ(stream.link->send("Canswer"), SendStatus::queued);
  stream.link->grant(kPlenty);
  EXPECT_EQ(peer.read_to_end(), framed("Canswer"));
  ASSERT_TRUE(server.closes(stream));
  EXPECT_TRUE(stream.closed_with(errc::stream_closed)) << stream.ending();
  EXPECT_EQ(stream.frames, std::vector<std::string>{"Cquestion"});
}

TEST_P(Sockets, Finish_IsAHalfClose) {
  listen();
  RawPeer peer(at);
  StreamRecord& stream = accepted();
  ASSERT_EQ(stream.link->send("Clast"), SendStatus::queued);
  stream.link->finish();
  EXPECT_EQ(peer.read_to_end(), framed("Clast"));
  peer.write(framed("Clate"));
  ASSERT_TRUE(server.gets(stream, 1));
  peer.half_close();
  ASSERT_TRUE(server.closes(stream));
  EXPECT_FALSE(stream.closed->error) << stream.ending();
}

TEST_P(Sockets, Finished_WithoutCredit_CollectsNothing) {
  listen();
  RawPeer peer(at);
  StreamRecord& stream = accepted(1, {1, 1});
  peer.write(framed("Cone"));
  ASSERT_TRUE(server.gets(stream, 1));
  stream.link->finish();
  EXPECT_EQ(peer.read_to_end(), "");
  // Would it be kept, the end inside it would be one.
  peer.write(framed(std::string(1000, 'C')).substr(0, 500));
  peer.half_close();
  ASSERT_TRUE(server.closes(stream));
  EXPECT_FALSE(stream.closed->error) << stream.ending();
  EXPECT_EQ(stream.frames, std::vector<std::string>{"Cone"});
}

TEST_P(Sockets, Peer_GoneInsideAFrame_IsNamed) {
  listen();
  RawPeer peer(at);
  StreamRecord& stream = accepted();
  peer.write(framed("Cwhole") + framed("Chalf").substr(0, 6));
  peer.half_close();
  ASSERT_TRUE(server.closes(stream));
  EXPECT_TRUE(stream.closed_with(errc::stream_failed)) << stream.ending();
  EXPECT_NE(stream.ending().find("inside a frame: 2 of 5 bytes"), std::string::npos) << stream.ending();
  EXPECT_EQ(stream.frames, std::vector<std::string>{"Cwhole"});
}

TEST_P(Sockets, Peer_ClosesAtOnce_IsAnEnd) {
  listen();
  RawPeer peer(at);
  StreamRecord& stream = accepted();
  peer.write(framed("Cwhole"));
  ASSERT_TRUE(server.gets(stream, 1));
  peer.close();
  ASSERT_TRUE(server.closes(stream));
  // Over TCP that looks like the end of one direction.
  EXPECT_TRUE(stream.closed_with(tcp() ? errc::stream_closed : errc::stream_failed)) << stream.ending();
}

TEST_P(Sockets, Peer_Resets_IsAFailure) {
  listen();
  RawPeer peer(at);
  StreamRecord& stream = accepted();
  // Unread when it closes, which is a reset over Unix sockets too.
  ASSERT_EQ(stream.link->send("Cunread"), SendStatus::queued);
  ASSERT_TRUE(poll_until([&] { return stream.link->stats().frames_sent == 1; }, kPatience));
  peer.reset();
  ASSERT_TRUE(server.closes(stream));
  EXPECT_TRUE(stream.closed_with(errc::stream_failed)) << stream.ending();
}

TEST_P(Sockets, Peer_GoneWhileSendingWithoutCredit_IsNoticed) {
  listen();
  RawPeer peer(at);
  StreamRecord& stream = accepted(1, kNone);
  peer.reset();
  ASSERT_TRUE(poll_until([&] { return stream.link->send("Cinto nothing") == SendStatus::closed; }, kPatience));
  ASSERT_TRUE(server.closes(stream));
  EXPECT_TRUE(stream.closed_with(errc::stream_failed)) << stream.ending();
}

TEST_P(Sockets, Peer_FinishesAndLeavesWithoutReading_Ends) {
  listen();
  RawPeer peer(at);
  StreamRecord& stream = accepted(1, kNone);
  for (int i = 0; i < 200; ++i)
    static_cast<void>(stream.link->send("C" + std::string(100'000, 'x')));
  peer.half_close();
  stream.link->grant(kPlenty);
  peer.close();
  ASSERT_TRUE(server.closes(stream));
  EXPECT_TRUE(stream.closed_with(errc::stream_failed)) << stream.ending();
}

TEST_P(Sockets, SlowReader_GetsEverythingAndOneWritableForEachFull) {
  listen();
  RawPeer peer(at);
  StreamRecord& stream = accepted();
  std::string expected;
  std::size_t fulls = 0;
  // The kernel takes some for itself, so that full may pass before it is there to stay.
  do {
    for (;;) {
      const std::string frame = "C" + std::to_string(expected.size()) + std::string(20'000, 'x');
      if (stream.link->send(frame) != SendStatus::queued) break;
      expected += framed(frame);
    }
    ++fulls;
  } while (server.wait([&] { return stream.writables == fulls; }, milliseconds(100)));
  std::string all;
  while (all.size() < expected.size()) {
    const std::string piece = peer.read(777);
    ASSERT_FALSE(piece.empty());
    all += piece;
  }
  EXPECT_TRUE(all == expected);
  ASSERT_TRUE(server.wait([&] { return stream.writables == fulls; }));
  peer.half_close();
  ASSERT_TRUE(server.closes(stream));
  EXPECT_TRUE(stream.closed_with(errc::stream_closed)) << stream.ending();
  EXPECT_EQ(stream.writables, fulls);
}

TEST_P(Sockets, Garbage_EndsThatStreamOnly) {
  listen();
  RawPeer good(at);
  StreamRecord& well = accepted();
  RawPeer peer(at);
  StreamRecord& stream = accepted(2);
  peer.write("GET / HTTP/1.1\r\n\r\n");
  ASSERT_TRUE(server.closes(stream));
  EXPECT_TRUE(stream.closed_with(errc::message_too_large)) << stream.ending();
  RawPeer empty(at);
  StreamRecord& nothing = accepted(3);
  empty.write(std::string(4, '\0'));
  ASSERT_TRUE(server.closes(nothing));
  EXPECT_TRUE(nothing.closed_with(errc::malformed_frame)) << nothing.ending();
  good.write(framed("Cfine"));
  EXPECT_TRUE(server.gets(well, 1));
}

TEST_P(Sockets, MaxLinks_AddressStaysTaken_AndAcceptingGoesOn) {
  ListenerOptions options = listener_options();
  options.max_links = 1;
  listen(std::move(options));
  RawPeer first(at);
  StreamRecord& stream = accepted();
  for (int round = 0; round < 3; ++round) {
    RawPeer second(tcp() ? AF_INET : AF_UNIX);
    second.connect(at);
    EXPECT_FALSE(second.connected());
    EXPECT_EQ(second.error(), ECONNREFUSED);
    const auto thief = make_listener(listener_options(), &at);
    const auto bound = thief->listen();
    ASSERT_FALSE(bound.has_value());
    EXPECT_TRUE(bound.error().is(errc::address_in_use)) << to_string(bound.error());
    close_and_wait(*thief);
  }
  first.close();
  ASSERT_TRUE(server.closes(stream));
  RawPeer third(tcp() ? AF_INET : AF_UNIX);
  ASSERT_TRUE(poll_until([&] { return third.connect(at), third.connected(); }, kPatience)) << third.error();
  third.write(framed("Cagain"));
  EXPECT_TRUE(server.gets(accepted(2), 1));
}

TEST_P(Sockets, OutOfDescriptors_AcceptingGoesOnLater) {
  listen();
  RawPeer first(tcp() ? AF_INET : AF_UNIX);
  // UBSan looks at a class that it has not met yet through a pipe, and would have no descriptors for that later: so all
  // that is going to happen happens once before.
  TimerService& met = timers;
  ASSERT_TRUE(met.cancel(met.schedule_after(std::chrono::hours(1), [] {})));
  RawPeer early(tcp() ? AF_INET : AF_UNIX);
  early.connect(at);
  ASSERT_TRUE(early.connected());
  early.write(framed("Cearly"));
  ASSERT_TRUE(server.gets(accepted(), 1));
  rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &before), 0);
  // The highest descriptor in use, and no more.
  const int highest = ::dup(STDIN_FILENO);
  const rlimit none{static_cast<rlim_t>(highest), before.rlim_max};
  ::close(highest);
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &none), 0);
  first.connect(at);
  ASSERT_TRUE(first.connected());
  EXPECT_TRUE(poll_until([&] { return timers.pending() == 1; }, kPatience));
  timers.advance(milliseconds(100));
  EXPECT_TRUE(poll_until([&] { return timers.pending() == 1; }, kPatience));
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &before), 0);
  EXPECT_EQ(log.count("Too many open files"), 1U);
  timers.advance(milliseconds(100));
  first.write(framed("Cin the end"));
  EXPECT_TRUE(server.gets(accepted(1), 1));
}

TEST_P(Sockets, Streams_OpenedAndEnded_LeakNoDescriptor) {
  listen();
  const auto dialer = make_dialer(at);
  for (int i = 0; i < 3; ++i) {
    StreamRecord& stream = open(*dialer);
    ASSERT_TRUE(client.opens(stream));
    stream.link->cancel(Error(errc::cancelled, "enough"));
    ASSERT_TRUE(client.closes(stream));
  }
  const auto settled = [&] {
    for (std::size_t i = 0; i < server.order.size(); ++i)
      server.at(i).link->grant(kPlenty);
    return server.wait([&] { return listener->link_count() == 0; }, milliseconds(50));
  };
  ASSERT_TRUE(poll_until(settled, kPatience));
  const std::size_t before = open_descriptors();
  for (int i = 0; i < 100; ++i) {
    StreamRecord& stream = open(*dialer);
    ASSERT_TRUE(client.opens(stream));
    stream.link->cancel(Error(errc::cancelled, "enough"));
    ASSERT_TRUE(client.closes(stream));
  }
  ASSERT_TRUE(poll_until(settled, kPatience));
  EXPECT_EQ(open_descriptors(), before);
  close_and_wait(*dialer);
}

INSTANTIATE_TEST_SUITE_P(Sockets, Sockets, testing::Values("tcp", "unix"),
                         [](const auto& scheme) { return scheme.param; });

}  // namespace
}  // namespace sharingbus::test

// What goes over an open stream: order, credit, limits, backpressure.
#include <algorithm>
#include <numeric>
#include <string>
#include <utility>

#include "tests/conformance/transport_suite.hpp"

namespace sharingbus::test {

using transport::Credit;
using transport::ListenerOptions;
using transport::SendStatus;
using transport::StreamOptions;

TEST_P(TransportConformance, Exchange_BothWays_Arrives) {
  const Ends ends = open_ends();
  ASSERT_NE(ends.dialled, nullptr);
  std::string every_byte = "C";
  for (int byte = 0; byte < 256; ++byte)
    every_byte += static_cast<char>(byte);
  const std::vector<std::string> frames{"Rquestion", "", every_byte, "Canswer"};
  for (const auto& frame : frames) {
    queue(*ends.dialled, frame);
    queue(*ends.accepted, frame);
  }
  for (StreamLog* log : {ends.dialled, ends.accepted}) {
    ASSERT_TRUE(gets(*log, frames.size()));
    EXPECT_EQ(log->frames, frames);
    EXPECT_EQ(log->requests, 1U);
    EXPECT_EQ(log->controls, 3U);
  }
}

TEST_P(TransportConformance, Order_ManyFramesBothWaysAtOnce_IsKept) {
  constexpr std::size_t kFrames = 10'000;
  const Ends ends = open_ends();
  ASSERT_NE(ends.dialled, nullptr);
  struct Direction {
    StreamLog* from;
    std::size_t sent = 0;
  };
  Direction directions[]{{ends.dialled}, {ends.accepted}};
  // Full is answered by waiting for StreamWritable; what the other end got says nothing about room here.
  while (directions[0].sent < kFrames || directions[1].sent < kFrames) {
    std::size_t writables[2];
    bool full[2] = {};
    for (std::size_t i = 0; i < 2; ++i) {
      auto& [from, sent] = directions[i];
      writables[i] = from->writables;
      while (sent < kFrames && !full[i]) {
        const auto status = from->link().send(numbered(sent));
        ASSERT_TRUE(status == SendStatus::queued || status == SendStatus::full);
        if (status == SendStatus::queued) ++sent;
        full[i] = status == SendStatus::full;
      }
    }
    for (std::size_t i = 0; i < 2; ++i) {
      ASSERT_TRUE(wait_until([&] { return !full[i] || directions[i].from->writables > writables[i]; }));
    }
  }
  for (StreamLog* log : {ends.dialled, ends.accepted}) {
    ASSERT_TRUE(gets(*log, kFrames));
    EXPECT_EQ(log->frames, numbered_until(kFrames));
  }
}

TEST_P(TransportConformance, Credit_None_NothingIsRead) {
  const Ends ends = open_ends(kNone);
  ASSERT_NE(ends.dialled, nullptr);
  for (std::size_t i = 0; i < 20; ++i)
    queue(*ends.dialled, numbered(i));
  settle();
  EXPECT_TRUE(ends.accepted->frames.empty());
  EXPECT_EQ(ends.accepted->link().stats().frames_received, 0U);
  ends.accepted->link().grant(kPlenty);
  ASSERT_TRUE(gets(*ends.accepted, 20));
  EXPECT_EQ(ends.accepted->frames, numbered_until(20));
}

TEST_P(TransportConformance, Credit_DialledWithoutInitial_NothingIsRead) {
  const Ends ends = open_ends(dialer(), stream_options(kNone), kPlenty);
  ASSERT_NE(ends.dialled, nullptr);
  for (std::size_t i = 0; i < 5; ++i)
    queue(*ends.accepted, numbered(i));
  settle();
  EXPECT_TRUE(ends.dialled->frames.empty());
  ends.dialled->link().grant({1, 5});
  ASSERT_TRUE(gets(*ends.dialled, 5));
  EXPECT_EQ(ends.dialled->frames, numbered_until(5));
}

TEST_P(TransportConformance, Credit_Initial_IsRespected) {
  const Ends ends = open_ends(dialer(), stream_options({1, 3}), kPlenty);
  ASSERT_NE(ends.dialled, nullptr);
  for (std::size_t i = 0; i < 10; ++i)
    queue(*ends.accepted, numbered(i));
  ASSERT_TRUE(gets(*ends.dialled, 3));
  settle();
  EXPECT_EQ(ends.dialled->frames, numbered_until(3));
}

TEST_P(TransportConformance, Credit_Requests_AreNeverExceeded) {
  const Ends ends = open_ends({3, 100});
  ASSERT_NE(ends.dialled, nullptr);
  for (std::size_t i = 0; i < 20; ++i)
    queue(*ends.dialled, numbered(i, 'R'));
  for (const std::size_t total : {3U, 4U, 11U, 20U}) {
    ASSERT_TRUE(gets(*ends.accepted, total));
    settle();
    EXPECT_EQ(ends.accepted->frames, numbered_until(total, 'R'));
    if (total < 20) ends.accepted->link().grant({total == 3 ? 1U : total == 4 ? 7U : 9U, 0});
  }
}

TEST_P(TransportConformance, Credit_Controls_AreNeverExceeded) {
  const Ends ends = open_ends({100, 2});
  ASSERT_NE(ends.dialled, nullptr);
  for (std::size_t i = 0; i < 10; ++i)
    queue(*ends.dialled, numbered(i));
  for (std::size_t total = 2; total < 10; ++total) {
    ASSERT_TRUE(gets(*ends.accepted, total));
    settle();
    EXPECT_EQ(ends.accepted->frames, numbered_until(total));
    ends.accepted->link().grant({0, 1});
  }
  EXPECT_TRUE(gets(*ends.accepted, 10));
}

TEST_P(TransportConformance, Credit_OneClassOnly_NothingIsRead) {
  const Ends requests_only = open_ends({5, 0});
  const Ends controls_only = open_ends({0, 5});
  ASSERT_TRUE(requests_only.dialled != nullptr && controls_only.dialled != nullptr);
  for (const Ends& ends : {requests_only, controls_only}) {
    queue(*ends.dialled, "R0");
    queue(*ends.dialled, "C1");
  }
  settle();
  EXPECT_TRUE(requests_only.accepted->frames.empty());
  EXPECT_TRUE(controls_only.accepted->frames.empty());
  // The control message has to wait too: one request is all there was room for.
  controls_only.accepted->link().grant({1, 0});
  ASSERT_TRUE(gets(*controls_only.accepted, 1));
  requests_only.accepted->link().grant({0, 1});
  ASSERT_TRUE(gets(*requests_only.accepted, 2));
  settle();
  EXPECT_EQ(controls_only.accepted->frames.size(), 1U);
  controls_only.accepted->link().grant({1, 0});
  EXPECT_TRUE(gets(*controls_only.accepted, 2));
}

TEST_P(TransportConformance, Credit_MoreThanFits_Saturates) {
  const Ends ends = open_ends(kNone);
  ASSERT_NE(ends.dialled, nullptr);
  ends.accepted->link().grant({~0U, ~0U});
  ends.accepted->link().grant({1, 1});
  for (std::size_t i = 0; i < 50; ++i)
    queue(*ends.dialled, numbered(i));
  EXPECT_TRUE(gets(*ends.accepted, 50));
}

TEST_P(TransportConformance, Inbound_Biggest_ArrivesAndOneByteMoreEndsThatStreamOnly) {
  for (const std::size_t limit : {std::size_t{100}, std::size_t{4} << 20}) {
    SCOPED_TRACE(limit);
    ListenerOptions options = listener_options();
    options.limits.max_inbound_bytes = limit;
    restart_with(std::move(options));
    StreamOptions dialled = stream_options();
    dialled.limits.max_inbound_bytes = limit;
    const Ends up = open_ends(dialer(), dialled, kPlenty);
    dialled.id = client.bus.new_source();
    const Ends down = open_ends(dialer(), dialled, kPlenty);
    const Ends other = open_ends();
    ASSERT_TRUE(up.dialled != nullptr && down.dialled != nullptr && other.dialled != nullptr);

    const std::string biggest = "C" + std::string(limit - 1, 'x');
    queue(*up.dialled, biggest);
    queue(*down.accepted, biggest);
    ASSERT_TRUE(gets(*up.accepted, 1));
    ASSERT_TRUE(gets(*down.dialled, 1));
    EXPECT_EQ(up.accepted->frames[0].size(), limit);
    EXPECT_TRUE(up.accepted->frames[0] == biggest && down.dialled->frames[0] == biggest);

    queue(*up.dialled, biggest + "x");
    queue(*down.accepted, biggest + "x");
    ASSERT_TRUE(closes(up));
    ASSERT_TRUE(closes(down));
    EXPECT_TRUE(up.accepted->closed_with(errc::message_too_large)) << up.accepted->ending();
    EXPECT_TRUE(down.dialled->closed_with(errc::message_too_large)) << down.dialled->ending();
    EXPECT_TRUE(up.dialled->closed->error && !up.dialled->closed_with(errc::stream_closed)) << up.dialled->ending();
    EXPECT_TRUE(down.accepted->closed->error && !down.accepted->closed_with(errc::stream_closed))
        << down.accepted->ending();
    EXPECT_EQ(up.accepted->closed->stats.frames_received, 1U);

    queue(*other.dialled, "Cunharmed");
    queue(*other.accepted, "Cunharmed");
    EXPECT_TRUE(gets(*other.accepted, 1));
    EXPECT_TRUE(gets(*other.dialled, 1));
  }
}

TEST_P(TransportConformance, Inbound_Malformed_EndsThatStreamOnly) {
  const Ends up = open_ends();
  const Ends down = open_ends();
  const Ends other = open_ends();
  ASSERT_TRUE(up.dialled != nullptr && down.dialled != nullptr && other.dialled != nullptr);
  for (const StreamLog* from : {up.dialled, down.accepted}) {
    queue(*from, "Cgood");
    queue(*from, "!bad");
    // May be refused already.
    from->link().send("Cnever read");
  }
  ASSERT_TRUE(closes(up));
  ASSERT_TRUE(closes(down));
  EXPECT_TRUE(up.accepted->closed_with(errc::malformed_frame)) << up.accepted->ending();
  EXPECT_TRUE(down.dialled->closed_with(errc::malformed_frame)) << down.dialled->ending();
  EXPECT_EQ(up.accepted->frames, std::vector<std::string>{"Cgood"});
  EXPECT_EQ(down.dialled->frames, std::vector<std::string>{"Cgood"});
  EXPECT_TRUE(up.dialled->closed->error);
  EXPECT_TRUE(down.accepted->closed->error);
  queue(*other.dialled, "Cunharmed");
  queue(*other.accepted, "Cunharmed");
  EXPECT_TRUE(gets(*other.accepted, 1));
  EXPECT_TRUE(gets(*other.dialled, 1));
}

TEST_P(TransportConformance, Outbound_TooLarge_IsRefusedWithoutHarm) {
  ListenerOptions listening = listener_options();
  listening.limits.max_outbound_bytes = 100;
  restart_with(std::move(listening));
  StreamOptions options = stream_options();
  options.limits.max_outbound_bytes = 100;
  const Ends ends = open_ends(dialer(), std::move(options), kPlenty);
  ASSERT_NE(ends.dialled, nullptr);
  for (const StreamLog* from : {ends.dialled, ends.accepted}) {
    EXPECT_EQ(from->link().send("C" + std::string(100, 'x')), SendStatus::too_large);
    queue(*from, "C" + std::string(99, 'x'));
  }
  for (StreamLog* to : {ends.dialled, ends.accepted}) {
    ASSERT_TRUE(gets(*to, 1));
    EXPECT_EQ(to->frames[0].size(), 100U);
    EXPECT_EQ(to->writables, 0U);
  }
  ends.dialled->link().finish();
  ASSERT_TRUE(closes(ends));
  for (const StreamLog* each : {ends.dialled, ends.accepted}) {
    EXPECT_EQ(each->closed->stats, (transport::LinkStats{1, 100, 1, 100})) << each->closed->stats.frames_sent;
  }
}

namespace {

/// How often `full` came, and what had been taken by then.
struct Flood {
  std::size_t sent = 0;
  std::size_t fulls = 0;
};

constexpr std::size_t kFloodFrame = 8 * 1024;
constexpr std::size_t kFloodMost = 16 * 1024;

}  // namespace

TEST_P(TransportConformance, Backpressure_NoCreditAtThePeer_ReachesTheSenderAndLosesNothing) {
  const auto text = [](std::size_t i) {
    std::string frame = numbered(i) + " ";
    return frame.append(kFloodFrame - frame.size(), 'x');
  };
  for (const bool from_dialler : {true, false}) {
    SCOPED_TRACE(from_dialler ? "dialled sends" : "accepted sends");
    const Ends ends = open_ends(dialer(), stream_options(kNone), kNone);
    ASSERT_NE(ends.dialled, nullptr);
    StreamLog& from = from_dialler ? *ends.dialled : *ends.accepted;
    StreamLog& to = from_dialler ? *ends.accepted : *ends.dialled;
    Flood flood;
    // A socket takes a few frames for itself, so `full` may pass once or twice before it is there to stay.
    do {
      while (from.link().send(text(flood.sent)) == SendStatus::queued) {
        ASSERT_LT(++flood.sent, kFloodMost) << "no backpressure";
      }
      ++flood.fulls;
      settle();
      ASSERT_LE(from.writables, flood.fulls);
    } while (from.writables == flood.fulls);
    EXPECT_FALSE(from.closed) << from.ending();
    EXPECT_TRUE(to.frames.empty());

    // Asking again while it is full is no reason for a second StreamWritable.
    const auto again = from.link().send(text(flood.sent));
    if (again == SendStatus::queued) ++flood.sent;
    to.link().grant(kPlenty);
    ASSERT_TRUE(gets(to, flood.sent));
    ASSERT_TRUE(wait_until([&] { return from.writables == flood.fulls; })) << from.writables << " of " << flood.fulls;
    queue(from, text(flood.sent));
    ASSERT_TRUE(gets(to, flood.sent + 1));
    settle();
    EXPECT_EQ(from.writables, flood.fulls);
    for (std::size_t i = 0; i <= flood.sent; ++i)
      ASSERT_TRUE(to.frames[i] == text(i)) << i;
  }
}

TEST_P(TransportConformance, Backpressure_CapacityOfOne_Works) {
  StreamOptions options = stream_options();
  options.limits.outbound_capacity = 1;
  const Ends ends = open_ends(dialer(), std::move(options), kPlenty);
  ASSERT_NE(ends.dialled, nullptr);
  for (std::size_t sent = 0; sent < 200;) {
    const std::size_t writables = ends.dialled->writables;
    if (ends.dialled->link().send(numbered(sent)) == SendStatus::queued) {
      ++sent;
    } else {
      ASSERT_TRUE(wait_until([&] { return ends.dialled->writables > writables; }));
    }
  }
  ASSERT_TRUE(gets(*ends.accepted, 200));
  EXPECT_EQ(ends.accepted->frames, numbered_until(200));
}

TEST_P(TransportConformance, Capacity_BeforeTheStreamIsOpen_IsHard) {
  StreamOptions options = stream_options();
  options.limits.outbound_capacity = 10;
  StreamLog& dialled = open(dialer(), std::move(options), numbered(0));
  std::size_t sent = 1;
  std::size_t fulls = 0;
  for (std::size_t attempt = 0; attempt < 100; ++attempt) {
    if (dialled.link().send(numbered(sent)) == SendStatus::queued) {
      ++sent;
    } else {
      ++fulls;
    }
  }
  EXPECT_TRUE(!transport().by_hand() || fulls == 91) << fulls;
  ASSERT_TRUE(opens(dialled)) << dialled.ending();
  ASSERT_TRUE(wait_until([&] { return !server.accepted.empty(); }));
  server.accepted.front()->link().grant(kPlenty);
  ASSERT_TRUE(gets(*server.accepted.front(), sent));
  EXPECT_EQ(server.accepted.front()->frames, numbered_until(sent));
  EXPECT_TRUE(wait_until([&] { return fulls == 0 || dialled.writables != 0; }));
}

}  // namespace sharingbus::test

// Closing dialers, listeners and buses, in every state.
#include <atomic>
#include <functional>
#include <string>
#include <utility>

#include "tests/conformance/transport_suite.hpp"

namespace sharingbus::test {

using transport::Dialer;
using transport::Endpoint;
using transport::Listener;
using transport::SendStatus;
using transport::StreamOptions;

TEST_P(TransportConformance, Close_Twice_EveryDoneIsCalledOnce) {
  const Ends ends = open_ends();
  ASSERT_NE(ends.dialled, nullptr);
  const auto done = std::make_shared<std::atomic<int>>(0);
  for (int i = 0; i < 3; ++i)
    dialer().close(waker([done] { ++*done; }));
  for (int i = 0; i < 3; ++i)
    listener().close(waker([done] { ++*done; }));
  ASSERT_TRUE(wait_until([&] { return *done == 6; }));
  dialer().close(waker([done] { ++*done; }));
  listener().close(waker([done] { ++*done; }));
  ASSERT_TRUE(wait_until([&] { return *done == 8; }));
  EXPECT_EQ(listener().link_count(), 0U);
  EXPECT_EQ(dialer().stats().streams, 0U);
  EXPECT_EQ(dialer().stats().streams_opened, 1U);
  EXPECT_TRUE(ends.dialled->closed && ends.accepted->closed);
  settle();
  EXPECT_EQ(*done, 8);
}

TEST_P(TransportConformance, Close_Done_ComesAfterEveryStreamClosed) {
  std::vector<StreamLog*> streams;
  for (int i = 0; i < 20; ++i)
    streams.push_back(&open(dialer(), stream_options(), "Cfirst"));
  ASSERT_TRUE(opens(*streams.back())) << streams.back()->ending();
  ASSERT_TRUE(close(dialer()));
  for (const StreamLog* each : streams) {
    ASSERT_TRUE(each->closed);
    EXPECT_TRUE(each->closed->error) << "closing a dialer cancels";
  }
  ASSERT_TRUE(close(listener()));
  for (const StreamLog* each : server.accepted)
    EXPECT_TRUE(each->closed);
}

TEST_P(TransportConformance, Close_WithoutDone_Closes) {
  const Ends ends = open_ends();
  ASSERT_NE(ends.dialled, nullptr);
  dialer().close(nullptr);
  listener().close(nullptr);
  EXPECT_TRUE(closes(ends));
}

TEST_P(TransportConformance, Close_NothingOpen_IsDone) {
  Dialer& unused = add_dialer(endpoint());
  EXPECT_TRUE(close(unused));
  EXPECT_TRUE(close(listener()));
}

TEST_P(TransportConformance, Stats_OfFinishedStreams_AddUp) {
  const Ends ends = open_ends();
  ASSERT_NE(ends.dialled, nullptr);
  std::uint64_t bytes = 0;
  for (std::size_t i = 0; i < 30; ++i) {
    queue(*ends.dialled, numbered(i));
    queue(*ends.accepted, numbered(i, 'R'));
    bytes += numbered(i).size();
  }
  ASSERT_TRUE(gets(*ends.dialled, 30));
  ASSERT_TRUE(gets(*ends.accepted, 30));
  ends.dialled->link().finish();
  ASSERT_TRUE(closes(ends));
  const transport::LinkStats expected{30, bytes, 30, bytes};
  EXPECT_EQ(ends.dialled->closed->stats, expected);
  EXPECT_EQ(ends.accepted->closed->stats, expected);
}

namespace {

enum class State : std::uint8_t { dialling, open, finishing, accepted_finishing, backpressured, paused };
enum class Closes : std::uint8_t { dialer, listener, both };

constexpr const char* kStates[]{"dialling", "open", "finishing", "accepted finishing", "backpressured", "paused"};
constexpr const char* kClosers[]{"dialer closes", "listener closes", "both close"};

}  // namespace

TEST_P(TransportConformance, Close_InEveryState_LeavesNothing) {
  for (int state = 0; state < 6; ++state) {
    for (int closer = 0; closer < 3; ++closer) {
      SCOPED_TRACE(std::string(kStates[state]) + ", " + kClosers[closer]);
      Endpoint at;
      Listener& listening = add_listener(listener_options(), at);
      Dialer& dialling = add_dialer(at);
      StreamLog* dialled = nullptr;
      if (static_cast<State>(state) == State::dialling) {
        dialled = &open(dialling, stream_options(), "Cfirst");
      } else {
        const bool open_wide = static_cast<State>(state) == State::open;
        const Ends ends = open_ends(dialling, stream_options(open_wide ? kPlenty : kNone), open_wide ? kPlenty : kNone);
        ASSERT_NE(ends.dialled, nullptr);
        dialled = ends.dialled;
        for (int i = 0; i < 3 && !open_wide; ++i)
          queue(*ends.dialled, numbered(0));
        for (int i = 0; i < 3 && !open_wide; ++i)
          queue(*ends.accepted, numbered(0));
        switch (static_cast<State>(state)) {
          case State::finishing:
            ends.dialled->link().finish();
            break;
          case State::accepted_finishing:
            ends.accepted->link().finish();
            break;
          case State::backpressured:
            while (ends.dialled->link().send(std::string(8192, 'C')) == SendStatus::queued) {
            }
            break;
          case State::dialling:
          case State::open:
          case State::paused:
            break;
        }
      }
      const auto which = static_cast<Closes>(closer);
      const auto done = std::make_shared<std::atomic<int>>(0);
      if (which != Closes::dialer) listening.close(waker([done] { ++*done; }));
      if (which != Closes::listener) dialling.close(waker([done] { ++*done; }));
      ASSERT_TRUE(wait_until([&] { return *done == (which == Closes::both ? 2 : 1); }));
      // A peer that is gone may be known only when what it sent before has been read.
      dialled->link().grant(kPlenty);
      ASSERT_TRUE(closes(*dialled));
      ASSERT_TRUE(close(dialling) && close(listening));
      EXPECT_EQ(listening.link_count(), 0U);
      EXPECT_EQ(dialling.stats().streams, 0U);
      for (const StreamLog* each : server.accepted)
        EXPECT_TRUE(each->closed);
    }
  }
}

TEST_P(TransportConformance, ClosedBus_AtTheReceiver_EndsTheStream) {
  const Ends ends = open_ends();
  ASSERT_NE(ends.dialled, nullptr);
  server.bus.close();
  queue(*ends.dialled, "Cinto the void");
  ASSERT_TRUE(closes(*ends.dialled));
  EXPECT_TRUE(ends.dialled->closed->error);
  ASSERT_TRUE(close(listener()));
  EXPECT_EQ(listener().link_count(), 0U);
  EXPECT_EQ(ends.accepted->link().send("Clate"), SendStatus::closed);
}

TEST_P(TransportConformance, ClosedBus_AtTheDialler_EndsTheStream) {
  const Ends ends = open_ends();
  ASSERT_NE(ends.dialled, nullptr);
  client.bus.close();
  queue(*ends.accepted, "Cinto the void");
  ASSERT_TRUE(closes(*ends.accepted));
  EXPECT_TRUE(ends.accepted->closed->error);
  ASSERT_TRUE(close(dialer()));
  EXPECT_EQ(ends.dialled->link().send("Clate"), SendStatus::closed);
}

TEST_P(TransportConformance, ClosedBus_BeforeDialling_HarmsNobody) {
  client.bus.close();
  for (const bool without_any_bus : {false, true}) {
    StreamOptions options = stream_options();
    if (without_any_bus) options.publisher = Publisher();
    const std::size_t before = server.accepted.size();
    StreamLog& dialled = open(dialer(), std::move(options), "Cfirst");
    ASSERT_TRUE(wait_until([&] { return server.accepted.size() > before; }));
    StreamLog& accepted = *server.accepted.back();
    accepted.link().grant(kPlenty);
    ASSERT_TRUE(gets(accepted, 1));
    queue(accepted, "Cinto the void");
    ASSERT_TRUE(closes(accepted));
    EXPECT_TRUE(accepted.closed->error);
    StreamLog& refused = open(add_dialer(transport().refused_endpoint()), stream_options(), "Cfirst");
    refused.link().cancel(Error(errc::cancelled, "enough"));
    dialled.link().finish();
  }
}

TEST_P(TransportConformance, ClosedBus_AtTheListener_HarmsNobody) {
  server.bus.close();
  StreamLog& dialled = open(dialer(), stream_options(), "Cfirst");
  EXPECT_TRUE(opens(dialled)) << dialled.ending();
  ASSERT_TRUE(close(listener()));
  ASSERT_TRUE(closes(dialled));
  EXPECT_TRUE(dialled.closed->error);
}

}  // namespace sharingbus::test

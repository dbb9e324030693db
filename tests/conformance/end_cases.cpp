// How streams end: finish, cancel, a peer that vanishes.
#include <string>
#include <utility>

#include "tests/conformance/transport_suite.hpp"

namespace sharingbus::test {

using transport::Credit;
using transport::SendStatus;

namespace {

bool ended_well(const StreamLog& log) {
  return log.closed_in_good_order() || log.closed_with(errc::stream_closed);
}

/// An end that is neither this side's good order nor the peer's.
bool broke(const StreamLog& log) {
  return log.closed && log.closed->error && !log.closed_with(errc::stream_closed);
}

}  // namespace

TEST_P(TransportConformance, Finish_FromEitherSide_QueuedFramesArriveFirst) {
  for (const bool from_dialler : {true, false}) {
    SCOPED_TRACE(from_dialler ? "dialled finishes" : "accepted finishes");
    const Ends ends = open_ends();
    ASSERT_NE(ends.dialled, nullptr);
    StreamLog& from = from_dialler ? *ends.dialled : *ends.accepted;
    StreamLog& to = from_dialler ? *ends.accepted : *ends.dialled;
    for (std::size_t i = 0; i < 100; ++i)
      queue(from, numbered(i));
    from.link().finish();
    EXPECT_EQ(from.link().send("Clate"), SendStatus::closed);
    from.link().finish();
    ASSERT_TRUE(closes(ends));
    EXPECT_EQ(to.frames, numbered_until(100));
    EXPECT_TRUE(from.closed_in_good_order()) << from.ending();
    EXPECT_TRUE(to.closed_with(errc::stream_closed)) << to.ending();
    EXPECT_EQ(from.closed->stats.frames_sent, 100U);
    EXPECT_EQ(to.closed->stats.frames_received, 100U);
    EXPECT_EQ(from.closed->stats.bytes_sent, to.closed->stats.bytes_received);
    EXPECT_EQ(to.link().send("Clate"), SendStatus::closed);
    EXPECT_EQ(to.link().stats(), to.closed->stats);
  }
}

TEST_P(TransportConformance, Finish_WhileThePeerHasNoCredit_WaitsForIt) {
  for (const bool from_dialler : {true, false}) {
    SCOPED_TRACE(from_dialler ? "dialled finishes" : "accepted finishes");
    const Ends ends = open_ends(dialer(), stream_options(kNone), kNone);
    ASSERT_NE(ends.dialled, nullptr);
    StreamLog& from = from_dialler ? *ends.dialled : *ends.accepted;
    StreamLog& to = from_dialler ? *ends.accepted : *ends.dialled;
    for (std::size_t i = 0; i < 10; ++i)
      queue(from, numbered(i));
    from.link().finish();
    settle();
    EXPECT_TRUE(to.frames.empty());
    EXPECT_FALSE(to.closed) << to.ending();
    to.link().grant({1, 4});
    ASSERT_TRUE(gets(to, 4));
    settle();
    EXPECT_EQ(to.frames.size(), 4U);
    to.link().grant(kPlenty);
    ASSERT_TRUE(closes(ends));
    EXPECT_EQ(to.frames, numbered_until(10));
    EXPECT_TRUE(from.closed_in_good_order()) << from.ending();
    EXPECT_TRUE(to.closed_with(errc::stream_closed)) << to.ending();
  }
}

TEST_P(TransportConformance, Finish_BeforeTheStreamIsOpen_DeliversEverything) {
  StreamLog& dialled = open(dialer(), stream_options(), numbered(0));
  queue(dialled, numbered(1));
  dialled.link().finish();
  ASSERT_TRUE(wait_until([&] { return !server.accepted.empty() || dialled.closed; }));
  ASSERT_FALSE(server.accepted.empty()) << dialled.ending();
  StreamLog& accepted = *server.accepted.front();
  accepted.link().grant(kPlenty);
  ASSERT_TRUE(closes(dialled));
  ASSERT_TRUE(closes(accepted));
  EXPECT_TRUE(dialled.opened);
  EXPECT_EQ(accepted.frames, numbered_until(2));
  EXPECT_TRUE(dialled.closed_in_good_order()) << dialled.ending();
  EXPECT_TRUE(accepted.closed_with(errc::stream_closed)) << accepted.ending();
}

TEST_P(TransportConformance, Finish_WithoutSending_ClosesInGoodOrder) {
  for (const bool from_dialler : {true, false}) {
    const Ends ends = open_ends();
    ASSERT_NE(ends.dialled, nullptr);
    (from_dialler ? ends.dialled : ends.accepted)->link().finish();
    ASSERT_TRUE(closes(ends));
    EXPECT_EQ(ends.dialled->closed_in_good_order(), from_dialler) << ends.dialled->ending();
    EXPECT_EQ(ends.accepted->closed_in_good_order(), !from_dialler) << ends.accepted->ending();
    EXPECT_TRUE(ended_well(*ends.dialled) && ended_well(*ends.accepted));
  }
}

TEST_P(TransportConformance, Finish_WithoutCredit_ClosesAllTheSame) {
  for (const bool from_dialler : {true, false}) {
    SCOPED_TRACE(from_dialler ? "dialled finishes" : "accepted finishes");
    const Ends ends = open_ends(dialer(), stream_options(kNone), kNone);
    ASSERT_NE(ends.dialled, nullptr);
    StreamLog& from = from_dialler ? *ends.dialled : *ends.accepted;
    StreamLog& to = from_dialler ? *ends.accepted : *ends.dialled;
    for (std::size_t i = 0; i < 5; ++i)
      queue(to, numbered(i));
    settle();
    queue(from, "Clast");
    from.link().finish();
    to.link().grant(kPlenty);
    ASSERT_TRUE(closes(ends));
    EXPECT_TRUE(from.frames.empty());
    EXPECT_EQ(to.frames, std::vector<std::string>{"Clast"});
    EXPECT_TRUE(from.closed_in_good_order()) << from.ending();
    EXPECT_TRUE(to.closed_with(errc::stream_closed)) << to.ending();
  }
}

TEST_P(TransportConformance, Finish_WhileThePeerSends_ReadsOnWithoutHoles) {
  const Ends ends = open_ends(dialer(), stream_options({1, 20}), kPlenty);
  ASSERT_NE(ends.dialled, nullptr);
  for (std::size_t i = 0; i < 100; ++i)
    queue(*ends.accepted, numbered(i));
  ends.dialled->link().finish();
  for (int i = 0; i < 10; ++i)
    ends.dialled->link().grant({0, 3});
  ASSERT_TRUE(closes(ends));
  EXPECT_EQ(ends.dialled->frames, numbered_until(ends.dialled->frames.size()));
  EXPECT_LE(ends.dialled->frames.size(), 50U);
  EXPECT_TRUE(ended_well(*ends.dialled)) << ends.dialled->ending();
}

TEST_P(TransportConformance, Finish_BothAtOnce_ClosesInGoodOrder) {
  for (int round = 0; round < 20; ++round) {
    const Ends ends = open_ends();
    ASSERT_NE(ends.dialled, nullptr);
    queue(*ends.dialled, "Cone");
    queue(*ends.accepted, "Canother");
    ends.dialled->link().finish();
    ends.accepted->link().finish();
    ASSERT_TRUE(closes(ends));
    EXPECT_TRUE(ended_well(*ends.dialled)) << ends.dialled->ending();
    EXPECT_TRUE(ended_well(*ends.accepted)) << ends.accepted->ending();
  }
}

TEST_P(TransportConformance, Finish_ThenCancel_Ends) {
  for (const bool from_dialler : {true, false}) {
    const Ends ends = open_ends(dialer(), stream_options(kNone), kNone);
    ASSERT_NE(ends.dialled, nullptr);
    StreamLog& from = from_dialler ? *ends.dialled : *ends.accepted;
    StreamLog& to = from_dialler ? *ends.accepted : *ends.dialled;
    for (std::size_t i = 0; i < 10; ++i)
      queue(from, numbered(i));
    from.link().finish();
    settle();
    from.link().cancel(Error(errc::timed_out, "the peer does not read"));
    ASSERT_TRUE(closes(from));
    to.link().grant(kPlenty);
    ASSERT_TRUE(closes(to));
    // A transport whose half-close is the end of its stream (a gRPC server's) may have finished already.
    EXPECT_TRUE(from.closed_with(errc::timed_out) || from.closed_in_good_order()) << from.ending();
  }
}

TEST_P(TransportConformance, Cancel_FromEitherSide_HasItsReasonAndThePeerAnError) {
  for (const bool from_dialler : {true, false}) {
    SCOPED_TRACE(from_dialler ? "dialled cancels" : "accepted cancels");
    const Ends ends = open_ends();
    ASSERT_NE(ends.dialled, nullptr);
    StreamLog& from = from_dialler ? *ends.dialled : *ends.accepted;
    StreamLog& to = from_dialler ? *ends.accepted : *ends.dialled;
    queue(from, "Cbefore");
    ASSERT_TRUE(gets(to, 1));
    from.link().cancel(Error(errc::protocol_violation, "the first reason"));
    from.link().cancel(Error(errc::internal, "the second reason"));
    EXPECT_EQ(from.link().send("Clate"), SendStatus::closed);
    from.link().finish();
    ASSERT_TRUE(closes(ends));
    EXPECT_TRUE(from.closed_with(errc::protocol_violation)) << from.ending();
    EXPECT_EQ(from.closed->error.message, "the first reason");
    EXPECT_TRUE(broke(to)) << to.ending();
    EXPECT_FALSE(to.closed->error.message.empty());
    EXPECT_EQ(to.link().send("Clate"), SendStatus::closed);
    EXPECT_EQ(to.frames, std::vector<std::string>{"Cbefore"});
  }
  settle();
}

TEST_P(TransportConformance, Cancel_WithoutCreditAnywhere_EndsAtOnceHereAndAfterReadingThere) {
  for (const bool from_dialler : {true, false}) {
    SCOPED_TRACE(from_dialler ? "dialled cancels" : "accepted cancels");
    const Ends ends = open_ends(dialer(), stream_options(kNone), kNone);
    ASSERT_NE(ends.dialled, nullptr);
    queue(*ends.dialled, "Cunread");
    queue(*ends.accepted, "Cunread");
    settle();
    StreamLog& from = from_dialler ? *ends.dialled : *ends.accepted;
    StreamLog& to = from_dialler ? *ends.accepted : *ends.dialled;
    from.link().cancel(Error(errc::cancelled, "enough"));
    ASSERT_TRUE(closes(from));
    EXPECT_TRUE(from.closed_with(errc::cancelled)) << from.ending();
    EXPECT_TRUE(from.frames.empty());
    settle();
    EXPECT_TRUE(to.frames.empty());
    to.link().grant(kPlenty);
    ASSERT_TRUE(closes(to));
    EXPECT_TRUE(broke(to)) << to.ending();
  }
}

TEST_P(TransportConformance, Cancel_Often_IsNeverTakenForGoodOrder) {
  for (int round = 0; round < 200; ++round) {
    const Ends ends = open_ends();
    ASSERT_NE(ends.dialled, nullptr);
    for (int i = 0; i < 5; ++i)
      queue(*ends.dialled, "Cunderway");
    (round % 2 == 0 ? ends.dialled : ends.accepted)->link().cancel(Error(errc::cancelled, "enough"));
    ASSERT_TRUE(closes(ends));
    ASSERT_TRUE(broke(*ends.dialled)) << ends.dialled->ending() << ", round " << round;
    ASSERT_TRUE(broke(*ends.accepted)) << ends.accepted->ending() << ", round " << round;
  }
}

TEST_P(TransportConformance, Cancel_BothAtOnce_EachEndsOnce) {
  for (int round = 0; round < 20; ++round) {
    const Ends ends = open_ends();
    ASSERT_NE(ends.dialled, nullptr);
    ends.dialled->link().cancel(Error(errc::cancelled, "dialled"));
    ends.accepted->link().cancel(Error(errc::cancelled, "accepted"));
    ASSERT_TRUE(closes(ends));
    EXPECT_TRUE(broke(*ends.dialled)) << ends.dialled->ending();
    EXPECT_TRUE(broke(*ends.accepted)) << ends.accepted->ending();
  }
}

TEST_P(TransportConformance, Vanish_ListenerClosed_TheDialledEndsWithAnError) {
  const Ends first = open_ends();
  const Ends second = open_ends(kNone);
  ASSERT_TRUE(first.dialled != nullptr && second.dialled != nullptr);
  ASSERT_TRUE(close(listener()));
  EXPECT_EQ(listener().link_count(), 0U);
  for (const Ends& ends : {first, second}) {
    ASSERT_TRUE(closes(ends));
    EXPECT_TRUE(broke(*ends.dialled)) << ends.dialled->ending();
    EXPECT_TRUE(broke(*ends.accepted)) << ends.accepted->ending();
  }
}

TEST_P(TransportConformance, Vanish_ListenerDestroyed_BothEnd) {
  const Ends ends = open_ends();
  ASSERT_NE(ends.dialled, nullptr);
  destroy_listener(listener());
  ASSERT_TRUE(closes(ends));
  EXPECT_TRUE(broke(*ends.dialled)) << ends.dialled->ending();
  StreamLog& late = open(dialer(), stream_options());
  ASSERT_TRUE(closes(late));
  EXPECT_TRUE(late.closed_with(errc::connection_refused)) << late.ending();
}

TEST_P(TransportConformance, Vanish_DialerDestroyed_BothEnd) {
  const Ends ends = open_ends();
  ASSERT_NE(ends.dialled, nullptr);
  StreamLog& opening = open(dialer(), stream_options(), "Cfirst");
  destroy_dialer(dialer());
  ASSERT_TRUE(closes(ends));
  ASSERT_TRUE(closes(opening));
  EXPECT_TRUE(broke(*ends.dialled)) << ends.dialled->ending();
  EXPECT_TRUE(broke(*ends.accepted)) << ends.accepted->ending();
  EXPECT_EQ(ends.dialled->link().send("Clate"), SendStatus::closed);
}

}  // namespace sharingbus::test

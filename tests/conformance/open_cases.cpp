// Dialling, listening, and what StreamOpened promises.
#include <chrono>
#include <string>
#include <utility>

#include "tests/conformance/transport_suite.hpp"
#include "tests/support/poll_until.hpp"

namespace sharingbus::test {

using transport::Dialer;
using transport::Endpoint;
using transport::Listener;
using transport::ListenerOptions;
using transport::SendStatus;
using transport::StreamOptions;

TEST_P(TransportConformance, Dial_NobodyListens_IsRefusedOnce) {
  Dialer& nowhere = add_dialer(transport().refused_endpoint());
  for (int attempt = 0; attempt < 3; ++attempt) {
    StreamLog& stream = open(nowhere, stream_options(), "Cfirst");
    ASSERT_TRUE(closes(stream));
    EXPECT_FALSE(stream.opened);
    EXPECT_TRUE(stream.closed_with(errc::connection_refused)) << stream.ending();
    EXPECT_FALSE(stream.closed->error.message.empty());
    EXPECT_EQ(stream.link().send("Clate"), SendStatus::closed);
  }
  settle();
}

TEST_P(TransportConformance, Dial_CancelledAtOnce_EndsWithTheReason) {
  StreamLog& stream = open(dialer(), stream_options(), "Cfirst");
  stream.link().cancel(Error(errc::cancelled, "changed my mind"));
  EXPECT_EQ(stream.link().send("Clate"), SendStatus::closed);
  ASSERT_TRUE(closes(stream));
  EXPECT_TRUE(stream.closed_with(errc::cancelled)) << stream.ending();
  EXPECT_EQ(stream.closed->error.message, "changed my mind");
  settle();
}

TEST_P(TransportConformance, Dial_CancelledWhileRefused_EndsOnce) {
  Dialer& nowhere = add_dialer(transport().refused_endpoint());
  StreamLog& stream = open(nowhere, stream_options());
  stream.link().cancel(Error(errc::cancelled, "changed my mind"));
  ASSERT_TRUE(closes(stream));
  EXPECT_TRUE(stream.closed_with(errc::cancelled) || stream.closed_with(errc::connection_refused)) << stream.ending();
  settle();
}

TEST_P(TransportConformance, Dial_NobodyAnswers_TimesOut) {
  const auto silent = transport().silent_endpoint();
  if (!silent) GTEST_SKIP() << "this transport cannot be kept waiting";
  StreamOptions options = stream_options();
  options.connect_timeout = std::chrono::milliseconds(200);
  StreamLog& stream = open(add_dialer(*silent), std::move(options), "Cfirst");
  ASSERT_TRUE(closes(stream));
  EXPECT_FALSE(stream.opened);
  EXPECT_TRUE(stream.closed_with(errc::connect_timeout)) << stream.ending();
}

TEST_P(TransportConformance, Dial_CancelledWhileNobodyAnswers_EndsWithTheReason) {
  const auto silent = transport().silent_endpoint();
  if (!silent) GTEST_SKIP() << "this transport cannot be kept waiting";
  StreamLog& stream = open(add_dialer(*silent), stream_options(), "Cfirst");
  settle();
  EXPECT_FALSE(stream.closed) << stream.ending();
  stream.link().cancel(Error(errc::cancelled, "tired of waiting"));
  ASSERT_TRUE(closes(stream));
  EXPECT_TRUE(stream.closed_with(errc::cancelled)) << stream.ending();
}

TEST_P(TransportConformance, Listen_Twice_IsInvalid) {
  const auto again = listener().listen();
  ASSERT_FALSE(again.has_value());
  EXPECT_TRUE(again.error().is(errc::invalid_state)) << to_string(again.error());
  EXPECT_NE(open_ends().dialled, nullptr);
}

TEST_P(TransportConformance, Listen_AddressTaken_SaysSo) {
  const auto second = transport().make_listener(listener_options(), &endpoint());
  const auto bound = second->listen();
  ASSERT_FALSE(bound.has_value());
  EXPECT_TRUE(bound.error().is(errc::address_in_use)) << to_string(bound.error());
  EXPECT_TRUE(close(*second));
  EXPECT_NE(open_ends().dialled, nullptr);
}

TEST_P(TransportConformance, Listen_AfterClose_IsInvalid) {
  const auto unused = transport().make_listener(listener_options(), nullptr);
  EXPECT_TRUE(close(*unused));
  for (Listener* each : {unused.get(), &listener()}) {
    EXPECT_TRUE(close(*each));
    const auto bound = each->listen();
    ASSERT_FALSE(bound.has_value());
    EXPECT_TRUE(bound.error().is(errc::invalid_state)) << to_string(bound.error());
  }
}

TEST_P(TransportConformance, Listen_Endpoint_ReadsBack) {
  const auto parsed = transport::parse_endpoint(to_string(endpoint()));
  ASSERT_TRUE(parsed.has_value()) << to_string(parsed.error());
  EXPECT_EQ(*parsed, endpoint());
}

TEST_P(TransportConformance, Restart_SameEndpoint_TheDialerOpensAgain) {
  const Ends before = open_ends();
  ASSERT_NE(before.dialled, nullptr);
  ASSERT_TRUE(close(listener()));
  ASSERT_TRUE(closes(before));
  StreamLog& refused = open(dialer(), stream_options());
  ASSERT_TRUE(closes(refused));
  EXPECT_TRUE(refused.closed_with(errc::connection_refused)) << refused.ending();

  const auto second = transport().make_listener(listener_options(), &endpoint());
  const auto bound = second->listen();
  ASSERT_TRUE(bound.has_value()) << to_string(bound.error());
  EXPECT_EQ(*bound, endpoint());
  // A transport may refuse a little longer without trying, as it does not want to hammer a dead peer.
  StreamLog* after = nullptr;
  for (int attempt = 0; attempt < 100'000; ++attempt) {
    after = &open(dialer(), stream_options());
    if (opens(*after)) break;
    ASSERT_TRUE(after->closed_with(errc::connection_refused)) << after->ending();
    settle();
  }
  EXPECT_TRUE(after->opened) << after->ending();
  EXPECT_TRUE(close(*second));
  EXPECT_TRUE(closes(*after));
}

TEST_P(TransportConformance, Opened_BothEnds_TellWhoTheyAre) {
  StreamOptions options = stream_options();
  const Uuid uid = random_uuid();
  const Uuid scroll = random_uuid();
  options.routing.connector_uid = uid;
  options.routing.scroll_id = scroll;
  options.routing.address = "tenant.type.instance";
  options.origin = EventOrigin::connector;
  const auto id = options.id;
  const Ends ends = open_ends(dialer(), std::move(options), kPlenty);
  ASSERT_NE(ends.dialled, nullptr);

  EXPECT_EQ(ends.dialled->link().uid(), uid);
  EXPECT_EQ(ends.dialled->link().id(), id);
  EXPECT_EQ(ends.dialled->opened->link.lock(), ends.dialled->handle);
  EXPECT_EQ(ends.dialled->opened->listener, 0U);
  EXPECT_FALSE(ends.dialled->opened->peer.empty());
  EXPECT_EQ(ends.dialled->origin, EventOrigin::connector);
  EXPECT_EQ(ends.dialled->source, id);
  EXPECT_EQ(ends.dialled->opened_routing.scroll_id, scroll);
  EXPECT_EQ(ends.dialled->opened_routing.address, "tenant.type.instance");

  EXPECT_EQ(ends.accepted->opened->listener, listener().id());
  EXPECT_FALSE(ends.accepted->opened->peer.empty());
  EXPECT_EQ(ends.accepted->origin, EventOrigin::transport);
  EXPECT_NE(ends.accepted->source, 0U);
  EXPECT_NE(ends.accepted->source, listener().id());
  EXPECT_NE(ends.accepted->link().uid(), uid);
  EXPECT_EQ(listener().link_count(), 1U);
  EXPECT_EQ(dialer().stats().streams, 1U);
  EXPECT_GE(dialer().stats().channels, 1U);
}

TEST_P(TransportConformance, Opened_WithoutUid_EachStreamHasItsOwn) {
  const Ends first = open_ends();
  const Ends second = open_ends();
  ASSERT_TRUE(first.dialled != nullptr && second.dialled != nullptr);
  EXPECT_NE(first.dialled->link().uid(), second.dialled->link().uid());
  EXPECT_NE(first.accepted->link().uid(), second.accepted->link().uid());
  EXPECT_NE(first.accepted->link().id(), second.accepted->link().id());
  EXPECT_EQ(listener().link_count(), 2U);
  EXPECT_EQ(dialer().stats().streams_opened, 2U);
}

TEST_P(TransportConformance, Opened_LinkOfAnEndedStream_AnswersClosedAndIsFreed) {
  Ends ends = open_ends();
  ASSERT_NE(ends.dialled, nullptr);
  ends.dialled->link().cancel(Error(errc::cancelled, "enough"));
  ASSERT_TRUE(closes(ends));
  for (StreamLog* log : {ends.dialled, ends.accepted}) {
    log->link().grant(kPlenty);
    log->link().finish();
    log->link().cancel(Error(errc::internal, "too late"));
    EXPECT_EQ(log->link().send("Clate"), SendStatus::closed);
  }
  settle();
  ASSERT_TRUE(close_everything());
  ends.dialled->handle.reset();
  ends.accepted->handle.reset();
  const auto freed = [&] { return ends.dialled->opened->link.expired() && ends.accepted->opened->link.expired(); };
  // Threads of the transport may hold it for a moment longer, in waits that were aborted.
  EXPECT_TRUE(transport().by_hand() ? freed() : poll_until(freed, std::chrono::seconds(40)));
}

TEST_P(TransportConformance, FirstFrame_IsTheFirstToArrive) {
  StreamLog& dialled = open(dialer(), stream_options(), "Cfirst");
  queue(dialled, "Csecond");
  queue(dialled, "Cthird");
  ASSERT_TRUE(wait_until([&] { return !server.accepted.empty(); }));
  StreamLog& accepted = *server.accepted.front();
  accepted.link().grant(kPlenty);
  ASSERT_TRUE(gets(accepted, 3));
  EXPECT_EQ(accepted.frames, (std::vector<std::string>{"Cfirst", "Csecond", "Cthird"}));
  EXPECT_TRUE(opens(dialled));
}

TEST_P(TransportConformance, FirstFrame_TooLarge_EndsTheStream) {
  StreamOptions options = stream_options();
  options.limits.max_outbound_bytes = 100;
  StreamLog& dialled = open(dialer(), std::move(options), "C" + std::string(100, 'x'));
  ASSERT_TRUE(closes(dialled));
  EXPECT_TRUE(dialled.closed_with(errc::message_too_large)) << dialled.ending();
}

TEST_P(TransportConformance, Open_AfterClose_EndsWithClosed) {
  ASSERT_TRUE(close(dialer()));
  StreamLog& stream = open(dialer(), stream_options(), "Cfirst");
  ASSERT_TRUE(closes(stream));
  EXPECT_FALSE(stream.opened);
  EXPECT_TRUE(stream.closed_with(errc::closed)) << stream.ending();
  EXPECT_TRUE(server.accepted.empty());
}

TEST_P(TransportConformance, StopAccepting_RefusesNewAndKeepsOld) {
  const Ends old = open_ends();
  ASSERT_NE(old.dialled, nullptr);
  listener().stop_accepting();
  listener().stop_accepting();
  StreamLog& late = open(dialer(), stream_options(), "Clate");
  ASSERT_TRUE(closes(late));
  EXPECT_FALSE(late.opened);
  EXPECT_TRUE(late.closed_with(errc::connection_refused)) << late.ending();
  queue(*old.dialled, "Cstill");
  queue(*old.accepted, "Cthere");
  EXPECT_TRUE(gets(*old.accepted, 1));
  EXPECT_TRUE(gets(*old.dialled, 1));
  EXPECT_EQ(server.accepted.size(), 1U);
}

TEST_P(TransportConformance, MaxLinks_RefusesWhatIsBeyond) {
  ListenerOptions options = listener_options();
  options.max_links = 2;
  restart_with(std::move(options));
  const Ends first = open_ends();
  const Ends second = open_ends();
  ASSERT_TRUE(first.dialled != nullptr && second.dialled != nullptr);
  StreamLog& third = open(dialer(), stream_options(), "Cthird");
  ASSERT_TRUE(closes(third));
  EXPECT_FALSE(third.opened);
  EXPECT_TRUE(third.closed_with(errc::connection_refused)) << third.ending();

  first.dialled->link().cancel(Error(errc::cancelled, "makes room"));
  ASSERT_TRUE(closes(first));
  // The place is free a moment after StreamClosed.
  StreamLog* fourth = nullptr;
  for (int attempt = 0; attempt < 10'000; ++attempt) {
    fourth = &open(dialer(), stream_options());
    if (opens(*fourth)) break;
    settle();
  }
  EXPECT_TRUE(fourth->opened) << fourth->ending();
}

}  // namespace sharingbus::test

// Registration, heartbeats, bad peers.
#include <gmock/gmock.h>

#include "bus/base/uuid.hpp"
#include "tests/connector/gateway/gateway_fixture.hpp"

namespace sharingbus::test {
namespace {

using connector::DuplicatePolicy;
using ::testing::HasSubstr;
using ::testing::SizeIs;

class GatewayTest : public GatewayFixture {};

TEST_F(GatewayTest, Options_Invalid_ThrowsNamingTheField) {
  try {
    const Gateway bad(io.get_executor(), bus, time, GatewayOptions{.max_sessions = 0});
    FAIL();
  } catch (const std::invalid_argument& error) {
    EXPECT_THAT(error.what(), HasSubstr("max_sessions"));
  }
}

TEST_F(GatewayTest, Register_IsAnsweredAndSeen) {
  start();
  const auto connector = dial();
  connector->send(register_request("one"));
  run();
  const auto response = connector->next<messages::RegisterResponse>();
  ASSERT_TRUE(response);
  EXPECT_TRUE(response->success);
  EXPECT_EQ(response->connector_arn, "matrix:acme:echo:one");
  EXPECT_EQ(response->status, messages::RegistrationStatus::approved);
  EXPECT_EQ(response->session_token.find("eyJ"), 0U) << "base64url of a JSON object";
  EXPECT_NE(response->session_token.find('.'), std::string::npos);

  ASSERT_EQ(gateway->session_count(), 1U);
  EXPECT_EQ(info().address, "acme.echo.one");
  EXPECT_EQ(info().arn, "matrix:acme:echo:one");
  EXPECT_EQ(info().display_name, "The one");
  EXPECT_EQ(info().version, "1.0");
  EXPECT_EQ(info().peer, "memory://gateway");
  EXPECT_EQ(info().registered_at_unix_ms, time.unix_ms());

  const auto registered = events<ConnectorRegistered>(observer);
  ASSERT_THAT(registered, SizeIs(1));
  EXPECT_EQ(registered[0].address, "acme.echo.one");
  EXPECT_FALSE(registered[0].replaced);
  EXPECT_EQ(log.count("connector registered address=acme.echo.one"), 1U);
}

TEST_F(GatewayTest, Register_EventsRouteBySessionUidAndAddress) {
  start();
  const auto connector = connect("one");
  const Received item = observer.try_receive();
  ASSERT_NE(item.event(), nullptr);
  const BusEvent& event = **item.event();
  EXPECT_TRUE(event.is<ConnectorRegistered>());
  EXPECT_EQ(event.kind(), EventKind::connector_lifecycle);
  EXPECT_EQ(event.routing().connector_uid, info().uid);
  EXPECT_EQ(event.routing().connector_id, "acme.echo.one");
  EXPECT_EQ(event.routing().address, "acme.echo.one");
  EXPECT_NE(event.source(), 0U);
}

TEST_F(GatewayTest, Register_BadIdentity_IsAnsweredThenEnded) {
  start();
  const auto connector = dial();
  connector->send(register_request("", "expired"));
  run();
  const auto response = connector->next<messages::RegisterResponse>();
  ASSERT_TRUE(response) << "the answer comes before the end";
  EXPECT_FALSE(response->success);
  EXPECT_THAT(response->error, HasSubstr("instance_id"));
  EXPECT_EQ(response->connector_arn, "matrix:expired:echo:");
  EXPECT_TRUE(connector->closed());
  EXPECT_EQ(gateway->session_count(), 0U);
  ASSERT_THAT(events<ConnectorRefused>(observer), SizeIs(1));
}

TEST_F(GatewayTest, ReRegister_OnTheSameStream_GetsAnotherToken) {
  start();
  const auto connector = dial();
  connector->send(register_request("one"));
  connector->send(register_request("one"));
  run();
  const auto responses = connector->all<messages::RegisterResponse>();
  ASSERT_THAT(responses, SizeIs(2));
  EXPECT_TRUE(responses[1].success);
  EXPECT_NE(responses[0].session_token, responses[1].session_token);
  EXPECT_FALSE(connector->closed());
  EXPECT_EQ(gateway->session_count(), 1U);
  EXPECT_THAT(events<ConnectorRegistered>(observer), SizeIs(1));
}

TEST_F(GatewayTest, DuplicateIdentity_ReplaceOld_TheNewerTakesOver) {
  start();
  const auto older = connect("one");
  const auto pending = execute("acme.echo.one");
  run();
  const auto newer = connect("one");
  EXPECT_TRUE(pending->error.is(errc::stream_failed));
  EXPECT_THAT(pending->error.message, HasSubstr("replaced"));
  ASSERT_TRUE(older->closed());
  EXPECT_THAT(to_string(*older->closed()), HasSubstr("replaced"));
  EXPECT_EQ(gateway->session_count(), 1U);

  const auto registered = events<ConnectorRegistered>(observer);
  ASSERT_THAT(registered, SizeIs(2));
  EXPECT_TRUE(registered[1].replaced);

  const auto answered = execute("acme.echo.one");
  run();
  const auto request = newer->next<messages::ExecuteRequest>();
  ASSERT_TRUE(request);
  newer->answer(*request);
  run();
  EXPECT_TRUE(answered->done);
  EXPECT_FALSE(answered->error) << answered->error.message;
}

TEST_F(GatewayTest, DuplicateIdentity_RefuseNew_TheOlderStays) {
  auto with = options();
  with.duplicates = DuplicatePolicy::refuse_new;
  start(with);
  const auto older = connect("one");
  const auto newer = dial();
  newer->send(register_request("one"));
  run();
  const auto response = newer->next<messages::RegisterResponse>();
  ASSERT_TRUE(response);
  EXPECT_FALSE(response->success);
  EXPECT_EQ(response->connector_arn, "matrix:acme:echo:one");
  EXPECT_TRUE(newer->closed());
  EXPECT_FALSE(older->closed());
  const auto refused = events<ConnectorRefused>(observer);
  ASSERT_THAT(refused, SizeIs(1));
  EXPECT_TRUE(refused[0].error.is(errc::already_exists));

  older->link().cancel(Error(errc::cancelled, "bye"));
  run();
  const auto again = connect("one");
  EXPECT_EQ(gateway->session_count(), 1U) << "the address is free again";
}

TEST_F(GatewayTest, FirstMessage_NotARegister_EndsOnlyThatStream) {
  start();
  const auto good = connect("good");
  const std::vector<messages::ConnectorMessage> bad{messages::HeartbeatRequest{}, messages::ExecuteResponse{},
                                                    messages::InvokeRequest{}, messages::UnknownMessage{true, 0},
                                                    messages::UnknownMessage{false, 99}};
  for (const auto& message : bad) {
    const auto connector = dial();
    connector->send(message);
    connector->send(register_request("late"));
    run();
    ASSERT_TRUE(connector->closed()) << messages::message_name(message);
    EXPECT_THAT(to_string(*connector->closed()), HasSubstr("not a register request"));
  }
  const auto refused = events<ConnectorRefused>(observer);
  EXPECT_THAT(refused, SizeIs(bad.size()));
  for (const auto& event : refused)
    EXPECT_TRUE(event.error.is(errc::protocol_violation));
  EXPECT_FALSE(good->closed());
  EXPECT_EQ(gateway->session_count(), 1U);
}

TEST_F(GatewayTest, BytesThatAreNoMessage_EndOnlyThatStream) {
  start();
  const auto good = connect("good");
  const auto bad = connect("bad");
  bad->link().send("\xff\xff\xff\xff");
  run();
  EXPECT_TRUE(bad->closed());
  EXPECT_FALSE(good->closed());
  const auto gone = events<ConnectorDisconnected>(observer);
  ASSERT_THAT(gone, SizeIs(1));
  EXPECT_EQ(gone[0].address, "acme.echo.bad");
  EXPECT_TRUE(gone[0].error.is(errc::malformed_frame));
}

TEST_F(GatewayTest, EmptyAndUnknownMessages_AfterRegistration_AreIgnored) {
  start();
  const auto connector = connect("one");
  connector->send(messages::UnknownMessage{true, 0});
  connector->send(messages::UnknownMessage{false, 99});
  connector->link().send("");
  connector->send(messages::WebSocketFrame{});
  connector->send(messages::HeartbeatRequest{"id", 7});
  run();
  EXPECT_EQ(connector->next<messages::HeartbeatResponse>(), (messages::HeartbeatResponse{"id", 7, false}));
  EXPECT_FALSE(connector->closed());
}

TEST_F(GatewayTest, Heartbeats_GoOutAndSilenceIsReaped) {
  start();
  const auto lively = connect("lively");
  const auto silent = connect("silent");
  for (int i = 0; i < 2; ++i) {
    advance(45s);
    ASSERT_TRUE(lively->next<messages::HeartbeatRequest>()) << i;
    lively->send(messages::HeartbeatResponse{});
    run();
  }
  EXPECT_FALSE(lively->closed());
  ASSERT_TRUE(silent->closed());
  EXPECT_THAT(to_string(*silent->closed()), HasSubstr("no message for 90000 ms"));
  EXPECT_EQ(gateway->session_count(), 1U);
}

TEST_F(GatewayTest, NoRegister_WithinTheTimeout_EndsTheStream) {
  start();
  const auto mute = dial();
  run();
  advance(9s);
  EXPECT_FALSE(mute->closed());
  advance(1s);
  ASSERT_TRUE(mute->closed());
  EXPECT_THAT(to_string(*mute->closed()), HasSubstr("no register request"));
}

TEST_F(GatewayTest, MaxSessions_FurtherStreamsAreRefused) {
  auto with = options();
  with.max_sessions = 2;
  gateway.emplace(io.get_executor(), bus, time, with);
  auto listener = gateway->make_listener_options();
  EXPECT_EQ(listener.max_links, 2U);
  listener.max_links = 100;
  ASSERT_TRUE(gateway->serve(network.make_listener("gateway", std::move(listener))));
  const auto one = connect("one");
  const auto two = connect("two");
  const auto three = dial();
  three->send(register_request("three"));
  run();
  ASSERT_TRUE(three->closed());
  EXPECT_THAT(to_string(*three->closed()), HasSubstr("2 streams already"));
  EXPECT_THAT(events<ConnectorRefused>(observer), SizeIs(1));
  EXPECT_EQ(gateway->session_count(), 2U);
}

TEST_F(GatewayTest, Serve_WhatWasNotMadeForIt_IsRefused) {
  start();
  EXPECT_EQ(gateway->serve(nullptr).error().code, errc::invalid_argument);
  EXPECT_EQ(gateway->serve(network.make_listener("other", {})).error().code, errc::invalid_argument);
  auto taken = gateway->serve(network.make_listener("gateway", gateway->make_listener_options()));
  EXPECT_TRUE(taken.error().is(errc::address_in_use));
  EXPECT_TRUE(gateway->serve(network.make_listener("second", gateway->make_listener_options()))) << "several are fine";
}

TEST_F(GatewayTest, TwoGatewaysOnOneBus_KeepToTheirOwnStreams) {
  start();
  Gateway second(io.get_executor(), bus, time, options());
  ASSERT_TRUE(second.serve(network.make_listener("second", second.make_listener_options())));
  const auto connector = connect("one");
  EXPECT_EQ(gateway->session_count(), 1U);
  EXPECT_EQ(second.session_count(), 0U);
  bool done = false;
  second.close(0s, [&] { done = true; });
  run();
  EXPECT_TRUE(done);
  EXPECT_FALSE(connector->closed());
}

// A peer that floods and does not read is paused by credit: what it may have in memory is bounded, and it is reaped.
TEST_F(GatewayTest, Flood_ThatIsNotRead_IsPausedAndReaped) {
  auto with = options();
  with.window = {.requests = 4, .controls = 64};
  start(with, {.outbound_capacity = 8});
  // Room for the register response and the first few replies, then it reads no more.
  const auto flooder = connect("flooder", {5, 5}, {.outbound_capacity = 10'000});
  for (int i = 0; i < 10'000; ++i)
    flooder->send(messages::HeartbeatRequest{"flood", i});
  run();
  const std::uint64_t taken = flooder->link().stats().frames_sent;
  EXPECT_GT(taken, 250U);
  EXPECT_LT(taken, 500U) << "the replies that wait, and a window";
  const auto good = connect("good");
  EXPECT_EQ(gateway->session_count(), 2U) << "others are not disturbed";
  for (int i = 0; i < 3; ++i) {
    advance(30s);
    good->send(messages::HeartbeatResponse{});
    run();
  }
  EXPECT_TRUE(flooder->closed());
  EXPECT_EQ(gateway->session_count(), 1U);
}

TEST_F(GatewayTest, Flood_ThatIsRead_LosesNothing) {
  auto with = options();
  with.window = {.requests = 1, .controls = 1};
  start(with, {.outbound_capacity = 8});
  const auto connector = connect("one", {10'000, 10'000}, {.outbound_capacity = 10'000});
  for (int i = 0; i < 5'000; ++i)
    connector->send(messages::HeartbeatRequest{"", i});
  run();
  const auto replies = connector->all<messages::HeartbeatResponse>();
  ASSERT_THAT(replies, SizeIs(5'000));
  for (int i = 0; i < 5'000; ++i)
    ASSERT_EQ(replies[static_cast<std::size_t>(i)].timestamp_ms, i);
}

}  // namespace
}  // namespace sharingbus::test

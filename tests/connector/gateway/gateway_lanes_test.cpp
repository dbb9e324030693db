// Several registrations on one stream, as clients have them that multiplex (protocol-connector §3.5, G4 to G6).
#include <set>
#include <string>

#include <gmock/gmock.h>

#include "tests/connector/gateway/gateway_fixture.hpp"

namespace sharingbus::test {
namespace {

using ::testing::SizeIs;

std::string arn_of(const std::string& instance) {
  return "matrix:acme:echo:" + instance;
}

class GatewayLanesTest : public GatewayFixture {
 protected:
  /// Registers on the stream of `connector`; how it was answered.
  messages::RegisterResponse add(ScriptedConnector& connector, const std::string& instance) {
    connector.send(register_request(instance));
    run();
    const auto response = connector.next<messages::RegisterResponse>();
    EXPECT_TRUE(response.has_value()) << instance;
    return response.value_or(messages::RegisterResponse());
  }
  /// A stream with `count` registrations, acme.echo.0 and so on.
  std::unique_ptr<ScriptedConnector> connect_many(int count) {
    auto connector = connect("0");
    for (int i = 1; i < count; ++i)
      EXPECT_TRUE(add(*connector, std::to_string(i)).success);
    EXPECT_EQ(gateway->session_count(), static_cast<std::size_t>(count));
    return connector;
  }
};

TEST_F(GatewayLanesTest, Register_Several_EachHasItsSession) {
  start();
  const auto connector = connect("0");
  const auto response = add(*connector, "1");
  EXPECT_TRUE(response.success);
  EXPECT_EQ(response.connector_arn, arn_of("1"));
  EXPECT_FALSE(response.session_token.empty());
  add(*connector, "2");
  std::set<std::string> addresses;
  std::set<Uuid> uids;
  for (const auto& info : gateway->sessions()) {
    addresses.insert(info.address);
    uids.insert(info.uid);
  }
  EXPECT_EQ(addresses, (std::set<std::string>{"acme.echo.0", "acme.echo.1", "acme.echo.2"}));
  EXPECT_THAT(uids, SizeIs(3));
  EXPECT_THAT(events<ConnectorRegistered>(observer), SizeIs(3));
}

TEST_F(GatewayLanesTest, Execute_EachRequest_GoesOutWithItsArnAndItsAnswerComesBack) {
  start();
  const auto connector = connect_many(4);
  std::vector<std::shared_ptr<Outcome>> outcomes;
  for (int i = 0; i < 40; ++i)
    outcomes.push_back(execute("acme.echo." + std::to_string(i % 4), call(std::to_string(i))));
  run();
  const auto requests = connector->all<messages::ExecuteRequest>();
  ASSERT_THAT(requests, SizeIs(40));
  // In any order.
  for (auto request = requests.rbegin(); request != requests.rend(); ++request) {
    const int number = std::stoi(request->payload);
    EXPECT_EQ(request->context.at("connector_arn"), arn_of(std::to_string(number % 4)));
    connector->answer(*request, request->payload);
  }
  run();
  for (int i = 0; i < 40; ++i) {
    const Outcome& outcome = *outcomes[static_cast<std::size_t>(i)];
    EXPECT_EQ(outcome.calls, 1);
    EXPECT_FALSE(outcome.error) << to_string(outcome.error);
    EXPECT_EQ(outcome.reply.payload.bytes, std::to_string(i));
  }
  for (const auto& info : gateway->sessions()) {
    EXPECT_EQ(info.answered, 10U) << info.address;
    EXPECT_EQ(info.late_answers, 0U) << info.address;
  }
}

TEST_F(GatewayLanesTest, Heartbeat_OneForTheStream_KeepsAllAlive) {
  GatewayOptions with = options();
  with.session_timeout = 90s;
  with.heartbeat_interval = 30s;
  start(std::move(with));
  const auto connector = connect_many(3);
  for (int i = 0; i < 10; ++i) {
    advance(31s);
    // The gateway asks once, and answers once, whatever the number of registrations.
    EXPECT_THAT(connector->all<messages::HeartbeatRequest>(), SizeIs(1));
    connector->send(messages::HeartbeatRequest{"", i});
    run();
    EXPECT_THAT(connector->all<messages::HeartbeatResponse>(), SizeIs(1));
  }
  EXPECT_EQ(gateway->session_count(), 3U);
  // And its absence ends them.
  advance(91s);
  EXPECT_EQ(gateway->session_count(), 0U);
}

TEST_F(GatewayLanesTest, Register_Again_IsTheSameRegistration) {
  start();
  const auto connector = connect_many(2);
  const auto again = add(*connector, "1");
  EXPECT_TRUE(again.success);
  EXPECT_EQ(again.connector_arn, arn_of("1"));
  EXPECT_EQ(add(*connector, "0").connector_arn, arn_of("0"));
  EXPECT_EQ(gateway->session_count(), 2U);
  EXPECT_THAT(events<ConnectorRegistered>(observer), SizeIs(2));
}

TEST_F(GatewayLanesTest, Rejected_One_TouchesNoOther) {
  GatewayOptions with = options();
  with.duplicates = connector::DuplicatePolicy::refuse_new;
  start(std::move(with));
  const auto elsewhere = connect("taken");
  const auto connector = connect("0");
  const auto refused = add(*connector, "taken");
  EXPECT_FALSE(refused.success);
  // With the ARN, or a client with several could not tell whose answer it is.
  EXPECT_EQ(refused.connector_arn, arn_of("taken"));
  EXPECT_TRUE(add(*connector, "1").success);
  EXPECT_FALSE(connector->closed());
  // Later it may be free.
  elsewhere->link().finish();
  run();
  EXPECT_TRUE(add(*connector, "taken").success);
  EXPECT_EQ(gateway->session_count(), 3U);
}

TEST_F(GatewayLanesTest, Register_NoIdentity_IsAnsweredAndTouchesNoOther) {
  start();
  const auto connector = connect_many(2);
  const auto refused = add(*connector, "");
  EXPECT_FALSE(refused.success);
  EXPECT_NE(refused.error.find("instance_id is empty"), std::string::npos) << refused.error;
  EXPECT_EQ(gateway->session_count(), 2U);
  EXPECT_FALSE(connector->closed());
}

TEST_F(GatewayLanesTest, Register_BeyondTheLimit_IsRefusedByName) {
  GatewayOptions with = options();
  with.max_registrations_per_stream = 3;
  start(std::move(with));
  const auto connector = connect_many(3);
  const auto refused = add(*connector, "3");
  EXPECT_FALSE(refused.success);
  EXPECT_EQ(refused.connector_arn, arn_of("3"));
  EXPECT_EQ(refused.error, "the stream has 3 registrations already");
  EXPECT_EQ(gateway->session_count(), 3U);
  // Elsewhere there is room.
  EXPECT_TRUE(connect("3"));
}

TEST_F(GatewayLanesTest, StreamEnds_AllEndWithIt) {
  start();
  const auto connector = connect_many(3);
  const auto pending = execute("acme.echo.2");
  run();
  connector->link().cancel(Error(errc::cancelled, "gone"));
  run();
  EXPECT_EQ(gateway->session_count(), 0U);
  EXPECT_EQ(pending->calls, 1);
  EXPECT_TRUE(pending->error);
  EXPECT_THAT(events<ConnectorDisconnected>(observer), SizeIs(3));
}

TEST_F(GatewayLanesTest, Replaced_ByAStreamOfItsOwn_OnlyThatOneMoves) {
  start();
  const auto connector = connect_many(3);
  const auto newer = connect("1");
  EXPECT_EQ(gateway->session_count(), 3U);
  const auto moved = execute("acme.echo.1");
  const auto stayed = execute("acme.echo.2");
  run();
  EXPECT_THAT(newer->all<messages::ExecuteRequest>(), SizeIs(1));
  const auto requests = connector->all<messages::ExecuteRequest>();
  ASSERT_THAT(requests, SizeIs(1));
  connector->answer(requests[0]);
  run();
  EXPECT_TRUE(stayed->done && !stayed->error);
  EXPECT_FALSE(connector->closed());
}

TEST_F(GatewayLanesTest, Replaced_TheFirst_TheOthersStayOnTheStream) {
  for (const bool asked : {false, true}) {
    start();
    const auto connector = connect_many(3);
    const auto of_first = execute("acme.echo.0");
    run();
    const auto sent = connector->all<messages::ExecuteRequest>();
    ASSERT_THAT(sent, SizeIs(1));
    if (asked) gateway->ask_to_reconnect("acme.echo.0");
    const auto newer = connect("0");
    EXPECT_EQ(gateway->session_count(), 3U);
    EXPECT_FALSE(connector->closed());
    EXPECT_EQ(of_first->done, !asked) << "one that was asked answers what is pending";
    if (asked) {
      connector->answer(sent[0]);
      run();
      EXPECT_TRUE(of_first->done && !of_first->error) << to_string(of_first->error);
    }
    EXPECT_THAT(events<ConnectorDisconnected>(observer), SizeIs(1));
    // The stream is served as before: heartbeats, requests, registrations, the first one's among them.
    connector->send(messages::HeartbeatRequest{"", 7});
    run();
    const auto echo = connector->next<messages::HeartbeatResponse>();
    ASSERT_TRUE(echo);
    EXPECT_EQ(echo->timestamp_ms, 7);
    EXPECT_FALSE(echo->should_reconnect) << "that was for one of them";
    const auto of_other = execute("acme.echo.2");
    run();
    const auto requests = connector->all<messages::ExecuteRequest>();
    ASSERT_THAT(requests, SizeIs(1));
    connector->answer(requests[0]);
    run();
    EXPECT_TRUE(of_other->done && !of_other->error) << to_string(of_other->error);
    EXPECT_TRUE(add(*connector, "0").success);
    EXPECT_EQ(gateway->session_count(), 3U);
    EXPECT_FALSE(connector->closed());
    for (int i = 0; i < 10; ++i) {
      advance(30s);
      connector->send(messages::HeartbeatRequest{"", i});
      run();
    }
    EXPECT_EQ(gateway->session_count(), 3U);
    // Silence ends it.
    advance(91s);
    EXPECT_EQ(gateway->session_count(), 0U);
    EXPECT_TRUE(connector->closed());
    close_gateway();
    (void)events<ConnectorDisconnected>(observer);
  }
}

TEST_F(GatewayLanesTest, Replaced_All_TheStreamEndsInGoodOrder) {
  start();
  const auto connector = connect_many(3);
  std::vector<std::unique_ptr<ScriptedConnector>> newer;
  for (int i = 0; i < 3; ++i) {
    ASSERT_TRUE(gateway->ask_to_reconnect("acme.echo." + std::to_string(i)));
    run();
    EXPECT_FALSE(connector->closed()) << i;
    newer.push_back(connect(std::to_string(i)));
  }
  run();
  ASSERT_TRUE(connector->closed());
  EXPECT_TRUE(connector->closed()->is(errc::stream_closed)) << to_string(*connector->closed());
  EXPECT_EQ(gateway->session_count(), 3U);
}

TEST_F(GatewayLanesTest, Answer_NobodyAsked_IsCountedAndHarmsNobody) {
  start();
  const auto connector = connect_many(2);
  connector->send(messages::ExecuteResponse{"exec-unknown", true, "1", messages::PayloadEncoding::json, "", 1});
  run();
  std::uint64_t late = 0;
  for (const auto& info : gateway->sessions())
    late += info.late_answers;
  EXPECT_EQ(late, 1U);
  EXPECT_EQ(gateway->session_count(), 2U);
}

TEST_F(GatewayLanesTest, AskToReconnect_OfOne_GoesOut) {
  start();
  const auto connector = connect_many(2);
  ASSERT_TRUE(gateway->ask_to_reconnect("acme.echo.1"));
  run();
  const auto asked = connector->next<messages::HeartbeatResponse>();
  EXPECT_TRUE(asked && asked->should_reconnect);
}

TEST_F(GatewayLanesTest, AskToReconnect_OfOne_LaterHeartbeatsAskNoOther) {
  start();
  const auto connector = connect_many(3);
  // What is pending keeps the one that was asked, also when it is registered elsewhere.
  const auto pending = execute("acme.echo.1");
  run();
  const auto requests = connector->all<messages::ExecuteRequest>();
  ASSERT_THAT(requests, SizeIs(1));
  ASSERT_TRUE(gateway->ask_to_reconnect("acme.echo.1"));
  run();
  EXPECT_EQ(connector->next<messages::HeartbeatResponse>().value().gateway_id, "acme.echo.1");
  for (const bool elsewhere : {false, true}) {
    const auto newer = elsewhere ? connect("1") : nullptr;
    advance(2s);
    connector->send(messages::HeartbeatRequest{"", 7});
    run();
    std::size_t echoes = 0;
    for (const auto& response : connector->all<messages::HeartbeatResponse>()) {
      EXPECT_EQ(response.timestamp_ms, 7);
      if (response.gateway_id.empty()) ++echoes;
      EXPECT_EQ(response.should_reconnect, response.gateway_id == "acme.echo.1");
    }
    EXPECT_EQ(echoes, 1U);
    if (newer) newer->link().cancel(Error(errc::cancelled, "gone"));
  }
  connector->answer(requests[0]);
  run();
  EXPECT_TRUE(pending->done && !pending->error) << to_string(pending->error);
}

TEST_F(GatewayLanesTest, Heartbeat_OnlyAnswered_KeepsAllAlive) {
  start();
  const auto connector = connect_many(3);
  for (int i = 0; i < 10; ++i) {
    advance(options().heartbeat_interval + 1s);
    for (const auto& asked : connector->all<messages::HeartbeatRequest>())
      connector->send(messages::HeartbeatResponse{asked.gateway_id, asked.timestamp_ms, false});
    run();
  }
  EXPECT_EQ(gateway->session_count(), 3U);
}

TEST_F(GatewayLanesTest, Heartbeats_ManyInASecond_AreTheWorkOfOneForTheOthers) {
  start();
  const auto connector = connect_many(5);
  std::size_t published = 0;
  const auto counting = bus.subscribe_inline({.name = "beats", .filter = Filter::type<messages::HeartbeatRequest>()},
                                             [&](const EventRef&) { ++published; });
  for (int i = 0; i < 100; ++i)
    connector->send(messages::HeartbeatRequest{"", i});
  run();
  EXPECT_THAT(connector->all<messages::HeartbeatResponse>(), SizeIs(100));
  EXPECT_EQ(published, 100U + 4U);
}

TEST_F(GatewayLanesTest, Full_TheStreamsQueue_LosesNothing) {
  start(options(), {.max_inbound_bytes = 1024 * 1024, .outbound_capacity = 4});
  const auto connector = connect("0", {100, 4});
  EXPECT_TRUE(add(*connector, "1").success);
  EXPECT_TRUE(add(*connector, "2").success);
  std::vector<std::shared_ptr<Outcome>> outcomes;
  for (int i = 0; i < 300; ++i)
    outcomes.push_back(execute("acme.echo." + std::to_string(i % 3), call(std::to_string(i))));
  run();
  std::size_t answered = 0;
  for (int round = 0; round < 200 && answered < outcomes.size(); ++round) {
    connector->link().grant({10, 10});
    run();
    for (const auto& request : connector->all<messages::ExecuteRequest>()) {
      connector->answer(request, request.payload);
      ++answered;
    }
    run();
  }
  EXPECT_EQ(answered, outcomes.size());
  for (const auto& outcome : outcomes)
    EXPECT_TRUE(outcome->done && !outcome->error) << to_string(outcome->error);
}

TEST_F(GatewayLanesTest, Close_WithRequestsPending_DrainsThem) {
  start();
  const auto connector = connect_many(3);
  const auto pending = execute("acme.echo.2");
  run();
  const auto requests = connector->all<messages::ExecuteRequest>();
  ASSERT_THAT(requests, SizeIs(1));
  bool closed = false;
  gateway->close(5s, [&] { closed = true; });
  run();
  EXPECT_FALSE(closed);
  connector->answer(requests[0]);
  run();
  EXPECT_TRUE(pending->done && !pending->error);
  EXPECT_TRUE(closed);
}

}  // namespace
}  // namespace sharingbus::test

// Greeting, events and answers, in virtual time over the memory transport.
#include "connector/agent/internal/handshake.hpp"
#include "tests/connector/agent/agent_server_fixture.hpp"

namespace sharingbus::test {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;
using ::testing::UnorderedElementsAre;

class AgentServerTest : public AgentServerFixture {};

bool is_allow(const agent::AgentResponse& response) {
  return std::holds_alternative<agent::Allow>(response.decision);
}
std::optional<int> blocked_with(const agent::AgentResponse& response) {
  const auto* block = std::get_if<agent::Block>(&response.decision);
  return block != nullptr ? std::optional<int>(block->status) : std::nullopt;
}

// Greeting.

TEST_F(AgentServerTest, Handshake_SaysWhatTheAgentCan) {
  AgentServerOptions with = options();
  with.capabilities.agent_id = "waf";
  with.capabilities.limits.max_concurrency = 7;
  start(with);
  const auto proxy = dial();
  say(*proxy, hello());
  const auto response = proxy->next<agent::HandshakeResponse>();
  ASSERT_TRUE(response);
  EXPECT_TRUE(response->success);
  EXPECT_EQ(response->protocol_version, 2U);
  EXPECT_EQ(response->encoding, agent::Encoding::json);
  EXPECT_EQ(response->capabilities->agent_id, "waf");
  EXPECT_EQ(response->capabilities->limits.max_concurrency, 7U);
  const auto connected = events<ProxyConnected>();
  ASSERT_THAT(connected, SizeIs(1));
  EXPECT_EQ(connected[0].proxy_id, "proxy");
  EXPECT_EQ(connected[0].encoding, "json");
}

TEST_F(AgentServerTest, Handshake_OtherVersions_AreRefusedWithAWord) {
  start();
  const auto proxy = dial();
  agent::HandshakeRequest request = hello();
  request.supported_versions = {1, 3};
  say(*proxy, request);
  const auto response = proxy->next<agent::HandshakeResponse>();
  ASSERT_TRUE(response);
  EXPECT_FALSE(response->success);
  EXPECT_EQ(response->error, "Protocol version mismatch: expected 2, got 3");
  EXPECT_TRUE(response->capabilities) << "there in failures, too";
  ASSERT_TRUE(proxy->closed());
  const auto refused = events<ProxyRefused>();
  ASSERT_THAT(refused, SizeIs(1));
  EXPECT_TRUE(refused[0].error.is(errc::rejected));
}

TEST_F(AgentServerTest, Handshake_EncodingIsOneThatWasOffered) {
  const auto chosen = [this](std::string id, std::string version, std::vector<std::string> offered) {
    agent::HandshakeRequest request = hello();
    request.proxy_id = std::move(id);
    request.proxy_version = std::move(version);
    request.supported_encodings = std::move(offered);
    return connector::internal::negotiate(request, options(), true).encoding;
  };
  using enum agent::Encoding;
  EXPECT_EQ(chosen("p", "1", {"msgpack", "json"}), msgpack);
  EXPECT_EQ(chosen("p", "1", {"json", "msgpack"}), json);
  EXPECT_EQ(chosen("p", "1", {"cbor", "msgpack"}), msgpack);
  EXPECT_EQ(chosen("p", "1", {}), json);
  EXPECT_EQ(chosen("p", "1", {"cbor"}), json);
  // Whose MessagePack cannot always be read.
  EXPECT_EQ(chosen("zentinel-proxy", "0.6.20", {"msgpack", "json"}), json);
  EXPECT_EQ(chosen("sentinel-proxy", "0.4.14", {"msgpack", "json"}), json);
  EXPECT_EQ(chosen("zentinel-proxy", "0.6.45", {"msgpack", "json"}), msgpack);
  EXPECT_EQ(chosen("zentinel-proxy", "1.0.0", {"msgpack", "json"}), msgpack);
  AgentServerOptions without = options();
  without.msgpack = false;
  agent::HandshakeRequest request = hello();
  request.supported_encodings = {"msgpack", "json"};
  EXPECT_EQ(connector::internal::negotiate(request, without, true).encoding, json);
}

TEST_F(AgentServerTest, Handshake_Silence_EndsTheStream) {
  start();
  const auto proxy = dial();
  run();
  advance(10s - 1ms);
  EXPECT_FALSE(proxy->closed());
  advance(1ms);
  ASSERT_TRUE(proxy->closed());
  const auto refused = events<ProxyRefused>();
  ASSERT_THAT(refused, SizeIs(1));
  EXPECT_TRUE(refused[0].error.is(errc::timed_out));
}

TEST_F(AgentServerTest, Handshake_Missing_IsAViolation) {
  start();
  const auto proxy = dial();
  say(*proxy, headers("c1"));
  ASSERT_TRUE(proxy->closed());
  const auto refused = events<ProxyRefused>();
  ASSERT_THAT(refused, SizeIs(1));
  EXPECT_TRUE(refused[0].error.is(errc::protocol_violation));
  EXPECT_THAT(refused[0].error.message, HasSubstr("agent.request_headers before a handshake"));
}

TEST_F(AgentServerTest, Ping_BeforeTheHandshake_IsAnswered) {
  start();
  const auto proxy = dial();
  for (std::uint64_t i = 1; i <= 3; ++i) {
    say(*proxy, agent::Ping{i, 5});
    EXPECT_EQ(proxy->next<agent::Pong>(), (agent::Pong{i, 5, 0}));
  }
  say(*proxy, hello());
  EXPECT_TRUE(proxy->next<agent::HandshakeResponse>()->success);
}

TEST_F(AgentServerTest, Handshake_WithConfiguration_AsksTheHandlerFirst) {
  start();
  const auto proxy = dial();
  agent::HandshakeRequest request = hello();
  request.config_json = R"("wait")";
  say(*proxy, request);
  EXPECT_FALSE(proxy->next<agent::HandshakeResponse>());
  handler->release("configure");
  run();
  EXPECT_TRUE(proxy->next<agent::HandshakeResponse>()->success);

  const auto other = dial();
  request.config_json = R"("bad")";
  say(*other, request);
  const auto refusal = other->next<agent::HandshakeResponse>();
  EXPECT_FALSE(refusal->success);
  EXPECT_EQ(refusal->error, "Configuration rejected: no such rule");
  EXPECT_TRUE(other->closed());
}

TEST_F(AgentServerTest, Handshake_Again_IsAViolation) {
  start();
  const auto proxy = connect();
  say(*proxy, hello());
  EXPECT_TRUE(proxy->closed());
  EXPECT_THAT(events<ProxyDisconnected>(), SizeIs(1));
}

// Events and answers.

TEST_F(AgentServerTest, EveryEvent_OnEveryWire_GetsOneAnswerWithItsId) {
  for (const AgentWire wire : {AgentWire::protobuf, AgentWire::json, AgentWire::msgpack}) {
    start(wire == AgentWire::protobuf ? AgentCarrier::grpc : AgentCarrier::uds);
    const auto proxy = connect(wire);
    proxy->use(wire);
    proxy->send(headers("h"));
    proxy->send(chunk("b", 0));
    proxy->send(agent::ResponseHeaders{.correlation_id = "rh", .status = 200});
    proxy->send(agent::ResponseBodyChunk{.correlation_id = "rb", .data = "x"});
    proxy->send(agent::RequestComplete{.correlation_id = "done", .status = 200});
    proxy->send(agent::WebSocketFrame{.correlation_id = "ws"});
    proxy->send(agent::GuardrailInspect{.correlation_id = "g", .content = "text"});
    run();
    EXPECT_THAT(proxy->answered(), ElementsAre("h", "b", "rh", "rb", "done", "ws", "g"));
    EXPECT_EQ(handler->last_proxy.proxy_id, "proxy");
    close_server();
  }
}

TEST_F(AgentServerTest, DifferentIds_RunAtOnce_AndAnswerWhenTheyAreReady) {
  start();
  const auto proxy = connect();
  proxy->send(headers("slow", {{"wait", ""}}));
  proxy->send(headers("quick"));
  run();
  EXPECT_THAT(proxy->answered(), ElementsAre("quick"));
  handler->release("slow");
  run();
  EXPECT_THAT(proxy->answered(), ElementsAre("slow"));
}

TEST_F(AgentServerTest, SameId_IsAnsweredInOrder) {
  start();
  const auto proxy = connect();
  proxy->send(headers("c", {{"wait", ""}}));
  proxy->send(chunk("c", 0));
  proxy->send(chunk("c", 1));
  run();
  EXPECT_THAT(handler->take(), ElementsAre("headers c")) << "the chunks wait for their turn";
  handler->release("c");
  run();
  EXPECT_THAT(handler->take(), ElementsAre("chunk c 0", "chunk c 1"));
  const auto answers = proxy->all<agent::AgentResponse>();
  ASSERT_THAT(answers, SizeIs(3));
  EXPECT_FALSE(answers[0].needs_more);
  EXPECT_TRUE(answers[1].needs_more && answers[2].needs_more);
}

TEST_F(AgentServerTest, Concurrency_HasALimit) {
  AgentServerOptions with = options();
  with.max_concurrent = 2;
  start(with);
  const auto proxy = connect();
  for (const char* id : {"a", "b", "c"})
    proxy->send(headers(id, {{"wait", ""}}));
  run();
  EXPECT_THAT(handler->take(), ElementsAre("headers a", "headers b"));
  handler->release("b");
  run();
  EXPECT_THAT(handler->take(), ElementsAre("headers c"));
  EXPECT_THAT(proxy->answered(), ElementsAre("b"));
}

TEST_F(AgentServerTest, Answer_TellsOutcomeAndTime) {
  start(AgentCarrier::grpc);
  const auto proxy = connect(AgentWire::protobuf);
  proxy->send(headers("c", {{"wait", ""}}));
  run();
  advance(30ms);
  handler->release("c");
  run();
  const auto response = proxy->next<agent::AgentResponse>();
  ASSERT_TRUE(response);
  EXPECT_EQ(response->processing_time_ms, 30U);
  const auto answered = events<AgentAnswered>();
  ASSERT_THAT(answered, SizeIs(1));
  EXPECT_EQ(answered[0].correlation_id, "c");
  EXPECT_EQ(answered[0].event, agent::RequestHeaders::event_name);
  EXPECT_EQ(answered[0].outcome, AgentOutcome::blocked);
  EXPECT_EQ(answered[0].duration, Duration(30ms));
}

// What goes wrong in handlers.

TEST_F(AgentServerTest, Handler_Throws_FailsClosed) {
  start();
  const auto proxy = connect();
  say(*proxy, headers("a", {{"throw", ""}}));
  say(*proxy, headers("b", {{"throw-int", ""}}));
  for (const auto& response : proxy->all<agent::AgentResponse>()) {
    EXPECT_EQ(blocked_with(response), 500);
    EXPECT_THAT(response.audit.reason_codes, ElementsAre("handler_failed"));
  }
  const auto answered = events<AgentAnswered>();
  ASSERT_THAT(answered, SizeIs(2));
  EXPECT_EQ(answered[0].outcome, AgentOutcome::failed);
  EXPECT_EQ(answered[0].error.message, "the handler threw: no idea");
  EXPECT_EQ(answered[1].error.message, "the handler threw something that is no std::exception");
}

TEST_F(AgentServerTest, Handler_Throws_FailsOpenWhereThatIsWanted) {
  AgentServerOptions with = options();
  with.fail_mode = AgentFailMode::open;
  start(with);
  const auto proxy = connect();
  say(*proxy, headers("a", {{"throw", ""}}));
  const auto response = proxy->next<agent::AgentResponse>();
  EXPECT_TRUE(is_allow(*response));
  EXPECT_THAT(response->audit.reason_codes, ElementsAre("handler_failed"));
}

TEST_F(AgentServerTest, Handler_AnswerThatDoesNotFitOrEncode_FailsAlone) {
  start();
  const auto proxy = connect();
  say(*proxy, headers("big", {{"big", ""}}));
  say(*proxy, headers("json", {{"bad-json", ""}}));
  say(*proxy, headers("fine"));
  const auto answers = proxy->all<agent::AgentResponse>();
  ASSERT_THAT(answers, SizeIs(3));
  EXPECT_THAT(answers[0].audit.reason_codes, ElementsAre("message_too_large"));
  EXPECT_THAT(answers[1].audit.reason_codes, ElementsAre("serialization_failed"));
  EXPECT_TRUE(is_allow(answers[2]));
}

TEST_F(AgentServerTest, Handler_TooSlow_IsAnsweredAtTheDeadline_AndCancelled) {
  start();
  const auto proxy = connect();
  proxy->send(headers("c", {{"wait", ""}}));
  run();
  advance(1s);
  proxy->send(chunk("c", 0));
  run();
  advance(4s - 1ms);
  EXPECT_THAT(proxy->answered(), IsEmpty());
  handler->take();
  advance(1ms);
  const auto answers = proxy->all<agent::AgentResponse>();
  ASSERT_THAT(answers, SizeIs(2));
  EXPECT_EQ(blocked_with(answers[0]), 500);
  EXPECT_THAT(answers[0].audit.reason_codes, ElementsAre("timed_out"));
  EXPECT_TRUE(is_allow(answers[1])) << "it came later, and has time left";
  EXPECT_THAT(handler->take(), ElementsAre("aborted c", "chunk c 0")) << "which it had to wait for";
}

TEST_F(AgentServerTest, BrokenEvent_FailsAlone_InItsTurn) {
  start();
  const auto proxy = connect();
  proxy->send(headers("c", {{"wait", ""}}));
  EXPECT_EQ(proxy->link().send("\x12"
                               R"({"correlation_id":"c","status":"?","headers":{}})"),
            transport::SendStatus::queued);
  proxy->send(headers("other"));
  run();
  EXPECT_THAT(proxy->answered(), ElementsAre("other"));
  handler->release("c");
  run();
  const auto answers = proxy->all<agent::AgentResponse>();
  ASSERT_THAT(answers, SizeIs(2));
  EXPECT_EQ(blocked_with(answers[0]), 403);
  EXPECT_EQ(blocked_with(answers[1]), 500) << "never taken for an allow";
  EXPECT_THAT(answers[1].audit.reason_codes, ElementsAre("malformed_frame"));
}

TEST_F(AgentServerTest, BrokenFrame_EndsThatConnectionOnly) {
  start();
  const auto proxy = connect();
  const auto other = connect();
  proxy->link().send("\x12{");
  run();
  EXPECT_TRUE(proxy->closed());
  say(*other, headers("a"));
  EXPECT_THAT(other->answered(), ElementsAre("a"));
}

TEST_F(AgentServerTest, UnknownAndBrokenReports_AreSkipped) {
  start();
  const auto proxy = connect();
  proxy->link().send("\x7fwhatever");
  proxy->link().send("\x40{}");
  say(*proxy, headers("a"));
  EXPECT_THAT(proxy->answered(), ElementsAre("a"));
}

// Cancel.

TEST_F(AgentServerTest, Cancel_EndsHandlers_AndAnswersInTheirPlace) {
  start();
  const auto proxy = connect();
  proxy->send(headers("c", {{"wait", ""}}));
  proxy->send(chunk("c", 0));
  proxy->send(headers("other", {{"wait", ""}}));
  run();
  handler->take();
  say(*proxy, agent::Cancel{.correlation_id = "c", .reason = agent::CancelReason::timeout});
  EXPECT_THAT(handler->take(), UnorderedElementsAre("cancel c", "aborted c"));
  const auto answers = proxy->all<agent::AgentResponse>();
  ASSERT_THAT(answers, SizeIs(2)) << "what waited, too";
  for (const agent::AgentResponse& each : answers) {
    EXPECT_EQ(each.correlation_id, "c");
    EXPECT_EQ(blocked_with(each), 500);
    EXPECT_THAT(each.audit.reason_codes, ElementsAre("cancelled"));
  }
  handler->release("other");
  run();
  EXPECT_THAT(proxy->answered(), ElementsAre("other"));
  std::size_t dropped = 0;
  for (const AgentAnswered& each : events<AgentAnswered>())
    dropped += each.outcome == AgentOutcome::dropped ? 1 : 0;
  EXPECT_EQ(dropped, 2U);
  // The id is free for a new request.
  say(*proxy, headers("c"));
  EXPECT_THAT(proxy->answered(), ElementsAre("c"));
}

TEST_F(AgentServerTest, Cancel_OfAnIdUnknownHere_ReachesTheHandler) {
  start();
  const auto proxy = connect();
  say(*proxy, agent::Cancel{.correlation_id = "elsewhere"});
  EXPECT_THAT(handler->take(), ElementsAre("cancel elsewhere"));
}

TEST_F(AgentServerTest, ProxyGone_CancelsItsHandlers) {
  start();
  const auto proxy = connect();
  say(*proxy, headers("c", {{"wait", ""}}));
  proxy->link().cancel(Error(errc::cancelled, "bye"));
  run();
  EXPECT_THAT(handler->take(), ElementsAre("headers c", "aborted c"));
  EXPECT_THAT(events<ProxyDisconnected>(), SizeIs(1));
  EXPECT_EQ(server->connection_count(), 0U);
}

// Configurations.

TEST_F(AgentServerTest, Configure_OnUnixSockets_IsAnswered) {
  start();
  const auto proxy = connect();
  say(*proxy, agent::Configure{.correlation_id = "conf-1", .config_json = "{}"});
  say(*proxy, agent::Configure{.correlation_id = "conf-2", .config_json = R"("bad")"});
  say(*proxy, agent::Configure{.correlation_id = "conf-3", .config_json = R"("throw")"});
  const auto answers = proxy->all<agent::AgentResponse>();
  ASSERT_THAT(answers, SizeIs(3));
  EXPECT_TRUE(is_allow(answers[0]));
  EXPECT_EQ(answers[0].correlation_id, "conf-1");
  EXPECT_EQ(blocked_with(answers[1]), 500);
  EXPECT_EQ(std::get<agent::Block>(answers[1].decision).body, "Configuration rejected");
  EXPECT_EQ(blocked_with(answers[2]), 500);
  EXPECT_FALSE(proxy->closed());
}

TEST_F(AgentServerTest, Configure_OnGrpc_IsAppliedBeforeThePong) {
  start(AgentCarrier::grpc);
  const auto proxy = connect(AgentWire::protobuf);
  proxy->send(agent::Configure{.config_json = R"("wait")"});
  proxy->send(agent::Ping{1, 2});
  proxy->send(headers("after"));
  run();
  EXPECT_FALSE(proxy->next<agent::Pong>());
  EXPECT_THAT(handler->take(), ElementsAre("configure \"wait\"")) << "what came behind it waits";
  handler->release("configure");
  run();
  EXPECT_EQ(proxy->next<agent::Pong>()->sequence, 1U);
  EXPECT_THAT(handler->take(), ElementsAre("headers after"));

  say(*proxy, agent::Configure{.config_json = R"("bad")"});
  ASSERT_TRUE(proxy->closed()) << "its only way to say no";
}

TEST_F(AgentServerTest, Configure_TooSlow_IsRefused) {
  start();
  const auto proxy = connect();
  say(*proxy, agent::Configure{.correlation_id = "conf", .config_json = R"("wait")"});
  advance(1s);
  say(*proxy, headers("a"));
  advance(4s);
  EXPECT_THAT(proxy->answered(), ElementsAre("conf", "a"));
  EXPECT_THAT(handler->take(), UnorderedElementsAre("configure \"wait\"", "headers a", "aborted configure"));
}

// Flow.

TEST_F(AgentServerTest, LongLine_PausesTheProxy_AndResumesIt) {
  AgentServerOptions with = options();
  with.max_concurrent = 1;
  with.pause_waiting = 4;
  start(with);
  const auto proxy = connect();
  for (int i = 0; i < 5; ++i)
    proxy->send(headers("c" + std::to_string(i), {{"wait", ""}}));
  run();
  EXPECT_EQ(proxy->next<agent::FlowControlSignal>()->action, agent::FlowAction::pause);
  handler->release("c0");
  run();
  EXPECT_FALSE(proxy->next<agent::FlowControlSignal>()) << "not at the first place that is free";
  handler->release("c1");
  run();
  EXPECT_EQ(proxy->next<agent::FlowControlSignal>()->action, agent::FlowAction::resume);
}

TEST_F(AgentServerTest, SetPaused_TellsAllProxies_LateOnesToo) {
  start();
  const auto first = connect();
  server->set_paused(true);
  run();
  EXPECT_EQ(first->next<agent::FlowControlSignal>()->action, agent::FlowAction::pause);
  const auto second = connect();
  run();
  EXPECT_EQ(second->next<agent::FlowControlSignal>()->action, agent::FlowAction::pause);
  server->set_paused(false);
  run();
  EXPECT_EQ(first->next<agent::FlowControlSignal>()->action, agent::FlowAction::resume);
  say(*first, headers("all the same"));
  EXPECT_THAT(first->answered(), ElementsAre("all the same"));
}

TEST_F(AgentServerTest, SetPaused_AndALongLine_ResumeOnlyTogether) {
  AgentServerOptions with = options();
  with.max_concurrent = 1;
  with.pause_waiting = 4;
  start(with);
  const auto proxy = connect();
  const auto signals = [&] {
    std::vector<agent::FlowAction> actions;
    for (const agent::FlowControlSignal& each : proxy->all<agent::FlowControlSignal>())
      actions.push_back(each.action);
    return actions;
  };
  const auto fill = [&] {
    for (int i = 0; i < 5; ++i)
      proxy->send(headers("c" + std::to_string(i), {{"wait", ""}}));
    run();
  };
  const auto drain = [&] {
    for (int i = 0; i < 5; ++i)
      handler->release("c" + std::to_string(i));
    run();
  };
  const auto set_paused = [&](bool paused) {
    server->set_paused(paused);
    run();
  };
  fill();
  set_paused(true);
  drain();
  EXPECT_THAT(signals(), ElementsAre(agent::FlowAction::pause)) << "the server is still paused";
  set_paused(false);
  EXPECT_THAT(signals(), ElementsAre(agent::FlowAction::resume));

  set_paused(true);
  fill();
  set_paused(false);
  EXPECT_THAT(signals(), ElementsAre(agent::FlowAction::pause)) << "the line is still long";
  drain();
  EXPECT_THAT(signals(), ElementsAre(agent::FlowAction::resume));
}

TEST_F(AgentServerTest, UnansweredEvents_BeyondTheWindow_AreNotRead) {
  AgentServerOptions with = options();
  with.max_concurrent = 2;
  with.window = {.requests = 4, .controls = 4};
  with.pause_waiting = 0;
  start(with);
  const auto proxy = connect();
  for (int i = 0; i < 20; ++i)
    proxy->send(headers("c" + std::to_string(i), {{"wait", ""}}));
  run();
  EXPECT_THAT(handler->take(), SizeIs(2));
  std::vector<std::string> answered;
  for (int i = 0; i < 20; ++i) {
    handler->release("c" + std::to_string(i));
    run();
    for (const std::string& id : proxy->answered())
      answered.push_back(id);
  }
  EXPECT_THAT(answered, SizeIs(20)) << "none was lost";
}

TEST_F(AgentServerTest, ProxyThatDoesNotRead_IsReadNoFurther) {
  start();
  const auto proxy = connect(AgentWire::json, {1, 1});
  for (int round = 0; round < 40; ++round) {
    for (int i = 0; i < 100; ++i)
      (void)proxy->link().send(transport::encode_agent_message(agent::Ping{1, 1}, AgentWire::json).value());
    run();
  }
  EXPECT_LT(proxy->link().stats().frames_sent, 2000U) << "the rest stays with the proxy";
  proxy->link().grant({0, 100'000});
  run();
  say(*proxy, headers("still served"));
}

TEST_F(AgentServerTest, ProxyThatDoesNotRead_BeforeItsHandshakeToo) {
  start();
  const auto proxy = dial(AgentWire::json, {1, 1});
  run();
  for (int round = 0; round < 40; ++round) {
    for (int i = 0; i < 100; ++i)
      (void)proxy->link().send(transport::encode_agent_message(agent::Ping{1, 1}, AgentWire::json).value());
    run();
  }
  EXPECT_LT(proxy->link().stats().frames_sent, 2000U) << "the rest stays with the proxy";
  proxy->link().grant({100'000, 100'000});
  run();
  say(*proxy, hello());
  const auto response = proxy->next<agent::HandshakeResponse>();
  ASSERT_TRUE(response) << "and goes on when it reads";
  EXPECT_TRUE(response->success);
  say(*proxy, headers("served"));
  EXPECT_THAT(proxy->answered(), ElementsAre("served"));
}

// Reports.

TEST_F(AgentServerTest, Reports_ComeAtTheirIntervals_WhileSomebodyIsThere) {
  AgentServerOptions with = options();
  with.health_interval = 10s;
  with.metrics_interval = 15s;
  start(with);
  EXPECT_EQ(time.pending(), 0U) << "nobody is there";
  const auto proxy = connect();
  say(*proxy, headers("a", {{"x", ""}}));
  advance(10s);
  const auto health = proxy->next<agent::HealthStatus>();
  ASSERT_TRUE(health);
  EXPECT_EQ(health->state, agent::HealthState::degraded);
  EXPECT_EQ(health->agent_id, "sharingbus");
  EXPECT_EQ(health->load->requests_processed, 1U);
  advance(5s);
  const auto metrics = proxy->next<agent::MetricsReport>();
  ASSERT_TRUE(metrics);
  EXPECT_EQ(metrics->interval_ms, 15'000U);
  EXPECT_EQ(metrics->counters.at(0).name, "agent_requests_total");
  EXPECT_EQ(metrics->counters.at(0).value, 1U);
  EXPECT_EQ(metrics->counters.at(1).value, 1U) << "blocked";
  EXPECT_EQ(metrics->histograms.at(0).count, 1U);
  handler->health_throws = true;
  advance(5s);
  EXPECT_EQ(proxy->next<agent::HealthStatus>()->state, agent::HealthState::unhealthy);
  proxy->link().cancel(Error(errc::cancelled, "bye"));
  run();
  advance(30s);
  EXPECT_EQ(time.pending(), 0U);
}

// The way down.

TEST_F(AgentServerTest, Close_AnswersWhatIsThere_ThenFinishes) {
  start();
  const auto proxy = connect();
  say(*proxy, headers("c", {{"wait", ""}}));
  bool done = false;
  server->close(30s, [&done] { done = true; });
  run();
  EXPECT_FALSE(done);
  EXPECT_EQ(proxy->next<agent::HealthStatus>()->state, agent::HealthState::draining);
  EXPECT_EQ(proxy->next<agent::FlowControlSignal>()->action, agent::FlowAction::pause);
  say(*proxy, chunk("c", 0));
  handler->release("c");
  run();
  EXPECT_THAT(proxy->answered(), ElementsAre("c", "c")) << "what still comes is answered, too";
  EXPECT_TRUE(done);
  ASSERT_TRUE(proxy->closed());
  EXPECT_TRUE(proxy->closed()->is(errc::stream_closed)) << "in good order";
  EXPECT_THAT(handler->take(), ElementsAre("headers c", "drain", "chunk c 0"));
}

TEST_F(AgentServerTest, Close_DrainOver_CancelsHandlers) {
  start();
  const auto proxy = connect();
  say(*proxy, headers("c", {{"wait", ""}}));
  bool done = false;
  server->close(2s, [&done] { done = true; });
  run();
  advance(2s);
  EXPECT_TRUE(done);
  EXPECT_THAT(handler->take(), ElementsAre("headers c", "drain", "aborted c"));
  EXPECT_TRUE(proxy->closed());
}

TEST_F(AgentServerTest, Close_Twice_AndDuringTheHandshake) {
  start();
  const auto silent = dial();
  run();
  int done = 0;
  server->close(30s, [&done] { ++done; });
  server->close(0s, [&done] { ++done; });
  run();
  EXPECT_EQ(done, 2);
  EXPECT_TRUE(silent->closed());
  EXPECT_FALSE(server->serve(network.make_listener("x", server->make_listener_options(AgentCarrier::uds))));
}

/// A listener that does something when it is told to stop accepting.
class EagerListener final : public transport::Listener {
 public:
  EagerListener(std::unique_ptr<transport::Listener> listener, std::function<void()> on_stop)
      : listener_(std::move(listener)), on_stop_(std::move(on_stop)) {}

  Result<transport::Endpoint> listen() override { return listener_->listen(); }
  [[nodiscard]] std::uint64_t id() const noexcept override { return listener_->id(); }
  void stop_accepting() override {
    listener_->stop_accepting();
    on_stop_();
  }
  void close(std::function<void()> done) override { listener_->close(std::move(done)); }
  [[nodiscard]] std::size_t link_count() const override { return listener_->link_count(); }

 private:
  const std::unique_ptr<transport::Listener> listener_;
  const std::function<void()> on_stop_;
};

TEST_F(AgentServerTest, Close_WithoutADrain_WhileAnotherBegins) {
  start();
  int done = 0;
  handler->drain_waits = true;
  auto listener = network.make_listener("eager", server->make_listener_options(AgentCarrier::uds));
  // What another thread may do just then.
  ASSERT_TRUE(server->serve(std::make_unique<EagerListener>(std::move(listener), [&] {
    server->close(0s, [&done] { ++done; });
    io.poll();
  })));
  const auto proxy = connect();
  say(*proxy, headers("c", {{"wait", ""}}));
  server->close(1h, [&done] { ++done; });
  run();
  EXPECT_EQ(done, 2) << "the earliest end of a drain counts, for the handler's too";
  EXPECT_TRUE(proxy->closed());
}

TEST_F(AgentServerTest, Destroyed_WithoutClose_TouchesNothingAfterwards) {
  start();
  const auto proxy = connect();
  say(*proxy, headers("c", {{"wait", ""}}));
  server.reset();
  run();
  EXPECT_TRUE(proxy->closed());
}

TEST_F(AgentServerTest, Connections_HaveALimit) {
  AgentServerOptions with = options();
  with.max_connections = 1;
  start(with);
  const auto first = connect();
  const auto second = dial();
  run();
  EXPECT_TRUE(second->closed());
  EXPECT_FALSE(first->closed());
}

TEST_F(AgentServerTest, Options_NameTheField) {
  const auto error = [this](auto change) {
    AgentServerOptions with = options();
    change(with);
    return to_string(with.validate().error());
  };
  EXPECT_TRUE(options().validate().has_value());
  EXPECT_THAT(error([](auto& o) { o.capabilities.agent_id.clear(); }), HasSubstr("capabilities.agent_id"));
  EXPECT_THAT(error([](auto& o) { o.processing_timeout = {}; }), HasSubstr("processing_timeout"));
  EXPECT_THAT(error([](auto& o) { o.handshake_timeout = {}; }), HasSubstr("handshake_timeout"));
  EXPECT_THAT(error([](auto& o) { o.max_concurrent = 0; }), HasSubstr("max_concurrent"));
  EXPECT_THAT(error([](auto& o) { o.window.requests = 100; }), HasSubstr("window.requests"));
  EXPECT_THAT(error([](auto& o) { o.window.controls = 0; }), HasSubstr("window.controls"));
  EXPECT_THAT(error([](auto& o) { o.pause_waiting = 256; }), HasSubstr("pause_waiting"));
  EXPECT_THAT(error([](auto& o) { o.max_connections = 0; }), HasSubstr("max_connections"));
  EXPECT_THAT(error([](auto& o) { o.health_interval = -1s; }), HasSubstr("health_interval"));
  connector::ReverseOptions reverse;
  EXPECT_TRUE(reverse.validate().has_value());
  reverse.metadata_json = "{";
  EXPECT_THAT(to_string(reverse.validate().error()), HasSubstr("metadata_json"));
}

}  // namespace
}  // namespace sharingbus::test

// Spec 4: agents, calls, selection, affinity, health, maintenance and shutdown of the pool.

#include "tests/connector/agent/pool_world.hpp"

namespace sharingbus::test {
namespace {

using namespace connector;

class AgentPoolTest : public PoolWorld {};

TEST_F(AgentPoolTest, Constructing_StartsNothingAndNeedsNoExecutor) {
  start({});
  EXPECT_TRUE(pool->agent_ids().empty());
  EXPECT_FALSE(pool->is_agent_healthy("waf"));
  EXPECT_EQ(pool->agent_stats("waf"), std::nullopt);
  EXPECT_EQ(pool->agent_capabilities("waf"), std::nullopt);
  EXPECT_FALSE(pool->has_sticky_session("s"));
  EXPECT_FALSE(pool->clear_sticky_session("s"));
  EXPECT_EQ(pool->sticky_session_count(), 0U);
  EXPECT_EQ(pool->cleanup_expired_sessions(), 0U);
  EXPECT_EQ(pool->clear_correlation_affinity("c"), 0U);
  EXPECT_EQ(pool->correlation_affinity_count(), 0U);
  EXPECT_EQ(pool->total_requests(), 0U);
  EXPECT_EQ(pool->total_errors(), 0U);
  EXPECT_EQ(time.pending(), 0U);
  EXPECT_EQ(io.poll(), 0U);
}

TEST(AgentPoolOptionsTest, Defaults_AreTheSpecs) {
  const AgentPoolOptions options;
  EXPECT_EQ(options.connections_per_agent, 4U);
  EXPECT_EQ(options.calls_in_a_row, 1U);
  EXPECT_EQ(options.strategy, BalanceStrategy::round_robin);
  EXPECT_EQ(options.connect_timeout, 5s);
  EXPECT_EQ(options.request_timeout, 30s);
  EXPECT_EQ(options.reconnect_interval, 5s);
  EXPECT_EQ(options.max_reconnect_attempts, 3U);
  EXPECT_EQ(options.drain_timeout, 30s);
  EXPECT_EQ(options.max_concurrent_per_connection, 100U);
  EXPECT_EQ(options.health_check_interval, 10s);
  EXPECT_EQ(options.channel_buffer, 64U);
  EXPECT_EQ(options.flow_control, FlowControlMode::fail_closed);
  EXPECT_EQ(options.flow_control_wait, 100ms);
  EXPECT_EQ(options.sticky_session_timeout, std::optional<Duration>(5min));
  EXPECT_TRUE(options.validate());
}

TEST(AgentPoolOptionsTest, BadOnes_AreRefusedByName) {
  const auto names = [](AgentPoolOptions options, const std::string& field) {
    const auto valid = options.validate();
    return !valid && valid.error().message.find(field) != std::string::npos;
  };
  EXPECT_TRUE(names({.connections_per_agent = 0}, "connections_per_agent"));
  EXPECT_TRUE(names({.calls_in_a_row = 0}, "calls_in_a_row"));
  EXPECT_TRUE(names({.request_timeout = 0s}, "request_timeout"));
  EXPECT_TRUE(names({.reconnect_interval = 5s, .reconnect_interval_max = 1s}, "reconnect_interval_max"));
  EXPECT_TRUE(names({.channel_buffer = 0}, "channel_buffer"));
  EXPECT_TRUE(names({.encodings = {"xml"}}, "encodings"));
  EXPECT_TRUE(names({.circuit_breaker = {.failures = 0}}, "circuit_breaker.failures"));
  EXPECT_TRUE(names({.metrics = {.max_series = 0}}, "metrics.max_series"));
}

TEST(AgentEndpointTest, TheRuleOfTheSpec) {
  using transport::AgentCarrier;
  struct Row {
    const char* text;
    AgentCarrier carrier;
    const char* endpoint;
  };
  for (const Row& row :
       {Row{"unix:/run/a.sock", AgentCarrier::uds, "unix:/run/a.sock"},
        Row{"/run/agent", AgentCarrier::uds, "unix:/run/agent"},
        Row{"agent.sock", AgentCarrier::uds, "unix:agent.sock"},
        Row{"unix:relative", AgentCarrier::uds, "unix:relative"},
        Row{"http://localhost:50051", AgentCarrier::grpc, "grpc://localhost:50051"},
        Row{"https://a:443", AgentCarrier::grpc, "grpcs://a:443"}, Row{"grpc://a:1", AgentCarrier::grpc, "grpc://a:1"},
        Row{"localhost:50051", AgentCarrier::grpc, "grpc://localhost:50051"}}) {
    const auto parsed = parse_agent_endpoint(row.text);
    ASSERT_TRUE(parsed) << row.text;
    EXPECT_EQ(parsed->carrier, row.carrier) << row.text;
    EXPECT_EQ(to_string(parsed->endpoint), row.endpoint);
  }
  EXPECT_FALSE(parse_agent_endpoint("ws://a:1"));
  EXPECT_FALSE(parse_agent_endpoint(""));
}

TEST_F(AgentPoolTest, AddAgent_OpensTheConfiguredConnectionsAndKeepsItsCapabilities) {
  auto& waf = agent("waf.sock");
  start(small(3));
  EXPECT_FALSE(add("waf", "waf.sock"));
  EXPECT_EQ(waf.open_sessions(), 3U);
  EXPECT_EQ(pool->agent_ids(), std::vector<std::string>{"waf"});
  EXPECT_TRUE(pool->is_agent_healthy("waf"));
  EXPECT_EQ(pool->agent_capabilities("waf")->name, "script");
  const auto stats = pool->agent_stats("waf").value();
  EXPECT_EQ(stats.active_connections, 3U);
  EXPECT_EQ(stats.healthy_connections, 3U);
  EXPECT_EQ(stats.in_flight, 0U);
  EXPECT_EQ(stats.error_rate, 0);
  EXPECT_TRUE(stats.healthy);
  EXPECT_EQ(waf.session(0).hello->supported_versions, std::vector<std::uint32_t>{2});
  EXPECT_EQ(waf.session(0).hello->supported_encodings, std::vector<std::string>{"json"});
  ASSERT_EQ(events<AgentAdded>().size(), 1U);
  EXPECT_EQ(events<AgentConnectionUp>().size(), 3U);
}

TEST_F(AgentPoolTest, EveryKindOfEvent_IsAnswered) {
  for (const auto carrier : {transport::AgentCarrier::uds, transport::AgentCarrier::grpc}) {
    const bool uds = carrier == transport::AgentCarrier::uds;
    auto& waf = agent(uds ? "waf.sock" : "waf", carrier);
    start(small(2));
    ASSERT_FALSE(add("waf", uds ? "waf.sock" : "waf:1"));
    std::vector<OutcomePtr> outcomes = {headers("waf", "c"), chunk("waf", "c"), response("waf", "c"),
                                        response_chunk("waf", "c", true)};
    run();
    const auto other = [&] { return outcomes.emplace_back(std::make_shared<CallOutcome>()); };
    messages::WebSocketFrame frame;
    pool->send_websocket_frame("waf", "w", frame, token(other()));
    messages::GuardrailInspect guardrail;
    pool->send_guardrail_inspect("waf", "g", guardrail, token(other()));
    messages::RequestComplete complete;
    pool->send_request_complete("waf", "w", complete, token(other()));
    run();
    for (const auto& outcome : outcomes)
      EXPECT_TRUE(outcome->allowed()) << outcome->error.message;
    EXPECT_EQ(waf.events(), 7U);
    EXPECT_EQ(pool->total_requests(), 7U);
    EXPECT_EQ(pool->total_errors(), 0U);
    EXPECT_EQ(pool->protocol_metrics().responses.load(), 7U);
    EXPECT_EQ(pool->protocol_metrics().request_duration.count(), 7U);
    EXPECT_EQ(pool->agent_stats("waf")->requests, 7U);
    pool.reset();
    run();
  }
}

TEST_F(AgentPoolTest, Decisions_ComeAsTheAgentMadeThem) {
  auto& waf = agent("waf.sock");
  waf.on_event = [](const auto& seen) { return ScriptAgent::block(seen.correlation_id, 418); };
  start(small());
  ASSERT_FALSE(add("waf", "waf.sock"));
  const auto outcome = headers("waf", "c");
  run();
  ASSERT_EQ(outcome->calls, 1);
  EXPECT_TRUE(outcome->reply.from_agent());
  EXPECT_EQ(std::get<messages::Block>(outcome->reply->decision).status, 418);
}

TEST_F(AgentPoolTest, SelectionErrors_AreDistinct) {
  auto& waf = agent("waf.sock");
  start(small(1));
  const auto unknown = headers("nobody", "c");
  run();
  EXPECT_EQ(unknown->reply.failure, PoolFailure::unknown_agent);
  EXPECT_TRUE(unknown->error.is(errc::not_found));
  ASSERT_FALSE(add("waf", "waf.sock"));
  waf.on_event = [](const auto&) { return std::nullopt; };
  for (int i = 0; i < 3; ++i)
    headers("waf", "t" + std::to_string(i));
  run();
  advance(30s);
  const auto unhealthy = headers("waf", "c");
  run();
  EXPECT_EQ(unhealthy->reply.failure, PoolFailure::no_healthy_connections);
  EXPECT_TRUE(unhealthy->error.is(errc::stream_failed));
  waf.kill();
  run();
  const auto none = headers("waf", "c");
  run();
  EXPECT_EQ(none->reply.failure, PoolFailure::no_connections);
  EXPECT_TRUE(none->error.is(errc::connection_refused));
  EXPECT_EQ(pool->protocol_metrics().in_flight.load(), 0);
}

TEST_F(AgentPoolTest, Affinity_AllEventsOfARequestGoToOneConnection) {
  auto& waf = agent("waf.sock");
  start(small(4));
  ASSERT_FALSE(add("waf", "waf.sock"));
  for (int i = 0; i < 8; ++i) {
    const std::string id = "c" + std::to_string(i);
    headers("waf", id);
    run();
    EXPECT_EQ(pool->correlation_affinity_count(), 1U);
    chunk("waf", id);
    chunk("waf", id, true);
    run();
    response("waf", id);
    response_chunk("waf", id, false);
    run();
    EXPECT_EQ(pool->correlation_affinity_count(), 1U) << "it survives the answers";
    response_chunk("waf", id, true);
    run();
    EXPECT_EQ(pool->correlation_affinity_count(), 0U) << "the last response chunk ends it";
    ASSERT_NE(waf.holder(id), nullptr) << id << " was torn apart";
  }
  EXPECT_EQ(waf.session(0).seen.size(), 12U) << "round robin";
}

TEST_F(AgentPoolTest, RequestComplete_EndsTheAffinity) {
  agent("waf.sock");
  start(small());
  ASSERT_FALSE(add("waf", "waf.sock"));
  headers("waf", "c");
  run();
  EXPECT_EQ(pool->correlation_affinity_count(), 1U);
  const auto outcome = std::make_shared<CallOutcome>();
  pool->send_request_complete("waf", "c", messages::RequestComplete{}, token(outcome));
  run();
  EXPECT_TRUE(outcome->allowed());
  EXPECT_EQ(pool->correlation_affinity_count(), 0U);
}

TEST_F(AgentPoolTest, Concurrency_TheRestWaitTheirTurn) {
  auto& waf = agent("waf.sock");
  std::vector<std::string> held;
  waf.on_event = [&](const auto& seen) {
    held.push_back(seen.correlation_id);
    return std::nullopt;
  };
  auto options = small(1);
  options.max_concurrent_per_connection = 2;
  start(options);
  ASSERT_FALSE(add("waf", "waf.sock"));
  std::vector<OutcomePtr> outcomes;
  for (int i = 0; i < 5; ++i)
    outcomes.push_back(headers("waf", "c" + std::to_string(i)));
  run();
  EXPECT_EQ(held, (std::vector<std::string>{"c0", "c1"}));
  EXPECT_EQ(pool->agent_stats("waf")->in_flight, 5U);
  while (!held.empty()) {
    const std::string id = held.front();
    held.erase(held.begin());
    waf.send(waf.session(0), ScriptAgent::allow(id));
    run();
    EXPECT_LE(held.size(), 2U);
  }
  for (const auto& outcome : outcomes)
    EXPECT_TRUE(outcome->allowed());
}

TEST_F(AgentPoolTest, StickySession_UsesItsConnectionAndSaysSo) {
  auto& waf = agent("waf.sock");
  start(small(4));
  EXPECT_TRUE(pool->create_sticky_session("s", "waf").error().is(errc::not_found));
  ASSERT_FALSE(add("waf", "waf.sock"));
  EXPECT_TRUE(pool->create_sticky_session("s", "waf"));
  EXPECT_TRUE(pool->has_sticky_session("s"));
  EXPECT_TRUE(pool->refresh_sticky_session("s"));
  EXPECT_EQ(pool->sticky_session_agent("s"), "waf");
  EXPECT_EQ(pool->sticky_session_count(), 1U);
  for (int i = 0; i < 6; ++i) {
    const auto outcome = headers("waf", "c" + std::to_string(i), {.session = "s"});
    run();
    EXPECT_TRUE(outcome->reply.session_used);
  }
  std::size_t used = 0;
  for (const auto& session : waf.sessions())
    used += session->seen.empty() ? 0 : 1;
  EXPECT_EQ(used, 1U);
  const auto unknown = headers("waf", "u", {.session = "other"});
  run();
  EXPECT_TRUE(unknown->allowed());
  EXPECT_FALSE(unknown->reply.session_used);
  EXPECT_TRUE(pool->clear_sticky_session("s"));
}

TEST_F(AgentPoolTest, StickySession_ExpiresByLastUseAndMaintenanceCollectsIt) {
  agent("waf.sock");
  start(small());
  ASSERT_FALSE(add("waf", "waf.sock"));
  ASSERT_TRUE(pool->create_sticky_session("s", "waf"));
  advance(299s);
  EXPECT_TRUE(pool->refresh_sticky_session("s"));
  advance(299s);
  EXPECT_EQ(pool->maintain().sessions_expired, 0U);
  advance(1s);
  EXPECT_EQ(pool->maintain().sessions_expired, 1U);
  EXPECT_EQ(pool->sticky_session_count(), 0U);
}

TEST_F(AgentPoolTest, StickySession_OfAnotherAgentOrADeadConnection_IsBoundAnew) {
  auto& waf = agent("waf.sock");
  agent("auth.sock");
  start(small(2));
  ASSERT_FALSE(add("waf", "waf.sock"));
  ASSERT_FALSE(add("auth", "auth.sock"));
  ASSERT_TRUE(pool->create_sticky_session("s", "waf"));
  const auto other = headers("auth", "c", {.session = "s"});
  run();
  EXPECT_TRUE(other->allowed());
  EXPECT_FALSE(other->reply.session_used);
  EXPECT_EQ(pool->sticky_session_agent("s"), "auth");
  const auto again = headers("auth", "d", {.session = "s"});
  run();
  EXPECT_TRUE(again->reply.session_used);

  ASSERT_TRUE(pool->create_sticky_session("t", "waf"));
  const auto first = headers("waf", "e", {.session = "t"});
  run();
  waf.holder("e")->link->cancel(Error(errc::cancelled, "gone"));
  run();
  const auto moved = headers("waf", "f", {.session = "t"});
  run();
  EXPECT_TRUE(moved->allowed());
  EXPECT_FALSE(moved->reply.session_used);
}

TEST_F(AgentPoolTest, CallCancelled_CompletesAndTellsTheAgent) {
  auto& waf = agent("waf.sock");
  waf.on_event = [](const auto&) { return std::nullopt; };
  start(small(2));
  ASSERT_FALSE(add("waf", "waf.sock"));
  const auto outcome = headers("waf", "c");
  run();
  outcome->cancel.emit(boost::asio::cancellation_type::terminal);
  run();
  ASSERT_EQ(outcome->calls, 1);
  EXPECT_EQ(outcome->reply.failure, PoolFailure::cancelled);
  EXPECT_TRUE(outcome->error.is(errc::cancelled));
  auto* holder = waf.holder("c");
  ASSERT_EQ(holder->cancels.size(), 1U);
  EXPECT_EQ(holder->cancels[0].reason, messages::CancelReason::client_disconnect);
  EXPECT_EQ(pool->correlation_affinity_count(), 0U);
  EXPECT_EQ(pool->agent_stats("waf")->in_flight, 0U);
}

TEST_F(AgentPoolTest, CancelAll_SaysHowMany) {
  auto& waf = agent("waf.sock");
  waf.on_event = [](const auto&) { return std::nullopt; };
  start(small(2));
  ASSERT_FALSE(add("waf", "waf.sock"));
  const auto a = headers("waf", "a");
  const auto b = headers("waf", "b");
  run();
  EXPECT_EQ(pool->cancel_all(messages::CancelReason::proxy_shutdown), 2U);
  run();
  EXPECT_EQ(a->reply.failure, PoolFailure::cancelled);
  EXPECT_EQ(b->reply.failure, PoolFailure::cancelled);
  EXPECT_EQ(waf.session(0).cancels.size() + waf.session(1).cancels.size(), 2U);
}

TEST_F(AgentPoolTest, Reconnect_NotMoreOftenThanTheInterval_AndRecoversByItself) {
  auto& waf = agent("waf.sock");
  start(small(2));
  ASSERT_FALSE(add("waf", "waf.sock"));
  pool->start_maintenance();
  waf.kill();
  run();
  EXPECT_FALSE(pool->is_agent_healthy("waf"));
  EXPECT_EQ(events<AgentUnhealthy>().size(), 1U);
  EXPECT_EQ(events<AgentConnectionDown>().size(), 2U);
  advance(4s);
  EXPECT_EQ(events<AgentConnectFailed>().size(), 0U);
  advance(1s);
  EXPECT_EQ(events<AgentConnectFailed>().size(), 1U);
  ASSERT_TRUE(waf.listen());
  advance(4s);
  EXPECT_FALSE(pool->is_agent_healthy("waf"));
  advance(1s);
  EXPECT_TRUE(pool->is_agent_healthy("waf"));
  EXPECT_EQ(events<AgentRecovered>().size(), 1U);
  EXPECT_EQ(pool->agent_stats("waf")->active_connections, 2U);
  const auto outcome = headers("waf", "c");
  run();
  EXPECT_TRUE(outcome->allowed());
}

TEST_F(AgentPoolTest, WithoutMaintenance_NothingIsReconnected) {
  auto& waf = agent("waf.sock");
  start(small(2));
  ASSERT_FALSE(add("waf", "waf.sock"));
  waf.kill();
  run();
  ASSERT_TRUE(waf.listen());
  advance(10min);
  EXPECT_EQ(pool->agent_stats("waf")->active_connections, 0U);
  EXPECT_EQ(pool->maintain().connections_opened, 2U);
  run();
  EXPECT_EQ(pool->agent_stats("waf")->active_connections, 2U);
}

TEST_F(AgentPoolTest, SomeConnectionsFailing_IsNoError_AndMaintenanceOpensTheRest) {
  auto& waf = agent("waf.sock");
  int handshakes = 0;
  waf.on_handshake = [&](const auto&) {
    auto answer = ScriptAgent::welcome();
    if (++handshakes % 2 == 0) {
      answer.success = false;
      answer.error = "not now";
    }
    return std::optional(answer);
  };
  start(small(4));
  EXPECT_FALSE(add("waf", "waf.sock"));
  EXPECT_EQ(pool->agent_stats("waf")->active_connections, 2U);
  ASSERT_EQ(events<AgentConnectFailed>().size(), 1U);
  EXPECT_NE(events<AgentConnectFailed>()[0].error.message.find("not now"), std::string::npos);
  waf.on_handshake = [](const auto&) { return std::optional(ScriptAgent::welcome()); };
  advance(5s);
  EXPECT_EQ(pool->maintain().connections_opened, 2U);
  run();
  EXPECT_EQ(pool->agent_stats("waf")->active_connections, 4U);
}

TEST_F(AgentPoolTest, AllConnectionsFailing_IsAnErrorAndTheAgentIsNotKept) {
  start(small(2));
  const Error error = add("waf", "waf.sock");
  EXPECT_TRUE(error.is(errc::connection_refused)) << error.message;
  EXPECT_NE(error.message.find("waf"), std::string::npos);
  EXPECT_TRUE(pool->agent_ids().empty());
}

TEST_F(AgentPoolTest, AddAgent_BadArguments_AreRefused) {
  start(small(1));
  EXPECT_TRUE(add("", "waf.sock").is(errc::invalid_argument));
  EXPECT_TRUE(add("waf", "ws://x:1").is(errc::invalid_endpoint));
  refuse_dialer = true;
  EXPECT_TRUE(add("waf", "waf.sock").is(errc::invalid_argument));
}

TEST_F(AgentPoolTest, RemoveAgent_UnknownIsAnError) {
  start(small());
  const auto removed = remove_later("nobody");
  run();
  ASSERT_TRUE(removed->has_value());
  EXPECT_TRUE((*removed)->is(errc::not_found));
}

TEST_F(AgentPoolTest, Close_RefusesNewCallsAndAgents) {
  agent("waf.sock");
  start(small());
  ASSERT_FALSE(add("waf", "waf.sock"));
  bool closed = false;
  pool->async_close([&](const Error&) { closed = true; });
  const auto late = headers("waf", "c");
  run();
  EXPECT_TRUE(closed);
  EXPECT_EQ(late->reply.failure, PoolFailure::closed);
  EXPECT_TRUE(add("waf", "waf.sock").is(errc::closed));
  bool again = false;
  pool->async_close([&](const Error&) { again = true; });
  run();
  EXPECT_TRUE(again) << "idempotent";
}

TEST_F(AgentPoolTest, Destroyed_WithoutClose_CompletesEverythingWithClosed) {
  auto& waf = agent("waf.sock");
  waf.on_event = [](const auto&) { return std::nullopt; };
  start(small());
  ASSERT_FALSE(add("waf", "waf.sock"));
  const auto outcome = headers("waf", "c");
  run();
  const auto adding = add_later("other", "nobody.sock");
  pool.reset();
  run();
  EXPECT_EQ(outcome->calls, 1);
  EXPECT_EQ(outcome->reply.failure, PoolFailure::closed);
  ASSERT_TRUE(adding->has_value());
  EXPECT_TRUE((*adding)->is(errc::closed));
  EXPECT_EQ(waf.open_sessions(), 0U);
}

TEST_F(AgentPoolTest, Destroyed_BetweenTheLastConnectionAndItsDialer_TakesTheDialerAlong) {
  auto& waf = agent("waf.sock");
  start(small(1));
  ASSERT_FALSE(add("waf", "waf.sock"));
  CallbackGroupOptions inline_options;
  inline_options.inside_publish = true;
  CallbackGroup group(bus, io.get_executor(), inline_options);
  const auto down = group.subscribe({.filter = Filter::type<AgentConnectionDown>()}, [&](const Received& item) {
    if (item.event() != nullptr) pool.reset();
  });
  const auto removed = remove_later("waf");
  run();
  EXPECT_FALSE(pool) << "it was destroyed at that point";
  ASSERT_TRUE(removed->has_value());
  EXPECT_TRUE((*removed)->is(errc::closed));
  EXPECT_EQ(waf.open_sessions(), 0U);
}

TEST_F(AgentPoolTest, Prometheus_HasThePoolsOwnMetricsAndTheAgents) {
  auto& waf = agent("waf.sock");
  start(small(1));
  ASSERT_FALSE(add("waf", "waf.sock"));
  headers("waf", "c");
  messages::MetricsReport report;
  report.agent_id = "an impostor";
  report.counters.push_back({"agent_requests_total", {}, {}, 7});
  waf.send(waf.session(0), report);
  run();
  const std::string text = pool->export_prometheus();
  EXPECT_NE(text.find("agent_protocol_requests_total 1\n"), std::string::npos);
  EXPECT_NE(text.find("agent_requests_total{agent_id=\"waf\"} 7\n"), std::string::npos);
}

TEST_F(AgentPoolTest, RemovedAgent_ItsReportsAreForgotten_ThoseItStillSendsToo) {
  auto& waf = agent("waf.sock");
  waf.on_event = [](const auto&) { return std::nullopt; };
  start(small(1));
  ASSERT_FALSE(add("waf", "waf.sock"));
  messages::MetricsReport report;
  report.counters.push_back({"agent_requests_total", {}, {}, 7});
  waf.send(waf.session(0), report);
  const auto outcome = headers("waf", "c");
  run();
  EXPECT_NE(pool->export_prometheus().find("agent_requests_total"), std::string::npos);
  const auto removed = remove_later("waf");
  run();
  EXPECT_FALSE(removed->has_value()) << "it still has a call";
  EXPECT_EQ(pool->export_prometheus().find("agent_requests_total"), std::string::npos);
  waf.send(waf.session(0), report);
  waf.send(waf.session(0), ScriptAgent::allow("c"));
  run();
  EXPECT_TRUE(outcome->allowed());
  EXPECT_TRUE(removed->has_value());
  EXPECT_EQ(pool->export_prometheus().find("agent_requests_total"), std::string::npos);
}

}  // namespace
}  // namespace sharingbus::test

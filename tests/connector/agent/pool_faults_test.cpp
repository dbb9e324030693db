// What agents do wrong, and the policies against it (spec 4, O 10).

#include "tests/connector/agent/pool_world.hpp"

namespace sharingbus::test {
namespace {

using namespace connector;

const auto never = [](const auto&) { return std::optional<messages::AgentResponse>(); };

class PoolFaults : public PoolWorld {
 protected:
  /// An agent with one pool entry, `waf`.
  ScriptAgent& ready(AgentPoolOptions options) {
    auto& waf = agent("waf.sock");
    start(std::move(options));
    EXPECT_FALSE(add("waf", "waf.sock"));
    return waf;
  }
  AgentStats stats() { return pool->agent_stats("waf").value(); }
};

TEST_F(PoolFaults, ConfigAtAdd_GoesInTheHandshakeAndIsAcceptedBeforeUse) {
  auto& waf = agent("waf.sock");
  start(small(2));
  AgentOptions options;
  options.config = AgentConfig{"{\"mode\":1}", "v1"};
  ASSERT_FALSE(add("waf", "waf.sock", options));
  for (const auto& session : waf.sessions()) {
    EXPECT_EQ(session->hello->config_json, "{\"mode\":1}");
    EXPECT_EQ(session->configures.size(), 1U);
  }
  auto& strict = agent("strict.sock");
  strict.on_configure = [](const auto& configure) { return ScriptAgent::block(configure.correlation_id, 500); };
  const Error error = add("strict", "strict.sock", options);
  EXPECT_TRUE(error) << "a connection whose agent refuses its configuration is not used";
}

TEST_F(PoolFaults, ConfigPush_BeyondWhatTheWireCarries_FailsAndIsKeptForNobody) {
  const std::string large = '"' + std::string(5 * 1024 * 1024, 'x') + '"';
  auto& waf = agent("waf", transport::AgentCarrier::grpc);
  start(small(1));
  ASSERT_FALSE(add("waf", "waf:1"));
  const auto id = pool->push_config_to_agent("waf", {large}).value();
  run();
  const auto push = pool->config_push(id);
  EXPECT_EQ(push->status, PushStatus::failed);
  EXPECT_NE(push->error.find("exceeds the limit of 4194304"), std::string::npos) << push->error;
  EXPECT_NE(push->error.find("config_json"), std::string::npos) << push->error;
  EXPECT_EQ(events<AgentConfigPushEnded>().size(), 1U);
  EXPECT_TRUE(waf.session(0).configures.empty());
  // Nor do later connections begin with it.
  pool->start_maintenance();
  waf.session(0).link->cancel(Error(errc::cancelled, "gone"));
  run();
  advance(5s);
  EXPECT_TRUE(pool->is_agent_healthy("waf"));
  EXPECT_EQ(waf.open_sessions(), 1U);
  // A Unix socket carries it.
  auto& other = agent("other.sock");
  ASSERT_FALSE(add("other", "other.sock"));
  const auto fits = pool->push_config_to_agent("other", {large}).value();
  run();
  EXPECT_EQ(pool->config_push(fits)->status, PushStatus::acknowledged);
  EXPECT_EQ(other.session(0).configures.size(), 1U);
}

TEST_F(PoolFaults, ConfigThatFitsInNoHandshake_ComesAfterIt) {
  const std::string just_fits = '"' + std::string(transport::kAgentGrpcMessageBytesMax - 500, 'x') + '"';
  auto options = small(1);
  options.proxy_id.assign(1000, 'p');
  auto& waf = agent("waf", transport::AgentCarrier::grpc);
  start(options);
  ASSERT_FALSE(add("waf", "waf:1"));
  const auto id = pool->push_config_to_agent("waf", {just_fits}).value();
  run();
  ASSERT_EQ(pool->config_push(id)->status, PushStatus::acknowledged);
  pool->start_maintenance();
  waf.session(0).link->cancel(Error(errc::cancelled, "gone"));
  run();
  advance(5s);
  EXPECT_TRUE(pool->is_agent_healthy("waf"));
  ASSERT_EQ(waf.sessions().size(), 2U);
  EXPECT_TRUE(waf.session(1).hello->config_json.empty());
  ASSERT_EQ(waf.session(1).configures.size(), 1U);
  EXPECT_EQ(waf.session(1).configures[0].config_json.size(), just_fits.size());
}

TEST_F(PoolFaults, ConfigAtAdd_BeyondWhatTheWireCarries_IsAnErrorThatNamesIt) {
  agent("waf", transport::AgentCarrier::grpc);
  start(small(1));
  const Error error = add("waf", "waf:1", {.config = AgentConfig{'"' + std::string(5 * 1024 * 1024, 'x') + '"'}});
  EXPECT_TRUE(error.is(errc::message_too_large)) << error.message;
  EXPECT_NE(error.message.find("config_json"), std::string::npos) << error.message;
}

TEST_F(PoolFaults, CancelRequest_ReachesAConnectionThatIsBeingReplaced) {
  auto& waf = ready(small(1));
  waf.on_event = never;
  const auto held = headers("waf", "r1");
  for (int i = 0; i < 3; ++i)
    headers("waf", "late" + std::to_string(i), {.timeout = 1s});
  pool->start_maintenance();
  run();
  advance(1s);
  ASSERT_EQ(events<AgentConnectionUnhealthy>().size(), 1U);
  advance(5s);
  ASSERT_EQ(waf.open_sessions(), 2U) << "the old one still has a call";
  EXPECT_EQ(pool->cancel_request("waf", "r1").value(), 1U);
  run();
  EXPECT_EQ(held->calls, 1);
  EXPECT_EQ(held->reply.failure, PoolFailure::cancelled);
  ASSERT_EQ(waf.session(0).cancels.size(), 4U) << "three timed out";
  EXPECT_EQ(waf.session(0).cancels.back().correlation_id, "r1");
  EXPECT_TRUE(waf.session(1).cancels.empty());
  EXPECT_EQ(waf.open_sessions(), 1U) << "nothing is left for the old one to do";
}

TEST_F(PoolFaults, AnswersTwice_OrToNobody_IsCountedAndHarmless) {
  auto& waf = ready(small(1));
  waf.on_event = [&](const auto& seen) {
    waf.send(waf.session(0), ScriptAgent::block(seen.correlation_id));
    waf.send(waf.session(0), ScriptAgent::allow("nobody"));
    return std::optional(ScriptAgent::allow(seen.correlation_id));
  };
  for (int i = 0; i < 10; ++i) {
    const auto outcome = headers("waf", "c" + std::to_string(i));
    run();
    ASSERT_EQ(outcome->calls, 1);
    EXPECT_TRUE(std::holds_alternative<messages::Block>(outcome->reply->decision)) << "the first one counts";
  }
  EXPECT_EQ(pool->protocol_metrics().late_answers.load(), 20U);
  EXPECT_TRUE(pool->is_agent_healthy("waf"));
}

TEST_F(PoolFaults, Garbage_EndsTheConnectionAndFailsItsCalls) {
  auto& waf = ready(small(2));
  waf.on_event = never;
  const auto a = headers("waf", "a");
  const auto b = headers("waf", "b");
  run();
  waf.holder("a")->link->send("\x20not json");
  run();
  EXPECT_EQ(a->reply.failure, PoolFailure::connection);
  EXPECT_FALSE(b->done()) << "the other connection goes on";
  EXPECT_EQ(stats().active_connections, 1U);
}

TEST_F(PoolFaults, FirstMessageIsNoHandshake_TheConnectionIsNotUsed) {
  auto& waf = agent("waf.sock");
  waf.on_handshake = [&](const auto&) {
    for (const auto& session : waf.sessions())
      waf.send(*session, ScriptAgent::allow("c"));
    return std::nullopt;
  };
  start(small(1));
  EXPECT_TRUE(add("waf", "waf.sock"));
}

TEST_F(PoolFaults, O10_CircuitBreaker_KeepsCallsAwayAndLetsOneTry) {
  auto options = small(2);
  options.circuit_breaker = {.enabled = true, .failures = 2, .successes = 1, .open_for = 30s, .half_open_calls = 1};
  auto& waf = ready(options);
  waf.on_event = never;
  headers("waf", "a", {.timeout = 1s});
  headers("waf", "b", {.timeout = 1s});
  advance(1s);
  const auto away = headers("waf", "c");
  run();
  EXPECT_EQ(away->reply.failure, PoolFailure::circuit_open);
  waf.on_event = [](const auto& seen) { return std::optional(ScriptAgent::allow(seen.correlation_id)); };
  advance(30s);
  const auto trial = headers("waf", "d");
  run();
  EXPECT_TRUE(trial->allowed());
  EXPECT_EQ(stats().circuit, CircuitBreaker::State::closed);
  EXPECT_EQ(events<AgentCircuitChanged>().size(), 3U);
}

TEST_F(PoolFaults, O10_Retry_AsksAnotherConnectionWhenOneIsLost) {
  auto options = small(2);
  options.retry.attempts = 1;
  auto& waf = ready(options);
  waf.on_event = never;
  const auto outcome = headers("waf", "c");
  run();
  auto* first = waf.holder("c");
  waf.on_event = [](const auto& seen) { return std::optional(ScriptAgent::allow(seen.correlation_id)); };
  first->link->cancel(Error(errc::cancelled, "gone"));
  run();
  EXPECT_TRUE(outcome->allowed());
  EXPECT_EQ(pool->protocol_metrics().retries.load(), 1U);
}

TEST_F(PoolFaults, O10_OutlierEjection_TakesAConnectionOutForAWhile) {
  auto options = small(2);
  options.outliers = {.enabled = true, .failures = 1, .ejection = 30s};
  auto& waf = ready(options);
  waf.on_event = never;
  headers("waf", "bad", {.timeout = 1s});
  advance(1s);
  auto* bad = waf.holder("bad");
  waf.on_event = [](const auto& seen) { return std::optional(ScriptAgent::allow(seen.correlation_id)); };
  for (int i = 0; i < 4; ++i)
    headers("waf", "c" + std::to_string(i));
  run();
  EXPECT_EQ(bad->seen.size(), 1U);
  EXPECT_EQ(events<AgentConnectionEjected>().size(), 1U);
  advance(30s);
  pool->maintain();
  run();
  EXPECT_EQ(events<AgentConnectionRestored>().size(), 1U);
  for (int i = 4; i < 8; ++i)
    headers("waf", "c" + std::to_string(i));
  run();
  EXPECT_EQ(bad->seen.size(), 3U);
}

TEST_F(PoolFaults, O10_Hedging_AsksAnotherConnectionWhenTheAnswerTakesTooLong) {
  auto options = small(2);
  options.hedge_after = 50ms;
  auto& waf = ready(options);
  waf.on_event = never;
  const auto outcome = headers("waf", "c");
  const auto body = chunk("waf", "other");
  advance(49ms);
  EXPECT_EQ(waf.events(), 2U);
  advance(1ms);
  EXPECT_EQ(waf.events(), 3U) << "chunks are not asked twice";
  EXPECT_EQ(pool->protocol_metrics().hedges.load(), 1U);
  for (const auto& session : waf.sessions()) {
    ASSERT_EQ(session->count("request_headers"), 1U);
  }
  waf.send(waf.session(1), ScriptAgent::block("c", 401));
  waf.send(waf.session(0), ScriptAgent::block("c", 402));
  run();
  ASSERT_EQ(outcome->calls, 1) << "once, whoever is first";
  EXPECT_TRUE(std::holds_alternative<messages::Block>(outcome->reply->decision));
  EXPECT_EQ(pool->protocol_metrics().late_answers.load(), 1U);
  EXPECT_EQ(stats().in_flight, 1U);
  EXPECT_EQ(waf.session(0).cancels.size() + waf.session(1).cancels.size(), 0U);
}

TEST_F(PoolFaults, O10_Hedging_OneConnectionLost_TheOtherAnswers) {
  auto options = small(2);
  options.hedge_after = 50ms;
  auto& waf = ready(options);
  waf.on_event = never;
  for (const std::size_t lost : {std::size_t{0}, std::size_t{1}}) {
    const std::string id = "c" + std::to_string(lost);
    const auto outcome = headers("waf", id);
    advance(50ms);
    const std::size_t base = waf.sessions().size() - 2;
    waf.session(base + lost).link->cancel(Error(errc::cancelled, "gone"));
    run();
    EXPECT_FALSE(outcome->done());
    waf.send(waf.session(base + 1 - lost), ScriptAgent::allow(id));
    run();
    EXPECT_TRUE(outcome->allowed());
    waf.session(base + 1 - lost).link->cancel(Error(errc::cancelled, "gone"));
    run();
    advance(5s);
    pool->maintain();
    run();
    ASSERT_EQ(stats().active_connections, 2U);
  }
  const auto both = headers("waf", "both");
  const auto never_answered = headers("waf", "never", {.timeout = 1s});
  advance(50ms);
  advance(950ms);
  EXPECT_EQ(never_answered->reply.failure, PoolFailure::timeout);
  waf.kill();
  run();
  EXPECT_EQ(both->calls, 1);
  EXPECT_EQ(both->reply.failure, PoolFailure::connection);
}

TEST_F(PoolFaults, TwoHundredIdsOverFourConnections_NothingLostNothingSwapped) {
  auto& waf = agent("waf.sock");
  std::vector<std::string> held;
  waf.on_event = [&](const auto& seen) {
    held.push_back(seen.correlation_id);
    return std::nullopt;
  };
  start(small(4));
  ASSERT_FALSE(add("waf", "waf.sock"));
  std::map<std::string, OutcomePtr> outcomes;
  for (int i = 0; i < 200; ++i) {
    const std::string id = "c" + std::to_string(i);
    outcomes[id] = headers("waf", id);
  }
  run();
  ASSERT_EQ(held.size(), 200U);
  // Answered in another order than asked, each with a status of its own.
  std::reverse(held.begin(), held.end());
  for (const std::string& id : held) {
    const auto status = static_cast<std::uint16_t>(300 + std::stoi(id.substr(1)));
    waf.send(*waf.holder(id), ScriptAgent::block(id, status));
  }
  run();
  for (const auto& [id, outcome] : outcomes) {
    ASSERT_EQ(outcome->calls, 1) << id;
    EXPECT_EQ(outcome->reply->correlation_id, id);
    EXPECT_EQ(std::get<messages::Block>(outcome->reply->decision).status, 300 + std::stoi(id.substr(1)));
  }
}

}  // namespace
}  // namespace sharingbus::test

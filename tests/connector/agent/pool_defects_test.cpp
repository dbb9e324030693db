// The defects D1 to D44 of protocol-agent-v2 §9 that show from outside, and the faults an agent can have: none of them
// here. Those of tables and policies are tested beside these: tables_test, policies_test, metrics_test, …

#include "tests/connector/agent/pool_world.hpp"

namespace sharingbus::test {
namespace {

using namespace connector;

const auto never = [](const auto&) { return std::optional<messages::AgentResponse>(); };

class PoolDefects : public PoolWorld {
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

TEST_F(PoolDefects, D1_KilledMidRequest_FailsItsCallsAtOnce) {
  auto& waf = ready(small(2));
  waf.on_event = never;
  const auto first = headers("waf", "a");
  const auto second = headers("waf", "b");
  run();
  waf.kill();
  run();
  for (const auto& outcome : {first, second}) {
    ASSERT_EQ(outcome->calls, 1) << "without waiting for a timer";
    EXPECT_EQ(outcome->reply.failure, PoolFailure::connection);
    EXPECT_EQ(outcome->reply.duration, 0s);
  }
  EXPECT_EQ(pool->protocol_metrics().connection_errors.load(), 2U);
  EXPECT_EQ(stats().in_flight, 0U);
  EXPECT_EQ(stats().active_connections, 0U);
}

TEST_F(PoolDefects, D2_PausedAgent_FailClosed_RefusesWithoutAsking) {
  auto& waf = ready(small(1));
  waf.pause(waf.session(0));
  run();
  const auto outcome = headers("waf", "c");
  run();
  EXPECT_EQ(outcome->reply.failure, PoolFailure::flow_control_paused);
  EXPECT_EQ(outcome->error.message, "Flow control paused: agent 'waf' requested backpressure");
  EXPECT_EQ(waf.events(), 0U);
  EXPECT_EQ(pool->protocol_metrics().flow_control_rejections.load(), 1U);
  EXPECT_EQ(pool->protocol_metrics().flow_control_pauses.load(), 1U);
  EXPECT_TRUE(pool->is_agent_healthy("waf")) << "paused is not unhealthy";
  EXPECT_EQ(stats().paused_connections, 1U);
  advance(10min);
  EXPECT_EQ(pool->maintain().connections_opened, 0U) << "and no reason to reconnect";
  waf.resume(waf.session(0));
  run();
  const auto later = headers("waf", "d");
  run();
  EXPECT_TRUE(later->allowed());
  EXPECT_EQ(events<AgentPaused>().size(), 1U);
  EXPECT_EQ(events<AgentResumed>().size(), 1U);
}

TEST_F(PoolDefects, D2_PausedAgent_FailOpen_AllowsWithoutAsking) {
  auto options = small(1);
  options.flow_control = FlowControlMode::fail_open;
  auto& waf = ready(options);
  waf.pause(waf.session(0));
  run();
  const auto outcome = headers("waf", "c");
  run();
  EXPECT_TRUE(outcome->allowed());
  EXPECT_FALSE(outcome->reply.from_agent());
  EXPECT_EQ(waf.events(), 0U);
  EXPECT_EQ(pool->protocol_metrics().flow_control_rejections.load(), 1U);
}

TEST_F(PoolDefects, D20_PausedAgent_WaitAndRetry_GoesOnTheMomentItResumes) {
  auto options = small(1);
  options.flow_control = FlowControlMode::wait_and_retry;
  auto& waf = ready(options);
  waf.pause(waf.session(0));
  run();
  const auto outcome = headers("waf", "c");
  run();
  EXPECT_FALSE(outcome->done());
  EXPECT_EQ(stats().in_flight, 1U);
  waf.resume(waf.session(0));
  run();
  EXPECT_TRUE(outcome->allowed()) << "no time has passed";
  EXPECT_EQ(pool->protocol_metrics().flow_control_rejections.load(), 0U);

  waf.pause(waf.session(0));
  run();
  const auto late = headers("waf", "d");
  advance(99ms);
  EXPECT_FALSE(late->done());
  advance(1ms);
  EXPECT_EQ(late->reply.failure, PoolFailure::flow_control_paused);
  EXPECT_EQ(pool->protocol_metrics().flow_control_rejections.load(), 1U);
  const auto cancelled = headers("waf", "e");
  run();
  cancelled->cancel.emit(boost::asio::cancellation_type::terminal);
  run();
  EXPECT_EQ(cancelled->reply.failure, PoolFailure::cancelled);
}

TEST_F(PoolDefects, D2_OnePausedConnection_IsRoutedAround) {
  auto& waf = ready(small(2));
  waf.pause(waf.session(0));
  run();
  for (int i = 0; i < 4; ++i)
    headers("waf", "c" + std::to_string(i));
  run();
  EXPECT_EQ(waf.session(0).seen.size(), 0U);
  EXPECT_EQ(waf.session(1).seen.size(), 4U);
}

TEST_F(PoolDefects, D2_AgentThatSaysItIsUnhealthyOrDraining_GetsNoNewRequests) {
  auto& waf = ready(small(2));
  messages::HealthStatus status;
  status.state = messages::HealthState::draining;
  waf.send(waf.session(0), status);
  status.state = messages::HealthState::unhealthy;
  run();
  headers("waf", "a");
  headers("waf", "b");
  run();
  EXPECT_EQ(waf.session(0).seen.size(), 0U);
  waf.send(waf.session(1), status);
  run();
  EXPECT_EQ(events<AgentConnectionUnhealthy>().size(), 1U);
  status.state = messages::HealthState::healthy;
  waf.send(waf.session(1), status);
  run();
  EXPECT_EQ(events<AgentConnectionRecovered>().size(), 1U);
}

TEST_F(PoolDefects, D3_UnhealthyConnection_IsReplacedAndClosed_AndNothingGrows) {
  auto& waf = ready(small(2));
  pool->start_maintenance();
  for (int round = 0; round < 20; ++round) {
    waf.on_event = never;
    for (int i = 0; i < 6; ++i)
      headers("waf", "r" + std::to_string(round) + "-" + std::to_string(i));
    run();
    advance(30s);
    EXPECT_EQ(events<AgentUnhealthy>().size(), static_cast<std::size_t>(round) + 1);
    waf.on_event = [](const auto& seen) { return std::optional(ScriptAgent::allow(seen.correlation_id)); };
    advance(10s);
    EXPECT_TRUE(pool->is_agent_healthy("waf"));
    EXPECT_EQ(waf.open_sessions(), 2U);
    EXPECT_EQ(stats().active_connections, 2U);
  }
}

TEST_F(PoolDefects, D3_ThousandRestarts_ConnectionsDoNotGrow) {
  auto& waf = ready(small(2));
  for (int i = 0; i < 1000; ++i) {
    waf.kill();
    run();
    ASSERT_TRUE(waf.listen());
    time.advance(5s);
    pool->maintain();
    run();
    ASSERT_EQ(stats().active_connections, 2U) << i;
  }
  EXPECT_EQ(waf.open_sessions(), 2U);
  const auto outcome = headers("waf", "c");
  run();
  EXPECT_TRUE(outcome->allowed());
}

TEST_F(PoolDefects, D4_OutOfAttempts_IsTriedAgainAtASlowerPaceForEver) {
  auto& waf = ready(small(1));
  pool->start_maintenance();
  waf.kill();
  run();
  std::vector<std::int64_t> gaps;
  for (int i = 0; i < 9; ++i) {
    const std::size_t before = events<AgentConnectFailed>().size();
    std::int64_t seconds = 0;
    while (events<AgentConnectFailed>().size() == before && seconds < 1000) {
      advance(1s);
      ++seconds;
    }
    gaps.push_back(seconds);
  }
  EXPECT_EQ(gaps, (std::vector<std::int64_t>{5, 5, 5, 5, 10, 20, 40, 80, 120}));
  ASSERT_TRUE(waf.listen());
  advance(120s);
  EXPECT_TRUE(pool->is_agent_healthy("waf"));
}

TEST_F(PoolDefects, D5_KeepUnreachable_IsKeptUnhealthyAndComesUpLater) {
  auto options = small(2);
  options.keep_unreachable = true;
  start(options);
  EXPECT_FALSE(add("waf", "waf.sock"));
  EXPECT_EQ(pool->agent_ids(), std::vector<std::string>{"waf"});
  EXPECT_FALSE(pool->is_agent_healthy("waf"));
  agent("waf.sock");
  pool->start_maintenance();
  advance(10s);
  EXPECT_TRUE(pool->is_agent_healthy("waf"));
}

TEST_F(PoolDefects, D6_FailedSelection_LeavesNoGaugeBehind) {
  auto& waf = ready(small(1));
  waf.kill();
  run();
  for (int i = 0; i < 10; ++i) {
    headers("waf", "c" + std::to_string(i));
    headers("nobody", "c");
  }
  run();
  EXPECT_EQ(pool->protocol_metrics().in_flight.load(), 0);
  EXPECT_EQ(pool->protocol_metrics().requests.load(), 20U);
  EXPECT_EQ(pool->protocol_metrics().errors.load(), 20U) << "D40: they count as errors";
  EXPECT_EQ(stats().in_flight, 0U);
}

TEST_F(PoolDefects, D7_DroppedCalls_LeaveNothingBehind_WhateverTheyWaitedFor) {
  auto options = small(1);
  options.max_concurrent_per_connection = 1;
  options.flow_control = FlowControlMode::wait_and_retry;
  options.flow_control_wait = 10s;
  auto& waf = ready(options);
  waf.on_event = never;
  const auto sent = headers("waf", "sent");
  const auto waiting = headers("waf", "waiting");
  run();
  waf.pause(waf.session(0));
  run();
  const auto parked = headers("waf", "parked");
  run();
  for (const auto& call : {parked, waiting, sent}) {
    call->cancel.emit(boost::asio::cancellation_type::terminal);
    run();
    EXPECT_EQ(call->calls, 1);
    EXPECT_EQ(call->reply.failure, PoolFailure::cancelled);
  }
  EXPECT_EQ(stats().in_flight, 0U);
  EXPECT_EQ(pool->protocol_metrics().in_flight.load(), 0);
  EXPECT_EQ(pool->correlation_affinity_count(), 0U);
  ASSERT_EQ(waf.session(0).cancels.size(), 1U) << "the agent is told of the one that it has";
  EXPECT_EQ(waf.session(0).cancels[0].correlation_id, "sent");
  // Nothing is left that a drain would wait for.
  const auto removed = remove_later("waf");
  run();
  EXPECT_TRUE(removed->has_value());
}

TEST_F(PoolDefects, D8_Timeout_TellsTheAgentAndLeavesNothing) {
  auto& waf = ready(small(1));
  waf.on_event = never;
  const auto outcome = headers("waf", "c", {.timeout = 2s});
  advance(1999ms);
  EXPECT_FALSE(outcome->done());
  advance(1ms);
  ASSERT_EQ(outcome->calls, 1);
  EXPECT_EQ(outcome->reply.failure, PoolFailure::timeout);
  EXPECT_EQ(outcome->error.message, "agent 'waf' did not answer 'c' within 2000 ms");
  ASSERT_EQ(waf.session(0).cancels.size(), 1U);
  EXPECT_EQ(waf.session(0).cancels[0].reason, messages::CancelReason::timeout);
  EXPECT_EQ(pool->protocol_metrics().timeouts.load(), 1U);
  EXPECT_EQ(stats().in_flight, 0U) << "D9";
  EXPECT_EQ(pool->correlation_affinity_count(), 0U) << "the request is over";
}

TEST_F(PoolDefects, D9_CallsThatFail_HoweverTheyDo_ReturnTheirPlaces) {
  auto options = small(1);
  options.max_concurrent_per_connection = 2;
  auto& waf = ready(options);
  waf.on_event = never;
  const auto late = headers("waf", "late", {.timeout = 1s});
  const auto lost = headers("waf", "lost");
  advance(1s);
  EXPECT_EQ(late->reply.failure, PoolFailure::timeout);
  EXPECT_EQ(stats().in_flight, 1U);
  waf.kill();
  run();
  EXPECT_EQ(lost->reply.failure, PoolFailure::connection);
  const auto nowhere = headers("waf", "nowhere");
  run();
  EXPECT_EQ(nowhere->calls, 1);
  EXPECT_EQ(stats().in_flight, 0U);
  // Both places are there again.
  ASSERT_TRUE(waf.listen());
  advance(5s);
  pool->maintain();
  run();
  waf.on_event = [](const auto& seen) { return std::optional(ScriptAgent::allow(seen.correlation_id)); };
  const auto one = headers("waf", "one");
  const auto two = headers("waf", "two");
  run();
  EXPECT_TRUE(one->allowed() && two->allowed());
}

TEST_F(PoolDefects, D10_SilentAgent_DoesNotHoldUpAnybody) {
  auto& silent = agent("silent.sock");
  silent.on_handshake = [](const auto&) { return std::nullopt; };
  auto& waf = agent("waf.sock");
  start(small(2));
  const auto adding = add_later("silent", "silent.sock");
  EXPECT_FALSE(add("waf", "waf.sock"));
  const auto outcome = headers("waf", "c");
  run();
  EXPECT_TRUE(outcome->allowed());
  waf.kill();
  run();
  ASSERT_TRUE(waf.listen());
  advance(4999ms);
  EXPECT_FALSE(adding->has_value());
  advance(1ms);
  pool->maintain();
  run();
  ASSERT_TRUE(adding->has_value()) << "D11: the connect timeout bounds the handshake";
  EXPECT_TRUE((*adding)->is(errc::connect_timeout));
  EXPECT_EQ(stats().active_connections, 2U);
}

TEST_F(PoolDefects, D12_OneIdAtTwoAgents_EachKeepsItsOwnConnection) {
  auto& waf = agent("waf.sock");
  auto& auth = agent("auth.sock");
  start(small(3));
  ASSERT_FALSE(add("waf", "waf.sock"));
  ASSERT_FALSE(add("auth", "auth.sock"));
  headers("auth", "x");
  headers("waf", "c");
  headers("auth", "c");
  run();
  EXPECT_EQ(pool->correlation_affinity_count(), 3U);
  for (int i = 0; i < 5; ++i) {
    EXPECT_FALSE(chunk("waf", "c")->error);
    chunk("auth", "c");
    run();
  }
  ASSERT_NE(waf.holder("c"), nullptr);
  ASSERT_NE(auth.holder("c"), nullptr);
  EXPECT_EQ(waf.holder("c")->count("request_body_chunk"), 5U);
  EXPECT_EQ(auth.holder("c")->count("request_body_chunk"), 5U);
  EXPECT_EQ(pool->clear_correlation_affinity("c"), 2U);
}

TEST_F(PoolDefects, D13_Affinities_AreBoundedAndExpire) {
  auto options = small(1);
  options.max_affinities = 10;
  ready(options);
  for (int i = 0; i < 50; ++i)
    headers("waf", "c" + std::to_string(i));
  run();
  EXPECT_EQ(pool->correlation_affinity_count(), 10U);
  EXPECT_EQ(pool->protocol_metrics().affinity_evictions.load(), 40U);
  advance(5min);
  EXPECT_EQ(pool->maintain().affinities_expired, 10U) << "D16";
  EXPECT_EQ(pool->correlation_affinity_count(), 0U);
}

TEST_F(PoolDefects, D14_ResponseEvents_FollowAffinityAndFlowControl) {
  auto& waf = ready(small(2));
  headers("waf", "c");
  run();
  waf.pause(*waf.holder("c"));
  run();
  const auto answer = response("waf", "c");
  const auto body = response_chunk("waf", "c", false);
  run();
  EXPECT_EQ(answer->reply.failure, PoolFailure::flow_control_paused);
  EXPECT_EQ(body->reply.failure, PoolFailure::flow_control_paused);
  EXPECT_EQ(pool->correlation_affinity_count(), 1U) << "the request is not over";
  waf.resume(*waf.holder("c"));
  run();
  EXPECT_FALSE(response("waf", "c")->error);
  run();
  EXPECT_NE(waf.holder("c"), nullptr);
}

TEST_F(PoolDefects, D15_AffinityToADeadConnection_SelectsAnew) {
  auto& waf = ready(small(2));
  headers("waf", "c");
  run();
  waf.holder("c")->link->cancel(Error(errc::cancelled, "gone"));
  run();
  const auto next = chunk("waf", "c");
  run();
  EXPECT_TRUE(next->allowed());
}

TEST_F(PoolDefects, D17_WaitingForATurn_IsBoundedInNumberAndTime) {
  auto options = small(1);
  options.max_concurrent_per_connection = 1;
  options.max_waiting = 3;
  auto& waf = ready(options);
  waf.on_event = never;
  std::vector<OutcomePtr> outcomes;
  for (int i = 0; i < 5; ++i) {
    outcomes.push_back(headers("waf", "c" + std::to_string(i), {.timeout = 1s}));
    run();
  }
  EXPECT_EQ(outcomes[4]->reply.failure, PoolFailure::overloaded);
  EXPECT_TRUE(outcomes[4]->error.is(errc::capacity_exceeded));
  advance(1s);
  for (int i = 0; i < 4; ++i)
    EXPECT_EQ(outcomes[static_cast<std::size_t>(i)]->reply.failure, PoolFailure::timeout);
  EXPECT_EQ(waf.events(), 1U) << "those that waited were never sent";
  EXPECT_EQ(waf.session(0).cancels.size(), 1U);
}

TEST_F(PoolDefects, D18_Close_DrainsFirstAndCancelsAfter) {
  auto& waf = ready(small(1));
  waf.on_event = never;
  const auto quick = headers("waf", "quick");
  const auto slow = headers("waf", "slow", {.timeout = 1h});
  run();
  bool closed = false;
  pool->async_close([&](const Error&) { closed = true; });
  run();
  EXPECT_EQ(waf.session(0).cancels.size(), 0U);
  advance(10s);
  waf.send(waf.session(0), ScriptAgent::allow("quick"));
  run();
  EXPECT_TRUE(quick->allowed()) << "what was under way may end";
  advance(19s);
  EXPECT_FALSE(slow->done());
  advance(1s);
  EXPECT_EQ(slow->reply.failure, PoolFailure::closed);
  ASSERT_EQ(waf.session(0).cancels.size(), 1U);
  EXPECT_EQ(waf.session(0).cancels[0].reason, messages::CancelReason::proxy_shutdown);
  advance(1s);
  EXPECT_TRUE(closed);
  ASSERT_EQ(events<AgentDrained>().size(), 1U);
  EXPECT_EQ(events<AgentDrained>()[0].cancelled, 1U);
}

TEST_F(PoolDefects, D19_RemoveAgent_LetsItsCallsEnd) {
  auto& waf = ready(small(2));
  waf.on_event = never;
  const auto outcome = headers("waf", "c");
  run();
  ASSERT_TRUE(pool->create_sticky_session("s", "waf"));
  const auto removed = remove_later("waf");
  run();
  EXPECT_TRUE(pool->agent_ids().empty());
  EXPECT_FALSE(removed->has_value());
  EXPECT_EQ(pool->correlation_affinity_count(), 0U);
  EXPECT_EQ(pool->sticky_session_count(), 0U);
  const auto late = headers("waf", "d");
  run();
  EXPECT_EQ(late->reply.failure, PoolFailure::unknown_agent);
  waf.send(*waf.holder("c"), ScriptAgent::allow("c"));
  run();
  EXPECT_TRUE(outcome->allowed());
  ASSERT_TRUE(removed->has_value());
  EXPECT_FALSE(**removed);
  EXPECT_EQ(waf.open_sessions(), 0U);
}

TEST_F(PoolDefects, D24_ConfigPush_ReachesTheAgentAndIsAcknowledged) {
  for (const auto carrier : {transport::AgentCarrier::uds, transport::AgentCarrier::grpc}) {
    const bool uds = carrier == transport::AgentCarrier::uds;
    auto& waf = agent(uds ? "waf.sock" : "waf", carrier);
    start(small(2));
    ASSERT_FALSE(add("waf", uds ? "waf.sock" : "waf:1"));
    const auto id = pool->push_config_to_agent("waf", {"{\"rules\":3}", "v7"}).value();
    run();
    EXPECT_EQ(pool->config_push(id)->status, PushStatus::acknowledged);
    std::vector<messages::Configure> got;
    for (const auto& session : waf.sessions())
      got.insert(got.end(), session->configures.begin(), session->configures.end());
    ASSERT_EQ(got.size(), 1U);
    EXPECT_EQ(got[0].config_version, "v7");
    EXPECT_EQ(pool->push_config_to_all({"{}"}).size(), 1U);
    run();
    EXPECT_FALSE(pool->acknowledge_config_push(id, true)) << "it has an end already";
    pool.reset();
    run();
  }
}

TEST_F(PoolDefects, D24_ConfigPush_RefusedRetriedExpired) {
  auto& waf = ready(small(1));
  waf.on_configure = [](const auto& configure) {
    auto answer = ScriptAgent::block(configure.correlation_id, 500);
    std::get<messages::Block>(answer.decision).body = "Configuration rejected";
    return answer;
  };
  const auto refused = pool->push_config_to_agent("waf", {"{}"}).value();
  run();
  EXPECT_EQ(pool->config_push(refused)->status, PushStatus::failed);
  EXPECT_EQ(pool->config_push(refused)->error, "Configuration rejected");
  waf.on_configure = [](const auto&) { return ScriptAgent::allow("nobody"); };
  pool->start_maintenance();
  const auto silent = pool->push_config_to_agent("waf", {"{}"}).value();
  advance(2s);
  advance(2s);
  advance(2s);
  advance(2s);
  EXPECT_EQ(waf.session(0).configures.size(), 1U + 4U);
  advance(2s);
  EXPECT_EQ(pool->config_push(silent)->status, PushStatus::expired);
  ASSERT_EQ(events<AgentConfigPushEnded>().size(), 2U);
  EXPECT_TRUE(pool->push_config_to_agent("nobody", {"{}"}).error().is(errc::not_found));
}

TEST_F(PoolDefects, D24_AgentsConfigRequest_IsAnsweredByTheHandler) {
  auto options = small(1);
  options.on_config_request = [](const std::string& agent_id, const messages::ConfigUpdateRequest& request) {
    ConfigAnswer answer;
    answer.accepted = std::holds_alternative<messages::RequestReload>(request.update);
    if (answer.accepted) answer.push = AgentConfig{"{\"for\":\"" + agent_id + "\"}"};
    return answer;
  };
  auto& waf = ready(options);
  messages::ConfigUpdateRequest request;
  request.request_id = "r1";
  waf.send(waf.session(0), request);
  run();
  ASSERT_EQ(events<AgentConfigRequested>().size(), 1U);
  EXPECT_TRUE(events<AgentConfigRequested>()[0].accepted);
  ASSERT_EQ(waf.session(0).configures.size(), 1U);
  EXPECT_NE(waf.session(0).configures[0].config_json.find("waf"), std::string::npos);
}

TEST_F(PoolDefects, D21_SelectionFromWithinACompletion_NeverBlocks) {
  auto& waf = ready(small(2));
  int asked = 0;
  bool done = false;
  std::function<void()> ask = [&] {
    if (++asked == 100) {
      done = true;
      return;
    }
    const std::string id = "request-" + std::to_string(asked);
    EXPECT_TRUE(pool->create_sticky_session("session", "waf"));
    EXPECT_TRUE(pool->has_sticky_session("session"));
    EXPECT_TRUE(pool->is_agent_healthy("waf"));
    messages::RequestHeaders event;
    event.metadata.correlation_id = id;
    pool->send_request_headers("waf", id, event, [&](const Error& error, const AgentReply&) {
      EXPECT_FALSE(error);
      ask();
    });
  };
  // One thread does everything, as in a runtime whose only thread would wait for itself.
  boost::asio::post(io, ask);
  run();
  EXPECT_TRUE(done);
  EXPECT_EQ(waf.events(), 99U);
}

TEST_F(PoolDefects, D26_Cancel_GoesToTheConnectionThatHoldsTheRequest) {
  auto& waf = ready(small(4));
  waf.on_event = never;
  const auto outcome = headers("waf", "c");
  run();
  EXPECT_EQ(pool->cancel_request("waf", "c", messages::CancelReason::client_disconnect).value(), 1U);
  run();
  EXPECT_EQ(outcome->reply.failure, PoolFailure::cancelled);
  std::size_t told = 0;
  for (const auto& session : waf.sessions())
    told += session->cancels.size();
  EXPECT_EQ(told, 1U);
  EXPECT_EQ(waf.holder("c")->cancels.size(), 1U);
  EXPECT_EQ(pool->correlation_affinity_count(), 0U);
  EXPECT_EQ(pool->cancel_request("waf", "unheard-of").value(), 4U) << "to all when none is known";
  EXPECT_TRUE(pool->cancel_request("nobody", "c").error().is(errc::not_found));
}

TEST_F(PoolDefects, D31_TwoCallsOfOneId_AreAnsweredInOrder) {
  auto& waf = ready(small(1));
  waf.on_event = never;
  headers("waf", "c");
  run();
  const auto first = chunk("waf", "c");
  const auto second = chunk("waf", "c");
  run();
  waf.send(waf.session(0), ScriptAgent::allow("c"));
  waf.send(waf.session(0), ScriptAgent::block("c", 401));
  waf.send(waf.session(0), ScriptAgent::block("c", 402));
  run();
  EXPECT_EQ(std::get<messages::Block>(first->reply->decision).status, 401);
  EXPECT_EQ(std::get<messages::Block>(second->reply->decision).status, 402);
}

TEST_F(PoolDefects, D31_LateAnswer_IsNotTakenForTheNextOne) {
  auto& waf = ready(small(1));
  waf.on_event = never;
  const auto late = headers("waf", "c", {.timeout = 1s});
  advance(1s);
  EXPECT_EQ(late->reply.failure, PoolFailure::timeout);
  const auto next = chunk("waf", "c");
  run();
  waf.send(waf.session(0), ScriptAgent::allow("c"));
  run();
  EXPECT_FALSE(next->done()) << "that was the answer to the first";
  waf.send(waf.session(0), ScriptAgent::block("c", 403));
  run();
  EXPECT_EQ(next->calls, 1);
  EXPECT_TRUE(std::holds_alternative<messages::Block>(next->reply->decision));
  EXPECT_EQ(pool->protocol_metrics().late_answers.load(), 1U);
}

TEST_F(PoolDefects, D32_AgentThatDoesNotRead_CancelsGoAheadOfData) {
  auto options = small(1);
  options.channel_buffer = 2;
  auto& waf = agent("waf.sock");
  waf.on_event = never;
  waf.credit = {.requests = 1, .controls = 1};
  start(options);
  ASSERT_FALSE(add("waf", "waf.sock"));
  std::vector<OutcomePtr> outcomes;
  for (int i = 0; i < 6; ++i)
    outcomes.push_back(headers("waf", "c" + std::to_string(i)));
  run();
  EXPECT_LE(waf.events(), 1U);
  outcomes[0]->cancel.emit(boost::asio::cancellation_type::terminal);
  run();
  EXPECT_EQ(outcomes[0]->reply.failure, PoolFailure::cancelled) << "it does not wait for the agent to read";
  waf.session(0).link->grant({.requests = 2, .controls = 100});
  run();
  EXPECT_EQ(waf.session(0).cancels.size(), 1U) << "ahead of the events that wait";
  EXPECT_LT(waf.events(), 6U);
  waf.session(0).link->grant({.requests = 100, .controls = 0});
  run();
  EXPECT_EQ(waf.events(), 6U) << "nothing is lost";
  for (int i = 1; i < 6; ++i)
    waf.send(waf.session(0), ScriptAgent::allow("c" + std::to_string(i)));
  run();
  for (std::size_t i = 1; i < 6; ++i)
    EXPECT_TRUE(outcomes[i]->allowed()) << i;
}

TEST_F(PoolDefects, D33_OversizeEvent_FailsAloneAndTheConnectionLives) {
  auto& waf = ready(small(1));
  messages::RequestBodyChunk event;
  event.data.assign(17 * 1024 * 1024, 'x');
  const auto large = std::make_shared<CallOutcome>();
  pool->send_request_body_chunk("waf", "c", event, token(large));
  run();
  EXPECT_TRUE(large->error.is(errc::message_too_large)) << large->error.message;
  EXPECT_EQ(large->reply.failure, PoolFailure::serialization);
  const auto small_one = headers("waf", "d");
  run();
  EXPECT_TRUE(small_one->allowed());
  EXPECT_EQ(waf.open_sessions(), 1U);
  EXPECT_EQ(pool->protocol_metrics().serialization_errors.load(), 1U);
}

TEST_F(PoolDefects, D34_BrokenAnswer_IsNoAllow) {
  auto& waf = ready(small(1));
  waf.on_event = never;
  const auto outcome = headers("waf", "c");
  run();
  std::string frame(1, '\x20');
  frame += R"({"version":2,"decision":"perhaps","audit":{"custom":{"correlation_id":"c"}}})";
  waf.session(0).link->send(frame);
  run();
  ASSERT_EQ(outcome->calls, 1);
  EXPECT_TRUE(outcome->error);
}

TEST_F(PoolDefects, D35_GuardrailThatIsNeverAnswered_EndsAtItsOwnTimeout) {
  auto& waf = ready(small(1));
  waf.on_event = [](const auto& seen) {
    return seen.kind == "guardrail_inspect" ? std::nullopt : std::optional(ScriptAgent::allow(seen.correlation_id));
  };
  messages::GuardrailInspect event;
  event.correlation_id = "g";
  const auto outcome = std::make_shared<CallOutcome>();
  pool->send_guardrail_inspect("waf", "g", event, token(outcome), {.timeout = 50ms});
  run();
  const auto other = headers("waf", "c");
  run();
  EXPECT_TRUE(other->allowed()) << "nobody waits behind it";
  advance(50ms);
  ASSERT_TRUE(outcome->done());
  EXPECT_EQ(outcome->reply.failure, PoolFailure::timeout);
  EXPECT_EQ(stats().in_flight, 0U);
}

TEST_F(PoolDefects, D39_WallClockThatLeaps_ChangesNothing) {
  auto options = small(1);
  options.sticky_session_timeout = 60s;
  auto& waf = ready(options);
  pool->start_maintenance();
  EXPECT_TRUE(pool->create_sticky_session("session", "waf"));
  waf.on_event = never;
  const auto outcome = headers("waf", "c", {.timeout = 2s});
  run();
  const std::int64_t wall = time.unix_ms();
  time.set_unix_ms(wall + 86'400'000);
  advance(1s);
  EXPECT_FALSE(outcome->done());
  EXPECT_TRUE(pool->has_sticky_session("session"));
  time.set_unix_ms(wall - 86'400'000);
  advance(1s);
  EXPECT_EQ(outcome->reply.failure, PoolFailure::timeout);
  // Nor are reconnects put off or hurried.
  waf.kill();
  run();
  const std::size_t failed = events<AgentConnectFailed>().size();
  advance(4s);
  time.set_unix_ms(wall);
  EXPECT_LE(events<AgentConnectFailed>().size(), failed + 1);
  ASSERT_TRUE(waf.listen());
  advance(5s);
  EXPECT_TRUE(pool->is_agent_healthy("waf"));
}

TEST_F(PoolDefects, D38_ProtocolVersionAndConcurrency_AreRespected) {
  auto& old = agent("old.sock");
  old.on_handshake = [](const auto&) {
    auto answer = ScriptAgent::welcome();
    answer.protocol_version = 1;
    return std::optional(answer);
  };
  start(small(1));
  EXPECT_NE(add("old", "old.sock").message.find("expected 2, got 1"), std::string::npos);

  auto& narrow = agent("narrow.sock");
  narrow.on_event = never;
  narrow.on_handshake = [](const auto&) {
    auto answer = ScriptAgent::welcome();
    answer.capabilities->limits.max_concurrency = 2;
    return std::optional(answer);
  };
  ASSERT_FALSE(add("narrow", "narrow.sock"));
  for (int i = 0; i < 5; ++i)
    headers("narrow", "c" + std::to_string(i));
  run();
  EXPECT_EQ(narrow.events(), 2U);
  pool->cancel_all();
  run();
}

TEST_F(PoolDefects, D44_AddingAnIdInUse_DrainsAndClosesTheOldOne) {
  auto& waf = ready(small(2));
  waf.on_event = never;
  const auto before = headers("waf", "c");
  run();
  auto& other = agent("other.sock");
  const auto adding = add_later("waf", "other.sock");
  run();
  EXPECT_FALSE(adding->has_value()) << "the old one has a call under way";
  const auto after = headers("waf", "d");
  run();
  EXPECT_TRUE(after->allowed());
  EXPECT_EQ(other.events(), 1U);
  waf.send(*waf.holder("c"), ScriptAgent::allow("c"));
  run();
  EXPECT_TRUE(before->allowed());
  ASSERT_TRUE(adding->has_value());
  EXPECT_FALSE(**adding);
  EXPECT_EQ(waf.open_sessions(), 0U);
  EXPECT_EQ(pool->agent_ids(), std::vector<std::string>{"waf"});
  EXPECT_TRUE(events<AgentAdded>().back().replaced);
}

TEST_F(PoolDefects, D30_TwoAddsOfOneIdAtOnce_LeaveOneEntry) {
  auto& waf = agent("waf.sock");
  start(small(2));
  const auto a = add_later("waf", "waf.sock");
  const auto b = add_later("waf", "waf.sock");
  run();
  ASSERT_TRUE(a->has_value() && b->has_value());
  EXPECT_EQ(waf.open_sessions(), 2U);
  EXPECT_EQ(stats().active_connections, 2U);
}

TEST_F(PoolDefects, O8_SelectionWhileAConnectionIsReopened_IsNotHeldUp) {
  auto& waf = ready(small(2));
  waf.session(0).link->cancel(Error(errc::cancelled, "broken"));
  run();
  // The new one is never greeted.
  waf.on_handshake = [](const auto&) { return std::nullopt; };
  advance(5s);
  pool->maintain();
  run();
  ASSERT_EQ(waf.open_sessions(), 2U);
  for (int i = 0; i < 10; ++i) {
    const auto outcome = headers("waf", std::to_string(i));
    run();
    EXPECT_TRUE(outcome->allowed()) << i;
  }
  EXPECT_EQ(waf.session(1).count("request_headers"), 10U);
}

}  // namespace
}  // namespace sharingbus::test

// Spec 5, what is ours on top: services behind real links, here those of the memory network.
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "tests/connector/lifecycle/lifecycle_world.hpp"

namespace sharingbus::test {
namespace {

using transport::messages::JsonRpcRequest;
using transport::messages::JsonRpcResponse;

class Networked : public LifecycleTest {};

TEST_F(Networked, Start_OpensTheTransportAndProbesAtOnce) {
  auto& remote = service("one");
  EXPECT_EQ(text_of(start(networked("one"))), "ok");
  EXPECT_EQ(lines("one"), (Lines{"Started", "StatusChanged starting>running", "Heartbeat"}));
  ASSERT_EQ(remote.sessions().size(), 1u);
  EXPECT_EQ(remote.last().methods, std::vector<std::string>{"ping"});
}

TEST_F(Networked, Probes_GoOutEveryHeartbeatInterval) {
  config.heartbeat_interval = seconds(10);
  auto& remote = service("one");
  start(networked("one"));
  advance(seconds(60));
  EXPECT_EQ(remote.last().methods, std::vector<std::string>(7, "ping"));
  EXPECT_EQ(all<connector::ServiceHeartbeat>().size(), 7u);
}

TEST_F(Networked, AnyAnswerToAProbe_IsAlive) {
  auto& remote = service("one");
  start(networked("one"));
  advance(seconds(200));
  EXPECT_EQ(status("one"), ServiceStatus::running) << "method not found";
  remote.on_request = [](const JsonRpcRequest& request) {
    return JsonRpcResponse{request.id, boost::json::value("pong")};
  };
  advance(seconds(200));
  EXPECT_EQ(status("one"), ServiceStatus::running) << "a result";
  EXPECT_EQ(all<connector::ServiceHeartbeatTimeout>().size(), 0u);
}

TEST_F(Networked, AnswersToNothing_AreNoSignOfLife) {
  auto& remote = service("one");
  remote.on_request = ScriptService::silence;
  start(networked("one"));
  for (const char* body : {R"({"jsonrpc":"2.0","result":1,"id":99})", R"({"jsonrpc":"2.0","result":1,"id":"1"})",
                           R"({"jsonrpc":"2.0","result":1,"id":0})", R"({"jsonrpc":"2.0","method":"ping"})"}) {
    remote.send(remote.last(), body);
    settle();
  }
  EXPECT_EQ(all<connector::ServiceHeartbeat>().size(), 0u);
}

TEST_F(Networked, AnswerWithinABatch_IsAlive) {
  auto& remote = service("one");
  remote.on_request = ScriptService::silence;
  start(networked("one"));
  remote.send(remote.last(), R"([{"jsonrpc":"2.0","method":"x"},{"jsonrpc":"2.0","result":1,"id":1}])");
  settle();
  EXPECT_EQ(all<connector::ServiceHeartbeat>().size(), 1u);
}

TEST_F(Networked, SilentService_TimesOutAndIsReconnected) {
  auto& remote = service("one");
  start(networked("one"));
  remote.on_request = ScriptService::silence;
  forget();
  advance(seconds(119));
  EXPECT_EQ(lines("one"), Lines{});
  remote.on_request = ScriptService::method_not_found;
  advance(seconds(2));
  EXPECT_EQ(lines("one"), (Lines{"HeartbeatTimeout", "StatusChanged running>reconnecting", "Reconnecting 1/5",
                                 "Heartbeat", "Reconnected", "StatusChanged reconnecting>running"}));
  EXPECT_EQ(remote.sessions().size(), 2u);
  EXPECT_EQ(remote.open_sessions(), 1u);
}

TEST_F(Networked, BrokenLink_IsAnErrorAndIsReconnected) {
  auto& remote = service("one");
  start(networked("one"));
  forget();
  remote.last().link->cancel(Error(errc::cancelled, "crash"));
  settle();
  const Lines now = lines("one");
  ASSERT_GE(now.size(), 4u);
  EXPECT_EQ(now[0].rfind("Error ", 0), 0u);
  EXPECT_EQ((Lines{now.begin() + 1, now.end()}),
            (Lines{"StatusChanged running>error", "Reconnecting 1/5", "StatusChanged error>reconnecting"}));
  forget();
  advance(seconds(1));
  EXPECT_EQ(lines("one"), (Lines{"Heartbeat", "Reconnected", "StatusChanged reconnecting>running"}));
}

TEST_F(Networked, LinkEndedByTheServiceInGoodOrder_IsAnErrorToo) {
  auto& remote = service("one");
  start(networked("one"));
  remote.last().link->finish();
  settle();
  EXPECT_EQ(status("one"), ServiceStatus::reconnecting);
}

TEST_F(Networked, Reconnected_OnlyAfterTheServiceAnswered) {
  auto& remote = service("one");
  start(networked("one"));
  remote.on_request = ScriptService::silence;
  const auto outcome = fail("one", "bad");
  advance(seconds(2));
  EXPECT_EQ(remote.open_sessions(), 1u) << "open again";
  EXPECT_EQ(status("one"), ServiceStatus::reconnecting);
  remote.send(remote.last(), R"({"jsonrpc":"2.0","result":1,"id":1})");
  settle();
  EXPECT_EQ(text_of(*outcome), "ok");
  EXPECT_EQ(status("one"), ServiceStatus::running);
}

TEST_F(Networked, Reconnect_ServiceThatIsGone_IsTriedUntilItIsBack) {
  auto& remote = service("one");
  start(networked("one"));
  remote.kill();
  settle();
  advance(seconds(2));
  ASSERT_TRUE(remote.listen());
  advance(seconds(1));
  EXPECT_EQ(status("one"), ServiceStatus::running);
  EXPECT_EQ(all<connector::ServiceReconnecting>().size(), 2u);
  EXPECT_NE(all<connector::ServiceReconnecting>()[1].reason.find("Connection failed: "), std::string::npos);
}

TEST_F(Networked, Reconnect_UsedUp_Fails) {
  auto& remote = service("one");
  start(networked("one"));
  remote.kill();
  const auto outcome = fail("one", "bad");
  advance(seconds(60));
  EXPECT_EQ(text_of(*outcome), "Reconnection failed after 5 attempts");
  EXPECT_EQ(status("one"), ServiceStatus::error);
  EXPECT_EQ(all<connector::ServiceReconnectFailed>().size(), 1u);
  EXPECT_EQ(all<connector::ServiceReconnectFailed>()[0].attempts, 5u);
}

TEST_F(Networked, OneLinkAtATime_WhateverFails) {
  auto& remote = service("one");
  start(networked("one"));
  for (int i = 0; i < 5; ++i) {
    fail("one", "bad");
    fail("one", "worse");
    EXPECT_LE(remote.open_sessions(), 1u);
    advance(seconds(3));
    EXPECT_LE(remote.open_sessions(), 1u);
  }
}

TEST_F(Networked, Start_NobodyListens_IsConnectionFailedAndReconnects) {
  const auto outcome = start(networked("one"));
  ASSERT_TRUE(outcome.has_value());
  EXPECT_TRUE(outcome->is(errc::connection_refused)) << text_of(outcome);
  EXPECT_EQ(outcome->message.rfind("Connection failed: ", 0), 0u) << outcome->message;
  EXPECT_EQ(status("one"), ServiceStatus::reconnecting);
  service("one");
  advance(seconds(1));
  EXPECT_EQ(status("one"), ServiceStatus::running);
}

TEST_F(Networked, Start_NobodyListens_WithReconnectOff_StaysInError) {
  config.auto_reconnect = false;
  start(networked("one"));
  EXPECT_EQ(status("one"), ServiceStatus::error);
  EXPECT_EQ(lines("one").size(), 3u);
}

TEST_F(Networked, FlapDamping_HealthyAfterThree) {
  config.healthy_after = 3;
  auto& remote = service("one");
  start(networked("one"));
  remote.last().link->cancel(Error(errc::cancelled, "crash"));
  advance(seconds(1 + 59));
  EXPECT_EQ(status("one"), ServiceStatus::reconnecting);
  advance(seconds(1));
  EXPECT_EQ(status("one"), ServiceStatus::running);
}

TEST_F(Networked, FlapDamping_FailedAfterTwo) {
  config.failed_after = 2;
  auto& remote = service("one");
  remote.on_request = ScriptService::silence;
  start(networked("one"));
  advance(seconds(149));
  EXPECT_EQ(status("one"), ServiceStatus::running);
  advance(seconds(1));
  EXPECT_EQ(status("one"), ServiceStatus::reconnecting);
}

// The conversation.

TEST_F(Networked, RequestsOfTheService_AreAnsweredWithMethodNotFound) {
  auto& remote = service("one");
  start(networked("one"));
  remote.send(remote.last(), R"({"jsonrpc":"2.0","method":"workspace/configuration","id":"abc"})");
  settle();
  ASSERT_EQ(remote.last().answers.size(), 1u);
  EXPECT_EQ(std::get<std::string>(remote.last().answers[0].id), "abc");
  EXPECT_EQ(std::get<transport::messages::JsonRpcError>(remote.last().answers[0].outcome).code, -32601);
}

TEST_F(Networked, WhatIsNoJsonRpc_IsAnsweredAsTheStandardSays) {
  auto& remote = service("one");
  start(networked("one"));
  remote.send(remote.last(), "{oops");
  remote.send(remote.last(), "1");
  settle();
  ASSERT_EQ(remote.last().answers.size(), 2u);
  EXPECT_EQ(std::get<transport::messages::JsonRpcError>(remote.last().answers[0].outcome).code, -32700);
  EXPECT_EQ(std::get<transport::messages::JsonRpcError>(remote.last().answers[1].outcome).code, -32600);
  EXPECT_EQ(status("one"), ServiceStatus::running);
}

TEST_F(Networked, BodyBeyondTheLimits_EndsTheStreamAndIsReconnected) {
  auto& remote = service("one");
  start(networked("one"));
  remote.send(remote.last(), std::string(100, '[') + std::string(100, ']'));
  settle();
  EXPECT_EQ(status("one"), ServiceStatus::reconnecting);
  ASSERT_EQ(all<connector::ServiceError>().size(), 1u);
  EXPECT_NE(all<connector::ServiceError>()[0].error.find("deeper than 64"), std::string::npos);
}

TEST_F(Networked, FloodOfMessages_IsReadToTheEndWithoutLoss) {
  auto& remote = service("one");
  start(networked("one"));
  for (int i = 0; i < 2000; ++i) {
    while (remote.send(remote.last(), R"({"jsonrpc":"2.0","method":"log"})") == transport::SendStatus::full)
      settle();
  }
  settle();
  EXPECT_EQ(all<transport::messages::JsonRpcNotification>().size(), 2000u);
  EXPECT_EQ(status("one"), ServiceStatus::running);
}

TEST_F(Networked, Greeting_IsSentInOrderAndAnsweredBeforeItRuns) {
  auto& remote = service("one");
  remote.on_request = ScriptService::silence;
  connector::ServicePolicy policy;
  policy.greeting = {{"initialize", boost::json::object{{"processId", nullptr}}},
                     {"initialized", boost::json::object{}, true},
                     {"configure"}};
  const auto outcome = start_later(networked("one"), policy);
  EXPECT_EQ(remote.last().methods, std::vector<std::string>{"initialize"});
  remote.send(remote.last(), R"({"jsonrpc":"2.0","result":{},"id":1})");
  settle();
  EXPECT_EQ(remote.last().methods, (std::vector<std::string>{"initialize", "initialized", "configure"}));
  EXPECT_EQ(text_of(*outcome), "(not completed)");
  remote.send(remote.last(), R"({"jsonrpc":"2.0","error":{"code":-32601,"message":"no"},"id":2})");
  settle();
  EXPECT_EQ(text_of(*outcome), "ok");
  EXPECT_EQ(remote.last().methods.back(), "ping");
}

TEST_F(Networked, Greeting_NeverAnswered_IsConnectionFailed) {
  auto& remote = service("one");
  remote.on_request = ScriptService::silence;
  connector::ServicePolicy policy;
  policy.greeting = {{"initialize"}};
  const auto outcome = start_later(networked("one"), policy);
  advance(seconds(31));
  EXPECT_EQ(text_of(*outcome), "Connection failed: not up within 30 s");
}

TEST_F(Networked, Greeting_IsSentAgainAfterAReconnect) {
  auto& remote = service("one");
  connector::ServicePolicy policy;
  policy.greeting = {{"initialize"}};
  start(networked("one"), policy);
  fail("one", "bad");
  advance(seconds(1));
  EXPECT_EQ(remote.last().methods, (std::vector<std::string>{"initialize", "ping"}));
  EXPECT_EQ(status("one"), ServiceStatus::running);
}

// Supervision.

class Supervised : public LifecycleTest {
 protected:
  void start_three() {
    for (const char* name : {"a", "b", "c"}) {
      service(name);
      ASSERT_EQ(text_of(start(networked(name))), "ok");
    }
    forget();
  }
  void crash(const std::string& name) {
    service(name).last().link->cancel(Error(errc::cancelled, "crash"));
    settle();
  }
};

TEST_F(Supervised, OneForOne_RestartsTheFailedOneOnly) {
  config.supervision.strategy = connector::SupervisionStrategy::one_for_one;
  start_three();
  crash("b");
  advance(seconds(2));
  EXPECT_EQ(service("a").sessions().size(), 1u);
  EXPECT_EQ(service("b").sessions().size(), 2u);
  EXPECT_EQ(service("c").sessions().size(), 1u);
}

TEST_F(Supervised, RestForOne_RestartsThoseStartedAfterItInOrder) {
  config.supervision.strategy = connector::SupervisionStrategy::rest_for_one;
  start_three();
  crash("a");
  EXPECT_EQ(status("b"), ServiceStatus::reconnecting);
  EXPECT_EQ(status("c"), ServiceStatus::reconnecting);
  EXPECT_EQ(service("c").open_sessions(), 0u);
  advance(seconds(5));
  std::vector<std::string> order;
  for (const EventRef& event : events) {
    if (event->is<connector::ServiceReconnected>()) order.emplace_back(event->routing().connector_id.value_or(""));
  }
  EXPECT_EQ(order, (std::vector<std::string>{"a", "b", "c"}));
  EXPECT_EQ(service("a").sessions().size(), 2u);
  EXPECT_EQ(service("c").sessions().size(), 2u);
}

TEST_F(Supervised, RestForOne_LeavesThoseBeforeItAlone) {
  config.supervision.strategy = connector::SupervisionStrategy::rest_for_one;
  start_three();
  crash("b");
  advance(seconds(5));
  EXPECT_EQ(service("a").sessions().size(), 1u);
  EXPECT_EQ(service("b").sessions().size(), 2u);
  EXPECT_EQ(service("c").sessions().size(), 2u);
}

TEST_F(Supervised, RestForOne_NeverOverridesAutoReconnectOff) {
  config.supervision.strategy = connector::SupervisionStrategy::rest_for_one;
  start_three();
  set_auto_reconnect("b", false);
  crash("a");
  advance(seconds(5));
  EXPECT_EQ(service("b").sessions().size(), 1u);
  EXPECT_EQ(service("c").sessions().size(), 2u);
}

TEST_F(Supervised, RestForOne_FirstFailsForGood_SoDoTheRest) {
  config.supervision.strategy = connector::SupervisionStrategy::rest_for_one;
  start_three();
  service("a").kill();
  advance(seconds(60));
  for (const char* name : {"a", "b", "c"})
    EXPECT_EQ(status(name), ServiceStatus::error) << name;
}

TEST_F(Supervised, RestForOne_FirstStopped_RestComesBackWithoutIt) {
  config.supervision.strategy = connector::SupervisionStrategy::rest_for_one;
  start_three();
  service("a").kill();
  settle();
  stop("a");
  advance(seconds(5));
  EXPECT_EQ(status("b"), ServiceStatus::running);
  EXPECT_EQ(status("c"), ServiceStatus::running);
}

TEST_F(Supervised, Intensity_CrashLoop_IsGivenUp) {
  config.supervision = {connector::SupervisionStrategy::one_for_one, 3, seconds(60)};
  start_three();
  for (int i = 0; i < 4; ++i) {
    crash("b");
    advance(seconds(2));
  }
  EXPECT_EQ(status("b"), ServiceStatus::error);
  EXPECT_EQ(all<connector::ServiceReconnected>().size(), 3u);
  EXPECT_EQ(all<connector::ServiceReconnectFailed>().size(), 1u);
}

TEST_F(Supervised, OffByDefault_CrashLoopGoesOn) {
  start_three();
  for (int i = 0; i < 20; ++i) {
    crash("b");
    advance(seconds(2));
  }
  EXPECT_EQ(status("b"), ServiceStatus::running);
}

}  // namespace
}  // namespace sharingbus::test

// Asking connectors to reconnect: to rebalance, and when the gateway closes. With real runners at the other end.
#include <gmock/gmock.h>

#include "connector/registration/multi_connector_runner.hpp"
#include "tests/connector/gateway/gateway_fixture.hpp"
#include "tests/connector/registration/test_connectors.hpp"

namespace sharingbus::test {
namespace {

using ::testing::SizeIs;

class GatewayReconnectTest : public GatewayFixture {
 protected:
  void start_runner(std::shared_ptr<connector::Connector> connector) {
    connector::RunnerOptions with;
    with.log = nullptr;
    with.reconnect_jitter = {};
    runner.emplace(io.get_executor(), bus, time, *dialer, with,
                   std::vector<connector::Registration>{
                       {{.tenant = "acme", .type = "held", .instance = "one"}, std::move(connector)}});
    runner->run([this](const Error&) { ended = true; });
    run();
  }
  void TearDown() override {
    if (runner) {
      runner->shutdown_handle().shutdown();
      run();
      step(6s);
      EXPECT_TRUE(ended);
      runner.reset();
    }
    GatewayFixture::TearDown();
  }
  /// Time moves on in small steps, with everything running in between.
  void step(Duration by) {
    for (Duration done{}; done < by; done += 50ms)
      advance(50ms);
  }

  std::optional<connector::MultiConnectorRunner> runner;
  bool ended = false;
};

TEST_F(GatewayReconnectTest, AskToReconnect_UnknownAddress_IsFalse) {
  start();
  EXPECT_FALSE(gateway->ask_to_reconnect("acme.echo.one"));
}

TEST_F(GatewayReconnectTest, AskToReconnect_OldConnectorThatIgnoresIt_StaysAndIsAskedAgain) {
  start();
  const auto connector = connect("one");
  ASSERT_TRUE(gateway->ask_to_reconnect("acme.echo.one"));
  run();
  auto asked = connector->next<messages::HeartbeatResponse>();
  ASSERT_TRUE(asked);
  EXPECT_TRUE(asked->should_reconnect);
  connector->send(messages::HeartbeatRequest{"", 7});
  run();
  asked = connector->next<messages::HeartbeatResponse>();
  EXPECT_TRUE(asked && asked->should_reconnect && asked->timestamp_ms == 7);
  EXPECT_EQ(gateway->session_count(), 1U);
}

TEST_F(GatewayReconnectTest, AskToReconnect_UnderLoad_LosesNothing) {
  start();
  const auto held = std::make_shared<HeldConnector>();
  start_runner(held);
  ASSERT_EQ(gateway->session_count(), 1U);
  std::vector<std::shared_ptr<Outcome>> outcomes;
  for (int round = 0; round < 20; ++round) {
    for (int i = 0; i < 10; ++i)
      outcomes.push_back(execute("acme.held.one"));
    run();
    ASSERT_TRUE(gateway->ask_to_reconnect("acme.held.one"));
    for (int i = 0; i < 30; ++i) {
      outcomes.push_back(execute("acme.held.one"));
      advance(500ms);
      if (i % 3 == 0) held->release(4);
    }
    held->release();
    run();
  }
  held->release_for_good();
  step(1s);
  for (const auto& outcome : outcomes) {
    ASSERT_TRUE(outcome->done);
    EXPECT_FALSE(outcome->error) << to_string(outcome->error);
    EXPECT_TRUE(outcome->reply.success);
    EXPECT_EQ(outcome->calls, 1);
  }
  EXPECT_GT(events<ConnectorRegistered>(observer).size(), 5U) << "it was replaced again and again";
  EXPECT_EQ(gateway->session_count(), 1U);
}

TEST_F(GatewayReconnectTest, Close_TellsTheConnectorsAndLosesNothing) {
  start();
  const auto held = std::make_shared<HeldConnector>();
  start_runner(held);
  const auto outcome = execute("acme.held.one");
  run();
  bool closed = false;
  gateway->close(30s, [&] { closed = true; });
  step(3s);
  EXPECT_FALSE(closed) << "waits for what is in flight";
  held->release_for_good();
  step(1s);
  EXPECT_TRUE(closed);
  EXPECT_FALSE(outcome->error) << to_string(outcome->error);
  EXPECT_TRUE(outcome->reply.success);
  gateway.reset();
  start();
  step(60s);
  EXPECT_EQ(gateway->session_count(), 1U) << "and they come to the next one";
}

TEST_F(GatewayReconnectTest, RefuseNew_ReplacementComesBehindTheOld) {
  auto with = options();
  with.duplicates = connector::DuplicatePolicy::refuse_new;
  start(std::move(with));
  const auto held = std::make_shared<HeldConnector>();
  start_runner(held);
  const auto outcome = execute("acme.held.one");
  run();
  ASSERT_TRUE(gateway->ask_to_reconnect("acme.held.one"));
  step(2s);
  held->release_for_good();
  step(5s);
  EXPECT_FALSE(outcome->error) << to_string(outcome->error);
  EXPECT_EQ(gateway->session_count(), 1U);
  EXPECT_EQ(events<ConnectorRegistered>(observer).size(), 2U);
}

}  // namespace
}  // namespace sharingbus::test

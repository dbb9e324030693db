// A runner whose stream, gateway, dialer, bus or connector fails.
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "tests/connector/registration/runner_world.hpp"

namespace sharingbus::connector {
namespace {

namespace messages = transport::messages;
using test::echo;
using test::HeldConnector;
using test::milliseconds;
using test::seconds;

class RunnerLifeTest : public test::RunnerTest {
 protected:
  RunnerLifeTest() { options.jitter_mode = JitterMode::additive; }

  std::vector<std::int64_t> waits_ms() const {
    std::vector<std::int64_t> waits;
    for (const BackingOff& wait : world.all<BackingOff>()) {
      waits.push_back(std::chrono::duration_cast<milliseconds>(wait.delay).count());
    }
    return waits;
  }
};

TEST_F(RunnerLifeTest, NobodyListens_TriesAgainWithBackoffUntilSomebodyDoes) {
  run(echo());
  world.advance(milliseconds(500 + 1'000 + 2'000 + 4'000));
  EXPECT_EQ(waits_ms(), (std::vector<std::int64_t>{500, 1'000, 2'000, 4'000, 8'000}));
  gateway.listen();
  world.advance(seconds(8) - milliseconds(1));
  EXPECT_EQ(gateway.sessions().size(), 0u);
  world.advance(milliseconds(1));
  EXPECT_EQ(gateway.open_sessions(), 1u);
  shutdown();
  expect_nothing_left();
}

TEST_F(RunnerLifeTest, GatewayKilledAndBack_ComesBackWithItsToken) {
  gateway.listen();
  run(echo());
  world.advance(seconds(11));
  gateway.kill();
  world.settle();
  EXPECT_EQ(world.all<Disconnected>().at(0).reason, "stream-error");
  gateway.listen();
  world.advance(milliseconds(500));
  ASSERT_EQ(gateway.open_sessions(), 1u);
  EXPECT_EQ(gateway.last().hello->session_token, "session-1");
  EXPECT_TRUE(world.all<Registered>().at(1).again);
  gateway.execute(gateway.last(), "after");
  world.settle();
  EXPECT_NE(gateway.last().answer("after"), nullptr);
}

TEST_F(RunnerLifeTest, AcceptAndClose_IsNoHotLoop) {
  gateway.on_register = [this](const auto& hello) {
    gateway.send(gateway.last(), test::ScriptGateway::yes(hello));
    gateway.last().link->finish();
    return std::optional<messages::RegisterResponse>();
  };
  gateway.listen();
  run(echo());
  world.advance(milliseconds(500 + 1'000 + 2'000));
  EXPECT_EQ(world.all<Registered>().size(), 4u);
  EXPECT_EQ(waits_ms(), (std::vector<std::int64_t>{500, 1'000, 2'000, 4'000}));
}

TEST_F(RunnerLifeTest, GatewayThatNeverAnswers_TimesOutAfterThriceTheConnectTimeout) {
  options.connect_timeout = seconds(2);
  gateway.on_register = [](const auto&) { return std::optional<messages::RegisterResponse>(); };
  gateway.listen();
  run(echo());
  world.advance(seconds(6) - Duration(1));
  EXPECT_TRUE(world.all<RegistrationFailed>().empty());
  world.advance(Duration(1));
  EXPECT_EQ(to_string(world.all<RegistrationFailed>().at(0).error), "register response not received within deadline");
  EXPECT_EQ(gateway.open_sessions(), 0u);
}

TEST_F(RunnerLifeTest, SilentGateway_IsLeftByTheWatchdog) {
  gateway.answer_heartbeats = false;
  gateway.listen();
  run(echo());
  world.advance(seconds(45));
  EXPECT_EQ(gateway.last().heartbeats, 1u);
  EXPECT_EQ(gateway.open_sessions(), 1u);
  world.advance(Duration(1));
  EXPECT_EQ(world.all<Disconnected>().at(0).reason, "heartbeat-timeout");
  world.advance(milliseconds(500));
  EXPECT_EQ(gateway.open_sessions(), 1u) << "a new one";
  EXPECT_EQ(gateway.sessions().size(), 2u);
}

// Reference cases: heartbeat 5 s / 15 s from the options, defaults 30 / 45.
TEST_F(RunnerLifeTest, Heartbeats_FollowTheOptions) {
  options.heartbeat_interval = seconds(5);
  options.heartbeat_timeout = seconds(15);
  gateway.listen();
  run(echo());
  world.advance(seconds(60));
  EXPECT_EQ(gateway.last().heartbeats, 12u);
  EXPECT_EQ(gateway.sessions().size(), 1u);
  gateway.answer_heartbeats = false;
  world.advance(seconds(15));
  EXPECT_EQ(gateway.open_sessions(), 1u);
  world.advance(Duration(1));
  EXPECT_EQ(gateway.open_sessions(), 0u);
}

// Durations that mean "never" must not overflow.
TEST_F(RunnerLifeTest, HugeTimes_AreFine) {
  options.connect_timeout = options.heartbeat_timeout = options.minimum_stream_life = options.drain =
      options.max_backoff = options.reconnect_delay = options.heartbeat_slack = options.request_timeout =
          Duration::max();
  gateway.answer_heartbeats = false;
  gateway.listen();
  run(echo());
  world.advance(std::chrono::hours(1));
  EXPECT_EQ(gateway.last().heartbeats, 120u);
  EXPECT_EQ(gateway.sessions().size(), 1u);
  gateway.kill();
  world.advance(std::chrono::hours(1));
  shutdown();
  expect_nothing_left();
}

TEST_F(RunnerLifeTest, RequestsOfALostStream_AreNotAnsweredOnTheNext) {
  auto held = std::make_shared<HeldConnector>();
  held->ignore_cancellation = true;
  gateway.listen();
  run(held);
  gateway.execute(gateway.last(), "old");
  world.settle();
  gateway.last().link->cancel(Error(errc::stream_failed, "broken"));
  world.advance(milliseconds(500));
  ASSERT_EQ(gateway.open_sessions(), 1u);
  held->release_for_good();
  gateway.execute(gateway.last(), "new");
  world.settle();
  EXPECT_EQ(gateway.last().answers.size(), 1u);
  EXPECT_NE(gateway.last().answer("new"), nullptr);
  const auto finished = world.all<ExecuteFinished>();
  ASSERT_EQ(finished.size(), 2u);
  EXPECT_EQ(finished[0].request_id, "old");
  EXPECT_FALSE(finished[0].success);
  EXPECT_EQ(finished[0].error, "the stream ended before the answer");
}

TEST_F(RunnerLifeTest, HandlersOfALostStream_AreCancelled) {
  auto held = std::make_shared<HeldConnector>();
  gateway.listen();
  run(held);
  for (int i = 0; i < 5; ++i)
    gateway.execute(gateway.last(), std::to_string(i));
  world.settle();
  gateway.last().link->finish();
  world.settle();
  EXPECT_EQ(held->cancelled, 5u);
  EXPECT_EQ(held->running, 0u);
}

TEST_F(RunnerLifeTest, MessageAboveTheInboundLimit_EndsThatStreamWithANamedError) {
  gateway.listen();
  run(echo());
  gateway.execute(gateway.last(), "big", '"' + std::string(5 * 1024 * 1024, 'x') + '"');
  world.settle();
  const auto disconnected = world.all<Disconnected>();
  ASSERT_EQ(disconnected.size(), 1u);
  EXPECT_EQ(disconnected[0].reason, "stream-error");
  EXPECT_TRUE(disconnected[0].detail.is(errc::message_too_large)) << to_string(disconnected[0].detail);
  world.advance(milliseconds(500));
  EXPECT_EQ(gateway.open_sessions(), 1u);
}

TEST_F(RunnerLifeTest, ReconnectOff_EndsWithWhatEndedIt) {
  options.reconnect = false;
  gateway.listen();
  run(echo());
  gateway.last().link->finish();
  world.settle();
  ASSERT_TRUE(ended.has_value());
  EXPECT_EQ(to_string(*ended), "server-closed");
  EXPECT_EQ(to_string(world.all<RegistrationEnded>().at(0).error), "server-closed");
  expect_nothing_left();
}

TEST_F(RunnerLifeTest, DialerClosed_FailsEveryAttemptUntilShutdown) {
  gateway.listen();
  run(echo());
  world.dialer->close(nullptr);
  world.settle();
  EXPECT_EQ(world.all<Disconnected>().size(), 1u);
  world.advance(seconds(10));
  EXPECT_FALSE(ended.has_value());
  EXPECT_GE(world.all<RegistrationFailed>().size(), 3u);
  shutdown();
  expect_nothing_left();
}

TEST_F(RunnerLifeTest, BusClosed_EndsTheRunner) {
  auto held = std::make_shared<HeldConnector>();
  gateway.listen();
  run(held);
  gateway.execute(gateway.last(), "r");
  world.settle();
  world.bus.close();
  world.settle();
  ASSERT_TRUE(ended.has_value());
  EXPECT_FALSE(*ended);
  EXPECT_EQ(held->cancelled, 1u);
  EXPECT_EQ(world.dialer->stats().streams, 0u);
  EXPECT_EQ(world.timers.pending(), 0u);
}

TEST_F(RunnerLifeTest, BusClosedBeforeTheStart_EndsTheRunner) {
  gateway.listen();
  world.bus.close();
  run(echo());
  ASSERT_TRUE(ended.has_value());
  EXPECT_FALSE(*ended);
  EXPECT_EQ(world.timers.pending(), 0u);
}

// Asked what it is, a connector may throw; that is a failed attempt like any other.
struct Shy : Connector {
  std::string connector_type() const override { return "shy"; }
  Context metadata() const override {
    if (fails) throw std::runtime_error("not today");
    return {};
  }
  bool fails = true;
};

TEST_F(RunnerLifeTest, ConnectorThatFailsToDescribeItself_IsAskedAgainLater) {
  auto shy = std::make_shared<Shy>();
  gateway.listen();
  run(shy);
  EXPECT_EQ(to_string(world.all<RegistrationFailed>().at(0).error),
            "the connector failed to describe itself: not today");
  EXPECT_EQ(gateway.sessions().size(), 0u);
  shy->fails = false;
  world.advance(milliseconds(500));
  EXPECT_EQ(gateway.open_sessions(), 1u);
  shutdown();
  expect_nothing_left();
}

// Under the manual engine a full ingress lets events go. Whatever was lost, also the end of the stream itself, the
// runner must neither hang nor leave a request without an end.
TEST(RunnerOnALossyBus, LostEvents_BreakTheStreamAndReconnect) {
  test::World world({.ingress_capacity = 16, .engine = Engine::manual});
  RunnerOptions options = test::test_options();
  options.jitter_mode = JitterMode::additive;
  world.gateway.listen();
  RegistrationRunner runner(world.io.get_executor(), world.bus, world.timers, *world.dialer, test::registration(echo()),
                            options);
  bool ended = false;
  runner.start([&](const Error&) { ended = true; });
  world.settle();
  ASSERT_EQ(world.gateway.open_sessions(), 1u);
  for (int i = 0; i < 100; ++i)
    world.gateway.execute(world.gateway.last(), std::to_string(i));
  world.settle();
  ASSERT_GT(world.bus.snapshot().ingress_lost, 0u);
  ASSERT_GE(world.all<Disconnected>().size(), 1u);
  EXPECT_EQ(world.all<Disconnected>()[0].reason, "stream-error");
  EXPECT_EQ(to_string(world.all<Disconnected>()[0].detail), "the bus lost events of the stream");
  world.advance(seconds(1));
  EXPECT_EQ(world.all<Registered>().size(), 2u);
  runner.shutdown();
  world.advance(seconds(2));
  EXPECT_TRUE(ended);
  EXPECT_EQ(world.dialer->stats().streams, 0u);
}

}  // namespace
}  // namespace sharingbus::connector

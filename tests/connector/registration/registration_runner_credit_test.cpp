// Room and credit (spec 2, first part): no request is lost, none is held beyond the limit and the line, heartbeats get
// through, and a peer that does not read fills nothing.
#include <algorithm>
#include <cstddef>
#include <memory>
#include <string>

#include <gtest/gtest.h>

#include "tests/connector/registration/runner_world.hpp"

namespace sharingbus::connector {
namespace {

namespace messages = transport::messages;
using test::echo;
using test::HeldConnector;
using test::milliseconds;
using test::seconds;

class RunnerCreditTest : public test::RunnerTest {
 protected:
  RunnerCreditTest() {
    SubscriptionOptions all;
    watcher_ = world.bus.subscribe_inline(std::move(all), [this](const EventRef& event) {
      if (event->origin() == EventOrigin::transport && event->is<messages::ExecuteRequest>()) ++inside_;
      if (event->is<ExecuteFinished>()) --inside_;
      most_inside = std::max(most_inside, inside_);
    });
  }

  void run_and_register(std::shared_ptr<Connector> connector) {
    gateway.listen();
    run(std::move(connector));
    ASSERT_EQ(gateway.open_sessions(), 1u);
  }
  void send_requests(int count) {
    for (int i = 0; i < count; ++i) {
      ASSERT_EQ(gateway.execute(gateway.last(), "r" + std::to_string(i)), transport::SendStatus::queued);
    }
    world.settle();
  }
  std::uint64_t lagged() const {
    const auto stats = world.subscription("registration acme." + type + ".one");
    EXPECT_TRUE(stats.has_value());
    return stats ? stats->lagged : 0;
  }

  std::string type = "held";
  /// Requests that left the transport and have no end yet.
  std::size_t most_inside = 0;

 private:
  std::size_t inside_ = 0;
  Subscription watcher_;
};

TEST_F(RunnerCreditTest, ManyRequestsAtOnce_AreReadOnlyWhileThereIsRoomAndNoneIsLost) {
  options.max_concurrent_requests = 4;
  options.max_waiting_requests = 16;
  auto held = std::make_shared<HeldConnector>();
  run_and_register(held);
  send_requests(3'000);
  EXPECT_EQ(most_inside, 20u) << "limit and line are full, and no more was read";
  EXPECT_EQ(held->running, 4u);
  for (int step = 0; step < 100; ++step) {
    held->release(3);
    world.settle();
  }
  EXPECT_EQ(gateway.last().answers.size(), 300u);
  EXPECT_EQ(most_inside, 20u);
  held->release_for_good();
  world.settle();
  ASSERT_EQ(gateway.last().answers.size(), 3'000u);
  for (int i = 0; i < 3'000; ++i) {
    ASSERT_EQ(gateway.last().answers[static_cast<std::size_t>(i)].request_id, "r" + std::to_string(i));
  }
  EXPECT_EQ(most_inside, 20u);
  EXPECT_EQ(held->most_running, 4u);
  EXPECT_EQ(lagged(), 0u);
  shutdown();
  expect_nothing_left();
}

TEST_F(RunnerCreditTest, Default_HoldsTheLimitAndTheLine) {
  auto held = std::make_shared<HeldConnector>();
  run_and_register(held);
  send_requests(3'000);
  EXPECT_EQ(held->running, 100u);
  EXPECT_EQ(most_inside, 1'124u);
  held->release_for_good();
  world.settle();
  EXPECT_EQ(gateway.last().answers.size(), 3'000u);
  EXPECT_EQ(lagged(), 0u);
}

TEST_F(RunnerCreditTest, BusyConnector_StillSeesHeartbeats) {
  options.max_concurrent_requests = 1;
  options.max_waiting_requests = 2;
  auto held = std::make_shared<HeldConnector>();
  run_and_register(held);
  send_requests(2);
  for (int i = 0; i < 1'000; ++i)
    gateway.send(gateway.last(), messages::HeartbeatRequest{});
  world.settle();
  EXPECT_EQ(gateway.last().heartbeat_answers, 1'000u);
  world.advance(std::chrono::minutes(10));
  EXPECT_EQ(gateway.last().heartbeats, 20u);
  EXPECT_EQ(gateway.open_sessions(), 1u) << "the watchdog was fed";
}

TEST_F(RunnerCreditTest, ReadingPaused_HeartbeatsGoOnAndTheWatchdogRests) {
  options.max_concurrent_requests = 1;
  options.max_waiting_requests = 1;
  auto held = std::make_shared<HeldConnector>();
  run_and_register(held);
  send_requests(5);
  world.advance(std::chrono::minutes(10));
  EXPECT_EQ(gateway.last().heartbeats, 20u);
  EXPECT_EQ(gateway.sessions().size(), 1u);
  EXPECT_EQ(gateway.open_sessions(), 1u);
  gateway.answer_heartbeats = false;
  held->release_for_good();
  world.settle();
  EXPECT_EQ(gateway.last().answers.size(), 5u) << "what waited in the stream was not lost";
  world.advance(seconds(45));
  EXPECT_EQ(gateway.open_sessions(), 1u) << "re-armed at the resume";
  world.advance(Duration(1));
  EXPECT_EQ(gateway.open_sessions(), 0u);
  EXPECT_EQ(world.all<Disconnected>().at(0).reason, "heartbeat-timeout");
}

// The place of a handler that outlived its stream comes back to the next one; the watchdog must be re-armed by that
// too.
TEST_F(RunnerCreditTest, HandlersOfTheLastStream_TakeRoomUntilTheyReturn) {
  options.max_concurrent_requests = 2;
  options.max_waiting_requests = 1;
  auto held = std::make_shared<HeldConnector>();
  held->ignore_cancellation = true;
  run_and_register(held);
  send_requests(2);
  gateway.last().link->cancel(Error(errc::stream_failed, "broken"));
  world.advance(seconds(1));
  ASSERT_EQ(gateway.open_sessions(), 1u);
  most_inside = 0;
  gateway.answer_heartbeats = false;
  send_requests(3);
  EXPECT_EQ(held->called, 2u) << "both permits are still taken";
  world.advance(seconds(100));
  EXPECT_EQ(gateway.open_sessions(), 1u) << "paused";
  held->release(2);
  world.settle();
  EXPECT_EQ(held->running, 2u);
  world.advance(seconds(46));
  EXPECT_EQ(gateway.open_sessions(), 1u) << "a third request was read and the stream is paused again";
  held->release_for_good();
  world.settle();
  EXPECT_EQ(gateway.last().answers.size(), 3u);
  world.advance(seconds(45));
  EXPECT_FALSE(gateway.session(1).closed.has_value());
  world.advance(Duration(1));
  EXPECT_TRUE(gateway.session(1).closed.has_value());
}

TEST_F(RunnerCreditTest, PeerThatDoesNotReadAnswers_GetsNoMoreRequestsRead) {
  options.limits.outbound_capacity = 8;
  options.max_concurrent_requests = 4;
  options.max_waiting_requests = 16;
  gateway.credit = {.requests = 1, .controls = 1};  // the register message
  type = "echo";
  run_and_register(echo());
  gateway.last().link->grant({.requests = 0, .controls = 0});
  send_requests(3'000);
  const auto finished = world.all<ExecuteFinished>().size();
  EXPECT_LE(finished, 8u + 20u + 1u) << "answers in the link and in the runner are bounded";
  gateway.last().link->grant({.requests = 0, .controls = 1'000'000});
  world.settle();
  EXPECT_EQ(gateway.last().answers.size(), 3'000u);
  EXPECT_EQ(lagged(), 0u);
}

// A peer that asks for heartbeats without end but reads no answer must not fill the runner's memory.
TEST_F(RunnerCreditTest, PeerThatDoesNotReadHeartbeats_IsReadNoMore) {
  options.limits.outbound_capacity = 8;
  gateway.credit = {.requests = 1, .controls = 1};
  type = "echo";
  run_and_register(echo());
  for (int i = 0; i < 10'000; ++i)
    gateway.send(gateway.last(), messages::HeartbeatRequest{});
  world.settle();
  EXPECT_LT(world.all<messages::HeartbeatRequest>(runner->uid()).size(), 300u);
  EXPECT_EQ(lagged(), 0u);
  gateway.last().link->grant({.requests = 0, .controls = 1'000'000});
  world.settle();
  EXPECT_EQ(gateway.last().heartbeat_answers, 10'000u);
}

// "Heartbeat send can block on the full queue so the watchdog cannot fire" (protocol-connector §8.2, 19).
TEST_F(RunnerCreditTest, PeerThatReadsNothing_IsLeftByTheWatchdogEvenUnderFullLoad) {
  options.limits.outbound_capacity = 2;
  options.max_concurrent_requests = 2;
  options.max_waiting_requests = 2;
  gateway.credit = {.requests = 1, .controls = 1};
  type = "echo";
  run_and_register(echo());
  send_requests(100);
  world.advance(seconds(45));
  EXPECT_EQ(gateway.open_sessions(), 1u);
  world.advance(Duration(1));
  EXPECT_TRUE(gateway.session(0).closed.has_value());
  EXPECT_EQ(world.all<Disconnected>().at(0).reason, "heartbeat-timeout");
}

TEST_F(RunnerCreditTest, PeerThatReadsSlowlyUnderFullLoad_IsNotLeft) {
  options.limits.outbound_capacity = 4;
  options.max_concurrent_requests = 8;
  options.max_waiting_requests = 8;
  gateway.credit = {.requests = 1, .controls = 1};
  type = "echo";
  run_and_register(echo());
  send_requests(100);
  for (int i = 0; i < 60; ++i) {
    world.advance(seconds(10));
    gateway.last().link->grant({.requests = 0, .controls = 1});
    world.settle();
  }
  EXPECT_EQ(gateway.sessions().size(), 1u);
  EXPECT_EQ(gateway.open_sessions(), 1u);
  EXPECT_GT(gateway.last().answers.size(), 30u);
}

TEST_F(RunnerCreditTest, HeartbeatsToAPeerThatReadsNothing_DoNotPileUp) {
  options.limits.outbound_capacity = 1;
  options.heartbeat_timeout = std::chrono::hours(24);
  gateway.credit = {.requests = 1, .controls = 1};
  type = "echo";
  run_and_register(echo());
  world.advance(std::chrono::hours(10));
  gateway.last().link->grant({.requests = 0, .controls = 1'000'000});
  world.settle();
  EXPECT_LE(gateway.last().heartbeats, 2u) << "one in the link, one behind it";
  world.advance(seconds(30));
  EXPECT_GE(gateway.last().heartbeats, 2u) << "and then they flow again";
  EXPECT_LE(gateway.last().heartbeats, 4u);
}

}  // namespace
}  // namespace sharingbus::connector

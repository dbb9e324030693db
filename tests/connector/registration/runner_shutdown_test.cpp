// Shutdown: at once where nothing is in flight, a drain where something is, and nothing left behind (spec 2 and 3).
#include <algorithm>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "tests/connector/registration/runner_world.hpp"

namespace sharingbus::connector {
namespace {

namespace asio = boost::asio;
namespace json = boost::json;
namespace messages = transport::messages;
using test::echo;
using test::HeldConnector;
using test::milliseconds;
using test::seconds;

class RunnerShutdownTest : public test::RunnerTest {
 protected:
  void run_and_register(std::shared_ptr<Connector> connector) {
    gateway.listen();
    run(std::move(connector));
    ASSERT_EQ(gateway.open_sessions(), 1u);
  }
  void expect_clean_end() {
    ASSERT_TRUE(ended.has_value());
    EXPECT_FALSE(*ended) << to_string(*ended);
    expect_nothing_left();
  }
};

TEST_F(RunnerShutdownTest, Idle_EndsAtOnceInGoodOrder) {
  run_and_register(echo());
  shutdown();
  expect_clean_end();
  ASSERT_TRUE(gateway.last().closed.has_value());
  EXPECT_TRUE(gateway.last().closed->is(errc::stream_closed)) << "no broken stream at the gateway";
  EXPECT_EQ(world.all<Disconnected>().at(0).reason, "shutdown");
}

TEST_F(RunnerShutdownTest, WhileBackingOff_EndsAtOnce) {
  run(echo());
  shutdown();
  expect_clean_end();
}

TEST_F(RunnerShutdownTest, WhileWaitingForTheResponse_EndsAtOnce) {
  gateway.on_register = [](const auto&) { return std::optional<messages::RegisterResponse>(); };
  run_and_register(echo());
  shutdown();
  expect_clean_end();
}

TEST_F(RunnerShutdownTest, BeforeTheFirstStep_OpensNothing) {
  gateway.listen();
  runner = std::make_unique<RegistrationRunner>(world.io.get_executor(), world.bus, world.timers, *world.dialer,
                                                test::registration(echo()), options);
  runner->shutdown();
  runner->start([this](Error error) {
    ++times_ended;
    ended = std::move(error);
  });
  world.settle();
  expect_clean_end();
  EXPECT_EQ(world.dialer->stats().streams_opened, 0u);
  EXPECT_EQ(world.names(), std::vector<std::string>{"registration.ended"});
}

// Every moment of the handshake, one step of the executor at a time.
TEST_F(RunnerShutdownTest, AtEveryStepOfTheHandshake_EndsAtOnce) {
  gateway.listen();
  for (int steps = 0; steps < 40; ++steps) {
    times_ended = 0;
    ended.reset();
    runner = std::make_unique<RegistrationRunner>(world.io.get_executor(), world.bus, world.timers, *world.dialer,
                                                  test::registration(echo()), options);
    runner->start([this](Error error) {
      ++times_ended;
      ended = std::move(error);
    });
    world.io.restart();
    for (int i = 0; i < steps; ++i)
      world.io.poll_one();
    shutdown();
    expect_clean_end();
  }
}

TEST_F(RunnerShutdownTest, Twice_EndsOnce) {
  run_and_register(echo());
  runner->shutdown();
  shutdown();
  shutdown();
  expect_clean_end();
}

// After `ended` the bus, the timers and the dialer may be gone; a late signal must not touch them.
TEST_F(RunnerShutdownTest, AfterTheEnd_TouchesNothing) {
  auto timers = std::make_unique<test::ManualTimerService>();
  auto dialer = world.network.make_dialer("gateway");
  gateway.listen();
  RegistrationRunner late(world.io.get_executor(), world.bus, *timers, *dialer, test::registration(echo()), options);
  bool late_ended = false;
  late.start([&](const Error&) { late_ended = true; });
  world.settle();
  late.shutdown();
  world.settle();
  ASSERT_TRUE(late_ended);
  timers.reset();
  dialer.reset();
  late.shutdown();
  world.settle();
}

TEST_F(RunnerShutdownTest, RunningRequest_MayFinishWithinTheDrain) {
  auto held = std::make_shared<HeldConnector>();
  run_and_register(held);
  gateway.execute(gateway.last(), "r1");
  world.settle();
  shutdown();
  world.advance(seconds(3));
  EXPECT_FALSE(ended.has_value());
  held->release();
  world.settle();
  expect_clean_end();
  ASSERT_NE(gateway.last().answer("r1"), nullptr);
  EXPECT_TRUE(gateway.last().answer("r1")->success);
}

TEST_F(RunnerShutdownTest, RunningRequest_IsCancelledAndAnsweredAtTheEndOfTheDrain) {
  auto held = std::make_shared<HeldConnector>();
  run_and_register(held);
  gateway.execute(gateway.last(), "r1");
  world.settle();
  shutdown();
  world.advance(seconds(5) - Duration(1));
  EXPECT_FALSE(ended.has_value());
  world.advance(Duration(1));
  expect_clean_end();
  EXPECT_EQ(held->cancelled, 1u);
  ASSERT_EQ(gateway.last().answers.size(), 1u);
  EXPECT_EQ(gateway.last().answers[0].error, "Connector not running: cancelled at the end of the drain");
}

TEST_F(RunnerShutdownTest, WaitingAndLateRequests_AreAnsweredAsFailed) {
  options.max_concurrent_requests = 1;
  auto held = std::make_shared<HeldConnector>();
  run_and_register(held);
  for (const char* id : {"runs", "waits"})
    gateway.execute(gateway.last(), id);
  world.settle();
  shutdown();
  ASSERT_NE(gateway.last().answer("waits"), nullptr);
  EXPECT_EQ(gateway.last().answer("waits")->error, "Connector not running: the connector is shutting down");
  gateway.execute(gateway.last(), "late");
  world.settle();
  ASSERT_NE(gateway.last().answer("late"), nullptr);
  EXPECT_FALSE(gateway.last().answer("late")->success);
  held->release_for_good();
  world.settle();
  expect_clean_end();
  EXPECT_EQ(gateway.last().answers.size(), 3u);
}

// The stream ends with the drain, the runner not before its handler has returned, and then by itself.
TEST_F(RunnerShutdownTest, HandlerThatIgnoresCancellation_IsWaitedFor) {
  auto held = std::make_shared<HeldConnector>();
  held->ignore_cancellation = true;
  run_and_register(held);
  gateway.execute(gateway.last(), "r1");
  world.settle();
  shutdown();
  world.advance(seconds(60));
  EXPECT_EQ(gateway.open_sessions(), 0u);
  EXPECT_FALSE(ended.has_value());
  held->release();
  world.settle();
  expect_clean_end();
  EXPECT_EQ(gateway.last().answers.size(), 1u) << "not answered twice";
}

TEST_F(RunnerShutdownTest, StreamLostWithAStuckHandler_IsWaitedFor) {
  auto held = std::make_shared<HeldConnector>();
  held->ignore_cancellation = true;
  run_and_register(held);
  gateway.execute(gateway.last(), "r1");
  world.settle();
  gateway.last().link->cancel(Error(errc::stream_failed, "x"));
  world.settle();
  shutdown();
  EXPECT_FALSE(ended.has_value());
  held->release();
  world.settle();
  expect_clean_end();
}

// Against the contract, but a program that ends by an exception does it: no leak, and nothing freed is touched.
TEST_F(RunnerShutdownTest, LetGoWhileHandlersRun_StopsWhereItIs) {
  auto held = std::make_shared<HeldConnector>();
  run_and_register(held);
  gateway.execute(gateway.last(), "r1");
  world.settle();
  runner.reset();
  held->release();
  world.advance(seconds(60));
  EXPECT_EQ(times_ended, 0);
  EXPECT_EQ(held->running, 0u);
}

TEST_F(RunnerShutdownTest, PeerThatReadsNothing_IsBrokenAfterASecond) {
  options.limits.outbound_capacity = 1;
  gateway.credit = {.requests = 1, .controls = 1};
  run_and_register(echo());
  for (int i = 0; i < 10; ++i)
    gateway.execute(gateway.last(), std::to_string(i));
  world.settle();
  shutdown();
  world.advance(seconds(1) - Duration(1));
  EXPECT_FALSE(ended.has_value());
  world.advance(Duration(1));
  expect_clean_end();
}

/// Handlers that take as many virtual milliseconds as their payload says, unless they are cancelled.
class SleepyConnector : public Connector {
 public:
  explicit SleepyConnector(TimerService& timers) : timers_(timers) {}
  std::string connector_type() const override { return "sleepy"; }
  asio::awaitable<Result<json::value>> execute(json::value payload, std::optional<std::string>) override {
    const auto wake =
        std::make_shared<asio::steady_timer>(co_await asio::this_coro::executor, asio::steady_timer::time_point::max());
    const TimerId id = timers_.schedule_after(milliseconds(payload.as_int64()), [weak = std::weak_ptr(wake)] {
      if (const auto timer = weak.lock()) timer->cancel();
    });
    ++running;
    co_await wake->async_wait(asio::as_tuple(asio::use_awaitable));
    timers_.cancel(id);
    --running;
    co_return payload;
  }
  int running = 0;

 private:
  TimerService& timers_;
};

/// Some registrations and a moody gateway, driven by a seed.
class RandomLife {
 public:
  explicit RandomLife(unsigned seed) : random_(seed) {
    world.gateway.on_register = [this](const auto& hello) -> std::optional<messages::RegisterResponse> {
      const int mood = pick(0, 19);
      if (mood == 0) return std::nullopt;
      if (mood < 3) return test::ScriptGateway::no("moody");
      return test::ScriptGateway::yes(hello);
    };
    if (pick(0, 4) != 0) world.gateway.listen();
    RunnerOptions options = test::test_options();
    options.max_concurrent_requests = static_cast<std::size_t>(pick(1, 4));
    std::vector<Registration> registrations;
    for (int i = pick(1, 4); i > 0; --i)
      registrations.push_back(test::registration(connector, std::to_string(i)));
    sut.emplace(world.io.get_executor(), world.bus, world.timers, *world.dialer, options, std::move(registrations));
    sut->run([this](Error error) {
      ++times_ended;
      EXPECT_FALSE(error);
    });
  }

  void live() {
    for (int i = pick(0, 40); i > 0; --i)
      act();
    // The last moments are cut anywhere, in the middle of whatever goes on.
    for (int i = pick(0, 3); i > 0; --i)
      act(false);
    world.io.restart();
    for (int i = pick(0, 30); i > 0; --i)
      world.io.poll_one();
  }
  /// Handlers run, or requests are on their way.
  bool busy() const { return connector->running != 0 || unsettled_requests_; }

  test::World world;
  std::shared_ptr<SleepyConnector> connector = std::make_shared<SleepyConnector>(world.timers);
  std::optional<MultiConnectorRunner> sut;
  int times_ended = 0;

 private:
  int pick(int low, int high) { return std::uniform_int_distribution<int>(low, high)(random_); }
  test::ScriptGateway::Session* session() {
    std::vector<test::ScriptGateway::Session*> open;
    for (const auto& one : world.gateway.sessions()) {
      if (one->open() && one->link) open.push_back(one.get());
    }
    return open.empty() ? nullptr : open[static_cast<std::size_t>(pick(0, static_cast<int>(open.size()) - 1))];
  }

  void act(bool settle = true) {
    auto* one = session();
    switch (pick(0, 15)) {
      case 0:
        world.gateway.kill();
        break;
      case 1:
      case 6:
        world.gateway.kill(), world.gateway.listen();
        break;
      case 2:
        if (one != nullptr) one->link->finish();
        break;
      case 3:
        if (one != nullptr) one->link->cancel(Error(errc::stream_failed, "moody"));
        break;
      case 4:
        if (one != nullptr) {
          world.gateway.send(*one, messages::ApprovalNotification{"", messages::RegistrationStatus::rejected, "moody"});
        }
        break;
      case 5:
        world.gateway.answer_heartbeats = pick(0, 1) == 0;
        break;
      default:
        for (int i = pick(0, 6); one != nullptr && i > 0; --i) {
          world.gateway.execute(*one, "r", std::to_string(pick(0, 30'000)));
          unsettled_requests_ = true;
        }
    }
    if (!settle) return;
    world.advance(milliseconds(pick(0, 3) == 0 ? pick(0, 60'000) : pick(0, 1'500)));
    unsettled_requests_ = false;
  }

  std::mt19937 random_;
  bool unsettled_requests_ = false;
};

TEST(RunnerShutdownAnywhere, TwoThousandRandomPoints_LeaveNothing) {
  int idle = 0;
  for (unsigned seed = 0; seed < 2'000; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    RandomLife life(seed);
    test::World& world = life.world;
    life.live();
    const bool busy = life.busy();
    if (!busy) ++idle;
    life.sut->shutdown_handle().shutdown();
    world.advance(busy ? seconds(5) + milliseconds(10) : Duration(milliseconds(10)));
    ASSERT_EQ(life.times_ended, 1);
    EXPECT_EQ(world.gateway.open_sessions(), 0u);
    EXPECT_EQ(world.dialer->stats().streams, 0u);
    EXPECT_EQ(world.timers.pending(), 0u);
    EXPECT_EQ(life.connector->running, 0);
    EXPECT_EQ(world.gateway.violations, std::vector<std::string>{});
    for (const auto& [key, metrics] : life.sut->metrics_snapshot()) {
      EXPECT_LE(metrics.requests_received, metrics.requests_processed + metrics.requests_failed);
    }
    life.sut.reset();
    world.bus.publish(RegistrationNotice{});
    EXPECT_EQ(world.bus.subscriber_count(), 2u) << "the gateway's and the world's own";
    EXPECT_TRUE(test::check_balanced(world.bus));
    for (const auto& stats : world.bus.snapshot().subscriptions)
      EXPECT_EQ(stats.lagged, 0u) << stats.name;
    if (::testing::Test::HasFailure()) break;
  }
  EXPECT_GT(idle, 400) << "both kinds must have been tried";
  EXPECT_LT(idle, 1'600);
}

// Spec 3, Exact points: in mid-handshake, with a port that refuses, reconnect off, a signal after 50 ms.
TEST(RunnerShutdownAnywhere, NobodyListensAndReconnectOff_EndsWithSuccess) {
  test::World world;
  RunnerOptions options = test::test_options();
  options.reconnect = false;
  MultiConnectorRunner sut(world.io.get_executor(), world.bus, world.timers, *world.dialer, options,
                           {test::registration(echo())});
  std::optional<Error> ended;
  sut.run([&](Error error) { ended = std::move(error); });
  world.advance(milliseconds(50));
  sut.shutdown_handle().shutdown();
  world.settle();
  ASSERT_TRUE(ended.has_value());
  EXPECT_FALSE(*ended);
}

}  // namespace
}  // namespace sharingbus::connector

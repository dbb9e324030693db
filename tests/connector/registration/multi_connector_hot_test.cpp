// Registrations that come and go while the runner runs, and what becomes of each (spec 3, O; protocol-connector §8.2,
// 25 and 26).
#include <atomic>
#include <future>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include <boost/asio/strand.hpp>
#include <boost/asio/thread_pool.hpp>
#include <boost/asio/use_future.hpp>
#include <gtest/gtest.h>

#include "tests/connector/registration/runner_world.hpp"
#include "tests/support/watchdog.hpp"

namespace sharingbus::connector {
namespace {

namespace asio = boost::asio;
namespace messages = transport::messages;
using test::echo;
using test::HeldConnector;
using test::milliseconds;
using test::seconds;

class HotRunnerTest : public ::testing::Test {
 protected:
  static Registration named(std::string instance, std::shared_ptr<Connector> connector = echo()) {
    return test::registration(std::move(connector), std::move(instance));
  }
  static Address key(std::string instance) { return {"acme", "configured", std::move(instance)}; }

  void run(std::vector<Registration> registrations) {
    sut.emplace(world.io.get_executor(), world.bus, world.timers, *world.dialer, options, std::move(registrations));
    sut->run([this](Error error) {
      ++runs_ended;
      EXPECT_FALSE(error);
    });
    world.settle();
  }
  std::shared_ptr<std::optional<Error>> wait(const Address& of) {
    auto result = std::make_shared<std::optional<Error>>();
    sut->wait(of, [result](Error error) { *result = std::move(error); });
    return result;
  }
  std::shared_ptr<std::optional<Error>> remove(const Address& of) {
    auto result = std::make_shared<std::optional<Error>>();
    sut->remove(of, [result](Error error) { *result = std::move(error); });
    return result;
  }
  test::ScriptGateway::Session& session_of(const std::string& instance) {
    for (const auto& session : gateway.sessions()) {
      if (session->open() && session->hello && session->hello->instance_id == instance) return *session;
    }
    throw std::runtime_error("no open session of " + instance);
  }
  void finish() {
    sut->shutdown_handle().shutdown();
    world.settle();
    EXPECT_EQ(runs_ended, 1);
    sut.reset();
    world.settle();
    EXPECT_EQ(gateway.open_sessions(), 0u);
    EXPECT_EQ(world.timers.pending(), 0u);
    EXPECT_TRUE(test::check_balanced(world.bus));
  }

  test::World world;
  test::ScriptGateway& gateway = world.gateway;
  RunnerOptions options = test::test_options();
  std::optional<MultiConnectorRunner> sut;
  int runs_ended = 0;
};

TEST_F(HotRunnerTest, AddRunning_RegistersAtOnce) {
  gateway.listen();
  run({named("a")});
  ASSERT_TRUE(sut->add_running(named("b")).has_value());
  world.settle();
  EXPECT_EQ(gateway.open_sessions(), 2u);
  EXPECT_EQ(sut->registrations(), (std::vector<Address>{key("a"), key("b")}));
  gateway.execute(session_of("b"), "r");
  world.settle();
  EXPECT_NE(session_of("b").answer("r"), nullptr);
  EXPECT_EQ(sut->metrics_snapshot().at(key("b")).requests_processed, 1u);
  finish();
}

struct Nameless : Connector {
  std::string connector_type() const override { throw std::runtime_error("who am I"); }
};

TEST_F(HotRunnerTest, AddRunning_RefusesAndListsNothing) {
  sut.emplace(world.io.get_executor(), world.bus, world.timers, *world.dialer, options, std::vector<Registration>{});
  EXPECT_TRUE(sut->add_running(named("a")).error().is(errc::invalid_state)) << "not running";
  gateway.listen();
  run({named("a")});
  EXPECT_TRUE(sut->add(named("b")).error().is(errc::already_running)) << "add keeps refusing";
  EXPECT_TRUE(sut->add_running(named("a")).error().is(errc::invalid_argument)) << "duplicate";
  EXPECT_TRUE(sut->add_running(Registration{}).error().is(errc::invalid_argument));
  const auto nameless = sut->add_running(named("n", std::make_shared<Nameless>()));
  EXPECT_EQ(nameless.error().message, "the connector failed to name its type: who am I");
  EXPECT_EQ(sut->registrations(), std::vector<Address>{key("a")});
  sut->shutdown_handle().shutdown();
  EXPECT_TRUE(sut->add_running(named("c")).error().is(errc::closed));
  world.settle();
  EXPECT_EQ(runs_ended, 1);
}

TEST_F(HotRunnerTest, Remove_DrainsThatOneAndTouchesNoOther) {
  auto held = std::make_shared<HeldConnector>();
  gateway.listen();
  run({named("a"), named("b", held), named("c")});
  gateway.execute(session_of("b"), "r");
  world.settle();
  const auto ended = wait(key("b"));
  const auto removed = remove(key("b"));
  const auto again = remove(key("b"));
  world.settle();
  EXPECT_FALSE(removed->has_value()) << "a request runs";
  EXPECT_TRUE(sut->add_running(named("b")).error().is(errc::invalid_argument)) << "it is still there";
  auto& session = session_of("b");
  held->release();
  world.settle();
  ASSERT_TRUE(removed->has_value() && again->has_value() && ended->has_value());
  EXPECT_FALSE(**removed);
  EXPECT_FALSE(**ended);
  EXPECT_TRUE(session.answer("r")->success);
  EXPECT_TRUE(session.closed->is(errc::stream_closed)) << "in good order";
  EXPECT_EQ(gateway.open_sessions(), 2u);
  EXPECT_EQ(sut->registrations(), (std::vector<Address>{key("a"), key("c")}));
  EXPECT_FALSE(sut->metrics_snapshot().contains(key("b")));
  EXPECT_EQ(runs_ended, 0);
  ASSERT_TRUE(sut->add_running(named("b")).has_value());
  world.settle();
  EXPECT_EQ(gateway.open_sessions(), 3u);
  EXPECT_EQ(gateway.sessions().size(), 4u) << "nobody else has moved";
  finish();
}

TEST_F(HotRunnerTest, RemoveOfAnUnknownKey_IsNotFound) {
  gateway.listen();
  run({named("a")});
  const auto removed = remove(key("x"));
  const auto waited = wait(key("x"));
  world.settle();
  EXPECT_TRUE((*removed)->is(errc::not_found));
  EXPECT_EQ((*waited)->message, "no registration acme.configured.x");
  finish();
}

TEST_F(HotRunnerTest, RemoveOfTheLast_EndsTheRun) {
  gateway.listen();
  run({named("a")});
  const auto removed = remove(key("a"));
  world.settle();
  EXPECT_TRUE(removed->has_value());
  EXPECT_EQ(runs_ended, 1);
  EXPECT_TRUE(sut->registrations().empty());
}

TEST_F(HotRunnerTest, RemoveBeforeTheRun_IsAtOnce) {
  gateway.listen();
  sut.emplace(world.io.get_executor(), world.bus, world.timers, *world.dialer, options,
              std::vector<Registration>{named("a"), named("b")});
  const auto waited = wait(key("a"));
  const auto removed = remove(key("a"));
  EXPECT_EQ(sut->registrations(), std::vector<Address>{key("b")});
  world.settle();
  EXPECT_FALSE(**removed);
  EXPECT_TRUE((*waited)->is(errc::cancelled));
}

TEST_F(HotRunnerTest, RemoveWhileBackingOff_IsAtOnce) {
  run({named("a"), named("b")});
  const auto removed = remove(key("a"));
  world.settle();
  EXPECT_TRUE(removed->has_value());
  EXPECT_EQ(runs_ended, 0);
  finish();
}

// §8.2, 25: "the caller cannot learn which registration failed permanently".
TEST_F(HotRunnerTest, Wait_TellsWhichOneFailedForGoodAndWhy) {
  options.reconnect = false;
  gateway.on_register = [](const auto& hello) {
    return std::optional(hello.instance_id == "bad" ? test::ScriptGateway::no("not allowed")
                                                    : test::ScriptGateway::yes(hello));
  };
  gateway.listen();
  sut.emplace(world.io.get_executor(), world.bus, world.timers, *world.dialer, options,
              std::vector<Registration>{named("good"), named("bad"), named("nameless", std::make_shared<Nameless>())});
  const auto good = wait(key("good"));
  const auto bad = wait(key("bad"));
  const auto nameless = wait(key("nameless"));
  sut->run([this](Error) { ++runs_ended; });
  world.settle();
  ASSERT_TRUE(bad->has_value() && nameless->has_value());
  EXPECT_EQ((*bad)->message, "register failed: status='3' error='not allowed'");
  EXPECT_TRUE((*nameless)->is(errc::handler_failed));
  EXPECT_FALSE(good->has_value());
  gateway.execute(session_of("good"), "r");
  world.settle();
  EXPECT_NE(session_of("good").answer("r"), nullptr) << "one broken registration never touches another";
  const auto late = wait(key("bad"));
  world.settle();
  EXPECT_EQ((*late)->message, (*bad)->message) << "told again to whoever asks later";
  finish();
  EXPECT_FALSE(**good);
}

TEST_F(HotRunnerTest, RunnerDestroyed_CompletesWhoWaits) {
  gateway.listen();
  run({named("a")});
  const auto waited = wait(key("a"));
  sut.reset();
  world.settle();
  ASSERT_TRUE(waited->has_value());
  EXPECT_TRUE((*waited)->is(errc::closed));
}

TEST_F(HotRunnerTest, Callbacks_MayCallTheRunner) {
  gateway.listen();
  run({named("a"), named("keeps")});
  bool removed = false;
  sut->wait(key("a"), [&](const Error&) { EXPECT_TRUE(sut->add_running(named("b")).has_value()); });
  sut->remove(key("a"), [&](const Error&) {
    removed = true;
    EXPECT_TRUE(sut->add_running(named("a")).has_value());
  });
  world.settle();
  EXPECT_TRUE(removed);
  EXPECT_EQ(gateway.open_sessions(), 3u);
  finish();
}

// Threads add and remove while the gateway comes and goes; whatever was accepted is driven, and all of it ends.
TEST(HotRunnerRaces, AddAgainstRemoveAgainstShutdown_EndsEverything) {
  const test::Watchdog watchdog("hot add and remove");
  for (int round = 0; round < 20; ++round) {
    asio::thread_pool pool(3);
    test::ManualTimerService timers;
    SharingBus bus(BusOptions{.clock = &timers, .log = nullptr});
    transport::MemoryNetwork network(asio::make_strand(pool));
    test::ScriptGateway gateway(asio::make_strand(pool), bus, network, "gateway");
    gateway.listen();
    const auto dialer = network.make_dialer("gateway");
    MultiConnectorRunner sut(pool.get_executor(), bus, timers, *dialer, test::test_options(),
                             {test::registration(echo(), "first")});
    std::atomic<int> removed{0};
    std::atomic<int> asked{0};
    auto ended = sut.async_run(asio::use_future);
    std::vector<std::thread> threads;
    for (int t = 0; t < 3; ++t) {
      threads.emplace_back([&, t] {
        for (int i = 0; i < 30; ++i) {
          const std::string instance = std::to_string(t) + "-" + std::to_string(i % 5);
          (void)sut.add_running(test::registration(echo(), instance));
          if (i % 3 == 0) {
            ++asked;
            sut.remove({"acme", "configured", instance}, [&](const Error&) { ++removed; });
          }
        }
      });
    }
    threads.emplace_back([&] { sut.shutdown_handle().shutdown(); });
    for (std::thread& thread : threads)
      thread.join();
    EXPECT_FALSE(ended.get());
    const auto closed = std::make_shared<std::promise<void>>();
    dialer->close([closed] { closed->set_value(); });
    closed->get_future().wait();
    gateway.kill();
    pool.join();
    EXPECT_EQ(removed, asked);
    EXPECT_EQ(timers.pending(), 0u);
  }
}

}  // namespace
}  // namespace sharingbus::connector

#include "connector/registration/multi_connector_runner.hpp"

#include <atomic>
#include <future>
#include <map>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <boost/asio/bind_executor.hpp>
#include <boost/asio/strand.hpp>
#include <boost/asio/thread_pool.hpp>
#include <boost/asio/use_future.hpp>
#include <gtest/gtest.h>

#include "tests/connector/registration/runner_world.hpp"
#include "tests/support/log_capture.hpp"
#include "tests/support/watchdog.hpp"
#include "transport/turn.hpp"

namespace sharingbus::connector {
namespace {

namespace asio = boost::asio;
using test::echo;
using test::milliseconds;
using test::seconds;
using test::test_options;

TEST(RunnerOptionsTest, Defaults_AreTheDocumentedOnes) {
  const RunnerOptions sut;
  EXPECT_EQ(sut.host, "localhost:50061");
  EXPECT_EQ(*sut.endpoint(), (transport::Endpoint{"grpc", "localhost", 50061}));
  EXPECT_EQ(sut.max_streams_per_channel, 80u);
  EXPECT_EQ(sut.connect_timeout, milliseconds(10'000));
  EXPECT_TRUE(sut.reconnect);
  EXPECT_EQ(sut.reconnect_delay, milliseconds(500));
  EXPECT_EQ(sut.max_backoff, milliseconds(60'000));
  EXPECT_EQ(sut.reconnect_jitter, milliseconds(500));
  EXPECT_EQ(sut.jitter_mode, JitterMode::equal);
  EXPECT_EQ(sut.max_concurrent_requests, 100u);
  EXPECT_EQ(sut.max_waiting_requests, 1'024u);
  EXPECT_EQ(sut.request_timeout, Duration::zero());
  EXPECT_EQ(sut.heartbeat_interval, seconds(30));
  EXPECT_EQ(sut.heartbeat_slack, milliseconds(250));
  EXPECT_EQ(sut.heartbeat_timeout, seconds(45));
  EXPECT_EQ(sut.minimum_stream_life, seconds(10));
  EXPECT_EQ(sut.drain, seconds(5));
  EXPECT_TRUE(sut.validate().has_value());
}

TEST(RunnerOptionsTest, BadValues_AreRefusedByTheNameOfTheirField) {
  const auto refused = [](auto change) -> std::string {
    RunnerOptions options;
    change(options);
    const auto valid = options.validate();
    return valid ? "(valid)" : valid.error().message;
  };
  const std::map<std::string, std::string> cases{
      {"host", refused([](auto& o) { o.host = "ftp://x"; })},
      {"max_streams_per_channel", refused([](auto& o) { o.max_streams_per_channel = 0; })},
      {"connect_timeout", refused([](auto& o) { o.connect_timeout = {}; })},
      {"reconnect_delay", refused([](auto& o) { o.reconnect_delay = -milliseconds(1); })},
      {"max_backoff", refused([](auto& o) { o.max_backoff = -milliseconds(1); })},
      {"reconnect_jitter", refused([](auto& o) { o.reconnect_jitter = -milliseconds(1); })},
      {"max_concurrent_requests", refused([](auto& o) { o.max_concurrent_requests = kMostRequests + 1; })},
      {"max_waiting_requests", refused([](auto& o) { o.max_waiting_requests = 0; })},
      {"request_timeout", refused([](auto& o) { o.request_timeout = -milliseconds(1); })},
      {"heartbeat_interval", refused([](auto& o) { o.heartbeat_interval = {}; })},
      {"heartbeat_slack", refused([](auto& o) { o.heartbeat_slack = -milliseconds(1); })},
      {"heartbeat_timeout", refused([](auto& o) { o.heartbeat_timeout = {}; })},
      {"minimum_stream_life", refused([](auto& o) { o.minimum_stream_life = -milliseconds(1); })},
      {"drain", refused([](auto& o) { o.drain = -milliseconds(1); })},
      {"max_inbound_bytes", refused([](auto& o) { o.limits.max_inbound_bytes = 0; })},
  };
  for (const auto& [field, message] : cases)
    EXPECT_NE(message.find(field), std::string::npos) << message;
  EXPECT_EQ(refused([](auto& o) { o.max_concurrent_requests = 0; }), "(valid)") << "0 becomes 1";
}

TEST(RegistrationTest, KeyAndAddress_DifferInTypeAndSpelling) {
  const Registration sut{{.tenant = "a.b", .type = "config", .instance = "i 1"}, echo("own.type")};
  EXPECT_EQ(to_string(sut.key()), "a.b.config.i 1") << "the config's raw triple";
  EXPECT_EQ(to_string(sut.address()), "a-b.own-type.i-1") << "sanitised, the connector's own type";
}

/// A multi-runner in a world.
class MultiRunnerTest : public ::testing::Test {
 protected:
  static Registration named(std::string instance) { return test::registration(echo(), std::move(instance)); }
  void make(std::vector<Registration> registrations) {
    sut.emplace(world.io.get_executor(), world.bus, world.timers, *world.dialer, options, std::move(registrations));
  }
  void run() {
    sut->run([this](Error error) {
      ++times_ended;
      ended = std::move(error);
    });
    world.settle();
  }
  std::vector<std::string> keys() const {
    std::vector<std::string> texts;
    for (const Address& key : sut->registrations())
      texts.push_back(to_string(key));
    return texts;
  }
  static Address key(std::string instance) { return {"acme", "configured", std::move(instance)}; }

  test::World world;
  test::ScriptGateway& gateway = world.gateway;
  RunnerOptions options = test_options();
  std::optional<MultiConnectorRunner> sut;
  std::optional<Error> ended;
  int times_ended = 0;
};

TEST_F(MultiRunnerTest, Options_AreOverriddenByNameAndChecked) {
  options = {.host = "grpc://example.org:1", .max_streams_per_channel = 7, .log = nullptr};
  make({});
  options.heartbeat_timeout = {};
  EXPECT_THROW(make({}), std::invalid_argument);
}

TEST_F(MultiRunnerTest, RegistrationWithoutConnector_IsRefused) {
  EXPECT_THROW(make({Registration{}}), std::invalid_argument);
  make({});
  const auto added = sut->add(Registration{});
  ASSERT_FALSE(added.has_value());
  EXPECT_TRUE(added.error().is(errc::invalid_argument));
}

TEST_F(MultiRunnerTest, Duplicates_CollapseInOrderWithAWarning) {
  test::LogCapture log;
  options.log = log.sink();
  make({named("b"), named("a"), named("b"), named("c"), named("a")});
  EXPECT_EQ(keys(), (std::vector<std::string>{"acme.configured.b", "acme.configured.a", "acme.configured.c"}));
  EXPECT_EQ(log.count("duplicate registration acme.configured."), 2u);
}

TEST_F(MultiRunnerTest, Add_RefusesDuplicates) {
  make({named("a")});
  EXPECT_TRUE(sut->add(named("b")).has_value());
  const auto again = sut->add(named("a"));
  ASSERT_FALSE(again.has_value());
  EXPECT_TRUE(again.error().is(errc::invalid_argument));
  EXPECT_NE(again.error().message.find("duplicate"), std::string::npos);
  EXPECT_NE(again.error().message.find("acme.configured.a"), std::string::npos);
  EXPECT_EQ(keys().size(), 2u);
}

TEST_F(MultiRunnerTest, Add_IsRefusedFromRunUntilItHasReturned) {
  gateway.listen();
  make({named("a")});
  sut->run([this](Error) { ++times_ended; });
  auto added = sut->add(named("b"));
  ASSERT_FALSE(added.has_value());
  EXPECT_TRUE(added.error().is(errc::already_running));
  EXPECT_TRUE(sut->add(named("a")).error().is(errc::already_running)) << "checked first";
  world.settle();
  EXPECT_TRUE(sut->add(named("b")).error().is(errc::already_running));
  sut->shutdown_handle().shutdown();
  world.settle();
  ASSERT_EQ(times_ended, 1);
  EXPECT_TRUE(sut->add(named("b")).has_value());
  EXPECT_EQ(keys().size(), 2u);
}

TEST_F(MultiRunnerTest, ShutdownHandle_IsOneSignalForAllCopies) {
  gateway.listen();
  make({named("a"), named("b")});
  const ShutdownHandle first = sut->shutdown_handle();
  const ShutdownHandle copy = first;
  run();
  EXPECT_EQ(gateway.open_sessions(), 2u);
  EXPECT_FALSE(first.signalled());
  copy.shutdown();
  copy.shutdown();
  EXPECT_TRUE(first.signalled());
  world.settle();
  ASSERT_EQ(times_ended, 1);
  EXPECT_FALSE(*ended);
  sut.reset();
  first.shutdown();
  EXPECT_TRUE(copy.signalled()) << "it may outlive the runner";
}

TEST_F(MultiRunnerTest, EmptyRun_SucceedsWithAWarning) {
  test::LogCapture log;
  options.log = log.sink();
  make({});
  sut->run([this](Error error) { ended = std::move(error); });
  EXPECT_FALSE(ended.has_value()) << "never from inside run";
  world.settle();
  ASSERT_TRUE(ended.has_value());
  EXPECT_FALSE(*ended);
  EXPECT_EQ(log.count("nothing registered"), 1u);
}

TEST_F(MultiRunnerTest, PreSignalledRun_OpensNothing) {
  gateway.listen();
  make({named("a")});
  sut->shutdown_handle().shutdown();
  run();
  ASSERT_TRUE(ended.has_value());
  EXPECT_FALSE(*ended);
  EXPECT_EQ(world.dialer->stats().streams_opened, 0u);
  EXPECT_TRUE(world.names().empty());
}

TEST_F(MultiRunnerTest, PreSignalledEmptyRun_DoesNotWarn) {
  test::LogCapture log;
  options.log = log.sink();
  make({});
  sut->shutdown_handle().shutdown();
  run();
  EXPECT_FALSE(*ended);
  EXPECT_TRUE(log.lines().empty());
}

TEST_F(MultiRunnerTest, SecondRunWhileRunning_IsRefused) {
  gateway.listen();
  make({named("a")});
  run();
  std::optional<Error> second;
  sut->run([&](Error error) { second = std::move(error); });
  world.settle();
  ASSERT_TRUE(second.has_value());
  EXPECT_TRUE(second->is(errc::already_running));
  EXPECT_EQ(times_ended, 0) << "the first goes on";
  sut->shutdown_handle().shutdown();
  world.settle();
  EXPECT_EQ(times_ended, 1);
}

TEST_F(MultiRunnerTest, RunAfterARun_DrivesAgain) {
  options.reconnect = false;
  gateway.listen();
  make({named("a")});
  for (int i = 1; i <= 3; ++i) {
    run();
    ASSERT_EQ(gateway.open_sessions(), 1u);
    EXPECT_EQ(times_ended, i - 1);
    gateway.last().link->finish();
    world.settle();
    EXPECT_EQ(times_ended, i);
  }
}

TEST_F(MultiRunnerTest, ReconnectOff_SucceedsAndTellsTheEndReasons) {
  options.reconnect = false;
  gateway.on_register = [](const auto& hello) {
    return std::optional(hello.instance_id == "bad" ? test::ScriptGateway::no("not you")
                                                    : test::ScriptGateway::yes(hello));
  };
  gateway.listen();
  make({named("bad"), named("good")});
  run();
  EXPECT_EQ(times_ended, 0);
  EXPECT_EQ(to_string(sut->end_reasons().at(key("bad"))), "register failed: status='3' error='not you'");
  EXPECT_EQ(sut->end_reasons().count(key("good")), 0u) << "it is still running";
  gateway.kill();
  world.settle();
  ASSERT_EQ(times_ended, 1);
  EXPECT_FALSE(*ended) << "success whatever single registrations did";
  EXPECT_EQ(to_string(sut->end_reasons().at(key("good"))), "stream-error");
}

TEST_F(MultiRunnerTest, OneBadRegistration_StopsNoOther) {
  gateway.on_register = [](const auto& hello) {
    return std::optional(hello.instance_id == "bad" ? test::ScriptGateway::no("never")
                                                    : test::ScriptGateway::yes(hello));
  };
  gateway.listen();
  make({named("bad"), named("good")});
  run();
  world.advance(std::chrono::minutes(5));
  EXPECT_EQ(gateway.open_sessions(), 1u);
  EXPECT_EQ(sut->metrics_snapshot().at(key("good")).total_disconnects, 0u);
  EXPECT_GT(sut->metrics_snapshot().at(key("bad")).reconnection_attempts, 5u);
  gateway.on_register = [](const auto& hello) { return std::optional(test::ScriptGateway::yes(hello)); };
  world.advance(seconds(60));
  EXPECT_EQ(gateway.open_sessions(), 2u) << "and it comes when it may";
}

struct Nameless : Connector {
  std::string connector_type() const override { throw std::runtime_error("no name"); }
};

TEST_F(MultiRunnerTest, ConnectorThatThrowsWhenAskedForItsType_StopsNoOther) {
  gateway.listen();
  make({test::registration(std::make_shared<Nameless>(), "bad"), named("good")});
  run();
  EXPECT_EQ(gateway.open_sessions(), 1u);
  EXPECT_EQ(to_string(sut->end_reasons().at(key("bad"))), "the connector failed to name its type: no name");
  EXPECT_EQ(sut->metrics_snapshot().at(key("bad")).reconnection_attempts, 0u);
  sut->shutdown_handle().shutdown();
  world.settle();
  EXPECT_EQ(times_ended, 1);
  EXPECT_EQ(world.timers.pending(), 0u);

  make({test::registration(std::make_shared<Nameless>(), "bad")});
  run();
  EXPECT_EQ(times_ended, 2) << "alone, it ends the run";
  EXPECT_FALSE(*ended);
}

TEST_F(MultiRunnerTest, MetricsSnapshot_IsPerKey) {
  gateway.listen();
  make({named("a"), named("b")});
  EXPECT_EQ(sut->metrics_snapshot().size(), 2u) << "zeros before run";
  run();
  for (int i = 0; i < 3; ++i)
    gateway.execute(gateway.session(0), std::to_string(i));
  gateway.execute(gateway.session(1), "x", "not JSON");
  world.settle();
  const std::string first = gateway.session(0).hello->instance_id;
  const std::string second = gateway.session(1).hello->instance_id;
  const auto snapshot = sut->metrics_snapshot();
  EXPECT_EQ(snapshot.at(key(first)).requests_processed, 3u);
  EXPECT_EQ(snapshot.at(key(first)).requests_failed, 0u);
  EXPECT_EQ(snapshot.at(key(second)).requests_processed, 0u);
  EXPECT_EQ(snapshot.at(key(second)).requests_failed, 1u);
  EXPECT_GT(snapshot.at(key(first)).last_connected_at_ms, 0);
}

TEST_F(MultiRunnerTest, AsyncRun_CompletesOnTheTokensExecutor) {
  gateway.listen();
  make({named("a")});
  asio::io_context elsewhere;
  int completed = 0;
  sut->async_run(asio::bind_executor(elsewhere, [&](const Error& error) {
    ++completed;
    EXPECT_FALSE(error);
  }));
  world.settle();
  sut->shutdown_handle().shutdown();
  world.settle();
  EXPECT_EQ(completed, 0);
  elsewhere.run();
  EXPECT_EQ(completed, 1);
}

// A transport's thread does the runner's work at the end of its turn, but what it calls may block.
TEST_F(MultiRunnerTest, PlainCallbacks_AreNotCalledOnATransportsThread) {
  make({named("a")});  // nobody listens
  std::vector<std::string> called;
  const auto note = [&called](const std::string& what) {
    return [&called, what](const Error& error) {
      EXPECT_FALSE(error) << to_string(error);
      EXPECT_FALSE(transport::Turn::elsewhere()) << what;
      called.push_back(what);
    };
  };
  sut->run(note("run"));
  world.settle();
  sut->wait(key("a"), note("wait"));
  {
    const transport::Turn turn(transport::Turn::On::library);
    sut->remove(key("a"), note("remove"));
  }
  EXPECT_EQ(called, std::vector<std::string>()) << "the executor did not run yet";
  world.settle();
  EXPECT_EQ(called, (std::vector<std::string>{"wait", "remove", "run"}));
}

/// Real threads and a gateway on a strand of them; virtual time that stands still.
struct ThreadedWorld {
  asio::thread_pool pool{3};
  asio::strand<asio::any_io_executor> strand{asio::make_strand(asio::any_io_executor(pool.get_executor()))};
  test::ManualTimerService timers;
  SharingBus bus{BusOptions{.clock = &timers, .log = nullptr}};
  transport::MemoryNetwork network{strand};
  test::ScriptGateway gateway{strand, bus, network, "gateway"};
  std::unique_ptr<transport::Dialer> dialer = network.make_dialer("gateway");
  ~ThreadedWorld() { pool.join(); }
};

// Reference case: either driven, or refused and not listed; never accepted and not driven.
TEST(MultiRunnerRaces, AddAgainstRun_IsDrivenOrRefused) {
  const test::Watchdog watchdog("races of add and run", std::chrono::seconds(100));
  ThreadedWorld world;
  world.gateway.listen();
  int driven_twice = 0;
  for (int round = 0; round < 200; ++round) {
    MultiConnectorRunner sut(world.pool.get_executor(), world.bus, world.timers, *world.dialer, test_options(),
                             {test::registration(echo(), "first")});
    std::atomic<std::size_t> driven{0};
    auto watcher = world.bus.subscribe_inline({}, [&](const EventRef& event) {
      if (event->is<RegistrationAttempt>()) ++driven;
    });
    std::promise<Error> done;
    std::atomic<bool> go{false};
    Result<> added;
    std::thread adder([&] {
      while (!go) {
      }
      added = sut.add(test::registration(echo(), "second"));
    });
    go = true;
    for (int spin = 0; spin < round % 20 * 50; ++spin)
      (void)go.load();
    sut.run([&](Error error) { done.set_value(std::move(error)); });
    adder.join();
    EXPECT_EQ(sut.registrations().size(), added ? 2u : 1u);
    EXPECT_TRUE(added.has_value() || added.error().is(errc::already_running));
    sut.shutdown_handle().shutdown();
    EXPECT_FALSE(done.get_future().get());
    EXPECT_EQ(driven.load(), sut.registrations().size());
    if (added) ++driven_twice;
  }
  EXPECT_EQ(world.timers.pending(), 0u);
  RecordProperty("driven_twice", driven_twice);
}

// `done` may let the runner go while the thread that called `run` is still inside it.
TEST(MultiRunnerRaces, RunnerLetGoByItsCompletion_IsNotTouchedAfterwards) {
  const test::Watchdog watchdog("runner let go by its completion");
  ThreadedWorld world;  // nobody listens
  RunnerOptions options = test_options();
  options.reconnect = false;
  for (int round = 0; round < 200; ++round) {
    auto sut = std::make_unique<MultiConnectorRunner>(
        world.pool.get_executor(), world.bus, world.timers, *world.dialer, options,
        std::vector{test::registration(echo(), "a"), test::registration(echo(), "b")});
    const ShutdownHandle handle = sut->shutdown_handle();
    std::promise<void> done;
    MultiConnectorRunner& running = *sut;
    std::thread stopper([&] { handle.shutdown(); });
    running.run([&](const Error&) {
      sut.reset();
      done.set_value();
    });
    done.get_future().wait();
    stopper.join();
  }
}

// Signals from any thread at any moment of the run.
TEST(MultiRunnerRaces, ShutdownAgainstRun_AlwaysEndsIt) {
  const test::Watchdog watchdog("shutdown against run", std::chrono::seconds(100));
  ThreadedWorld world;
  world.gateway.listen();
  for (int round = 0; round < 200; ++round) {
    MultiConnectorRunner sut(world.pool.get_executor(), world.bus, world.timers, *world.dialer, test_options(),
                             {test::registration(echo(), "a"), test::registration(echo(), "b")});
    std::thread stopper([handle = sut.shutdown_handle(), round] {
      for (int spin = 0; spin < round * 200; ++spin)
        (void)handle.signalled();
      handle.shutdown();
    });
    EXPECT_FALSE(sut.async_run(asio::use_future).get());
    stopper.join();
  }
  EXPECT_EQ(world.timers.pending(), 0u);
  // The dialer forgets a link just after it told of its end.
  world.pool.join();
  EXPECT_EQ(world.dialer->stats().streams, 0u);
}

}  // namespace
}  // namespace sharingbus::connector

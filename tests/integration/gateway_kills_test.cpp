// Gateways that die and runners that shut down, over real gRPC sockets.
#include <atomic>
#include <chrono>
#include <filesystem>
#include <future>
#include <iterator>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/strand.hpp>
#include <boost/asio/use_future.hpp>
#include <gtest/gtest.h>

#include "bus/async_timer_service.hpp"
#include "connector/gateway/gateway.hpp"
#include "connector/registration/events.hpp"
#include "connector/registration/multi_connector_runner.hpp"
#include "tests/connector/registration/test_connectors.hpp"
#include "tests/support/bus_oracle.hpp"
#include "tests/support/poll_until.hpp"
#include "tests/support/watchdog.hpp"
#include "transport/grpc/grpc_dialer.hpp"
#include "transport/grpc/grpc_listener.hpp"

namespace sharingbus::test {
namespace {

using namespace std::chrono_literals;

/// Threads, time, a bus, and a gateway that may be killed and comes back at the same address.
class LiveWorld {
 public:
  LiveWorld() {
    counter_ = bus.subscribe_inline({.name = "books"}, [this](const EventRef& event) {
      if (event->is<connector::ExecuteStarted>()) ++started;
      if (event->is<connector::ExecuteFinished>()) ++finished;
    });
    for (int i = 0; i < 2; ++i)
      threads_.emplace_back([this] { io.run(); });
    start_gateway();
    transport::GrpcDialerOptions options;
    dialer = std::make_unique<transport::GrpcDialer>(endpoint, options, timers);
  }
  ~LiveWorld() {
    if (gateway) {
      std::promise<void> closed;
      gateway->close(0s, [&closed] { closed.set_value(); });
      closed.get_future().wait();
      gateway.reset();
    }
    std::promise<void> hung_up;
    dialer->close([&hung_up] { hung_up.set_value(); });
    hung_up.get_future().wait();
    dialer.reset();
    work_.reset();
    for (std::thread& thread : threads_)
      thread.join();
  }

  void start_gateway() {
    gateway.emplace(io.get_executor(), bus, timers, connector::GatewayOptions{.log = nullptr});
    const auto serve = [this] {
      transport::GrpcListenerOptions options;
      options.base = gateway->make_listener_options();
      auto bound = gateway->serve(std::make_unique<transport::GrpcListener>(endpoint, std::move(options)));
      if (bound) endpoint = *bound;
      return bound.has_value();
    };
    ASSERT_TRUE(poll_until(serve, 60s)) << "the address is still taken";
  }

  std::unique_ptr<connector::MultiConnectorRunner> make_runner(int connectors) {
    connector::RunnerOptions options;
    options.host = to_string(endpoint);
    options.log = nullptr;
    options.reconnect_delay = 10ms;
    options.max_backoff = 100ms;
    std::vector<connector::Registration> registrations;
    const auto handler = echo();
    for (int i = 0; i < connectors; ++i)
      registrations.push_back({{.tenant = "acme", .type = "echo", .instance = std::to_string(i)}, handler});
    return std::make_unique<connector::MultiConnectorRunner>(io.get_executor(), bus, timers, *dialer, options,
                                                             std::move(registrations));
  }

  boost::asio::io_context io;
  AsyncTimerService timers{boost::asio::make_strand(io.get_executor())};
  SharingBus bus{BusOptions{.log = nullptr}};
  transport::Endpoint endpoint{"grpc", "127.0.0.1", 0};
  std::optional<connector::Gateway> gateway;
  std::unique_ptr<transport::GrpcDialer> dialer;
  std::atomic<std::uint64_t> started{0};
  std::atomic<std::uint64_t> finished{0};

 private:
  boost::asio::executor_work_guard<boost::asio::io_context::executor_type> work_{io.get_executor()};
  std::vector<std::thread> threads_;
  Subscription counter_;
};

TEST(GatewayKillsOverGrpc, TwentyUnderLoad_EveryRequestEndsOnce) {
  const Watchdog watchdog("gateway kills over gRPC", 300s);
  constexpr int kConnectors = 5;
  LiveWorld world;
  std::mt19937 random(1);
  std::atomic<int> ended{0};
  std::atomic<int> answered{0};
  int asked = 0;
  const auto runner = world.make_runner(kConnectors);
  auto done = runner->async_run(boost::asio::use_future);
  for (int kill = 0; kill < 20; ++kill) {
    ASSERT_TRUE(poll_until([&] { return world.gateway->session_count() == kConnectors; }, 60s)) << "kill " << kill;
    const int requests = std::uniform_int_distribution<int>(1, 400)(random);
    for (int i = 0; i < requests; ++i) {
      ++asked;
      world.gateway->execute("acme.echo." + std::to_string(i % kConnectors), {},
                             [&](const Error& error, const connector::ExecuteReply&) {
                               if (!error) ++answered;
                               ++ended;
                             });
    }
    world.gateway.reset();
    EXPECT_TRUE(poll_until([&] { return ended == asked; }, 60s)) << ended << " of " << asked;
    world.start_gateway();
  }
  EXPECT_TRUE(poll_until([&] { return world.gateway->session_count() == kConnectors; }, 60s));
  runner->shutdown_handle().shutdown();
  EXPECT_FALSE(done.get());
  EXPECT_EQ(ended, asked);
  EXPECT_LE(world.started, world.finished) << "nothing is forgotten in the runner";
  RecordProperty("answered", answered.load());
}

std::ptrdiff_t open_files() {
  namespace fs = std::filesystem;
  return std::distance(fs::directory_iterator("/proc/self/fd"), fs::directory_iterator());
}

TEST(ShutdownOverGrpc, AtRandomPoints_LeavesNothing) {
  const Watchdog watchdog("shutdown over gRPC", 300s);
  LiveWorld world;
  std::mt19937 random(1);
  std::ptrdiff_t files = 0;
  for (int round = 0; round < 50; ++round) {
    {
      const auto runner = world.make_runner(4);
      auto done = runner->async_run(boost::asio::use_future);
      const int spins = std::uniform_int_distribution<int>(0, 3'000)(random);
      for (int i = 0; i < spins; ++i) {
        if (i % 100 == 0)
          world.gateway->execute("acme.echo.1", {}, [](const Error&, const connector::ExecuteReply&) {});
        std::this_thread::yield();
      }
      runner->shutdown_handle().shutdown();
      EXPECT_FALSE(done.get());
    }
    EXPECT_EQ(world.dialer->stats().streams, 0U);
    EXPECT_TRUE(poll_until([&] { return world.gateway->session_count() == 0; }, 60s));
    if (round == 10) files = open_files();
  }
  EXPECT_LE(open_files(), files + 4) << "no connection is left behind";
  EXPECT_LE(world.started, world.finished);
}

}  // namespace
}  // namespace sharingbus::test

// Gateways that die and runners that shut down, over real sockets.
#include <atomic>
#include <cstdlib>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <utility>

#include <boost/asio/use_future.hpp>
#include <gtest/gtest.h>

#include "tests/integration/live_grpc.hpp"
#include "tests/integration/live_websocket.hpp"
#include "tests/integration/live_world.hpp"
#include "tests/support/watchdog.hpp"

namespace sharingbus::test {
namespace {

class GatewayKills : public testing::TestWithParam<LiveTransport> {};
INSTANTIATE_TEST_SUITE_P(Over, GatewayKills, testing::Values(over_grpc(), over_websocket(), over_shared_websocket()),
                         [](const auto& one) { return one.param.name; });

/// Two hundred take half a minute: with `./run test --full`.
int kills_wanted() {
  const char* wanted = std::getenv("SHARINGBUS_GATEWAY_KILLS");
  return wanted != nullptr ? std::atoi(wanted) : 20;
}

TEST_P(GatewayKills, UnderLoad_EveryRequestEndsOnce) {
  const Watchdog watchdog("gateway kills", 300s);
  constexpr int kConnectors = 5;
  LiveWorld world(GetParam());
  std::mt19937 random(1);
  std::atomic<int> ended{0};
  std::atomic<int> answered{0};
  int asked = 0;
  const int kills = kills_wanted();
  const auto runner = world.make_runner(kConnectors);
  auto done = runner->async_run(boost::asio::use_future);
  for (int kill = 0; kill < kills; ++kill) {
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

TEST_P(GatewayKills, ShutdownAtRandomPoints_LeavesNothing) {
  const Watchdog watchdog("shutdown", 300s);
  LiveWorld world(GetParam());
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
    // The place of a stream is free a moment after its end was published.
    EXPECT_TRUE(poll_until([&] { return world.dialer->stats().streams == 0; }, 60s));
    EXPECT_TRUE(poll_until([&] { return world.gateway->session_count() == 0; }, 60s));
    if (round == 10) files = open_files();
  }
  EXPECT_LE(open_files(), files + 4) << "no connection is left behind";
  EXPECT_LE(world.started, world.finished);
}

}  // namespace
}  // namespace sharingbus::test

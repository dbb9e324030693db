// Where the reference falls short and ours must not (protocol-connector §8); those that have no test elsewhere. The
// table in connector/README.md has all of them.
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

class Weakness : public test::RunnerTest {};

// §8.1, 4: "after a failed register the old stream object stays open during the backoff sleep".
TEST_F(Weakness, RegisterRefused_StreamIsClosedBeforeTheBackoff) {
  gateway.on_register = [](const auto&) { return std::optional(test::ScriptGateway::no("go away")); };
  gateway.listen();
  run(echo());
  ASSERT_EQ(gateway.sessions().size(), 1u);
  EXPECT_EQ(gateway.open_sessions(), 0u);
  EXPECT_EQ(world.dialer->stats().streams, 0u);
  EXPECT_EQ(world.all<BackingOff>().size(), 1u);
}

// §8.1, 11: "4 MiB inbound limit not configurable".
TEST_F(Weakness, InboundLimit_IsAnOption) {
  options.limits.max_inbound_bytes = 8 * 1024 * 1024;
  gateway.listen();
  run(echo());
  gateway.execute(gateway.last(), "big", '"' + std::string(5 * 1024 * 1024, 'x') + '"');
  world.settle();
  ASSERT_NE(gateway.last().answer("big"), nullptr);
  EXPECT_TRUE(gateway.last().answer("big")->success);
}

// §8.2, 13: "poll loops instead of notifications: 100 ms per stream".
TEST_F(Weakness, IdleRegistration_HasOneTimerThatFiresForHeartbeatsOnly) {
  gateway.listen();
  run(echo());
  EXPECT_EQ(world.timers.pending(), 1u);
  std::size_t fired = 0;
  for (int i = 0; i < 600; ++i) {
    fired += world.timers.advance(seconds(1));
    world.settle();
    ASSERT_EQ(world.timers.pending(), 1u);
  }
  EXPECT_EQ(gateway.last().heartbeats, 20u);
  EXPECT_LE(fired, 40u) << "at most a heartbeat and a look at the watchdog each";
}

// §8.2, 18: "per-registration max_concurrent_requests silently ignored".
TEST_F(Weakness, ConcurrencyLimitOfARegistration_Counts) {
  gateway.listen();
  auto held = std::make_shared<HeldConnector>();
  Registration one = test::registration(held);
  one.config.max_concurrent_requests = 3;
  RegistrationRunner limited(world.io.get_executor(), world.bus, world.timers, *world.dialer, one, options);
  limited.start([](const Error&) {});
  world.settle();
  for (int i = 0; i < 10; ++i)
    gateway.execute(gateway.last(), std::to_string(i));
  world.settle();
  EXPECT_EQ(held->running, 3u);
  held->release_for_good();
  limited.shutdown();
  world.advance(seconds(6));
}

// §8.2, 24: "error classification by substring; 'unauthorized' deletes credentials".
TEST_F(Weakness, TextOfARejection_DeletesNothing) {
  gateway.listen();
  run(echo());
  world.advance(seconds(11));
  int times = 0;
  gateway.on_register = [&](const auto& hello) {
    return std::optional(++times == 1 ? test::ScriptGateway::no("expired jwt_invalid unauthorized auth_invalid")
                                      : test::ScriptGateway::yes(hello));
  };
  gateway.last().link->cancel(Error(errc::stream_failed, "x"));
  world.advance(seconds(2));
  EXPECT_EQ(times, 2);
  EXPECT_EQ(gateway.last().hello->session_token, "session-1") << "one rejection, whatever it says, keeps the token";
}

// §8.2, 21: "reconnect_enabled=false ignored after stream close or failed register".
TEST_F(Weakness, ReconnectOff_IsHonouredAfterAFailedRegister) {
  options.reconnect = false;
  gateway.on_register = [](const auto&) { return std::optional(test::ScriptGateway::no("go away")); };
  gateway.listen();
  run(echo());
  ASSERT_TRUE(ended.has_value());
  EXPECT_EQ(ended->message, "register failed: status='3' error='go away'");
  world.advance(seconds(100));
  EXPECT_EQ(gateway.sessions().size(), 1u);
}

}  // namespace
}  // namespace sharingbus::connector

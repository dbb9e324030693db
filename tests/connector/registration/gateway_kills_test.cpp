// "Every ExecuteRequest gets exactly one answer or one reported failure through 200 gateway kills under load."
#include <string>

#include <gtest/gtest.h>

#include "tests/connector/registration/fault_world.hpp"

namespace sharingbus::test {
namespace {

TEST(GatewayKills, TwoHundredUnderLoad_EveryRequestEndsOnce) {
  FaultWorld world(7, 5, {});
  for (int kill = 0; kill < 200; ++kill) {
    SCOPED_TRACE("kill " + std::to_string(kill));
    for (int i = world.pick(1, 8); i > 0; --i) {
      for (int n = world.pick(1, 12); n > 0; --n)
        world.execute(world.pick(0, 800));
      world.advance(std::chrono::milliseconds(world.pick(0, 300)));
    }
    // In the midst of whatever goes on.
    for (int n = world.pick(0, 6); n > 0; --n)
      world.execute(world.pick(0, 800));
    world.io.restart();
    for (int steps = world.pick(0, 40); steps > 0; --steps)
      world.io.poll_one();
    world.kill_gateway();
    ASSERT_EQ(world.outcomes.size(), world.asked) << "those that were pending are told at once";
    world.advance(std::chrono::milliseconds(world.pick(0, 3) == 0 ? world.pick(0, 20'000) : 0));
    world.start_gateway();
    world.advance(std::chrono::milliseconds(world.pick(0, 6'000)));
    ASSERT_FALSE(::testing::Test::HasFailure());
  }
  EXPECT_GT(world.answered, 1'000U) << "it was under load";
  EXPECT_GT(world.registrations, 500U) << "and they came back";
  world.finish();
}

}  // namespace
}  // namespace sharingbus::test

// Faults on the network between a real gateway and real runners, in virtual time: the runner comes back from each of
// them, no request is lost or answered twice, nothing is left behind.
#include <ostream>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "tests/connector/registration/fault_world.hpp"
#include "tests/connector/registration/runner_world.hpp"

namespace sharingbus::test {
namespace {

/// The first `bad` streams have the faults, those behind them none.
FaultDialer::Plan first_streams(std::uint64_t bad, Faults faults) {
  return [bad, faults](std::uint64_t stream) { return stream < bad ? faults : Faults{}; };
}

struct OneFault {
  const char* name;
  Faults faults;
};

void PrintTo(const OneFault& fault, std::ostream* out) {
  *out << fault.name;
}

class EachFault : public ::testing::TestWithParam<OneFault> {};

TEST_P(EachFault, OnTheFirstStreams_IsSurvivedAndNothingIsLost) {
  FaultWorld world(1, 3, first_streams(6, GetParam().faults));
  for (int i = 0; i < 200; ++i) {
    world.execute(world.pick(0, 500));
    world.advance(std::chrono::milliseconds(world.pick(0, 1'000)));
  }
  EXPECT_GT(world.answered, 10U) << "it served in between";
  world.finish();
}

std::vector<OneFault> each_fault() {
  std::vector<OneFault> all;
  const auto add = [&](const char* name, auto change) {
    Faults faults;
    change(faults);
    all.push_back({name, faults});
  };
  add("Refused", [](Faults& f) { f.refuse = true; });
  add("NoResponseHeaders", [](Faults& f) { f.open_delay = 1h; });
  add("OpensSlowly", [](Faults& f) { f.open_delay = 4s; });
  add("AcceptedThenClosedAtOnce", [](Faults& f) { f.accept_then_close = true; });
  add("RegisterNeverAnswered", [](Faults& f) { f.silent_at = 0; });
  add("HalfOpenAfterRegistration", [](Faults& f) { f.silent_at = 1; });
  add("HalfOpenUnderLoad", [](Faults& f) { f.silent_at = 5; });
  add("ResetBeforeRegistration", [](Faults& f) { f.reset_at = 0; });
  add("ResetUnderLoad", [](Faults& f) { f.reset_at = 7; });
  add("SlowLink64BytesASecond", [](Faults& f) { f.bytes_per_second = 64; });
  add("DelayedMessages", [](Faults& f) { f.delay = 2s; });
  add("CorruptRegistration", [](Faults& f) { f.corrupt_at = 0; });
  add("CorruptRequest", [](Faults& f) { f.corrupt_at = 3; });
  add("DuplicatedRegistration", [](Faults& f) { f.duplicate_at = 0; });
  add("DuplicatedRequest", [](Faults& f) { f.duplicate_at = 2; });
  return all;
}
INSTANTIATE_TEST_SUITE_P(All, EachFault, ::testing::ValuesIn(each_fault()),
                         [](const auto& one) { return std::string(one.param.name); });

TEST(FaultsBySeed, AnyMixOfThem_LosesNothing) {
  std::uint64_t answered = 0;
  for (unsigned seed = 1; seed <= 40; ++seed) {
    std::mt19937 faults(seed);
    std::string trace = "seed " + std::to_string(seed) + ", streams:";
    FaultWorld world(seed, 4, [&](std::uint64_t) {
      const Faults next = Faults::random(faults);
      trace += " [" + to_string(next) + "]";
      return next;
    });
    for (int i = 0; i < 150; ++i) {
      for (int n = world.pick(0, 4); n > 0; --n)
        world.execute(world.pick(0, 3'000), std::chrono::milliseconds(world.pick(500, 30'000)));
      if (world.pick(0, 9) == 0) world.gateway->ask_to_reconnect("acme.timed." + std::to_string(world.pick(0, 3)));
      world.advance(std::chrono::milliseconds(world.pick(0, 5) == 0 ? world.pick(0, 60'000) : world.pick(0, 800)));
    }
    world.finish();
    answered += world.answered;
    ASSERT_FALSE(::testing::Test::HasFailure()) << trace;
  }
  EXPECT_GT(answered, 2'000U);
}

// Wall time may jump; what is measured runs on the monotonic clock.
TEST(ClockJumps, AnHourBackAndForth_IsHarmless) {
  FaultWorld world(1, 3, {});
  const auto jump = [&](std::int64_t by_ms) { world.time.set_unix_ms(world.time.unix_ms() + by_ms); };
  for (int i = 0; i < 100; ++i) {
    world.execute(world.pick(0, 2'000));
    if (i % 10 == 3) jump(3'600'000);
    if (i % 10 == 6) jump(-3'600'000);
    if (i == 50) world.gateway->ask_to_reconnect("acme.timed.0");
    world.advance(1s);
  }
  world.advance(30s);
  EXPECT_EQ(world.registrations, 4U) << "nobody reconnected but the one that was asked to";
  EXPECT_EQ(world.answered, 100U);
  world.finish();
}

// SIGSTOP and SIGCONT: everything falls due at once. One round of reconnecting at most, no storm, nothing lost.
TEST(ClockJumps, ProcessStoppedForAnHour_GoesOn) {
  FaultWorld world(1, 3, {});
  for (int i = 0; i < 20; ++i)
    world.execute(world.pick(0, 2'000));
  world.settle();
  world.time.advance(1h);
  world.settle();
  world.advance(30s);
  EXPECT_LE(world.registrations, 6U);
  for (int i = 0; i < 10; ++i)
    world.execute(10);
  const auto before = world.answered;
  world.advance(1s);
  EXPECT_EQ(world.answered, before + 10);
  world.finish();
}

// Spec 2, O: shutdown with nothing in flight takes at most 10 ms, also when the peer says nothing any more.
TEST(SilentPeer, IdleShutdown_TakesNoLongerThanTenMilliseconds) {
  FaultWorld world(1, 2, [](std::uint64_t) {
    Faults silent;
    silent.silent_at = 1;
    return silent;
  });
  world.advance(40s);
  EXPECT_EQ(world.registrations, 2U) << "registered, and then the network went away";
  world.runner->shutdown_handle().shutdown();
  world.advance(10ms);
  EXPECT_TRUE(world.ended);
  world.runner.reset();
  world.gateway->close(0s, nullptr);
  world.dialer.close(nullptr);
  world.settle();
  EXPECT_EQ(world.time.pending(), 0U);
}

// Spec 2, Life, and protocol-connector §4.8: rejected again and again, the others serve on.
TEST(RejectedRegistration, Others_AreNotTouched) {
  World world;
  world.gateway.on_register = [](const auto& hello) {
    return std::optional(hello.instance_id == "bad" ? ScriptGateway::no("not enabled") : ScriptGateway::yes(hello));
  };
  world.gateway.listen();
  connector::MultiConnectorRunner runner(world.io.get_executor(), world.bus, world.timers, *world.dialer,
                                         test_options(), {registration(echo(), "good"), registration(echo(), "bad")});
  bool ended = false;
  runner.run([&](const Error&) { ended = true; });
  world.advance(std::chrono::minutes(10));
  const auto metrics = runner.metrics_snapshot();
  EXPECT_EQ(metrics.at({"acme", "configured", "good"}).reconnection_attempts, 0U);
  EXPECT_GE(metrics.at({"acme", "configured", "bad"}).reconnection_attempts, 10U);
  EXPECT_EQ(world.gateway.open_sessions(), 1U);
  runner.shutdown_handle().shutdown();
  world.settle();
  EXPECT_TRUE(ended);
}

}  // namespace
}  // namespace sharingbus::test

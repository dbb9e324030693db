// Heartbeats of registrations that share a strand go out together, a little early; nothing else moves.
#include "connector/internal/heartbeat_rounds.hpp"

#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "connector/internal/strand_pool.hpp"
#include "tests/connector/registration/runner_world.hpp"

namespace sharingbus::connector {
namespace {

using internal::HeartbeatRounds;
using test::milliseconds;
using test::seconds;

TimePoint at(Duration since_start) {
  return TimePoint(std::chrono::hours(1)) + since_start;
}

TEST(HeartbeatRoundsTest, Join_TheLastRound_OnlyBetweenEarliestAndDue) {
  HeartbeatRounds sut;
  EXPECT_EQ(sut.join(at(seconds(29)), at(seconds(30))), at(seconds(30))) << "nobody is there";
  EXPECT_EQ(sut.join(at(seconds(30)), at(seconds(31))), at(seconds(30))) << "as early as it may be";
  EXPECT_EQ(sut.join(at(seconds(29)), at(seconds(30))), at(seconds(30))) << "due at the same time";
  EXPECT_EQ(sut.join(at(seconds(30) + Duration(1)), at(seconds(31))), at(seconds(31))) << "too early";
  EXPECT_EQ(sut.join(at(seconds(28)), at(seconds(30))), at(seconds(30))) << "never late";
  EXPECT_EQ(sut.join(at(seconds(31)), at(seconds(32))), at(seconds(31))) << "one from before changes nothing";
}

TEST(HeartbeatRoundsTest, Join_AFullRound_BeginsAnother) {
  HeartbeatRounds sut;
  for (std::size_t i = 0; i < HeartbeatRounds::kMost; ++i)
    EXPECT_EQ(sut.join(at(seconds(29)), at(seconds(30))), at(seconds(30)));
  EXPECT_EQ(sut.join(at(seconds(30)), at(seconds(31))), at(seconds(31)));
  EXPECT_EQ(sut.join(at(seconds(31)), at(seconds(32))), at(seconds(31)));
}

/// Runners on one strand, begun one after the other, and when the gateway gets their heartbeats.
class RoundsOfRunners : public ::testing::Test {
 protected:
  RoundsOfRunners() {
    beats_seen_ = world.bus.subscribe_inline(
        {.name = "beats", .filter = Filter::type<transport::messages::HeartbeatRequest>()},
        [this](const EventRef& event) { beats[event->source()].push_back(world.timers.now()); });
    world.gateway.listen();
  }

  void start(std::size_t count, Duration apart) {
    for (std::size_t i = 0; i < count; ++i) {
      runners.push_back(
          std::make_unique<RegistrationRunner>(shared, world.io.get_executor(), world.bus, world.timers, *world.dialer,
                                               test::registration(test::echo(), std::to_string(i)), options));
      runners.back()->start([](const Error&) {});
      world.settle();
      begun.push_back(world.timers.now());
      world.advance(apart);
    }
  }
  void stop() {
    for (const auto& runner : runners)
      runner->shutdown();
    world.settle();
  }

  test::World world;
  RunnerOptions options = test::test_options();
  internal::SharedStrand shared{world.bus, world.io.get_executor()};
  std::vector<std::unique_ptr<RegistrationRunner>> runners;
  std::vector<TimePoint> begun;
  /// By the gateway's stream.
  std::map<std::uint64_t, std::vector<TimePoint>> beats;

 private:
  Subscription beats_seen_;
};

TEST_F(RoundsOfRunners, BeatsThatFallDueWithinTheSlack_GoOutTogether) {
  start(120, milliseconds(50));
  world.advance(seconds(120));
  ASSERT_EQ(beats.size(), begun.size());
  std::set<TimePoint> firsts;
  std::set<TimePoint> thirds;
  for (const auto& [source, times] : beats) {
    ASSERT_GE(times.size(), 3u);
    firsts.insert(times[0]);
    thirds.insert(times[2]);
    for (std::size_t i = 1; i < times.size(); ++i) {
      EXPECT_LE(times[i] - times[i - 1], options.heartbeat_interval) << "never late";
      EXPECT_GE(times[i] - times[i - 1], options.heartbeat_interval - options.heartbeat_slack);
    }
    EXPECT_EQ(times.back() - times[times.size() - 2], options.heartbeat_interval) << "once together they stay so";
  }
  // The first of each is a full interval after its registration.
  std::set<TimePoint> expected;
  for (const TimePoint time : begun)
    expected.insert(time + options.heartbeat_interval);
  EXPECT_EQ(firsts, expected);
  EXPECT_EQ(thirds.size(), 20u) << "six each, 0 to 250 ms apart";
  stop();
}

TEST_F(RoundsOfRunners, WithoutSlack_EachBeatsAtItsOwnTime) {
  options.heartbeat_slack = {};
  start(20, milliseconds(50));
  world.advance(seconds(120));
  for (const auto& [source, times] : beats) {
    for (std::size_t i = 1; i < times.size(); ++i)
      EXPECT_EQ(times[i] - times[i - 1], options.heartbeat_interval);
  }
  stop();
}

TEST_F(RoundsOfRunners, SlackIsATwentiethOfTheIntervalAtMost) {
  options.heartbeat_slack = seconds(10);
  options.heartbeat_interval = seconds(2);
  start(10, milliseconds(50));
  world.advance(seconds(20));
  for (const auto& [source, times] : beats) {
    for (std::size_t i = 1; i < times.size(); ++i)
      EXPECT_GE(times[i] - times[i - 1], milliseconds(1'900));
  }
  stop();
}

TEST_F(RoundsOfRunners, Watchdog_IsExactForEach) {
  start(5, milliseconds(50));
  world.advance(seconds(60));
  std::set<TimePoint> expected;
  for (const auto& [source, times] : beats)
    expected.insert(times.back() + options.heartbeat_timeout + Duration(1));
  world.gateway.answer_heartbeats = false;
  std::set<TimePoint> ended;
  const auto disconnected =
      world.bus.subscribe_inline({.name = "ends", .filter = Filter::type<Disconnected>()}, [&](const EventRef& event) {
        EXPECT_EQ(event->get_if<Disconnected>()->reason, "heartbeat-timeout");
        ended.insert(world.timers.now());
      });
  world.advance(options.heartbeat_timeout + Duration(1));
  EXPECT_EQ(ended, expected);
  stop();
}

}  // namespace
}  // namespace sharingbus::connector

// `should_reconnect` and GOAWAY: the replacement first, then the drain of the old stream; nothing in flight is lost
// (spec 2, O; protocol-connector §8.2, 16). And the delay that a peer asks for.
#include <memory>
#include <string>

#include <gtest/gtest.h>

#include "tests/connector/registration/registration_life.hpp"
#include "tests/connector/registration/runner_world.hpp"

namespace sharingbus::connector {
namespace {

using test::echo;
using test::HeldConnector;

class Replacement : public RegistrationLife {
 protected:
  static messages::ExecuteRequest request(std::string id) {
    messages::ExecuteRequest made;
    made.request_id = std::move(id);
    return made;
  }
  static messages::HeartbeatResponse wish() { return {.gateway_id = "", .timestamp_ms = 0, .should_reconnect = true}; }
};

TEST_F(Replacement, ShouldReconnect_AsksForOneReplacementAndStays) {
  to_driving();
  EXPECT_EQ(message(wish()), (Texts{"note: the gateway asked to reconnect: opening a replacement", "replace"}));
  EXPECT_EQ(message(wish()), Texts{}) << "once a stream";
  EXPECT_EQ(sut->state(), State::driving);
  EXPECT_EQ(message(request("r")), Texts{"execute r"});
}

TEST_F(Replacement, ReconnectOff_IsOnlyNoted) {
  times.reconnect = false;
  reset();
  to_driving();
  EXPECT_EQ(message(wish()).size(), 1u);
  EXPECT_EQ(sut->state(), State::driving);
}

TEST_F(Replacement, Next_WaitsAMomentAndRegistersWithTheToken) {
  to_driving();
  now += seconds(11);
  message(wish());
  last.clear();
  RegistrationFsm next = sut->replacement(now, last);
  EXPECT_EQ(texts_of(last), Texts{"wait #1 500ms"}) << "10 000 that are told at once must not come at once";
  last.clear();
  next.tick(now + milliseconds(500), unix_ms, last);
  EXPECT_EQ(texts_of(last), (Texts{"attempt", "open(token)"}));
}

// A gateway that always asks must not make a hot loop, though each wish is an answered heartbeat.
TEST_F(Replacement, OfAStreamThatDidNotLive_KeepsTheBackoffGrowing) {
  to_driving();
  std::vector<std::string> waits;
  for (int i = 0; i < 4; ++i) {
    message(wish());
    last.clear();
    RegistrationFsm next = sut->replacement(now, last);
    waits.push_back(texts_of(last).at(0));
    sut.emplace(std::move(next));
    tick_at_deadline();
    opened();
    message(yes());
  }
  EXPECT_EQ(waits, (std::vector<std::string>{"wait #1 500ms", "wait #2 1000ms", "wait #3 2000ms", "wait #4 4000ms"}));
}

TEST_F(Replacement, Old_EndsBehindTheEchoOfItsLastHeartbeat) {
  to_driving();
  message(wish());
  RegistrationFsm next = sut->replacement(now, last);
  const auto retire = [this] { return feed([this](auto& a) { sut->retire(now, unix_ms, a); }); };
  EXPECT_EQ(retire(), Texts{"send connector.heartbeat_request"});
  EXPECT_EQ(retire(), Texts{});
  EXPECT_EQ(message(request("late")), Texts{"execute late"}) << "was on its way";
  in_flight(1);
  EXPECT_EQ(message(messages::HeartbeatResponse{"", unix_ms - 30'000, false}), Texts{}) << "the echo of an older one";
  EXPECT_EQ(message(messages::HeartbeatResponse{"", unix_ms, false}), Texts{}) << "one is still in flight";
  EXPECT_EQ(in_flight(0), Texts{"finish"});
  EXPECT_EQ(closed({}), (Texts{"cancel", "disconnected server-closed", "end"}));
}

TEST_F(Replacement, OldWhoseEchoDoesNotCome_EndsBehindTheDrainOnceItIsEmpty) {
  to_driving();
  message(wish());
  RegistrationFsm next = sut->replacement(now, last);
  feed([this](auto& a) { sut->retire(now, unix_ms, a); });
  in_flight(3);
  EXPECT_EQ(tick_after(seconds(5)), Texts{}) << "nothing in flight is cut off";
  in_flight(1);
  EXPECT_EQ(in_flight(0), Texts{"finish"});
}

TEST_F(Replacement, OldThatIsSilent_IsLeftByTheWatchdog) {
  to_driving();
  message(wish());
  RegistrationFsm next = sut->replacement(now, last);
  feed([this](auto& a) { sut->retire(now, unix_ms, a); });
  in_flight(1);
  tick_after(seconds(30));
  EXPECT_EQ(tick_after(seconds(15) + Duration(1)), (Texts{"cancel", "break: no heartbeat response in time"}));
  EXPECT_EQ(closed(Error(errc::timed_out, "x")), (Texts{"cancel", "disconnected heartbeat-timeout", "end"}));
}

TEST_F(Replacement, OldThatBreaksMeanwhile_OpensNoOther) {
  to_driving();
  message(wish());
  RegistrationFsm next = sut->replacement(now, last);
  EXPECT_EQ(closed(), (Texts{"cancel", "disconnected server-closed", "end"}));
}

TEST_F(Replacement, ShutdownOfBoth_EndsBoth) {
  to_driving();
  message(wish());
  last.clear();
  RegistrationFsm next = sut->replacement(now, last);
  feed([this](auto& a) { sut->retire(now, unix_ms, a); });
  EXPECT_EQ(shutdown(), (Texts{"drain", "finish"}));
  last.clear();
  next.shutdown(now, last);
  EXPECT_EQ(texts_of(last), Texts{"end"});
}

// Spec 2: "shutdown during any wait returns within 10 ms".
TEST_F(Replacement, ShutdownWhileTheOldFinishes_WaitsForNobodyWhenAllIsSent) {
  for (const bool all_sent : {true, false}) {
    reset();
    to_driving();
    message(wish());
    last.clear();
    RegistrationFsm next = sut->replacement(now, last);
    feed([this](auto& a) { sut->retire(now, unix_ms, a); });
    EXPECT_EQ(message(messages::HeartbeatResponse{"", unix_ms, false}), Texts{"finish"});
    EXPECT_EQ(until_deadline(), seconds(1));
    EXPECT_EQ(feed([&](auto& a) { sut->shutdown(now, a, all_sent); }), Texts{});
    EXPECT_EQ(until_deadline(), all_sent ? milliseconds(5) : seconds(1));
    EXPECT_EQ(tick_at_deadline(), Texts{"break: the peer did not finish the stream"});
    EXPECT_EQ(closed(Error(errc::cancelled, "")), (Texts{"cancel", "disconnected server-closed", "end"}));
  }
}

TEST_F(Replacement, UnaskedHeartbeatAnswers_DoNotResetTheBackoff) {
  to_driving();
  for (int attempt = 1; attempt <= 3; ++attempt) {
    message(messages::HeartbeatResponse{});
    EXPECT_EQ(closed().back(), "wait #" + std::to_string(attempt) + " " + std::to_string(250 * (1 << attempt)) + "ms");
    reregister();
  }
}

// Spec 2, O: "a delay the server asks for … is honoured, bounded by the cap".
TEST_F(Replacement, DelayThatThePeerAskedFor_ComesOnTopAndNeverExceedsTheCap) {
  const auto closed_with = [this](Duration delay) {
    return feed([&](auto& a) { sut->stream_closed(Error(errc::connection_refused, "busy"), now, unix_ms, a, delay); })
        .back();
  };
  to_opening();
  EXPECT_EQ(closed_with(seconds(7)), "wait #1 7500ms");
  tick_at_deadline();
  EXPECT_EQ(closed_with(std::chrono::hours(1)), "wait #2 60000ms");
  tick_at_deadline();
  EXPECT_EQ(closed_with({}), "wait #3 2000ms");
}

// Spec 2, O: "GOAWAY / `should_reconnect`: open the replacement first, then drain the old".
TEST_F(Replacement, GoingAway_InEachState) {
  const auto goes_away = [this] { return feed([this](auto& a) { sut->stream_going_away(a); }); };
  const Texts replaces{"note: the gateway's connection is going away: opening a replacement", "replace"};
  EXPECT_EQ(goes_away(), Texts{}) << "idle";
  to_driving();
  EXPECT_EQ(goes_away(), replaces) << "driving";
  EXPECT_EQ(goes_away(), Texts{}) << "once a stream";
  EXPECT_EQ(message(wish()), Texts{}) << "whoever asks";
  EXPECT_EQ(message(request("r")), Texts{"execute r"}) << "it serves on";

  for (const bool answered : {false, true}) {
    reset();
    to_opening();
    if (answered) opened();
    EXPECT_EQ(goes_away(), Texts{}) << "it may still be registered";
    if (!answered) opened();
    const Texts told = message(yes());
    ASSERT_EQ(told.size(), 3U);
    EXPECT_EQ(Texts(told.begin() + 1, told.end()), replaces);
  }
  reset();
  to_draining();
  EXPECT_EQ(goes_away(), Texts{}) << "draining";
  reset();
  to_backing_off();
  EXPECT_EQ(goes_away(), Texts{}) << "backing off";
  tick_at_deadline();
  opened();
  EXPECT_EQ(message(yes()), Texts{"registered"}) << "the next stream is another one";
}

TEST_F(Replacement, GoingAwayWithReconnectOff_IsOnlyNoted) {
  times.reconnect = false;
  reset();
  to_driving();
  EXPECT_EQ(feed([this](auto& a) { sut->stream_going_away(a); }),
            Texts{"warn: the gateway's connection is going away, but this stream is not to be replaced: it stays"});
  EXPECT_EQ(sut->state(), State::driving);
}

class RunnerReplacementTest : public test::RunnerTest {
 protected:
  void run_and_register(std::shared_ptr<Connector> connector) {
    gateway.listen();
    run(std::move(connector));
    ASSERT_EQ(gateway.open_sessions(), 1u);
  }
  /// What a transport publishes whose peer says so.
  void goes_away() {
    const auto opened = world.all<transport::StreamOpened>(runner->uid());
    const auto link = opened.back().link.lock();
    ASSERT_TRUE(link);
    Routing routing = routing_for<transport::StreamGoingAway>();
    routing.connector_uid = link->uid();
    world.bus.publisher().publish(transport::StreamGoingAway{}, std::move(routing), EventOrigin::transport, link->id());
    world.settle();
  }
  void ask() {
    gateway.send(gateway.last(), messages::HeartbeatResponse{"", 0, true});
    world.settle();
  }
};

TEST_F(RunnerReplacementTest, NothingInFlight_NewFirstThenOldInGoodOrder) {
  run_and_register(echo());
  ask();
  EXPECT_EQ(gateway.sessions().size(), 1u);
  world.advance(milliseconds(500));
  ASSERT_EQ(gateway.sessions().size(), 2u);
  EXPECT_TRUE(gateway.session(1).open());
  ASSERT_TRUE(gateway.session(0).closed.has_value());
  EXPECT_TRUE(gateway.session(0).closed->is(errc::stream_closed)) << to_string(*gateway.session(0).closed);
  const auto names = world.names();
  const auto at = [&](const char* name, auto from) { return std::find(from, names.end(), name); };
  const auto again = at("registration.registered", at("registration.registered", names.begin()) + 1);
  ASSERT_NE(again, names.end());
  EXPECT_NE(at("registration.disconnected", again), names.end()) << "registered before the old one went";
  EXPECT_TRUE(world.all<Registered>().at(1).again);
  shutdown();
  expect_nothing_left();
}

TEST_F(RunnerReplacementTest, RequestsInFlight_AreAnsweredOnTheOldStream) {
  auto held = std::make_shared<HeldConnector>();
  run_and_register(held);
  for (int i = 0; i < 3; ++i)
    gateway.execute(gateway.session(0), "old" + std::to_string(i));
  ask();
  world.advance(milliseconds(500));
  ASSERT_EQ(gateway.open_sessions(), 2u);
  gateway.execute(gateway.session(0), "behind");
  gateway.execute(gateway.session(1), "new");
  world.settle();
  EXPECT_EQ(held->running, 5u) << "both streams are served";
  held->release_for_good();
  world.settle();
  EXPECT_EQ(gateway.session(0).answers.size(), 4u);
  for (const auto& answer : gateway.session(0).answers)
    EXPECT_TRUE(answer.success) << answer.request_id;
  EXPECT_EQ(gateway.session(1).answers.size(), 1u);
  EXPECT_EQ(gateway.open_sessions(), 1u);
  EXPECT_EQ(held->cancelled, 0u);
  shutdown();
  expect_nothing_left();
}

TEST_F(RunnerReplacementTest, ConnectionGoesAway_NewFirstAndNothingInFlightIsLost) {
  auto held = std::make_shared<HeldConnector>();
  run_and_register(held);
  gateway.execute(gateway.session(0), "old");
  goes_away();
  EXPECT_EQ(gateway.sessions().size(), 1u) << "after a jittered wait";
  world.advance(milliseconds(500));
  ASSERT_EQ(gateway.open_sessions(), 2u);
  gateway.execute(gateway.session(1), "new");
  held->release_for_good();
  world.settle();
  ASSERT_NE(gateway.session(0).answer("old"), nullptr);
  EXPECT_TRUE(gateway.session(0).answer("old")->success);
  EXPECT_NE(gateway.session(1).answer("new"), nullptr);
  EXPECT_EQ(gateway.open_sessions(), 1u);
  EXPECT_EQ(held->cancelled, 0u);
  shutdown();
  expect_nothing_left();
}

TEST_F(RunnerReplacementTest, ConnectionBreaksAfterItSaidSo_ComesBackOnce) {
  run_and_register(echo());
  goes_away();
  gateway.session(0).link->cancel(Error(errc::stream_failed, "gone"));
  world.advance(seconds(60));
  EXPECT_EQ(gateway.sessions().size(), 2u);
  EXPECT_EQ(gateway.open_sessions(), 1u);
  shutdown();
  expect_nothing_left();
}

TEST_F(RunnerReplacementTest, ConcurrencyLimit_HoldsOverBothStreams) {
  options.max_concurrent_requests = 2;
  auto held = std::make_shared<HeldConnector>();
  run_and_register(held);
  for (int i = 0; i < 2; ++i)
    gateway.execute(gateway.session(0), "old" + std::to_string(i));
  ask();
  world.advance(milliseconds(500));
  for (int i = 0; i < 10; ++i)
    gateway.execute(gateway.session(1), "new" + std::to_string(i));
  world.settle();
  EXPECT_EQ(held->running, 2u);
  held->release_for_good();
  world.settle();
  EXPECT_EQ(held->most_running, 2u);
  EXPECT_EQ(gateway.session(1).answers.size(), 10u);
}

// A gateway that goes away asks for replacements and takes none: whoever it still serves must not lose that.
TEST_F(RunnerReplacementTest, NobodyTakesTheReplacement_TheOldStreamServesOn) {
  run_and_register(echo());
  world.dialer->stats();
  ask();
  gateway.on_register = [](const auto&) { return std::optional<messages::RegisterResponse>(); };
  world.advance(seconds(100));
  ASSERT_GE(gateway.sessions().size(), 3u) << "it tries again and again";
  EXPECT_TRUE(gateway.session(0).open());
  gateway.execute(gateway.session(0), "r");
  world.settle();
  EXPECT_NE(gateway.session(0).answer("r"), nullptr);
  shutdown();
  expect_nothing_left();
}

TEST_F(RunnerReplacementTest, OldStreamBreaksBeforeTheNewIsThere_TheNewGoesOn) {
  run_and_register(echo());
  ask();
  gateway.session(0).link->cancel(Error(errc::stream_failed, "gone"));
  world.advance(milliseconds(500));
  ASSERT_EQ(gateway.sessions().size(), 2u);
  EXPECT_EQ(gateway.open_sessions(), 1u);
  world.advance(seconds(60));
  EXPECT_EQ(gateway.sessions().size(), 2u) << "one registration, one stream";
  gateway.session(1).link->cancel(Error(errc::stream_failed, "gone too"));
  world.advance(seconds(1));
  EXPECT_EQ(gateway.open_sessions(), 1u) << "and it comes back like any other";
  shutdown();
  expect_nothing_left();
}

// A gateway with one stream an identity refuses the replacement; the old one is drained, and the next attempt fits.
TEST_F(RunnerReplacementTest, ReplacementIsRefused_TheOldIsDrainedFirst) {
  auto held = std::make_shared<HeldConnector>();
  run_and_register(held);
  gateway.execute(gateway.session(0), "r");
  gateway.on_register = [this](const auto& hello) {
    return std::optional(gateway.session(0).open()
                             ? test::ScriptGateway::no("a connector of this identity is registered")
                             : test::ScriptGateway::yes(hello));
  };
  ask();
  world.advance(milliseconds(500));
  EXPECT_TRUE(gateway.session(0).open()) << "a request is in flight";
  held->release();
  world.settle();
  EXPECT_FALSE(gateway.session(0).open());
  ASSERT_NE(gateway.session(0).answer("r"), nullptr);
  EXPECT_TRUE(gateway.session(0).answer("r")->success);
  world.advance(seconds(2));
  EXPECT_TRUE(gateway.last().open());
  EXPECT_EQ(world.all<Registered>().size(), 2u);
  shutdown();
  expect_nothing_left();
}

TEST_F(RunnerReplacementTest, AskedAgainOnTheNewStream_AnotherReplacementFollows) {
  run_and_register(echo());
  gateway.should_reconnect = true;
  world.advance(seconds(200));
  EXPECT_EQ(gateway.open_sessions(), 1u);
  EXPECT_GE(gateway.sessions().size(), 6u);
  EXPECT_LE(gateway.sessions().size(), 8u) << "one a heartbeat";
  shutdown();
  expect_nothing_left();
}

TEST_F(RunnerReplacementTest, ShutdownAtEveryMomentOfIt_LeavesNothing) {
  for (int ms = 0; ms < 520; ms += 20) {
    for (int steps = 0; steps < 24; steps += ms == 500 ? 1 : 8) {
      times_ended = 0;
      ended.reset();
      gateway.listen();
      auto held = std::make_shared<HeldConnector>();
      run(held);
      gateway.execute(gateway.last(), "r");
      ask();
      held->release_for_good();
      world.timers.advance(milliseconds(ms));
      world.io.restart();
      for (int i = 0; i < steps; ++i)
        world.io.poll_one();
      runner->shutdown();
      world.advance(milliseconds(10));
      ASSERT_EQ(times_ended, 1) << ms << " ms, " << steps << " steps";
      expect_nothing_left();
      gateway.kill();
      world.settle();
    }
  }
}

}  // namespace
}  // namespace sharingbus::connector

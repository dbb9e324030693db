// Closing a manager while it waits for anything: every operation completes once, and nothing is left (the fixture
// looks).
#include <string>

#include <gtest/gtest.h>

#include "tests/connector/lifecycle/lifecycle_world.hpp"

namespace sharingbus::test {
namespace {

class Closing : public LifecycleTest {
 protected:
  void close_now() { close(Duration::zero()); }
};

TEST_F(Closing, WithoutServices_CompletesAtOnce) {
  make_manager();
  close();
}

TEST_F(Closing, WhileOpening) {
  make_manager();
  auto outcome = std::make_shared<std::optional<Error>>();
  service("one");
  manager->start_service(networked("one"), {}, [outcome](Error error, const std::string&) { *outcome = error; });
  close();
  ASSERT_TRUE(outcome->has_value());
}

TEST_F(Closing, WhileGreeting) {
  service("one").on_request = ScriptService::silence;
  const auto outcome = start_later(networked("one"), {.greeting = {{"initialize"}}});
  close();
  EXPECT_EQ(text_of(*outcome), "Invalid state: the service was stopped");
}

TEST_F(Closing, WhileWaitingForADependency) {
  start(outside("db"));
  fail("db", "bad");
  const auto outcome = start_later(outside("web"), {.depends_on = {"db"}});
  close();
  EXPECT_TRUE(outcome->has_value());
}

TEST_F(Closing, WhileRunning) {
  service("one");
  start(networked("one"));
  close();
  EXPECT_EQ(lines("one").back(), "Stopped");
  EXPECT_TRUE(service("one").last().closed->is(errc::stream_closed)) << "in good order";
}

TEST_F(Closing, WhileRunning_WithoutTimeToDrain_Cancels) {
  service("one");
  start(networked("one"));
  close_now();
  EXPECT_EQ(lines("one").back(), "Stopped");
}

TEST_F(Closing, WhileInError) {
  config.auto_reconnect = false;
  service("one");
  start(networked("one"));
  fail("one", "bad");
  close();
}

TEST_F(Closing, WhileBackingOff) {
  service("one");
  start(networked("one"));
  const auto outcome = fail("one", "bad");
  close();
  EXPECT_EQ(text_of(*outcome), "Invalid state: the service was stopped");
}

TEST_F(Closing, WhileAttempting) {
  auto& remote = service("one");
  start(networked("one"));
  remote.on_request = ScriptService::silence;
  const auto outcome = fail("one", "bad");
  advance(seconds(2));
  close();
  EXPECT_EQ(text_of(*outcome), "Invalid state: the service was stopped");
}

TEST_F(Closing, WhileHeldBySupervision) {
  config.supervision.strategy = connector::SupervisionStrategy::rest_for_one;
  for (const char* name : {"a", "b"}) {
    service(name);
    start(networked(name));
  }
  service("a").kill();
  settle();
  EXPECT_EQ(status("b"), ServiceStatus::reconnecting);
  close();
}

TEST_F(Closing, WhileStopping) {
  service("one");
  start(networked("one"));
  auto outcome = std::make_shared<std::optional<Error>>();
  manager->stop_service(id("one"), into(outcome));
  close();
  EXPECT_EQ(text_of(*outcome), "ok");
}

TEST_F(Closing, ServiceThatDoesNotRead_IsCancelledAfterTheStopTimeout) {
  auto& remote = service("one");
  remote.credit = {};
  start(networked("one"));
  close(seconds(60));
  EXPECT_TRUE(closed);
}

TEST_F(Closing, ServicesThatDoNotRead_AreAllCancelledWhenTheDrainIsOver) {
  for (const char* name : {"a", "b", "c"}) {
    service(name).credit = {};
    start(networked(name));
  }
  manager->close(seconds(5), [this] { closed = true; });
  settle();
  EXPECT_FALSE(closed);
  advance(seconds(5));
  EXPECT_TRUE(closed);
}

TEST_F(Closing, AfterTheBusWasClosed) {
  service("one");
  service("two");
  start(networked("one"));
  start(networked("two"));
  bus.close();
  settle();
  EXPECT_EQ(status("one"), ServiceStatus::reconnecting);
  advance(seconds(5));
  close();
  services.clear();
}

TEST_F(Closing, FromWithinACompletion) {
  make_manager();
  manager->start_service(outside("one"), {},
                         [&](Error, const std::string&) { manager->close(seconds(1), [this] { closed = true; }); });
  settle();
  EXPECT_TRUE(closed);
}

TEST_F(Closing, DuringStopAll) {
  for (const char* name : {"a", "b"}) {
    service(name);
    start(networked(name));
  }
  auto outcome = std::make_shared<std::optional<Error>>();
  manager->stop_all(into(outcome));
  close();
  EXPECT_EQ(text_of(*outcome), "ok");
}

}  // namespace
}  // namespace sharingbus::test

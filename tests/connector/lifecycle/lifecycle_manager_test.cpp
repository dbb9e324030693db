// Spec 5, Manager and Exact points, for services that are driven from outside; and the reference's own tests.
#include <future>
#include <string>
#include <vector>

#include <boost/asio/use_future.hpp>
#include <gtest/gtest.h>

#include "bus/async.hpp"
#include "tests/connector/lifecycle/lifecycle_world.hpp"

namespace sharingbus::test {
namespace {

class Manager : public LifecycleTest {};

// Ported from the reference.

TEST_F(Manager, New_HasNoServices) {
  make_manager();
  EXPECT_EQ(manager->count(), 0u);
}

TEST_F(Manager, StartThenStop_CountsOneThenNone) {
  EXPECT_EQ(text_of(start(outside("one"))), "ok");
  EXPECT_EQ(status("one"), ServiceStatus::running);
  EXPECT_EQ(manager->count(), 1u);
  EXPECT_EQ(text_of(stop("one")), "ok");
  EXPECT_EQ(manager->count(), 0u);
}

TEST_F(Manager, Heartbeat_OfAService_Succeeds) {
  start(outside("one"));
  EXPECT_EQ(text_of(heartbeat("one")), "ok");
}

TEST_F(Manager, Error_WithReconnectOff_EndsInError) {
  config.auto_reconnect = false;
  start(outside("one"));
  EXPECT_EQ(text_of(*fail("one", "bad")), "ok");
  EXPECT_EQ(status("one"), ServiceStatus::error);
  EXPECT_FALSE(manager->is_healthy(id("one")));
}

TEST_F(Manager, Subscribe_Start_PollAtOnce) {
  make_manager();
  auto subscription = bus.subscribe(Filter::kind(EventKind::service));
  std::vector<std::string> seen;
  manager->start_service(outside("one"), {}, [&](Error error, const std::string&) {
    EXPECT_FALSE(error);
    for (auto next = subscription.try_receive(); next.event() != nullptr; next = subscription.try_receive())
      seen.push_back(line_of(**next.event()));
  });
  settle();
  EXPECT_EQ(seen, (Lines{"Started", "StatusChanged starting>running"}));
}

// Start and stop.

TEST_F(Manager, StartAndStop_PublishTheSpecsEventsInOrder) {
  start(outside("one"));
  stop("one");
  EXPECT_EQ(lines("one"), (Lines{"Started", "StatusChanged starting>running", "StatusChanged running>stopping",
                                 "StatusChanged stopping>stopped", "Stopped"}));
}

TEST_F(Manager, Events_AreOfKindAndOriginServiceWithTheServicesRouting) {
  start(outside("one"));
  ASSERT_FALSE(events.empty());
  for (const EventRef& event : events) {
    EXPECT_EQ(event->kind(), EventKind::service);
    EXPECT_EQ(event->origin(), EventOrigin::service);
    EXPECT_EQ(event->routing().connector_uid, parse_uuid(id("one")));
    EXPECT_EQ(event->routing().connector_id, "one");
  }
}

TEST_F(Manager, Start_SecondOfTheName_IsInternalAndChangesNothing) {
  start(outside("one"));
  const std::string first = id("one");
  EXPECT_EQ(text_of(start(outside("one"))), "Internal error: Service 'one' already exists");
  ids["one"] = first;
  EXPECT_EQ(manager->count(), 1u);
  EXPECT_EQ(status("one"), ServiceStatus::running);
}

TEST_F(Manager, Stop_Unknown_IsNotFound) {
  make_manager();
  const auto outcome = stop("nobody");
  EXPECT_EQ(text_of(outcome), "Service 'nobody' not found");
  EXPECT_TRUE(outcome->is(errc::not_found));
}

TEST_F(Manager, Stop_TheNameIsFreeAgain) {
  start(outside("one"));
  stop("one");
  EXPECT_EQ(text_of(start(outside("one"))), "ok");
}

TEST_F(Manager, StopAll_GoesInReverseOrderOfStarts) {
  for (const char* name : {"a", "b", "c"})
    start(outside(name));
  forget();
  manager->stop_all({});
  settle();
  std::vector<std::string> order;
  for (const EventRef& event : events) {
    if (event->is<connector::ServiceStopped>()) order.emplace_back(event->routing().connector_id.value_or(""));
  }
  EXPECT_EQ(order, (std::vector<std::string>{"c", "b", "a"}));
  EXPECT_EQ(manager->count(), 0u);
}

TEST_F(Manager, UnknownService_HasNoStatusAndIsNotHealthy) {
  make_manager();
  EXPECT_EQ(manager->get_status("nobody"), std::nullopt);
  EXPECT_FALSE(manager->is_healthy("nobody"));
}

TEST_F(Manager, Status_IsTheRegistrys) {
  start(outside("one"));
  fail("one", "bad");
  EXPECT_EQ(status("one"), ServiceStatus::reconnecting);
  EXPECT_EQ(manager->registry().get(id("one"))->status, ServiceStatus::reconnecting);
  EXPECT_EQ(manager->registry().get(id("one"))->retry_count, 1u);
  advance(seconds(1));
  EXPECT_EQ(manager->registry().get(id("one"))->retry_count, 2u);
  heartbeat("one");
  EXPECT_EQ(manager->registry().get(id("one"))->retry_count, 0u);
}

TEST_F(Manager, AsyncForms_CompleteWithTheirResults) {
  make_manager();
  ExtensionService one = outside("one");
  auto started = manager->async_start_service(one, {}, boost::asio::use_future);
  auto beat = manager->async_handle_heartbeat(one.id, boost::asio::use_future);
  auto healthy = manager->async_health_check(boost::asio::use_future);
  auto off = manager->async_set_auto_reconnect(one.id, false, boost::asio::use_future);
  auto failed = manager->async_handle_error(one.id, "bad", boost::asio::use_future);
  auto stopped = manager->async_stop_service(one.id, boost::asio::use_future);
  auto all = manager->async_stop_all(boost::asio::use_future);
  settle();
  EXPECT_EQ(std::get<1>(started.get()), one.id);
  EXPECT_FALSE(beat.get());
  EXPECT_EQ(std::get<1>(healthy.get()), std::vector<std::string>{});
  EXPECT_FALSE(off.get());
  EXPECT_FALSE(failed.get());
  EXPECT_FALSE(stopped.get());
  EXPECT_FALSE(all.get());
}

TEST_F(Manager, Operations_CompleteAfterTheirEventsWereDispatched) {
  make_manager();
  manager->start_service(outside("one"), {}, [&](Error, const std::string& id) {
    EXPECT_EQ(all<connector::ServiceStatusChanged>().size(), 1u);
    manager->handle_heartbeat(id, [&](Error) { EXPECT_EQ(all<connector::ServiceHeartbeat>().size(), 1u); });
  });
  settle();
  EXPECT_EQ(all<connector::ServiceHeartbeat>().size(), 1u);
}

// Heartbeats.

TEST_F(Manager, Heartbeat_IsPublishedAndKept) {
  start(outside("one"));
  forget();
  advance(seconds(5));
  heartbeat("one");
  EXPECT_EQ(lines("one"), Lines{"Heartbeat"});
  EXPECT_EQ(manager->registry().get(id("one"))->last_heartbeat, timers.now());
}

TEST_F(Manager, Heartbeat_OfUnknown_IsInternal) {
  make_manager();
  const auto outcome = heartbeat("nobody");
  EXPECT_EQ(text_of(outcome), "Internal error: Service 'nobody' not found");
  EXPECT_TRUE(outcome->is(errc::internal));
}

TEST_F(Manager, Monitor_SilentForLongerThanTheTimeout_TimesOutAtTheNextCheck) {
  start(outside("one"));
  forget();
  advance(seconds(119));
  EXPECT_EQ(lines("one"), Lines{});
  advance(seconds(1));
  EXPECT_EQ(lines("one"), (Lines{"HeartbeatTimeout", "StatusChanged running>reconnecting", "Reconnecting 1/5"}));
}

TEST_F(Manager, Monitor_HeartbeatsKeepItRunning) {
  start(outside("one"));
  for (int i = 0; i < 20; ++i) {
    advance(seconds(80));
    ASSERT_EQ(text_of(heartbeat("one")), "ok");
  }
  EXPECT_EQ(status("one"), ServiceStatus::running);
  EXPECT_EQ(all<connector::ServiceHeartbeatTimeout>().size(), 0u);
}

TEST_F(Manager, HealthCheck_SilentForMoreThanAMinute_TimesOutNow) {
  start(outside("one"));
  start(outside("two"));
  advance(seconds(50));
  heartbeat("two");
  advance(seconds(20));
  std::vector<std::string> found;
  manager->health_check([&](Error error, std::vector<std::string> silent) {
    EXPECT_FALSE(error);
    found = std::move(silent);
  });
  settle();
  EXPECT_EQ(found, std::vector<std::string>{id("one")});
  EXPECT_EQ(status("one"), ServiceStatus::reconnecting);
  EXPECT_EQ(status("two"), ServiceStatus::running);
}

TEST_F(Manager, TenThousandIdleServices_CostOneTimerAndNoWakeUpBetweenChecks) {
  constexpr int kServices = 10'000;
  make_manager();
  for (int i = 0; i < kServices; ++i)
    manager->start_service(outside("s" + std::to_string(i)), {}, {});
  settle();
  ASSERT_EQ(manager->count(), static_cast<std::size_t>(kServices));
  EXPECT_EQ(timers.pending(), 1u);
  wakeups = 0;
  advance(seconds(119));
  EXPECT_LE(wakeups, 1u);
  EXPECT_EQ(all<connector::ServiceHeartbeatTimeout>().size(), 0u);
  events.clear();
  manager->stop_all({});
  settle();
}

// Errors and reconnecting.

TEST_F(Manager, Error_OfUnknown_IsPublishedAndNotFound) {
  make_manager();
  const auto outcome = fail("nobody", "bad");
  EXPECT_EQ(text_of(*outcome), "Service 'nobody' not found");
  const auto published = all<connector::ServiceError>();
  ASSERT_EQ(published.size(), 1u);
  EXPECT_EQ(published[0].id, "nobody");
  EXPECT_EQ(published[0].error, "bad");
}

TEST_F(Manager, Reconnect_OfAServiceThatIsDrivenFromOutside_SucceedsByAHeartbeatWithinItsWait) {
  start(outside("one"));
  forget();
  const auto outcome = fail("one", "bad");
  EXPECT_EQ(text_of(*outcome), "(not completed)");
  advance(milliseconds(999));
  heartbeat("one");
  EXPECT_EQ(text_of(*outcome), "ok");
  EXPECT_EQ(lines("one"),
            (Lines{"Error bad", "StatusChanged running>error", "Reconnecting 1/5", "StatusChanged error>reconnecting",
                   "Heartbeat", "Reconnected", "StatusChanged reconnecting>running"}));
}

TEST_F(Manager, Reconnect_UsedUp_IsReconnectFailedWithItsNumber) {
  start(outside("one"));
  forget();
  const TimePoint began = timers.now();
  const auto outcome = fail("one", "bad");
  advance(seconds(1 + 2 + 4 + 8));
  EXPECT_EQ(text_of(*outcome), "(not completed)");
  advance(seconds(16));
  EXPECT_EQ(timers.now() - began, seconds(31));
  EXPECT_EQ(text_of(*outcome), "Reconnection failed after 5 attempts");
  EXPECT_TRUE((*outcome)->is(errc::reconnect_failed));
  EXPECT_EQ(lines("one"),
            (Lines{"Error bad", "StatusChanged running>error", "Reconnecting 1/5", "StatusChanged error>reconnecting",
                   "Reconnecting 2/5", "Reconnecting 3/5", "Reconnecting 4/5", "Reconnecting 5/5", "ReconnectFailed",
                   "StatusChanged reconnecting>error"}));
}

TEST_F(Manager, Reconnect_ManagersLimitGoverns) {
  config.reconnect.max_attempts = 2;
  ExtensionService service = outside("one");
  service.transport.max_retries = 7;
  start(service);
  const auto outcome = fail("one", "bad");
  advance(seconds(3));
  EXPECT_EQ(text_of(*outcome), "Reconnection failed after 2 attempts");
}

TEST_F(Manager, Reconnect_NeedsTheServicesOwnFlagToo) {
  ExtensionService service = outside("one");
  service.transport.auto_reconnect = false;
  start(service);
  EXPECT_EQ(text_of(*fail("one", "bad")), "ok");
  EXPECT_EQ(status("one"), ServiceStatus::error);
  EXPECT_EQ(text_of(set_auto_reconnect("one", true)), "ok");
  EXPECT_TRUE(manager->registry().get(id("one"))->transport.auto_reconnect);
  const auto outcome = fail("one", "again");
  EXPECT_EQ(status("one"), ServiceStatus::reconnecting);
  EXPECT_EQ(text_of(*outcome), "(not completed)");
}

TEST_F(Manager, Reconnect_SwitchedOff_EndsAtTheNextAttempt) {
  start(outside("one"));
  const auto outcome = fail("one", "bad");
  set_auto_reconnect("one", false);
  advance(seconds(1));
  EXPECT_EQ(text_of(*outcome), "Invalid state: auto reconnect was switched off");
  EXPECT_EQ(status("one"), ServiceStatus::error);
}

TEST_F(Manager, SetAutoReconnect_Unknown_IsNotFound) {
  make_manager();
  EXPECT_EQ(text_of(set_auto_reconnect("nobody", true)), "Service 'nobody' not found");
}

TEST_F(Manager, Error_DuringAReconnect_JoinsIt) {
  start(outside("one"));
  const auto first = fail("one", "bad");
  forget();
  const auto second = fail("one", "worse");
  EXPECT_EQ(lines("one"), Lines{"Error worse"});
  heartbeat("one");
  EXPECT_EQ(text_of(*first), "ok");
  EXPECT_EQ(text_of(*second), "ok");
}

TEST_F(Manager, Stop_DuringAReconnect_Wins) {
  start(outside("one"));
  const auto failing = fail("one", "bad");
  forget();
  EXPECT_EQ(text_of(stop("one")), "ok");
  EXPECT_EQ(text_of(*failing), "Invalid state: the service was stopped");
  advance(seconds(100));
  EXPECT_EQ(lines("one"), (Lines{"StatusChanged reconnecting>stopping", "StatusChanged stopping>stopped", "Stopped"}));
}

TEST_F(Manager, Timeout_StartsAReconnectByItself) {
  start(outside("one"));
  advance(seconds(120));
  EXPECT_EQ(all<connector::ServiceReconnecting>().size(), 1u);
  EXPECT_EQ(manager->registry().get(id("one"))->status, manager->get_status(id("one")));
}

// Dependencies.

TEST_F(Manager, Dependency_NotStarted_IsInvalidState) {
  EXPECT_EQ(text_of(start(outside("web"), {.depends_on = {"db"}})),
            "Invalid state: dependency 'db' has not been started");
  EXPECT_EQ(manager->count(), 0u);
}

TEST_F(Manager, Dependency_ThatReconnects_IsWaitedFor) {
  start(outside("db"));
  fail("db", "bad");
  const auto web = start_later(outside("web"), {.depends_on = {"db"}});
  EXPECT_EQ(status("web"), ServiceStatus::starting);
  EXPECT_EQ(text_of(*web), "(not completed)");
  heartbeat("db");
  EXPECT_EQ(text_of(*web), "ok");
  EXPECT_EQ(status("web"), ServiceStatus::running);
}

TEST_F(Manager, Dependency_ThatFailsForGood_FailsTheStart) {
  start(outside("db"));
  fail("db", "bad");
  const auto web = start_later(outside("web"), {.depends_on = {"db"}});
  advance(seconds(31));
  EXPECT_EQ(text_of(*web), "Connection failed: service 'db', which it waits for, has status error");
  EXPECT_EQ(status("web"), ServiceStatus::error);
}

TEST_F(Manager, Dependency_Stopped_FailsTheStart) {
  start(outside("db"));
  fail("db", "bad");
  const auto web = start_later(outside("web"), {.depends_on = {"db"}});
  stop("db");
  EXPECT_EQ(status("web"), ServiceStatus::error);
  EXPECT_TRUE(web->has_value());
}

TEST_F(Manager, Dependency_InError_IsInvalidState) {
  config.auto_reconnect = false;
  start(outside("db"));
  fail("db", "bad");
  EXPECT_EQ(text_of(start(outside("web"), {.depends_on = {"db"}})), "Invalid state: dependency 'db' has status error");
}

// The end.

TEST_F(Manager, Close_RefusesWhatComesAfterwards) {
  start(outside("one"));
  close();
  EXPECT_TRUE(closed);
  EXPECT_EQ(text_of(start(outside("two"))), "Invalid state: the manager is closing");
  EXPECT_EQ(text_of(stop("one")), "Service '" + id("one") + "' not found");
  bool again = false;
  manager->close(seconds(1), [&] { again = true; });
  settle();
  EXPECT_TRUE(again);
}

TEST_F(Manager, InvalidConfig_Throws) {
  config.healthy_after = 0;
  EXPECT_THROW(make_manager(), std::invalid_argument);
}

TEST_F(Manager, WithoutTransports_NetworkedServicesFail) {
  manager = std::make_unique<LifecycleManager>(io.get_executor(), bus, timers, config);
  EXPECT_EQ(text_of(start(networked("one"))), "Connection failed: the manager has no transports");
  EXPECT_EQ(manager->count(), 0u);
}

TEST_F(Manager, TransportThatCannotBeMade_FailsTheStart) {
  EXPECT_EQ(text_of(start(networked("impossible"))), "Connection failed: no such transport");
  EXPECT_EQ(manager->count(), 0u);
}

}  // namespace
}  // namespace sharingbus::test

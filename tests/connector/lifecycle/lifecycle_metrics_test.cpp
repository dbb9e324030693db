#include "connector/lifecycle/lifecycle_metrics.hpp"

#include <gtest/gtest.h>

#include "tests/connector/lifecycle/lifecycle_world.hpp"

namespace sharingbus::test {
namespace {

class LifecycleMetricsTest : public LifecycleTest {
 protected:
  connector::LifecycleMetricsObserver sut{bus, timers};
};

TEST_F(LifecycleMetricsTest, LifeOfAService_IsCounted) {
  auto& remote = service("one");
  ExtensionService one = networked("one");
  sut.watch(one.id);
  start(one);
  remote.last().link->cancel(Error(errc::cancelled, "crash"));
  advance(seconds(2));
  stop("one");
  const auto metrics = sut.metrics(one.id);
  EXPECT_EQ(metrics.starts, 1u);
  EXPECT_EQ(metrics.heartbeats, 2u);
  EXPECT_EQ(metrics.errors, 1u);
  EXPECT_FALSE(metrics.last_error.empty());
  EXPECT_EQ(metrics.reconnect_attempts, 1u);
  EXPECT_EQ(metrics.reconnects, 1u);
  EXPECT_EQ(metrics.reconnect_failures, 0u);
  EXPECT_EQ(metrics.stops, 1u);
  EXPECT_EQ(metrics.last_heartbeat_at_ms, timers.unix_ms() - 1000);
}

TEST_F(LifecycleMetricsTest, TimeoutsAndFailures_AreCounted) {
  ExtensionService one = outside("one");
  sut.watch(one.id);
  start(one);
  advance(seconds(200));
  EXPECT_EQ(sut.metrics(one.id).heartbeat_timeouts, 1u);
  EXPECT_EQ(sut.metrics(one.id).reconnect_attempts, 5u);
  EXPECT_EQ(sut.metrics(one.id).reconnect_failures, 1u);
}

TEST_F(LifecycleMetricsTest, Totals_AreOfAllServicesWatchedOrNot) {
  ExtensionService one = outside("one");
  sut.watch(one.id);
  start(one);
  start(outside("two"));
  heartbeat("two");
  EXPECT_EQ(sut.totals().starts, 2u);
  EXPECT_EQ(sut.totals().heartbeats, 1u);
  EXPECT_EQ(sut.metrics(one.id).heartbeats, 0u);
  EXPECT_EQ(sut.metrics(id("two")).starts, 0u) << "not watched";
}

}  // namespace
}  // namespace sharingbus::test

#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <boost/asio/io_context.hpp>
#include <gtest/gtest.h>

#include "bus/sharing_bus.hpp"
#include "connector/registration/events.hpp"
#include "connector/registration/multi_connector_runner.hpp"
#include "connector/registration/registration_runner.hpp"
#include "tests/connector/registration/test_connectors.hpp"
#include "tests/support/bus_oracle.hpp"
#include "tests/support/manual_clock.hpp"
#include "tests/support/script_gateway.hpp"

namespace sharingbus::test {

using std::chrono::milliseconds;
using std::chrono::seconds;

/// A bus, a gateway, a dialer to it and virtual time, all on one thread that the test is.
class World {
 public:
  explicit World(BusOptions options = {}) : bus(with_clock(std::move(options))) {
    SubscriptionOptions all;
    all.name = "events";
    watcher_ = bus.subscribe_inline(std::move(all), [this](const EventRef& event) { events.push_back(event); });
  }

  /// Runs everything that is ready, at this moment of virtual time.
  void settle() {
    do {
      bus.poll();
      io.restart();
    } while (io.poll() != 0 || bus.poll() != 0);
  }
  /// Moves time on and runs what falls due on the way, in its order.
  void advance(Duration by) {
    const TimePoint until = timers.now() + by;
    settle();
    for (auto next = timers.next_deadline(); next && *next <= until; next = timers.next_deadline()) {
      timers.advance(std::max(*next - timers.now(), Duration::zero()));
      settle();
    }
    timers.advance(until - timers.now());
    settle();
  }

  /// Names of the connector side's events so far, e.g. `registration.attempt`.
  [[nodiscard]] std::vector<std::string> names(EventOrigin origin = EventOrigin::connector) const {
    std::vector<std::string> names;
    for (const EventRef& event : events) {
      if (event->origin() == origin) names.emplace_back(event->type_name());
    }
    return names;
  }
  template <class T>
  [[nodiscard]] std::vector<T> all(std::optional<Uuid> uid = std::nullopt) const {
    std::vector<T> found;
    for (const EventRef& event : events) {
      const T* payload = event->get_if<T>();
      if (payload != nullptr && (!uid || event->routing().connector_uid == uid)) found.push_back(*payload);
    }
    return found;
  }
  [[nodiscard]] std::optional<SubscriptionStats> subscription(const std::string& name) const {
    for (SubscriptionStats& stats : bus.snapshot().subscriptions) {
      if (stats.name == name) return std::move(stats);
    }
    return std::nullopt;
  }

  boost::asio::io_context io;
  ManualTimerService timers;
  SharingBus bus;
  transport::MemoryNetwork network{io.get_executor()};
  ScriptGateway gateway{io.get_executor(), bus, network, "gateway"};
  std::unique_ptr<transport::Dialer> dialer = network.make_dialer("gateway");
  /// Everything that was on the bus, in order.
  std::vector<EventRef> events;

 private:
  BusOptions with_clock(BusOptions options) const {
    options.clock = &timers;
    options.log = nullptr;
    return options;
  }

  Subscription watcher_;
};

/// Quick to come back, no jitter, no log.
inline connector::RunnerOptions test_options() {
  connector::RunnerOptions options;
  options.reconnect_jitter = {};
  options.log = nullptr;
  return options;
}

inline connector::Registration registration(std::shared_ptr<connector::Connector> connector,
                                            std::string instance = "one") {
  return {{.tenant = "acme", .type = "configured", .instance = std::move(instance)}, std::move(connector)};
}

/// One runner in a world whose gateway listens, and how it ended.
class RunnerTest : public ::testing::Test {
 protected:
  /// Started; call `settle` to get it anywhere.
  void run(std::shared_ptr<connector::Connector> connector) {
    runner = std::make_unique<connector::RegistrationRunner>(
        world.io.get_executor(), world.bus, world.timers, *world.dialer, registration(std::move(connector)), options);
    runner->start([this](Error error) {
      ++times_ended;
      ended = std::move(error);
    });
    world.settle();
  }
  void shutdown() {
    runner->shutdown();
    world.settle();
  }
  /// Nothing of it is left, and the books of the bus balance.
  void expect_nothing_left() {
    EXPECT_EQ(times_ended, 1);
    EXPECT_EQ(gateway.open_sessions(), 0u);
    EXPECT_EQ(world.dialer->stats().streams, 0u);
    EXPECT_EQ(world.timers.pending(), 0u);
    EXPECT_TRUE(check_balanced(world.bus));
    EXPECT_EQ(gateway.violations, std::vector<std::string>{});
  }

  World world;
  ScriptGateway& gateway = world.gateway;
  connector::RunnerOptions options = test_options();
  std::unique_ptr<connector::RegistrationRunner> runner;
  std::optional<Error> ended;
  int times_ended = 0;
};

}  // namespace sharingbus::test

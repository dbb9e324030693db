#pragma once

#include <algorithm>
#include <chrono>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <boost/asio/io_context.hpp>
#include <gtest/gtest.h>

#include "bus/sharing_bus.hpp"
#include "connector/lifecycle/lifecycle_events.hpp"
#include "connector/lifecycle/lifecycle_manager.hpp"
#include "tests/support/bus_oracle.hpp"
#include "tests/support/manual_clock.hpp"
#include "tests/support/script_service.hpp"
#include "transport/memory/memory_network.hpp"

namespace sharingbus::test {

using connector::ExtensionService;
using connector::LifecycleConfig;
using connector::LifecycleManager;
using connector::ServiceStatus;
using std::chrono::milliseconds;
using std::chrono::seconds;

/// An event of a manager as the specification names it, e.g. `StatusChanged starting>running`; empty for others.
inline std::string line_of(const BusEvent& event) {
  using namespace connector;
  const auto text = [](ServiceStatus status) { return std::string(to_string(status)); };
  if (event.is<ServiceStarted>()) return "Started";
  if (const auto* e = event.get_if<ServiceStatusChanged>()) {
    return "StatusChanged " + text(e->old_status) + ">" + text(e->new_status);
  }
  if (event.is<ServiceHeartbeat>()) return "Heartbeat";
  if (event.is<ServiceHeartbeatTimeout>()) return "HeartbeatTimeout";
  if (const auto* e = event.get_if<ServiceError>()) return "Error " + e->error;
  if (const auto* e = event.get_if<ServiceReconnecting>()) {
    return "Reconnecting " + std::to_string(e->attempt) + "/" + std::to_string(e->max);
  }
  if (event.is<ServiceReconnected>()) return "Reconnected";
  if (event.is<ServiceReconnectFailed>()) return "ReconnectFailed";
  if (event.is<ServiceStopped>()) return "Stopped";
  return {};
}

using Lines = std::vector<std::string>;

/// A manager over the memory network, and virtual time, all on one thread that the test is.
class LifecycleTest : public ::testing::Test {
 protected:
  LifecycleTest() : bus(bus_options()) {
    SubscriptionOptions all;
    all.name = "events";
    watcher_ = bus.subscribe_inline(std::move(all), [this](const EventRef& event) { events.push_back(event); });
    config.reconnect.jitter = 0;
  }
  ~LifecycleTest() override {
    if (!manager) return;
    close();
    EXPECT_TRUE(closed) << "the manager did not close";
    EXPECT_EQ(timers.pending(), 0u);
    EXPECT_EQ(manager->count(), 0u);
    manager.reset();
    // A side that reads nothing does not see the end either.
    for (const auto& [name, service] : services) {
      for (const auto& session : service->sessions())
        session->link->grant({1000, 1000});
    }
    settle();
    for (const auto& [name, service] : services)
      EXPECT_EQ(service->open_sessions(), 0u) << name;
    EXPECT_TRUE(check_balanced(bus));
  }

  void make_manager() {
    manager = std::make_unique<LifecycleManager>(
        io.get_executor(), bus, timers, config,
        [this](const connector::TransportConfig& transport) -> Result<std::unique_ptr<transport::Dialer>> {
          if (transport.address == "impossible") return Error(errc::invalid_argument, "no such transport");
          return network.make_dialer(transport.address);
        });
  }
  /// A listening service of the network.
  ScriptService& service(const std::string& name) {
    auto& made = services[name];
    if (!made) {
      made = std::make_unique<ScriptService>(io.get_executor(), bus, network, name);
      EXPECT_TRUE(made->listen());
    }
    return *made;
  }
  /// One that is driven from outside, and one that is reached through the network.
  static ExtensionService outside(const std::string& name) {
    ExtensionService service;
    service.name = name;
    return service;
  }
  static ExtensionService networked(const std::string& name) {
    ExtensionService service = outside(name);
    service.transport.type = connector::ServiceTransport::tcp;
    service.transport.address = name;
    return service;
  }

  void settle() {
    do {
      bus.poll();
      io.restart();
    } while (io.poll() != 0 || bus.poll() != 0);
  }
  void advance(Duration by) {
    const TimePoint until = timers.now() + by;
    settle();
    for (auto next = timers.next_deadline(); next && *next <= until; next = timers.next_deadline()) {
      timers.advance(std::max(*next - timers.now(), Duration::zero()));
      ++wakeups;
      settle();
    }
    timers.advance(until - timers.now());
    settle();
  }

  // Operations; nothing when they have not completed yet.
  using Outcome = std::shared_ptr<std::optional<Error>>;
  Outcome start_later(ExtensionService what, connector::ServicePolicy policy = {}) {
    auto outcome = std::make_shared<std::optional<Error>>();
    if (!manager) make_manager();
    ids[what.name] = what.id;
    manager->start_service(std::move(what), std::move(policy), [outcome](Error error, const std::string&) {
      EXPECT_FALSE(outcome->has_value()) << "completed twice";
      *outcome = std::move(error);
    });
    settle();
    return outcome;
  }
  std::optional<Error> start(ExtensionService what, connector::ServicePolicy policy = {}) {
    return *start_later(std::move(what), std::move(policy));
  }
  LifecycleManager::Done into(const Outcome& outcome) {
    return [outcome](Error error) {
      EXPECT_FALSE(outcome->has_value()) << "completed twice";
      *outcome = std::move(error);
    };
  }
  Outcome stop_later(const std::string& name) {
    auto outcome = std::make_shared<std::optional<Error>>();
    manager->stop_service(id(name), into(outcome));
    settle();
    return outcome;
  }
  std::optional<Error> stop(const std::string& name) { return *stop_later(name); }
  std::optional<Error> heartbeat(const std::string& name) {
    auto outcome = std::make_shared<std::optional<Error>>();
    manager->handle_heartbeat(id(name), into(outcome));
    settle();
    return *outcome;
  }
  Outcome fail(const std::string& name, const std::string& text) {
    auto outcome = std::make_shared<std::optional<Error>>();
    manager->handle_error(id(name), text, into(outcome));
    settle();
    return outcome;
  }
  std::optional<Error> set_auto_reconnect(const std::string& name, bool on) {
    auto outcome = std::make_shared<std::optional<Error>>();
    manager->set_auto_reconnect(id(name), on, into(outcome));
    settle();
    return *outcome;
  }
  void close(Duration drain = seconds(60)) {
    manager->close(drain, [this] { closed = true; });
    settle();
    if (!closed) advance(drain + seconds(1));
  }

  /// The id of a service by its name; the name itself when it was never started.
  [[nodiscard]] std::string id(const std::string& name) const {
    const auto found = ids.find(name);
    return found != ids.end() ? found->second : name;
  }
  [[nodiscard]] std::optional<ServiceStatus> status(const std::string& name) const {
    return manager->get_status(id(name));
  }
  /// What the manager has published about a service since `forget`.
  [[nodiscard]] Lines lines(const std::string& name) const {
    Lines found;
    for (const EventRef& event : events) {
      if (event->kind() != EventKind::service || event->routing().connector_id != name) continue;
      found.push_back(line_of(*event));
    }
    return found;
  }
  void forget() { events.clear(); }
  template <class T>
  [[nodiscard]] std::vector<T> all() const {
    std::vector<T> found;
    for (const EventRef& event : events) {
      if (const T* payload = event->get_if<T>()) found.push_back(*payload);
    }
    return found;
  }

  boost::asio::io_context io;
  ManualTimerService timers;
  SharingBus bus;
  transport::MemoryNetwork network{io.get_executor()};
  std::map<std::string, std::unique_ptr<ScriptService>> services;
  LifecycleConfig config;
  std::unique_ptr<LifecycleManager> manager;
  std::map<std::string, std::string> ids;
  std::vector<EventRef> events;
  std::size_t wakeups = 0;
  bool closed = false;

 private:
  BusOptions bus_options() const {
    BusOptions options;
    options.clock = &timers;
    options.log = nullptr;
    return options;
  }

  Subscription watcher_;
};

inline std::string text_of(const std::optional<Error>& outcome) {
  if (!outcome) return "(not completed)";
  return *outcome ? to_string(*outcome) : "ok";
}

}  // namespace sharingbus::test

// A manager on several threads, with callers on others: meant for ThreadSanitizer.
#include <atomic>
#include <chrono>
#include <future>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/strand.hpp>
#include <boost/asio/use_future.hpp>
#include <gtest/gtest.h>

#include "bus/async_timer_service.hpp"
#include "connector/lifecycle/lifecycle_manager.hpp"
#include "connector/lifecycle/lifecycle_metrics.hpp"
#include "tests/support/bus_oracle.hpp"
#include "tests/support/script_service.hpp"
#include "tests/support/watchdog.hpp"

namespace sharingbus::test {
namespace {

namespace asio = boost::asio;
using namespace sharingbus::connector;
using std::chrono::milliseconds;

/// Threads, and what they run.
class Threads {
 public:
  explicit Threads(int count) : work_(context.get_executor()) {
    for (int i = 0; i < count; ++i)
      threads_.emplace_back([this] { context.run(); });
  }
  void join() {
    work_.reset();
    for (std::thread& thread : threads_)
      thread.join();
    threads_.clear();
  }

  asio::io_context context;

 private:
  asio::executor_work_guard<asio::io_context::executor_type> work_;
  std::vector<std::thread> threads_;
};

LifecycleConfig quick() {
  LifecycleConfig config;
  config.heartbeat_interval = milliseconds(1);
  config.heartbeat_timeout = milliseconds(50);
  config.reconnect = {.max_attempts = 5, .delay = milliseconds(1), .max_delay = milliseconds(3)};
  config.supervision = {SupervisionStrategy::rest_for_one, 1'000'000, std::chrono::seconds(1)};
  return config;
}

/// Does anything at any time to the services `mine`.
void disturb(LifecycleManager& manager, const std::vector<std::string>& ids, std::uint32_t seed) {
  std::mt19937 random(seed);
  for (int i = 0; i < 150; ++i) {
    const std::string& id = ids[random() % ids.size()];
    switch (random() % 6) {
      case 0:
        manager.handle_error(id, "disturbed", {});
        break;
      case 1:
        manager.async_handle_heartbeat(id, asio::use_future).get();
        break;
      case 2:
        (void)manager.get_status(id);
        break;
      case 3:
        manager.set_auto_reconnect(id, random() % 4 != 0, {});
        break;
      case 4:
        manager.async_health_check(asio::use_future).get();
        break;
      default:
        (void)manager.registry().list({.status = ServiceStatus::running});
        break;
    }
  }
}

TEST(LifecycleThreads, CallersOnManyThreads_EveryCallCompletesAndNothingIsLeft) {
  const Watchdog watchdog("lifecycle threads", std::chrono::seconds(240));
  Threads threads(3);
  const auto strand = asio::make_strand(threads.context);
  SharingBus bus({.log = nullptr});
  AsyncTimerService timers(threads.context.get_executor());
  transport::MemoryNetwork network{strand};
  std::vector<std::unique_ptr<ScriptService>> services;
  std::vector<std::string> ids;
  {
    LifecycleMetricsObserver metrics(bus, timers);
    LifecycleManager manager(threads.context.get_executor(), bus, timers, quick(),
                             [&](const TransportConfig& transport) -> Result<std::unique_ptr<transport::Dialer>> {
                               return network.make_dialer(transport.address);
                             });
    for (int i = 0; i < 6; ++i) {
      ExtensionService service;
      service.name = "service-" + std::to_string(i);
      if (i % 3 != 2) {
        service.transport.address = service.name;
        services.push_back(std::make_unique<ScriptService>(strand, bus, network, service.name));
        ASSERT_TRUE(services.back()->listen());
      }
      ids.push_back(service.id);
      manager.async_start_service(service, {}, asio::use_future).get();
    }
    std::vector<std::thread> callers;
    for (std::uint32_t i = 0; i < 3; ++i)
      callers.emplace_back([&, i] { disturb(manager, ids, i + 1); });
    for (std::thread& caller : callers)
      caller.join();
    manager.async_stop_service(ids[0], asio::use_future).get();
    std::promise<void> closed;
    manager.close(std::chrono::seconds(30), [&] { closed.set_value(); });
    closed.get_future().get();
    EXPECT_EQ(manager.count(), 0u);
    EXPECT_EQ(metrics.totals().starts, 6u);
    EXPECT_EQ(metrics.totals().stops, 6u);
  }
  for (const auto& service : services)
    service->kill();
  threads.join();
  services.clear();
  EXPECT_TRUE(check_balanced(bus));
}

}  // namespace
}  // namespace sharingbus::test

// What a lifecycle manager costs: CPU for 10 000 idle services, CPU for 1 000 heartbeats a second, and the time from a
// child's kill -9 to its error event. Prints a line each.
#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <future>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/use_future.hpp>
#include <time.h>

#include "bus/async_timer_service.hpp"
#include "connector/lifecycle/lifecycle_manager.hpp"
#include "transport/content_length_framing.hpp"
#include "transport/messages/process_events.hpp"
#include "transport/process/process_dialer.hpp"

using namespace sharingbus;
using namespace sharingbus::connector;
using Steady = std::chrono::steady_clock;
namespace asio = boost::asio;

namespace {

/// Two threads, a bus and a manager on them.
class Setup {
 public:
  explicit Setup(LifecycleConfig config = {})
      : manager(context.get_executor(), bus, timers, config, [this](const TransportConfig& to) {
          transport::ProcessDialerOptions options;
          options.command = to.command;
          options.framing = std::make_shared<transport::ContentLengthFraming>();
          options.stop_grace = std::chrono::milliseconds(10);
          return Result<std::unique_ptr<transport::Dialer>>(
              std::make_unique<transport::ProcessDialer>(context.get_executor(), timers, std::move(options)));
        }) {
    for (int i = 0; i < 2; ++i)
      threads_.emplace_back([this] { context.run(); });
  }
  ~Setup() {
    std::promise<void> closed;
    manager.close(std::chrono::seconds(10), [&] { closed.set_value(); });
    closed.get_future().get();
    work_.reset();
    context.stop();
    for (std::thread& thread : threads_)
      thread.join();
  }

  std::vector<std::string> start(int services, const std::string& command = {}) {
    std::vector<std::string> ids;
    for (int i = 0; i < services; ++i) {
      ExtensionService service;
      service.name = "service-" + std::to_string(i);
      service.transport.command = command;
      ids.push_back(service.id);
      manager.async_start_service(std::move(service), {}, asio::use_future).get();
    }
    return ids;
  }

  asio::io_context context;
  AsyncTimerService timers{context.get_executor()};
  SharingBus bus;
  LifecycleManager manager;

 private:
  asio::executor_work_guard<asio::io_context::executor_type> work_{context.get_executor()};
  std::vector<std::thread> threads_;
};

double cpu_seconds() {
  timespec used{};
  ::clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used);
  return static_cast<double>(used.tv_sec) + static_cast<double>(used.tv_nsec) / 1e9;
}

/// CPU in percent of a core over `seconds` in which `work(i)` is called every millisecond.
template <class Work>
double percent_of_a_core(int seconds, Work work) {
  const auto began = Steady::now();
  const double before = cpu_seconds();
  for (int i = 0; i < seconds * 1000; ++i) {
    work(i);
    std::this_thread::sleep_until(began + std::chrono::milliseconds(i + 1));
  }
  return (cpu_seconds() - before) / std::chrono::duration<double>(Steady::now() - began).count() * 100;
}

void idle() {
  Setup setup;
  setup.start(10'000);
  const double before = cpu_seconds();
  const auto began = Steady::now();
  std::this_thread::sleep_for(std::chrono::seconds(10));
  const double seconds = std::chrono::duration<double>(Steady::now() - began).count();
  std::printf("10000 idle services: %.3f %% of a core, %zu timer(s)\n", (cpu_seconds() - before) / seconds * 100,
              setup.timers.pending());
}

void heartbeats() {
  Setup setup;
  const auto ids = setup.start(1000);
  const double nothing = percent_of_a_core(5, [](int) {});
  const double beating = percent_of_a_core(
      5, [&](int i) { setup.manager.handle_heartbeat(ids[static_cast<std::size_t>(i) % ids.size()], {}); });
  std::printf("1000 heartbeats/s: %.3f %% of a core (the caller's own clock: %.3f %%)\n", beating, nothing);
}

void kill_to_event() {
  LifecycleConfig config;
  config.reconnect.delay = {};
  config.reconnect.max_attempts = 1'000'000;
  config.heartbeat_interval = std::chrono::hours(1);
  config.heartbeat_timeout = std::chrono::hours(3);
  Setup setup(config);
  auto events = setup.bus.subscribe(Filter::type<ServiceError>() || Filter::type<transport::ProcessStarted>());
  setup.start(1, "cat");
  std::vector<double> micros;
  Steady::time_point killed{};
  while (micros.size() < 200) {
    const Received next = events.receive();
    if (next.event() == nullptr) return;
    if (const auto* started = next.get_if<transport::ProcessStarted>()) {
      // Let it read its first probe.
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
      killed = Steady::now();
      ::kill(started->pid, SIGKILL);
    } else {
      micros.push_back(std::chrono::duration<double, std::micro>(Steady::now() - killed).count());
    }
  }
  std::sort(micros.begin(), micros.end());
  std::printf("kill -9 to Error event: p50 %.0f us, p99 %.0f us (%zu kills)\n", micros[100], micros[198],
              micros.size());
}

}  // namespace

int main() {
  idle();
  heartbeats();
  kill_to_event();
}

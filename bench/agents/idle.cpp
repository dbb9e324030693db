#include <chrono>
#include <cstdio>
#include <fstream>
#include <string>
#include <sys/resource.h>

#include "bench/agents/agents.hpp"
#include "bench/agents/house.hpp"
#include "connector/agent/agent_pool.hpp"

namespace agents {

using namespace sharingbus;  // NOLINT(google-build-using-namespace): a program

namespace {

double cpu_seconds() {
  rusage used{};
  getrusage(RUSAGE_SELF, &used);
  const auto seconds = [](const timeval& t) {
    return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_usec) / 1e6;
  };
  return seconds(used.ru_utime) + seconds(used.ru_stime);
}

double resident_mib() {
  std::ifstream file("/proc/self/statm");
  double pages = 0;
  file >> pages >> pages;
  return pages * 4096 / 1024 / 1024;
}

}  // namespace

int run_idle(const std::string& endpoint, std::size_t agents, std::size_t connections, double seconds) {
  rlimit descriptors{};
  getrlimit(RLIMIT_NOFILE, &descriptors);
  descriptors.rlim_cur = descriptors.rlim_max;
  setrlimit(RLIMIT_NOFILE, &descriptors);
  House house(1, WaitStrategy::phased);
  connector::AgentPoolOptions options;
  options.connections_per_agent = connections;
  options.connect_timeout = std::chrono::seconds(60);
  connector::AgentPool pool(house.executor(), house.bus(), house.timers(), make_dialers(house), options);
  pool.start_maintenance();
  const double memory_before = resident_mib();
  double cpu_before = 0;
  double used = 0;
  double memory = 0;
  std::size_t up = 0;
  std::size_t failed = 0;
  const auto later = [&house](double in_seconds, std::function<void()> what) {
    house.timers().schedule_after(std::chrono::nanoseconds(static_cast<std::int64_t>(1e9 * in_seconds)),
                                  std::move(what));
  };
  const auto measure = [&] {
    std::printf("measuring\n");
    std::fflush(stdout);
    cpu_before = cpu_seconds();
    later(seconds, [&] {
      used = cpu_seconds() - cpu_before;
      memory = resident_mib() - memory_before;
      pool.async_close([&](const Error&) { house.stop(); });
    });
  };
  // One after the other, so that the listener's queue holds them.
  std::function<void()> add = [&] {
    if (up + failed == agents) return later(1, measure);
    pool.async_add_agent("agent-" + std::to_string(up + failed), endpoint, [&](const Error& error) {
      ++(error ? failed : up);
      add();
    });
  };
  boost::asio::post(house.executor(), add);
  house.run();
  std::printf(R"({"agents":%zu,"failed":%zu,"connections":%zu,"cpu_percent":%.2f,"kib_per_connection":%.1f})"
              "\n",
              up, failed, up * connections, 100 * used / seconds,
              memory * 1024 / static_cast<double>(agents * connections));
  return failed == 0 ? 0 : 1;
}

}  // namespace agents

// S6: resident memory of idle subscriptions, in processes of their own.
#include <array>
#include <chrono>
#include <cstdio>
#include <memory>
#include <thread>
#include <unistd.h>
#include <vector>

#include "bench/scenarios/house.hpp"
#include "bench/scenarios/load.hpp"
#include "bench/scenarios/rows.hpp"
#include "bench/scenarios/scenarios.hpp"
#include "bus/async.hpp"

namespace sharingbus::scenarios {
namespace {

double resident_bytes() {
  const std::unique_ptr<std::FILE, int (*)(std::FILE*)> file(std::fopen("/proc/self/statm", "r"), &std::fclose);
  unsigned long size = 0;
  unsigned long resident = 0;
  require(file != nullptr && std::fscanf(file.get(), "%lu %lu", &size, &resident) == 2, "no /proc/self/statm");
  return static_cast<double>(resident) * static_cast<double>(sysconf(_SC_PAGESIZE));
}

double bytes_of_child(int subscribers, bool with_callbacks) {
  std::array<char, 4096> program{};
  require(readlink("/proc/self/exe", program.data(), program.size() - 1) > 0, "no /proc/self/exe");
  const std::string command = "'" + std::string(program.data()) + "' S6-child " + std::to_string(subscribers) +
                              (with_callbacks ? " callback" : " bare");
  const std::unique_ptr<std::FILE, int (*)(std::FILE*)> child(popen(command.c_str(), "r"), &pclose);
  double bytes = 0;
  require(child != nullptr && std::fscanf(child.get(), "%lf", &bytes) == 1, "the child process printed no number");
  return bytes;
}

void memory_rows(const std::string& row, int subscribers, bool with_callbacks) {
  std::vector<double> each_one;
  std::vector<double> total;
  for (int i = 0; i < ::bench::reps(); ++i) {
    const double bytes = bytes_of_child(subscribers, with_callbacks) - bytes_of_child(0, with_callbacks);
    total.push_back(bytes);
    each_one.push_back(bytes / subscribers);
  }
  const std::string end = with_callbacks ? "" : "_no_task";
  ::bench::report(row, std::string(kExecutor.peer), "rss_bytes_per_subscriber" + end, each_one);
  ::bench::report(row, std::string(kExecutor.peer), "rss_bytes_total" + end, total);
}

}  // namespace

void memory_child(int subscribers, bool with_callbacks) {
  House house(kTwoThreads);
  CallbackGroup group(house.bus(), house.executor().get_executor());
  const auto count = static_cast<std::size_t>(subscribers);
  std::vector<CallbackSubscription> callbacks;
  std::vector<Subscription> bare;
  std::uint64_t received = 0;
  (with_callbacks ? callbacks.reserve(count) : bare.reserve(count));
  for (std::size_t i = 0; i < count; ++i) {
    SubscriptionOptions options;
    options.filter = Filter::connector_uid(random_uuid());
    if (with_callbacks) {
      callbacks.push_back(group.subscribe(std::move(options), [&received](const Received&) { ++received; }));
    } else {
      bare.push_back(house.bus().subscribe(std::move(options)));
    }
  }
  std::this_thread::sleep_for(std::chrono::milliseconds(200));
  std::printf("%.0f\n", resident_bytes());
  std::fflush(stdout);
  std::_Exit(0);
}

void memory(const std::string& name) {
  each(name, {10'000}, {kExecutor}, [](const std::string& row, const Way&, int size) {
    for (const bool with_callbacks : {true, false})
      memory_rows(row, size, with_callbacks);
    ::bench::report("S6", std::string(kExecutor.peer), "sizeof_BusEvent", {static_cast<double>(sizeof(BusEvent))});
  });
}

}  // namespace sharingbus::scenarios

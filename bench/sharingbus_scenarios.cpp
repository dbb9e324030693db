// The scenarios of bench/README.md on the SharingBus.
//
// Usage: sharingbus_scenarios [S1 S1.thread S2.thread S3 …]   (no argument: everything; S1 means S1.thread as well)
// Environment: REPS (5), SECS (1 per repetition), LATSECS (2, S4), SUBS (only this many subscribers or publishers),
// PEERS (comma list of the ways to run the bus: sharingbus, sharingbus+2threads, …).
// Output: scenario, peer, metric, median, min, max, separated by tabs. Exits with 1 when a count is wrong.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

#include "bench/scenarios/scenarios.hpp"

namespace sharingbus::scenarios {
namespace {

struct Scenario {
  std::string_view name;
  void (*run)(const std::string& name);
};

constexpr Scenario kScenarios[] = {
    {"S1.subs", fan_out_on_executor},
    {"S1.thread.subs", fan_out_from_thread},
    {"S2.thread.subs", free_running_thread},
    {"S2.task.subs", free_running_task},
    {"S3.subs", selective},
    {"S4.pinned.subs", latency_pinned},
    {"S4.sleep.subs", latency_sleep},
    {"S4.coop.subs", latency_coop},
    {"S5.subs", late_binding},
    {"S6.subs", memory},
    {"stuck.subs", one_is_stuck},
    {"S7.pubs", publishers_on_executor},
    {"S7.thread.pubs", publishers_from_threads},
};

/// `S4` and `S4.sleep` select `S4.sleep.subs`; `S4.s` does not.
bool selects(std::string_view argument, std::string_view name) {
  return name == argument ||
         (name.starts_with(argument) && name.size() > argument.size() && name[argument.size()] == '.');
}

int run(const std::vector<std::string>& arguments) {
  if (arguments.size() == 3 && arguments[0] == "S6-child") {
    memory_child(std::atoi(arguments[1].c_str()), arguments[2] == "callback");
    return 0;
  }
  for (const std::string& argument : arguments) {
    const auto fits = [&](const Scenario& s) { return selects(argument, s.name); };
    if (std::any_of(std::begin(kScenarios), std::end(kScenarios), fits)) continue;
    std::fprintf(stderr, "sharingbus_scenarios: no scenario %s\n", argument.c_str());
    return 2;
  }
  for (const Scenario& scenario : kScenarios) {
    const auto wants = [&](const std::string& argument) { return selects(argument, scenario.name); };
    if (arguments.empty() || std::any_of(arguments.begin(), arguments.end(), wants)) {
      scenario.run(std::string(scenario.name));
    }
  }
  return 0;
}

}  // namespace
}  // namespace sharingbus::scenarios

int main(int argc, char** argv) {
  return sharingbus::scenarios::run(std::vector<std::string>(argv + 1, argv + argc));
}

// The ends of the agent protocol for bench/agents.py. Each role is a process:
//
//   agents_bench agent ENDPOINT [--threads N] [--phased 0|1]
//   agents_bench pool ENDPOINT [--requests N] [--warm-up N] [--concurrency C] [--connections K] [--threads N]
//     [--phased 0|1] [--msgpack 1] [--calls-in-a-row N]
//   agents_bench bare [--seconds S] [--concurrency C] [--connections K] [--hint 0|1]
//   agents_bench idle ENDPOINT [--agents N] [--connections K] [--seconds S]
#include <cstdio>
#include <cstdlib>
#include <map>
#include <string>

#include "bench/agents/agents.hpp"

namespace {

/// `--name VALUE` pairs from `from` on.
std::map<std::string, double> flags(int argc, char** argv, int from) {
  std::map<std::string, double> found;
  for (int i = from; i + 1 < argc; i += 2)
    found[argv[i]] = std::atof(argv[i + 1]);
  return found;
}

}  // namespace

int main(int argc, char** argv) {
  const std::string role = argc > 1 ? argv[1] : "";
  const bool has_endpoint = role == "agent" || role == "pool" || role == "idle";
  if (has_endpoint && argc < 3) return 2;
  const auto given = flags(argc, argv, has_endpoint ? 3 : 2);
  const auto flag = [&given](const char* name, double otherwise) {
    const auto found = given.find(name);
    return found != given.end() ? found->second : otherwise;
  };
  const auto count = [&flag](const char* name, std::size_t otherwise) {
    return static_cast<std::size_t>(flag(name, static_cast<double>(otherwise)));
  };
  if (role == "agent") return agents::run_agent(argv[2], count("--threads", 1), flag("--phased", 0) != 0);
  if (role == "pool") {
    agents::Load load;
    load.endpoint = argv[2];
    load.requests = count("--requests", load.requests);
    load.warm_up = count("--warm-up", load.warm_up);
    load.concurrency = count("--concurrency", load.concurrency);
    load.connections = count("--connections", load.connections);
    load.threads = count("--threads", load.threads);
    load.phased = flag("--phased", 0) != 0;
    load.calls_in_a_row = count("--calls-in-a-row", load.calls_in_a_row);
    load.msgpack = flag("--msgpack", 0) != 0;
    return agents::run_pool(load);
  }
  if (role == "bare") {
    return agents::run_bare(flag("--seconds", 2), count("--concurrency", 64), count("--connections", 4),
                            flag("--hint", 1) != 0);
  }
  if (role == "idle")
    return agents::run_idle(argv[2], count("--agents", 1000), count("--connections", 4), flag("--seconds", 10));
  std::fprintf(stderr, "usage: agents_bench agent|pool|bare|idle …; see bench/agents/main.cpp\n");
  return 2;
}

// What idle registrations cost: memory above bare streams of the same kind, time to register all, CPU for their
// heartbeats; and what the others of a gateway feel when all are dropped at once. The gateway and the connectors are
// processes of their own: this program once more.
//
//   ./run bench registration_cost [COUNT [WATCH_SECONDS [TRANSPORT [PART]]]]
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <string>

#include "bench/registration_cost/child.hpp"
#include "bench/registration_cost/pauses.hpp"
#include "bench/registration_cost/roles.hpp"

namespace {

using registration_cost::Child;

/// What a gateway says that it listens at.
std::string address(Child& gateway) {
  const std::string line = gateway.next();
  return line.substr(line.find(' ') + 1);
}

struct Memory {
  double heap = 0;
  double resident = 0;
};

Memory memory(Child& child) {
  Memory memory;
  memory.heap = child.figure("heap");
  memory.resident = child.figure("resident");
  return memory;
}

void idle(const std::string& transport, const std::string& count, const std::string& watch) {
  // Sockets that many share are there once for all of them.
  const double all = std::strtod(count.c_str(), nullptr);
  const bool multiplexed = transport == "websocket";
  const std::size_t sockets = (std::strtoul(count.c_str(), nullptr, 10) + 511) / 512;
  Child gateway({"gateway", transport});
  const std::string many = address(gateway);
  static_cast<void>(address(gateway));
  Memory bare;
  if (!multiplexed) {
    Child child({"bare", transport, many, count});
    bare = memory(child);
  }
  Memory links;
  {
    Child child({"links", transport, many, multiplexed ? std::to_string(sockets) : count});
    links = memory(child);
  }
  const double share = multiplexed ? static_cast<double>(sockets) / all : 1;
  Child child({"registrations", transport, many, count, watch, "500"});
  const double took = child.figure("registered");
  const double channels = child.figure("channels");
  const Memory each = memory(child);
  std::printf("%s, %s registrations over %.0f connections; figures of the connector process\n", transport.c_str(),
              count.c_str(), channels);
  if (!multiplexed)
    std::printf("  bare stream of gRPC           %8.0f bytes heap, %8.0f resident\n", bare.heap, bare.resident);
  std::printf("  our stream, its share         %8.0f bytes heap, %8.0f resident\n", links.heap * share,
              links.resident * share);
  std::printf("  idle registration             %8.0f bytes heap, %8.0f resident\n", each.heap, each.resident);
  const Memory below = multiplexed ? Memory{links.heap * share, links.resident * share} : bare;
  std::printf("  registration above the stream %8.0f bytes heap, %8.0f resident\n", each.heap - below.heap,
              each.resident - below.resident);
  std::printf("  all registered in             %8.2f s\n", took);
  std::fflush(stdout);
  if (watch != "0") {
    std::printf("  CPU, heartbeats every 30 s    %8.2f %% of a core over %s s\n", child.figure("cpu"), watch.c_str());
  }
  std::fflush(stdout);
}

void storm(const std::string& transport, const std::string& count, const char* what, const char* delay_ms) {
  Child gateway({"gateway", transport});
  const std::string many = address(gateway);
  const std::string others = address(gateway);
  Child connectors({"registrations", transport, many, count, "0", delay_ms});
  static_cast<void>(connectors.figure("registered"));
  static_cast<void>(connectors.figure("channels"));
  static_cast<void>(memory(connectors));
  Child beside({"others", transport, others, "16", "0", "500"});
  static_cast<void>(beside.figure("registered"));
  registration_cost::Pauses pauses;
  // Long enough for a p99 that two runs agree on, and over before the first heartbeats, which come all at once.
  gateway.tell("storm 20");
  const double before = gateway.figure("before");
  const double back = gateway.figure("back");
  const double meanwhile = gateway.figure("meanwhile");
  const double paused = pauses.stop().count();
  std::printf(
      "%s, %s dropped at once, %s: back within %.1f s; p99 of 16 others %.0f us before, %.0f us meanwhile "
      "(%.2f times)\n",
      transport.c_str(), count.c_str(), what, back, before, meanwhile, meanwhile / before);
  if (paused > 0) std::printf("  the machine stood still for %.1f s of that: p99 says nothing\n", paused);
  std::fflush(stdout);
}

}  // namespace

int main(int argc, char** argv) {
  const registration_cost::Arguments arguments(argv + 1, argv + argc);
  const std::string role = arguments.empty() ? "" : arguments[0];
  if (role == "gateway") return registration_cost::gateway(arguments);
  if (role == "registrations" || role == "others") return registration_cost::registrations(arguments);
  if (role == "links") return registration_cost::links(arguments);
  if (role == "bare") return registration_cost::bare_grpc(arguments);

  const std::string count = arguments.empty() ? "10000" : arguments[0];
  const std::string watch = arguments.size() > 1 ? arguments[1] : "60";
  const std::string only = arguments.size() > 2 ? arguments[2] : "";
  if (std::strtoul(count.c_str(), nullptr, 10) == 0) {
    std::fprintf(stderr,
                 "usage: registration_cost [COUNT [WATCH_SECONDS [grpc | websocket | memory [idle | soon | cap]]]]\n");
    return 2;
  }
  const auto asked = [part = arguments.size() > 3 ? arguments[3] : ""](const char* name) {
    return part.empty() || part == name;
  };
  for (const char* transport : {"grpc", "websocket"}) {
    if (!only.empty() && only != transport) continue;
    if (asked("idle")) idle(transport, count, watch);
    if (asked("soon")) storm(transport, count, "waiting up to 0.5 s", "500");
    if (asked("cap")) storm(transport, count, "backoff at its cap of 60 s", "60000");
  }
  if (only == "memory")
    registration_cost::over_memory(std::strtoul(count.c_str(), nullptr, 10), std::atol(watch.c_str()));
  return 0;
}

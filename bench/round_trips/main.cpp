// Requests through a gateway and its connectors, against bare echoes of the transports' own libraries with the same
// messages. In turns, so that what the machine does to one it does to all; prints medians and their ratio to the bare
// echo of the same transport.
//
//   ./run bench round_trips [ROUNDS [SECONDS [CONCURRENCY [STREAMS [PEER]]]]]
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <string>
#include <vector>

#include "bench/round_trips/round_trips.hpp"

namespace {

using round_trips::Load;
using round_trips::Sample;

struct Peer {
  std::string transport;
  std::string name;
  /// What the others of its transport are compared with.
  bool bare;
  std::function<Sample(const Load&)> run;
  std::vector<Sample> samples;

  [[nodiscard]] double median(double Sample::*figure) const {
    std::vector<double> values;
    for (const Sample& sample : samples)
      values.push_back(sample.*figure);
    std::sort(values.begin(), values.end());
    return values[values.size() / 2];
  }
};

double number(int argc, char** argv, int index, double otherwise) {
  const double given = argc > index ? std::atof(argv[index]) : otherwise;
  if (given <= 0) {
    std::fprintf(stderr, "usage: round_trips [ROUNDS [SECONDS [CONCURRENCY [STREAMS [PEER]]]]], all above 0\n");
    std::exit(2);
  }
  return given;
}

/// The bare echo that does best, of the same transport.
const Peer& reference(const std::vector<Peer>& peers, const Peer& of) {
  const Peer* best = nullptr;
  for (const Peer& peer : peers) {
    if (!peer.bare || peer.transport != of.transport) continue;
    if (best == nullptr || peer.median(&Sample::per_second) > best->median(&Sample::per_second)) best = &peer;
  }
  return *best;
}

}  // namespace

int main(int argc, char** argv) {
  const auto rounds = static_cast<int>(number(argc, argv, 1, 5));
  Load load;
  load.measured = std::chrono::nanoseconds(static_cast<std::int64_t>(1e9 * number(argc, argv, 2, 2)));
  load.concurrency = static_cast<std::size_t>(number(argc, argv, 3, 64));
  load.streams = static_cast<std::size_t>(number(argc, argv, 4, 20));
  load.streams = std::min(load.streams, load.concurrency);

  std::vector<Peer> peers{
      {"grpc", "bare echo", true, [](const Load& l) { return round_trips::bare_grpc(l, false); }, {}},
      {"grpc", "bare echo, buffer hint", true, [](const Load& l) { return round_trips::bare_grpc(l, true); }, {}},
      {"grpc", "bare echo, queues", true, round_trips::bare_grpc_queues, {}},
      {"grpc", "gateway and runner", false, round_trips::gateway_over_grpc, {}},
      {"websocket", "bare echo", true, [](const Load& l) { return round_trips::bare_beast(l, false, false); }, {}},
      {"websocket",
       "bare echo, sides apart",
       true,
       [](const Load& l) { return round_trips::bare_beast(l, false, true); },
       {}},
      {"websocket",
       "bare echo, Phoenix text",
       true,
       [](const Load& l) { return round_trips::bare_beast(l, true, false); },
       {}},
      {"websocket", "gateway and runner", false, round_trips::gateway_over_websocket, {}},
  };
  // For a profiler: one of them alone, by its name, or by transport and name.
  if (argc > 5) {
    for (const Peer& peer : peers) {
      if (peer.name != argv[5] && peer.transport + ' ' + peer.name != argv[5]) continue;
      const Sample sample = peer.run(load);
      std::printf("%s %s: %.0f per second, p50 %.0f us, p99 %.0f us\n", peer.transport.c_str(), peer.name.c_str(),
                  sample.per_second, sample.p50_us, sample.p99_us);
    }
    return 0;
  }
  for (int round = 0; round < rounds; ++round) {
    for (Peer& peer : peers)
      peer.samples.push_back(peer.run(load));
  }

  std::printf("%zu streams, %zu requests at once, %d rounds; medians, ratios to the best bare echo\n", load.streams,
              load.concurrency, rounds);
  std::printf("%-10s %-24s %12s %7s %9s %9s %9s\n", "transport", "peer", "per second", "ratio", "p50 us", "p99 us",
              "p99 ratio");
  for (const Peer& peer : peers) {
    const Peer& best = reference(peers, peer);
    std::printf("%-10s %-24s %12.0f %7.2f %9.0f %9.0f %9.2f\n", peer.transport.c_str(), peer.name.c_str(),
                peer.median(&Sample::per_second), peer.median(&Sample::per_second) / best.median(&Sample::per_second),
                peer.median(&Sample::p50_us), peer.median(&Sample::p99_us),
                peer.median(&Sample::p99_us) / best.median(&Sample::p99_us));
  }
  return 0;
}

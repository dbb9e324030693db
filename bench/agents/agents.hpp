#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

/// The two ends of the agent protocol, each in a process of its own, for `bench/agents.py`, which runs them in turns
/// with the published crate's.
namespace agents {

/// What a pool asks for.
struct Load {
  std::string endpoint;
  std::uint64_t requests = 100'000;
  /// Ahead of those that count.
  std::uint64_t warm_up = 10'000;
  std::size_t concurrency = 64;
  std::size_t connections = 4;
  /// Of the executor.
  std::size_t threads = 1;
  /// Whether its one thread looks for work before it sleeps.
  bool phased = false;
  bool msgpack = false;
  std::size_t calls_in_a_row = 1;
};

/// Serves until SIGTERM, by the rules of `sharingbus agent`. Prints `listening ADDRESS`.
int run_agent(const std::string& endpoint, std::size_t threads, bool phased);

/// Asks about request headers, checks every answer, and prints one JSON object.
int run_pool(const Load& load);

/// A bidirectional echo of the same events with nothing but gRPC, both ends in this process.
int run_bare(double seconds, std::size_t concurrency, std::size_t streams, bool hint);

/// What a pool of `agents` agents, all of which are at `endpoint`, uses while nothing is asked: prints `measuring`,
/// then its CPU time as a share of a core, and its memory.
int run_idle(const std::string& endpoint, std::size_t agents, std::size_t connections, double seconds);

}  // namespace agents

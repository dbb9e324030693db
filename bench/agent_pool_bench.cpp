// What a call costs an agent pool before any byte is sent: choosing a connection, looking up an affinity or a session,
// reading health. All of it must be free of allocations.
#include <cstdint>
#include <string>
#include <vector>

#include <benchmark/benchmark.h>

#include "connector/agent/affinity_table.hpp"
#include "connector/agent/balancer.hpp"
#include "connector/agent/connection_health.hpp"
#include "connector/agent/sticky_table.hpp"

using namespace sharingbus;
using namespace sharingbus::connector;

namespace {

constexpr TimePoint kStart = TimePoint{} + std::chrono::hours(1);

std::vector<std::string> ids(std::int64_t count) {
  std::vector<std::string> result;
  for (std::int64_t i = 0; i < count; ++i)
    result.push_back("3f2504e0-4f89-11d3-9a0c-" + std::to_string(100'000'000'000 + i));
  return result;
}

void select(benchmark::State& state) {
  Balancer balancer(static_cast<BalanceStrategy>(state.range(0)));
  std::vector<ConnectionLoad> loads(4);
  for (ConnectionLoad& load : loads)
    load = {.usable = true, .full = false, .in_flight = 3, .error_rate = 0.01, .latency = 0.001};
  for (auto _ : state)
    benchmark::DoNotOptimize(balancer.pick(loads));
  state.SetLabel(std::string(to_string(static_cast<BalanceStrategy>(state.range(0)))));
}
BENCHMARK(select)->DenseRange(0, 5);

void affinity_hit(benchmark::State& state) {
  AffinityTable table(200'000, std::chrono::minutes(5));
  const auto names = ids(state.range(0));
  for (const std::string& name : names)
    table.bind(1, name, 7, kStart);
  std::size_t next = 0;
  for (auto _ : state) {
    benchmark::DoNotOptimize(table.find(1, names[next]));
    if (++next == names.size()) next = 0;
  }
}
BENCHMARK(affinity_hit)->Arg(10)->Arg(1000)->Arg(10'000)->Arg(100'000);

void affinity_miss(benchmark::State& state) {
  AffinityTable table(200'000, std::chrono::minutes(5));
  for (const std::string& name : ids(state.range(0)))
    table.bind(1, name, 7, kStart);
  const std::string other = "3f2504e0-4f89-11d3-9a0c-nobody";
  for (auto _ : state)
    benchmark::DoNotOptimize(table.find(1, other));
}
BENCHMARK(affinity_miss)->Arg(10)->Arg(10'000);

void affinity_bind_and_release(benchmark::State& state) {
  AffinityTable table(200'000, std::chrono::minutes(5));
  for (const std::string& name : ids(state.range(0)))
    table.bind(1, name, 7, kStart);
  const std::string other = "3f2504e0-4f89-11d3-9a0c-another";
  for (auto _ : state) {
    table.bind(1, other, 7, kStart);
    benchmark::DoNotOptimize(table.release(1, other));
  }
}
BENCHMARK(affinity_bind_and_release)->Arg(10)->Arg(10'000);

/// What is due goes one by one, however many there are.
void affinity_expire(benchmark::State& state) {
  AffinityTable table(200'000, std::chrono::seconds(1));
  const auto names = ids(state.range(0));
  TimePoint now = kStart;
  for (const std::string& name : names)
    table.bind(1, name, 7, now += std::chrono::microseconds(1));
  std::size_t next = 0;
  for (auto _ : state) {
    now += std::chrono::microseconds(1);
    benchmark::DoNotOptimize(table.expire(now));
    table.bind(1, names[next], 7, now);
    if (++next == names.size()) next = 0;
  }
}
BENCHMARK(affinity_expire)->Arg(1000)->Arg(100'000);

void session_find(benchmark::State& state) {
  StickyTable table(200'000, std::chrono::minutes(5));
  const auto names = ids(state.range(0));
  for (const std::string& name : names)
    table.bind(name, {1, 2}, kStart);
  std::size_t next = 0;
  for (auto _ : state) {
    benchmark::DoNotOptimize(table.find(names[next], kStart));
    if (++next == names.size()) next = 0;
  }
}
BENCHMARK(session_find)->Arg(10'000)->Arg(100'000);

void health_read(benchmark::State& state) {
  ConnectionHealth health;
  for (auto _ : state) {
    benchmark::DoNotOptimize(&health);
    benchmark::DoNotOptimize(health.healthy());
  }
}
BENCHMARK(health_read);

}  // namespace

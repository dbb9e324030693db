// What the bus costs on one thread: publish, dispatch and receive. Every benchmark checks its own counts.
#include <array>
#include <vector>

#include <benchmark/benchmark.h>

#include "bus/observers/scroll_id_binder.hpp"
#include "bus/sharing_bus.hpp"

namespace sharingbus {
namespace {

struct Tick {
  static constexpr std::string_view event_name = "bench.tick";
  std::uint64_t number = 0;
};

BusOptions quiet() {
  BusOptions options;
  options.log = nullptr;
  return options;
}

std::uint64_t drain(Subscription& subscription) {
  std::array<Received, 64> batch;
  std::uint64_t sum = 0;
  while (const std::size_t count = subscription.receive_batch(batch)) {
    for (std::size_t i = 0; i < count; ++i)
      sum += batch[i].get_if<Tick>()->number;
  }
  return sum;
}

/// One event to `subscribers` queues, in windows of 128 that are drained.
void FanOut(benchmark::State& state) {
  SharingBus bus(quiet());
  std::vector<Subscription> subscribers;
  for (int i = 0; i < state.range(0); ++i)
    subscribers.push_back(bus.subscribe(Filter::all(), 1024));
  std::uint64_t published = 0;
  for (auto _ : state) {
    for (int i = 0; i < 128; ++i)
      bus.publish(Tick{published++});
    for (Subscription& subscriber : subscribers)
      benchmark::DoNotOptimize(drain(subscriber));
  }
  for (Subscription& subscriber : subscribers) {
    if (subscriber.stats().received != published) state.SkipWithError("events were lost");
  }
  state.counters["ns/delivery"] = benchmark::Counter(static_cast<double>(published * subscribers.size()) / 1e9,
                                                     benchmark::Counter::kIsRate | benchmark::Counter::kInvert);
}
BENCHMARK(FanOut)->Arg(1)->Arg(4)->Arg(16)->Arg(64);

/// Every event matches one of `subscribers`: the index at work.
void SelectiveRouting(benchmark::State& state) {
  SharingBus bus(quiet());
  std::vector<Subscription> subscribers;
  std::vector<Uuid> uids;
  for (int i = 0; i < state.range(0); ++i) {
    uids.push_back(random_uuid());
    subscribers.push_back(bus.subscribe(Filter::connector_uid(uids.back()), 256));
  }
  std::uint64_t published = 0;
  std::size_t next = 0;
  for (auto _ : state) {
    for (int i = 0; i < 128; ++i) {
      Routing routing;
      routing.connector_uid = uids[next];
      bus.publish(Tick{published++}, std::move(routing));
      benchmark::DoNotOptimize(subscribers[next].try_receive());
      next = (next + 1) % subscribers.size();
    }
  }
  std::uint64_t received = 0;
  for (Subscription& subscriber : subscribers)
    received += subscriber.stats().received;
  if (received != published) state.SkipWithError("events were lost");
  state.counters["ns/event"] = benchmark::Counter(static_cast<double>(published) / 1e9,
                                                  benchmark::Counter::kIsRate | benchmark::Counter::kInvert);
}
BENCHMARK(SelectiveRouting)->Arg(16)->Arg(1024)->Arg(10'000);

/// An inline observer: no queue at all.
void Inline(benchmark::State& state) {
  SharingBus bus(quiet());
  std::uint64_t seen = 0;
  const auto observer = bus.subscribe_inline({}, [&](const EventRef&) { ++seen; });
  std::uint64_t published = 0;
  for (auto _ : state)
    bus.publish(Tick{published++});
  if (seen != published) state.SkipWithError("events were lost");
}
BENCHMARK(Inline);

}  // namespace
}  // namespace sharingbus

// S7: several publishers, one subscriber; the window is split between them.
#include <algorithm>
#include <array>
#include <memory>

#include "bench/scenarios/audience.hpp"
#include "bench/scenarios/paced.hpp"
#include "bench/scenarios/rows.hpp"
#include "bench/scenarios/scenarios.hpp"

namespace sharingbus::scenarios {
namespace {

using ::bench::now_ns;
using ::bench::Outcome;

enum class From { executor, thread };

constexpr std::size_t kMostPublishers = 4;

/// Sees that the events of each publisher come in its order.
struct InOrder : Receiver {
  struct alignas(128) Taken {
    std::atomic<std::uint64_t> count{0};
  };
  std::array<Taken, kMostPublishers> taken;

  void take(const BusEvent& event) {
    const Tick& tick = *event.get_if<Tick>();
    std::atomic<std::uint64_t>& count = taken[tick.src].count;
    const std::uint64_t expected = count.load(std::memory_order_relaxed);
    if (tick.seq != expected) fail("a publisher's events are out of order");
    count.store(expected + 1, std::memory_order_release);
  }
  void done() {}
};

Outcome many_publishers(const Way& way, std::size_t publishers, From from, double seconds) {
  House house(way);
  std::vector<InOrder> receivers(1);
  Audience audience(house, way, to_everything(1), receivers);
  const Load load;
  const auto make = [&](std::size_t p) {
    const auto acknowledged = [&count = receivers[0].taken[p].count] { return count.load(std::memory_order_acquire); };
    return std::make_unique<Paced<decltype(acknowledged)>>(house.bus().publisher(), load, p, kWindow / publishers,
                                                           seconds, acknowledged);
  };
  std::vector<decltype(make(0))> paced;
  for (std::size_t p = 0; p < publishers; ++p)
    paced.push_back(make(p));
  std::vector<std::unique_ptr<Task>> tasks;
  std::vector<std::thread> threads;
  const std::uint64_t start = now_ns();
  for (auto& one : paced) {
    if (from == From::thread) {
      threads.emplace_back([&one] { one->run(); });
    } else {
      tasks.push_back(std::make_unique<Task>(house, [&one] { return one->step(kQuantum); }));
    }
  }
  for (std::thread& thread : threads)
    thread.join();
  for (const auto& task : tasks)
    task->wait();
  const double took = static_cast<double>(now_ns() - start) * 1e-9;
  finish_without_loss(house, audience);
  std::uint64_t events = 0;
  for (std::size_t p = 0; p < publishers; ++p) {
    require(receivers[0].taken[p].count.load() == paced[p]->sent(), "the count of a publisher is wrong");
    events += paced[p]->sent();
  }
  return {events, took};
}

void publisher_rows(const std::string& row, const Way& way, int size, From from) {
  ::bench::rows(row, std::string(way.peer), 1,
                [&] { return many_publishers(way, static_cast<std::size_t>(size), from, ::bench::secs()); });
}

}  // namespace

void publishers_on_executor(const std::string& name) {
  each(name, {1, 2, 4}, {kExecutor, kBatches},
       [](const std::string& row, const Way& way, int size) { publisher_rows(row, way, size, From::executor); });
}

void publishers_from_threads(const std::string& name) {
  each(name, {1, 2, 4}, {kBatches, kPhased, kCombining, kBlocking},
       [](const std::string& row, const Way& way, int size) { publisher_rows(row, way, size, From::thread); });
}

}  // namespace sharingbus::scenarios

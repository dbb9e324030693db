// S1, S3, S5: a window of events in flight, nothing lost.
#include <algorithm>
#include <chrono>

#include "bench/scenarios/audience.hpp"
#include "bench/scenarios/paced.hpp"
#include "bench/scenarios/rows.hpp"
#include "bench/scenarios/scenarios.hpp"
#include "bus/observers/scroll_id_binder.hpp"

namespace sharingbus::scenarios {
namespace {

using ::bench::now_ns;
using ::bench::Outcome;

enum class From { executor, thread };

/// Publishes for `seconds` and returns when everything was acknowledged.
template <class Acknowledged>
Outcome publish_paced(House& house, const Load& load, From from, double seconds, Acknowledged acknowledged) {
  Paced paced(house.bus().publisher(), load, 0, kWindow, seconds, acknowledged);
  std::uint64_t end = 0;
  const std::uint64_t start = now_ns();
  if (from == From::thread) {
    paced.run();
    end = now_ns();
  } else {
    const Task task(house, [&] {
      const bool more = paced.step(kQuantum);
      if (!more) end = now_ns();
      return more;
    });
    task.wait();
  }
  return {paced.sent(), static_cast<double>(end - start) * 1e-9};
}

/// Tells the bus the scroll id of every pair, and sees that it binds them.
void register_sessions(SharingBus& bus, const std::vector<IdPair>& pairs) {
  for (const IdPair& ids : pairs) {
    Routing routing = routing_for<SessionRegistered>();
    routing.connector_id = ids.first;
    routing.native_session_id = ids.second;
    bus.publish(SessionRegistered{ids.first, ids.second, to_string(random_uuid())}, std::move(routing));
  }
  Subscription check = bus.subscribe(Filter::type<Tick>());
  const Load load(pairs);
  for (const std::uint64_t number : {std::uint64_t{0}, pairs.size() - 1}) {
    bus.publish(load.event(number, 0));
    const Received received = check.receive_for(std::chrono::seconds(5));
    require(received.event() != nullptr && (*received.event())->routing().scroll_id.has_value(),
            "a session's event got no scroll id");
  }
}

/// `stuck`: beside them is one that never reads.
Outcome fan_out(const Way& way, std::size_t subscribers, const Load& load, From from, double seconds,
                bool stuck = false) {
  House house(way);
  const Subscription never_reads = stuck ? house.bus().subscribe_all() : Subscription();
  if (!load.pairs().empty()) register_sessions(house.bus(), load.pairs());
  std::vector<Summing> receivers(subscribers);
  Audience audience(house, way, to_everything(subscribers), receivers);
  const Outcome outcome = publish_paced(house, load, from, seconds, [&receivers] {
    std::uint64_t least = ~std::uint64_t{0};
    for (const Summing& r : receivers)
      least = std::min(least, r.acknowledged.load(std::memory_order_acquire));
    return least;
  });
  finish_without_loss(house, audience);
  for (const Summing& r : receivers) {
    require(r.count == outcome.events, "a subscriber's count is wrong");
    require(r.sum == outcome.events * (outcome.events - 1) / 2, "a subscriber's sum is wrong");
  }
  if (stuck) {
    const SubscriptionStats stats = never_reads.stats();
    require(stats.balanced() && stats.queued == stats.capacity, "the stuck subscriber's books are wrong");
    require(stats.lagged == outcome.events - stats.queued, "the stuck subscriber's losses are wrong");
  }
  return outcome;
}

/// Acknowledges to one count that all share.
struct Sharing : Receiver {
  std::atomic<std::uint64_t>* all = nullptr;
  std::uint64_t count = 0;
  std::uint64_t sum = 0;
  std::uint64_t told = 0;

  void take(const BusEvent& event) {
    sum += event.get_if<Tick>()->seq;
    ++count;
  }
  void done() { all->fetch_add(count - std::exchange(told, count), std::memory_order_release); }
};

Outcome one_of_many(const Way& way, std::size_t subscribers, double seconds) {
  House house(way);
  alignas(128) std::atomic<std::uint64_t> all{0};
  std::vector<Uuid> uids;
  std::vector<SubscriptionOptions> options = to_everything(subscribers);
  std::vector<Sharing> receivers(subscribers);
  for (std::size_t i = 0; i < subscribers; ++i) {
    uids.push_back(random_uuid());
    options[i].filter = Filter::connector_uid(uids.back());
    receivers[i].all = &all;
  }
  Audience audience(house, way, options, receivers);
  const Load load(std::move(uids));
  const Outcome outcome =
      publish_paced(house, load, From::executor, seconds, [&all] { return all.load(std::memory_order_acquire); });
  finish_without_loss(house, audience);
  std::uint64_t count = 0;
  std::uint64_t sum = 0;
  for (const Sharing& r : receivers) {
    count += r.count;
    sum += r.sum;
  }
  require(count == outcome.events && sum == outcome.events * (outcome.events - 1) / 2, "the counts are wrong");
  return outcome;
}

/// Pairs of 24 and 24 characters.
std::vector<IdPair> id_pairs(int count) {
  std::vector<IdPair> pairs;
  for (int i = 0; i < count; ++i) {
    std::array<char, 32> connector{};
    std::array<char, 32> session{};
    std::snprintf(connector.data(), connector.size(), "connector-%014d", i % 100);
    std::snprintf(session.data(), session.size(), "session-%016d", i);
    pairs.emplace_back(connector.data(), session.data());
  }
  return pairs;
}

void fan_out_rows(const std::string& row, const Way& way, int size, const Load& load, From from) {
  ::bench::rows(row, std::string(way.peer), size,
                [&] { return fan_out(way, static_cast<std::size_t>(size), load, from, ::bench::secs()); });
}

}  // namespace

void fan_out_on_executor(const std::string& name) {
  each(name, {1, 4, 16, 64, 256}, {kExecutor, kBatches, kCombining},
       [](const std::string& row, const Way& way, int size) { fan_out_rows(row, way, size, Load(), From::executor); });
}

void fan_out_from_thread(const std::string& name) {
  each(name, {1, 4, 16, 64, 256}, {kBatches, kPhased, kCombining, kBlocking},
       [](const std::string& row, const Way& way, int size) { fan_out_rows(row, way, size, Load(), From::thread); });
}

void selective(const std::string& name) {
  each(name, {16, 256, 1024, 10'000}, {kExecutor, kBatches}, [](const std::string& row, const Way& way, int size) {
    ::bench::rows(row, std::string(way.peer), 1,
                  [&] { return one_of_many(way, static_cast<std::size_t>(size), ::bench::secs()); });
  });
}

void one_is_stuck(const std::string& name) {
  each(name, {16}, {kBatches, kCombining}, [](const std::string& row, const Way& way, int size) {
    const auto ns_per_event = [&](bool stuck) {
      const auto others = static_cast<std::size_t>(size - 1);
      const Outcome outcome = fan_out(way, others, Load(), From::executor, ::bench::secs(), stuck);
      return outcome.secs * 1e9 / static_cast<double>(outcome.events);
    };
    std::vector<double> without;
    std::vector<double> with;
    std::vector<double> cost;
    for (int i = 0; i < ::bench::reps(); ++i) {
      without.push_back(ns_per_event(false));
      with.push_back(ns_per_event(true));
      cost.push_back((with.back() / without.back() - 1) * 100);
    }
    const std::string peer(way.peer);
    ::bench::report(row, peer, "ns_per_event_without", without);
    ::bench::report(row, peer, "ns_per_event_with", with);
    ::bench::report(row, peer, "cost_pct", cost);
  });
}

void late_binding(const std::string& name) {
  const Load load(id_pairs(10'000));
  each(name, {1, 16}, {kBatches}, [&load](const std::string& row, const Way& way, int size) {
    fan_out_rows(row, way, size, load, From::executor);
  });
}

}  // namespace sharingbus::scenarios

// S2: the publisher never waits for subscribers. Every event is delivered, or lost and counted.
#include <array>

#include "bench/scenarios/audience.hpp"
#include "bench/scenarios/rows.hpp"
#include "bench/scenarios/scenarios.hpp"

namespace sharingbus::scenarios {
namespace {

using ::bench::now_ns;

enum class From { executor, thread };

/// In the order of the rows.
struct Free {
  double published_per_s = 0;
  double delivered_per_s = 0;
  double delivered_pct = 0;
  double counted_lag_pct = 0;
  double uncounted_loss_pct = 0;
  double drain_s = 0;
};

std::uint64_t publish_without_waiting(const Publisher& publisher, double seconds) {
  const Load load;
  const std::uint64_t end = now_ns() + static_cast<std::uint64_t>(seconds * 1e9);
  std::uint64_t sent = 0;
  while (sent % 64 != 0 || now_ns() < end) {
    publisher.publish(load.event(sent, 0));
    ++sent;
  }
  return sent;
}

Free settle(House& house, const Audience<Summing>& audience, const std::vector<Summing>& receivers, std::uint64_t sent,
            double publishing, double everything) {
  const BusSnapshot snapshot = house.bus().snapshot();
  require(snapshot.published == sent && snapshot.dispatched + snapshot.ingress_lost == sent,
          "the bus counts other events than were published");
  std::uint64_t delivered = 0;
  std::uint64_t told = 0;
  std::uint64_t received = 0;
  std::uint64_t lagged = 0;
  for (const Summing& r : receivers) {
    delivered += r.count;
    told += r.lost;
  }
  for (const SubscriptionStats& stats : audience.stats()) {
    received += stats.received;
    lagged += stats.lagged;
  }
  const std::uint64_t owed = sent * receivers.size();
  require(delivered == received, "the bus says that others were delivered than arrived");
  require(told == lagged, "the gaps in the streams are not the lag that is counted");
  require(delivered + lagged == owed, "events were lost that nobody counted");
  const double percent = static_cast<double>(owed) / 100;
  return {static_cast<double>(sent) / publishing,
          static_cast<double>(delivered) / everything,
          static_cast<double>(delivered) / percent,
          static_cast<double>(lagged) / percent,
          static_cast<double>(owed - delivered - lagged) / percent,
          everything - publishing};
}

Free run_free(const Way& way, std::size_t subscribers, From from, double seconds) {
  House house(way);
  std::vector<Summing> receivers(subscribers);
  Audience audience(house, way, to_everything(subscribers), receivers);
  std::uint64_t sent = 0;
  const std::uint64_t start = now_ns();
  const auto publish = [&] { sent = publish_without_waiting(house.bus().publisher(), seconds); };
  if (from == From::thread) {
    publish();
  } else {
    const Task task(house, [&publish] {
      publish();
      return false;
    });
    task.wait();
  }
  const double publishing = static_cast<double>(now_ns() - start) * 1e-9;
  house.bus().close();
  audience.wait_for_end();
  const double everything = static_cast<double>(now_ns() - start) * 1e-9;
  return settle(house, audience, receivers, sent, publishing, everything);
}

void free_rows(const std::string& row, const Way& way, int size, From from) {
  constexpr std::array<std::pair<const char*, double Free::*>, 6> kMetrics{{
      {"published_per_s", &Free::published_per_s},
      {"delivered_per_s", &Free::delivered_per_s},
      {"delivered_pct", &Free::delivered_pct},
      {"counted_lag_pct", &Free::counted_lag_pct},
      {"uncounted_loss_pct", &Free::uncounted_loss_pct},
      {"drain_s", &Free::drain_s},
  }};
  std::vector<Free> runs;
  for (int i = 0; i < ::bench::reps(); ++i) {
    runs.push_back(run_free(way, static_cast<std::size_t>(size), from, ::bench::secs()));
  }
  for (const auto& [metric, member] : kMetrics) {
    std::vector<double> values;
    for (const Free& run : runs)
      values.push_back(run.*member);
    ::bench::report(row, std::string(way.peer), metric, values);
  }
}

}  // namespace

void free_running_thread(const std::string& name) {
  each(name, {1, 4, 16, 64}, {kTwoThreads, kCombining, kBatches},
       [](const std::string& row, const Way& way, int size) { free_rows(row, way, size, From::thread); });
}

// The task keeps its thread to the end, so there is a second one for the subscribers.
void free_running_task(const std::string& name) {
  each(name, {1, 4, 16, 64}, {kTwoThreads},
       [](const std::string& row, const Way& way, int size) { free_rows(row, way, size, From::executor); });
}

}  // namespace sharingbus::scenarios

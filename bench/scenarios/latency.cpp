// S4: 10,000 events a second; from just before publish to the last subscriber.
#include <algorithm>

#include "bench/scenarios/audience.hpp"
#include "bench/scenarios/rows.hpp"
#include "bench/scenarios/scenarios.hpp"

namespace sharingbus::scenarios {
namespace {

using ::bench::now_ns;
using Samples = std::vector<std::uint64_t>;

enum class Pace {
  /// The publisher spins on CPU 0, everything else is confined to CPU 1.
  pinned,
  /// The publisher's thread sleeps between events; nothing is pinned.
  sleep,
  /// The publisher is a task of the executor that yields until the event is due.
  coop,
};

struct Timing : Receiver {
  Samples samples;

  void take(const BusEvent& event) { samples.push_back(now_ns() - event.get_if<Tick>()->ts); }
  void done() { acknowledged.store(samples.size(), std::memory_order_release); }
};

/// The event is built before the stamp is taken, as the reference's is.
void fire(const Publisher& publisher, const Load& load, std::uint64_t number) {
  EventDraft event = load.event(number, 0);
  auto* tick =
      const_cast<Tick*>(event->get_if<Tick>());  // NOLINT(cppcoreguidelines-pro-type-const-cast): not published
  tick->ts = now_ns();
  publisher.publish(std::move(event));
}

void publish_from_thread(const Publisher& publisher, std::uint64_t count, bool pinned) {
  std::thread thread([&publisher, count, pinned] {
    const Load load;
    if (pinned) ::bench::pin(0);
    ::bench::pace_10k(count, pinned, [&](std::uint64_t i) { fire(publisher, load, i); });
  });
  thread.join();
}

void publish_from_task(House& house, const Publisher& publisher, std::uint64_t count) {
  const Load load;
  std::uint64_t due = now_ns() + 1'000'000;
  std::uint64_t next = 0;
  const Task task(house, [&] {
    if (now_ns() < due) return true;
    due = std::max(due + 100'000, now_ns());
    fire(publisher, load, next++);
    return next < count;
  });
  task.wait();
}

Samples run_latency(const Way& way, std::size_t subscribers, Pace pace, double seconds) {
  const auto count = std::max<std::uint64_t>(static_cast<std::uint64_t>(seconds * 10'000), 1000);
  House house(way, pace == Pace::pinned ? std::optional<int>(1) : std::nullopt);
  std::vector<Timing> receivers(subscribers);
  for (Timing& r : receivers)
    r.samples.reserve(count);
  Audience audience(house, way, to_everything(subscribers), receivers);
  const Publisher publisher = house.bus().publisher();
  if (pace == Pace::coop) {
    publish_from_task(house, publisher, count);
  } else {
    publish_from_thread(publisher, count, pace == Pace::pinned);
  }
  finish_without_loss(house, audience);
  std::vector<Samples> all;
  for (Timing& r : receivers) {
    require(r.samples.size() == count, "a subscriber's count is wrong");
    all.push_back(std::move(r.samples));
  }
  return ::bench::merge_last(all);
}

void latency_rows(const std::string& name, std::initializer_list<Way> ways, Pace pace) {
  each(name, {1, 16}, ways, [pace](const std::string& row, const Way& way, int size) {
    ::bench::latency_rows(row, std::string(way.peer),
                          [&] { return run_latency(way, static_cast<std::size_t>(size), pace, ::bench::latsecs()); });
  });
}

}  // namespace

void latency_pinned(const std::string& name) {
  latency_rows(name, {kCombining, kPolling}, Pace::pinned);
}
void latency_sleep(const std::string& name) {
  latency_rows(name, {kExecutor, kCombining, kBlocking, kPolling}, Pace::sleep);
}
void latency_coop(const std::string& name) {
  latency_rows(name, {kExecutor, kCombining, kInside, kInline, kPolling, kPollingApart}, Pace::coop);
}

}  // namespace sharingbus::scenarios

// A subscriber that is too slow, and the three ways to hear of it: in its own stream, at the moment of the loss, and on
// the bus. Nobody else is delayed.
#include <cstdio>
#include <string>

#include "bus/sharing_bus.hpp"

using namespace sharingbus;

struct Tick {
  static constexpr std::string_view event_name = "example.tick";
  int number;
};

int main() {
  BusOptions bus_options;
  bus_options.engine = Engine::manual;  // nothing moves until poll(): the same on every run
  bus_options.log = {};                 // by default a warning a second says how many were lost
  SharingBus bus(std::move(bus_options));

  std::string dropped;
  SubscriptionOptions options;
  options.name = "slow";
  options.filter = Filter::type<Tick>();
  options.capacity = 3;
  options.on_drop = [&](const EventRef& event) { dropped += std::to_string(event->get_if<Tick>()->number) + " "; };
  options.slow.lost = 2;  // tell the bus when it has lost two
  auto slow = bus.subscribe(std::move(options));
  auto health = bus.subscribe(Filter::type<SubscriberLagging>() || Filter::type<SubscriberRecovered>());
  auto quick = bus.subscribe(Filter::type<Tick>());

  // Six ticks meet a queue of three.
  for (int i = 1; i <= 6; ++i)
    bus.publish(Tick{i});
  bus.poll();

  // In its stream, at its place: what was queued, then the gap.
  std::string stream;
  const auto read_all = [&] {
    for (Received next = slow.try_receive(); !next.empty(); next = slow.try_receive()) {
      if (const Tick* tick = next.get_if<Tick>()) stream += std::to_string(tick->number) + " ";
      if (const Gap* gap = next.gap()) {
        stream += "[" + std::to_string(gap->count) + " lost in " + std::to_string(gap->first) + ".." +
                  std::to_string(gap->last) + "] ";
      }
      if (next.closed() != nullptr) break;
    }
  };
  read_all();

  // It keeps up again. (Tick 7 has sequence 8, for the bus's own notice took one.)
  bus.publish(Tick{7});
  bus.poll();
  read_all();

  std::string notices;
  for (Received next = health.try_receive(); !next.empty(); next = health.try_receive()) {
    if (const auto* lagging = next.get_if<SubscriberLagging>()) {
      notices += lagging->name + " lost " + std::to_string(lagging->lagged) + "; ";
    }
    if (const auto* recovered = next.get_if<SubscriberRecovered>()) notices += recovered->name + " recovered; ";
  }

  std::printf("stream:  %s\non_drop: %s\nnotices: %s\n", stream.c_str(), dropped.c_str(), notices.c_str());
  const SubscriptionStats books = slow.stats();
  const bool shown =
      stream == "1 2 3 [3 lost in 4..6] 7 " && dropped == "4 5 6 " && notices == "slow lost 3; slow recovered; ";
  return shown && books.balanced() && books.lagged == 3 && quick.stats().matched == 7 && quick.stats().lagged == 0 ? 0
                                                                                                                   : 1;
}

// Coming late: the bus keeps its last events, and a subscription may start among them, without gap or duplicate.
#include <cstdint>
#include <cstdio>
#include <optional>
#include <string>

#include "bus/sharing_bus.hpp"

using namespace sharingbus;

struct Price {
  static constexpr std::string_view event_name = "market.price";
  int value;
};

Subscription join(SharingBus& bus, Start start) {
  SubscriptionOptions options;
  options.filter = Filter::type<Price>();
  options.start = start;
  return bus.subscribe(std::move(options));
}

/// What is there just now, as text; remembers where it was read to.
std::string read(Subscription& prices, std::uint64_t& position) {
  std::string text;
  for (Received next = prices.try_receive(); !next.empty(); next = prices.try_receive()) {
    if (const EventRef* event = next.event()) {
      position = (*event)->sequence();
      text += std::to_string((*event)->get_if<Price>()->value) + " ";
    }
    if (const Gap* gap = next.gap()) {
      // Count 0: the history no longer knows how many of these would have matched.
      text += "[" + std::to_string(gap->first) + ".." + std::to_string(gap->last) + " gone] ";
    }
    if (next.closed() != nullptr) break;
  }
  return text;
}

int main() {
  BusOptions options;
  options.history_events = 4;
  SharingBus bus(std::move(options));
  const auto publish = [&bus](int from, int to) {
    for (int value = from; value <= to; ++value)
      bus.publish(Price{value});
    bus.flush();
  };
  std::uint64_t position = 0;

  publish(1, 5);
  std::optional<Subscription> client = join(bus, Start::last(2));
  publish(6, 6);
  const std::string first = read(*client, position);  // the last two, then live

  // The connection breaks, and comes back soon: it resumes behind what it read last.
  client.reset();
  publish(7, 8);
  client = join(bus, Start::sequence(position + 1));
  publish(9, 9);
  const std::string resumed = read(*client, position);

  // It stays away for longer than the history reaches: the stream begins with what cannot be had any more.
  client.reset();
  publish(10, 15);
  client = join(bus, Start::sequence(position + 1));
  const std::string late = read(*client, position);

  std::printf("first:   %s\nresumed: %s\nlate:    %s\n", first.c_str(), resumed.c_str(), late.c_str());
  return first == "4 5 6 " && resumed == "7 8 9 " && late == "[10..11 gone] 12 13 14 15 " ? 0 : 1;
}

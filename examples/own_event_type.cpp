// Event types of your own: one that you write, and one that you cannot edit. The framework knows neither.
#include <cstdio>
#include <string>
#include <vector>

#include "bus/sharing_bus.hpp"

/// Yours: a name, and a kind unless `custom` will do. It has to be nothrow movable; it need not be copyable, for it is
/// built once and shared by all who receive it.
struct FrameRecorded {
  static constexpr std::string_view event_name = "camera.frame_recorded";
  static constexpr sharingbus::EventKind event_kind = sharingbus::EventKind::stream;
  int number;
  std::vector<unsigned char> pixels;
};

namespace weather_station {  // somebody else's header
struct Reading {
  double celsius;
};
}  // namespace weather_station

/// Theirs: the name goes beside the type, before its first use as an event. The same one everywhere.
template <>
struct sharingbus::EventName<weather_station::Reading> {
  static constexpr std::string_view value = "weather.reading";
};

using namespace sharingbus;
using weather_station::Reading;

int main() {
  SharingBus bus;
  auto everything = bus.subscribe_all();
  auto readings = bus.subscribe(Filter::type<Reading>());
  // The registered name is what filter texts know, for instance from a config file.
  const auto filter = Filter::parse("type=weather.reading or kind=stream");
  if (!filter) return 1;
  auto by_text = bus.subscribe(*filter);

  bus.publish(Reading{21.5});
  // A kind of its own, for a type that names none.
  Routing routing;
  routing.kind = EventKind::metrics;
  bus.publish(Reading{22.0}, routing);
  // What it holds beyond the object itself, for bounds in bytes and for metrics.
  std::vector<unsigned char> pixels(64 * 1024);
  const std::size_t size = pixels.size();
  bus.publish(
      make_event(FrameRecorded{1, std::move(pixels)}, routing_for<FrameRecorded>(), EventOrigin::user, 0, size));
  bus.close();

  std::size_t bytes = 0;
  std::string seen;
  for (const EventRef& event : everything) {
    seen += std::string(event->type_name()) + "/" + std::string(to_string(event->kind())) + " ";
    if (const auto* reading = event->get_if<Reading>()) std::printf("%.1f degrees\n", reading->celsius);
    if (const auto* frame = event->get_if<FrameRecorded>()) std::printf("frame %d\n", frame->number);
    bytes += event->size_bytes();
  }
  std::printf("%s\n", seen.c_str());
  return seen == "weather.reading/custom weather.reading/metrics camera.frame_recorded/stream " && bytes > size &&
                 readings.stats().matched == 2 && by_text.stats().matched == 3
             ? 0
             : 1;
}

// Any text: it is refused with one line that names a column, or it gives a filter whose own text reads back as the
// same filter.
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>
#include <utility>

#include "bus/filter.hpp"

namespace {

using sharingbus::errc;
using sharingbus::EventDraft;
using sharingbus::EventKind;
using sharingbus::EventOrigin;
using sharingbus::Filter;
using sharingbus::make_event;
using sharingbus::Routing;
using sharingbus::Uuid;

struct Payload {
  static constexpr std::string_view event_name = "fuzz_payload";
};

void require(bool holds, const char* what, std::string_view text) {
  if (holds) return;
  std::fprintf(stderr, "%s: %.*s\n", what, static_cast<int>(text.size()), text.data());
  std::abort();
}

EventDraft full_event() {
  Routing routing;
  routing.scroll_id = Uuid{};
  routing.connector_uid = Uuid{};
  routing.connector_id = "c";
  routing.native_session_id = "s";
  routing.address = "a.b.c";
  routing.kind = EventKind::request;
  return make_event(Payload{}, std::move(routing), EventOrigin::gateway, 9);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const std::array<EventDraft, 2> kEvents{make_event(Payload{}, Routing{}), full_event()};
  const auto filter = Filter::parse({reinterpret_cast<const char*>(data), size});
  if (!filter.has_value()) {
    const std::string& message = filter.error().message;
    require(filter.error().is(errc::invalid_argument) && message.starts_with("filter: column ") &&
                message.find('\n') == std::string::npos,
            "an error of another form", message);
    return 0;
  }
  const std::string text = filter->text();
  const auto again = Filter::parse(text);
  require(again.has_value() && again->text() == text, "does not read back", text);
  require(again->is_all() == filter->is_all(), "differs on All", text);
  for (const EventDraft& event : kEvents)
    require(again->matches(*event) == filter->matches(*event), "differs on an event", text);
  return 0;
}

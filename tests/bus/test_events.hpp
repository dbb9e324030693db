#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <ostream>
#include <string>
#include <utility>
#include <vector>

#include "bus/event.hpp"
#include "bus/sharing_bus.hpp"

namespace sharingbus::test {

/// Generous: a test that waits this long has failed.
inline constexpr std::chrono::seconds kPatience{60};
/// For "nothing comes": short, because it is waited out.
inline constexpr std::chrono::milliseconds kNothingComes{5};

/// A user's own event type.
struct Note {
  static constexpr std::string_view event_name = "test_note";

  std::uint64_t value = 0;
};

/// A user's own event type with a kind of its own.
struct Beat {
  static constexpr std::string_view event_name = "test_beat";
  static constexpr EventKind event_kind = EventKind::heartbeat;
};

/// Counts the payloads that are alive.
class Tracked {
 public:
  static constexpr std::string_view event_name = "test_tracked";

  explicit Tracked(std::atomic<int>& alive) : alive_(&alive) { ++*alive_; }
  Tracked(const Tracked&) = delete;
  Tracked(Tracked&& other) noexcept : alive_(other.alive_) { ++*alive_; }
  Tracked& operator=(const Tracked&) = delete;
  ~Tracked() { --*alive_; }

 private:
  std::atomic<int>* alive_;
};

inline Uuid uuid(std::uint64_t n) {
  Uuid result;
  result.bytes[15] = static_cast<std::uint8_t>(n);
  return result;
}

inline Routing routing_of(EventKind kind) {
  Routing routing;
  routing.kind = kind;
  return routing;
}
inline Routing with_uid(Uuid uid) {
  Routing routing;
  routing.connector_uid = uid;
  return routing;
}
inline Routing with_scroll(Uuid scroll_id) {
  Routing routing;
  routing.scroll_id = scroll_id;
  return routing;
}
inline Routing with_session(std::string connector_id, std::string session_id) {
  Routing routing;
  routing.connector_id = std::move(connector_id);
  routing.native_session_id = std::move(session_id);
  return routing;
}

inline EventDraft note(std::uint64_t value, Routing routing = {}) {
  return make_event(Note{value}, std::move(routing));
}

inline BusOptions manual_options(std::size_t ingress_capacity = 1024) {
  BusOptions options;
  options.ingress_capacity = ingress_capacity;
  options.engine = Engine::manual;
  return options;
}

inline SubscriptionOptions named(std::string name, Filter filter = Filter::all(), std::size_t capacity = 256) {
  SubscriptionOptions options;
  options.name = std::move(name);
  options.filter = std::move(filter);
  options.capacity = capacity;
  return options;
}

/// The value of a received Note; ~0 when it is none.
inline std::uint64_t value_of(const Received& received) {
  const Note* const payload = received.get_if<Note>();
  return payload != nullptr ? payload->value : ~std::uint64_t{0};
}

/// Values of all Notes that are there now, up to the first thing that is no event.
inline std::vector<std::uint64_t> drain_values(Subscription& subscription) {
  std::vector<std::uint64_t> values;
  for (;;) {
    const Received next = subscription.try_receive();
    if (next.event() == nullptr) return values;
    values.push_back(value_of(next));
  }
}

}  // namespace sharingbus::test

namespace sharingbus {

// GoogleTest finds these by ADL.
inline void PrintTo(const Gap& gap, std::ostream* out) {
  *out << "gap " << gap.first << ".." << gap.last << " count " << gap.count;
}
inline void PrintTo(const Uuid& uuid, std::ostream* out) {
  *out << to_string(uuid);
}

}  // namespace sharingbus

#pragma once

#include <string>
#include <utility>

#include <gtest/gtest.h>

#include "bus/sharing_bus.hpp"
#include "tests/bus/test_events.hpp"

namespace sharingbus::test {

/// A stream as text, `1 2 gap3-5(3) 6 end:overflowed`: values of Notes (`?` for other payloads), gaps with range and
/// count, the end with its reason. Gaps in a row are one, for a bus may tell of one hole in parts.
class StreamText {
 public:
  void add(const Received& received) {
    if (const Gap* gap = received.gap()) return add(*gap);
    if (received.event() != nullptr) return add(*received.event());
    if (const Closed* closed = received.closed()) return add(*closed);
  }
  void add(const Gap& gap) {
    if (gap_.count == 0 || gap.count == 0) {
      flush_gap();
      gap_ = gap;
      if (gap.count == 0) flush_gap(true);
      return;
    }
    gap_.last = gap.last;
    gap_.count += gap.count;
  }
  void add(const EventRef& event) {
    const Note* const payload = event->get_if<Note>();
    append(payload != nullptr ? std::to_string(payload->value) : "?");
  }
  void add(const Closed& closed) { append("end:" + std::string(to_string(closed.why))); }
  void add(const Lent& lent) {
    for (const EventRef& event : lent.events())
      add(event);
    if (const Gap* gap = lent.gap()) add(*gap);
    if (const Closed* closed = lent.closed()) add(*closed);
  }
  [[nodiscard]] std::string text() {
    flush_gap();
    return text_;
  }

 private:
  void flush_gap(bool unknown = false) {
    if (gap_.count == 0 && !unknown) return;
    const Gap gap = std::exchange(gap_, Gap{});
    append("gap" + std::to_string(gap.first) + "-" + std::to_string(gap.last) + "(" + std::to_string(gap.count) + ")");
  }
  void append(const std::string& item) {
    flush_gap();
    if (!text_.empty()) text_ += ' ';
    text_ += item;
  }

  std::string text_;
  Gap gap_{};
};

/// Everything that is there now, up to the end.
inline std::string stream_text(Subscription& subscription) {
  StreamText stream;
  for (;;) {
    const Received next = subscription.try_receive();
    if (next.empty()) break;
    stream.add(next);
    if (next.closed() != nullptr) break;
  }
  return stream.text();
}

/// Publishes Notes `first` to `last`, each of which says its own number.
inline void publish_notes(SharingBus& bus, std::uint64_t first, std::uint64_t last, const Routing& routing = {}) {
  for (std::uint64_t i = first; i <= last; ++i)
    bus.publish(note(i, routing));
}

/// Until nothing moves any more, what the bus publishes itself included.
inline void poll_all(SharingBus& bus) {
  for (int turns = 0; bus.poll(1000) != 0; ++turns) {
    if (turns < 1000) continue;
    ADD_FAILURE() << "the bus does not come to rest";
    return;
  }
}

inline SubscriptionOptions with_overflow(Overflow overflow, std::size_t capacity, std::string name = "sut") {
  SubscriptionOptions options;
  options.name = std::move(name);
  options.capacity = capacity;
  options.overflow = overflow;
  return options;
}

inline const Overflow kEveryOverflow[] = {Overflow::drop_newest, Overflow::drop_oldest, Overflow::latest_per_key,
                                          Overflow::backpressure, Overflow::close_subscriber};

}  // namespace sharingbus::test

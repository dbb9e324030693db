#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <utility>
#include <variant>

#include "bus/event.hpp"

namespace sharingbus {

/// Matching events that a subscription lost at this place: `count` of them, all within sequences [first, last].
struct Gap {
  std::uint64_t first = 0;
  std::uint64_t last = 0;
  /// 0 only at the start of a late join: the range had left the history, so nobody knows how many of it would have
  /// matched.
  std::uint64_t count = 0;

  bool operator==(const Gap&) const = default;
};

enum class CloseReason : std::uint8_t {
  unsubscribed,
  bus_closed,
  callback_failed,
  /// `Overflow::close_subscriber`, and the queue was full.
  overflowed,
  /// `SlowPolicy::close`, and the subscriber was too slow.
  too_slow,
};
[[nodiscard]] std::string_view to_string(CloseReason why) noexcept;

/// End of stream: nothing will follow.
struct Closed {
  CloseReason why = CloseReason::unsubscribed;

  bool operator==(const Closed&) const = default;
};

/// What a receive yields: an event, a gap, the end, or nothing (nothing there yet, or the wait timed out).
class Received {
 public:
  Received() noexcept = default;
  explicit Received(EventRef event) noexcept : value_(std::move(event)) {}
  explicit Received(Gap gap) noexcept : value_(gap) {}
  explicit Received(Closed closed) noexcept : value_(closed) {}

  [[nodiscard]] bool empty() const noexcept { return value_.index() == 0; }
  /// Null unless it is that alternative.
  [[nodiscard]] const EventRef* event() const noexcept { return std::get_if<EventRef>(&value_); }
  [[nodiscard]] const Gap* gap() const noexcept { return std::get_if<Gap>(&value_); }
  [[nodiscard]] const Closed* closed() const noexcept { return std::get_if<Closed>(&value_); }
  /// The payload when this is an event of type `T`, else null.
  template <class T>
  [[nodiscard]] const T* get_if() const noexcept {
    const EventRef* ref = event();
    return ref != nullptr ? (*ref)->template get_if<T>() : nullptr;
  }

 private:
  friend struct EventAccess;
  std::variant<std::monostate, EventRef, Gap, Closed> value_;
};

/// What `Subscription::lend` yields: a run of events in order, a gap, the end, or nothing yet. The events are borrowed
/// from the queue, without a reference count of their own: read them in place, copy an `EventRef` to keep its event.
/// Valid until the subscription's next receive of any form, or its end.
class Lent {
 public:
  Lent() noexcept = default;
  explicit Lent(std::span<const EventRef> events) noexcept : value_(events) {}
  explicit Lent(Gap gap) noexcept : value_(gap) {}
  explicit Lent(Closed closed) noexcept : value_(closed) {}

  [[nodiscard]] bool empty() const noexcept { return value_.index() == 0; }
  /// Empty unless it is a run of events.
  [[nodiscard]] std::span<const EventRef> events() const noexcept {
    const auto* events = std::get_if<std::span<const EventRef>>(&value_);
    return events != nullptr ? *events : std::span<const EventRef>{};
  }
  /// Null unless it is that alternative.
  [[nodiscard]] const Gap* gap() const noexcept { return std::get_if<Gap>(&value_); }
  [[nodiscard]] const Closed* closed() const noexcept { return std::get_if<Closed>(&value_); }

 private:
  std::variant<std::monostate, std::span<const EventRef>, Gap, Closed> value_;
};

}  // namespace sharingbus

#pragma once

#include <cstdint>
#include <string_view>
#include <utility>
#include <variant>

#include "bus/event.hpp"

namespace sharingbus {

/// Matching events that a subscription lost at this place: `count` of them, all within sequences [first, last].
struct Gap {
  std::uint64_t first = 0;
  std::uint64_t last = 0;
  std::uint64_t count = 0;

  bool operator==(const Gap&) const = default;
};

enum class CloseReason : std::uint8_t { unsubscribed, bus_closed, callback_failed };
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
  std::variant<std::monostate, EventRef, Gap, Closed> value_;
};

}  // namespace sharingbus

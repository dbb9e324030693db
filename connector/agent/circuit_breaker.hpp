#pragma once

#include <cstdint>
#include <string_view>

#include "bus/base/result.hpp"
#include "bus/base/timer.hpp"

namespace sharingbus::connector {

struct CircuitBreakerOptions {
  bool enabled = false;
  /// Errors in a row that open it.
  std::uint32_t failures = 5;
  /// Successes in a row that close it when it is half open.
  std::uint32_t successes = 2;
  /// How long it stays open before it lets calls try.
  Duration open_for = std::chrono::seconds(30);
  /// Calls that may try at once.
  std::uint32_t half_open_calls = 1;

  /// `invalid_argument`, naming the field.
  [[nodiscard]] Result<> validate() const;
};

/// Keeps calls away from an agent that fails: closed (all pass), open (none pass), half open (a few try). Every call
/// that was let through must end in exactly one of `succeeded`, `failed`, `abandoned`. O(1). One thread at a time.
class CircuitBreaker {
 public:
  enum class State : std::uint8_t { closed, open, half_open };

  explicit CircuitBreaker(CircuitBreakerOptions options) noexcept : options_(options) {}

  /// Whether a call may go. Turns half open when it is time.
  [[nodiscard]] bool allow(TimePoint now);
  /// True when this closed it.
  bool succeeded();
  /// True when this opened it.
  bool failed(TimePoint now);
  /// The call came to no end that tells anything, such as a cancelled one.
  void abandoned();

  [[nodiscard]] State state() const noexcept { return state_; }
  /// When it lets calls try; only while open.
  [[nodiscard]] TimePoint opens_until() const noexcept { return until_; }

 private:
  void trial_ended();

  CircuitBreakerOptions options_;
  State state_ = State::closed;
  std::uint32_t in_a_row_ = 0;
  std::uint32_t trying_ = 0;
  TimePoint until_{};
};
[[nodiscard]] std::string_view to_string(CircuitBreaker::State state) noexcept;

}  // namespace sharingbus::connector

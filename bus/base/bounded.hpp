#pragma once

#include <algorithm>
#include <chrono>

#include "bus/base/timer.hpp"

namespace sharingbus {

/// At most a year: "never" spelled as a huge duration must not overflow when it is added to a time.
[[nodiscard]] constexpr Duration bounded(Duration duration) noexcept {
  return std::min<Duration>(duration, std::chrono::hours(24 * 365));
}

}  // namespace sharingbus

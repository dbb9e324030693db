#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <limits>

#include "bus/base/timer.hpp"

namespace sharingbus::transport::internal {

// gRPC's arguments are ints.

inline int to_int(std::size_t value) {
  return static_cast<int>(std::min<std::size_t>(value, std::numeric_limits<int>::max()));
}

inline int to_ms(Duration duration) {
  const auto count = std::chrono::duration_cast<std::chrono::milliseconds>(duration).count();
  return static_cast<int>(std::clamp<decltype(count)>(count, 1, std::numeric_limits<int>::max()));
}

}  // namespace sharingbus::transport::internal

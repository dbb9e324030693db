#pragma once

#include <chrono>
#include <thread>

namespace sharingbus::test {

/// For integration tests only, where nothing can be waited on: true as soon as `predicate()` holds, false when
/// `deadline` of real time passed first.
template <class Predicate>
[[nodiscard]] bool poll_until(Predicate&& predicate, std::chrono::nanoseconds deadline) {
  const auto end = std::chrono::steady_clock::now() + deadline;
  for (;;) {
    if (predicate()) return true;
    if (std::chrono::steady_clock::now() >= end) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
}

}  // namespace sharingbus::test

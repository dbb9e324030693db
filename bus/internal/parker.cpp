#include "bus/internal/parker.hpp"

#include <algorithm>
#include <thread>

#if defined(__linux__)
#include <cerrno>
#include <ctime>
#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace sharingbus::internal {
namespace {

using SteadyTime = std::chrono::steady_clock::time_point;

void relax() noexcept {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#endif
}

#if defined(__linux__)
// A futex and no condition variable: parking at once is what makes a wake-up quick, and there is one waiter only.
static_assert(sizeof(std::atomic<std::uint32_t>) == sizeof(std::uint32_t));

/// False: the deadline passed.
bool futex_wait(std::atomic<std::uint32_t>& word, std::uint32_t while_value, const SteadyTime* deadline) {
  timespec at{};
  if (deadline != nullptr) {
    const auto since_boot = std::max(deadline->time_since_epoch(), std::chrono::steady_clock::duration::zero());
    const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(since_boot);
    at.tv_sec = static_cast<std::time_t>(seconds.count());
    at.tv_nsec = static_cast<long>(std::chrono::nanoseconds(since_boot - seconds).count());
  }
  const long result = ::syscall(SYS_futex, &word, FUTEX_WAIT_BITSET_PRIVATE, while_value,
                                deadline != nullptr ? &at : nullptr, nullptr, FUTEX_BITSET_MATCH_ANY);
  return !(result == -1 && errno == ETIMEDOUT);
}
void futex_wake(std::atomic<std::uint32_t>& word) noexcept {
  ::syscall(SYS_futex, &word, FUTEX_WAKE_PRIVATE, 1, nullptr, nullptr, 0);
}
#else
bool futex_wait(std::atomic<std::uint32_t>& word, std::uint32_t while_value, const SteadyTime* deadline) {
  if (deadline == nullptr) {
    word.wait(while_value);
    return true;
  }
  // The standard has no timed wait on an atomic.
  if (word.load() == while_value) std::this_thread::sleep_for(std::chrono::microseconds(50));
  return std::chrono::steady_clock::now() < *deadline;
}
void futex_wake(std::atomic<std::uint32_t>& word) noexcept {
  word.notify_one();
}
#endif

}  // namespace

void Parker::wake() noexcept {
  if (state_.exchange(kWoken, std::memory_order_acq_rel) == kAsleep) futex_wake(state_);
}

bool Parker::wait(WaitStrategy strategy, const SteadyTime* deadline) {
  const SteadyTime never = SteadyTime::max();
  switch (strategy) {
    case WaitStrategy::block:
      break;
    case WaitStrategy::spin:
      return spin(deadline != nullptr ? *deadline : never);
    case WaitStrategy::phased: {
      const SteadyTime phase_end = std::chrono::steady_clock::now() + kPhase;
      if (spin(deadline != nullptr ? std::min(*deadline, phase_end) : phase_end)) return true;
      break;
    }
  }
  return sleep(deadline);
}

bool Parker::spin(SteadyTime until) {
  for (;;) {
    for (int i = 0; i < 256; ++i) {
      if (state_.load(std::memory_order_relaxed) == kWoken) return take();
      relax();
    }
    if (std::chrono::steady_clock::now() >= until) return take();
    // On a machine with fewer cores than spinners, the one that will wake us has to get a turn.
    std::this_thread::yield();
  }
}

bool Parker::sleep(const SteadyTime* deadline) {
  std::uint32_t expected = kIdle;
  if (!state_.compare_exchange_strong(expected, kAsleep, std::memory_order_acq_rel)) return take();
  for (;;) {
    const bool in_time = futex_wait(state_, kAsleep, deadline);
    if (state_.load(std::memory_order_acquire) == kWoken || !in_time) return take();
  }
}

}  // namespace sharingbus::internal

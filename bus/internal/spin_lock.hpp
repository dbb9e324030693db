#pragma once

#include <atomic>
#include <thread>

namespace sharingbus::internal {

/// A lock around a few instructions of two threads: one read-modify-write to take it, and none to give it back. For
/// `std::scoped_lock`.
class SpinLock {
 public:
  void lock() noexcept {
    while (locked_.exchange(true, std::memory_order_acquire)) {
      // Whoever has it may have been interrupted.
      while (locked_.load(std::memory_order_relaxed))
        std::this_thread::yield();
    }
  }
  void unlock() noexcept { locked_.store(false, std::memory_order_release); }

 private:
  std::atomic<bool> locked_{false};
};

}  // namespace sharingbus::internal

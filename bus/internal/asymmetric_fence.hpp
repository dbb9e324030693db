#pragma once

#include <atomic>

#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define SHARINGBUS_NO_FENCES
#endif
#endif
#if defined(__SANITIZE_THREAD__)
#define SHARINGBUS_NO_FENCES
#endif

namespace sharingbus::internal {

/// Orders a store before a later load in two threads at once, when one of them does so all the time and the other
/// seldom: one that stores A, passes `light_fence` and loads B, and one that stores B, passes `heavy_fence` and loads
/// A, cannot both miss the other's store. The light side costs nothing where the kernel can interrupt all running
/// threads of the process for the heavy one (Linux: membarrier), a microsecond or a few; elsewhere both are a
/// read-modify-write of one variable.
///
/// Before the first of either, once: asks the kernel. Whoever passes a fence must have been told of that call.
void prepare_fences() noexcept;
void heavy_fence() noexcept;

/// Orders a store before a later load in one of two threads, the other of which orders its own with seq_cst operations.
/// ThreadSanitizer knows no fences; it gets what does the same on the machines it runs on.
inline void full_fence() noexcept {
#if defined(SHARINGBUS_NO_FENCES)
  std::atomic<bool> own{false};
  own.exchange(true, std::memory_order_seq_cst);
#else
  std::atomic_thread_fence(std::memory_order_seq_cst);
#endif
}

// What light_fence is made of.
inline std::atomic<bool> kernel_fences{false};
void common_fence() noexcept;

inline void light_fence() noexcept {
  if (kernel_fences.load(std::memory_order_relaxed)) [[likely]] {
    std::atomic_signal_fence(std::memory_order_seq_cst);
  } else {
    common_fence();
  }
}

}  // namespace sharingbus::internal

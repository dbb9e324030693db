#pragma once

#include <atomic>

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

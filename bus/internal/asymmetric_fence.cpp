#include "bus/internal/asymmetric_fence.hpp"

#include <cstdint>

#if defined(__linux__)
#include <linux/membarrier.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace sharingbus::internal {
namespace {

#if defined(__linux__)
bool membarrier(int command) noexcept {
  return ::syscall(SYS_membarrier, command, 0, 0) == 0;
}
constexpr int kRegister = MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED;
constexpr int kFence = MEMBARRIER_CMD_PRIVATE_EXPEDITED;
#else
bool membarrier(int /*command*/) noexcept {
  return false;
}
constexpr int kRegister = 0;
constexpr int kFence = 0;
#endif

}  // namespace

void common_fence() noexcept {
  // Read-modify-writes of one variable stand in one order, and each sees what came before the one before it.
  static std::atomic<std::uint32_t> common{0};
  common.fetch_add(1, std::memory_order_seq_cst);
}

void prepare_fences() noexcept {
  static const bool kernel = membarrier(kRegister) && membarrier(kFence);
  kernel_fences.store(kernel, std::memory_order_release);
}

void heavy_fence() noexcept {
  if (kernel_fences.load(std::memory_order_relaxed) && membarrier(kFence)) return;
  common_fence();
}

}  // namespace sharingbus::internal

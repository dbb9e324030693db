#pragma once

#include <cstddef>

namespace sharingbus::internal {

/// Memory for events and blocks of events. Each thread allocates from free lists of its own; what another thread frees
/// goes back to the list of the one who allocated it, many at a time. Freed memory is kept for reuse, so it stays at
/// its high-water mark. Large pieces come from the heap, and under AddressSanitizer all do. Any thread.
[[nodiscard]] void* pool_allocate(std::size_t bytes);
void pool_free(void* memory) noexcept;

}  // namespace sharingbus::internal

#pragma once

#include <cstddef>

/// What this process uses.
namespace registration_cost {

/// Allocated and not freed, in all arenas.
[[nodiscard]] std::size_t heap_bytes();
/// In memory, which is what a machine has to have.
[[nodiscard]] std::size_t resident_bytes();
/// User and system.
[[nodiscard]] double cpu_seconds();

}  // namespace registration_cost

#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <utility>

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define SHARINGBUS_POOL_OFF
#endif
#endif
#if defined(__SANITIZE_ADDRESS__)
#define SHARINGBUS_POOL_OFF
#endif

namespace sharingbus::internal {

/// What `pool_allocate` and `pool_free` look at when nothing is in their way.
struct EventPool {
  static constexpr std::size_t kCacheLine = 64;
  /// Of chunk sizes; what the heap aligns to.
  static constexpr std::size_t kGranule = 16;
  static constexpr std::size_t kClasses = 128;
#if defined(SHARINGBUS_POOL_OFF)
  static constexpr std::size_t kPooledMax = 0;
#else
  static constexpr std::size_t kPooledMax = kClasses - 1;
#endif

  struct Shard;

  /// What stands before the caller's memory; `next` is his as long as he has it.
  struct Chunk {
    Shard* owner;
    std::size_t size_class;
    Chunk* next;

    static constexpr std::size_t kHeader = 16;
    void* memory() noexcept { return reinterpret_cast<std::byte*>(this) + kHeader; }
    static Chunk* of(void* memory) noexcept {
      return reinterpret_cast<Chunk*>(static_cast<std::byte*>(memory) - kHeader);
    }
  };
  static_assert(offsetof(Chunk, next) == Chunk::kHeader);

  /// One thread's free lists. Outlives its thread, because its chunks do; the next new thread takes it over.
  struct Shard {
    std::array<Chunk*, kClasses> free{};
    std::array<std::uint32_t, kClasses> slab_size{};
    /// What other threads gave back.
    alignas(kCacheLine) std::atomic<Chunk*> returned{nullptr};
  };

  static constinit thread_local Shard* t_shard;

  [[nodiscard]] static std::size_t size_class(std::size_t bytes) noexcept {
    return (std::max(bytes, sizeof(void*)) + Chunk::kHeader + kGranule - 1) / kGranule;
  }
  /// A chunk that is not in the thread's free list.
  static Chunk* other_chunk(std::size_t bytes);
  /// A chunk that is not this thread's.
  static void free_other(Chunk* chunk) noexcept;
};

/// What `pool_allocate` does when the thread has such a piece lying there: nearly always. Null: it has not.
[[nodiscard]] inline void* pool_allocate_at_once(std::size_t bytes) noexcept {
  using Chunk = EventPool::Chunk;
  static constexpr std::size_t kLine = EventPool::kCacheLine;
  const std::size_t size_class = EventPool::size_class(bytes);
  if (size_class > EventPool::kPooledMax || EventPool::t_shard == nullptr) [[unlikely]]
    return nullptr;
  Chunk*& free = EventPool::t_shard->free[size_class];
  if (free == nullptr) [[unlikely]]
    return nullptr;
  Chunk* const chunk = std::exchange(free, free->next);
  // For the next one: what was freed last is not always in the nearest cache.
  const auto next = reinterpret_cast<std::uintptr_t>(free);
  __builtin_prefetch(reinterpret_cast<const void*>(next), 1);
  if (size_class > kLine / EventPool::kGranule) {
    __builtin_prefetch(reinterpret_cast<const void*>(next + kLine), 1);
    __builtin_prefetch(reinterpret_cast<const void*>(next + 2 * kLine), 1);
  }
  return chunk->memory();
}

/// Memory for events and blocks of events. Each thread allocates from free lists of its own; what another thread frees
/// goes back to the list of the one who allocated it, many at a time. Freed memory is kept for reuse, so it stays at
/// its high-water mark. Large pieces come from the heap, and under AddressSanitizer all do. Any thread.
[[nodiscard]] inline void* pool_allocate(std::size_t bytes) {
  if (void* const memory = pool_allocate_at_once(bytes)) [[likely]]
    return memory;
  return EventPool::other_chunk(bytes)->memory();
}

inline void pool_free(void* memory) noexcept {
  EventPool::Chunk* const chunk = EventPool::Chunk::of(memory);
  EventPool::Shard* const owner = chunk->owner;
  if (owner != EventPool::t_shard || owner == nullptr) [[unlikely]]
    return EventPool::free_other(chunk);
  chunk->next = std::exchange(owner->free[chunk->size_class], chunk);
}

}  // namespace sharingbus::internal

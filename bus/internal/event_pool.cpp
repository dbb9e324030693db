#include "bus/internal/event_pool.hpp"

#include <algorithm>
#include <memory>
#include <mutex>
#include <new>
#include <utility>
#include <vector>

namespace sharingbus::internal {

constinit thread_local EventPool::Shard* EventPool::t_shard = nullptr;

namespace {

using Chunk = EventPool::Chunk;
using Shard = EventPool::Shard;

class ShardRegistry {
 public:
  Shard* lease() {
    const std::scoped_lock lock(mutex_);
    if (idle_.empty()) {
      all_.push_back(std::make_unique<Shard>());
      return all_.back().get();
    }
    Shard* shard = idle_.back();
    idle_.pop_back();
    return shard;
  }
  void give_back(Shard* shard) {
    const std::scoped_lock lock(mutex_);
    idle_.push_back(shard);
  }
  // Never destroyed: threads and static objects may free events after any destructor of ours.
  static ShardRegistry& instance() {
    static auto* registry = new ShardRegistry;
    return *registry;
  }

 private:
  std::mutex mutex_;
  std::vector<std::unique_ptr<Shard>> all_;
  std::vector<Shard*> idle_;
};

/// Chunks of one other thread, on their way back.
struct ReturnChain {
  Chunk* first;
  Chunk* last;
  std::uint32_t count;

  void add(Chunk* chunk) noexcept {
    if (first != nullptr && first->owner != chunk->owner) flush();
    chunk->next = first;
    if (first == nullptr) last = chunk;
    first = chunk;
    if (++count == 64) flush();
  }
  void flush() noexcept {
    if (first == nullptr) return;
    std::atomic<Chunk*>& returned = first->owner->returned;
    last->next = returned.load(std::memory_order_relaxed);
    while (!returned.compare_exchange_weak(last->next, first, std::memory_order_release, std::memory_order_relaxed)) {
    }
    *this = {};
  }
};

constinit thread_local bool t_over = false;
constinit thread_local ReturnChain t_returning{};

/// Gives the thread's shard back when the thread ends.
struct Lease {
  ~Lease() {
    t_returning.flush();
    t_over = true;
    if (Shard* shard = std::exchange(EventPool::t_shard, nullptr)) ShardRegistry::instance().give_back(shard);
  }
  void touch() noexcept {}
};
thread_local Lease t_lease;

bool lease_shard() {
  if (t_over) return false;
  t_lease.touch();
  EventPool::t_shard = ShardRegistry::instance().lease();
  return true;
}

void refill(Shard& shard, std::size_t size_class) {
  Chunk* chunk = shard.returned.exchange(nullptr, std::memory_order_acquire);
  while (chunk != nullptr) {
    Chunk* next = chunk->next;
    chunk->next = std::exchange(shard.free[chunk->size_class], chunk);
    chunk = next;
  }
  if (shard.free[size_class] != nullptr) return;
  std::uint32_t& count = shard.slab_size[size_class];
  count = std::clamp<std::uint32_t>(count * 2, 4, 64);
  const std::size_t bytes = size_class * EventPool::kGranule;
  auto* slab = static_cast<std::byte*>(::operator new(bytes* count, std::align_val_t(EventPool::kCacheLine)));
  for (std::uint32_t i = count; i-- > 0;) {
    chunk = ::new (slab + i * bytes) Chunk{&shard, size_class, shard.free[size_class]};
    shard.free[size_class] = chunk;
  }
}

}  // namespace

[[gnu::noinline]] Chunk* EventPool::other_chunk(std::size_t bytes) {
  const std::size_t size_class = EventPool::size_class(bytes);
  if (size_class > kPooledMax || (t_shard == nullptr && !lease_shard())) {
    auto* chunk = static_cast<Chunk*>(::operator new(std::max(bytes + Chunk::kHeader, sizeof(Chunk))));
    chunk->owner = nullptr;
    return chunk;
  }
  Chunk*& free = t_shard->free[size_class];
  if (free == nullptr) refill(*t_shard, size_class);
  return std::exchange(free, free->next);
}

[[gnu::noinline]] void EventPool::free_other(Chunk* chunk) noexcept {
  if (chunk->owner == nullptr) return ::operator delete(chunk);
  if (t_returning.first == nullptr && !t_over) t_lease.touch();
  t_returning.add(chunk);
  if (t_over) t_returning.flush();
}

}  // namespace sharingbus::internal

#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "bus/base/timer.hpp"

namespace sharingbus::connector::detail {

/// A bounded table of texts, each in a scope (a number), that forgets what was not used for long. In order of last use,
/// so expiry looks only at what it removes; at its bound the entry that was unused longest gives way. Entries live in
/// slots that are used again, with their text's memory: no allocation once it has seen its peak. Finding, putting,
/// touching and erasing are O(1). One thread at a time.
template <class Value>
class IdleTable {
 public:
  explicit IdleTable(std::size_t capacity) : capacity_(std::max<std::size_t>(capacity, 1)), buckets_(16, kNone) {}

  /// Null when it is not there. Does not count as use. Valid until the table changes.
  [[nodiscard]] const Value* find(std::uint64_t scope, std::string_view key) const {
    const Index at = locate(scope, key);
    return at != kNone ? &slots_[at].value : nullptr;
  }
  [[nodiscard]] const TimePoint* used_at(std::uint64_t scope, std::string_view key) const {
    const Index at = locate(scope, key);
    return at != kNone ? &slots_[at].used : nullptr;
  }
  /// False when it is not there.
  bool touch(std::uint64_t scope, std::string_view key, TimePoint now) {
    const Index at = locate(scope, key);
    if (at == kNone) return false;
    use(at, now);
    return true;
  }
  /// Sets or replaces. True when another entry gave way.
  bool put(std::uint64_t scope, std::string_view key, Value value, TimePoint now) {
    if (const Index at = locate(scope, key); at != kNone) {
      slots_[at].value = std::move(value);
      use(at, now);
      return false;
    }
    const bool full = size_ >= capacity_;
    if (full) remove(oldest_);
    if (size_ >= buckets_.size()) grow();
    const Index at = take_slot();
    Slot& slot = slots_[at];
    slot.scope = scope;
    slot.hash = hash_of(key);
    slot.key.assign(key);
    slot.value = std::move(value);
    slot.used = now;
    Index& bucket = buckets_[slot.hash & (buckets_.size() - 1)];
    slot.chain = std::exchange(bucket, at);
    append(at);
    ++size_;
    return full;
  }
  bool erase(std::uint64_t scope, std::string_view key) {
    const Index at = locate(scope, key);
    if (at == kNone) return false;
    remove(at);
    return true;
  }
  /// Erases the key in every scope; how many there were.
  std::size_t erase_everywhere(std::string_view key) {
    std::size_t erased = 0;
    const std::size_t hash = hash_of(key);
    for (Index at = buckets_[hash & (buckets_.size() - 1)]; at != kNone;) {
      const Index next = slots_[at].chain;
      if (slots_[at].hash == hash && slots_[at].key == key) {
        remove(at);
        ++erased;
      }
      at = next;
    }
    return erased;
  }
  /// Looks at every entry.
  template <class Predicate>
  std::size_t erase_if(Predicate&& gone) {
    std::size_t erased = 0;
    for (Index at = oldest_; at != kNone;) {
      const Index next = slots_[at].newer;
      if (gone(slots_[at].scope, std::as_const(slots_[at].value))) {
        remove(at);
        ++erased;
      }
      at = next;
    }
    return erased;
  }
  /// Erases what was last used at `before` or earlier; looks at no more than it erases, and one.
  std::size_t expire(TimePoint before) {
    std::size_t erased = 0;
    while (oldest_ != kNone && slots_[oldest_].used <= before) {
      remove(oldest_);
      ++erased;
    }
    return erased;
  }
  [[nodiscard]] std::size_t size() const noexcept { return size_; }

 private:
  using Index = std::uint32_t;
  static constexpr Index kNone = 0xffff'ffff;

  struct Slot {
    std::string key;
    std::uint64_t scope = 0;
    std::size_t hash = 0;
    TimePoint used{};
    Value value{};
    Index older = kNone;
    Index newer = kNone;
    /// The next in the bucket, or the next free slot.
    Index chain = kNone;
  };

  static std::size_t hash_of(std::string_view key) noexcept { return std::hash<std::string_view>{}(key); }

  [[nodiscard]] Index locate(std::uint64_t scope, std::string_view key) const {
    const std::size_t hash = hash_of(key);
    for (Index at = buckets_[hash & (buckets_.size() - 1)]; at != kNone; at = slots_[at].chain) {
      const Slot& slot = slots_[at];
      if (slot.hash == hash && slot.scope == scope && slot.key == key) return at;
    }
    return kNone;
  }
  void append(Index at) {
    Slot& slot = slots_[at];
    slot.older = newest_;
    slot.newer = kNone;
    (newest_ != kNone ? slots_[newest_].newer : oldest_) = at;
    newest_ = at;
  }
  void unlink(Index at) {
    Slot& slot = slots_[at];
    (slot.older != kNone ? slots_[slot.older].newer : oldest_) = slot.newer;
    (slot.newer != kNone ? slots_[slot.newer].older : newest_) = slot.older;
  }
  void use(Index at, TimePoint now) {
    // Whoever is last is used last: time does not go back.
    slots_[at].used = std::max(now, slots_[newest_].used);
    unlink(at);
    append(at);
  }
  void remove(Index at) {
    unlink(at);
    Slot& slot = slots_[at];
    Index* link = &buckets_[slot.hash & (buckets_.size() - 1)];
    while (*link != at)
      link = &slots_[*link].chain;
    *link = slot.chain;
    slot.value = Value{};
    slot.chain = std::exchange(free_, at);
    --size_;
  }
  [[nodiscard]] Index take_slot() {
    if (free_ != kNone) {
      const Index at = free_;
      free_ = slots_[at].chain;
      return at;
    }
    slots_.emplace_back();
    return static_cast<Index>(slots_.size() - 1);
  }
  void grow() {
    buckets_.assign(buckets_.size() * 2, kNone);
    for (Index at = oldest_; at != kNone; at = slots_[at].newer) {
      Index& bucket = buckets_[slots_[at].hash & (buckets_.size() - 1)];
      slots_[at].chain = std::exchange(bucket, at);
    }
  }

  const std::size_t capacity_;
  /// A power of two of them.
  std::vector<Index> buckets_;
  std::vector<Slot> slots_;
  Index oldest_ = kNone;
  Index newest_ = kNone;
  Index free_ = kNone;
  std::size_t size_ = 0;
};

}  // namespace sharingbus::connector::detail

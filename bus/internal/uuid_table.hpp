#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <utility>

#include "bus/base/uuid.hpp"
#include "bus/internal/secret_hash.hpp"

namespace sharingbus::internal {

/// What stands under a UUID, for a look-up with every event: open addressing with linear probing, so that nearly
/// every look-up is one multiplication and one cache line. The multiplication mixes in a secret of the table's own: a
/// peer may choose its uid, but not whom it collides with. `Bucket` is movable, has `empty()`, and is empty when new;
/// one that is empty is none.
template <class Bucket>
class UuidTable {
 public:
  [[nodiscard]] bool empty() const noexcept { return size_ == 0; }
  [[nodiscard]] std::size_t size() const noexcept { return size_; }

  /// Null when there is none. Not of an empty table.
  [[nodiscard, gnu::always_inline]] const Bucket* find(const Uuid& uuid) const noexcept { return finder().find(uuid); }

 private:
  struct Slot {
    Uuid uuid;
    Bucket bucket;
  };

 public:
  /// For many look-ups, between which buckets may be removed and not added.
  class Finder {
   public:
    [[nodiscard, gnu::always_inline]] const Bucket* find(const Uuid& uuid) const noexcept {
      for (std::size_t at = home_of(uuid);; at = (at + 1) & mask) {
        const Slot& slot = slots[at];
        if (slot.bucket.empty()) return nullptr;
        if (slot.uuid == uuid) return &slot.bucket;
      }
    }

   private:
    friend UuidTable;
    [[nodiscard]] std::size_t home_of(const Uuid& uuid) const noexcept {
      std::array<std::uint64_t, 2> halves;
      std::memcpy(halves.data(), uuid.bytes.data(), sizeof halves);
      return fold(halves[0] ^ secret[0], halves[1] ^ secret[1]) & mask;
    }
    const Slot* slots;
    std::size_t mask;
    std::array<std::uint64_t, 2> secret;
  };
  [[nodiscard]] Finder finder() const noexcept {
    Finder finder;
    finder.slots = slots_.get();
    finder.mask = mask_;
    finder.secret = secret_;
    return finder;
  }
  void prefetch(const Uuid& uuid) const noexcept { __builtin_prefetch(&slots_[home_of(uuid)]); }

  /// Calls `change(Bucket&)` with the bucket of `uuid`, a new one if there was none, and removes it if it then is
  /// empty.
  template <class Change>
  void change(const Uuid& uuid, Change&& change) {
    if (slots_ == nullptr) grow();
    std::size_t at = home_of(uuid);
    while (!slots_[at].bucket.empty() && slots_[at].uuid != uuid)
      at = (at + 1) & mask_;
    Slot& slot = slots_[at];
    const bool was_empty = slot.bucket.empty();
    slot.uuid = uuid;
    change(slot.bucket);
    if (was_empty && !slot.bucket.empty()) {
      // At most three quarters are in use.
      if (++size_ * 4 > (mask_ + 1) * 3) grow();
    } else if (!was_empty && slot.bucket.empty()) {
      close_hole(at);
    }
  }

 private:
  [[nodiscard]] std::size_t home_of(const Uuid& uuid) const noexcept { return finder().home_of(uuid); }

  void grow() {
    const std::size_t before = slots_ == nullptr ? 0 : mask_ + 1;
    const std::size_t after = before == 0 ? 4 : before * 2;
    if (before == 0) {
      for (std::uint64_t& word : secret_)
        word = secret_word();
    }
    const auto old = std::exchange(slots_, std::make_unique<Slot[]>(after));
    mask_ = after - 1;
    for (std::size_t i = 0; i < before; ++i) {
      if (old[i].bucket.empty()) continue;
      std::size_t at = home_of(old[i].uuid);
      while (!slots_[at].bucket.empty())
        at = (at + 1) & mask_;
      slots_[at] = std::move(old[i]);
    }
  }

  /// Moves up whatever would not be found past the hole at `hole`.
  void close_hole(std::size_t hole) noexcept {
    --size_;
    for (std::size_t at = (hole + 1) & mask_; !slots_[at].bucket.empty(); at = (at + 1) & mask_) {
      if (((at - home_of(slots_[at].uuid)) & mask_) < ((at - hole) & mask_)) continue;
      slots_[hole] = std::move(slots_[at]);
      hole = at;
    }
  }

  std::unique_ptr<Slot[]> slots_;
  std::size_t mask_ = 0;
  std::size_t size_ = 0;
  std::array<std::uint64_t, 2> secret_{};
};

}  // namespace sharingbus::internal

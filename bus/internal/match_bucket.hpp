#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include <absl/container/flat_hash_map.h>

#include "bus/internal/filter_cover.hpp"

namespace sharingbus::internal {

/// What is left to check when a subscriber was found by one key of its filter.
struct MatchCheck {
  /// A subscriber with several keys is reported by the first that matches; these are the ones before this one.
  const FilterKey* earlier = nullptr;
  std::size_t earlier_count = 0;
  bool exact = false;

  template <class Subscriber>
  [[nodiscard]] bool passes(const Subscriber& subscriber, const BusEvent& event) const noexcept {
    for (std::size_t i = 0; i < earlier_count; ++i) {
      if (earlier[i].matches(event)) return false;
    }
    return exact || subscriber.filter().matches(event);
  }
};

/// Nothing is known of the filter but that the key is part of it.
inline constexpr MatchCheck kWholeFilter{};

/// The subscribers found by one key; each is in it at most once, in no order. A pointer: nearly all keys, such as a
/// connector's uid, have one subscriber, and such a bucket is that subscriber.
template <class Subscriber>
class MatchBucket {
 public:
  struct Entry {
    Subscriber* subscriber = nullptr;
    /// Null: nothing to check.
    const MatchCheck* check = nullptr;
  };

  MatchBucket() noexcept = default;
  MatchBucket(MatchBucket&& other) noexcept : content_(std::exchange(other.content_, 0)) {}
  MatchBucket& operator=(MatchBucket&& other) noexcept {
    std::swap(content_, other.content_);
    return *this;
  }
  ~MatchBucket() {
    if (is_many()) delete &many();
  }

  [[nodiscard]] bool empty() const noexcept { return content_ == 0; }

  void add(const Entry& entry) {
    if (empty() && (entry.check == nullptr || entry.check == &kWholeFilter)) {
      content_ = reinterpret_cast<std::uintptr_t>(entry.subscriber) | (entry.check != nullptr ? kChecked : 0);
      return;
    }
    if (!is_many()) {
      auto many = std::make_unique<Many>();
      if (!empty()) many->add(one());
      content_ = reinterpret_cast<std::uintptr_t>(many.release()) | kMany;
    }
    many().add(entry);
  }

  void remove(Subscriber* subscriber) {
    if (is_many()) {
      many().remove(subscriber);
      if (!many().entries.empty()) return;
      delete &many();
    } else if (empty() || one().subscriber != subscriber) {
      return;
    }
    content_ = 0;
  }

  /// The subscriber, if there is one alone with nothing to check.
  [[nodiscard]] Subscriber* plain_one() const noexcept {
    return (content_ & kBits) == 0 ? reinterpret_cast<Subscriber*>(content_) : nullptr;
  }
  template <class Fn>
  [[gnu::always_inline]] void for_each_match(const BusEvent& event, Fn& fn) const {
    if ((content_ & kBits) == 0) {
      if (content_ != 0) fn(*one().subscriber);
    } else {
      for_each_checked(event, fn);
    }
  }

 private:
  struct Many {
    /// Up to here a search through the entries is cheaper than a table of positions.
    static constexpr std::size_t kSearched = 32;

    std::vector<Entry> entries;
    /// Empty, or the position of every entry.
    absl::flat_hash_map<const Subscriber*, std::uint32_t> positions;

    void add(const Entry& entry) {
      entries.push_back(entry);
      if (entries.size() <= kSearched && positions.empty()) return;
      for (std::size_t i = positions.empty() ? 0 : entries.size() - 1; i < entries.size(); ++i)
        positions[entries[i].subscriber] = static_cast<std::uint32_t>(i);
    }

    void remove(const Subscriber* subscriber) {
      std::size_t at = 0;
      if (positions.empty()) {
        while (at < entries.size() && entries[at].subscriber != subscriber)
          ++at;
      } else {
        const auto found = positions.find(subscriber);
        at = found == positions.end() ? entries.size() : found->second;
        if (found != positions.end()) positions.erase(found);
      }
      if (at == entries.size()) return;
      entries[at] = entries.back();
      entries.pop_back();
      if (at < entries.size() && !positions.empty()) {
        positions[entries[at].subscriber] = static_cast<std::uint32_t>(at);
      }
    }
  };

  template <class Fn>
  [[gnu::noinline]] void for_each_checked(const BusEvent& event, Fn& fn) const {
    if (!is_many()) return report(one(), event, fn);
    for (const Entry& entry : many().entries)
      report(entry, event, fn);
  }
  template <class Fn>
  static void report(const Entry& entry, const BusEvent& event, Fn&& fn) {
    if (entry.check == nullptr || entry.check->passes(*entry.subscriber, event)) fn(*entry.subscriber);
  }

  // A subscriber, with kChecked one whose whole filter is to be asked; or with kMany a pointer to Many.
  static constexpr std::uintptr_t kMany = 1;
  static constexpr std::uintptr_t kChecked = 2;
  static constexpr std::uintptr_t kBits = kMany | kChecked;
  static_assert(alignof(Many) > kBits);
  [[nodiscard]] bool is_many() const noexcept { return (content_ & kMany) != 0; }
  [[nodiscard]] Many& many() const noexcept { return *reinterpret_cast<Many*>(content_ & ~kBits); }
  [[nodiscard]] Entry one() const noexcept {
    static_assert(alignof(Subscriber) > kBits);
    return {reinterpret_cast<Subscriber*>(content_ & ~kBits), (content_ & kChecked) != 0 ? &kWholeFilter : nullptr};
  }

  std::uintptr_t content_ = 0;
};

}  // namespace sharingbus::internal

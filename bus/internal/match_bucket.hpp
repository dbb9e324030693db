#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
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

/// The subscribers found by one key; each is in it at most once, in no order. One of them takes no allocation: most
/// keys, such as a connector's uid, have just one.
template <class Subscriber>
class MatchBucket {
 public:
  struct Entry {
    Subscriber* subscriber = nullptr;
    /// Null: nothing to check.
    const MatchCheck* check = nullptr;
  };

  [[nodiscard]] bool empty() const noexcept { return one_.subscriber == nullptr && many_ == nullptr; }

  void add(const Entry& entry) {
    if (empty()) {
      one_ = entry;
      return;
    }
    if (many_ == nullptr) {
      auto many = std::make_unique<Many>();
      many->add(one_);
      many_ = std::move(many);
      one_ = {};
    }
    many_->add(entry);
  }

  void remove(Subscriber* subscriber) {
    if (one_.subscriber == subscriber) {
      one_ = {};
    } else if (many_ != nullptr) {
      many_->remove(subscriber);
      if (many_->entries.empty()) many_.reset();
    }
  }

  template <class Fn>
  void for_each_match(const BusEvent& event, Fn&& fn) const {
    if (one_.subscriber != nullptr) {
      report(one_, event, fn);
    } else if (many_ != nullptr) {
      for (const Entry& entry : many_->entries)
        report(entry, event, fn);
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
  static void report(const Entry& entry, const BusEvent& event, Fn&& fn) {
    if (entry.check == nullptr || entry.check->passes(*entry.subscriber, event)) fn(*entry.subscriber);
  }

  Entry one_;
  std::unique_ptr<Many> many_;
};

}  // namespace sharingbus::internal

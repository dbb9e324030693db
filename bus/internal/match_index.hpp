#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <absl/container/flat_hash_map.h>

#include "bus/event.hpp"
#include "bus/filter.hpp"
#include "bus/internal/address_trie.hpp"
#include "bus/internal/filter_cover.hpp"
#include "bus/internal/match_bucket.hpp"
#include "bus/internal/match_hash.hpp"
#include "bus/internal/uuid_table.hpp"

namespace sharingbus::internal {

/// Who matches an event. Every subscriber stands in the buckets of its filter's cover, usually the one of its most
/// selective equality, so an event costs what its own buckets hold and not the number of subscribers. `Subscriber` has
/// `const Filter& filter() const`. Dispatcher-confined; looking up allocates nothing.
template <class Subscriber>
class MatchIndex {
 public:
  /// `filter` is the subscriber's own, unchanged until `remove`. O(terms).
  void add(Subscriber* subscriber, const Filter& filter) {
    FilterCover cover = cover_of(filter);
    if (!cover.indexed) {
      unindexed_.add({subscriber, cover.exact ? nullptr : &kWholeFilter});
      ++others_;
      return;
    }
    for (const FilterKey& key : cover.keys)
      ++entries_of(key);
    if (cover.keys.size() > 1) return add_several(subscriber, std::move(cover));
    for (const FilterKey& key : cover.keys)
      at(key, Add{{subscriber, cover.exact ? nullptr : &kWholeFilter}});
  }

  /// What was added. O(terms), whatever else there is.
  void remove(Subscriber* subscriber, const Filter& filter) {
    const FilterCover cover = cover_of(filter);
    if (!cover.indexed) {
      unindexed_.remove(subscriber);
      --others_;
      return;
    }
    for (const FilterKey& key : cover.keys) {
      at(key, Remove{subscriber});
      --entries_of(key);
    }
    if (cover.keys.size() > 1) several_.erase(subscriber);
  }

  /// True when no event would match.
  [[nodiscard]] bool empty() const noexcept { return by_uuid_ + others_ == 0; }

  /// Whether it is worth while to `prefetch` a turn's events before looking them up.
  [[nodiscard]] bool large() const noexcept { return by_connector_uid_.size() + by_scroll_id_.size() > 512; }
  void prefetch(const BusEvent& event) const {
    const Routing& routing = event.routing();
    if (routing.connector_uid && !by_connector_uid_.empty()) by_connector_uid_.prefetch(*routing.connector_uid);
    if (routing.scroll_id && !by_scroll_id_.empty()) by_scroll_id_.prefetch(*routing.scroll_id);
  }

  /// Calls `fn(Subscriber&)` once for each whose filter matches, in no order. `fn` must not add or remove.
  template <class Fn>
  void for_each_match(const BusEvent& event, Fn&& fn) const {
    const Routing& routing = event.routing();
    // Ten thousand connectors make for just these two.
    if (by_uuid_ != 0) {
      if (routing.connector_uid) look_up(by_connector_uid_, *routing.connector_uid, event, fn);
      if (routing.scroll_id) look_up(by_scroll_id_, *routing.scroll_id, event, fn);
    }
    if (others_ != 0) for_each_other_match(event, fn);
  }

 private:
  using Bucket = MatchBucket<Subscriber>;

 public:
  /// For a turn's events, when nearly all of them are found by their connector alone. Subscribers may be removed
  /// meanwhile, but not added.
  class ByConnector {
   public:
    /// The only one whose filter matches, if that is to be seen at once; else null: ask `for_each_match`.
    [[nodiscard, gnu::always_inline]] Subscriber* only_match(const BusEvent& event) const noexcept {
      const Routing& routing = event.routing();
      if (!usable_ || !routing.connector_uid || (routing.scroll_id && by_scroll_id_)) return nullptr;
      const Bucket* const found = finder_.find(*routing.connector_uid);
      return found != nullptr ? found->plain_one() : nullptr;
    }

   private:
    friend MatchIndex;
    explicit ByConnector(const MatchIndex& index) noexcept
        : usable_(index.others_ == 0 && !index.by_connector_uid_.empty()),
          by_scroll_id_(!index.by_scroll_id_.empty()),
          finder_(index.by_connector_uid_.finder()) {}
    const bool usable_;
    const bool by_scroll_id_;
    const typename UuidTable<Bucket>::Finder finder_;
  };
  [[nodiscard]] ByConnector by_connector() const noexcept { return ByConnector(*this); }

 private:
  using StringMap = absl::flat_hash_map<std::string, Bucket, MatchTextHash, std::equal_to<>>;

  /// Keys and checks of a subscriber in several buckets; the filter keeps what the keys point to.
  struct Several {
    std::vector<FilterKey> keys;
    std::vector<MatchCheck> checks;
  };
  struct Add {
    typename Bucket::Entry entry;
  };
  struct Remove {
    Subscriber* subscriber;
  };

  template <class Map, class Key, class Fn>
  static void look_up(const Map& map, const Key& key, const BusEvent& event, Fn& fn) {
    if (map.empty()) return;
    if (const auto found = map.find(key); found != map.end()) found->second.for_each_match(event, fn);
  }
  template <class Fn>
  [[gnu::always_inline]] static void look_up(const UuidTable<Bucket>& table, const Uuid& key, const BusEvent& event,
                                             Fn& fn) {
    if (table.empty()) return;
    if (const Bucket* found = table.find(key)) found->for_each_match(event, fn);
  }

  /// Those that are not found by a UUID.
  template <class Fn>
  [[gnu::noinline]] void for_each_other_match(const BusEvent& event, Fn& fn) const {
    const Routing& routing = event.routing();
    unindexed_.for_each_match(event, fn);
    if (const auto kind = static_cast<std::size_t>(routing.kind); kind < by_kind_.size()) {
      by_kind_[kind].for_each_match(event, fn);
    }
    if (const auto origin = static_cast<std::size_t>(event.origin()); origin < by_origin_.size()) {
      by_origin_[origin].for_each_match(event, fn);
    }
    look_up(by_type_, &event.type(), event, fn);
    look_up(by_type_name_, event.type_name(), event, fn);
    if (event.source() != 0) look_up(by_source_, event.source(), event, fn);
    if (routing.connector_id) look_up(by_connector_id_, *routing.connector_id, event, fn);
    if (routing.native_session_id) {
      look_up(by_native_session_id_, *routing.native_session_id, event, fn);
      if (routing.connector_id) {
        look_up(by_session_, MatchTextPair(*routing.connector_id, *routing.native_session_id), event, fn);
      }
    }
    if (routing.address) {
      look_up(by_address_, *routing.address, event, fn);
      if (!by_address_pattern_.empty()) {
        by_address_pattern_.for_each_match(*routing.address,
                                           [&](const Bucket& bucket) { bucket.for_each_match(event, fn); });
      }
    }
  }

  static constexpr std::size_t kOrigins = static_cast<std::size_t>(EventOrigin::user) + 1;

  std::size_t& entries_of(const FilterKey& key) noexcept {
    const FilterOp op = key.term->op;
    return key.session == nullptr && (op == FilterOp::connector_uid || op == FilterOp::scroll_id) ? by_uuid_ : others_;
  }

  void add_several(Subscriber* subscriber, FilterCover cover) {
    auto several = std::make_unique<Several>();
    several->keys = std::move(cover.keys);
    for (std::size_t i = 0; i < several->keys.size(); ++i)
      several->checks.push_back({several->keys.data(), i, cover.exact});
    const Several& kept = *(several_[subscriber] = std::move(several));
    for (std::size_t i = 0; i < kept.keys.size(); ++i)
      at(kept.keys[i], Add{{subscriber, &kept.checks[i]}});
  }

  template <class Change>
  void at(const FilterKey& key, const Change& change) {
    const FilterNode& term = *key.term;
    if (key.session != nullptr) {
      const auto& session_id = key.session->template get<std::string>();
      return in(by_session_, std::pair(term.get<std::string>(), session_id), change);
    }
    switch (term.op) {
      case FilterOp::connector_uid:
        return in(by_connector_uid_, term.get<Uuid>(), change);
      case FilterOp::scroll_id:
        return in(by_scroll_id_, term.get<Uuid>(), change);
      case FilterOp::native_session_id:
        return in(by_native_session_id_, term.get<std::string>(), change);
      case FilterOp::source:
        return in(by_source_, term.get<std::uint64_t>(), change);
      case FilterOp::address:
        return in(by_address_, term.get<std::string>(), change);
      case FilterOp::address_pattern:
        return in(by_address_pattern_, term.get<std::string>(), change);
      case FilterOp::connector_id:
        return in(by_connector_id_, term.get<std::string>(), change);
      case FilterOp::type:
        return in(by_type_, term.get<const EventType*>(), change);
      case FilterOp::type_name:
        return in(by_type_name_, term.get<std::string>(), change);
      case FilterOp::kind:
        return in(by_kind_[static_cast<std::size_t>(term.get<EventKind>())], change);
      case FilterOp::origin:
        return in(by_origin_[static_cast<std::size_t>(term.get<EventOrigin>())], change);
      default:
        return;
    }
  }

  static void in(Bucket& bucket, const Add& add) { bucket.add(add.entry); }
  static void in(Bucket& bucket, const Remove& remove) { bucket.remove(remove.subscriber); }
  template <class Map, class Key>
  static void in(Map& map, const Key& key, const Add& add) {
    map[key].add(add.entry);
  }
  template <class Map, class Key>
  static void in(Map& map, const Key& key, const Remove& remove) {
    const auto found = map.find(key);
    if (found == map.end()) return;
    found->second.remove(remove.subscriber);
    if (found->second.empty()) map.erase(found);
  }
  static void in(UuidTable<Bucket>& table, const Uuid& key, const Add& add) {
    table.change(key, [&](Bucket& bucket) { bucket.add(add.entry); });
  }
  static void in(UuidTable<Bucket>& table, const Uuid& key, const Remove& remove) {
    table.change(key, [&](Bucket& bucket) { bucket.remove(remove.subscriber); });
  }
  static void in(AddressTrie<Bucket>& trie, const std::string& pattern, const Remove& remove) {
    trie.change(pattern, [&](Bucket& bucket) { bucket.remove(remove.subscriber); });
  }

  /// How many entries there are in the two maps of UUIDs, and elsewhere.
  std::size_t by_uuid_ = 0;
  std::size_t others_ = 0;
  /// Those whose filter no key covers, and All.
  Bucket unindexed_;
  std::array<Bucket, kEventKindCount> by_kind_;
  std::array<Bucket, kOrigins> by_origin_;
  absl::flat_hash_map<const EventType*, Bucket> by_type_;
  StringMap by_type_name_;
  absl::flat_hash_map<std::uint64_t, Bucket> by_source_;
  UuidTable<Bucket> by_connector_uid_;
  UuidTable<Bucket> by_scroll_id_;
  StringMap by_connector_id_;
  StringMap by_native_session_id_;
  absl::flat_hash_map<std::pair<std::string, std::string>, Bucket, MatchPairHash, MatchPairEqual> by_session_;
  StringMap by_address_;
  AddressTrie<Bucket> by_address_pattern_;
  absl::flat_hash_map<Subscriber*, std::unique_ptr<Several>> several_;
};

}  // namespace sharingbus::internal

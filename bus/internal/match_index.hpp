#pragma once

#include <absl/container/flat_hash_map.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <functional>
#include <vector>

#include "bus/event.hpp"
#include "bus/filter.hpp"

namespace sharingbus::internal {

/// Who matches an event: every subscriber stands in one bucket, that of its filter's most selective equality, so an
/// event costs what its own buckets hold and not the number of subscriptions. Dispatcher-confined.
template <class Subscriber>
class MatchIndex {
 public:
  void add(Subscriber* subscriber, const Filter& filter) { bucket(filter).push_back(subscriber); }

  void remove(Subscriber* subscriber, const Filter& filter) {
    auto& from = bucket(filter);
    from.erase(std::remove(from.begin(), from.end(), subscriber), from.end());
    if (from.empty()) forget(filter);
  }

  /// Calls `fn(Subscriber&)` for all that match.
  template <class Fn>
  void for_each_match(const BusEvent& event, Fn&& fn) const {
    const Routing& routing = event.routing();
    visit(match_all_, event, fn);
    if (routing.connector_uid) visit_key(by_connector_uid_, *routing.connector_uid, event, fn);
    if (routing.scroll_id) visit_key(by_scroll_id_, *routing.scroll_id, event, fn);
    if (event.source() != 0) visit_key(by_source_, event.source(), event, fn);
    visit_key(by_type_, &event.type(), event, fn);
    visit(by_kind_[static_cast<std::size_t>(routing.kind)], event, fn);
  }

 private:
  using Bucket = std::vector<Subscriber*>;
  using Field = Filter::Term::Field;

  Bucket& bucket(const Filter& filter) {
    if (filter.terms().empty()) return match_all_;
    const Filter::Term& key = filter.terms().front();
    switch (key.field) {
      case Field::connector_uid: return by_connector_uid_[std::get<Uuid>(key.value)];
      case Field::scroll_id: return by_scroll_id_[std::get<Uuid>(key.value)];
      case Field::source: return by_source_[std::get<std::uint64_t>(key.value)];
      case Field::type: return by_type_[std::get<const EventType*>(key.value)];
      case Field::kind: return by_kind_[static_cast<std::size_t>(std::get<EventKind>(key.value))];
      case Field::origin: break;
    }
    return match_all_;
  }

  void forget(const Filter& filter) {
    if (filter.terms().empty()) return;
    const Filter::Term& key = filter.terms().front();
    switch (key.field) {
      case Field::connector_uid: by_connector_uid_.erase(std::get<Uuid>(key.value)); break;
      case Field::scroll_id: by_scroll_id_.erase(std::get<Uuid>(key.value)); break;
      case Field::source: by_source_.erase(std::get<std::uint64_t>(key.value)); break;
      case Field::type: by_type_.erase(std::get<const EventType*>(key.value)); break;
      default: break;
    }
  }

  template <class Fn>
  static void visit(const Bucket& bucket, const BusEvent& event, Fn&& fn) {
    for (Subscriber* subscriber : bucket) {
      if (subscriber->filter().matches(event)) fn(*subscriber);
    }
  }
  template <class Map, class Key, class Fn>
  static void visit_key(const Map& map, const Key& key, const BusEvent& event, Fn&& fn) {
    if (map.empty()) return;
    if (const auto found = map.find(key); found != map.end()) visit(found->second, event, fn);
  }

  Bucket match_all_;
  absl::flat_hash_map<Uuid, Bucket, std::hash<Uuid>> by_connector_uid_;
  absl::flat_hash_map<Uuid, Bucket, std::hash<Uuid>> by_scroll_id_;
  absl::flat_hash_map<std::uint64_t, Bucket> by_source_;
  absl::flat_hash_map<const EventType*, Bucket> by_type_;
  std::array<Bucket, kEventKindCount> by_kind_;
};

}  // namespace sharingbus::internal

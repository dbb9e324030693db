#pragma once

#include <cstddef>
#include <vector>

#include "bus/internal/filter_node.hpp"

namespace sharingbus::internal {

/// An equality that the index has buckets for: one term, or the pair of a `connector_id` and a `native_session_id`.
struct FilterKey {
  const FilterNode* term = nullptr;
  /// The `native_session_id` of a pair, whose `term` is the `connector_id`.
  const FilterNode* session = nullptr;

  [[nodiscard]] bool matches(const BusEvent& event) const noexcept {
    return term->matches(event) && (session == nullptr || session->matches(event));
  }
};

/// Where a filter stands in the index: an event that matches the filter matches at least one of the keys.
struct FilterCover {
  static constexpr std::size_t kKeysMax = 64;

  /// False: no such keys were found, or too many; every event must be looked at.
  bool indexed = true;
  /// Whoever was found by this cover matches, without a look at the filter.
  bool exact = true;
  /// Different from each other. They point into the filter. None in an indexed cover: nothing ever matches.
  std::vector<FilterKey> keys;
};

/// The most selective cover that the filter's shape gives: the best member of an `&&`, all members of an `||`.
/// O(terms).
[[nodiscard]] FilterCover cover_of(const Filter& filter);

}  // namespace sharingbus::internal

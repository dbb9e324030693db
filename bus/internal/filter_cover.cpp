#include "bus/internal/filter_cover.hpp"

#include <algorithm>
#include <utility>

namespace sharingbus::internal {
namespace {

/// How many events a key lets through, roughly: the order of the buckets in the spec of the index, 0 the fewest.
int rank(const FilterKey& key) noexcept {
  if (key.session != nullptr) return 2;
  switch (key.term->op) {
    case FilterOp::connector_uid:
      return 0;
    case FilterOp::scroll_id:
      return 1;
    case FilterOp::native_session_id:
      return 3;
    case FilterOp::source:
      return 4;
    case FilterOp::address:
      return 5;
    case FilterOp::address_pattern:
      return 6;
    case FilterOp::connector_id:
      return 7;
    case FilterOp::type:
    case FilterOp::type_name:
      return 8;
    case FilterOp::kind:
      return 9;
    default:
      return 10;
  }
}

int worst_rank(const FilterCover& cover) noexcept {
  int worst = -1;
  for (const FilterKey& key : cover.keys)
    worst = std::max(worst, rank(key));
  return worst;
}

bool better(const FilterCover& left, const FilterCover& right) noexcept {
  if (left.indexed != right.indexed) return left.indexed;
  if (!left.indexed) return false;
  return std::pair(worst_rank(left), left.keys.size()) < std::pair(worst_rank(right), right.keys.size());
}

bool same_term(const FilterNode* left, const FilterNode* right) noexcept {
  if (left == right) return true;
  return left != nullptr && right != nullptr && left->op == right->op && left->value == right->value;
}

void add_key(FilterCover& cover, const FilterKey& key) {
  const bool known = std::any_of(cover.keys.begin(), cover.keys.end(), [&](const FilterKey& other) {
    return same_term(key.term, other.term) && same_term(key.session, other.session);
  });
  if (!known) cover.keys.push_back(key);
}

/// A node with a number of `not` before it, made even or odd.
struct Signed {
  Signed(const FilterNode* n, bool negative) : node(n), negated(negative) {
    while (node->op == FilterOp::negation) {
      node = node->children().front().get();
      negated = !negated;
    }
  }
  [[nodiscard]] bool is(FilterOp op) const noexcept { return node->op == op && !negated; }
  /// De Morgan: `not (a or b)` wants all of `not a`, `not b`.
  [[nodiscard]] bool wants_all() const noexcept { return (node->op == FilterOp::conjunction) != negated; }

  const FilterNode* node;
  bool negated;
};

FilterCover cover_of(const Signed& at);

FilterCover cover_of_any(const Signed& at) {
  FilterCover all;
  for (const auto& child : at.node->children()) {
    const FilterCover part = cover_of(Signed(child.get(), at.negated));
    all.indexed = all.indexed && part.indexed;
    all.exact = all.exact && part.exact;
    for (const FilterKey& key : part.keys)
      add_key(all, key);
    if (!all.indexed || all.keys.size() > FilterCover::kKeysMax) return {false, false, {}};
  }
  return all;
}

FilterCover cover_of_all(const Signed& at) {
  FilterCover best{false, false, {}};
  FilterKey pair;
  for (const auto& child : at.node->children()) {
    const Signed member(child.get(), at.negated);
    if (member.is(FilterOp::connector_id)) pair.term = member.node;
    if (member.is(FilterOp::native_session_id)) pair.session = member.node;
    FilterCover cover = cover_of(member);
    if (better(cover, best)) best = std::move(cover);
  }
  best.exact = false;
  if (pair.term != nullptr && pair.session != nullptr) {
    FilterCover cover{true, at.node->children().size() == 2, {pair}};
    if (better(cover, best)) best = std::move(cover);
  }
  return best;
}

FilterCover cover_of(const Signed& at) {
  if (at.node->joins()) return at.wants_all() ? cover_of_all(at) : cover_of_any(at);
  if (at.negated || at.node->op == FilterOp::predicate) return {false, false, {}};
  return {true, true, {FilterKey{at.node}}};
}

}  // namespace

FilterCover cover_of(const Filter& filter) {
  const FilterNode* const root = FilterAccess::root(filter);
  if (root == nullptr) return {false, true, {}};
  if (root->op == FilterOp::nothing) return {};
  return cover_of(Signed(root, false));
}

}  // namespace sharingbus::internal

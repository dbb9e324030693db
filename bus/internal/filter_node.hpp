#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <variant>
#include <vector>

#include "bus/filter.hpp"

namespace sharingbus::internal {

/// What a node tests or how it joins; says which alternative its value holds.
enum class FilterOp : std::uint8_t {
  connector_uid,      // Uuid
  scroll_id,          // Uuid
  native_session_id,  // string
  source,             // uint64
  address,            // string
  address_pattern,    // string, with wildcards
  connector_id,       // string
  type,               // EventType
  type_name,          // string
  kind,               // EventKind
  origin,             // EventOrigin
  predicate,          // FilterPredicate
  nothing,            // `not *`; no value
  negation,           // one child
  conjunction,        // two or more children, none of them a conjunction or `nothing`
  disjunction,        // two or more children, none of them a disjunction or `nothing`
};

struct FilterPredicate {
  Filter::Predicate test;
  std::string name;
  mutable std::atomic<std::uint64_t> failures{0};
};

struct FilterNode;
using FilterNodePtr = std::shared_ptr<const FilterNode>;

/// A node of a filter's tree. Filters share subtrees, so this is a directed graph; its terms are counted along every
/// path, which bounds any walk. A null pointer is All and stands only at the root.
struct FilterNode {
  using Children = std::vector<FilterNodePtr>;
  using Value = std::variant<std::monostate, Uuid, std::uint64_t, const EventType*, EventKind, EventOrigin, std::string,
                             std::unique_ptr<const FilterPredicate>, Children>;

  FilterOp op;
  std::uint8_t depth = 1;
  std::uint16_t terms = 1;
  std::uint32_t text_bytes = 0;
  Value value;

  template <class T>
  [[nodiscard]] const T& get() const noexcept {
    return *std::get_if<T>(&value);
  }
  [[nodiscard]] const Children& children() const noexcept { return get<Children>(); }
  [[nodiscard]] bool joins() const noexcept { return op == FilterOp::conjunction || op == FilterOp::disjunction; }
  [[nodiscard]] bool matches(const BusEvent& event) const noexcept;
};
static_assert(Filter::kDepthMax <= UINT8_MAX && Filter::kTermsMax <= UINT16_MAX);

/// The way from a filter to its tree and back, for the parser and the index.
struct FilterAccess {
  static const FilterNode* root(const Filter& filter) noexcept { return filter.root_.get(); }
  static const FilterNodePtr& shared_root(const Filter& filter) noexcept { return filter.root_; }
  static Filter make(FilterNodePtr root) noexcept { return Filter(std::move(root)); }
};

/// A filter of one term. Fails when its text is too long.
[[nodiscard]] Result<Filter> make_term(FilterOp op, FilterNode::Value value);
/// `&&` or `||` of the parts, at least one. Fails beyond the bounds of `Filter`.
[[nodiscard]] Result<Filter> join(FilterOp op, std::span<const Filter> parts);
[[nodiscard]] Result<Filter> negate(const Filter& filter);

/// `node` as text, appended; null is All.
void append_text(std::string& out, const FilterNode* node);
/// A value as text: bare, or in quotes with escapes where it must be.
void append_value(std::string& out, std::string_view value);
/// `append_value` always in quotes.
void append_quoted(std::string& out, std::string_view value);
/// How much `append_text` puts around the node when it is a child of `parent`: parentheses or nothing.
[[nodiscard]] bool needs_parentheses(FilterOp parent, const FilterNode& child) noexcept;

}  // namespace sharingbus::internal

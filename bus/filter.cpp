#include "bus/filter.hpp"

#include <algorithm>
#include <array>
#include <stdexcept>

#include "bus/internal/address_pattern.hpp"
#include "bus/internal/filter_node.hpp"

namespace sharingbus {

namespace internal {
namespace {

constexpr std::string_view kAnd = " and ";
constexpr std::string_view kOr = " or ";
constexpr std::string_view kNot = "not ";

Error refused(std::string why) {
  return Error(errc::invalid_argument, std::move(why));
}

/// Sets the counts of a node whose value is complete. False when its text is too long.
bool count_text(FilterNode& node) {
  std::size_t bytes = 0;
  if (node.joins()) {
    for (const auto& child : node.children())
      bytes += child->text_bytes + (needs_parentheses(node.op, *child) ? 2 : 0);
    bytes += (node.children().size() - 1) * (node.op == FilterOp::conjunction ? kAnd : kOr).size();
  } else if (node.op == FilterOp::negation) {
    const FilterNode& child = *node.children().front();
    bytes = kNot.size() + child.text_bytes + (needs_parentheses(node.op, child) ? 2 : 0);
  } else {
    std::string text;
    append_text(text, &node);
    bytes = text.size();
  }
  if (bytes > Filter::kTextBytesMax) return false;
  node.text_bytes = static_cast<std::uint32_t>(bytes);
  return true;
}

/// Depth, terms and text of a node over children.
Result<Filter> finish(FilterOp op, FilterNode::Children children) {
  std::size_t depth = 0;
  std::size_t terms = 0;
  for (const auto& child : children) {
    depth = std::max<std::size_t>(depth, child->depth);
    terms += child->terms;
  }
  if (terms > Filter::kTermsMax) return refused("more than " + std::to_string(Filter::kTermsMax) + " terms");
  if (++depth > Filter::kDepthMax) return refused("nested deeper than " + std::to_string(Filter::kDepthMax));
  auto node = std::make_shared<FilterNode>(FilterNode{.op = op, .value = std::move(children)});
  node->depth = static_cast<std::uint8_t>(depth);
  node->terms = static_cast<std::uint16_t>(terms);
  if (!count_text(*node)) return refused("longer than " + std::to_string(Filter::kTextBytesMax) + " bytes as text");
  return FilterAccess::make(std::move(node));
}

bool holds(const FilterPredicate& predicate, const BusEvent& event) noexcept {
  try {
    return predicate.test(event);
  } catch (...) {
    predicate.failures.fetch_add(1, std::memory_order_relaxed);
    return false;
  }
}

std::uint64_t failures_of(const FilterNode& node) noexcept {
  if (node.op == FilterOp::predicate) {
    return node.get<std::unique_ptr<const FilterPredicate>>()->failures.load(std::memory_order_relaxed);
  }
  std::uint64_t sum = 0;
  if (const auto* const children = std::get_if<FilterNode::Children>(&node.value)) {
    for (const auto& child : *children)
      sum += failures_of(*child);
  }
  return sum;
}

}  // namespace

Result<Filter> make_term(FilterOp op, FilterNode::Value value) {
  auto node = std::make_shared<FilterNode>(FilterNode{.op = op, .value = std::move(value)});
  if (!count_text(*node)) return refused("longer than " + std::to_string(Filter::kTextBytesMax) + " bytes as text");
  return FilterAccess::make(std::move(node));
}

Result<Filter> join(FilterOp op, std::span<const Filter> parts) {
  const bool is_and = op == FilterOp::conjunction;
  FilterNode::Children children;
  children.reserve(parts.size());
  for (const Filter& part : parts) {
    const FilterNodePtr& root = FilterAccess::shared_root(part);
    const bool is_nothing = root != nullptr && root->op == FilterOp::nothing;
    // One side of `*` and `not *` changes nothing, the other settles it; so neither stands within a tree.
    if (part.is_all() || is_nothing) {
      if (part.is_all() != is_and) return part;
    } else if (root->op == op) {
      children.insert(children.end(), root->children().begin(), root->children().end());
    } else {
      children.push_back(root);
    }
  }
  if (children.empty()) return parts.front();
  if (children.size() == 1) return FilterAccess::make(std::move(children.front()));
  return finish(op, std::move(children));
}

Result<Filter> negate(const Filter& filter) {
  const FilterNodePtr& root = FilterAccess::shared_root(filter);
  if (root == nullptr) return make_term(FilterOp::nothing, {});
  if (root->op == FilterOp::nothing) return Filter::all();
  if (root->op == FilterOp::negation) return FilterAccess::make(root->children().front());
  return finish(FilterOp::negation, {root});
}

bool needs_parentheses(FilterOp parent, const FilterNode& child) noexcept {
  return child.joins() && !(parent == FilterOp::disjunction && child.op == FilterOp::conjunction);
}

bool FilterNode::matches(const BusEvent& event) const noexcept {
  const Routing& routing = event.routing();
  const auto matches_it = [&event](const FilterNodePtr& child) { return child->matches(event); };
  switch (op) {
    case FilterOp::connector_uid:
      return routing.connector_uid == get<Uuid>();
    case FilterOp::scroll_id:
      return routing.scroll_id == get<Uuid>();
    case FilterOp::native_session_id:
      return routing.native_session_id == get<std::string>();
    case FilterOp::source:
      return event.source() != 0 && event.source() == get<std::uint64_t>();
    case FilterOp::address:
      return routing.address == get<std::string>();
    case FilterOp::address_pattern:
      return routing.address && address_matches(get<std::string>(), *routing.address);
    case FilterOp::connector_id:
      return routing.connector_id == get<std::string>();
    case FilterOp::type:
      return &event.type() == get<const EventType*>();
    case FilterOp::type_name:
      return event.type_name() == get<std::string>();
    case FilterOp::kind:
      return routing.kind == get<EventKind>();
    case FilterOp::origin:
      return event.origin() == get<EventOrigin>();
    case FilterOp::predicate:
      return holds(*get<std::unique_ptr<const FilterPredicate>>(), event);
    case FilterOp::nothing:
      return false;
    case FilterOp::negation:
      return !children().front()->matches(event);
    case FilterOp::conjunction:
      return std::all_of(children().begin(), children().end(), matches_it);
    case FilterOp::disjunction:
      return std::any_of(children().begin(), children().end(), matches_it);
  }
  return false;
}

}  // namespace internal

namespace {

using internal::FilterOp;

[[noreturn]] void refuse(const std::string& why) {
  throw std::invalid_argument("filter: " + why);
}

Filter value_or_throw(Result<Filter> made) {
  if (!made.has_value()) refuse(made.error().message);
  return *std::move(made);
}

Filter term(FilterOp op, internal::FilterNode::Value value) {
  return value_or_throw(internal::make_term(op, std::move(value)));
}

}  // namespace

Filter Filter::connector_uid(const Uuid& uid) {
  return term(FilterOp::connector_uid, uid);
}
Filter Filter::scroll_id(const Uuid& id) {
  return term(FilterOp::scroll_id, id);
}
Filter Filter::connector_id(std::string id) {
  return term(FilterOp::connector_id, std::move(id));
}
Filter Filter::native_session_id(std::string id) {
  return term(FilterOp::native_session_id, std::move(id));
}
Filter Filter::native_session(std::string connector_id, std::string session_id) {
  return Filter::connector_id(std::move(connector_id)) && native_session_id(std::move(session_id));
}
Filter Filter::address(std::string pattern) {
  if (const std::string error = internal::address_pattern_error(pattern); !error.empty()) refuse(error);
  const bool wildcard = internal::has_address_wildcard(pattern);
  return term(wildcard ? FilterOp::address_pattern : FilterOp::address, std::move(pattern));
}
Filter Filter::kind(EventKind kind) {
  if (!parse_event_kind(to_string(kind))) refuse("not an EventKind");
  return term(FilterOp::kind, kind);
}
Filter Filter::origin(EventOrigin origin) {
  if (!parse_event_origin(to_string(origin))) refuse("not an EventOrigin");
  return term(FilterOp::origin, origin);
}
Filter Filter::source(std::uint64_t source) {
  return term(FilterOp::source, source);
}
Filter Filter::of_type(const EventType& type) {
  return term(FilterOp::type, &type);
}
Filter Filter::where(Predicate predicate, std::string name) {
  if (predicate == nullptr) refuse("the predicate is empty");
  auto value = std::make_unique<internal::FilterPredicate>();
  value->test = std::move(predicate);
  value->name = std::move(name);
  return term(FilterOp::predicate, std::unique_ptr<const internal::FilterPredicate>(std::move(value)));
}

Filter operator&&(const Filter& left, const Filter& right) {
  return value_or_throw(internal::join(FilterOp::conjunction, std::array{left, right}));
}
Filter operator||(const Filter& left, const Filter& right) {
  return value_or_throw(internal::join(FilterOp::disjunction, std::array{left, right}));
}
Filter operator!(const Filter& filter) {
  return value_or_throw(internal::negate(filter));
}

bool Filter::test(const BusEvent& event) const noexcept {
  return root_->matches(event);
}

std::uint64_t Filter::predicate_failures() const noexcept {
  return root_ == nullptr ? 0 : internal::failures_of(*root_);
}

std::string Filter::text() const {
  std::string text;
  text.reserve(root_ == nullptr ? 1 : root_->text_bytes);
  internal::append_text(text, root_.get());
  return text;
}

}  // namespace sharingbus

#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "bus/base/result.hpp"
#include "bus/event.hpp"

namespace sharingbus {

namespace internal {
struct FilterAccess;
struct FilterNode;
}  // namespace internal

/// Which events a subscription wants: terms that test one field each, joined by `&&`, `||` and `!`.
///
/// A term on a field that the event does not have is false. `!` is plain negation, so `!Filter::connector_id("a")`
/// matches an event without a `connector_id`.
///
/// An immutable value of two pointers; copies share their terms. A filter of one term is one allocation (two when it
/// holds a long string), `all()` is none. A moved-from filter is `all()`. Any thread may use the same filter at once; a
/// user's predicate must bear that too.
///
/// Bounds, so that nothing overflows the stack or the log: `kTermsMax` terms, `kDepthMax` levels, `kTextBytesMax` bytes
/// of text. Whatever makes a filter beyond them throws `std::invalid_argument`, and `parse` returns an error. (Spec 1,
/// Subscribing and Decisions.)
class Filter {
 public:
  using Predicate = std::function<bool(const BusEvent&)>;

  static constexpr std::size_t kTermsMax = 1024;
  /// Levels of `&&`, `||` and `!` within each other; `a && b && c` is one level.
  static constexpr std::size_t kDepthMax = 64;
  /// Of `text()`, and of what `parse` reads.
  static constexpr std::size_t kTextBytesMax = std::size_t{64} * 1024;
  static constexpr std::size_t kAddressTokensMax = 32;

  /// Every event.
  [[nodiscard]] static Filter all() noexcept { return Filter(); }
  [[nodiscard]] static Filter connector_uid(const Uuid& uid);
  [[nodiscard]] static Filter scroll_id(const Uuid& id);
  [[nodiscard]] static Filter connector_id(std::string id);
  [[nodiscard]] static Filter native_session_id(std::string id);
  /// The session `session_id` of connector `connector_id`: `&&` of the two.
  [[nodiscard]] static Filter native_session(std::string connector_id, std::string session_id);
  /// Events whose address matches `pattern`, tokens separated by dots: `*` stands for any one token, `>` at the end for
  /// one or more, anything else for itself. Without wildcards it is equality. Throws `std::invalid_argument` for a
  /// pattern with an empty token, a `>` before the end, a wildcard that is only part of a token, or too many tokens.
  [[nodiscard]] static Filter address(std::string pattern);
  [[nodiscard]] static Filter kind(EventKind kind);
  [[nodiscard]] static Filter origin(EventOrigin origin);
  /// Events of one adapter or component instance, see `SharingBus::new_source`. Source 0 is nobody: no event matches.
  [[nodiscard]] static Filter source(std::uint64_t source);
  /// Events whose payload is a `T`. (Read back from text it is any payload type of that registered name.)
  template <class T>
  [[nodiscard]] static Filter type() {
    return of_type(kEventType<T>);
  }
  /// Events for which `predicate` returns true. It runs on the dispatching thread: it must not block, and should depend
  /// on nothing but the event. One that throws counts as false (so its negation holds) and in `predicate_failures`.
  /// Terms are tested from left to right and only as far as needed, so put it last; on a bus an equality beside it in
  /// an `&&` keeps it from being asked about other events at all. `name` is for `text()`. Throws
  /// `std::invalid_argument` when `predicate` is empty.
  [[nodiscard]] static Filter where(Predicate predicate, std::string name = {});

  /// Events that match both; either; not. O(terms). Throw `std::invalid_argument` beyond the bounds above.
  friend Filter operator&&(const Filter& left, const Filter& right);
  friend Filter operator||(const Filter& left, const Filter& right);
  friend Filter operator!(const Filter& filter);

  /// O(terms), at most; allocates nothing.
  [[nodiscard]] bool matches(const BusEvent& event) const noexcept { return root_ == nullptr || test(event); }
  /// True when it is `all()`: it matches every event without looking. False for others, even if they always match.
  [[nodiscard]] bool is_all() const noexcept { return root_ == nullptr; }
  /// How many exceptions the predicates in this filter have thrown, copies and other filters that share them included.
  /// A predicate that stands in it twice counts twice. O(terms).
  [[nodiscard]] std::uint64_t predicate_failures() const noexcept;

  /// The filter as text, one line, e.g. `kind=request and not (origin=gateway or address=acme.*.>)`. `parse` makes an
  /// equivalent filter with the same text of it, unless it has a predicate, which shows as `predicate("name")`.
  [[nodiscard]] std::string text() const;

  /// Reads a filter from text:
  ///
  ///     filter = and-list { "or" and-list }        and-list = unary { "and" unary }
  ///     unary  = "not" unary | "(" filter ")" | "*" | field ( "=" | "!=" ) value
  ///     field  = scroll_id | connector_uid | connector_id | native_session_id | address | kind | type | origin |
  ///     source value  = one or more of A-Z a-z 0-9 - _ . * >, or any bytes in double quotes
  ///
  /// `*` is All and `a != b` is `not a = b`. Words are case sensitive. Within quotes `\"` and `\\` stand for a quote
  /// and a backslash, `\xNN` for the byte with those two hexadecimal digits. UUIDs come in any form of `parse_uuid`,
  /// kinds and origins by their enumerators' names, sources in decimal, types by registered name, addresses as
  /// patterns. At most `kDepthMax` parentheses and `not` within each other.
  ///
  /// Errors: `errc::invalid_argument` with one line that names the column (in bytes, from 1) and what is wrong there:
  /// `filter: column 6: unknown kind "reqest"; kinds are system, …`. O(bytes). Any thread.
  [[nodiscard]] static Result<Filter> parse(std::string_view text);

 private:
  friend struct internal::FilterAccess;

  Filter() noexcept = default;
  explicit Filter(std::shared_ptr<const internal::FilterNode> root) noexcept : root_(std::move(root)) {}
  [[nodiscard]] static Filter of_type(const EventType& type);
  [[nodiscard]] bool test(const BusEvent& event) const noexcept;

  std::shared_ptr<const internal::FilterNode> root_;  // null: All
};

}  // namespace sharingbus

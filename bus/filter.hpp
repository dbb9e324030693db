#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "bus/event.hpp"

namespace sharingbus {

/// Which events a subscription wants. An immutable value, cheap to copy. An event that lacks a field never matches a
/// filter on that field. Filters are pure: the dispatcher evaluates them without locks or allocation.
class Filter {
 public:
  /// Every event.
  [[nodiscard]] static Filter all();
  [[nodiscard]] static Filter connector_uid(Uuid uid);
  [[nodiscard]] static Filter scroll_id(Uuid id);
  [[nodiscard]] static Filter kind(EventKind kind);
  [[nodiscard]] static Filter origin(EventOrigin origin);
  /// Events of one adapter or component instance, see `SharingBus::new_source`.
  [[nodiscard]] static Filter source(std::uint64_t source);
  /// Events whose payload is a `T`.
  template <class T>
  [[nodiscard]] static Filter type() {
    return of_type(kEventType<T>);
  }

  /// Events that match both.
  friend Filter operator&&(const Filter& left, const Filter& right);

  /// O(terms).
  [[nodiscard]] bool matches(const BusEvent& event) const noexcept;
  /// The filter's text, e.g. `origin=transport and connector_uid=…`; `*` is All.
  [[nodiscard]] std::string text() const;

  /// One equality test. The dispatcher indexes a subscription by the most selective of its terms.
  struct Term {
    enum class Field : std::uint8_t { connector_uid, scroll_id, source, type, kind, origin };
    Field field;
    std::variant<Uuid, std::uint64_t, const EventType*, EventKind, EventOrigin> value;

    [[nodiscard]] bool matches(const BusEvent& event) const noexcept;
    [[nodiscard]] std::string text() const;
  };
  /// All of these must hold; none means All.
  [[nodiscard]] const std::vector<Term>& terms() const noexcept { return *terms_; }

 private:
  explicit Filter(std::vector<Term> terms) : terms_(std::make_shared<const std::vector<Term>>(std::move(terms))) {}
  [[nodiscard]] static Filter of_type(const EventType& type);

  std::shared_ptr<const std::vector<Term>> terms_;
};

}  // namespace sharingbus

#include "bus/filter.hpp"

#include <algorithm>

namespace sharingbus {

Filter Filter::all() {
  return Filter(std::vector<Term>{});
}
Filter Filter::connector_uid(Uuid uid) {
  return Filter({{Term::Field::connector_uid, uid}});
}
Filter Filter::scroll_id(Uuid id) {
  return Filter({{Term::Field::scroll_id, id}});
}
Filter Filter::kind(EventKind kind) {
  return Filter({{Term::Field::kind, kind}});
}
Filter Filter::origin(EventOrigin origin) {
  return Filter({{Term::Field::origin, origin}});
}
Filter Filter::source(std::uint64_t source) {
  return Filter({{Term::Field::source, source}});
}
Filter Filter::of_type(const EventType& type) {
  return Filter({{Term::Field::type, &type}});
}

Filter operator&&(const Filter& left, const Filter& right) {
  std::vector<Filter::Term> terms = left.terms();
  terms.insert(terms.end(), right.terms().begin(), right.terms().end());
  // Most selective first: it becomes the index key.
  std::stable_sort(terms.begin(), terms.end(), [](const auto& a, const auto& b) { return a.field < b.field; });
  return Filter(std::move(terms));
}

bool Filter::matches(const BusEvent& event) const noexcept {
  return std::all_of(terms_->begin(), terms_->end(), [&](const Term& term) { return term.matches(event); });
}

std::string Filter::text() const {
  if (terms_->empty()) return "*";
  std::string text;
  for (const Term& term : *terms_) {
    if (!text.empty()) text += " and ";
    text += term.text();
  }
  return text;
}

bool Filter::Term::matches(const BusEvent& event) const noexcept {
  const Routing& routing = event.routing();
  switch (field) {
    case Field::connector_uid: return routing.connector_uid == *std::get_if<Uuid>(&value);
    case Field::scroll_id: return routing.scroll_id == *std::get_if<Uuid>(&value);
    case Field::source: return event.source() != 0 && event.source() == *std::get_if<std::uint64_t>(&value);
    case Field::type: return &event.type() == *std::get_if<const EventType*>(&value);
    case Field::kind: return routing.kind == *std::get_if<EventKind>(&value);
    case Field::origin: return event.origin() == *std::get_if<EventOrigin>(&value);
  }
  return false;
}

std::string Filter::Term::text() const {
  switch (field) {
    case Field::connector_uid: return "connector_uid=" + to_string(std::get<Uuid>(value));
    case Field::scroll_id: return "scroll_id=" + to_string(std::get<Uuid>(value));
    case Field::source: return "source=" + std::to_string(std::get<std::uint64_t>(value));
    case Field::type: return "type=" + std::string(std::get<const EventType*>(value)->name);
    case Field::kind: return "kind=" + std::string(to_string(std::get<EventKind>(value)));
    case Field::origin: return "origin=" + std::string(to_string(std::get<EventOrigin>(value)));
  }
  return {};
}

}  // namespace sharingbus

#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <optional>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "bus/filter.hpp"

namespace sharingbus::test {

struct Apple {
  static constexpr std::string_view event_name = "test_apple";
};
struct Pear {
  static constexpr std::string_view event_name = "test_pear";
};

/// A filter, and what it should match, said in another way.
struct FilterSample {
  Filter filter;
  std::function<bool(const BusEvent&)> model;
};

inline std::vector<std::string> split_at_dots(const std::string& text) {
  std::vector<std::string> tokens(1);
  for (const char c : text) {
    if (c == '.') {
      tokens.emplace_back();
    } else {
      tokens.back() += c;
    }
  }
  return tokens;
}

/// The oracle of address patterns.
inline bool model_address_matches(const std::string& pattern, const std::string& address) {
  const auto wanted = split_at_dots(pattern);
  const auto tokens = split_at_dots(address);
  const bool open_ended = wanted.back() == ">";
  if (open_ended ? tokens.size() < wanted.size() : tokens.size() != wanted.size()) return false;
  for (std::size_t i = 0; i < wanted.size() - (open_ended ? 1 : 0); ++i) {
    if (wanted[i] != "*" && wanted[i] != tokens[i]) return false;
  }
  return true;
}

/// Random filters and events over so few values that they meet.
class FilterSampler {
 public:
  explicit FilterSampler(std::uint32_t seed) : random_(seed) {}

  std::size_t below(std::size_t bound) { return random_() % bound; }

  /// `levels` of operators at most. Predicates only where `predicates`.
  FilterSample filter(int levels, bool predicates) {
    const std::size_t choice = levels == 0 ? 0 : below(8);
    if (choice < 3) return leaf(predicates);
    if (choice == 3) {
      auto inner = filter(levels - 1, predicates);
      return {!inner.filter, [model = inner.model](const BusEvent& event) { return !model(event); }};
    }
    auto left = filter(levels - 1, predicates);
    auto right = filter(levels - 1, predicates);
    if (choice < 6) {
      return {left.filter && right.filter,
              [l = left.model, r = right.model](const BusEvent& event) { return l(event) && r(event); }};
    }
    return {left.filter || right.filter,
            [l = left.model, r = right.model](const BusEvent& event) { return l(event) || r(event); }};
  }

  EventDraft event() {
    Routing routing;
    if (maybe()) routing.scroll_id = uuid();
    if (maybe()) routing.connector_uid = uuid();
    if (maybe()) routing.connector_id = id();
    if (maybe()) routing.native_session_id = id();
    if (maybe()) routing.address = address(false);
    routing.kind = static_cast<EventKind>(below(kEventKindCount));
    const auto origin = static_cast<EventOrigin>(below(kOrigins));
    const std::uint64_t source = below(3);
    if (maybe()) return make_event(Apple{}, std::move(routing), origin, source);
    return make_event(Pear{}, std::move(routing), origin, source);
  }

 private:
  static constexpr std::size_t kOrigins = static_cast<std::size_t>(EventOrigin::user) + 1;

  bool maybe() { return below(3) != 0; }
  Uuid uuid() {
    Uuid uuid;
    uuid.bytes[below(2) * 15] = static_cast<std::uint8_t>(below(2));
    return uuid;
  }
  std::string id() { return std::array{"", "a", "and", "a b", "q\"\\\n", "\xc3\xa9", "*"}[below(7)]; }
  std::string address(bool pattern) {
    std::string text;
    for (std::size_t i = 0, tokens = 1 + below(3); i < tokens; ++i) {
      if (i != 0) text += '.';
      const std::size_t choice = below(pattern ? 5 : 2);
      if (choice == 4) return text + '>';
      text += choice < 2 ? "ab"[choice] : '*';
    }
    return text;
  }

  FilterSample leaf(bool predicates) {
    switch (below(predicates ? 14 : 13)) {
      case 0:
        return {Filter::all(), [](const BusEvent&) { return true; }};
      case 1: {
        const Uuid wanted = uuid();
        return {Filter::connector_uid(wanted), [wanted](const BusEvent& event) {
                  return event.routing().connector_uid.has_value() && *event.routing().connector_uid == wanted;
                }};
      }
      case 2: {
        const Uuid wanted = uuid();
        return {Filter::scroll_id(wanted), [wanted](const BusEvent& event) {
                  return event.routing().scroll_id.has_value() && *event.routing().scroll_id == wanted;
                }};
      }
      case 3: {
        const auto wanted = static_cast<EventKind>(below(kEventKindCount));
        return {Filter::kind(wanted), [wanted](const BusEvent& event) { return event.kind() == wanted; }};
      }
      case 4: {
        const auto wanted = static_cast<EventOrigin>(below(kOrigins));
        return {Filter::origin(wanted), [wanted](const BusEvent& event) { return event.origin() == wanted; }};
      }
      case 5: {
        const std::uint64_t wanted = below(3);
        return {Filter::source(wanted),
                [wanted](const BusEvent& event) { return wanted != 0 && event.source() == wanted; }};
      }
      case 6:
        return {Filter::type<Apple>(), [](const BusEvent& event) { return event.is<Apple>(); }};
      case 7:
        return {*Filter::parse("type=test_pear"), [](const BusEvent& event) { return event.is<Pear>(); }};
      case 8:
        return predicates && maybe() ? predicate() : connector_id();
      case 9:
        return connector_id();
      case 10:
        return native_session_id();
      case 11: {
        auto connector = connector_id();
        auto session = native_session_id();
        return {connector.filter && session.filter,
                [c = connector.model, s = session.model](const BusEvent& event) { return c(event) && s(event); }};
      }
      case 12: {
        const std::string pattern = address(true);
        return {Filter::address(pattern), [pattern](const BusEvent& event) {
                  return event.routing().address && model_address_matches(pattern, std::string(*event.routing().address));
                }};
      }
      default:
        return predicate();
    }
  }
  FilterSample connector_id() {
    const std::string wanted = id();
    return {Filter::connector_id(wanted), [wanted](const BusEvent& event) {
              return event.routing().connector_id.has_value() && *event.routing().connector_id == wanted;
            }};
  }
  FilterSample native_session_id() {
    const std::string wanted = id();
    return {Filter::native_session_id(wanted), [wanted](const BusEvent& event) {
              return event.routing().native_session_id.has_value() && *event.routing().native_session_id == wanted;
            }};
  }
  FilterSample predicate() {
    const std::uint64_t wanted = below(3);
    const auto test = [wanted](const BusEvent& event) { return event.source() == wanted; };
    return {Filter::where(test, "source is " + std::to_string(wanted)), test};
  }

  std::mt19937 random_;
};

}  // namespace sharingbus::test

#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <utility>

#include "bus/sharing_bus.hpp"

namespace sharingbus::test {

/// What a filter may look at, in a model of the bus.
struct ModelFields {
  Routing routing;
  /// 0: a note. 1: SessionRegistered. -1: SessionClosed.
  int binds = 0;
};

/// A filter beside the plain predicate that it should be.
struct ModelFilter {
  Filter filter = Filter::all();
  std::function<bool(const ModelFields&)> matches = [](const ModelFields&) { return true; };
};

inline Uuid model_uuid(std::uint32_t n) {
  Uuid result;
  result.bytes[0] = static_cast<std::uint8_t>(n + 1);
  return result;
}

using Choose = std::function<std::uint32_t(std::uint32_t bound)>;

/// One term, chosen by `choose`; `Note` is the payload type that is no session event.
template <class Note>
ModelFilter choose_term(const Choose& choose) {
  switch (choose(7)) {
    case 0: {
      const Uuid uid = model_uuid(choose(3));
      return {Filter::connector_uid(uid), [uid](const ModelFields& e) { return e.routing.connector_uid == uid; }};
    }
    case 1: {
      const Uuid scroll = model_uuid(choose(2));
      return {Filter::scroll_id(scroll), [scroll](const ModelFields& e) { return e.routing.scroll_id == scroll; }};
    }
    case 2:
      return {Filter::kind(EventKind::request),
              [](const ModelFields& e) { return e.routing.kind == EventKind::request; }};
    case 3:
      return {Filter::connector_id("c"), [](const ModelFields& e) { return e.routing.connector_id == "c"; }};
    case 4: {
      const std::string session = std::to_string(choose(2));
      return {Filter::native_session("c", session), [session](const ModelFields& e) {
                return e.routing.connector_id == "c" && e.routing.native_session_id == session;
              }};
    }
    case 5:
      return {Filter::type<Note>(), [](const ModelFields& e) { return e.binds == 0; }};
    default:
      return {};
  }
}

/// Terms joined by and, or and not.
template <class Note>
ModelFilter choose_filter(const Choose& choose, int depth = 2) {
  const std::uint32_t what = depth == 0 ? 0 : choose(6);
  if (what < 2) return choose_term<Note>(choose);
  ModelFilter left = choose_filter<Note>(choose, depth - 1);
  if (what == 2) return {!left.filter, [left](const ModelFields& e) { return !left.matches(e); }};
  ModelFilter right = choose_filter<Note>(choose, depth - 1);
  if (what == 3) {
    return {left.filter || right.filter,
            [left, right](const ModelFields& e) { return left.matches(e) || right.matches(e); }};
  }
  return {left.filter && right.filter,
          [left, right](const ModelFields& e) { return left.matches(e) && right.matches(e); }};
}

}  // namespace sharingbus::test

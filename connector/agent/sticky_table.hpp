#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

#include "bus/base/timer.hpp"
#include "connector/agent/affinity_table.hpp"
#include "connector/agent/detail/idle_table.hpp"

namespace sharingbus::connector {

/// Sessions that stay on one connection of one agent. Expiry is by last use: an expired session is as good as gone from
/// that moment, whether `expire` has collected it or not. Bounded: the one that was unused longest gives way. All but
/// the two removals O(1). One thread at a time. (Spec 4, Sticky sessions.)
class StickyTable {
 public:
  struct Binding {
    AgentKey agent = 0;
    ConnectionKey connection = 0;
    bool operator==(const Binding&) const = default;
  };

  /// Without `idle`, sessions never expire by themselves.
  StickyTable(std::size_t capacity, std::optional<Duration> idle) : idle_(idle), table_(capacity) {}

  /// Binds or rebinds.
  void bind(std::string_view session, Binding to, TimePoint now) { table_.put(0, session, to, now); }
  /// Nothing when it is unknown or expired; an expired one goes. Looking is no use.
  [[nodiscard]] std::optional<Binding> find(std::string_view session, TimePoint now) {
    if (!alive(session, now)) return std::nullopt;
    return *table_.find(0, session);
  }
  /// False when it is unknown or expired.
  bool touch(std::string_view session, TimePoint now) { return alive(session, now) && table_.touch(0, session, now); }
  bool clear(std::string_view session) { return table_.erase(0, session); }
  /// Sessions of that agent.
  std::size_t remove_agent(AgentKey agent) {
    return table_.erase_if([agent](std::uint64_t, const Binding& bound) { return bound.agent == agent; });
  }
  /// Removes the expired; how many.
  std::size_t expire(TimePoint now) { return idle_ ? table_.expire(now - *idle_) : 0; }
  /// Those that expired and were not collected yet count.
  [[nodiscard]] std::size_t size() const noexcept { return table_.size(); }

 private:
  [[nodiscard]] bool alive(std::string_view session, TimePoint now) {
    const TimePoint* used = table_.used_at(0, session);
    if (used == nullptr) return false;
    if (!idle_ || now - *used < *idle_) return true;
    table_.erase(0, session);
    return false;
  }

  const std::optional<Duration> idle_;
  detail::IdleTable<Binding> table_;
};

}  // namespace sharingbus::connector

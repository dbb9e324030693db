#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

#include "bus/base/timer.hpp"
#include "connector/agent/detail/idle_table.hpp"

namespace sharingbus::connector {

/// Numbers that a pool gives its agents and connections; never used again, so an entry about something that is gone
/// can only miss.
using AgentKey = std::uint64_t;
using ConnectionKey = std::uint64_t;

/// Which connection a request's events go to, by agent and correlation id: two agents that see the same request do not
/// disturb each other. Bounded: the entry that was unused longest gives way, counted. All but `remove_agent` O(1); no
/// allocation once the peak was seen. One thread at a time. (Spec 4, Sending.)
class AffinityTable {
 public:
  /// `idle`: entries unused for this long may go.
  AffinityTable(std::size_t capacity, Duration idle) : idle_(idle), table_(capacity) {}

  void bind(AgentKey agent, std::string_view correlation_id, ConnectionKey connection, TimePoint now) {
    if (table_.put(agent, correlation_id, connection, now)) ++evictions_;
  }
  /// Looking is no use: `touch` when the call has succeeded.
  [[nodiscard]] std::optional<ConnectionKey> find(AgentKey agent, std::string_view correlation_id) const {
    const ConnectionKey* found = table_.find(agent, correlation_id);
    return found != nullptr ? std::optional(*found) : std::nullopt;
  }
  bool touch(AgentKey agent, std::string_view correlation_id, TimePoint now) {
    return table_.touch(agent, correlation_id, now);
  }
  bool release(AgentKey agent, std::string_view correlation_id) { return table_.erase(agent, correlation_id); }
  /// All agents' entries of the id; how many.
  std::size_t clear(std::string_view correlation_id) { return table_.erase_everywhere(correlation_id); }
  /// O(entries).
  std::size_t remove_agent(AgentKey agent) {
    return table_.erase_if([agent](std::uint64_t scope, ConnectionKey) { return scope == agent; });
  }
  /// Removes what is idle; how many.
  std::size_t expire(TimePoint now) {
    const std::size_t gone = table_.expire(now - idle_);
    evictions_ += gone;
    return gone;
  }
  [[nodiscard]] std::size_t size() const noexcept { return table_.size(); }
  /// Entries that gave way or were idle.
  [[nodiscard]] std::uint64_t evictions() const noexcept { return evictions_; }

 private:
  const Duration idle_;
  detail::IdleTable<ConnectionKey> table_;
  std::uint64_t evictions_ = 0;
};

}  // namespace sharingbus::connector

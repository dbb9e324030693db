#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "bus/base/gate.hpp"
#include "bus/base/timer.hpp"
#include "connector/gateway/gateway.hpp"

namespace sharingbus::connector::internal {

/// A gate entry that keeps the gate alive.
struct Admission {
  std::shared_ptr<Gate> gate;
  Gate::Entry entry;
};

/// A request on its way.
struct Request {
  // The first to be made and the last to go: the gateway's drain waits for it.
  Admission admission;
  std::string id;
  ExecuteCall call;
  ExecuteCallback callback;
  /// The callback only posts: any thread may call it, also from within `execute`.
  bool anywhere = false;
  TimePoint started{};
  TimePoint deadline{};
};

/// The requests that one connector has not answered, by id and by deadline. All O(log n). One strand.
class PendingRequests {
 public:
  void add(Request request);
  /// Nothing for an id that is not (any longer) pending.
  [[nodiscard]] std::optional<Request> take(const std::string& id);
  /// Those whose deadline has come, in that order.
  [[nodiscard]] std::vector<Request> take_due(TimePoint now);
  /// In order of their deadlines.
  [[nodiscard]] std::vector<Request> take_all() { return take_due(TimePoint::max()); }

  [[nodiscard]] bool contains(const std::string& id) const { return by_id_.contains(id); }
  [[nodiscard]] std::optional<TimePoint> next_deadline() const;
  [[nodiscard]] std::size_t size() const noexcept { return by_id_.size(); }

 private:
  std::unordered_map<std::string, Request> by_id_;
  /// Points at the map's keys, which do not move.
  std::set<std::pair<TimePoint, const std::string*>> by_deadline_;
};

}  // namespace sharingbus::connector::internal

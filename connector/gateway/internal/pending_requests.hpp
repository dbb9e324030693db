#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <boost/intrusive/set.hpp>

#include "bus/base/gate.hpp"
#include "bus/base/timer.hpp"
#include "connector/gateway/gateway.hpp"

namespace sharingbus::connector::internal {

/// A gate entry that keeps the gate alive.
struct Admission {
  std::shared_ptr<Gate> gate;
  Gate::Entry entry;
};

/// A request on its way. One allocation, from the call to its answer.
struct Request {
  // The first to be made and the last to go: the gateway's drain waits for it.
  Admission admission;
  std::string id;
  ExecuteCall call;
  /// Null: nobody wants to know.
  std::unique_ptr<AnswerTaker> taker;
  /// The taker only posts: any thread may call it, also from within `execute`.
  bool anywhere = false;
  TimePoint started{};
  TimePoint deadline{};
  // For PendingRequests.
  boost::intrusive::set_member_hook<> by_id;
  boost::intrusive::set_member_hook<> by_deadline;
};
using RequestPtr = std::unique_ptr<Request>;

/// A callback as a taker; null for an empty one.
[[nodiscard]] std::unique_ptr<AnswerTaker> make_taker(ExecuteCallback callback);

/// The requests that one connector has not answered, by id and by deadline. All O(log n). One strand.
class PendingRequests {
 public:
  PendingRequests() = default;
  PendingRequests(const PendingRequests&) = delete;
  PendingRequests& operator=(const PendingRequests&) = delete;
  ~PendingRequests();

  void add(RequestPtr request);
  /// Null for an id that is not (any longer) pending.
  [[nodiscard]] RequestPtr take(const std::string& id);
  /// Those whose deadline has come, in that order.
  [[nodiscard]] std::vector<RequestPtr> take_due(TimePoint now);
  /// In order of their deadlines.
  [[nodiscard]] std::vector<RequestPtr> take_all() { return take_due(TimePoint::max()); }

  [[nodiscard]] bool contains(const std::string& id) const { return by_id_.find(id) != by_id_.end(); }
  [[nodiscard]] std::optional<TimePoint> next_deadline() const;
  [[nodiscard]] std::size_t size() const noexcept { return by_id_.size(); }

 private:
  struct IdOf {
    using type = std::string;
    const type& operator()(const Request& request) const noexcept { return request.id; }
  };
  struct DeadlineOf {
    using type = TimePoint;
    const type& operator()(const Request& request) const noexcept { return request.deadline; }
  };
  using ById = boost::intrusive::set<
      Request, boost::intrusive::key_of_value<IdOf>,
      boost::intrusive::member_hook<Request, boost::intrusive::set_member_hook<>, &Request::by_id>>;
  using ByDeadline = boost::intrusive::multiset<
      Request, boost::intrusive::key_of_value<DeadlineOf>, boost::intrusive::constant_time_size<false>,
      boost::intrusive::member_hook<Request, boost::intrusive::set_member_hook<>, &Request::by_deadline>>;

  [[nodiscard]] RequestPtr remove(Request& request);

  /// They own what is in them, together.
  ById by_id_;
  ByDeadline by_deadline_;
};

}  // namespace sharingbus::connector::internal

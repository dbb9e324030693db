#include "connector/gateway/internal/pending_requests.hpp"

namespace sharingbus::connector::internal {

void PendingRequests::add(Request request) {
  const TimePoint deadline = request.deadline;
  std::string id = request.id;
  const auto [place, added] = by_id_.try_emplace(std::move(id), std::move(request));
  if (added) by_deadline_.emplace(deadline, &place->first);
}

std::optional<Request> PendingRequests::take(const std::string& id) {
  const auto found = by_id_.find(id);
  if (found == by_id_.end()) return std::nullopt;
  by_deadline_.erase({found->second.deadline, &found->first});
  std::optional<Request> request(std::move(found->second));
  by_id_.erase(found);
  return request;
}

std::vector<Request> PendingRequests::take_due(TimePoint now) {
  std::vector<Request> due;
  while (!by_deadline_.empty() && by_deadline_.begin()->first <= now) {
    const auto found = by_id_.find(*by_deadline_.begin()->second);
    by_deadline_.erase(by_deadline_.begin());
    due.push_back(std::move(found->second));
    by_id_.erase(found);
  }
  return due;
}

std::optional<TimePoint> PendingRequests::next_deadline() const {
  if (by_deadline_.empty()) return std::nullopt;
  return by_deadline_.begin()->first;
}

}  // namespace sharingbus::connector::internal

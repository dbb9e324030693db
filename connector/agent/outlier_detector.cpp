#include "connector/agent/outlier_detector.hpp"

#include <algorithm>

namespace sharingbus::connector {

Result<> OutlierOptions::validate() const {
  if (failures == 0) return Error(errc::invalid_argument, "outliers.failures must be at least 1");
  if (ejection <= Duration::zero()) return Error(errc::invalid_argument, "outliers.ejection must be above 0");
  if (ejection_max < ejection) return Error(errc::invalid_argument, "outliers.ejection_max must not be below ejection");
  if (!(max_ejected_share >= 0 && max_ejected_share <= 1)) {
    return Error(errc::invalid_argument, "outliers.max_ejected_share must be 0 to 1");
  }
  return {};
}

OutlierDetector::Member* OutlierDetector::find(ConnectionKey connection) {
  const auto found = std::find_if(members_.begin(), members_.end(),
                                  [connection](const Member& member) { return member.key == connection; });
  return found != members_.end() ? &*found : nullptr;
}

bool OutlierDetector::may_eject() const {
  const auto allowed = static_cast<std::size_t>(options_.max_ejected_share * static_cast<double>(members_.size()));
  return ejected_ < allowed && ejected_ + 1 < members_.size();
}

void OutlierDetector::add(ConnectionKey connection) {
  if (find(connection) == nullptr) members_.push_back({connection});
}

void OutlierDetector::remove(ConnectionKey connection) {
  const Member* member = find(connection);
  if (member == nullptr) return;
  if (member->ejected) --ejected_;
  members_.erase(members_.begin() + (member - members_.data()));
}

void OutlierDetector::succeeded(ConnectionKey connection) {
  if (!options_.enabled) return;
  if (Member* member = find(connection)) member->in_a_row = 0;
}

bool OutlierDetector::failed(ConnectionKey connection, TimePoint now) {
  if (!options_.enabled) return false;
  Member* member = find(connection);
  if (member == nullptr || member->ejected) return false;
  if (++member->in_a_row < options_.failures || !may_eject()) return false;
  member->in_a_row = 0;
  member->ejected = true;
  member->until = now + std::min(options_.ejection * ++member->ejections, options_.ejection_max);
  ++ejected_;
  return true;
}

std::vector<ConnectionKey> OutlierDetector::restore(TimePoint now) {
  std::vector<ConnectionKey> restored;
  for (Member& member : members_) {
    if (!member.ejected || now < member.until) continue;
    member.ejected = false;
    --ejected_;
    restored.push_back(member.key);
  }
  return restored;
}

bool OutlierDetector::ejected(ConnectionKey connection) const {
  return std::any_of(members_.begin(), members_.end(),
                     [connection](const Member& member) { return member.key == connection && member.ejected; });
}

}  // namespace sharingbus::connector

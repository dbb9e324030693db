#include "connector/lifecycle/supervision.hpp"

#include <functional>
#include <queue>
#include <unordered_map>
#include <utility>

namespace sharingbus::connector {
namespace {

using Edges = std::vector<std::vector<std::size_t>>;

/// Follows unmet dependencies from any service that is left until one comes up twice.
std::string describe_circle(const std::vector<Dependent>& services, const Edges& needs,
                            const std::vector<std::size_t>& unmet) {
  std::size_t at = 0;
  while (unmet[at] == 0)
    ++at;
  std::vector<std::size_t> place(services.size(), 0);
  std::vector<std::size_t> path;
  while (place[at] == 0) {
    path.push_back(at);
    place[at] = path.size();
    for (const std::size_t next : needs[at]) {
      if (unmet[next] == 0) continue;
      at = next;
      break;
    }
  }
  std::string text;
  for (std::size_t i = place[at] - 1; i < path.size(); ++i)
    text += services[path[i]].name + " -> ";
  return text + services[at].name;
}

}  // namespace

bool RestartIntensity::allow(TimePoint now) {
  std::erase_if(restarts_, [&](TimePoint at) { return now - at >= window_; });
  if (restarts_.size() >= max_) return false;
  restarts_.push_back(now);
  return true;
}

Result<std::vector<std::size_t>> start_order(const std::vector<Dependent>& services) {
  std::unordered_map<std::string, std::size_t> by_name;
  for (std::size_t i = 0; i < services.size(); ++i) {
    if (by_name.emplace(services[i].name, i).second) continue;
    return Error(errc::invalid_argument, "two services are called '" + services[i].name + "'");
  }
  Edges needs(services.size());
  Edges needed_by(services.size());
  std::vector<std::size_t> unmet(services.size(), 0);
  for (std::size_t i = 0; i < services.size(); ++i) {
    for (const std::string& name : services[i].depends_on) {
      const auto found = by_name.find(name);
      if (found == by_name.end()) {
        return Error(errc::invalid_argument,
                     "service '" + services[i].name + "' depends on '" + name + "', which is none of the services");
      }
      needs[i].push_back(found->second);
      needed_by[found->second].push_back(i);
      ++unmet[i];
    }
  }
  std::priority_queue<std::size_t, std::vector<std::size_t>, std::greater<>> ready;
  for (std::size_t i = 0; i < services.size(); ++i) {
    if (unmet[i] == 0) ready.push(i);
  }
  std::vector<std::size_t> order;
  while (!ready.empty()) {
    const std::size_t next = ready.top();
    ready.pop();
    order.push_back(next);
    for (const std::size_t dependent : needed_by[next]) {
      if (--unmet[dependent] == 0) ready.push(dependent);
    }
  }
  if (order.size() == services.size()) return order;
  return Error(errc::invalid_argument, "services depend on each other: " + describe_circle(services, needs, unmet));
}

}  // namespace sharingbus::connector

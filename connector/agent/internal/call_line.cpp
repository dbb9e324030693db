#include "connector/agent/internal/call_line.hpp"

#include <algorithm>
#include <utility>

namespace sharingbus::connector::internal {

void CallLine::push(AgentCallPtr call) {
  auto lane = lanes_.find(call->id);
  if (lane == lanes_.end()) lane = lanes_.try_emplace(std::string(call->id)).first;
  if (!lane->second.running && lane->second.waiting.empty()) ready_.push_back(&*lane);
  forget_done();
  arrivals_.push_back(call);
  lane->second.waiting.push_back(std::move(call));
  ++waiting_;
}

AgentCallPtr CallLine::start() {
  if (!ready()) return nullptr;
  Lane& lane = ready_.front()->second;
  ready_.pop_front();
  AgentCallPtr call = std::move(lane.waiting.front());
  lane.waiting.erase(lane.waiting.begin());
  --waiting_;
  ++running_;
  call->state = AgentCall::State::running;
  lane.running = call;
  return call;
}

void CallLine::ended(AgentCall& call) {
  call.state = AgentCall::State::ended;
  --running_;
  const auto lane = lanes_.find(call.id);
  lane->second.running.reset();
  if (!lane->second.waiting.empty()) {
    ready_.push_back(&*lane);
  } else {
    lanes_.erase(lane);
  }
}

void CallLine::erase_if_empty(Lanes::iterator lane) {
  if (lane->second.running || !lane->second.waiting.empty()) return;
  std::erase(ready_, &*lane);
  lanes_.erase(lane);
}

void CallLine::abandon_lane(Lane& lane, std::vector<AgentCallPtr>& out) {
  if (lane.running && lane.running->state == AgentCall::State::running) {
    lane.running->state = AgentCall::State::lingering;
    out.push_back(lane.running);
  }
  waiting_ -= lane.waiting.size();
  for (AgentCallPtr& call : lane.waiting) {
    call->state = AgentCall::State::ended;
    out.push_back(std::move(call));
  }
  lane.waiting.clear();
}

std::vector<AgentCallPtr> CallLine::abandon(std::string_view id) {
  std::vector<AgentCallPtr> out;
  const auto lane = lanes_.find(id);
  if (lane == lanes_.end()) return out;
  abandon_lane(lane->second, out);
  erase_if_empty(lane);
  return out;
}

std::vector<AgentCallPtr> CallLine::abandon_all() {
  std::vector<AgentCallPtr> out;
  for (auto& [id, lane] : lanes_)
    abandon_lane(lane, out);
  std::erase_if(lanes_, [](const auto& entry) { return !entry.second.running; });
  ready_.clear();
  return out;
}

std::vector<AgentCallPtr> CallLine::abandon_older(TimePoint until) {
  std::vector<AgentCallPtr> out;
  while (!arrivals_.empty() && (!arrivals_.front()->wanted() || arrivals_.front()->arrived <= until)) {
    AgentCallPtr call = std::move(arrivals_.front());
    arrivals_.pop_front();
    if (!call->wanted()) continue;
    if (call->state == AgentCall::State::running) {
      call->state = AgentCall::State::lingering;
    } else {
      const auto lane = lanes_.find(call->id);
      auto& waiting = lane->second.waiting;
      waiting.erase(std::find(waiting.begin(), waiting.end(), call));
      --waiting_;
      call->state = AgentCall::State::ended;
      erase_if_empty(lane);
    }
    out.push_back(std::move(call));
  }
  return out;
}

std::optional<TimePoint> CallLine::oldest() {
  while (!arrivals_.empty() && !arrivals_.front()->wanted())
    arrivals_.pop_front();
  if (arrivals_.empty()) return std::nullopt;
  return arrivals_.front()->arrived;
}

void CallLine::forget_done() {
  while (!arrivals_.empty() && !arrivals_.front()->wanted())
    arrivals_.pop_front();
  // One slow call in front must not keep all that came after it.
  constexpr std::size_t kSlack = 64;
  if (arrivals_.size() > 2 * (running_ + waiting_) + kSlack) {
    std::erase_if(arrivals_, [](const AgentCallPtr& call) { return !call->wanted(); });
  }
}

}  // namespace sharingbus::connector::internal

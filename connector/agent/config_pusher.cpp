#include "connector/agent/config_pusher.hpp"

#include <algorithm>
#include <charconv>

namespace sharingbus::connector {
namespace {

constexpr std::string_view kPrefix = "push-";

}  // namespace

std::string_view to_string(PushStatus status) noexcept {
  switch (status) {
    case PushStatus::pending:
      return "pending";
    case PushStatus::sent:
      return "sent";
    case PushStatus::acknowledged:
      return "acknowledged";
    case PushStatus::failed:
      return "failed";
    case PushStatus::expired:
      return "expired";
    case PushStatus::abandoned:
      return "abandoned";
  }
  return "unknown";
}

Result<> ConfigPusherOptions::validate() const {
  if (ack_timeout <= Duration::zero()) return Error(errc::invalid_argument, "config.ack_timeout must be above 0");
  if (retry_interval <= Duration::zero()) return Error(errc::invalid_argument, "config.retry_interval must be above 0");
  if (max_pending_per_agent == 0) {
    return Error(errc::invalid_argument, "config.max_pending_per_agent must be at least 1");
  }
  if (max_results == 0) return Error(errc::invalid_argument, "config.max_results must be at least 1");
  return {};
}

void ConfigPusher::add_agent(std::string_view agent_id, bool supports_push) {
  agents_[std::string(agent_id)].supports_push = supports_push;
}

void ConfigPusher::remove_agent(std::string_view agent_id) {
  const auto agent = agents_.find(agent_id);
  if (agent == agents_.end()) return;
  for (auto push = open_.begin(); push != open_.end();) {
    push = push->second.result.agent_id == agent_id ? end(push, PushStatus::abandoned, "the agent was removed")
                                                    : std::next(push);
  }
  agents_.erase(agent);
}

std::string ConfigPusher::add(std::string_view agent_id, Agent& agent, const AgentConfig& update, TimePoint now) {
  ++agent.open;
  Push& push = open_[++last_];
  push.result.push_id = std::string(kPrefix) + std::to_string(last_);
  push.result.agent_id = agent_id;
  push.result.version = update.version;
  push.config_json = update.config_json;
  push.made = now;
  push.next = now;
  return push.result.push_id;
}

Result<std::string> ConfigPusher::push(std::string_view agent_id, AgentConfig update, TimePoint now) {
  const auto agent = agents_.find(agent_id);
  if (agent == agents_.end()) return Error(errc::not_found, "no agent '" + std::string(agent_id) + "'");
  if (!agent->second.supports_push) {
    return Error(errc::unimplemented, "agent '" + std::string(agent_id) + "' takes no config pushes");
  }
  if (agent->second.open >= options_.max_pending_per_agent) {
    return Error(errc::capacity_exceeded, "agent '" + std::string(agent_id) + "' has " +
                                              std::to_string(agent->second.open) + " config pushes pending");
  }
  if (update.version.empty()) update.version = std::to_string(++last_version_);
  return add(agent_id, agent->second, update, now);
}

std::vector<std::string> ConfigPusher::push_all(const AgentConfig& update, TimePoint now) {
  std::vector<std::string> ids;
  AgentConfig versioned = update;
  if (versioned.version.empty()) versioned.version = std::to_string(++last_version_);
  for (auto& [id, agent] : agents_) {
    if (agent.supports_push && agent.open < options_.max_pending_per_agent)
      ids.push_back(add(id, agent, versioned, now));
  }
  return ids;
}

std::vector<ConfigPusher::Delivery> ConfigPusher::due(TimePoint now) {
  std::vector<Delivery> deliveries;
  for (auto& [number, push] : open_) {
    if (now < push.next || last_attempt(push) || now >= expiry(push)) continue;
    ++push.result.attempts;
    push.result.status = PushStatus::sent;
    push.next = now + options_.retry_interval;
    deliveries.push_back({push.result.push_id, push.result.agent_id, {push.config_json, push.result.version}});
  }
  return deliveries;
}

void ConfigPusher::not_delivered(std::string_view push_id) {
  const auto push = find(push_id);
  if (push != open_.end() && push->second.result.status == PushStatus::sent) {
    push->second.result.status = PushStatus::pending;
  }
}

bool ConfigPusher::acknowledge(std::string_view push_id, bool accepted, std::string_view error) {
  const auto push = find(push_id);
  if (push == open_.end()) return false;
  if (accepted) {
    end(push, PushStatus::acknowledged, {});
  } else {
    end(push, PushStatus::failed, error.empty() ? "Unknown error" : error);
  }
  return true;
}

std::vector<PushResult> ConfigPusher::expire(TimePoint now) {
  std::vector<PushResult> expired;
  for (auto push = open_.begin(); push != open_.end();) {
    if (now < expiry(push->second)) {
      ++push;
      continue;
    }
    push = end(push, PushStatus::expired, "not acknowledged in time");
    expired.push_back(ended_.back());
  }
  return expired;
}

std::optional<TimePoint> ConfigPusher::next_deadline() const {
  std::optional<TimePoint> next;
  for (const auto& [number, push] : open_) {
    const TimePoint at = last_attempt(push) ? expiry(push) : std::min(push.next, expiry(push));
    next = next ? std::min(*next, at) : at;
  }
  return next;
}

std::vector<PushResult> ConfigPusher::results() const {
  std::vector<PushResult> all(ended_.begin(), ended_.end());
  for (const auto& [number, push] : open_)
    all.push_back(push.result);
  return all;
}

std::optional<PushResult> ConfigPusher::result(std::string_view push_id) const {
  for (const PushResult& ended : ended_) {
    if (ended.push_id == push_id) return ended;
  }
  for (const auto& [number, push] : open_) {
    if (push.result.push_id == push_id) return push.result;
  }
  return std::nullopt;
}

std::optional<AgentConfig> ConfigPusher::config(std::string_view push_id) const {
  const auto push = open_.find(number_of(push_id));
  if (push == open_.end()) return std::nullopt;
  return AgentConfig{push->second.config_json, push->second.result.version};
}

/// 0 for what is no push id.
std::uint64_t ConfigPusher::number_of(std::string_view push_id) {
  if (!push_id.starts_with(kPrefix)) return 0;
  push_id.remove_prefix(kPrefix.size());
  std::uint64_t number = 0;
  const auto parsed = std::from_chars(push_id.data(), push_id.data() + push_id.size(), number);
  return parsed.ec == std::errc() && parsed.ptr == push_id.data() + push_id.size() ? number : 0;
}

ConfigPusher::Pushes::iterator ConfigPusher::find(std::string_view push_id) {
  return open_.find(number_of(push_id));
}

ConfigPusher::Pushes::iterator ConfigPusher::end(Pushes::iterator push, PushStatus status, std::string_view error) {
  PushResult& result = push->second.result;
  result.status = status;
  result.error = error;
  if (const auto agent = agents_.find(result.agent_id); agent != agents_.end()) --agent->second.open;
  ended_.push_back(std::move(result));
  if (ended_.size() > options_.max_results) ended_.pop_front();
  return open_.erase(push);
}

}  // namespace sharingbus::connector

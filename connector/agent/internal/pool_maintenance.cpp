// Maintenance: health, reconnecting, and what the pool tells of itself.

#include <algorithm>

#include <boost/asio/post.hpp>

#include "connector/agent/internal/pool_core.hpp"

namespace sharingbus::connector::internal {
namespace {

namespace messages = transport::agent_messages;

template <class Fn>
std::function<void()> posted(const std::shared_ptr<PoolCore>& core, Fn fn) {
  return [weak = std::weak_ptr<PoolCore>(core), fn] {
    if (const auto self = weak.lock()) boost::asio::post(self->executor(), [self, fn] { fn(*self); });
  };
}

}  // namespace

// --- maintenance -----------------------------------------------------------------------------------------------------

void PoolCore::check_health(Turn& turn, Agent& agent) {
  if (!agent.announced || agent.phase != Agent::Phase::up) return;
  const bool healthy = std::any_of(agent.connections.begin(), agent.connections.end(),
                                   [](const auto& connection) { return connection->healthy(); });
  if (std::exchange(agent.healthy, healthy) == healthy) return;
  if (healthy) {
    turn.publish(AgentRecovered{agent.id}, agent.id);
  } else {
    turn.publish(AgentUnhealthy{agent.id}, agent.id);
  }
}

std::size_t PoolCore::missing(const Agent& agent) const {
  if (!agent.endpoint || agent.phase != Agent::Phase::up || agent.opening != 0) return 0;
  const auto healthy =
      static_cast<std::size_t>(std::count_if(agent.connections.begin(), agent.connections.end(),
                                             [](const auto& connection) { return connection->healthy(); }));
  return options_.connections_per_agent - std::min(options_.connections_per_agent, healthy);
}

Duration PoolCore::pace(const Agent& agent) const {
  Duration pause = options_.reconnect_interval;
  for (std::uint32_t i = options_.max_reconnect_attempts; i < agent.failures; ++i) {
    if (pause >= options_.reconnect_interval_max / 2) return options_.reconnect_interval_max;
    pause *= 2;
  }
  return pause;
}

void PoolCore::reconnect(Turn& turn, const AgentPtr& agent, TimePoint now) {
  const std::size_t count = missing(*agent);
  if (count == 0 || now < agent->next_attempt || closing_) return;
  agent->next_attempt = now + pace(*agent);
  agent->opening = count;
  agent->opened = 0;
  agent->open_error = {};
  for (std::size_t i = 0; i < count; ++i)
    open_connection(turn, agent);
}

void PoolCore::round_ended(Turn& turn, const AgentPtr& agent) {
  if (agent->phase == Agent::Phase::adding) return resolve_add(turn, agent);
  if (agent->phase != Agent::Phase::up) return;
  if (!agent->open_error) {
    agent->failures = 0;
  } else {
    ++agent->failures;
    agent->next_attempt = std::max(agent->next_attempt, turn.now() + pace(*agent));
    turn.publish(AgentConnectFailed{agent->id, agent->open_error, agent->failures, agent->next_attempt - turn.now()},
                 agent->id);
  }
  if (missing(*agent) != 0) look_again(turn, agent->next_attempt);
}

MaintenanceReport PoolCore::maintain() {
  MaintenanceReport report;
  const TimePoint now = timers_.now();
  report.series_expired = collector_.expire(now);
  Turn turn(*this);
  report.sessions_expired = sessions_.expire(now);
  report.affinities_expired = affinities_.expire(now);
  metrics_.affinities.store(static_cast<std::int64_t>(affinities_.size()), std::memory_order_relaxed);
  metrics_.affinity_evictions.store(affinities_.evictions(), std::memory_order_relaxed);
  for (const auto& [id, agent] : agents_) {
    for (const ConnectionKey key : agent->outliers.restore(now)) {
      if (const auto connection = find_connection(*agent, key)) {
        connection->ejected = false;
        update_load(*connection);
        turn.publish(AgentConnectionRestored{agent->id, key}, agent->id, connection->uid);
      }
    }
    check_health(turn, *agent);
    const std::size_t before = agent->opening;
    reconnect(turn, agent, now);
    report.connections_opened += agent->opening - before;
  }
  deliver_pushes(turn, now);
  return report;
}

void PoolCore::start_maintenance() {
  Turn turn(*this);
  if (closing_ || std::exchange(maintaining_, true)) return;
  next_health_check_ = turn.now() + options_.health_check_interval;
  maintenance_at_ = TimePoint::max();
  look_again(turn, next_maintenance());
}

TimePoint PoolCore::next_maintenance() const {
  TimePoint next = next_health_check_;
  for (const auto& [id, agent] : agents_) {
    if (missing(*agent) != 0) next = std::min(next, agent->next_attempt);
  }
  if (const auto push = pusher_.next_deadline()) next = std::min(next, *push);
  return next;
}

/// Maintenance has something to do then.
void PoolCore::look_again(Turn&, TimePoint at) {
  if (!maintaining_ || maintenance_at_ <= at) return;
  timers_.cancel(maintenance_timer_);
  maintenance_at_ = at;
  maintenance_timer_ =
      timers_.schedule_at(at, posted(shared_from_this(), [round = ++maintenance_round_](PoolCore& self) {
                            {
                              const std::scoped_lock lock(self.mutex_);
                              if (round != self.maintenance_round_ || !self.maintaining_) return;
                              self.timers_.fired(std::exchange(self.maintenance_timer_, 0));
                              self.maintenance_at_ = TimePoint::max();
                            }
                            self.maintenance_due();
                          }));
}

void PoolCore::maintenance_due() {
  maintain();
  Turn turn(*this);
  if (turn.now() >= next_health_check_) next_health_check_ = turn.now() + options_.health_check_interval;
  look_again(turn, std::max(next_maintenance(), turn.now() + std::chrono::milliseconds(1)));
}

// --- looking ---------------------------------------------------------------------------------------------------------

AgentStats PoolCore::stats_of(const Agent& agent) const {
  AgentStats stats;
  stats.agent_id = agent.id;
  stats.endpoint = agent.endpoint_text;
  stats.active_connections = agent.connections.size();
  for (const ConnectionPtr& connection : agent.connections) {
    stats.healthy_connections += connection->healthy() ? 1 : 0;
    stats.paused_connections += connection->flow.paused() ? 1 : 0;
  }
  stats.in_flight = agent.calls;
  stats.requests = agent.requests;
  stats.errors = agent.errors;
  stats.error_rate = agent.requests == 0 ? 0 : static_cast<double>(agent.errors) / static_cast<double>(agent.requests);
  stats.healthy = agent.healthy;
  stats.circuit = agent.breaker.state();
  return stats;
}

std::vector<std::string> PoolCore::agent_ids() const {
  std::vector<std::string> ids;
  {
    const std::scoped_lock lock(mutex_);
    for (const auto& [id, agent] : agents_)
      ids.push_back(id);
  }
  std::sort(ids.begin(), ids.end());
  return ids;
}

std::optional<AgentStats> PoolCore::agent_stats(std::string_view id) const {
  const std::scoped_lock lock(mutex_);
  const AgentPtr agent = find(id);
  if (!agent) return std::nullopt;
  return stats_of(*agent);
}

std::vector<AgentStats> PoolCore::stats() const {
  std::vector<AgentStats> all;
  {
    const std::scoped_lock lock(mutex_);
    for (const auto& [id, agent] : agents_)
      all.push_back(stats_of(*agent));
  }
  std::sort(all.begin(), all.end(), [](const auto& a, const auto& b) { return a.agent_id < b.agent_id; });
  return all;
}

std::optional<messages::AgentCapabilities> PoolCore::capabilities(std::string_view id) const {
  const std::scoped_lock lock(mutex_);
  const AgentPtr agent = find(id);
  return agent ? agent->capabilities : std::nullopt;
}

bool PoolCore::healthy(std::string_view id) const {
  const std::scoped_lock lock(mutex_);
  const AgentPtr agent = find(id);
  return agent && agent->healthy;
}

std::optional<bool> PoolCore::is_reverse(std::string_view id) const {
  const std::scoped_lock lock(mutex_);
  const AgentPtr agent = find(id);
  if (!agent) return std::nullopt;
  return !agent->endpoint.has_value();
}

}  // namespace sharingbus::connector::internal

// Agents: how they come, are kept, and go; maintenance; the pool's end.

#include <algorithm>
#include <exception>

#include <boost/asio/associated_executor.hpp>
#include <boost/asio/dispatch.hpp>
#include <boost/asio/post.hpp>

#include "bus/base/bounded.hpp"
#include "connector/agent/internal/pool_core.hpp"

namespace sharingbus::connector::internal {
namespace {

namespace messages = transport::agent_messages;

/// How long connections may take to end in good order.
constexpr Duration kCloseGrace = std::chrono::seconds(1);

void finish(const boost::asio::any_io_executor& executor, PoolDone done, Error error) {
  if (!done) return;
  boost::asio::post(executor, [executor, done = std::move(done), error = std::move(error)]() mutable {
    const auto own = boost::asio::get_associated_executor(done, executor);
    boost::asio::dispatch(
        own, [done = std::move(done), error = std::move(error)]() mutable { std::move(done)(std::move(error)); });
  });
}

template <class Fn>
std::function<void()> posted(const std::shared_ptr<PoolCore>& core, Fn fn) {
  return [weak = std::weak_ptr<PoolCore>(core), fn] {
    if (const auto self = weak.lock()) boost::asio::post(self->executor(), [self, fn] { fn(*self); });
  };
}

}  // namespace

PoolCore::PoolCore(boost::asio::any_io_executor executor, SharingBus& bus, TimerService& timers,
                   AgentDialerFactory dialers, AgentPoolOptions options)
    : executor_(std::move(executor)),
      publisher_(bus.publisher()),
      source_(bus.new_source()),
      dialers_(std::move(dialers)),
      options_(std::move(options)),
      grpc_decoder_(
          std::make_shared<transport::AgentFrameDecoder>(transport::AgentRole::proxy, transport::AgentCarrier::grpc)),
      uds_decoder_(
          std::make_shared<transport::AgentFrameDecoder>(transport::AgentRole::proxy, transport::AgentCarrier::uds)),
      timers_(timers),
      collector_(options_.metrics),
      bus_(&bus),
      affinities_(options_.max_affinities, options_.affinity_timeout),
      sessions_(options_.max_sticky_sessions, options_.sticky_session_timeout),
      pusher_(options_.config) {}

template <class Event>
void PoolCore::publish(Event event, const std::string& agent_id, std::optional<Uuid> connection) const {
  Routing routing = routing_for<Event>();
  routing.connector_id = agent_id;
  routing.connector_uid = connection;
  publisher_.publish(std::move(event), std::move(routing), EventOrigin::agent, source_);
}

template void PoolCore::publish(AgentAdded, const std::string&, std::optional<Uuid>) const;
template void PoolCore::publish(AgentRemoved, const std::string&, std::optional<Uuid>) const;
template void PoolCore::publish(AgentDrained, const std::string&, std::optional<Uuid>) const;
template void PoolCore::publish(AgentConnectionUp, const std::string&, std::optional<Uuid>) const;
template void PoolCore::publish(AgentConnectionDown, const std::string&, std::optional<Uuid>) const;
template void PoolCore::publish(AgentConnectFailed, const std::string&, std::optional<Uuid>) const;
template void PoolCore::publish(AgentConnectionUnhealthy, const std::string&, std::optional<Uuid>) const;
template void PoolCore::publish(AgentConnectionRecovered, const std::string&, std::optional<Uuid>) const;
template void PoolCore::publish(AgentUnhealthy, const std::string&, std::optional<Uuid>) const;
template void PoolCore::publish(AgentRecovered, const std::string&, std::optional<Uuid>) const;
template void PoolCore::publish(AgentPaused, const std::string&, std::optional<Uuid>) const;
template void PoolCore::publish(AgentResumed, const std::string&, std::optional<Uuid>) const;
template void PoolCore::publish(AgentCircuitChanged, const std::string&, std::optional<Uuid>) const;
template void PoolCore::publish(AgentConnectionEjected, const std::string&, std::optional<Uuid>) const;
template void PoolCore::publish(AgentConnectionRestored, const std::string&, std::optional<Uuid>) const;
template void PoolCore::publish(AgentConfigPushEnded, const std::string&, std::optional<Uuid>) const;
template void PoolCore::publish(AgentConfigRequested, const std::string&, std::optional<Uuid>) const;

// --- coming ----------------------------------------------------------------------------------------------------------

PoolCore::AgentPtr PoolCore::find(std::string_view id) const {
  const auto found = agents_.find(id);
  return found != agents_.end() ? found->second : nullptr;
}

void PoolCore::add_agent(std::string id, std::string endpoint, AgentOptions options, PoolDone done) {
  const auto refuse = [&](Error why) { finish(executor_, std::move(done), std::move(why)); };
  if (id.empty()) return refuse(Error(errc::invalid_argument, "the agent id must not be empty"));
  auto where = parse_agent_endpoint(endpoint);
  if (!where) return refuse(where.error());
  AgentPtr agent;
  {
    const std::scoped_lock lock(mutex_);
    if (!closing_) {
      agent = std::make_shared<Agent>(++last_key_, std::move(id), std::move(endpoint), options_, std::move(options));
    }
  }
  if (!agent) return refuse(Error(errc::closed, "the pool is closing"));
  agent->endpoint = std::move(*where);
  if (const auto made = make_dialer(*agent); !made) return refuse(made.error());
  Turn turn(*this);
  others_.push_back(agent);
  agent->when_added.push_back(std::move(done));
  agent->next_attempt = turn.now() + options_.reconnect_interval;
  agent->opening = options_.connections_per_agent;
  for (std::size_t i = 0; i < options_.connections_per_agent; ++i)
    open_connection(turn, agent);
}

/// Its first connections have come up or failed.
void PoolCore::resolve_add(Turn& turn, const AgentPtr& agent) {
  const bool keep = !closing_ && (agent->opened != 0 || options_.keep_unreachable);
  if (!keep) {
    agent->phase = Agent::Phase::closing;
    Error why = closing_ ? Error(errc::closed, "the pool is closing") : agent->open_error;
    if (!closing_) {
      why.message = "Failed to create any connections to agent '" + agent->id + "' at " + agent->endpoint_text + ": " +
                    to_string(why);
    }
    for (PoolDone& done : agent->when_added) {
      // In the end, when the pool has let it go; it may be destroyed by then.
      agent->when_gone.emplace_back([executor = executor_, done = std::move(done), why](Error) mutable {
        finish(executor, std::move(done), std::move(why));
      });
    }
    agent->when_added.clear();
    for (const ConnectionPtr& connection : agent->all)
      give_up_on(turn, connection, why);
    if (agent->all.empty()) finish_agent(turn, agent);
    return;
  }
  agent->phase = Agent::Phase::up;
  std::erase(others_, agent);
  const auto old = std::exchange(agents_[agent->id], agent);
  announce(turn, agent);
  if (old) {
    retire(turn, old);
    for (PoolDone& done : agent->when_added)
      old->when_gone.push_back(std::move(done));
    retire_if_drained(turn, old);
  } else {
    for (PoolDone& done : agent->when_added) {
      turn.later(
          [this, done = std::make_shared<PoolDone>(std::move(done))] { finish(executor_, std::move(*done), {}); });
    }
  }
  agent->when_added.clear();
  pusher_.add_agent(agent->id, agent->capabilities && agent->capabilities->features.config_push);
  turn.publish(AgentAdded{agent->id, agent->endpoint_text, agent->opened, old != nullptr}, agent->id);
  if (agent->opened < options_.connections_per_agent) {
    agent->failures = 1;
    turn.publish(AgentConnectFailed{agent->id, agent->open_error, 1, pace(*agent)}, agent->id);
    look_again(turn, agent->next_attempt);
  }
}

/// From here on its health is told.
void PoolCore::announce(Turn& turn, const AgentPtr& agent) {
  agent->announced = true;
  // Healthy until told otherwise: the first word about one that is not is that.
  agent->healthy = true;
  check_health(turn, *agent);
}

Result<ConnectionKey> PoolCore::add_reverse(const std::string& id, std::shared_ptr<transport::Link> link,
                                            messages::AgentCapabilities capabilities, std::string peer,
                                            std::string first_frame) {
  if (id.empty()) return Error(errc::invalid_argument, "Agent ID cannot be empty");
  if (!link) return Error(errc::invalid_argument, "the link is missing");
  ConnectionPtr connection;
  {
    Turn turn(*this);
    if (closing_) return Error(errc::closed, "the pool is closing");
    AgentPtr agent = find(id);
    if (!agent) {
      agent = std::make_shared<Agent>(++last_key_, id, "reverse://" + id, options_, AgentOptions{});
      agent->phase = Agent::Phase::up;
      agents_[id] = agent;
      turn.publish(AgentAdded{id, agent->endpoint_text, 1, false}, id);
    }
    // Those that are alive count, and those that are on their way in.
    if (agent->all.size() >= options_.connections_per_agent) {
      return Error(errc::capacity_exceeded, "Agent " + id + " already has maximum connections (" +
                                                std::to_string(options_.connections_per_agent) + ")");
    }
    connection = std::make_shared<PoolConnection>(++last_key_, agent, link->uid(), options_.errors_until_unhealthy);
    connection->reverse = true;
    connection->peer = std::move(peer);
    connection->link = link;
    agent->all.push_back(connection);
  }
  const auto refused = [&](Error why) {
    Turn turn(*this);
    went_down(turn, connection, why);
    return why;
  };
  bool watched = false;
  {
    const std::scoped_lock dialling(connection->dialling);
    watched = watch(connection);
  }
  if (!watched) return refused(Error(errc::closed, "the pool is closing"));
  // A link that has ended says so, and one that ends from here on tells the subscription.
  if (first_frame.empty()) {
    messages::Ping ping;
    ping.timestamp_ms = static_cast<std::uint64_t>(timers_.moment().unix_ms);
    first_frame = transport::encode_agent_message(ping, transport::AgentWire::json).value();
  }
  if (link->send(std::move(first_frame)) != transport::SendStatus::queued) {
    return refused(Error(errc::stream_failed, "the connection has ended"));
  }
  {
    Turn turn(*this);
    connection->queued();
    if (connection->state == PoolConnection::State::closed)
      return Error(errc::stream_failed, "the connection has ended");
    connection->agent->capabilities = std::move(capabilities);
    connection->wire = transport::AgentWire::json;
    if (!connection->agent->announced) announce(turn, connection->agent);
    went_up(turn, connection);
  }
  link->grant({.requests = 1, .controls = kConnectionWindow});
  return connection->key;
}

// --- going -----------------------------------------------------------------------------------------------------------

void PoolCore::remove_agent(const std::string& id, PoolDone done) {
  Turn turn(*this);
  const auto found = agents_.find(id);
  if (found == agents_.end()) {
    turn.later([this, done = std::make_shared<PoolDone>(std::move(done)), id] {
      finish(executor_, std::move(*done), Error(errc::not_found, "Agent '" + id + "' not found"));
    });
    return;
  }
  const AgentPtr agent = found->second;
  agents_.erase(found);
  agent->when_gone.push_back(std::move(done));
  retire(turn, agent);
  retire_if_drained(turn, agent);
}

/// No more calls. Whoever calls this says `retire_if_drained` after it.
void PoolCore::retire(Turn& turn, const AgentPtr& agent) {
  agent->phase = Agent::Phase::draining;
  others_.push_back(agent);
  pusher_.remove_agent(agent->id);
  affinities_.remove_agent(agent->key);
  sessions_.remove_agent(agent->key);
  metrics_.affinities.store(static_cast<std::int64_t>(affinities_.size()), std::memory_order_relaxed);
  turn.later([this, agent] { collector_.forget_agent(agent->id); });
  turn.publish(AgentRemoved{agent->id}, agent->id);
  if (agent->calls == 0) return;
  const auto late =
      posted(shared_from_this(), [weak = std::weak_ptr<Agent>(agent)](PoolCore& self) { self.cancel_rest(weak); });
  agent->drain_timer = timers_.schedule_at(turn.now() + bounded(options_.drain_timeout), late);
}

void PoolCore::retire_if_drained(Turn& turn, const AgentPtr& agent) {
  if (agent->phase == Agent::Phase::draining && agent->calls == 0) close_connections(turn, agent);
}

void PoolCore::cancel_rest(const std::weak_ptr<Agent>& weak) {
  const AgentPtr agent = weak.lock();
  if (!agent) return;
  Turn turn(*this);
  // Later, the timer is another one.
  if (agent->phase != Agent::Phase::draining) return;
  timers_.fired(std::exchange(agent->drain_timer, 0));
  std::vector<CallPtr> calls;
  collect(agent->parked, calls);
  for (const ConnectionPtr& connection : agent->all) {
    collect(connection->waiting, calls);
    collect(connection->sent, calls);
    for (const Call& call : connection->sent)
      tell_cancelled(turn, *connection, call.correlation_id, messages::CancelReason::proxy_shutdown);
  }
  agent->cancelled += calls.size();
  for (const CallPtr& call : calls) {
    if (call->state == Call::State::sent) call->connection->abandon(*call);
    fail(turn, *call, PoolFailure::closed, Error(errc::closed, "agent '" + agent->id + "' was drained"));
  }
}

void PoolCore::close_connections(Turn& turn, const AgentPtr& agent) {
  agent->phase = Agent::Phase::closing;
  timers_.cancel(std::exchange(agent->drain_timer, 0));
  if (agent->all.empty()) return finish_agent(turn, agent);
  for (const ConnectionPtr& connection : agent->all) {
    connection->state = PoolConnection::State::closing;
    update_load(*connection);
    // What is queued, cancels for one, goes out first.
    turn.later([link = connection->link] {
      if (link) link->finish();
    });
  }
  const auto late = posted(shared_from_this(), [weak = std::weak_ptr<Agent>(agent)](PoolCore& self) {
    const AgentPtr slow = weak.lock();
    if (!slow) return;
    Turn timed(self);
    self.timers_.fired(std::exchange(slow->drain_timer, 0));
    for (const ConnectionPtr& connection : slow->all)
      self.give_up_on(timed, connection, Error(errc::closed, "the agent was removed"));
  });
  agent->drain_timer = timers_.schedule_at(turn.now() + kCloseGrace, late);
}

/// Its last connection has ended. The dialer goes next, then the agent itself.
void PoolCore::finish_agent(Turn& turn, const AgentPtr& agent) {
  if (agent->phase == Agent::Phase::gone) return;
  timers_.cancel(std::exchange(agent->drain_timer, 0));
  if (agent->dialer && !std::exchange(agent->dialer_closing, true)) {
    const auto done = posted(shared_from_this(), [agent](PoolCore& self) {
      Turn later(self);
      // Here, where its threads may be waited for.
      later.later([agent, dialer = std::move(agent->dialer)] { const std::scoped_lock told(agent->closing_dialer); });
      agent->dialer = nullptr;
      self.finish_agent(later, agent);
    });
    turn.later([this, agent, done] {
      const std::scoped_lock telling(agent->closing_dialer);
      transport::Dialer* dialer = nullptr;
      {
        const std::scoped_lock lock(mutex_);
        dialer = agent->dialer.get();
      }
      // Null: the pool was destroyed.
      if (dialer != nullptr) dialer->close(done);
    });
    return;
  }
  if (agent->dialer) return;
  agent->phase = Agent::Phase::gone;
  std::erase(others_, agent);
  if (agent->announced) turn.publish(AgentDrained{agent->id, agent->cancelled}, agent->id);
  for (PoolDone& done : agent->when_gone) {
    turn.later([this, done = std::make_shared<PoolDone>(std::move(done))] { finish(executor_, std::move(*done), {}); });
  }
  agent->when_gone.clear();
  closed_if_empty(turn);
}

void PoolCore::close(PoolDone done) {
  Turn turn(*this);
  when_closed_.push_back(std::move(done));
  if (!std::exchange(closing_, true)) {
    timers_.cancel(std::exchange(maintenance_timer_, 0));
    maintaining_ = false;
    std::vector<AgentPtr> agents;
    for (const auto& [id, agent] : agents_)
      agents.push_back(agent);
    agents_.clear();
    for (const AgentPtr& agent : agents)
      retire(turn, agent);
    for (const AgentPtr& agent : agents)
      retire_if_drained(turn, agent);
    // Those that are being added end with their connections.
    for (const AgentPtr& agent : std::vector<AgentPtr>(others_)) {
      if (agent->phase != Agent::Phase::adding) continue;
      for (const ConnectionPtr& connection : agent->all)
        give_up_on(turn, connection, Error(errc::closed, "the pool is closing"));
    }
  }
  closed_if_empty(turn);
}

void PoolCore::closed_if_empty(Turn& turn) {
  if (!closing_ || !agents_.empty() || !others_.empty()) return;
  closed_ = true;
  timers_.cancel(std::exchange(calls_timer_, 0));
  calls_timer_at_ = TimePoint::max();
  for (PoolDone& done : when_closed_) {
    turn.later([this, done = std::make_shared<PoolDone>(std::move(done))] { finish(executor_, std::move(*done), {}); });
  }
  when_closed_.clear();
}

/// Ends its calls and links at once.
void PoolCore::abandon_agent(Turn& turn, Agent& agent, const Error& why) {
  agent.phase = Agent::Phase::gone;
  std::vector<CallPtr> calls;
  collect(agent.parked, calls);
  for (const ConnectionPtr& connection : agent.all) {
    connection->state = PoolConnection::State::closed;
    collect(connection->waiting, calls);
    collect(connection->sent, calls);
  }
  // With its call goes a shadow.
  for (const CallPtr& call : calls)
    fail(turn, *call, PoolFailure::closed, why);
  for (const ConnectionPtr& connection : agent.all) {
    connection->forget_order();
    turn.later([link = connection->link, why] {
      if (link) link->cancel(why);
    });
  }
  for (PoolDone& done : agent.when_added)
    when_closed_.push_back(std::move(done));
  for (PoolDone& done : agent.when_gone)
    when_closed_.push_back(std::move(done));
}

/// The handle is gone: see `AgentPool::~AgentPool`.
void PoolCore::abandon() {
  {
    const std::scoped_lock lock(bus_mutex_);
    bus_ = nullptr;
  }
  std::vector<AgentPtr> all;
  std::vector<ConnectionPtr> connections;
  std::vector<std::shared_ptr<transport::Dialer>> dialers;
  {
    Turn turn(*this, Turn::From::start);
    closing_ = true;
    closed_ = true;
    maintaining_ = false;
    all.swap(others_);
    for (const auto& [id, agent] : agents_)
      all.push_back(agent);
    agents_.clear();
    const Error why(errc::closed, "the pool was destroyed");
    for (const AgentPtr& agent : all) {
      abandon_agent(turn, *agent, why);
      connections.insert(connections.end(), agent->all.begin(), agent->all.end());
      agent->all.clear();
      agent->connections.clear();
      agent->loads.clear();
      dialers.push_back(std::exchange(agent->dialer, nullptr));
    }
    for (PoolDone& done : when_closed_) {
      turn.later([this, why, done = std::make_shared<PoolDone>(std::move(done))] {
        finish(executor_, std::move(*done), why);
      });
    }
    when_closed_.clear();
  }
  // Others may be about to dial, or to close a dialer; they find nothing any more, or end first.
  for (const ConnectionPtr& connection : connections) {
    { const std::scoped_lock dialled(connection->dialling); }
    connection->subscription = {};
  }
  for (const AgentPtr& agent : all) {
    const std::scoped_lock told(agent->closing_dialer);
  }
  dialers.clear();
  timers_.let_go();
}

}  // namespace sharingbus::connector::internal

// Connections: dialling, handshake, what arrives, and their end.

#include <algorithm>
#include <exception>

#include <boost/asio/post.hpp>

#include "bus/base/bounded.hpp"
#include "connector/agent/internal/pool_core.hpp"

namespace sharingbus::connector::internal {
namespace {

namespace messages = transport::agent_messages;
using transport::AgentCarrier;
using transport::AgentWire;

/// What a connection's queue has room for beside its window.
constexpr std::size_t kEventReserve = 8;

template <class Fn>
std::function<void()> posted(const std::shared_ptr<PoolCore>& core, Fn fn) {
  return [weak = std::weak_ptr<PoolCore>(core), fn] {
    if (const auto self = weak.lock()) boost::asio::post(self->executor(), [self, fn] { fn(*self); });
  };
}

}  // namespace

// --- dialling --------------------------------------------------------------------------------------------------------

void PoolCore::open_connection(Turn& turn, const AgentPtr& agent, bool again) {
  auto connection =
      std::make_shared<PoolConnection>(++last_key_, agent, random_uuid(), options_.errors_until_unhealthy);
  connection->again = again;
  agent->all.push_back(connection);
  connection->timer = timers_.schedule_at(
      turn.now() + bounded(options_.connect_timeout),
      posted(shared_from_this(), [weak = std::weak_ptr<PoolConnection>(connection)](PoolCore& self) {
        const auto late = weak.lock();
        if (!late) return;
        Turn timed(self);
        self.timers_.fired(std::exchange(late->timer, 0));
        if (late->state != PoolConnection::State::connecting && late->state != PoolConnection::State::configuring)
          return;
        self.give_up_on(timed, late, Error(errc::connect_timeout, "no handshake within the connect timeout"));
      }));
  turn.later([this, connection] { dial(connection); });
}

Result<std::string> PoolCore::hello(const Agent& agent) const {
  messages::HandshakeRequest request;
  const bool grpc = agent.endpoint->carrier == AgentCarrier::grpc;
  request.supported_versions = grpc ? std::vector<std::uint32_t>{2, 1} : std::vector<std::uint32_t>{2};
  request.proxy_id = options_.proxy_id;
  request.proxy_version = options_.proxy_version;
  if (agent.options.config) request.config_json = agent.options.config->config_json;
  if (!grpc) request.supported_encodings = options_.encodings;
  const AgentWire wire = grpc ? AgentWire::protobuf : AgentWire::json;
  auto frame = transport::encode_agent_message(request, wire);
  if (!frame || frame->size() <= frame_limit(wire)) return frame;
  // A Configure follows, and says so when that is too large as well.
  request.config_json.clear();
  return transport::encode_agent_message(request, wire);
}

Result<> PoolCore::make_dialer(Agent& agent) {
  try {
    auto dialer = dialers_(*agent.endpoint);
    if (!dialer) return dialer.error();
    if (!*dialer) return Error(errc::invalid_argument, "the dialer factory made none for " + agent.endpoint_text);
    agent.dialer = std::move(*dialer);
    return {};
  } catch (const std::exception& thrown) {
    return Error(errc::invalid_argument, "the dialer factory threw: " + std::string(thrown.what()));
  }
}

bool PoolCore::watch(const ConnectionPtr& connection) {
  SubscriptionOptions options;
  options.name = "agent-connection " + connection->agent->id;
  options.filter = Filter::connector_uid(connection->uid) && Filter::origin(EventOrigin::transport);
  options.capacity = kConnectionWindow + kEventReserve;
  const std::scoped_lock lock(bus_mutex_);
  if (bus_ == nullptr) return false;
  // A group, and so a place on the executor, of its own: connections do not wait for one another's handlers. Byte
  // streams are read on the executor itself.
  const auto& endpoint = connection->agent->endpoint;
  const bool grpc = endpoint && endpoint->carrier == AgentCarrier::grpc;
  CallbackGroup group(*bus_, grpc ? boost::asio::any_io_executor(transport::Strand(in_turns_)) : executor_);
  connection->subscription = group.subscribe_batches(
      std::move(options),
      [weak = weak_from_this(), watched = std::weak_ptr<PoolConnection>(connection)](const Lent& lent) {
        const auto self = weak.lock();
        const auto target = watched.lock();
        if (self && target) self->received(target, lent);
      });
  return true;
}

void PoolCore::dial(const ConnectionPtr& connection) {
  const std::scoped_lock dialling(connection->dialling);
  std::shared_ptr<transport::Dialer> dialer;
  Result<std::string> first = Error(errc::closed, "the pool is closing");
  std::uint64_t id = 0;
  {
    const std::scoped_lock lock(mutex_);
    dialer = connection->agent->dialer;
    const bool wanted = connection->agent->phase <= Agent::Phase::up && !closing_;
    if (dialer && wanted && connection->state == PoolConnection::State::connecting) first = hello(*connection->agent);
  }
  if (!first || !watch(connection)) {
    const Error why = first ? Error(errc::closed, "the pool is closing") : first.error();
    dialer.reset();
    Turn turn(*this);
    return went_down(turn, connection, why);
  }
  {
    const std::scoped_lock lock(bus_mutex_);
    if (bus_ != nullptr) id = bus_->new_source();
  }
  const bool grpc = connection->agent->endpoint->carrier == AgentCarrier::grpc;
  transport::StreamOptions options;
  options.publisher = publisher_;
  options.decoder = grpc ? grpc_decoder_ : uds_decoder_;
  options.id = id;
  options.routing.connector_uid = connection->uid;
  options.routing.connector_id = connection->agent->id;
  options.initial_credit = {.requests = 1, .controls = kConnectionWindow};
  options.limits.max_inbound_bytes = transport::kAgentUdsFrameBytesMax;
  options.limits.max_outbound_bytes = grpc ? transport::kAgentGrpcMessageBytesMax : transport::kAgentUdsFrameBytesMax;
  options.limits.outbound_capacity = options_.channel_buffer;
  options.connect_timeout = options_.connect_timeout;
  auto link = dialer->open(std::move(options), std::move(*first));
  const std::scoped_lock lock(mutex_);
  connection->link = std::move(link);
  connection->queued();
}

// --- what arrives ----------------------------------------------------------------------------------------------------

void PoolCore::received(const ConnectionPtr& connection, const Lent& lent) {
  { const std::scoped_lock dialled(connection->dialling); }
  Turn turn(*this);
  if (connection->state == PoolConnection::State::closed) return;
  for (const EventRef& event : lent.events())
    take(turn, connection, event);
  if (const Gap* gap = lent.gap()) {
    // Cannot be while the credit is kept; without what was lost, answers would be wrong.
    give_up_on(turn, connection, Error(errc::internal, "lost " + std::to_string(gap->count) + " inbound messages"));
  } else if (lent.closed() != nullptr) {
    if (connection->link)
      turn.later([link = connection->link] { link->cancel(Error(errc::closed, "the bus closed")); });
    return went_down(turn, connection, Error(errc::closed, "the bus was closed"));
  }
  if (connection->owed >= kConnectionWindow / 4 && connection->link) {
    turn.later([link = connection->link, owed = std::exchange(connection->owed, 0)] {
      link->grant({.requests = 0, .controls = owed});
    });
  }
}

void PoolCore::take(Turn& turn, const ConnectionPtr& connection, const EventRef& event) {
  // The commonest first.
  if (event->is<messages::AgentResponse>()) {
    ++connection->owed;
    if (connection->state == PoolConnection::State::connecting) {
      return give_up_on(turn, connection, Error(errc::protocol_violation, "the first message is no handshake"));
    }
    return answered(turn, connection, event);
  }
  if (const auto* closed = event->get_if<transport::StreamClosed>()) return went_down(turn, connection, closed->error);
  if (event->is<transport::StreamWritable>()) {
    connection->blocked = false;
    return turn.flush(*connection);
  }
  if (const auto* opened = event->get_if<transport::StreamOpened>()) {
    connection->peer = opened->peer;
    return;
  }
  ++connection->owed;
  if (const auto* answer = event->get_if<messages::HandshakeResponse>()) {
    if (connection->state == PoolConnection::State::connecting) handshaken(turn, connection, *answer);
    return;
  }
  if (connection->state == PoolConnection::State::connecting) {
    return give_up_on(turn, connection, Error(errc::protocol_violation, "the first message is no handshake"));
  }
  if (const auto* signal = event->get_if<messages::FlowControlSignal>()) return flow(turn, connection, *signal);
  if (const auto* status = event->get_if<messages::HealthStatus>()) return reported(turn, connection, *status);
  if (event->is<messages::MetricsReport>()) {
    // What there was of one that is being removed is forgotten.
    if (connection->agent->phase > Agent::Phase::up) return;
    // However many the agent reports, nobody waits for them.
    return turn.later([this, agent = connection->agent, event, now = turn.now()] {
      collector_.record(agent->id, *event->get_if<messages::MetricsReport>(), now);
    });
  }
  if (const auto* pong = event->get_if<messages::Pong>()) {
    const auto push = connection->pings.find(pong->sequence);
    if (push == connection->pings.end()) return;
    const std::string id = push->second;
    connection->pings.erase(push);
    return config_answered(turn, connection, id, true, {});
  }
  if (event->is<messages::ConfigUpdateRequest>()) return config_requested(turn, connection, event);
  if (const auto* invalid = event->get_if<messages::InvalidMessage>()) return broken_answer(turn, connection, *invalid);
}

void PoolCore::handshaken(Turn& turn, const ConnectionPtr& connection, const messages::HandshakeResponse& answer) {
  Agent& agent = *connection->agent;
  if (!answer.success) {
    return give_up_on(turn, connection,
                      Error(errc::rejected, "handshake failed: " + answer.error.value_or("Unknown handshake error")));
  }
  if (answer.protocol_version != messages::kAgentProtocolVersion) {
    return give_up_on(turn, connection,
                      Error(errc::protocol_violation,
                            "Protocol version mismatch: expected 2, got " + std::to_string(answer.protocol_version)));
  }
  if (agent.endpoint->carrier == AgentCarrier::grpc) {
    connection->wire = AgentWire::protobuf;
  } else {
    const bool msgpack = answer.encoding == messages::Encoding::msgpack;
    const auto& offered = options_.encodings;
    if (msgpack && std::find(offered.begin(), offered.end(), "msgpack") == offered.end()) {
      return give_up_on(turn, connection, Error(errc::unsupported_encoding, "the agent chose msgpack, not offered"));
    }
    connection->wire = msgpack ? AgentWire::msgpack : AgentWire::json;
  }
  if (answer.capabilities) agent.capabilities = *answer.capabilities;
  if (!agent.options.config) return went_up(turn, connection);
  connection->state = PoolConnection::State::configuring;
  if (const auto sent = send_config(turn, connection, *agent.options.config, {}, true); !sent) {
    give_up_on(turn, connection, sent.error());
  }
}

void PoolCore::went_up(Turn& turn, const ConnectionPtr& connection) {
  const AgentPtr agent = connection->agent;
  if (agent->phase > Agent::Phase::up || closing_) {
    return give_up_on(turn, connection, Error(errc::closed, "the agent is being removed"));
  }
  timers_.cancel(std::exchange(connection->timer, 0));
  connection->state = PoolConnection::State::up;
  connection->was_up = true;
  connection->concurrency = options_.max_concurrent_per_connection;
  if (agent->capabilities && agent->capabilities->limits.max_concurrency != 0) {
    connection->concurrency =
        std::min<std::size_t>(connection->concurrency, agent->capabilities->limits.max_concurrency);
  }
  agent->wire = connection->wire;
  agent->connections.push_back(connection);
  agent->loads.emplace_back();
  agent->outliers.add(connection->key);
  update_load(*connection);
  turn.publish(AgentConnectionUp{agent->id, connection->key, connection->peer, connection->reverse}, agent->id,
               connection->uid);
  if (agent->phase == Agent::Phase::up) {
    pusher_.add_agent(agent->id, agent->capabilities && agent->capabilities->features.config_push);
  }
  if (!connection->reverse) {
    ++agent->opened;
    --agent->opening;
    // It takes the place of one that was unhealthy.
    for (const ConnectionPtr& other : std::vector<ConnectionPtr>(agent->connections)) {
      if (agent->connections.size() <= options_.connections_per_agent) break;
      if (!other->healthy()) retire_connection(turn, other);
    }
  }
  check_health(turn, *agent);
  if (!agent->parked.empty()) unpark(turn, *agent);
  if (!connection->reverse && agent->opening == 0) round_ended(turn, agent);
}

// --- the end ---------------------------------------------------------------------------------------------------------

/// Its end is told by `StreamClosed`, where there is a link.
void PoolCore::give_up_on(Turn& turn, const ConnectionPtr& connection, Error why) {
  if (connection->state == PoolConnection::State::closed) return;
  if (!connection->link) return;
  turn.later([link = connection->link, why = std::move(why)] { link->cancel(why); });
}

/// Out of the choice; it ends when its last call does.
void PoolCore::retire_connection(Turn& turn, const ConnectionPtr& connection) {
  Agent& agent = *connection->agent;
  const auto at = std::find(agent.connections.begin(), agent.connections.end(), connection);
  if (at != agent.connections.end()) {
    agent.loads.erase(agent.loads.begin() + (at - agent.connections.begin()));
    agent.connections.erase(at);
    agent.outliers.remove(connection->key);
  }
  connection->state = PoolConnection::State::closing;
  update_load(*connection);
  while (!connection->waiting.empty()) {
    Call& call = connection->waiting.front();
    if (call.shadow) {
      drop_shadow(call, false);
      continue;
    }
    connection->waiting.pop_front();
    call.state = Call::State::fresh;
    call.connection = nullptr;
    place(turn, call);
  }
  end_if_idle(turn, *connection);
}

void PoolCore::end_if_idle(Turn& turn, PoolConnection& connection) {
  if (connection.state == PoolConnection::State::closing && connection.sent.empty()) {
    give_up_on(turn, connection.shared_from_this(), Error(errc::cancelled, "replaced by a healthy connection"));
  }
}

void PoolCore::went_down(Turn& turn, const ConnectionPtr& connection, const Error& why) {
  if (connection->state == PoolConnection::State::closed) return;
  const AgentPtr agent = connection->agent;
  timers_.cancel(std::exchange(connection->timer, 0));
  connection->state = PoolConnection::State::closed;
  update_load(*connection);
  std::erase(agent->all, connection);
  const auto at = std::find(agent->connections.begin(), agent->connections.end(), connection);
  if (at != agent->connections.end()) {
    agent->loads.erase(agent->loads.begin() + (at - agent->connections.begin()));
    agent->connections.erase(at);
    agent->outliers.remove(connection->key);
  }
  for (const auto& [correlation_id, push_id] : connection->pushes)
    pusher_.not_delivered(push_id);
  for (const auto& [sequence, push_id] : connection->pings)
    pusher_.not_delivered(push_id);
  if (connection->was_up) {
    turn.publish(AgentConnectionDown{agent->id, connection->key, why}, agent->id, connection->uid);
    check_health(turn, *agent);
  }
  while (!connection->sent.empty())
    end_lost(turn, connection->sent.front(), why);
  // These never went out: another connection may take them.
  while (!connection->waiting.empty()) {
    Call& call = connection->waiting.front();
    if (call.shadow || agent->connections.empty()) {
      end_lost(turn, call, why);
      continue;
    }
    connection->waiting.pop_front();
    call.state = Call::State::fresh;
    call.connection = nullptr;
    place(turn, call);
  }
  connection->forget_order();
  // Not under the lock: letting go may wait for a callback that wants it.
  turn.later([connection] { connection->subscription = {}; });
  if (!connection->was_up && !connection->reverse) {
    // The dialer tries the protocol's other name the next time.
    if (why.is(errc::unimplemented) && !connection->again && agent->phase <= Agent::Phase::up && !closing_) {
      return open_connection(turn, agent, true);
    }
    agent->open_error = why ? why : Error(errc::stream_closed, "the agent closed the connection");
    if (--agent->opening == 0 && agent->phase <= Agent::Phase::up) round_ended(turn, agent);
  } else if (agent->phase == Agent::Phase::up) {
    look_again(turn, agent->next_attempt);
  }
  if (agent->phase == Agent::Phase::closing && agent->all.empty()) finish_agent(turn, agent);
}

// --- health ----------------------------------------------------------------------------------------------------------

void PoolCore::update_load(PoolConnection& connection) {
  const auto gauge = [](std::atomic<std::int64_t>& value, bool& counted, bool now) {
    if (counted != now) value.fetch_add(now ? 1 : -1, std::memory_order_relaxed);
    counted = now;
  };
  gauge(metrics_.healthy_connections, connection.counted_healthy, connection.healthy());
  gauge(metrics_.paused_connections, connection.counted_paused,
        connection.state == PoolConnection::State::up && connection.flow.paused());
  Agent& agent = *connection.agent;
  for (std::size_t i = 0; i < agent.connections.size(); ++i) {
    if (agent.connections[i].get() != &connection) continue;
    agent.loads[i] = {.usable = connection.usable(),
                      .full = connection.load() >= connection.concurrency,
                      .in_flight = static_cast<std::uint32_t>(connection.load()),
                      .error_rate = connection.health.recent_error_rate(),
                      .latency = connection.latency.value()};
    return;
  }
}

void PoolCore::judged(Turn& turn, PoolConnection& connection, bool was_healthy) {
  update_load(connection);
  if (connection.healthy() == was_healthy || connection.state != PoolConnection::State::up) return;
  Agent& agent = *connection.agent;
  if (was_healthy) {
    turn.publish(AgentConnectionUnhealthy{agent.id, connection.key, connection.health.errors_in_a_row()}, agent.id,
                 connection.uid);
  } else {
    turn.publish(AgentConnectionRecovered{agent.id, connection.key}, agent.id, connection.uid);
  }
  check_health(turn, agent);
  if (was_healthy) look_again(turn, agent.next_attempt);
}

void PoolCore::connection_failed(Turn& turn, PoolConnection& connection) {
  const bool was_healthy = connection.healthy();
  connection.health.failed();
  if (connection.agent->outliers.failed(connection.key, turn.now())) {
    connection.ejected = true;
    turn.publish(AgentConnectionEjected{connection.agent->id, connection.key}, connection.agent->id, connection.uid);
  }
  judged(turn, connection, was_healthy);
}

void PoolCore::connection_succeeded(Turn& turn, PoolConnection& connection) {
  const bool was_healthy = connection.healthy();
  connection.health.succeeded();
  connection.agent->outliers.succeeded(connection.key);
  if (!was_healthy) judged(turn, connection, was_healthy);
}

void PoolCore::flow(Turn& turn, const ConnectionPtr& connection, const messages::FlowControlSignal& signal) {
  auto action = FlowState::Action::resume;
  if (signal.action == messages::FlowAction::pause) action = FlowState::Action::pause;
  if (signal.action == messages::FlowAction::update_capacity) action = FlowState::Action::update_capacity;
  if (signal.action == messages::FlowAction::unspecified) return;
  const bool was_paused = connection->flow.paused();
  const auto change = connection->flow.apply(action, signal.correlation_id.value_or(""), signal.buffer_available);
  update_load(*connection);
  Agent& agent = *connection->agent;
  if (connection->flow.paused() != was_paused) {
    if (was_paused) {
      metrics_.flow_control_resumes.fetch_add(1, std::memory_order_relaxed);
      turn.publish(AgentResumed{agent.id, connection->key}, agent.id, connection->uid);
    } else {
      metrics_.flow_control_pauses.fetch_add(1, std::memory_order_relaxed);
      turn.publish(AgentPaused{agent.id, connection->key}, agent.id, connection->uid);
    }
  }
  if (change == FlowState::Change::resumed && !agent.parked.empty()) unpark(turn, agent);
}

void PoolCore::reported(Turn& turn, const ConnectionPtr& connection, const messages::HealthStatus& status) {
  const bool was_healthy = connection->healthy();
  connection->reported_healthy = status.state != messages::HealthState::unhealthy;
  connection->reported_draining = status.state == messages::HealthState::draining;
  judged(turn, *connection, was_healthy);
}

}  // namespace sharingbus::connector::internal

// Calls: from their start to the link, and the affinities and sessions that say where they go.

#include <algorithm>
#include <exception>
#include <type_traits>

#include <boost/asio/associated_cancellation_slot.hpp>
#include <boost/asio/associated_executor.hpp>
#include <boost/asio/dispatch.hpp>
#include <boost/asio/execution/outstanding_work.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/prefer.hpp>

#include "bus/base/bounded.hpp"
#include "connector/agent/internal/pool_core.hpp"

namespace sharingbus::connector::internal {
namespace {

namespace messages = transport::agent_messages;

/// Frames handed to a link before others get their turn at the lock.
constexpr std::size_t kFramesPerTurn = 32;

std::string quoted(const std::string& agent_id) {
  return "agent '" + agent_id + "'";
}

std::string& id_of(messages::RequestHeaders& event) {
  return event.metadata.correlation_id;
}
template <class Event>
std::string& id_of(Event& event) {
  return event.correlation_id;
}
const std::string& id_of(const messages::RequestHeaders& event) {
  return event.metadata.correlation_id;
}
template <class Event>
const std::string& id_of(const Event& event) {
  return event.correlation_id;
}

}  // namespace

// --- starting --------------------------------------------------------------------------------------------------------

CallPtr PoolCore::make_call(std::string_view agent_id, std::string_view correlation_id, CallKind kind, bool last,
                            CallOptions options) {
  CallPtr call(new Call);
  call->agent_id.assign(agent_id);
  call->correlation_id.assign(correlation_id);
  call->session = std::move(options.session);
  call->kind = kind;
  call->last = last;
  call->retries = options_.retry.attempts;
  call->timeout = bounded(options.timeout.value_or(options_.request_timeout));
  if (call->timeout <= Duration::zero())
    call->error = Error(errc::invalid_argument, "CallOptions::timeout must be above 0");
  if (correlation_id.empty()) call->error = Error(errc::invalid_argument, "the correlation id must not be empty");
  const std::scoped_lock lock(mutex_);
  if (const auto found = agents_.find(agent_id); found != agents_.end()) {
    call->agent = found->second;
    call->wire = call->agent->wire.value_or(call->wire);
  }
  return call;
}

template <class Event>
CallPtr PoolCore::prepare(std::string_view agent_id, std::string_view correlation_id, const Event& event, CallKind kind,
                          bool last, CallOptions options) {
  CallPtr call = make_call(agent_id, correlation_id, kind, last, std::move(options));
  if (call->error || !call->agent) return call;
  const TimePoint before = timers_.now();
  const auto encode = [&](const Event& what) {
    auto frame = transport::encode_agent_message(what, call->wire);
    if (frame) {
      call->frame = std::move(*frame);
    } else {
      call->error = frame.error();
    }
  };
  if (id_of(event) == correlation_id) {
    encode(event);
  } else {
    Event renamed = event;
    id_of(renamed).assign(correlation_id);
    encode(renamed);
  }
  if (!call->error && call->frame.size() > frame_limit(call->wire)) {
    call->error =
        Error(errc::message_too_large, quoted(call->agent_id) + ": an event of " + std::to_string(call->frame.size()) +
                                           " bytes exceeds the limit of " + std::to_string(frame_limit(call->wire)));
  }
  metrics_.serialization.record(timers_.now() - before);
  return call;
}

template CallPtr PoolCore::prepare(std::string_view, std::string_view, const messages::RequestHeaders&, CallKind, bool,
                                   CallOptions);
template CallPtr PoolCore::prepare(std::string_view, std::string_view, const messages::RequestBodyChunk&, CallKind,
                                   bool, CallOptions);
template CallPtr PoolCore::prepare(std::string_view, std::string_view, const messages::ResponseHeaders&, CallKind, bool,
                                   CallOptions);
template CallPtr PoolCore::prepare(std::string_view, std::string_view, const messages::ResponseBodyChunk&, CallKind,
                                   bool, CallOptions);
template CallPtr PoolCore::prepare(std::string_view, std::string_view, const messages::WebSocketFrame&, CallKind, bool,
                                   CallOptions);
template CallPtr PoolCore::prepare(std::string_view, std::string_view, const messages::GuardrailInspect&, CallKind,
                                   bool, CallOptions);
template CallPtr PoolCore::prepare(std::string_view, std::string_view, const messages::RequestComplete&, CallKind, bool,
                                   CallOptions);

void PoolCore::start(CallPtr started, boost::asio::any_completion_handler<void(Error, AgentReply)> handler) {
  Call& call = *started;
  call.executor = boost::asio::prefer(boost::asio::get_associated_executor(handler, executor_),
                                      boost::asio::execution::outstanding_work.tracked);
  auto slot = boost::asio::get_associated_cancellation_slot(handler);
  // Boost 1.81 cannot assign these.
  call.handler.swap(handler);
  if (slot.is_connected()) {
    slot.assign([weak = weak_from_this(), started](boost::asio::cancellation_type) {
      if (const auto self = weak.lock()) self->cancel_call(started);
    });
  }
  call.started = timers_.now();
  call.give_up = call.started + call.timeout;
  call.hedge = options_.hedge_after > Duration::zero() &&
               (call.kind == CallKind::request_headers || call.kind == CallKind::guardrail);
  call.deadline = call.hedge ? std::min(call.give_up, call.started + options_.hedge_after) : call.give_up;
  metrics_.requests.fetch_add(1, std::memory_order_relaxed);
  metrics_.in_flight.fetch_add(1, std::memory_order_relaxed);
  // The pool's own, until the call is complete.
  intrusive_ptr_add_ref(&call);
  Turn turn(*this, Turn::From::start);
  deadlines_.add(call);
  if (call.agent) {
    ++call.agent->calls;
    ++call.agent->requests;
    call.agent->budget.requested();
  }
  if (call.error) {
    const bool usage = call.error.is(errc::invalid_argument);
    Error why = std::move(call.error);
    return fail(turn, call, usage ? PoolFailure::invalid : PoolFailure::serialization, std::move(why));
  }
  if (closing_) return fail(turn, call, PoolFailure::closed, Error(errc::closed, "the pool is closing"));
  if (!call.agent) {
    return fail(turn, call, PoolFailure::unknown_agent, Error(errc::not_found, "no " + quoted(call.agent_id)));
  }
  if (call.agent->phase != Agent::Phase::up) {
    return fail(turn, call, PoolFailure::closed, Error(errc::closed, quoted(call.agent_id) + " is being removed"));
  }
  place(turn, call);
}

// --- where it goes ---------------------------------------------------------------------------------------------------

PoolCore::ConnectionPtr PoolCore::find_connection(const Agent& agent, ConnectionKey key) const {
  for (const ConnectionPtr& connection : agent.connections) {
    if (connection->key == key) return connection;
  }
  return nullptr;
}

PoolCore::Selection PoolCore::select(Agent& agent, Call& call) {
  if (agent.connections.empty()) return {nullptr, PoolFailure::no_connections};
  ConnectionPtr bound;
  if (call.kind != CallKind::request_headers) {
    if (const auto key = affinities_.find(agent.key, call.correlation_id)) {
      bound = find_connection(agent, *key);
      if (!bound) affinities_.release(agent.key, call.correlation_id);
    }
  }
  if (!bound && !call.session.empty()) {
    const auto session = sessions_.find(call.session, call.started);
    if (session && session->agent == agent.key) bound = find_connection(agent, session->connection);
    call.session_used = bound && bound->healthy();
  }
  // One that is draining goes on with what it has.
  if (bound && bound->healthy() && !bound->ejected) {
    if (bound->flow.paused(call.correlation_id)) return {bound, PoolFailure::flow_control_paused};
    return {bound, PoolFailure::none};
  }
  if (const auto index = agent.balancer.pick(agent.loads)) return {agent.connections[*index], PoolFailure::none};
  const bool paused = std::any_of(agent.connections.begin(), agent.connections.end(), [](const auto& connection) {
    return connection->healthy() && connection->flow.paused();
  });
  return {nullptr, paused ? PoolFailure::flow_control_paused : PoolFailure::no_healthy_connections};
}

void PoolCore::place(Turn& turn, Call& call) {
  Agent& agent = *call.agent;
  if (!call.counted_by_breaker && call.state == Call::State::fresh) {
    const auto before = agent.breaker.state();
    const bool allowed = agent.breaker.allow(call.started);
    if (agent.breaker.state() != before) turn.publish(AgentCircuitChanged{agent.id, agent.breaker.state()}, agent.id);
    if (!allowed) {
      return fail(turn, call, PoolFailure::circuit_open,
                  Error(errc::rejected, quoted(agent.id) + ": the circuit is open"));
    }
    call.counted_by_breaker = true;
  }
  const Selection selected = select(agent, call);
  switch (selected.failure) {
    case PoolFailure::none:
      return enqueue(turn, selected.connection, call);
    case PoolFailure::flow_control_paused:
      return turned_away(turn, call);
    case PoolFailure::no_connections:
      return fail(turn, call, selected.failure,
                  Error(errc::connection_refused, "No connections available for " + quoted(agent.id)));
    default:
      return fail(turn, call, selected.failure,
                  Error(errc::stream_failed, "No healthy connections for " + quoted(agent.id)));
  }
}

/// The agent is paused; the mode says what that means.
void PoolCore::turned_away(Turn& turn, Call& call) {
  Agent& agent = *call.agent;
  const auto paused = [&] {
    metrics_.flow_control_rejections.fetch_add(1, std::memory_order_relaxed);
    fail(turn, call, PoolFailure::flow_control_paused,
         Error(errc::capacity_exceeded, "Flow control paused: " + quoted(agent.id) + " requested backpressure"));
  };
  switch (options_.flow_control) {
    case FlowControlMode::fail_closed:
      return paused();
    case FlowControlMode::fail_open:
      metrics_.flow_control_rejections.fetch_add(1, std::memory_order_relaxed);
      return complete(turn, call, {}, AgentReply::allow());
    case FlowControlMode::wait_and_retry:
      break;
  }
  // Beyond its time it is not parked anew: one wait for a call.
  const TimePoint until = std::min(call.started + options_.flow_control_wait, call.give_up);
  if (turn.now() >= until) return paused();
  if (agent.parked.size() >= options_.max_waiting) {
    return fail(turn, call, PoolFailure::overloaded,
                Error(errc::capacity_exceeded, quoted(agent.id) + " is paused, and too many calls wait for it"));
  }
  call.state = Call::State::parked;
  agent.parked.push_back(call);
  deadlines_.remove(call);
  call.deadline = until;
  deadlines_.add(call);
  arm_calls();
}

void PoolCore::enqueue(Turn& turn, const ConnectionPtr& connection, Call& call) {
  Agent& agent = *call.agent;
  if (connection->wire != call.wire) {
    return fail(turn, call, PoolFailure::connection,
                Error(errc::stream_failed, quoted(agent.id) + " has changed its encoding"));
  }
  if (connection->waiting.size() >= options_.max_waiting) {
    return fail(turn, call, PoolFailure::overloaded,
                Error(errc::capacity_exceeded, quoted(agent.id) + ": " + std::to_string(connection->waiting.size()) +
                                                   " calls wait for their turn already"));
  }
  if (call.kind == CallKind::request_headers) {
    affinities_.bind(agent.key, call.correlation_id, connection->key, call.started);
    metrics_.affinities.store(static_cast<std::int64_t>(affinities_.size()), std::memory_order_relaxed);
    metrics_.affinity_evictions.store(affinities_.evictions(), std::memory_order_relaxed);
  }
  if (!call.session.empty() && !call.session_used) {
    sessions_.bind(call.session, {agent.key, connection->key}, call.started);
  }
  call.state = Call::State::waiting;
  call.connection = connection.get();
  connection->waiting.push_back(call);
  connection->health.requested();
  update_load(*connection);
  turn.flush(*connection);
  arm_calls();
}

void PoolCore::unpark(Turn& turn, Agent& agent) {
  CallList parked;
  parked.swap(agent.parked);
  while (!parked.empty()) {
    Call& call = parked.front();
    parked.pop_front();
    call.state = Call::State::fresh;
    deadlines_.remove(call);
    call.deadline = call.give_up;
    deadlines_.add(call);
    place(turn, call);
  }
}

// Whoever sets `flushing` sends until there is nothing, so frames keep their order without a lock held over the link.
void PoolCore::flush(PoolConnection& connection) {
  std::array<std::string, kFramesPerTurn> frames;
  // The one frame that the link may refuse, and its call; null: a control.
  CallPtr doubtful;
  for (;;) {
    std::size_t count = 0;
    bool probe = false;
    {
      const std::scoped_lock lock(mutex_);
      while (count < kFramesPerTurn && connection.has_to_send() && !probe) {
        if (connection.room(options_.channel_buffer) == 0) {
          // Only a refused message is followed by a word when there is room again.
          if (count != 0) break;
          probe = true;
        }
        connection.queued();
        if (!connection.controls.empty()) {
          frames[count++] = std::move(connection.controls.front());
          connection.controls.pop_front();
          continue;
        }
        Call& call = connection.waiting.front();
        connection.waiting.pop_front();
        connection.mark_sent(call);
        if (probe) doubtful = &call;
        if (probe || call.retries != 0 || call.hedge) {
          frames[count++] = call.frame;
        } else {
          frames[count++] = std::move(call.frame);
        }
      }
      if (count == 0) {
        connection.flushing = false;
        return;
      }
      // Before the link is asked, for that word may come before its answer.
      connection.blocked = probe;
    }
    if (!probe) {
      for (std::size_t i = 0; i < count; ++i)
        connection.link->send(std::move(frames[i]));
      continue;
    }
    // Kept, for it may come back.
    std::string frame = frames[0];
    if (connection.link->send(std::move(frame)) == transport::SendStatus::full) {
      take_back(connection, doubtful, std::move(frames[0]));
    } else {
      const std::scoped_lock lock(mutex_);
      connection.blocked = false;
    }
    doubtful.reset();
  }
}

/// The link was full. Meanwhile anything may have happened to the connection, and to the call.
void PoolCore::take_back(PoolConnection& connection, const CallPtr& call, std::string frame) {
  Turn turn(*this);
  connection.refused();
  if (!call) return connection.controls.push_front(std::move(frame));
  connection.unmark_sent(*call);
  if (call->state != Call::State::sent || call->connection != &connection) return;
  connection.sent.erase(connection.sent.iterator_to(*call));
  call->state = Call::State::waiting;
  connection.waiting.push_front(*call);
  // One that is being replaced sends no more calls.
  if (connection.state == PoolConnection::State::closing) retire_connection(turn, connection.shared_from_this());
}

// --- sessions and affinities -----------------------------------------------------------------------------------------

Result<> PoolCore::create_session(const std::string& session, std::string_view agent_id) {
  if (session.empty()) return Error(errc::invalid_argument, "the session must not be empty");
  const TimePoint now = timers_.now();
  const std::scoped_lock lock(mutex_);
  const AgentPtr agent = find(agent_id);
  if (!agent) return Error(errc::not_found, "no agent '" + std::string(agent_id) + "'");
  const auto index = agent->balancer.pick(agent->loads);
  if (!index && agent->connections.empty()) {
    return Error(errc::connection_refused, "No connections available for " + quoted(agent->id));
  }
  // A paused one will resume.
  const auto paused = std::find_if(agent->connections.begin(), agent->connections.end(),
                                   [](const auto& connection) { return connection->healthy(); });
  if (!index && paused == agent->connections.end()) {
    return Error(errc::stream_failed, "No healthy connections for " + quoted(agent->id));
  }
  const ConnectionPtr& chosen = index ? agent->connections[*index] : *paused;
  sessions_.bind(session, {agent->key, chosen->key}, now);
  return {};
}

bool PoolCore::refresh_session(std::string_view session) {
  const TimePoint now = timers_.now();
  const std::scoped_lock lock(mutex_);
  return sessions_.touch(session, now);
}

bool PoolCore::clear_session(std::string_view session) {
  const std::scoped_lock lock(mutex_);
  return sessions_.clear(session);
}

std::optional<std::string> PoolCore::session_agent(std::string_view session) {
  const TimePoint now = timers_.now();
  const std::scoped_lock lock(mutex_);
  const auto bound = sessions_.find(session, now);
  if (!bound) return std::nullopt;
  for (const auto& [id, agent] : agents_) {
    if (agent->key == bound->agent) return id;
  }
  return std::nullopt;
}

std::size_t PoolCore::session_count() const {
  const std::scoped_lock lock(mutex_);
  return sessions_.size();
}

std::size_t PoolCore::expire_sessions() {
  const TimePoint now = timers_.now();
  const std::scoped_lock lock(mutex_);
  return sessions_.expire(now);
}

std::size_t PoolCore::clear_affinity(std::string_view correlation_id) {
  const std::scoped_lock lock(mutex_);
  const std::size_t cleared = affinities_.clear(correlation_id);
  metrics_.affinities.store(static_cast<std::int64_t>(affinities_.size()), std::memory_order_relaxed);
  return cleared;
}

std::size_t PoolCore::affinity_count() const {
  const std::scoped_lock lock(mutex_);
  return affinities_.size();
}

}  // namespace sharingbus::connector::internal

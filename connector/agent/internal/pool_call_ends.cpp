// Calls: their ends, by answers, errors, time and cancellation.

#include <atomic>
#include <exception>
#include <utility>
#include <vector>

#include <boost/asio/associated_cancellation_slot.hpp>
#include <boost/asio/dispatch.hpp>
#include <boost/asio/post.hpp>

#include "connector/agent/internal/pool_core.hpp"

namespace sharingbus::connector::internal {
namespace {

namespace messages = transport::agent_messages;

std::string quoted(const std::string& agent_id) {
  return "agent '" + agent_id + "'";
}

}  // namespace

void PoolCore::answered(Turn& turn, const ConnectionPtr& connection, const EventRef& event) {
  const auto& response = *event->get_if<messages::AgentResponse>();
  const CallPtr call = connection->take_answered(response.correlation_id);
  if (!call) {
    if (const auto push = connection->pushes.find(response.correlation_id); push != connection->pushes.end()) {
      const std::string id = push->second;
      connection->pushes.erase(push);
      const auto* block = std::get_if<messages::Block>(&response.decision);
      const bool accepted = std::holds_alternative<messages::Allow>(response.decision);
      return config_answered(turn, connection, id, accepted,
                             block != nullptr ? block->body.value_or("Configuration rejected") : "not allowed");
    }
    metrics_.late_answers.fetch_add(1, std::memory_order_relaxed);
    return;
  }
  if (call->state != Call::State::sent) {
    metrics_.late_answers.fetch_add(1, std::memory_order_relaxed);
    return;
  }
  connection_succeeded(turn, *connection);
  if (!call->shadow) return complete(turn, *call, {}, AgentReply(event));
  const CallPtr first = call->rival;
  drop_shadow(*call, false);
  if (first->state == Call::State::sent) first->connection->abandon(*first);
  complete(turn, *first, {}, AgentReply(event));
}

void PoolCore::broken_answer(Turn& turn, const ConnectionPtr& connection, const messages::InvalidMessage& message) {
  const CallPtr call = connection->take_answered(message.correlation_id);
  if (!call || call->state != Call::State::sent) return;
  connection_failed(turn, *connection);
  if (call->shadow) return end_lost(turn, *call, Error(errc::deserialization_failed, message.error));
  fail(turn, *call, PoolFailure::serialization,
       Error(errc::deserialization_failed, quoted(call->agent_id) + ": " + message.error));
}

void PoolCore::leave_list(Call& call) {
  switch (call.state) {
    case Call::State::parked:
      call.agent->parked.erase(call.agent->parked.iterator_to(call));
      break;
    case Call::State::waiting:
      call.connection->waiting.erase(call.connection->waiting.iterator_to(call));
      break;
    case Call::State::sent:
      call.connection->sent.erase(call.connection->sent.iterator_to(call));
      break;
    case Call::State::fresh:
    case Call::State::done:
      break;
  }
}

void PoolCore::complete(Turn& turn, Call& call, Error error, AgentReply reply) {
  if (const CallPtr shadow = call.rival) drop_shadow(*shadow, shadow->state == Call::State::sent);
  leave_list(call);
  call.state = Call::State::done;
  deadlines_.remove(call);
  const TimePoint now = turn.now();
  reply.duration = now - call.started;
  reply.session_used = call.session_used && call.connection != nullptr;
  if (call.agent) {
    Agent& agent = *call.agent;
    --agent.calls;
    if (error) {
      ++agent.errors;
      if (call.counted_by_breaker && reply.failure == PoolFailure::cancelled) agent.breaker.abandoned();
    } else if (call.counted_by_breaker) {
      if (!reply.from_agent()) {
        agent.breaker.abandoned();
      } else if (agent.breaker.succeeded()) {
        turn.publish(AgentCircuitChanged{agent.id, agent.breaker.state()}, agent.id);
      }
    }
    if (call.connection != nullptr) {
      PoolConnection& connection = *call.connection;
      if (call.last || (error && reply.failure != PoolFailure::overloaded)) {
        affinities_.release(agent.key, call.correlation_id);
        connection.flow.forget(call.correlation_id);
      } else if (!error) {
        affinities_.touch(agent.key, call.correlation_id, now);
      }
      metrics_.affinities.store(static_cast<std::int64_t>(affinities_.size()), std::memory_order_relaxed);
      if (!error) {
        connection.latency.observe(reply.duration, now);
        if (!call.session.empty()) sessions_.touch(call.session, now);
      }
      update_load(connection);
      turn.flush(connection);
      end_if_idle(turn, connection);
    }
  }
  if (error) {
    metrics_.errors.fetch_add(1, std::memory_order_relaxed);
  } else {
    if (reply.from_agent()) metrics_.responses.fetch_add(1, std::memory_order_relaxed);
    metrics_.request_duration.record(reply.duration);
  }
  metrics_.in_flight.fetch_sub(1, std::memory_order_relaxed);
  call.error = std::move(error);
  call.reply = std::move(reply);
  const AgentPtr agent = call.agent;
  turn.completed(call);
  if (agent && agent->phase == Agent::Phase::draining) retire_if_drained(turn, agent);
}

void PoolCore::count(PoolFailure failure) {
  const auto one = [](std::atomic<std::uint64_t>& counter) { counter.fetch_add(1, std::memory_order_relaxed); };
  switch (failure) {
    case PoolFailure::timeout:
      return one(metrics_.timeouts);
    case PoolFailure::no_connections:
    case PoolFailure::no_healthy_connections:
    case PoolFailure::connection:
      return one(metrics_.connection_errors);
    case PoolFailure::serialization:
      return one(metrics_.serialization_errors);
    case PoolFailure::cancelled:
      return one(metrics_.cancelled);
    default:
      return;
  }
}

void PoolCore::fail(Turn& turn, Call& call, PoolFailure failure, Error error) {
  count(failure);
  if (call.counted_by_breaker) {
    Agent& agent = *call.agent;
    if (failure == PoolFailure::timeout || failure == PoolFailure::connection) {
      if (agent.breaker.failed(turn.now())) {
        turn.publish(AgentCircuitChanged{agent.id, agent.breaker.state()}, agent.id);
      }
    } else if (failure != PoolFailure::cancelled) {
      agent.breaker.abandoned();
    }
  }
  complete(turn, call, std::move(error), AgentReply::failed(failure));
}

/// The connection of a call that was sent is gone.
void PoolCore::fail_lost(Turn& turn, Call& call, const Error& why) {
  Agent& agent = *call.agent;
  leave_list(call);
  call.state = Call::State::fresh;
  if (call.rival) {
    // That one may still be answered.
    call.connection = nullptr;
    return;
  }
  const bool again = call.retries != 0 && agent.phase == Agent::Phase::up && !closing_ && !agent.connections.empty() &&
                     agent.budget.take(turn.now());
  if (again) {
    --call.retries;
    call.connection = nullptr;
    metrics_.retries.fetch_add(1, std::memory_order_relaxed);
    return place(turn, call);
  }
  Error error = why ? why : Error(errc::stream_closed, "closed");
  error.message = quoted(agent.id) + ": the connection ended: " + to_string(error);
  fail(turn, call, PoolFailure::connection, std::move(error));
}

// --- asking twice ----------------------------------------------------------------------------------------------------

void PoolCore::hedge(Turn& turn, Call& call) {
  Agent& agent = *call.agent;
  std::vector<ConnectionLoad> others = agent.loads;
  for (std::size_t i = 0; i < others.size(); ++i)
    others[i].usable = others[i].usable && !others[i].full && agent.connections[i].get() != call.connection;
  const auto index = agent.balancer.pick(others);
  if (!index || !agent.budget.take(turn.now())) return;
  PoolConnection& connection = *agent.connections[*index];
  if (connection.wire != call.wire) return;
  CallPtr shadow(new Call);
  shadow->agent = call.agent;
  shadow->agent_id = call.agent_id;
  shadow->correlation_id = call.correlation_id;
  shadow->frame = call.frame;
  shadow->kind = call.kind;
  shadow->shadow = true;
  shadow->rival = &call;
  shadow->state = Call::State::waiting;
  shadow->connection = &connection;
  call.rival = shadow;
  connection.waiting.push_back(*shadow);
  // The pool's own, until it is dropped.
  intrusive_ptr_add_ref(shadow.get());
  connection.health.requested();
  metrics_.hedges.fetch_add(1, std::memory_order_relaxed);
  update_load(connection);
  turn.flush(connection);
}

// Agents are not told: the request goes on, and to them it is one.
void PoolCore::drop_shadow(Call& shadow, bool in_order) {
  const CallPtr keep(&shadow, false);
  if (in_order) shadow.connection->abandon(shadow);
  leave_list(shadow);
  shadow.state = Call::State::done;
  update_load(*shadow.connection);
  if (const CallPtr call = std::move(shadow.rival)) call->rival = nullptr;
  shadow.rival = nullptr;
}

void PoolCore::end_lost(Turn& turn, Call& call, const Error& why) {
  if (!call.shadow) return fail_lost(turn, call, why);
  const CallPtr first = call.rival;
  drop_shadow(call, false);
  if (first->state == Call::State::fresh) fail_lost(turn, *first, why);
}

void PoolCore::collect(CallList& list, std::vector<CallPtr>& calls) {
  for (Call& call : list) {
    if (!call.shadow) {
      calls.emplace_back(&call);
    } else if (call.rival->state == Call::State::fresh) {
      calls.push_back(call.rival);
    }
  }
}

// --- cancelling ------------------------------------------------------------------------------------------------------

void PoolCore::tell_cancelled(Turn& turn, PoolConnection& connection, const std::string& correlation_id,
                              messages::CancelReason reason) {
  messages::Cancel cancel;
  cancel.correlation_id = correlation_id;
  cancel.reason = reason;
  cancel.timestamp_ms = static_cast<std::uint64_t>(timers_.moment().unix_ms);
  auto frame = transport::encode_agent_message(cancel, connection.wire);
  if (!frame) return;
  connection.controls.push_back(std::move(*frame));
  turn.flush(connection);
}

void PoolCore::cancel_call(const CallPtr& call) {
  Turn turn(*this);
  if (call->state == Call::State::done || !call->agent) return;
  if (call->state == Call::State::sent) {
    call->connection->abandon(*call);
    tell_cancelled(turn, *call->connection, call->correlation_id, messages::CancelReason::client_disconnect);
  }
  fail(turn, *call, PoolFailure::cancelled, Error(errc::cancelled, "the call was cancelled"));
}

Result<std::size_t> PoolCore::cancel_request(const std::string& agent_id, const std::string& correlation_id,
                                             messages::CancelReason reason) {
  Turn turn(*this);
  const AgentPtr agent = find(agent_id);
  if (!agent) return Error(errc::not_found, "no " + quoted(agent_id));
  const auto bound = affinities_.find(agent->key, correlation_id);
  std::vector<ConnectionPtr> tell;
  // One that is being replaced still has what it was asked.
  for (const ConnectionPtr& connection : agent->all) {
    const bool there =
        connection->state == PoolConnection::State::up || connection->state == PoolConnection::State::closing;
    if (there && ((bound && *bound == connection->key) || connection->holds(correlation_id)))
      tell.push_back(connection);
  }
  if (tell.empty()) tell = agent->connections;
  for (const ConnectionPtr& connection : tell)
    tell_cancelled(turn, *connection, correlation_id, reason);
  std::vector<CallPtr> calls;
  collect(agent->parked, calls);
  for (const ConnectionPtr& connection : agent->all) {
    collect(connection->waiting, calls);
    collect(connection->sent, calls);
  }
  for (const CallPtr& call : calls) {
    if (call->correlation_id != correlation_id) continue;
    if (call->state == Call::State::sent) call->connection->abandon(*call);
    fail(turn, *call, PoolFailure::cancelled, Error(errc::cancelled, "the request was cancelled"));
  }
  affinities_.release(agent->key, correlation_id);
  metrics_.affinities.store(static_cast<std::int64_t>(affinities_.size()), std::memory_order_relaxed);
  return tell.size();
}

std::size_t PoolCore::cancel_all(messages::CancelReason reason) {
  Turn turn(*this);
  std::vector<CallPtr> calls;
  std::vector<AgentPtr> all = others_;
  for (const auto& [id, agent] : agents_)
    all.push_back(agent);
  for (const AgentPtr& agent : all) {
    collect(agent->parked, calls);
    for (const ConnectionPtr& connection : agent->all) {
      collect(connection->waiting, calls);
      collect(connection->sent, calls);
      for (const Call& call : connection->sent)
        tell_cancelled(turn, *connection, call.correlation_id, reason);
    }
  }
  for (const CallPtr& call : calls) {
    if (call->state == Call::State::sent) call->connection->abandon(*call);
    fail(turn, *call, PoolFailure::cancelled, Error(errc::cancelled, "all calls were cancelled"));
  }
  return calls.size();
}

// --- time ------------------------------------------------------------------------------------------------------------

// One timer for all calls. It is only moved forward: when it fires too early it is set anew, so that an answered call
// costs no timer operation.
void PoolCore::arm_calls() {
  const Call* first = deadlines_.earliest();
  if (first == nullptr || calls_timer_at_ <= first->deadline) return;
  timers_.cancel(calls_timer_);
  calls_timer_at_ = first->deadline;
  calls_timer_ = timers_.schedule_at(calls_timer_at_, [weak = weak_from_this(), round = ++calls_round_] {
    const auto self = weak.lock();
    if (!self) return;
    boost::asio::post(self->executor_, [self, round] {
      {
        const std::scoped_lock lock(self->mutex_);
        if (round != self->calls_round_) return;
        self->timers_.fired(std::exchange(self->calls_timer_, 0));
        self->calls_timer_at_ = TimePoint::max();
      }
      self->expire_calls();
    });
  });
}

void PoolCore::expire_calls() {
  Turn turn(*this);
  const TimePoint now = turn.now();
  for (Call* call = deadlines_.earliest(); call != nullptr && call->deadline <= now; call = deadlines_.earliest()) {
    const CallPtr keep(call);
    if (call->state == Call::State::parked && now < call->give_up) {
      metrics_.flow_control_rejections.fetch_add(1, std::memory_order_relaxed);
      fail(
          turn, *call, PoolFailure::flow_control_paused,
          Error(errc::capacity_exceeded, "Flow control paused: " + quoted(call->agent_id) + " requested backpressure"));
      continue;
    }
    if (call->hedge && call->state != Call::State::parked && now < call->give_up) {
      call->hedge = false;
      deadlines_.remove(*call);
      call->deadline = call->give_up;
      deadlines_.add(*call);
      if (call->state == Call::State::sent) hedge(turn, *call);
      continue;
    }
    if (call->state == Call::State::sent) {
      PoolConnection& connection = *call->connection;
      connection.abandon(*call);
      tell_cancelled(turn, connection, call->correlation_id, messages::CancelReason::timeout);
      connection_failed(turn, connection);
    }
    const auto ms = std::chrono::duration_cast<std::chrono::milliseconds>(call->timeout).count();
    fail(turn, *call, PoolFailure::timeout,
         Error(errc::timed_out, quoted(call->agent_id) + " did not answer '" + call->correlation_id + "' within " +
                                    std::to_string(ms) + " ms"));
  }
  arm_calls();
}

// --- completing ------------------------------------------------------------------------------------------------------

PoolCore::Turn::~Turn() {
  lock_.unlock();
  for (std::size_t i = 0; i < flush_count_; ++i)
    core_.flush(*few_[i]);
  for (const ConnectionPtr& connection : more_)
    core_.flush(*connection);
  for (const auto& what : later_)
    what();
  while (!done_.empty()) {
    Call& call = done_.front();
    done_.pop_front();
    core_.deliver(CallPtr(&call, false), from_ == From::start);
  }
}

void PoolCore::deliver(CallPtr call, bool from_start) const {
  auto executor = std::move(call->executor);
  auto run = [call = std::move(call)]() mutable {
    auto handler = std::move(call->handler);
    if (auto slot = boost::asio::get_associated_cancellation_slot(handler); slot.is_connected()) slot.clear();
    Error error = std::move(call->error);
    AgentReply reply = std::move(call->reply);
    call.reset();
    std::move(handler)(std::move(error), std::move(reply));
  };
  if (from_start) {
    return boost::asio::post(executor_, [executor = std::move(executor), run = std::move(run)]() mutable {
      boost::asio::dispatch(executor, std::move(run));
    });
  }
  try {
    boost::asio::dispatch(executor, std::move(run));
  } catch (...) {
    // As from any other handler, but not in the way of those that wait behind it.
    boost::asio::post(executor_, [thrown = std::current_exception()] { std::rethrow_exception(thrown); });
  }
}

}  // namespace sharingbus::connector::internal

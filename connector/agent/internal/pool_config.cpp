// Configuration: pushes to agents, and what agents ask.

#include <exception>

#include "connector/agent/internal/pool_core.hpp"

namespace sharingbus::connector::internal {

namespace messages = transport::agent_messages;
using transport::AgentWire;

Result<std::string> PoolCore::push_config(std::string_view agent_id, AgentConfig config) {
  Turn turn(*this);
  auto pushed = pusher_.push(agent_id, std::move(config), turn.now());
  if (pushed) deliver_pushes(turn, turn.now());
  return pushed;
}

std::vector<std::string> PoolCore::push_config_to_all(const AgentConfig& config) {
  Turn turn(*this);
  auto ids = pusher_.push_all(config, turn.now());
  deliver_pushes(turn, turn.now());
  return ids;
}

bool PoolCore::acknowledge_push(std::string_view push_id, bool accepted, std::string_view error) {
  Turn turn(*this);
  const bool known = pusher_.acknowledge(push_id, accepted, error);
  if (known) push_ended(turn, push_id);
  return known;
}

std::optional<PushResult> PoolCore::push_result(std::string_view push_id) const {
  const std::scoped_lock lock(mutex_);
  return pusher_.result(push_id);
}

std::vector<PushResult> PoolCore::push_results() const {
  const std::scoped_lock lock(mutex_);
  return pusher_.results();
}

void PoolCore::push_ended(Turn& turn, std::string_view push_id) {
  if (auto result = pusher_.result(push_id)) {
    const std::string agent_id = result->agent_id;
    turn.publish(AgentConfigPushEnded{std::move(*result)}, agent_id);
  }
}

void PoolCore::deliver_pushes(Turn& turn, TimePoint now) {
  for (const PushResult& expired : pusher_.expire(now))
    push_ended(turn, expired.push_id);
  for (const auto& delivery : pusher_.due(now)) {
    const AgentPtr agent = find(delivery.agent_id);
    const auto index = agent ? agent->balancer.pick(agent->loads) : std::nullopt;
    if (!index) {
      pusher_.not_delivered(delivery.push_id);
      continue;
    }
    const auto sent = send_config(turn, agent->connections[*index], delivery.update, delivery.push_id, false);
    // The next time it would be no different.
    if (!sent && pusher_.acknowledge(delivery.push_id, false, to_string(sent.error()))) {
      push_ended(turn, delivery.push_id);
    }
  }
  if (const auto next = pusher_.next_deadline()) look_again(turn, *next);
}

Result<> PoolCore::send_config(Turn& turn, const ConnectionPtr& connection, const AgentConfig& config,
                               const std::string& push_id, bool initial) {
  messages::Configure configure;
  configure.correlation_id =
      "sharingbus-configure-" +
      (push_id.empty() ? connection->agent->id + "-" + std::to_string(connection->key) : push_id);
  configure.config_json = config.config_json;
  if (!config.version.empty()) configure.config_version = config.version;
  configure.is_initial = initial;
  configure.timestamp_ms = static_cast<std::uint64_t>(timers_.moment().unix_ms);
  auto frame = transport::encode_agent_message(configure, connection->wire);
  if (!frame) return frame.error();
  // The link would refuse it alone, and the ping behind it would be taken for its success.
  if (const std::size_t limit = frame_limit(connection->wire); frame->size() > limit) {
    return Error(errc::message_too_large, "AgentConfig::config_json: a Configure of " + std::to_string(frame->size()) +
                                              " bytes exceeds the limit of " + std::to_string(limit));
  }
  connection->controls.push_back(std::move(*frame));
  if (connection->wire == AgentWire::protobuf) {
    // There is no answer to a Configure; the agent gets to the ping once it has applied it.
    messages::Ping ping;
    ping.sequence = ++last_ping_;
    ping.timestamp_ms = configure.timestamp_ms;
    auto behind = transport::encode_agent_message(ping, connection->wire);
    if (!behind) return behind.error();
    connection->controls.push_back(std::move(*behind));
    connection->pings[ping.sequence] = push_id;
  } else {
    connection->pushes[configure.correlation_id] = push_id;
  }
  turn.flush(*connection);
  return {};
}

void PoolCore::config_answered(Turn& turn, const ConnectionPtr& connection, const std::string& push_id, bool accepted,
                               const std::string& error) {
  if (push_id.empty()) {
    if (connection->state != PoolConnection::State::configuring) return;
    if (accepted) return went_up(turn, connection);
    return give_up_on(turn, connection, Error(errc::rejected, "the agent refused its configuration: " + error));
  }
  auto config = pusher_.config(push_id);
  if (!pusher_.acknowledge(push_id, accepted, error)) return;
  // New connections, to an agent that has started anew for one, begin with it.
  if (accepted && config) connection->agent->options.config = std::move(*config);
  push_ended(turn, push_id);
}

void PoolCore::config_requested(Turn& turn, const ConnectionPtr& connection, const EventRef& event) {
  turn.later([this, agent_id = connection->agent->id, event] {
    const auto& request = *event->get_if<messages::ConfigUpdateRequest>();
    ConfigAnswer answer;
    try {
      if (options_.on_config_request) {
        answer = options_.on_config_request(agent_id, request);
      } else {
        answer.error = "configuration requests are not supported";
      }
    } catch (const std::exception& thrown) {
      answer = {false, "the handler threw: " + std::string(thrown.what()), {}};
    } catch (...) {
      answer = {false, "the handler threw something that is no std::exception", {}};
    }
    publish(AgentConfigRequested{agent_id, request.request_id, answer.accepted, answer.error}, agent_id);
    if (!answer.push) return;
    if (const auto pushed = push_config(agent_id, std::move(*answer.push)); !pushed) {
      publish(AgentConfigRequested{agent_id, request.request_id, false, pushed.error().message}, agent_id);
    }
  });
}

}  // namespace sharingbus::connector::internal

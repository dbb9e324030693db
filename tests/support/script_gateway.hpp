#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <boost/asio/any_io_executor.hpp>

#include "bus/async.hpp"
#include "bus/sharing_bus.hpp"
#include "transport/codec/connector_frame_decoder.hpp"
#include "transport/codec/connector_protobuf.hpp"
#include "transport/listener.hpp"
#include "transport/memory/memory_network.hpp"

namespace sharingbus::test {

/// A gateway that does what the test says and keeps what it sees. Everything happens on `executor`, a strand or a
/// context that one thread runs; call its functions there, or while nothing runs.
class ScriptGateway {
 public:
  using Message = transport::messages::ConnectorMessage;

  struct Session {
    std::shared_ptr<transport::Link> link;
    std::optional<transport::messages::RegisterRequest> hello;
    std::vector<transport::messages::ExecuteResponse> answers;
    /// The connector's own, and its answers to ours.
    std::size_t heartbeats = 0;
    std::size_t heartbeat_answers = 0;
    /// How the stream ended; nothing while it is open.
    std::optional<Error> closed;

    [[nodiscard]] bool open() const { return !closed.has_value(); }
    [[nodiscard]] const transport::messages::ExecuteResponse* answer(const std::string& request_id) const {
      const auto found =
          std::find_if(answers.begin(), answers.end(), [&](const auto& a) { return a.request_id == request_id; });
      return found != answers.end() ? &*found : nullptr;
    }
  };

  // The script; may be changed at any time.
  /// What to answer to a register message; nothing: no answer.
  std::function<std::optional<transport::messages::RegisterResponse>(const transport::messages::RegisterRequest&)>
      on_register = [](const auto& hello) { return std::optional(yes(hello)); };
  bool answer_heartbeats = true;
  /// What the answers to heartbeats say.
  bool should_reconnect = false;
  /// What a new session may send before `grant`.
  transport::Credit credit{.requests = 1'000'000, .controls = 1'000'000};
  transport::StreamLimits limits{.max_inbound_bytes = 16 * 1024 * 1024, .outbound_capacity = 100'000};

  ScriptGateway(boost::asio::any_io_executor executor, SharingBus& bus, transport::MemoryNetwork& network,
                std::string name)
      : bus_(bus), network_(network), name_(std::move(name)) {
    SubscriptionOptions options;
    options.name = "script gateway";
    options.filter = Filter::origin(EventOrigin::gateway);
    options.capacity = 1 << 16;
    subscription_ = subscribe_on(bus, std::move(executor), std::move(options), [this](const Received& received) {
      if (const EventRef* event = received.event()) receive(**event);
    });
  }

  void listen() {
    transport::ListenerOptions options;
    options.publisher = bus_.publisher();
    options.decoder = std::make_shared<transport::ConnectorFrameDecoder>();
    options.new_source = [&bus = bus_] { return bus.new_source(); };
    options.origin = EventOrigin::gateway;
    options.limits = limits;
    listener_ = network_.make_listener(name_, std::move(options));
    if (!listener_->listen()) violations.push_back("the name is taken");
  }
  /// Breaks every stream and refuses new ones, as a killed process does.
  void kill() {
    if (listener_) listener_->close(nullptr);
  }

  static transport::messages::RegisterResponse yes(const transport::messages::RegisterRequest& hello,
                                                   std::string token = "session-1") {
    transport::messages::RegisterResponse response;
    response.success = true;
    response.status = transport::messages::RegistrationStatus::approved;
    response.connector_arn = "matrix:" + hello.tenant_id + ":" + hello.connector_type + ":" + hello.instance_id;
    response.session_token = std::move(token);
    return response;
  }
  static transport::messages::RegisterResponse no(std::string error) {
    transport::messages::RegisterResponse response;
    response.status = transport::messages::RegistrationStatus::rejected;
    response.error = std::move(error);
    return response;
  }

  /// Sessions in the order in which they came; those that ended stay.
  [[nodiscard]] const std::vector<std::shared_ptr<Session>>& sessions() const { return sessions_; }
  [[nodiscard]] Session& session(std::size_t index) { return *sessions_.at(index); }
  [[nodiscard]] Session& last() { return *sessions_.back(); }
  [[nodiscard]] std::size_t open_sessions() const {
    return static_cast<std::size_t>(
        std::count_if(sessions_.begin(), sessions_.end(), [](const auto& s) { return s->open(); }));
  }

  transport::SendStatus send(Session& session, const Message& message) {
    return session.link->send(transport::encode_connector_message(message));
  }
  transport::SendStatus execute(Session& session, std::string id, std::string payload = "{}") {
    transport::messages::ExecuteRequest request;
    request.request_id = std::move(id);
    request.payload = std::move(payload);
    request.payload_encoding = transport::messages::PayloadEncoding::json;
    return send(session, request);
  }

  /// What no connector may do: anything before the register message, a message that only gateways send.
  std::vector<std::string> violations;

 private:
  void receive(const BusEvent& event) {
    if (!event.routing().connector_uid) return;
    const Uuid uid = *event.routing().connector_uid;
    if (const auto* opened = event.get_if<transport::StreamOpened>()) {
      auto session = std::make_shared<Session>();
      session->link = opened->link.lock();
      by_uid_[uid] = session;
      sessions_.push_back(session);
      if (session->link) session->link->grant(credit);
      return;
    }
    const auto found = by_uid_.find(uid);
    if (found == by_uid_.end()) return violations.push_back("event of an unknown stream");
    Session& session = *found->second;
    if (const auto* closed = event.get_if<transport::StreamClosed>()) {
      session.closed = closed->error;
      by_uid_.erase(found);
    } else if (const auto* hello = event.get_if<transport::messages::RegisterRequest>()) {
      session.hello = *hello;
      if (const auto response = on_register(*hello)) send(session, *response);
    } else if (!session.hello) {
      violations.push_back("the first message is " + std::string(event.type_name()));
    } else if (const auto* answer = event.get_if<transport::messages::ExecuteResponse>()) {
      session.answers.push_back(*answer);
    } else if (const auto* heartbeat = event.get_if<transport::messages::HeartbeatRequest>()) {
      ++session.heartbeats;
      if (answer_heartbeats) {
        send(session,
             transport::messages::HeartbeatResponse{heartbeat->gateway_id, heartbeat->timestamp_ms, should_reconnect});
      }
    } else if (event.is<transport::messages::HeartbeatResponse>()) {
      ++session.heartbeat_answers;
    } else if (!event.is<transport::StreamWritable>()) {
      violations.push_back("unexpected " + std::string(event.type_name()));
    }
  }

  SharingBus& bus_;
  transport::MemoryNetwork& network_;
  const std::string name_;
  std::unique_ptr<transport::Listener> listener_;
  std::vector<std::shared_ptr<Session>> sessions_;
  std::map<Uuid, std::shared_ptr<Session>> by_uid_;
  CallbackSubscription subscription_;
};

}  // namespace sharingbus::test

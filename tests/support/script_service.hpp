#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include <boost/asio/any_io_executor.hpp>

#include "bus/async.hpp"
#include "bus/sharing_bus.hpp"
#include "transport/codec/json_rpc_codec.hpp"
#include "transport/codec/json_rpc_frame_decoder.hpp"
#include "transport/listener.hpp"
#include "transport/memory/memory_network.hpp"

namespace sharingbus::test {

/// A JSON-RPC service in the memory network that does what the test says and keeps what it sees. Everything happens on
/// `executor`; call its functions there, or while nothing runs.
class ScriptService {
 public:
  struct Session {
    std::shared_ptr<transport::Link> link;
    /// Methods of requests and notifications.
    std::vector<std::string> methods;
    /// Answers to what the service has asked.
    std::vector<transport::messages::JsonRpcResponse> answers;
    std::optional<Error> closed;
  };

  /// What to answer to a request; nothing: no answer.
  using Answer =
      std::function<std::optional<transport::messages::JsonRpcResponse>(const transport::messages::JsonRpcRequest&)>;

  Answer on_request = method_not_found;
  transport::Credit credit{.requests = 100'000, .controls = 100'000};

  ScriptService(boost::asio::any_io_executor executor, SharingBus& bus, transport::MemoryNetwork& network,
                std::string name)
      : bus_(bus), network_(network), name_(std::move(name)), listener_id_(bus.new_source()) {
    SubscriptionOptions options;
    options.name = "script service " + name_;
    options.filter = Filter::origin(EventOrigin::gateway);
    options.capacity = 1 << 16;
    subscription_ = subscribe_on(bus, std::move(executor), std::move(options), [this](const Received& received) {
      if (const EventRef* event = received.event()) receive(**event);
    });
  }

  static std::optional<transport::messages::JsonRpcResponse> method_not_found(
      const transport::messages::JsonRpcRequest& request) {
    using namespace transport::messages;
    return JsonRpcResponse{request.id, json_rpc_error(kJsonRpcMethodNotFound)};
  }
  static std::optional<transport::messages::JsonRpcResponse> silence(const transport::messages::JsonRpcRequest&) {
    return std::nullopt;
  }

  bool listen() {
    transport::ListenerOptions options;
    options.publisher = bus_.publisher();
    options.decoder = std::make_shared<transport::JsonRpcFrameDecoder>();
    options.new_source = [&bus = bus_] { return bus.new_source(); };
    options.id = listener_id_;
    options.origin = EventOrigin::gateway;
    listener_ = network_.make_listener(name_, std::move(options));
    return listener_->listen().has_value();
  }
  /// Breaks every stream and refuses new ones, as a killed process does.
  void kill() {
    if (listener_) listener_->close(nullptr);
  }

  [[nodiscard]] const std::vector<std::shared_ptr<Session>>& sessions() const { return sessions_; }
  [[nodiscard]] Session& last() { return *sessions_.back(); }
  [[nodiscard]] std::size_t open_sessions() const {
    std::size_t open = 0;
    for (const auto& session : sessions_)
      open += session->closed ? 0 : 1;
    return open;
  }
  transport::SendStatus send(Session& session, const std::string& body) { return session.link->send(body); }

 private:
  void receive(const BusEvent& event) {
    using namespace transport::messages;
    if (const auto* opened = event.get_if<transport::StreamOpened>()) {
      if (opened->listener != listener_id_) return;
      auto session = std::make_shared<Session>();
      session->link = opened->link.lock();
      by_uid_[*event.routing().connector_uid] = session;
      sessions_.push_back(session);
      if (session->link) session->link->grant(credit);
      return;
    }
    const auto found = by_uid_.find(event.routing().connector_uid.value_or(Uuid{}));
    if (found == by_uid_.end()) return;
    Session& session = *found->second;
    if (const auto* closed = event.get_if<transport::StreamClosed>()) {
      session.closed = closed->error;
    } else if (const auto* notification = event.get_if<JsonRpcNotification>()) {
      session.methods.push_back(notification->method);
    } else if (const auto* response = event.get_if<JsonRpcResponse>()) {
      session.answers.push_back(*response);
    } else if (const auto* request = event.get_if<JsonRpcRequest>()) {
      session.methods.push_back(request->method);
      if (const auto answer = on_request(*request))
        session.link->send(transport::encode_json_rpc(JsonRpcMessage(*answer)).value());
    }
  }

  SharingBus& bus_;
  transport::MemoryNetwork& network_;
  const std::string name_;
  const std::uint64_t listener_id_;
  std::unique_ptr<transport::Listener> listener_;
  std::unordered_map<Uuid, std::shared_ptr<Session>> by_uid_;
  std::vector<std::shared_ptr<Session>> sessions_;
  CallbackSubscription subscription_;
};

}  // namespace sharingbus::test

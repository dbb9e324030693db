#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/io_context.hpp>
#include <gtest/gtest.h>

#include "bus/async.hpp"
#include "connector/agent/agent_pool.hpp"
#include "connector/agent/agent_pool_events.hpp"
#include "tests/support/bus_oracle.hpp"
#include "tests/support/manual_clock.hpp"
#include "transport/codec/agent_codec.hpp"
#include "transport/memory/memory_network.hpp"

namespace sharingbus::test {

using namespace std::chrono_literals;
namespace messages = transport::agent_messages;
using connector::AgentPool;
using connector::AgentPoolOptions;
using connector::AgentReply;
using connector::CallOptions;
using connector::PoolFailure;

/// An agent in the memory network that does what the test says and keeps what it sees.
class ScriptAgent {
 public:
  struct Seen {
    std::string kind;
    std::string correlation_id;
  };
  struct Session {
    std::shared_ptr<transport::Link> link;
    std::optional<messages::HandshakeRequest> hello;
    /// Events and cancels, in order.
    std::vector<Seen> seen;
    std::vector<messages::Cancel> cancels;
    std::vector<messages::Configure> configures;
    std::optional<Error> closed;

    [[nodiscard]] std::size_t count(const std::string& kind) const {
      return static_cast<std::size_t>(
          std::count_if(seen.begin(), seen.end(), [&](const Seen& each) { return each.kind == kind; }));
    }
  };

  // The script; may be changed at any time.
  /// The answer to a handshake; nothing: none.
  std::function<std::optional<messages::HandshakeResponse>(const messages::HandshakeRequest&)> on_handshake =
      [](const auto&) { return std::optional(welcome()); };
  /// The answer to an event; nothing: none.
  std::function<std::optional<messages::AgentResponse>(const Seen&)> on_event = [](const Seen& seen) {
    return std::optional(allow(seen.correlation_id));
  };
  std::function<messages::AgentResponse(const messages::Configure&)> on_configure = [](const auto& configure) {
    return allow(configure.correlation_id);
  };
  bool answer_pings = true;
  transport::Credit credit{.requests = 1'000'000, .controls = 1'000'000};
  transport::StreamLimits limits{.max_inbound_bytes = 16 * 1024 * 1024, .outbound_capacity = 100'000};

  ScriptAgent(boost::asio::any_io_executor executor, SharingBus& bus, transport::MemoryNetwork& network,
              std::string name, transport::AgentCarrier carrier = transport::AgentCarrier::uds)
      : bus_(bus), network_(network), name_(std::move(name)), carrier_(carrier), id_(bus.new_source()) {
    SubscriptionOptions options;
    options.name = "script agent " + name_;
    options.filter = Filter::origin(EventOrigin::service);
    options.capacity = 1 << 16;
    subscription_ = subscribe_on(bus, std::move(executor), std::move(options), [this](const Received& received) {
      if (const EventRef* event = received.event()) receive(**event);
    });
  }

  bool listen() {
    transport::ListenerOptions options;
    options.publisher = bus_.publisher();
    options.decoder = std::make_shared<transport::AgentFrameDecoder>(transport::AgentRole::agent, carrier_);
    options.new_source = [&bus = bus_] { return bus.new_source(); };
    options.id = ++listens_ == 1 ? id_ : (id_ = bus_.new_source());
    options.origin = EventOrigin::service;
    options.limits = limits;
    listener_ = network_.make_listener(name_, std::move(options));
    return listener_->listen().has_value();
  }
  /// Breaks every connection and refuses new ones, as a killed process does.
  void kill() {
    if (listener_) listener_->close(nullptr);
  }

  static messages::HandshakeResponse welcome(std::string name = "script") {
    messages::HandshakeResponse response;
    response.protocol_version = 2;
    response.success = true;
    response.capabilities.emplace();
    response.capabilities->agent_id = name;
    response.capabilities->name = std::move(name);
    response.capabilities->version = "1";
    response.capabilities->features.config_push = true;
    return response;
  }
  static messages::AgentResponse allow(std::string correlation_id) {
    messages::AgentResponse response;
    response.correlation_id = std::move(correlation_id);
    response.decision = messages::Allow{};
    return response;
  }
  static messages::AgentResponse block(std::string correlation_id, std::uint16_t status = 403) {
    messages::AgentResponse response = allow(std::move(correlation_id));
    response.decision = messages::Block{status, {}, {}};
    return response;
  }

  template <class Message>
  transport::SendStatus send(Session& session, const Message& message) {
    auto frame = transport::encode_agent_message(message, wire());
    if (!frame) {
      ADD_FAILURE() << frame.error().message;
      return transport::SendStatus::closed;
    }
    return session.link->send(std::move(*frame));
  }
  void pause(Session& session, std::optional<std::string> correlation_id = {}) {
    send(session, messages::FlowControlSignal{std::move(correlation_id), messages::FlowAction::pause, {}, 1});
  }
  void resume(Session& session, std::optional<std::string> correlation_id = {}) {
    send(session, messages::FlowControlSignal{std::move(correlation_id), messages::FlowAction::resume, {}, 1});
  }

  /// In the order in which they came; those that ended stay.
  [[nodiscard]] const std::vector<std::shared_ptr<Session>>& sessions() const { return sessions_; }
  [[nodiscard]] Session& session(std::size_t index) { return *sessions_.at(index); }
  [[nodiscard]] std::size_t open_sessions() const {
    return static_cast<std::size_t>(
        std::count_if(sessions_.begin(), sessions_.end(), [](const auto& each) { return !each->closed; }));
  }
  /// The one open session that has seen this event; null when there is none, or more than one.
  [[nodiscard]] Session* holder(const std::string& correlation_id) const {
    Session* found = nullptr;
    for (const auto& session : sessions_) {
      const bool has = std::any_of(session->seen.begin(), session->seen.end(),
                                   [&](const Seen& each) { return each.correlation_id == correlation_id; });
      if (has && found != nullptr) return nullptr;
      if (has) found = session.get();
    }
    return found;
  }
  [[nodiscard]] std::size_t events() const {
    std::size_t count = 0;
    for (const auto& session : sessions_)
      count += session->seen.size();
    return count;
  }

 private:
  [[nodiscard]] transport::AgentWire wire() const {
    return carrier_ == transport::AgentCarrier::grpc ? transport::AgentWire::protobuf : transport::AgentWire::json;
  }

  void receive(const BusEvent& event) {
    if (const auto* opened = event.get_if<transport::StreamOpened>()) {
      if (opened->listener != id_) return;
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
    } else if (const auto* hello = event.get_if<messages::HandshakeRequest>()) {
      session.hello = *hello;
      if (const auto answer = on_handshake(*hello)) send(session, *answer);
    } else if (const auto* cancel = event.get_if<messages::Cancel>()) {
      session.cancels.push_back(*cancel);
    } else if (const auto* configure = event.get_if<messages::Configure>()) {
      session.configures.push_back(*configure);
      if (carrier_ == transport::AgentCarrier::uds) send(session, on_configure(*configure));
    } else if (const auto* ping = event.get_if<messages::Ping>()) {
      if (answer_pings) send(session, messages::Pong{ping->sequence, ping->timestamp_ms, 0});
    } else if (const auto* headers = event.get_if<messages::RequestHeaders>()) {
      asked(session, {"request_headers", headers->metadata.correlation_id});
    } else {
      asked<messages::RequestBodyChunk>(session, event, "request_body_chunk");
      asked<messages::ResponseHeaders>(session, event, "response_headers");
      asked<messages::ResponseBodyChunk>(session, event, "response_body_chunk");
      asked<messages::WebSocketFrame>(session, event, "websocket_frame");
      asked<messages::GuardrailInspect>(session, event, "guardrail_inspect");
      asked<messages::RequestComplete>(session, event, "request_complete");
    }
  }
  template <class Message>
  void asked(Session& session, const BusEvent& event, const char* kind) {
    if (const auto* message = event.get_if<Message>()) asked(session, {kind, message->correlation_id});
  }
  void asked(Session& session, Seen seen) {
    session.seen.push_back(seen);
    if (const auto answer = on_event(seen)) send(session, *answer);
  }

  SharingBus& bus_;
  transport::MemoryNetwork& network_;
  const std::string name_;
  const transport::AgentCarrier carrier_;
  std::uint64_t id_;
  int listens_ = 0;
  std::unique_ptr<transport::Listener> listener_;
  std::vector<std::shared_ptr<Session>> sessions_;
  std::map<Uuid, std::shared_ptr<Session>> by_uid_;
  CallbackSubscription subscription_;
};

/// What a call came to.
struct CallOutcome {
  int calls = 0;
  Error error;
  AgentReply reply;
  boost::asio::cancellation_signal cancel;

  [[nodiscard]] bool done() const { return calls != 0; }
  [[nodiscard]] bool allowed() const {
    return calls == 1 && !error && std::holds_alternative<messages::Allow>(reply->decision);
  }
};
using OutcomePtr = std::shared_ptr<CallOutcome>;

/// A pool and its agents on one bus, one thread, virtual time. `run` lets everything that can happen happen.
class PoolWorld : public ::testing::Test {
 protected:
  void TearDown() override {
    if (pool) {
      const auto closed = std::make_shared<bool>(false);
      pool->async_close([closed](const Error& error) {
        EXPECT_FALSE(error);
        *closed = true;
      });
      run();
      for (int i = 0; i < 100 && !*closed; ++i)
        advance(1s);
      EXPECT_TRUE(*closed) << "close did not complete";
      EXPECT_EQ(pool->protocol_metrics().in_flight.load(), 0) << "gauges return to zero";
      EXPECT_EQ(pool->protocol_metrics().healthy_connections.load(), 0);
      EXPECT_EQ(pool->protocol_metrics().paused_connections.load(), 0);
      EXPECT_EQ(pool->correlation_affinity_count(), 0U);
      pool.reset();
    }
    for (auto& [name, agent] : agents)
      agent->kill();
    run();
    EXPECT_EQ(time.pending(), 0U) << "every timer is gone";
    agents.clear();
    run();
    EXPECT_TRUE(check_balanced(bus));
    for (const auto& stats : bus.snapshot().subscriptions)
      EXPECT_EQ(stats.name.find("agent-connection"), std::string::npos) << stats.name << " is left over";
  }

  static AgentPoolOptions small(std::size_t connections = 2) {
    AgentPoolOptions options;
    options.connections_per_agent = connections;
    return options;
  }
  void start(AgentPoolOptions options) {
    pool.emplace(
        io.get_executor(), bus, time,
        [this](const connector::AgentEndpoint& endpoint) -> Result<std::unique_ptr<transport::Dialer>> {
          ++dialers;
          if (refuse_dialer) return Error(errc::invalid_argument, "no dialer today");
          return network.make_dialer(endpoint.endpoint.host);
        },
        std::move(options));
  }
  ScriptAgent& agent(const std::string& name, transport::AgentCarrier carrier = transport::AgentCarrier::uds) {
    auto& made = agents[name];
    if (!made) {
      made = std::make_unique<ScriptAgent>(io.get_executor(), bus, network, name, carrier);
      EXPECT_TRUE(made->listen());
    }
    return *made;
  }

  void run() {
    std::size_t ran = 0;
    do {
      io.restart();
      ran = io.poll() + bus.poll();
    } while (ran != 0);
  }
  void advance(Duration by) {
    time.advance(by);
    run();
  }

  /// Nothing: not complete yet.
  std::shared_ptr<std::optional<Error>> add_later(const std::string& id, const std::string& endpoint,
                                                  connector::AgentOptions options = {}) {
    auto outcome = std::make_shared<std::optional<Error>>();
    pool->async_add_agent(id, endpoint, std::move(options), [outcome](Error error) { *outcome = std::move(error); });
    return outcome;
  }
  Error add(const std::string& id, const std::string& endpoint, connector::AgentOptions options = {}) {
    const auto outcome = add_later(id, endpoint, std::move(options));
    run();
    EXPECT_TRUE(outcome->has_value()) << "adding did not complete";
    return outcome->value_or(Error(errc::internal, "did not complete"));
  }
  std::shared_ptr<std::optional<Error>> remove_later(const std::string& id) {
    auto outcome = std::make_shared<std::optional<Error>>();
    pool->async_remove_agent(id, [outcome](Error error) { *outcome = std::move(error); });
    return outcome;
  }

  auto token(const OutcomePtr& outcome) {
    return boost::asio::bind_cancellation_slot(outcome->cancel.slot(), [outcome](Error error, AgentReply reply) {
      ++outcome->calls;
      outcome->error = std::move(error);
      outcome->reply = std::move(reply);
    });
  }
  OutcomePtr headers(const std::string& id, const std::string& correlation_id, CallOptions options = {}) {
    auto outcome = std::make_shared<CallOutcome>();
    messages::RequestHeaders event;
    event.metadata.correlation_id = correlation_id;
    event.method = "GET";
    event.uri = "/";
    pool->send_request_headers(id, correlation_id, event, token(outcome), std::move(options));
    return outcome;
  }
  OutcomePtr chunk(const std::string& id, const std::string& correlation_id, bool last = false) {
    auto outcome = std::make_shared<CallOutcome>();
    messages::RequestBodyChunk event;
    event.correlation_id = correlation_id;
    event.data = "data";
    event.is_last = last;
    pool->send_request_body_chunk(id, correlation_id, event, token(outcome));
    return outcome;
  }
  OutcomePtr response(const std::string& id, const std::string& correlation_id) {
    auto outcome = std::make_shared<CallOutcome>();
    messages::ResponseHeaders event;
    event.correlation_id = correlation_id;
    event.status = 200;
    pool->send_response_headers(id, correlation_id, event, token(outcome));
    return outcome;
  }
  OutcomePtr response_chunk(const std::string& id, const std::string& correlation_id, bool last) {
    auto outcome = std::make_shared<CallOutcome>();
    messages::ResponseBodyChunk event;
    event.correlation_id = correlation_id;
    event.data = "data";
    event.is_last = last;
    pool->send_response_body_chunk(id, correlation_id, event, token(outcome));
    return outcome;
  }

  template <class T>
  std::vector<T> events() {
    std::vector<T> found;
    for (const EventRef& event : log()) {
      if (const T* payload = event->get_if<T>()) found.push_back(*payload);
    }
    return found;
  }
  const std::vector<EventRef>& log() {
    for (;;) {
      const Received item = observer.try_receive();
      if (const EventRef* event = item.event()) {
        log_.push_back(*event);
      } else {
        return log_;
      }
    }
  }

  boost::asio::io_context io;
  ManualTimerService time;
  SharingBus bus{BusOptions{.clock = &time, .log = nullptr}};
  transport::MemoryNetwork network{io.get_executor()};
  std::map<std::string, std::unique_ptr<ScriptAgent>> agents;
  int dialers = 0;
  bool refuse_dialer = false;
  std::optional<AgentPool> pool;
  Subscription observer =
      bus.subscribe({.name = "observer", .filter = Filter::origin(EventOrigin::agent), .capacity = 100'000});

 private:
  std::vector<EventRef> log_;
};

}  // namespace sharingbus::test

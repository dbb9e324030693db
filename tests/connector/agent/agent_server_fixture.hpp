#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include <boost/asio/io_context.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "bus/sharing_bus.hpp"
#include "connector/agent/agent_server.hpp"
#include "tests/support/bus_oracle.hpp"
#include "tests/support/log_capture.hpp"
#include "tests/support/manual_clock.hpp"
#include "transport/codec/agent_codec.hpp"
#include "transport/codec/agent_frame_decoder.hpp"
#include "transport/memory/memory_network.hpp"

namespace sharingbus::test {

using namespace std::chrono_literals;
namespace asio = boost::asio;
namespace agent = transport::agent_messages;
using connector::AgentAnswered;
using connector::AgentFailMode;
using connector::AgentHandler;
using connector::AgentOutcome;
using connector::AgentServer;
using connector::AgentServerOptions;
using connector::ProxyConnected;
using connector::ProxyDisconnected;
using connector::ProxyInfo;
using connector::ProxyRefused;
using transport::AgentCarrier;
using transport::AgentRole;
using transport::AgentWire;

/// A proxy written by hand: what arrives waits in its inbox, and nothing is sent unless the test says so.
class ScriptedProxy {
 public:
  ScriptedProxy(SharingBus& bus, transport::Dialer& dialer, AgentWire wire, transport::Credit credit)
      : wire_(wire),
        inbox_(bus.subscribe({.name = "proxy",
                              .filter = Filter::connector_uid(uid_) && Filter::origin(EventOrigin::user),
                              .capacity = 100'000})) {
    transport::StreamOptions options;
    options.publisher = bus.publisher();
    options.decoder = decoder(wire);
    options.id = bus.new_source();
    options.routing.connector_uid = uid_;
    // Not `transport`, which an agent on the same bus may take for its own.
    options.origin = EventOrigin::user;
    options.initial_credit = credit;
    link_ = dialer.open(std::move(options), {});
  }
  /// A link that was accepted elsewhere, by a listener of origin `user`.
  ScriptedProxy(SharingBus& bus, std::shared_ptr<transport::Link> link, AgentWire wire)
      : uid_(link->uid()),
        wire_(wire),
        inbox_(bus.subscribe({.name = "proxy", .filter = Filter::connector_uid(uid_), .capacity = 100'000})),
        link_(std::move(link)) {}

  static std::shared_ptr<const transport::FrameDecoder> decoder(AgentWire wire) {
    const bool grpc = wire == AgentWire::protobuf;
    return std::make_shared<transport::AgentFrameDecoder>(AgentRole::proxy,
                                                          grpc ? AgentCarrier::grpc : AgentCarrier::uds);
  }

  [[nodiscard]] transport::Link& link() { return *link_; }
  void use(AgentWire wire) { wire_ = wire; }
  template <class Message>
  void send(const Message& message) {
    EXPECT_EQ(link_->send(transport::encode_agent_message(message, wire_).value()), transport::SendStatus::queued);
  }

  /// The next message of this type; others are dropped on the way.
  template <class T>
  std::optional<T> next() {
    for (;;) {
      const Received item = inbox_.try_receive();
      if (item.empty() || item.closed() != nullptr) return std::nullopt;
      if (const T* message = item.get_if<T>()) return *message;
      if (const auto* closed = item.get_if<transport::StreamClosed>()) closed_ = closed->error;
    }
  }
  template <class T>
  std::vector<T> all() {
    std::vector<T> found;
    while (auto message = next<T>())
      found.push_back(std::move(*message));
    return found;
  }
  /// The ids of the answers that came, in their order.
  std::vector<std::string> answered() {
    std::vector<std::string> ids;
    for (const auto& response : all<agent::AgentResponse>())
      ids.push_back(response.correlation_id);
    return ids;
  }
  /// How its stream ended, if it did; drops what is in the inbox.
  std::optional<Error> closed() {
    (void)next<transport::StreamWritable>();
    return closed_;
  }

 private:
  const Uuid uid_ = random_uuid();
  AgentWire wire_;
  Subscription inbox_;
  std::shared_ptr<transport::Link> link_;
  std::optional<Error> closed_;
};

inline agent::HandshakeRequest hello() {
  return {.supported_versions = {2}, .proxy_id = "proxy", .proxy_version = "1.0.0"};
}
inline agent::RequestHeaders headers(std::string id, agent::Headers lines = {}) {
  agent::RequestHeaders event;
  event.metadata.correlation_id = std::move(id);
  event.method = "GET";
  event.uri = "/";
  event.headers = std::move(lines);
  return event;
}
inline agent::RequestBodyChunk chunk(std::string id, std::uint32_t index, std::string data = "x") {
  return {.correlation_id = std::move(id), .chunk_index = index, .data = std::move(data)};
}

/// Decides at once, unless a header asks for more: `wait` until `release(id)`, `throw`, `throw-int`, `big`, `bad-json`.
class ScriptedAgent : public AgentHandler {
 public:
  explicit ScriptedAgent(asio::io_context& io) : io_(io) {}

  Answer request_headers(const agent::RequestHeaders& event, const ProxyInfo& proxy) override {
    note("headers " + event.metadata.correlation_id);
    last_proxy = proxy;
    for (const agent::Header& line : event.headers) {
      if (line.name == "wait") co_await wait(event.metadata.correlation_id);
      if (line.name == "throw") throw std::runtime_error("no idea");
      if (line.name == "throw-int") throw 7;
      if (line.name == "big") co_return connector::block(403, std::string(20'000'000, 'x'));
      if (line.name == "bad-json") {
        Response response;
        response.audit.custom_json["x"] = "{";
        co_return response;
      }
    }
    co_return event.headers.empty() ? connector::allow() : connector::block(403, "no");
  }
  Answer request_body_chunk(const agent::RequestBodyChunk& event, const ProxyInfo&) override {
    note("chunk " + event.correlation_id + " " + std::to_string(event.chunk_index));
    if (event.data == "wait") co_await wait(event.correlation_id);
    Response response;
    response.needs_more = !event.is_last;
    co_return response;
  }
  Answer guardrail_inspect(const agent::GuardrailInspect& event, const ProxyInfo&) override {
    note("guardrail " + event.correlation_id);
    co_return connector::block(451);
  }
  asio::awaitable<Result<>> configure(const agent::Configure& event, const ProxyInfo&) override {
    note("configure " + event.config_json);
    if (event.config_json == R"("wait")") co_await wait("configure");
    if (event.config_json == R"("throw")") throw std::runtime_error("bad rule");
    if (event.config_json == R"("bad")") co_return Error(errc::invalid_argument, "no such rule");
    co_return Result<>{};
  }
  /// Accepts what has no error text; texts: `wait` until `release(id)`, `throw`, anything else is what it refuses with.
  asio::awaitable<Result<>> config_requested(const agent::ConfigUpdateRequest& request,
                                             const ProxyInfo& dialler) override {
    note("config " + request.request_id);
    last_proxy = dialler;
    const auto* broken = std::get_if<agent::ConfigError>(&request.update);
    if (broken == nullptr) co_return Result<>{};
    if (broken->error == "throw") throw std::runtime_error("no idea");
    if (broken->error != "wait") co_return Error(errc::rejected, broken->error);
    co_await wait(request.request_id);
    co_return Result<>{};
  }
  asio::awaitable<void> cancelled(const agent::Cancel& event, const ProxyInfo&) override {
    note("cancel " + event.correlation_id);
    co_return;
  }
  asio::awaitable<agent::HealthStatus> health(const agent::LoadMetrics&) override {
    if (health_throws) throw std::runtime_error("sick");
    agent::HealthStatus status;
    status.state = agent::HealthState::degraded;
    co_return status;
  }
  asio::awaitable<void> drain(Duration) override {
    note("drain");
    if (drain_waits) co_await wait("drain");
  }

  void release(const std::string& id) {
    released_[id] = true;
    if (const auto found = gates_.find(id); found != gates_.end()) found->second->cancel();
  }
  std::vector<std::string> take() { return std::exchange(calls_, {}); }
  [[nodiscard]] std::size_t waiting() const { return gates_.size(); }

  ProxyInfo last_proxy;
  bool health_throws = false;
  bool drain_waits = false;

 private:
  void note(std::string what) { calls_.push_back(std::move(what)); }
  asio::awaitable<void> wait(std::string id) {
    const auto gate = std::make_shared<asio::steady_timer>(io_, asio::steady_timer::time_point::max());
    gates_[id] = gate;
    boost::system::error_code ignored;
    if (!released_[id]) co_await gate->async_wait(asio::redirect_error(asio::use_awaitable, ignored));
    gates_.erase(id);
    if (!released_[id]) note("aborted " + id);
    released_.erase(id);
  }

  asio::io_context& io_;
  std::vector<std::string> calls_;
  std::map<std::string, std::shared_ptr<asio::steady_timer>> gates_;
  std::map<std::string, bool> released_;
};

/// An agent on one bus with its proxies, one thread, virtual time. `run` lets everything that can happen happen.
class AgentServerFixture : public ::testing::Test {
 protected:
  AgentServerFixture() : bus(BusOptions{.engine = Engine::combining, .clock = &time, .log = nullptr}) {}

  void TearDown() override {
    if (server) close_server();
    if (dialer) dialer->close(nullptr);
    run();
    EXPECT_EQ(time.pending(), 0U) << "every timer is gone";
    EXPECT_EQ(handler->waiting(), 0U) << "every handler has returned";
    EXPECT_TRUE(check_balanced(bus));
    for (const auto& stats : bus.snapshot().subscriptions) {
      EXPECT_EQ(stats.name.find("agent"), std::string::npos) << stats.name << " is left over";
    }
  }

  AgentServerOptions options() const {
    AgentServerOptions result;
    result.log = log.sink();
    result.health_interval = {};
    result.metrics_interval = {};
    return result;
  }
  void start(AgentServerOptions with, AgentCarrier carrier = AgentCarrier::uds) {
    server.emplace(io.get_executor(), bus, time, handler, std::move(with));
    const auto endpoint = server->serve(network.make_listener("agent", server->make_listener_options(carrier)));
    ASSERT_TRUE(endpoint) << endpoint.error().message;
    dialer = network.make_dialer("agent");
  }
  void start(AgentCarrier carrier = AgentCarrier::uds) { start(options(), carrier); }

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
  void close_server(Duration drain = 0s) {
    const auto done = std::make_shared<bool>(false);
    server->close(drain, [done] { *done = true; });
    run();
    EXPECT_TRUE(*done) << "close did not complete";
    EXPECT_EQ(server->connection_count(), 0U);
    server.reset();
  }

  std::unique_ptr<ScriptedProxy> dial(AgentWire wire = AgentWire::json, transport::Credit credit = {10'000, 10'000}) {
    return std::make_unique<ScriptedProxy>(bus, *dialer, wire, credit);
  }
  /// A proxy whose handshake succeeded.
  std::unique_ptr<ScriptedProxy> connect(AgentWire wire = AgentWire::json,
                                         transport::Credit credit = {10'000, 10'000}) {
    auto proxy = dial(wire, credit);
    agent::HandshakeRequest request = hello();
    if (wire == AgentWire::msgpack) request.supported_encodings = {"msgpack", "json"};
    proxy->send(request);
    run();
    const auto response = proxy->next<agent::HandshakeResponse>();
    EXPECT_TRUE(response && response->success);
    return proxy;
  }
  template <class Message>
  void say(ScriptedProxy& proxy, const Message& message) {
    proxy.send(message);
    run();
  }
  template <class T>
  std::vector<T> events() {
    std::vector<T> found;
    for (;;) {
      const Received item = observer.try_receive();
      if (item.empty() || item.closed() != nullptr) return found;
      if (const T* event = item.get_if<T>()) found.push_back(*event);
    }
  }

  asio::io_context io;
  ManualTimerService time;
  LogCapture log;
  SharingBus bus;
  transport::MemoryNetwork network{io.get_executor()};
  std::unique_ptr<transport::Dialer> dialer;
  const std::shared_ptr<ScriptedAgent> handler = std::make_shared<ScriptedAgent>(io);
  std::optional<AgentServer> server;
  Subscription observer =
      bus.subscribe({.name = "observer", .filter = Filter::origin(EventOrigin::agent), .capacity = 100'000});
};

}  // namespace sharingbus::test

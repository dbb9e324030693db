#pragma once

#include <chrono>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <boost/asio/io_context.hpp>
#include <gtest/gtest.h>

#include "bus/sharing_bus.hpp"
#include "connector/gateway/gateway.hpp"
#include "tests/support/bus_oracle.hpp"
#include "tests/support/log_capture.hpp"
#include "tests/support/manual_clock.hpp"
#include "transport/codec/connector_frame_decoder.hpp"
#include "transport/codec/connector_protobuf.hpp"
#include "transport/memory/memory_network.hpp"

namespace sharingbus::test {

using namespace std::chrono_literals;
namespace messages = transport::messages;
using connector::ConnectorDisconnected;
using connector::ConnectorRefused;
using connector::ConnectorRegistered;
using connector::ExecuteCall;
using connector::ExecuteReply;
using connector::Gateway;
using connector::GatewayOptions;
using connector::RequestCompleted;
using connector::RequestDispatched;

/// One outcome of an execute.
struct Outcome {
  bool done = false;
  int calls = 0;
  Error error;
  ExecuteReply reply;
};

/// A connector written by hand: what arrives waits in its inbox, and nothing is sent unless the test says so.
class ScriptedConnector {
 public:
  ScriptedConnector(SharingBus& bus, transport::Dialer& dialer, transport::Credit credit,
                    transport::StreamLimits limits = {})
      : uid_(random_uuid()) {
    inbox_ = bus.subscribe({.name = "connector",
                            .filter = Filter::connector_uid(uid_) && Filter::origin(EventOrigin::transport),
                            .capacity = 100'000});
    transport::StreamOptions options;
    options.publisher = bus.publisher();
    options.decoder = std::make_shared<transport::ConnectorFrameDecoder>();
    options.id = bus.new_source();
    options.routing.connector_uid = uid_;
    options.initial_credit = credit;
    options.limits = limits;
    link_ = dialer.open(std::move(options), {});
  }

  [[nodiscard]] transport::Link& link() { return *link_; }
  transport::SendStatus send(const messages::ConnectorMessage& message) {
    return link_->send(transport::encode_connector_message(message));
  }
  void answer(const messages::ExecuteRequest& request, std::string payload = "\"ok\"") {
    send(messages::ExecuteResponse{request.request_id, true, std::move(payload), messages::PayloadEncoding::json, "",
                                   1});
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
  /// How its stream ended, if it did; drops what is in the inbox.
  std::optional<Error> closed() {
    (void)next<transport::StreamWritable>();
    return closed_;
  }

 private:
  const Uuid uid_;
  Subscription inbox_;
  std::shared_ptr<transport::Link> link_;
  std::optional<Error> closed_;
};

inline messages::RegisterRequest register_request(std::string instance, std::string tenant = "acme",
                                                  std::string type = "echo") {
  messages::RegisterRequest request;
  request.tenant_id = std::move(tenant);
  request.connector_type = std::move(type);
  request.instance_id = std::move(instance);
  request.capabilities.version = "1.0";
  request.instance_metadata.display_name = "The " + request.instance_id;
  return request;
}

/// A gateway on one bus with its connectors, one thread, virtual time. `run` lets everything that can happen happen.
class GatewayFixture : public ::testing::Test {
 protected:
  explicit GatewayFixture(Engine engine = Engine::combining)
      : bus(BusOptions{.engine = engine, .clock = &time, .log = nullptr}) {}

  void TearDown() override {
    if (gateway) close_gateway();
    dialer->close(nullptr);
    run();
    EXPECT_EQ(time.pending(), 0U) << "every timer is gone";
    run();
    EXPECT_TRUE(check_balanced(bus));
    for (const auto& stats : bus.snapshot().subscriptions) {
      EXPECT_EQ(stats.name.find("gateway"), std::string::npos) << stats.name << " is left over";
    }
  }

  GatewayOptions options() const {
    GatewayOptions result;
    result.log = log.sink();
    return result;
  }
  void start(GatewayOptions with, transport::StreamLimits limits = {.max_inbound_bytes = 16 * 1024 * 1024}) {
    gateway.emplace(io.get_executor(), bus, time, std::move(with));
    auto listener = gateway->make_listener_options();
    listener.limits = limits;
    const auto endpoint = gateway->serve(network.make_listener("gateway", std::move(listener)));
    ASSERT_TRUE(endpoint) << endpoint.error().message;
    EXPECT_EQ(to_string(*endpoint), "memory://gateway");
  }
  void start() { start(options()); }

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
  void close_gateway(Duration drain = 0s) {
    const auto done = std::make_shared<bool>(false);
    gateway->close(drain, [done] { *done = true; });
    run();
    EXPECT_TRUE(*done) << "close did not complete";
    EXPECT_EQ(gateway->session_count(), 0U);
    gateway.reset();
  }

  std::unique_ptr<ScriptedConnector> dial(transport::Credit credit = {10'000, 10'000},
                                          transport::StreamLimits limits = {}) {
    return std::make_unique<ScriptedConnector>(bus, *dialer, credit, limits);
  }
  /// A connector that is registered as acme.echo.<instance>.
  std::unique_ptr<ScriptedConnector> connect(const std::string& instance, transport::Credit credit = {10'000, 10'000},
                                             transport::StreamLimits limits = {}) {
    auto connector = dial(credit, limits);
    connector->send(register_request(instance));
    run();
    const auto response = connector->next<messages::RegisterResponse>();
    EXPECT_TRUE(response && response->success) << instance;
    return connector;
  }

  std::shared_ptr<Outcome> execute(std::string address, ExecuteCall call = {}) {
    auto outcome = std::make_shared<Outcome>();
    gateway->execute(std::move(address), std::move(call), [outcome](Error error, ExecuteReply reply) {
      outcome->done = true;
      ++outcome->calls;
      outcome->error = std::move(error);
      outcome->reply = std::move(reply);
    });
    return outcome;
  }
  static ExecuteCall call(std::string payload, Duration timeout = 30s) {
    ExecuteCall result;
    result.payload.bytes = std::move(payload);
    result.timeout = timeout;
    return result;
  }
  connector::SessionInfo info() const {
    const auto infos = gateway->sessions();
    return infos.empty() ? connector::SessionInfo{} : infos.front();
  }
  template <class T>
  std::vector<T> events(Subscription& subscription) {
    std::vector<T> found;
    for (;;) {
      const Received item = subscription.try_receive();
      if (item.empty() || item.closed() != nullptr) return found;
      if (const T* event = item.get_if<T>()) found.push_back(*event);
    }
  }

  boost::asio::io_context io;
  ManualTimerService time;
  LogCapture log;
  SharingBus bus;
  transport::MemoryNetwork network{io.get_executor()};
  std::unique_ptr<transport::Dialer> dialer = network.make_dialer("gateway");
  std::optional<Gateway> gateway;
  Subscription observer =
      bus.subscribe({.name = "observer", .filter = Filter::origin(EventOrigin::gateway), .capacity = 100'000});
};

}  // namespace sharingbus::test

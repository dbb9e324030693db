// The agent protocol's other two gRPC methods, over real sockets: `ProcessEvent` and `ControlStream`, under both names
// of the package (protocol-agent-v2 §1.1, §1.4, §2.6).
#include <functional>
#include <future>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "connector/agent/agent_server.hpp"
#include "tests/support/context_threads.hpp"
#include "tests/support/raw_messages.hpp"
#include "tests/support/watchdog.hpp"
#include "transport/codec/agent_codec.hpp"
#include "transport/codec/agent_control.hpp"
#include "transport/codec/agent_frame_decoder.hpp"
#include "transport/grpc/grpc_dialer.hpp"
#include "transport/grpc/grpc_listener.hpp"
#include "zentinel/agent/v2/agent.pb.h"

namespace sharingbus::test {
namespace {

using namespace std::chrono_literals;
using namespace connector;
namespace messages = transport::agent_messages;
namespace wire = zentinel::agent::v2;

class Blocking final : public AgentHandler {
 public:
  Answer request_headers(const messages::RequestHeaders&, const ProxyInfo&) override { co_return block(403); }
  boost::asio::awaitable<Result<>> config_requested(const messages::ConfigUpdateRequest& request,
                                                    const ProxyInfo&) override {
    if (request.request_id == "refused") co_return Error(errc::rejected, "not today");
    co_return Result<>{};
  }
};

/// What came on a stream, and how it ended.
struct Ended {
  std::vector<std::string> messages;
  Error error;
};

class AgentMethods : public testing::TestWithParam<bool> {
 protected:
  void SetUp() override {
    AgentServerOptions options;
    options.log = nullptr;
    options.health_interval = 1ms;
    server =
        std::make_unique<AgentServer>(context.executor(), bus, context.timers(), std::make_shared<Blocking>(), options);
    const auto base = [&](AgentMethod method) {
      return server->make_listener_options(transport::AgentCarrier::grpc, method);
    };
    transport::GrpcListenerOptions listening;
    listening.base = base(AgentMethod::process_stream);
    listening.methods = {transport::kAgentMethod, transport::kAgentMethodLegacy};
    listening.services = {
        {{transport::kAgentEventMethod, transport::kAgentEventMethodLegacy}, base(AgentMethod::process_event)},
        {{transport::kAgentControlMethod, transport::kAgentControlMethodLegacy}, base(AgentMethod::control_stream)}};
    const auto bound = server->serve(
        std::make_unique<transport::GrpcListener>(transport::Endpoint{"grpc", "127.0.0.1", 0}, std::move(listening)));
    ASSERT_TRUE(bound) << to_string(bound.error());
    endpoint = *bound;
  }
  void TearDown() override {
    std::promise<void> closed;
    server->close(1s, [&] { closed.set_value(); });
    closed.get_future().get();
  }
  [[nodiscard]] std::string method(const char* name, const char* legacy) const { return GetParam() ? legacy : name; }

  /// Sends these and half-closes, at once, as the client of a unary method does, or after so many answers; with
  /// `instead`, does that and leaves the end to the agent. Waits for the end.
  Ended call(std::string method, std::vector<std::string> frames, std::size_t answers = 0,
             const std::function<void()>& instead = nullptr) {
    transport::GrpcDialerOptions dialing;
    dialing.method = std::move(method);
    transport::GrpcDialer dialer(endpoint, std::move(dialing), context.timers());
    transport::StreamOptions options;
    options.publisher = bus.publisher();
    options.decoder = std::make_shared<RawDecoder>();
    options.id = bus.new_source();
    options.origin = EventOrigin::user;
    options.routing.connector_uid = random_uuid();
    options.initial_credit = {.requests = 100, .controls = 100};
    auto ended = std::make_shared<Ended>();
    auto done = std::make_shared<std::promise<void>>();
    auto answered = std::make_shared<std::promise<void>>();
    if (answers == 0) answered->set_value();
    const auto seen =
        bus.subscribe_inline({.name = "caller", .filter = Filter::connector_uid(*options.routing.connector_uid)},
                             [ended, done, answered, answers](const EventRef& event) {
                               if (const auto* raw = event->get_if<RawMessage>()) {
                                 ended->messages.push_back(raw->bytes);
                                 if (ended->messages.size() == answers) answered->set_value();
                               }
                               if (const auto* closed = event->get_if<transport::StreamClosed>()) {
                                 ended->error = closed->error;
                                 done->set_value();
                               }
                             });
    const auto link = dialer.open(std::move(options), frames.front());
    for (std::size_t i = 1; i < frames.size(); ++i)
      link->send(frames[i]);
    answered->get_future().get();
    if (instead) {
      instead();
    } else {
      link->finish();
    }
    done->get_future().get();
    std::promise<void> closed;
    dialer.close([&] { closed.set_value(); });
    closed.get_future().get();
    return *ended;
  }
  template <class Message>
  static std::string event(const Message& message) {
    return transport::encode_agent_message(message, transport::AgentWire::protobuf).value();
  }
  template <class Message>
  static Message only(const Ended& ended) {
    EXPECT_FALSE(ended.error) << to_string(ended.error);
    EXPECT_EQ(ended.messages.size(), 1U);
    if (ended.messages.empty()) return {};
    auto message = transport::decode_for_proxy_protobuf(ended.messages.front());
    EXPECT_TRUE(message && std::holds_alternative<Message>(*message));
    return message && std::holds_alternative<Message>(*message) ? std::get<Message>(*message) : Message{};
  }

  Watchdog watchdog{"AgentMethods", 120s};
  SharingBus bus;
  ContextThreads context{2};
  std::unique_ptr<AgentServer> server;
  transport::Endpoint endpoint;
};
INSTANTIATE_TEST_SUITE_P(PackageNames, AgentMethods, testing::Bool(),
                         [](const auto& of) { return of.param ? "legacy" : "present"; });

TEST_P(AgentMethods, ProcessEvent_AnswersOneEvent_WithoutAHandshake) {
  const std::string path = method(transport::kAgentEventMethod, transport::kAgentEventMethodLegacy);
  messages::RequestHeaders headers;
  headers.metadata.correlation_id = "c";
  const auto response = only<messages::AgentResponse>(call(path, {event(headers)}));
  EXPECT_EQ(response.correlation_id, "c");
  EXPECT_TRUE(std::holds_alternative<messages::Block>(response.decision));
  messages::RequestBodyChunk chunk;
  chunk.correlation_id = "d";
  EXPECT_EQ(only<messages::AgentResponse>(call(path, {event(chunk)})).correlation_id, "d");
  EXPECT_EQ(only<messages::Pong>(call(path, {event(messages::Ping{7, 1})})).sequence, 7U);
  messages::HandshakeRequest hello;
  hello.supported_versions = {2};
  EXPECT_TRUE(only<messages::HandshakeResponse>(call(path, {event(hello)})).success);
}

TEST_P(AgentMethods, ProcessEvent_OfAnythingElse_IsRefused) {
  const std::string path = method(transport::kAgentEventMethod, transport::kAgentEventMethodLegacy);
  messages::Cancel cancel;
  cancel.correlation_id = "c";
  const Ended ended = call(path, {event(cancel)});
  EXPECT_TRUE(ended.messages.empty());
  EXPECT_TRUE(ended.error.is(errc::malformed_frame)) << to_string(ended.error);
  EXPECT_NE(ended.error.message.find("Unsupported event type"), std::string::npos) << ended.error.message;
}

TEST_P(AgentMethods, ControlStream_AnswersEachConfigurationRequest) {
  const std::string path = method(transport::kAgentControlMethod, transport::kAgentControlMethodLegacy);
  wire::AgentControl health;
  health.mutable_health()->set_agent_id("waf");
  std::vector<std::string> frames{health.SerializeAsString()};
  for (const char* id : {"one", "refused"}) {
    wire::AgentControl control;
    control.mutable_config_update()->set_request_id(id);
    control.mutable_config_update()->mutable_request_reload();
    frames.push_back(control.SerializeAsString());
  }
  const Ended ended = call(path, frames, 2);
  ASSERT_EQ(ended.messages.size(), 2U) << to_string(ended.error);
  for (std::size_t i = 0; i < 2; ++i) {
    wire::ProxyControl answer;
    ASSERT_TRUE(answer.ParseFromString(ended.messages[i]));
    EXPECT_EQ(answer.config_response().request_id(), i == 0 ? "one" : "refused");
    EXPECT_EQ(answer.config_response().accepted(), i == 0);
    EXPECT_EQ(answer.config_response().error(), i == 0 ? "" : "not today");
  }
}

TEST_P(AgentMethods, ControlStream_IsToldOfDrainAndShutdown) {
  wire::AgentControl control;
  control.mutable_config_update()->set_request_id("one");
  control.mutable_config_update()->mutable_request_reload();
  const std::string path = method(transport::kAgentControlMethod, transport::kAgentControlMethodLegacy);
  std::promise<void> closed;
  const auto close = [&] { server->close(30s, [&] { closed.set_value(); }); };
  // The first answer shows that the stream is there; then come two more messages, and the end.
  const Ended ended = call(path, {control.SerializeAsString()}, 1, close);
  closed.get_future().get();
  EXPECT_TRUE(ended.error.is(errc::stream_closed)) << to_string(ended.error);
  ASSERT_EQ(ended.messages.size(), 3U);
  std::vector<wire::ProxyControl> told(3);
  for (std::size_t i = 0; i < 3; ++i)
    ASSERT_TRUE(told[i].ParseFromString(ended.messages[i]));
  EXPECT_TRUE(told[0].config_response().accepted());
  EXPECT_EQ(told[1].drain().duration_ms(), 30'000U);
  EXPECT_EQ(told[2].shutdown().reason(), 1) << "graceful";
}

TEST_P(AgentMethods, ControlStream_BrokenMessage_EndsIt) {
  const Ended ended = call(method(transport::kAgentControlMethod, transport::kAgentControlMethodLegacy), {"\x0a\xff"});
  EXPECT_TRUE(ended.messages.empty());
  EXPECT_TRUE(ended.error.is(errc::malformed_frame)) << to_string(ended.error);
}

}  // namespace
}  // namespace sharingbus::test

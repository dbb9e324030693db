// A runner and the requests that its gateway sends: answers, failures, and what the bus sees of it.
#include "connector/registration/registration_runner.hpp"

#include <algorithm>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include <boost/json/parse.hpp>
#include <gtest/gtest.h>

#include "tests/connector/registration/runner_world.hpp"

namespace sharingbus::connector {
namespace {

namespace asio = boost::asio;
namespace json = boost::json;
namespace messages = transport::messages;
using test::echo;
using test::HeldConnector;
using test::milliseconds;
using test::seconds;
using Answer = asio::awaitable<Result<json::value>>;

class RegistrationRunnerTest : public test::RunnerTest {
 protected:
  void run_and_register(std::shared_ptr<Connector> connector) {
    gateway.listen();
    run(std::move(connector));
    ASSERT_EQ(gateway.open_sessions(), 1u);
  }
  /// Sends one request and gives its answer.
  messages::ExecuteResponse call(messages::ExecuteRequest request) {
    const std::string id = request.request_id;
    gateway.send(gateway.last(), std::move(request));
    world.settle();
    const auto* answer = gateway.last().answer(id);
    EXPECT_NE(answer, nullptr) << "no answer to " << id;
    return answer != nullptr ? *answer : messages::ExecuteResponse{};
  }
  static messages::ExecuteRequest request(std::string payload, PayloadEncoding encoding = PayloadEncoding::json) {
    messages::ExecuteRequest made;
    made.request_id = "r1";
    made.payload = std::move(payload);
    made.payload_encoding = encoding;
    return made;
  }
  static void expect_failure(const messages::ExecuteResponse& response, const std::string& text) {
    EXPECT_EQ(response.request_id, "r1");
    EXPECT_FALSE(response.success);
    EXPECT_EQ(response.error, text);
    EXPECT_EQ(response.payload_encoding, PayloadEncoding::json);
    EXPECT_EQ(json::parse(response.payload), (json::object{{"error", text}, {"success", false}}));
  }
};

TEST_F(RegistrationRunnerTest, Start_RegistersWithTheStreamsFirstMessage) {
  run_and_register(echo("echo.type"));
  ASSERT_TRUE(gateway.last().hello.has_value());
  EXPECT_EQ(gateway.last().hello->tenant_id, "acme");
  EXPECT_EQ(gateway.last().hello->connector_type, "echo-type");
  EXPECT_EQ(gateway.last().hello->instance_id, "one");
  EXPECT_EQ(gateway.last().hello->session_token, "");
  shutdown();
  expect_nothing_left();
  EXPECT_FALSE(*ended);
}

TEST_F(RegistrationRunnerTest, Request_IsAnsweredWithItsIdAndDuration) {
  auto held = std::make_shared<HeldConnector>();
  run_and_register(held);
  gateway.execute(gateway.last(), "the id", R"({"a":[1,2]})");
  world.settle();
  world.advance(milliseconds(1'234));
  EXPECT_EQ(gateway.last().answer("the id"), nullptr);
  held->release();
  world.settle();
  const auto* answer = gateway.last().answer("the id");
  ASSERT_NE(answer, nullptr);
  EXPECT_EQ(*answer, (messages::ExecuteResponse{.request_id = "the id",
                                                .success = true,
                                                .payload = R"({"a":[1,2]})",
                                                .payload_encoding = PayloadEncoding::json,
                                                .error = "",
                                                .duration_ms = 1'234}));
}

TEST_F(RegistrationRunnerTest, PayloadNotJson_IsAFailureOfThatRequest) {
  run_and_register(echo());
  EXPECT_EQ(call(request("{")).error.rfind("Deserialization error: payload is not JSON: ", 0), 0u);
  EXPECT_TRUE(call([] {
                auto next = request("1");
                next.request_id = "r2";
                return next;
              }())
                  .success)
      << "the stream stays";
}

TEST_F(RegistrationRunnerTest, UnsupportedEncoding_IsAFailureOfThatRequest) {
  run_and_register(echo());
  expect_failure(call(request("x", PayloadEncoding::parquet)),
                 "Unsupported encoding: Encoding Parquet not yet implemented");
}

TEST_F(RegistrationRunnerTest, HandlerThatThrows_IsAFailureOfThatRequest) {
  run_and_register(make_connector("thrower", [](json::value, std::optional<std::string>) -> Answer {
    throw std::runtime_error("boom");
    co_return json::value();
  }));
  expect_failure(call(request("{}")), "Invoke failed: handler threw: boom");
}

TEST_F(RegistrationRunnerTest, ResultTooLarge_IsAFailureOfThatRequest) {
  options.limits.max_outbound_bytes = 2'000;
  run_and_register(make_connector("big", [](json::value size, std::optional<std::string>) -> Answer {
    co_return json::value(std::string(static_cast<std::size_t>(size.as_int64()), 'x'));
  }));
  expect_failure(call(request("3000")), "Other error: result of 3002 bytes exceeds the limit of 2000 for a message");
}

// The limit is for the whole message: a payload that just fits in it must not make the answer vanish.
TEST_F(RegistrationRunnerTest, AnswerAroundTheLimit_IsAlwaysSent) {
  options.limits.max_outbound_bytes = 2'000;
  run_and_register(make_connector("big", [](json::value size, std::optional<std::string>) -> Answer {
    co_return json::value(std::string(static_cast<std::size_t>(size.as_int64()), 'x'));
  }));
  int succeeded = 0;
  int failed = 0;
  for (int size = 1'950; size < 2'010; ++size) {
    auto one = request(std::to_string(size));
    one.request_id = "size " + std::to_string(size);
    ++(call(std::move(one)).success ? succeeded : failed);
  }
  EXPECT_GT(succeeded, 0);
  EXPECT_GT(failed, 10);
  EXPECT_EQ(gateway.sessions().size(), 1u);
}

struct LongForm : Connector {
  std::string connector_type() const override { return "long"; }
  Answer execute_with_context(json::value, std::optional<std::string> capability, Context given) override {
    context = std::move(given);
    capabilities.push_back(std::move(capability));
    co_return json::value("long");
  }
  Context context;
  std::vector<std::optional<std::string>> capabilities;
};

// Reference case: the context map reaches the long form.
TEST_F(RegistrationRunnerTest, LongForm_GetsContextAndCapability) {
  auto connector = std::make_shared<LongForm>();
  run_and_register(connector);
  auto one = request("{}");
  one.context = {{"user_id", "u"}, {"agent_context", "{}"}};
  one.capability_id = "add";
  EXPECT_EQ(call(one).payload, "\"long\"");
  EXPECT_EQ(connector->context, (Context{{"user_id", "u"}, {"agent_context", "{}"}}));
  one.capability_id = "";
  call(one);
  EXPECT_EQ(connector->capabilities, (std::vector<std::optional<std::string>>{"add", std::nullopt}));
}

// Reference case: a connector with only the short form.
TEST_F(RegistrationRunnerTest, ShortFormOnly_IsCalledThroughIt) {
  std::optional<std::string> seen;
  run_and_register(make_connector("short", [&](json::value, std::optional<std::string> capability) -> Answer {
    seen = capability;
    co_return json::value("short");
  }));
  auto one = request("{}");
  one.context = {{"user_id", "u"}};
  one.capability_id = "c";
  EXPECT_EQ(call(one).payload, "\"short\"");
  EXPECT_EQ(seen, "c");
}

TEST_F(RegistrationRunnerTest, HeartbeatRequest_IsAnswered) {
  run_and_register(echo());
  gateway.send(gateway.last(), messages::HeartbeatRequest{});
  gateway.send(gateway.last(), messages::HeartbeatRequest{});
  world.settle();
  EXPECT_EQ(gateway.last().heartbeat_answers, 2u);
}

TEST_F(RegistrationRunnerTest, MessagesItDoesNotKnow_AreIgnored) {
  run_and_register(echo());
  gateway.last().link->send("");
  gateway.last().link->send(std::string("\xfa\x7e\x00", 3));  // field 2031, empty
  for (int i = 0; i < 2'000; ++i)
    gateway.send(gateway.last(), messages::InvokeRequest{});
  for (int i = 0; i < 2'000; ++i)
    gateway.send(gateway.last(), messages::WebSocketFrame{});
  world.settle();
  EXPECT_TRUE(call(request("1")).success) << "they gave their credit back";
  EXPECT_EQ(gateway.sessions().size(), 1u);
}

TEST_F(RegistrationRunnerTest, BytesThatAreNoMessage_EndThatStreamOnly) {
  run_and_register(echo());
  gateway.last().link->send("\xff\xff\xff");
  world.settle();
  EXPECT_EQ(gateway.open_sessions(), 0u);
  EXPECT_EQ(world.all<Disconnected>().at(0).reason, "stream-error");
  world.advance(milliseconds(500));
  EXPECT_EQ(gateway.open_sessions(), 1u);
}

TEST_F(RegistrationRunnerTest, EveryTransition_IsOnTheBus) {
  options.jitter_mode = JitterMode::additive;
  run(echo());
  gateway.on_register = [](const auto&) { return std::optional(test::ScriptGateway::no("closed today")); };
  gateway.listen();
  world.advance(milliseconds(500));
  gateway.on_register = [](const auto& hello) { return std::optional(test::ScriptGateway::yes(hello)); };
  world.advance(milliseconds(1'000));
  gateway.execute(gateway.last(), "r1", "{}");
  world.settle();
  gateway.send(gateway.last(), test::ScriptGateway::yes({}));
  gateway.send(gateway.last(), messages::ApprovalNotification{"", messages::RegistrationStatus::pending, "wait"});
  world.settle();
  gateway.last().link->finish();
  world.settle();
  shutdown();
  EXPECT_EQ(world.names(),
            (std::vector<std::string>{"registration.attempt", "registration.failed", "registration.backing_off",
                                      "registration.attempt", "registration.failed", "registration.backing_off",
                                      "registration.attempt", "registration.registered", "execute.started",
                                      "execute.finished", "registration.renewed", "registration.notice",
                                      "registration.disconnected", "registration.backing_off", "registration.ended"}));
  EXPECT_EQ(to_string(world.all<RegistrationFailed>().at(0).error), "memory://gateway refused the stream");
  EXPECT_EQ(to_string(world.all<RegistrationFailed>().at(1).error), "register failed: status='3' error='closed today'");
  EXPECT_EQ(world.all<BackingOff>().at(1).delay, milliseconds(1'000));
  EXPECT_EQ(world.all<Registered>().at(0).arn, "matrix:acme:echo:one");
  EXPECT_EQ(world.all<Disconnected>().at(0).reason, "server-closed");
  EXPECT_FALSE(world.all<RegistrationEnded>().at(0).error);
  expect_nothing_left();
}

TEST_F(RegistrationRunnerTest, ItsEvents_CarryUidAddressAndOrigin) {
  run_and_register(echo());
  call(request("{}"));
  shutdown();
  int own = 0;
  for (const EventRef& event : world.events) {
    if (event->origin() == EventOrigin::gateway) continue;
    ++own;
    EXPECT_EQ(event->routing().connector_uid, runner->uid()) << event->type_name();
    EXPECT_EQ(event->routing().address, "acme.echo.one") << event->type_name();
    EXPECT_NE(event->source(), 0u) << event->type_name();
    const bool transport = event->origin() == EventOrigin::transport;
    EXPECT_TRUE(transport || event->origin() == EventOrigin::connector) << event->type_name();
    EXPECT_EQ(transport, event->type_name().rfind("stream.", 0) == 0 || event->type_name().rfind("connector.", 0) == 0);
  }
  EXPECT_GT(own, 8);
}

// Its queue holds what its stream receives and nothing else, and loses none of it.
TEST_F(RegistrationRunnerTest, ItsQueue_GetsItsStreamsEventsOnly) {
  run_and_register(echo());
  Routing same_uid = routing_for<RegistrationNotice>();
  same_uid.connector_uid = runner->uid();
  for (const EventOrigin origin : {EventOrigin::user, EventOrigin::connector, EventOrigin::gateway}) {
    world.bus.publish(make_event(RegistrationNotice{}, same_uid, origin));
  }
  Routing other = routing_for<RegistrationNotice>();
  other.connector_uid = random_uuid();
  world.bus.publish(make_event(RegistrationNotice{}, other, EventOrigin::transport));
  call(request("{}"));
  world.settle();
  const auto stats = world.subscription("registration acme.echo.one");
  ASSERT_TRUE(stats.has_value());
  EXPECT_EQ(stats->received, world.names(EventOrigin::transport).size() - 1) << "one was another uid's";
  EXPECT_EQ(stats->received, 3u) << "stream.opened, connector.register_response, connector.execute_request";
  EXPECT_EQ(stats->lagged, 0u);
}

// A foreign event of its uid that no stream of its own sent must not end or feed anything.
TEST_F(RegistrationRunnerTest, EventsOfAnotherSource_AreNotItsStreams) {
  run_and_register(echo());
  Routing forged = routing_for<transport::StreamClosed>();
  forged.connector_uid = runner->uid();
  world.bus.publish(make_event(messages::ExecuteRequest{}, forged, EventOrigin::transport, 99'999));
  world.bus.publish(make_event(transport::StreamClosed{}, forged, EventOrigin::transport, 99'999));
  world.advance(seconds(2));
  EXPECT_TRUE(world.all<ExecuteStarted>().empty());
  EXPECT_TRUE(world.all<Disconnected>().empty());
  EXPECT_EQ(gateway.sessions().size(), 1u);
}

TEST_F(RegistrationRunnerTest, TwoRunnersOnOneBus_DoNotHearEachOther) {
  run_and_register(echo());
  bool second_ended = false;
  RegistrationRunner second(world.io.get_executor(), world.bus, world.timers, *world.dialer,
                            test::registration(echo("other"), "two"), options);
  second.start([&](const Error&) { second_ended = true; });
  world.settle();
  ASSERT_EQ(gateway.open_sessions(), 2u);
  for (std::size_t i = 0; i < 2; ++i) {
    for (int n = 0; n < 10; ++n)
      gateway.execute(gateway.session(i), std::to_string(n), std::to_string(i));
  }
  world.settle();
  for (std::size_t i = 0; i < 2; ++i) {
    ASSERT_EQ(gateway.session(i).answers.size(), 10u);
    for (const auto& answer : gateway.session(i).answers)
      EXPECT_EQ(answer.payload, std::to_string(i));
  }
  second.shutdown();
  world.settle();
  EXPECT_TRUE(second_ended);
  EXPECT_EQ(gateway.open_sessions(), 1u);
  shutdown();
  expect_nothing_left();
}

TEST_F(RegistrationRunnerTest, LimitOfTheRegistration_OverridesTheRunners) {
  options.max_concurrent_requests = 50;
  gateway.listen();
  auto held = std::make_shared<HeldConnector>();
  auto config = test::registration(held);
  config.config.max_concurrent_requests = 3;
  runner = std::make_unique<RegistrationRunner>(world.io.get_executor(), world.bus, world.timers, *world.dialer,
                                                std::move(config), options);
  runner->start([this](Error) { ++times_ended; });
  world.settle();
  for (int i = 0; i < 10; ++i)
    gateway.execute(gateway.last(), std::to_string(i));
  world.settle();
  EXPECT_EQ(held->running, 3u);
  held->release_for_good();
  world.settle();
  EXPECT_EQ(gateway.last().answers.size(), 10u);
  EXPECT_EQ(held->most_running, 3u);
  shutdown();
  expect_nothing_left();
}

TEST_F(RegistrationRunnerTest, LimitOfZero_IsOne) {
  options.max_concurrent_requests = 0;
  auto held = std::make_shared<HeldConnector>();
  run_and_register(held);
  for (int i = 0; i < 3; ++i)
    gateway.execute(gateway.last(), std::to_string(i));
  world.settle();
  EXPECT_EQ(held->running, 1u);
  held->release_for_good();
  world.settle();
  EXPECT_EQ(gateway.last().answers.size(), 3u);
}

}  // namespace
}  // namespace sharingbus::connector

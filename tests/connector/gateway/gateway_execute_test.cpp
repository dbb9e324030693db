// Requests from the gateway's user to a connector.
#include <boost/asio/bind_executor.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/use_future.hpp>
#include <gmock/gmock.h>

#include "bus/base/uuid.hpp"
#include "bus/observers/scroll_id_binder.hpp"
#include "tests/connector/gateway/gateway_fixture.hpp"

namespace sharingbus::test {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;
using ::testing::StartsWith;

class GatewayExecuteTest : public GatewayFixture {};

TEST_F(GatewayExecuteTest, Execute_IsAnswered) {
  start();
  const auto connector = connect("one");
  ExecuteCall what = call(R"({"n":1})");
  what.capability = "count";
  what.context = {{"tenant_id", "t"}, {"connector_arn", "forged"}};
  const auto outcome = execute("acme.echo.one", what);
  EXPECT_FALSE(outcome->done) << "never from within the call";
  run();
  const auto request = connector->next<messages::ExecuteRequest>();
  ASSERT_TRUE(request);
  EXPECT_THAT(request->request_id, StartsWith("exec-1-"));
  EXPECT_EQ(request->payload, R"({"n":1})");
  EXPECT_EQ(request->payload_encoding, messages::PayloadEncoding::json);
  EXPECT_EQ(request->capability_id, "count");
  EXPECT_EQ(request->context.at("tenant_id"), "t");
  EXPECT_EQ(request->context.at("connector_arn"), "matrix:acme:echo:one");
  EXPECT_EQ(info().pending, 1U);
  time.advance(2s);
  connector->answer(*request, "[1]");
  run();
  ASSERT_EQ(outcome->calls, 1);
  EXPECT_FALSE(outcome->error);
  EXPECT_TRUE(outcome->reply.success);
  EXPECT_EQ(outcome->reply.payload, (connector::Payload{messages::PayloadEncoding::json, "[1]"}));
  EXPECT_EQ(outcome->reply.duration, 2s);
  EXPECT_EQ(info().pending, 0U);
  EXPECT_EQ(info().answered, 1U);

  const auto completed = events<RequestCompleted>(observer);
  ASSERT_THAT(completed, SizeIs(1));
  EXPECT_EQ(completed[0].request_id, request->request_id);
  EXPECT_TRUE(completed[0].success);
  EXPECT_FALSE(completed[0].error);
  EXPECT_EQ(completed[0].duration, 2s);
}

TEST_F(GatewayExecuteTest, Execute_EmptyPayload_GoesOutAsAnEmptyObject) {
  start();
  const auto connector = connect("one");
  ExecuteCall what;
  what.payload.encoding = messages::PayloadEncoding::unspecified;
  const auto outcome = execute("acme.echo.one", what);
  run();
  const auto request = connector->next<messages::ExecuteRequest>();
  ASSERT_TRUE(request);
  EXPECT_EQ(request->payload, "{}");
  EXPECT_EQ(request->payload_encoding, messages::PayloadEncoding::json);
}

boost::asio::awaitable<void> await_execute(Gateway& gateway, std::string address, Outcome& outcome) {
  ExecuteCall call;
  call.payload.bytes = "\"a payload that is no short string\"";
  auto [error, reply] = co_await gateway.async_execute(std::move(address), std::move(call), boost::asio::use_awaitable);
  outcome.error = std::move(error);
  outcome.reply = std::move(reply);
  outcome.done = true;
}

TEST_F(GatewayExecuteTest, AsyncExecute_CoroutineAndFuture) {
  start();
  const auto connector = connect("one");
  Outcome outcome;
  boost::asio::co_spawn(io, await_execute(*gateway, "acme.echo.one", outcome),
                        [](std::exception_ptr error) { EXPECT_EQ(error, nullptr); });
  run();
  const auto request = connector->next<messages::ExecuteRequest>();
  ASSERT_TRUE(request);
  connector->answer(*request, request->payload);
  run();
  EXPECT_TRUE(outcome.done);
  EXPECT_EQ(outcome.reply.payload.bytes, "\"a payload that is no short string\"");

  auto future = gateway->async_execute("acme.echo.two", {}, boost::asio::use_future);
  run();
  EXPECT_TRUE(std::get<0>(future.get()).is(errc::not_found));
}

TEST_F(GatewayExecuteTest, AsyncExecute_InlineExecutor_CompletesWhereTheAnswerArrives) {
  start();
  const auto connector = connect("one");
  const auto ask = [&](const std::string& address, Outcome& outcome) {
    gateway->async_execute(
        address, call("1"),
        boost::asio::bind_executor(connector::InlineExecutor(), [&](const Error& error, connector::ExecuteReply reply) {
          outcome.error = error;
          outcome.reply = std::move(reply);
          outcome.done = true;
        }));
  };
  Outcome answered;
  ask("acme.echo.one", answered);
  run();
  const auto request = connector->next<messages::ExecuteRequest>();
  ASSERT_TRUE(request);
  EXPECT_FALSE(answered.done);
  connector->answer(*request, "[1]");
  run();
  EXPECT_TRUE(answered.done);
  EXPECT_EQ(answered.reply.payload.bytes, "[1]");

  Outcome refused;
  ask("acme.echo.nobody", refused);
  EXPECT_FALSE(refused.done) << "never from within the call";
  run();
  EXPECT_TRUE(refused.error.is(errc::not_found));
}

TEST_F(GatewayExecuteTest, UnknownAddress_NotFoundSaysWhich) {
  start();
  const auto outcome = execute("acme.echo.nobody");
  EXPECT_FALSE(outcome->done);
  run();
  EXPECT_TRUE(outcome->error.is(errc::not_found));
  EXPECT_THAT(outcome->error.message, HasSubstr("acme.echo.nobody"));
  EXPECT_THAT(events<RequestDispatched>(observer), IsEmpty());
}

TEST_F(GatewayExecuteTest, Timeout_NotAboveZero_IsInvalid) {
  start();
  const auto connector = connect("one");
  const auto outcome = execute("acme.echo.one", call("1", 0s));
  const auto forever = execute("acme.echo.one", call("1", Duration::max()));
  run();
  EXPECT_TRUE(outcome->error.is(errc::invalid_argument));
  EXPECT_FALSE(forever->done);
}

TEST_F(GatewayExecuteTest, Deadline_FailsTheRequestAndTheLateAnswerIsCounted) {
  start();
  const auto connector = connect("one");
  const auto longer = execute("acme.echo.one", call("1", 20s));
  const auto shorter = execute("acme.echo.one", call("2", 5s));
  run();
  const auto requests = connector->all<messages::ExecuteRequest>();
  ASSERT_THAT(requests, SizeIs(2));
  advance(4999ms);
  EXPECT_FALSE(shorter->done);
  advance(1ms);
  EXPECT_TRUE(shorter->error.is(errc::timed_out));
  EXPECT_THAT(shorter->error.message, HasSubstr("5000 ms"));
  EXPECT_FALSE(longer->done);
  for (const auto& request : requests)
    connector->answer(request);
  connector->send(messages::ExecuteResponse{"exec-never", true, "1", messages::PayloadEncoding::json, "", 0});
  run();
  EXPECT_TRUE(longer->reply.success);
  EXPECT_EQ(shorter->calls, 1);
  EXPECT_EQ(info().late_answers, 2U);
  EXPECT_EQ(info().answered, 1U);
  EXPECT_EQ(info().failed, 1U);
}

TEST_F(GatewayExecuteTest, StreamGoes_EveryPendingRequestFailsAtOnce) {
  start();
  const auto connector = connect("one");
  const auto other = connect("two");
  std::vector<std::shared_ptr<Outcome>> outcomes;
  for (int i = 0; i < 100; ++i)
    outcomes.push_back(execute("acme.echo.one"));
  const auto elsewhere = execute("acme.echo.two");
  run();
  connector->link().cancel(Error(errc::cancelled, "power cut"));
  run();
  for (const auto& outcome : outcomes) {
    ASSERT_EQ(outcome->calls, 1);
    EXPECT_TRUE(outcome->error.is(errc::stream_failed));
    EXPECT_THAT(outcome->error.message, HasSubstr("acme.echo.one"));
    EXPECT_THAT(outcome->error.message, HasSubstr("power cut"));
  }
  EXPECT_FALSE(elsewhere->done);
  EXPECT_THAT(events<RequestCompleted>(observer), SizeIs(100));
  const auto after = execute("acme.echo.one");
  run();
  EXPECT_TRUE(after->error.is(errc::not_found));
}

// What was answered before the stream ended counts as answered.
TEST_F(GatewayExecuteTest, AnswersBeforeTheEnd_AreNotLost) {
  start();
  const auto connector = connect("one");
  const auto answered = execute("acme.echo.one");
  const auto open = execute("acme.echo.one");
  run();
  const auto request = connector->next<messages::ExecuteRequest>();
  connector->answer(*request);
  connector->link().finish();
  run();
  EXPECT_TRUE(answered->reply.success);
  EXPECT_TRUE(open->error.is(errc::stream_closed)) << open->error.message;
}

TEST_F(GatewayExecuteTest, Thousand_Concurrent_AllAnswered) {
  start();
  const auto connector = connect("one");
  std::vector<std::shared_ptr<Outcome>> outcomes;
  for (int i = 0; i < 1000; ++i)
    outcomes.push_back(execute("acme.echo.one", call(std::to_string(i))));
  run();
  std::size_t answered = 0;
  while (answered < 1000) {
    auto requests = connector->all<messages::ExecuteRequest>();
    ASSERT_THAT(requests, ::testing::Not(IsEmpty()));
    // In reverse, since answers need not come in order.
    for (auto request = requests.rbegin(); request != requests.rend(); ++request) {
      connector->answer(*request, request->payload);
      run();
    }
    answered += requests.size();
  }
  for (int i = 0; i < 1000; ++i) {
    ASSERT_EQ(outcomes[static_cast<std::size_t>(i)]->calls, 1);
    ASSERT_EQ(outcomes[static_cast<std::size_t>(i)]->reply.payload.bytes, std::to_string(i));
  }
  EXPECT_THAT(events<RequestDispatched>(observer), SizeIs(1000));
  EXPECT_EQ(info().answered, 1000U);
}

TEST_F(GatewayExecuteTest, HandlerFailure_IsAReplyWithoutError) {
  start();
  const auto connector = connect("one");
  const auto outcome = execute("acme.echo.one");
  run();
  const auto request = connector->next<messages::ExecuteRequest>();
  connector->send(messages::ExecuteResponse{request->request_id, false, R"({"error":"boom","success":false})",
                                            messages::PayloadEncoding::json, "boom", 3});
  run();
  EXPECT_FALSE(outcome->error);
  EXPECT_FALSE(outcome->reply.success);
  EXPECT_EQ(outcome->reply.error, "boom");
  const auto completed = events<RequestCompleted>(observer);
  ASSERT_THAT(completed, SizeIs(1));
  EXPECT_FALSE(completed[0].success);
  EXPECT_FALSE(completed[0].error);
}

TEST_F(GatewayExecuteTest, TooLarge_FailsThatRequestOnly) {
  start(options(), {.max_outbound_bytes = 1000});
  const auto connector = connect("one");
  const auto big = execute("acme.echo.one", call(std::string(2000, '1')));
  const auto small = execute("acme.echo.one", call("1"));
  run();
  EXPECT_TRUE(big->error.is(errc::message_too_large));
  EXPECT_THAT(big->error.message, HasSubstr("acme.echo.one"));
  const auto requests = connector->all<messages::ExecuteRequest>();
  ASSERT_THAT(requests, SizeIs(1));
  connector->answer(requests[0]);
  run();
  EXPECT_TRUE(small->reply.success);
}

TEST_F(GatewayExecuteTest, ClientsOwnLimit_EndsThatStreamWithANamedError) {
  start();
  const auto small = connect("small", {100, 100}, {.max_inbound_bytes = 4 * 1024 * 1024});
  const auto roomy = connect("roomy", {100, 100}, {.max_inbound_bytes = 16 * 1024 * 1024});
  const std::string five_mib(5 * 1024 * 1024, '1');
  const auto fails = execute("acme.echo.small", call(five_mib));
  const auto works = execute("acme.echo.roomy", call(five_mib));
  run();
  EXPECT_THAT(fails->error.message, HasSubstr("exceeds the limit of 4194304"));
  ASSERT_TRUE(small->closed());
  EXPECT_TRUE(small->closed()->is(errc::message_too_large));
  const auto request = roomy->next<messages::ExecuteRequest>();
  ASSERT_TRUE(request);
  roomy->answer(*request, five_mib);
  run();
  EXPECT_EQ(works->reply.payload.bytes.size(), five_mib.size()) << "the gateway accepts up to 16 MiB";
}

TEST_F(GatewayExecuteTest, Backpressure_WaitsUpToTheLimitAndGoesOn) {
  auto with = options();
  with.max_pending_per_session = 50;
  start(with, {.outbound_capacity = 4});
  const auto connector = connect("slow", {2, 100});
  std::vector<std::shared_ptr<Outcome>> outcomes;
  for (int i = 0; i < 60; ++i)
    outcomes.push_back(execute("acme.echo.slow", call(std::to_string(i))));
  run();
  for (int i = 0; i < 60; ++i) {
    const Outcome& outcome = *outcomes[static_cast<std::size_t>(i)];
    EXPECT_EQ(outcome.done, i >= 50);
    EXPECT_EQ(outcome.error.is(errc::capacity_exceeded), i >= 50);
  }
  EXPECT_EQ(info().pending, 50U);
  std::vector<std::string> seen;
  for (int round = 0; round < 100 && seen.size() < 50; ++round) {
    for (const auto& request : connector->all<messages::ExecuteRequest>()) {
      seen.push_back(request.payload);
      connector->answer(request);
    }
    connector->link().grant({2, 0});
    run();
  }
  ASSERT_THAT(seen, SizeIs(50));
  for (int i = 0; i < 50; ++i)
    EXPECT_EQ(seen[static_cast<std::size_t>(i)], std::to_string(i)) << "in order";
  for (int i = 0; i < 50; ++i)
    EXPECT_TRUE(outcomes[static_cast<std::size_t>(i)]->reply.success);
}

TEST_F(GatewayExecuteTest, Backpressure_ExpiredRequests_DoNotGoOutLater) {
  start(options(), {.outbound_capacity = 2});
  const auto connector = connect("stalled", {1, 100});
  std::vector<std::shared_ptr<Outcome>> outcomes;
  for (int i = 0; i < 20; ++i)
    outcomes.push_back(execute("acme.echo.stalled", call("\"old\"", 5s)));
  run();
  advance(5s);
  for (const auto& outcome : outcomes)
    EXPECT_TRUE(outcome->error.is(errc::timed_out));
  EXPECT_EQ(info().pending, 0U);
  const auto fresh = execute("acme.echo.stalled", call("\"new\"", 60s));
  connector->link().grant({100, 100});
  run();
  const auto requests = connector->all<messages::ExecuteRequest>();
  ASSERT_THAT(requests, ::testing::Not(IsEmpty()));
  EXPECT_LE(requests.size(), 4U) << "what the link had taken, and the new one";
  EXPECT_EQ(requests.back().payload, "\"new\"");
}

TEST_F(GatewayExecuteTest, CallbackThatThrows_IsContainedAndLogged) {
  start();
  const auto connector = connect("one");
  gateway->execute("acme.echo.nobody", {}, [](Error, ExecuteReply) { throw std::runtime_error("oh\nno"); });
  gateway->execute("acme.echo.one", call("1", 1s), [](Error, ExecuteReply) { throw 42; });
  gateway->execute("acme.echo.nobody", {}, nullptr);
  run();
  advance(1s);
  EXPECT_EQ(log.count("execute callback threw"), 2U);
  EXPECT_EQ(log.count("oh?no"), 1U);
  EXPECT_EQ(gateway->session_count(), 1U);
}

TEST_F(GatewayExecuteTest, Deadline_GoesAlongAsWhatIsLeftOfIt) {
  start();
  const auto connector = connect("one");
  const auto outcome = execute("acme.echo.one", call("1", 1'500ms));
  run();
  const auto request = connector->next<messages::ExecuteRequest>();
  ASSERT_TRUE(request);
  EXPECT_EQ(request->context.at("timeout_ms"), "1500");
}

TEST_F(GatewayExecuteTest, CallbackMayExecuteAgain) {
  start();
  const auto connector = connect("one");
  int hops = 0;
  std::function<void(Error, ExecuteReply)> again = [&](const Error&, const ExecuteReply&) {
    if (++hops < 5) gateway->execute("acme.echo.one", {}, again);
  };
  gateway->execute("acme.echo.one", {}, again);
  for (int i = 0; i < 5; ++i) {
    run();
    if (const auto request = connector->next<messages::ExecuteRequest>()) connector->answer(*request);
  }
  run();
  EXPECT_EQ(hops, 5);
}

TEST_F(GatewayExecuteTest, ScrollId_IsBoundBeforeTheRequestsOwnEvents) {
  start();
  const auto connector = connect("one");
  const Uuid scroll = random_uuid();
  Subscription by_scroll = bus.subscribe({.name = "scroll", .filter = Filter::scroll_id(scroll)});
  ExecuteCall bound;
  bound.context = {{"session_id", "s1"}, {"scroll_id", to_string(scroll)}};
  const auto outcome = execute("acme.echo.one", bound);
  run();
  const auto request = connector->next<messages::ExecuteRequest>();
  connector->answer(*request);
  run();
  // A later request of that session need not say it again.
  ExecuteCall later;
  later.context = {{"session_id", "s1"}};
  const auto second = execute("acme.echo.one", later);
  ExecuteCall foreign;
  foreign.context = {{"session_id", "s2"}};
  const auto third = execute("acme.echo.one", foreign);
  run();
  std::vector<std::string> names;
  for (;;) {
    const Received item = by_scroll.try_receive();
    if (item.empty()) break;
    ASSERT_NE(item.event(), nullptr);
    names.emplace_back((*item.event())->type_name());
    EXPECT_EQ((*item.event())->routing().native_session_id, "s1");
  }
  EXPECT_THAT(names, ::testing::ElementsAre("session_registered", "gateway.request_dispatched",
                                            "gateway.request_completed", "gateway.request_dispatched"));
}

TEST_F(GatewayExecuteTest, ForeignTrafficOnTheBus_DoesNotReachTheSessions) {
  start();
  const auto connector = connect("one");
  const auto outcome = execute("acme.echo.one");
  run();
  const auto request = connector->next<messages::ExecuteRequest>();
  // Others who publish with the session's uid, or fill the bus, are no link of it.
  Routing routing = routing_for<RequestDispatched>();
  routing.connector_uid = info().uid;
  for (int i = 0; i < 20'000; ++i)
    bus.publish(RequestDispatched{}, routing, EventOrigin::user);
  routing.kind = EventKind::stream;
  bus.publish(transport::StreamClosed{}, routing, EventOrigin::user);
  run();
  connector->answer(*request);
  run();
  EXPECT_TRUE(outcome->reply.success);
  EXPECT_EQ(gateway->session_count(), 1U);
}

}  // namespace
}  // namespace sharingbus::test

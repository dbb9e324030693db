// Connectors that call connectors.
#include <gmock/gmock.h>

#include "tests/connector/gateway/gateway_fixture.hpp"

namespace sharingbus::test {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

class GatewayInvokeTest : public GatewayFixture {
 protected:
  void SetUp() override { begin(options()); }
  void begin(GatewayOptions with) {
    start(std::move(with));
    caller = connect("caller");
    target = connect("target");
  }
  static messages::InvokeRequest invoke(std::string id, std::string to = "acme.echo.target") {
    messages::InvokeRequest request;
    request.request_id = std::move(id);
    request.target_address = std::move(to);
    request.capability_id = "shout";
    request.payload = R"("hi")";
    request.payload_encoding = messages::PayloadEncoding::json;
    return request;
  }
  std::unique_ptr<ScriptedConnector> caller;
  std::unique_ptr<ScriptedConnector> target;
};

TEST_F(GatewayInvokeTest, Invoke_RunsOnTheTargetAndAnswersTheCaller) {
  auto request = invoke("invoke-1");
  request.context = {{"user_id", "u"}, {"connector_arn", "matrix:acme:echo:caller"}};
  caller->send(request);
  run();
  const auto execute = target->next<messages::ExecuteRequest>();
  ASSERT_TRUE(execute);
  EXPECT_THAT(execute->request_id, ::testing::StartsWith("exec-"));
  EXPECT_EQ(execute->payload, R"("hi")");
  EXPECT_EQ(execute->capability_id, "shout");
  EXPECT_EQ(execute->context.at("user_id"), "u");
  EXPECT_EQ(execute->context.at("connector_arn"), "matrix:acme:echo:target");
  EXPECT_EQ(execute->context.at("x-invoke-depth"), "1");
  time.advance(250ms);
  target->answer(*execute, R"("HI")");
  run();
  const auto response = caller->next<messages::InvokeResponse>();
  ASSERT_TRUE(response);
  EXPECT_EQ(response->request_id, "invoke-1");
  EXPECT_TRUE(response->success);
  EXPECT_EQ(response->payload, R"("HI")");
  EXPECT_EQ(response->payload_encoding, messages::PayloadEncoding::json);
  EXPECT_EQ(response->duration_ms, 250);
  EXPECT_THAT(events<RequestCompleted>(observer), SizeIs(1));
}

TEST_F(GatewayInvokeTest, Invoke_HandlerFailure_IsPassedOn) {
  caller->send(invoke("i"));
  run();
  const auto execute = target->next<messages::ExecuteRequest>();
  target->send(messages::ExecuteResponse{execute->request_id, false, "", {}, "no good", 0});
  run();
  const auto response = caller->next<messages::InvokeResponse>();
  ASSERT_TRUE(response);
  EXPECT_FALSE(response->success);
  EXPECT_EQ(response->error, "no good");
  EXPECT_EQ(response->payload_encoding, messages::PayloadEncoding::json);
}

TEST_F(GatewayInvokeTest, Invoke_UnknownTarget_FailsWithACode) {
  caller->send(invoke("i", "acme.echo.nobody"));
  caller->send(invoke("j", "not an address"));
  run();
  const auto responses = caller->all<messages::InvokeResponse>();
  ASSERT_THAT(responses, SizeIs(2));
  EXPECT_FALSE(responses[0].success);
  EXPECT_THAT(responses[0].error, HasSubstr("acme.echo.nobody"));
  EXPECT_EQ(responses[0].error_details.at("code"), "not_found");
  EXPECT_EQ(responses[1].error_details.at("code"), "not_found");
}

TEST_F(GatewayInvokeTest, Invoke_Timeout_IsTheCallersOr30Seconds) {
  auto quick = invoke("quick");
  quick.timeout_ms = 100;
  auto negative = invoke("negative");
  negative.timeout_ms = -1;
  caller->send(quick);
  caller->send(negative);
  run();
  advance(100ms);
  auto response = caller->next<messages::InvokeResponse>();
  ASSERT_TRUE(response);
  EXPECT_EQ(response->request_id, "quick");
  EXPECT_EQ(response->error_details.at("code"), "timed_out");
  advance(29'899ms);
  EXPECT_FALSE(caller->next<messages::InvokeResponse>());
  advance(1ms);
  response = caller->next<messages::InvokeResponse>();
  ASSERT_TRUE(response);
  EXPECT_EQ(response->request_id, "negative");
}

TEST_F(GatewayInvokeTest, Invoke_FireAndForget_IsNotAnswered) {
  auto request = invoke("i");
  request.fire_and_forget = true;
  caller->send(request);
  auto lost = invoke("j", "acme.echo.nobody");
  lost.fire_and_forget = true;
  caller->send(lost);
  run();
  const auto execute = target->next<messages::ExecuteRequest>();
  ASSERT_TRUE(execute);
  target->answer(*execute);
  run();
  EXPECT_THAT(caller->all<messages::InvokeResponse>(), IsEmpty());
}

TEST_F(GatewayInvokeTest, Invoke_Depth_IsCountedAndLimited) {
  const std::vector<std::pair<std::string, std::string>> cases{
      {"0", "1"}, {"4", "5"}, {"5", ""}, {"99999999999999999999", ""}, {"deep", ""}, {"-1", ""}, {"1x", ""}, {"", ""}};
  for (const auto& [depth, passed_on] : cases) {
    SCOPED_TRACE(depth);
    auto request = invoke("i");
    request.context["x-invoke-depth"] = depth;
    caller->send(request);
    run();
    const auto execute = target->next<messages::ExecuteRequest>();
    EXPECT_EQ(execute.has_value(), !passed_on.empty());
    if (execute) {
      EXPECT_EQ(execute->context.at("x-invoke-depth"), passed_on);
      target->answer(*execute);
      run();
    }
    const auto response = caller->next<messages::InvokeResponse>();
    ASSERT_TRUE(response);
    EXPECT_EQ(response->success, !passed_on.empty()) << response->error;
  }
}

TEST_F(GatewayInvokeTest, Invoke_OfItself_Works) {
  caller->send(invoke("i", "acme.echo.caller"));
  run();
  const auto execute = caller->next<messages::ExecuteRequest>();
  ASSERT_TRUE(execute);
  caller->answer(*execute);
  run();
  const auto response = caller->next<messages::InvokeResponse>();
  ASSERT_TRUE(response);
  EXPECT_TRUE(response->success);
}

TEST_F(GatewayInvokeTest, Invoke_CallerGoesAway_TheTargetIsNotDisturbed) {
  caller->send(invoke("i"));
  run();
  const auto execute = target->next<messages::ExecuteRequest>();
  caller->link().cancel(Error(errc::cancelled, "gone"));
  run();
  target->answer(*execute);
  run();
  EXPECT_FALSE(target->closed());
  EXPECT_EQ(gateway->session_count(), 1U);
}

TEST_F(GatewayInvokeTest, Invoke_TargetGoesAway_TheCallerIsToldAtOnce) {
  caller->send(invoke("i"));
  run();
  target->link().cancel(Error(errc::cancelled, "gone"));
  run();
  const auto response = caller->next<messages::InvokeResponse>();
  ASSERT_TRUE(response);
  EXPECT_EQ(response->error_details.at("code"), "stream_failed");
}

class GatewayInvokeLimitTest : public GatewayInvokeTest {
 protected:
  void SetUp() override {
    auto with = options();
    with.max_invokes_per_session = 3;
    with.window.requests = 2;
    begin(with);
  }
};

TEST_F(GatewayInvokeLimitTest, Invoke_TooManyUnderWay_FurtherAreRefused) {
  for (int i = 0; i < 5; ++i)
    caller->send(invoke(std::to_string(i)));
  run();
  const auto refused = caller->all<messages::InvokeResponse>();
  ASSERT_THAT(refused, SizeIs(2)) << "and the rest does not stop the stream";
  EXPECT_EQ(refused[0].request_id, "3");
  EXPECT_EQ(refused[0].error_details.at("code"), "capacity_exceeded");
  for (const auto& execute : target->all<messages::ExecuteRequest>())
    target->answer(execute);
  run();
  EXPECT_THAT(caller->all<messages::InvokeResponse>(), SizeIs(3));
  caller->send(invoke("again"));
  run();
  EXPECT_TRUE(target->next<messages::ExecuteRequest>());
}

class GatewayInvokeSmallTest : public GatewayInvokeTest {
 protected:
  void SetUp() override {
    start(options(), {.max_outbound_bytes = 1000});
    caller = connect("caller");
    target = connect("target");
  }
};

TEST_F(GatewayInvokeSmallTest, Invoke_AnswerTooLarge_BecomesAFailure) {
  caller->send(invoke("i"));
  run();
  const auto execute = target->next<messages::ExecuteRequest>();
  target->answer(*execute, std::string(5000, '1'));
  run();
  const auto response = caller->next<messages::InvokeResponse>();
  ASSERT_TRUE(response);
  EXPECT_EQ(response->request_id, "i");
  EXPECT_FALSE(response->success);
  EXPECT_EQ(response->error_details.at("code"), "message_too_large");
}

}  // namespace
}  // namespace sharingbus::test

// Limits of the gateway: each refusal is counted, published, and says why (issue: "limits everywhere").
#include <map>
#include <string>

#include <gmock/gmock.h>

#include "connector/gateway/gateway_metrics.hpp"
#include "tests/connector/gateway/gateway_fixture.hpp"
#include "transport/listener_events.hpp"

namespace sharingbus::test {
namespace {

using connector::GatewayMetricsObserver;
using connector::RequestRefused;
using ::testing::HasSubstr;
using ::testing::Pair;
using ::testing::SizeIs;
using ::testing::UnorderedElementsAre;

class GatewayLimitsTest : public GatewayFixture {
 protected:
  std::string refusal(ScriptedConnector& connector, const messages::RegisterRequest& request) {
    connector.send(request);
    run();
    const auto response = connector.next<messages::RegisterResponse>();
    if (!response) return "(no answer)";
    return response->success ? "(registered)" : response->error;
  }
  std::string last_refused() {
    const auto refused = events<ConnectorRefused>(observer);
    return refused.empty() ? "(nothing)" : to_string(refused.back().error);
  }

  GatewayMetricsObserver metrics{bus};
};

TEST_F(GatewayLimitsTest, Zero_IsRefusedByName) {
  const auto refused = [](auto change) {
    GatewayOptions with;
    change(with);
    const auto valid = with.validate();
    return valid ? std::string("(valid)") : valid.error().message;
  };
  EXPECT_THAT(refused([](auto& o) { o.max_registrations_per_tenant = 0; }), HasSubstr("max_registrations_per_tenant"));
  EXPECT_THAT(refused([](auto& o) { o.max_register_bytes = 0; }), HasSubstr("max_register_bytes"));
  EXPECT_THAT(refused([](auto& o) { o.max_pending = 0; }), HasSubstr("max_pending must"));
}

// "Never" as a huge duration: neither undefined nor at once.
TEST_F(GatewayLimitsTest, TimesThatNeverEnd_AreNotOverAtOnce) {
  auto with = options();
  with.heartbeat_interval = with.session_timeout = with.register_timeout = with.session_token_lifetime =
      Duration::max();
  start(std::move(with));
  const auto silent = dial();
  const auto connector = connect("one");
  advance(1h);
  EXPECT_FALSE(silent->closed());
  EXPECT_EQ(gateway->session_count(), 1U);
  EXPECT_FALSE(connector->next<messages::HeartbeatRequest>());
  EXPECT_FALSE(connector->closed());
}

TEST_F(GatewayLimitsTest, ConnectionsWithoutAStream_OfItsListeners_AreRefusalsToo) {
  start();
  auto base = gateway->make_listener_options();
  const std::uint64_t ours = base.id;
  ASSERT_TRUE(gateway->serve(network.make_listener("another", std::move(base))));
  for (const std::uint64_t listener : {ours, bus.new_source()}) {
    bus.publish(
        transport::ConnectionRefused{listener, "grpc://1.2.3.4:5", Error(errc::timed_out, "said nothing within 9 ms")});
  }
  run();
  const auto refused = events<ConnectorRefused>(observer);
  ASSERT_THAT(refused, SizeIs(1)) << "not those of somebody else's listener";
  EXPECT_EQ(refused[0].peer, "grpc://1.2.3.4:5");
  EXPECT_EQ(to_string(refused[0].error), "said nothing within 9 ms");
  EXPECT_THAT(metrics.metrics().streams_refused, UnorderedElementsAre(Pair("timed_out", 1)));
}

TEST_F(GatewayLimitsTest, RegistrationsOfATenant_AreLimitedAndFreedAgain) {
  auto with = options();
  with.max_registrations_per_tenant = 2;
  start(std::move(with));
  auto one = connect("one");
  const auto two = connect("two");
  const auto three = dial();
  EXPECT_EQ(refusal(*three, register_request("three")), "the tenant has 2 connectors already");
  EXPECT_EQ(last_refused(), "the tenant has 2 connectors already");
  EXPECT_TRUE(three->closed());
  const auto other = dial();
  EXPECT_EQ(refusal(*other, register_request("three", "other")), "(registered)") << "another tenant's business";
  const auto again = dial();
  EXPECT_EQ(refusal(*again, register_request("two")), "(registered)") << "replacing takes no more room";
  one->link().finish();
  run();
  const auto later = dial();
  EXPECT_EQ(refusal(*later, register_request("three")), "(registered)");
  EXPECT_THAT(metrics.metrics().streams_refused, UnorderedElementsAre(Pair("capacity_exceeded", 1)));
  EXPECT_EQ(metrics.metrics().connectors_registered, 5U);
  EXPECT_EQ(metrics.metrics().connectors_replaced, 1U);
}

TEST_F(GatewayLimitsTest, RegisterRequestBeyondTheLimit_IsRefusedAndSaysSo) {
  auto with = options();
  with.max_register_bytes = 1'000;
  start(std::move(with));
  const auto big = dial();
  auto request = register_request("big");
  request.instance_metadata.tags.assign(100, "0123456789");
  EXPECT_EQ(refusal(*big, request), "the register request exceeds the limit of 1000 bytes");
  EXPECT_THAT(metrics.metrics().streams_refused, UnorderedElementsAre(Pair("message_too_large", 1)));
  const auto small = dial();
  EXPECT_EQ(refusal(*small, register_request("small")), "(registered)");
}

TEST_F(GatewayLimitsTest, UnregisteredStream_IsReadNoFurtherThanItsFirstMessage) {
  start();
  const auto waiting = dial({10'000, 10'000}, {.outbound_capacity = 4});
  run();
  ASSERT_EQ(waiting->send(register_request("one")), transport::SendStatus::queued);
  for (int i = 0; i < 3; ++i)
    ASSERT_EQ(waiting->send(messages::HeartbeatRequest{}), transport::SendStatus::queued);
  run();
  EXPECT_TRUE(waiting->next<messages::RegisterResponse>()->success) << "what comes behind it is read afterwards";
  EXPECT_THAT(waiting->all<messages::HeartbeatResponse>(), SizeIs(3));
}

TEST_F(GatewayLimitsTest, Requests_OfOneConnectorAndInAll_AreLimited) {
  auto with = options();
  with.max_pending_per_session = 2;
  with.max_pending = 3;
  start(std::move(with));
  const auto one = connect("one");
  const auto two = connect("two");
  const auto first = execute("acme.echo.one");
  const auto second = execute("acme.echo.one");
  const auto beyond = execute("acme.echo.one");
  run();
  EXPECT_EQ(beyond->error.message, "connector acme.echo.one has 2 requests pending");
  const auto third = execute("acme.echo.two");
  const auto fourth = execute("acme.echo.two");
  run();
  EXPECT_FALSE(third->done);
  EXPECT_EQ(fourth->error.message, "the gateway has 3 requests pending");
  one->answer(*one->next<messages::ExecuteRequest>());
  run();
  const auto fifth = execute("acme.echo.two");
  run();
  EXPECT_FALSE(fifth->done) << "there is room again";
  EXPECT_THAT(metrics.metrics().requests_refused, UnorderedElementsAre(Pair("capacity_exceeded", 2)));
  EXPECT_EQ(metrics.metrics().requests_dispatched, 4U);
  EXPECT_EQ(metrics.metrics().requests_answered, 1U);
}

TEST_F(GatewayLimitsTest, RequestsThatNeverGoOut_ArePublishedWithTheReason) {
  start();
  const auto connector = connect("one");
  const auto nobody = execute("acme.echo.nobody");
  const auto timeless = execute("acme.echo.one", call("1", 0s));
  run();
  const auto refused = events<RequestRefused>(observer);
  ASSERT_THAT(refused, SizeIs(2));
  EXPECT_EQ(refused[0].address, "acme.echo.nobody");
  EXPECT_TRUE(refused[0].error.is(errc::not_found));
  EXPECT_EQ(refused[0].error.message, nobody->error.message);
  EXPECT_NE(refused[0].request_id, refused[1].request_id);
  EXPECT_TRUE(refused[1].error.is(errc::invalid_argument));
  close_gateway();
  EXPECT_THAT(metrics.metrics().requests_refused,
              UnorderedElementsAre(Pair("not_found", 1), Pair("invalid_argument", 1)));
}

TEST_F(GatewayLimitsTest, InvokesThatAreRefused_ArePublished) {
  start();
  const auto connector = connect("one");
  messages::InvokeRequest invoke;
  invoke.request_id = "i";
  invoke.target_address = "acme.echo.one";
  invoke.context["x-invoke-depth"] = "5";
  connector->send(invoke);
  run();
  const auto refused = events<RequestRefused>(observer);
  ASSERT_THAT(refused, SizeIs(1));
  EXPECT_EQ(refused[0].request_id, "i");
  EXPECT_THAT(refused[0].error.message, HasSubstr("nested too deep"));
}

TEST_F(GatewayLimitsTest, Metrics_CountHowConnectorsGoAndRequestsEnd) {
  start();
  const auto silent = connect("silent");
  const auto leaves = connect("leaves");
  const auto lost = execute("acme.echo.leaves");
  const auto slow = execute("acme.echo.silent", call("1", 5s));
  run();
  leaves->link().finish();
  run();
  for (int i = 0; i < 9; ++i)
    advance(10s);
  EXPECT_TRUE(slow->error.is(errc::timed_out));
  const auto m = metrics.metrics();
  EXPECT_THAT(m.connectors_disconnected, UnorderedElementsAre(Pair("none", 1), Pair("timed_out", 1)))
      << "the reaper of silent sessions";
  EXPECT_EQ(m.requests_failed.at("timed_out"), 1U);
  EXPECT_EQ(m.requests_failed.size(), 2U);
}

}  // namespace
}  // namespace sharingbus::test

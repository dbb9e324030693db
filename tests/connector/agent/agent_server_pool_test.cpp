// Our agent asked by our pool, over one connection, in virtual time.
#include "connector/agent/agent_pool.hpp"
#include "tests/connector/agent/agent_server_fixture.hpp"

namespace sharingbus::test {
namespace {

using connector::AgentPool;
using connector::AgentPoolOptions;
using connector::AgentReply;
using connector::CallOptions;
using connector::PoolFailure;

struct Outcome {
  Error error;
  AgentReply reply;
};

class AgentServerPoolTest : public AgentServerFixture {
 protected:
  void TearDown() override {
    pool->async_close([](const Error& error) { EXPECT_FALSE(error); });
    run();
    EXPECT_EQ(pool->protocol_metrics().in_flight.load(), 0);
    pool.reset();
    AgentServerFixture::TearDown();
  }

  void ask_over(AgentCarrier carrier) {
    start(carrier);
    AgentPoolOptions with;
    with.connections_per_agent = 1;
    pool.emplace(
        io.get_executor(), bus, time,
        [this](const connector::AgentEndpoint&) -> Result<std::unique_ptr<transport::Dialer>> {
          return network.make_dialer("agent");
        },
        with);
    pool->async_add_agent("waf", carrier == AgentCarrier::grpc ? "grpc://agent" : "unix:/agent",
                          [](const Error& error) { EXPECT_FALSE(error) << error.message; });
    run();
  }
  /// What a call came to; nothing yet.
  using OutcomePtr = std::shared_ptr<std::optional<Outcome>>;
  static OutcomePtr outcome() { return std::make_shared<std::optional<Outcome>>(); }
  static auto into(const OutcomePtr& to) {
    return [to](Error error, AgentReply reply) { to->emplace(Outcome{std::move(error), std::move(reply)}); };
  }

  std::optional<AgentPool> pool;
};

TEST_F(AgentServerPoolTest, EventsAfterATimeout_AreAnswered) {
  for (const AgentCarrier carrier : {AgentCarrier::uds, AgentCarrier::grpc}) {
    ask_over(carrier);
    const auto first = outcome();
    const auto second = outcome();
    const auto third = outcome();
    pool->send_request_headers("waf", "c", headers("c", {{"wait", ""}}), into(first), CallOptions{.timeout = 100ms});
    run();
    advance(100ms);
    ASSERT_TRUE(*first);
    EXPECT_EQ((*first)->reply.failure, PoolFailure::timeout) << to_string((*first)->error);
    pool->send_request_complete("waf", "c", agent::RequestComplete{}, into(second));
    run();
    ASSERT_TRUE(*second) << "its answer was taken for that of the call that timed out";
    EXPECT_FALSE((*second)->error) << to_string((*second)->error);
    EXPECT_TRUE(std::holds_alternative<agent::Allow>((*second)->reply->decision));
    // A new request of the same id.
    pool->send_request_headers("waf", "c", headers("c", {{"x", ""}}), into(third));
    run();
    ASSERT_TRUE(*third);
    ASSERT_FALSE((*third)->error) << to_string((*third)->error);
    EXPECT_TRUE(std::holds_alternative<agent::Block>((*third)->reply->decision)) << "its own decision";
    if (carrier == AgentCarrier::uds) {
      pool->async_close([](const Error&) {});
      run();
      pool.reset();
      close_server();
    }
  }
}

TEST_F(AgentServerPoolTest, EventsAfterACancel_AreAnswered) {
  ask_over(AgentCarrier::uds);
  const auto first = outcome();
  const auto queued = outcome();
  const auto next = outcome();
  pool->send_request_headers("waf", "c", headers("c", {{"wait", ""}}), into(first));
  pool->send_request_body_chunk("waf", "c", chunk("c", 0), into(queued));
  run();
  ASSERT_TRUE(pool->cancel_request("waf", "c", agent::CancelReason::client_disconnect));
  pool->send_request_complete("waf", "c", agent::RequestComplete{}, into(next));
  run();
  ASSERT_TRUE(*first && *queued && *next);
  EXPECT_EQ((*first)->reply.failure, PoolFailure::cancelled);
  EXPECT_EQ((*queued)->reply.failure, PoolFailure::cancelled);
  EXPECT_FALSE((*next)->error) << to_string((*next)->error);
  EXPECT_TRUE(std::holds_alternative<agent::Allow>((*next)->reply->decision));
  EXPECT_EQ(pool->protocol_metrics().late_answers.load(), 2U);
}

}  // namespace
}  // namespace sharingbus::test

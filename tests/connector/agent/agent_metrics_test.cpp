// Metrics of pools and agent servers as subscribers of the bus (spec 4, O 9).

#include "connector/agent/agent_metrics.hpp"

#include "connector/agent/agent_server_events.hpp"
#include "tests/connector/agent/pool_world.hpp"

namespace sharingbus::test {
namespace {

using namespace connector;

class PoolMetricsTest : public PoolWorld {
 protected:
  PoolMetricsObserver sut{bus, 2};
};

TEST_F(PoolMetricsTest, O9_CountsWhatAgentsGoThrough) {
  auto& waf = agent("waf.sock");
  start(small(2));
  ASSERT_FALSE(add("waf", "waf.sock"));
  waf.pause(waf.session(0));
  run();
  waf.resume(waf.session(0));
  run();
  EXPECT_EQ(sut.metrics("waf").connections, 2);
  EXPECT_EQ(sut.metrics("waf").connections_opened, 2U);
  EXPECT_EQ(sut.metrics("waf").pauses, 1U);
  waf.kill();
  run();
  time.advance(5s);
  pool->maintain();
  run();
  const PoolAgentMetrics metrics = sut.metrics("waf");
  EXPECT_EQ(metrics.connections, 0);
  std::uint64_t closed = 0;
  for (const auto& [reason, count] : metrics.connections_closed)
    closed += count;
  EXPECT_EQ(closed, 2U);
  EXPECT_GE(metrics.connect_failures.at("connection_refused"), 1U);
  EXPECT_EQ(sut.metrics("nobody").connections_opened, 0U);
  const std::string text = sut.to_prometheus();
  EXPECT_NE(text.find("# TYPE agent_pool_connections gauge\nagent_pool_connections{agent=\"waf\"} 0\n"),
            std::string::npos)
      << text;
  EXPECT_NE(text.find("agent_pool_connections_opened_total{agent=\"waf\"} 2\n"), std::string::npos) << text;
  EXPECT_NE(text.find("agent_pool_connect_failures_total{agent=\"waf\",reason=\"connection_refused\"}"),
            std::string::npos)
      << text;
}

TEST_F(PoolMetricsTest, AgentsBeyondTheBound_AreCountedTogether_AndIdsAreEscaped) {
  auto publisher = bus.publisher();
  for (const char* id : {"a\"b\n", "b", "c", "d"})
    publisher.publish(AgentConnectionUp{id, 1, "peer", false}, {}, EventOrigin::agent);
  run();
  EXPECT_EQ(sut.metrics("b").connections, 1);
  EXPECT_EQ(sut.metrics("c").connections, 0);
  EXPECT_EQ(sut.metrics("").connections, 2);
  EXPECT_NE(sut.to_prometheus("p").find("p_connections{agent=\"a\\\"b\\n\"} 1\n"), std::string::npos);
}

TEST(AgentServerMetrics, CountsEveryAnswerOnceAndWhoComesAndGoes) {
  SharingBus bus;
  const AgentServerMetricsObserver sut(bus);
  auto publisher = bus.publisher();
  const auto say = [&](auto event) { publisher.publish(std::move(event), {}, EventOrigin::agent); };
  say(ProxyConnected{"p", "proxy", "1", "json", false});
  say(ProxyConnected{"q", "proxy", "1", "json", false});
  say(ProxyRefused{"r", Error(errc::timed_out, "no handshake in time"), false, {}});
  say(AgentAnswered{"c", "request_headers", AgentOutcome::allowed, 1500ms, {}});
  say(AgentAnswered{"d", "request_headers", AgentOutcome::blocked, 500ms, {}});
  say(AgentAnswered{"e", "request_headers", AgentOutcome::dropped, 99s, Error(errc::cancelled, "gone")});
  say(AgentFlowChanged{true});
  say(AgentFlowChanged{false});
  say(ProxyDisconnected{"p", "proxy", Error(errc::stream_closed, "bye"), false, {}});
  const AgentServerMetrics metrics = sut.metrics();
  EXPECT_EQ(metrics.proxies_connected, 2U);
  EXPECT_EQ(metrics.connections, 1);
  EXPECT_EQ(metrics.proxies_refused, (std::map<std::string, std::uint64_t>{{"timed_out", 1}}));
  EXPECT_EQ(metrics.proxies_disconnected, (std::map<std::string, std::uint64_t>{{"none", 1}}));
  EXPECT_EQ(metrics.answers, (std::map<std::string, std::uint64_t>{{"allowed", 1}, {"blocked", 1}, {"dropped", 1}}));
  EXPECT_EQ(metrics.total_duration, Duration(2s));
  EXPECT_EQ(metrics.pauses, 1U);
  const std::string text = sut.to_prometheus();
  EXPECT_NE(text.find("agent_server_connections 1\n"), std::string::npos) << text;
  EXPECT_NE(text.find("agent_server_answers_total{outcome=\"blocked\"} 1\n"), std::string::npos) << text;
  EXPECT_NE(text.find("agent_server_answer_seconds_total 2.000000\n"), std::string::npos) << text;
}

}  // namespace
}  // namespace sharingbus::test

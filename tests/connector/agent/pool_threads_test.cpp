// The pool from many threads at once, on an executor with several, in real time.

#include <atomic>
#include <thread>

#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/strand.hpp>
#include <boost/asio/use_future.hpp>

#include "bus/async_timer_service.hpp"
#include "tests/connector/agent/pool_world.hpp"

namespace sharingbus::test {
namespace {

/// An agent in reach, and threads that run everything.
class AgentPoolThreads : public testing::Test {
 protected:
  static constexpr int kThreads = 3;

  void SetUp() override {
    ASSERT_TRUE(agent->listen());
    for (int i = 0; i < kThreads; ++i)
      workers.emplace_back([this] { io.run(); });
  }
  [[nodiscard]] auto dialers() {
    return [this](const connector::AgentEndpoint& where) -> Result<std::unique_ptr<transport::Dialer>> {
      return network.make_dialer(where.endpoint.host);
    };
  }
  /// Until nothing is left to be done. The pool is gone.
  void end() {
    boost::asio::post(strand, [this] { agent->kill(); });
    guard.reset();
    for (std::thread& worker : workers)
      worker.join();
  }

  boost::asio::io_context io;
  boost::asio::executor_work_guard<boost::asio::io_context::executor_type> guard{io.get_executor()};
  AsyncTimerService timers{io.get_executor()};
  SharingBus bus{BusOptions{.log = nullptr}};
  const boost::asio::strand<boost::asio::io_context::executor_type> strand{io.get_executor()};
  transport::MemoryNetwork network{strand};
  std::optional<ScriptAgent> agent{std::in_place, strand, bus, network, "waf.sock"};
  std::vector<std::thread> workers;
};

TEST_F(AgentPoolThreads, D22_D23_CallsPushesAndStatsFromManyThreads_EndOnceEach_WhileConnectionsComeAndGo) {
  constexpr int kCalls = 400;
  std::atomic<int> ended{0};
  std::atomic<int> answered{0};
  {
    auto options = AgentPoolOptions{};
    options.reconnect_interval = 1ms;
    options.health_check_interval = 5ms;
    AgentPool pool(io.get_executor(), bus, timers, dialers(), options);
    pool.async_add_agent("waf", "waf.sock", boost::asio::use_future).get();
    pool.start_maintenance();
    std::vector<std::thread> callers;
    for (int t = 0; t < kThreads; ++t) {
      callers.emplace_back([&, t] {
        for (int i = 0; i < kCalls; ++i) {
          const std::string id = std::to_string(t) + "-" + std::to_string(i);
          messages::RequestHeaders event;
          event.metadata.correlation_id = id;
          pool.send_request_headers("waf", id, event, [&](const Error& error, const AgentReply&) {
            if (!error) ++answered;
            ++ended;
          });
          if (i % 7 == 0) static_cast<void>(pool.cancel_request("waf", id));
          if (i % 11 == 0) static_cast<void>(pool.stats());
          if (i % 13 == 0) static_cast<void>(pool.create_sticky_session(id, "waf"));
          if (i % 17 == 0) {
            if (const auto push = pool.push_config_to_agent("waf", {"{}"}))
              static_cast<void>(pool.acknowledge_config_push(*push, i % 2 == 0, "no"));
            static_cast<void>(pool.push_config_to_all({"{}"}));
            static_cast<void>(pool.config_pushes());
          }
          if (i % 19 == 0) pool.maintain();
          if (i % 23 == 0) static_cast<void>(pool.export_prometheus());
          // A connection breaks now and then.
          if (t == 0 && i % 100 == 50) {
            boost::asio::post(strand, [&] {
              for (const auto& session : agent->sessions()) {
                if (!session->closed) return session->link->cancel(Error(errc::cancelled, "broken"));
              }
            });
          }
        }
      });
    }
    for (std::thread& caller : callers)
      caller.join();
    pool.async_close(boost::asio::use_future).get();
    EXPECT_EQ(pool.protocol_metrics().in_flight.load(), 0);
    EXPECT_EQ(pool.protocol_metrics().healthy_connections.load(), 0);
  }
  end();
  EXPECT_EQ(ended.load(), kThreads * kCalls);
  EXPECT_GT(answered.load(), 0);
}

TEST_F(AgentPoolThreads, DestroyedWithoutClose_WhileAgentsComeAndGo_EveryCompletionComes) {
  constexpr int kRounds = 100;
  std::atomic<int> ended{0};
  const auto count = [&](const Error&) { ++ended; };
  for (int round = 0; round < kRounds; ++round) {
    AgentPool pool(io.get_executor(), bus, timers, dialers());
    pool.async_add_agent("waf", "waf.sock", boost::asio::use_future).get();
    pool.async_add_agent("nobody", "nobody.sock", count);
    pool.async_add_agent("late", "waf.sock", count);
    pool.async_remove_agent("waf", count);
    if (round % 2 == 0) pool.async_add_agent("waf", "waf.sock", boost::asio::use_future).wait();
  }
  end();
  EXPECT_EQ(ended.load(), 3 * kRounds);
}

}  // namespace
}  // namespace sharingbus::test

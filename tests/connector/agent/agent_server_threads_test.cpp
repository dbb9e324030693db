// The agent server with threads: handlers in parallel, cancels and ends at any moment.
#include <atomic>
#include <future>
#include <map>
#include <random>
#include <thread>

#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/strand.hpp>
#include <boost/asio/thread_pool.hpp>

#include "bus/async_timer_service.hpp"
#include "tests/connector/agent/agent_server_fixture.hpp"
#include "tests/support/watchdog.hpp"

namespace sharingbus::test {
namespace {

/// Waits a moment where the URI says so; counts how many run at once.
class BusyAgent final : public AgentHandler {
 public:
  Answer request_headers(const agent::RequestHeaders& event, const ProxyInfo&) override { return decide(event.uri); }
  Answer request_body_chunk(const agent::RequestBodyChunk& event, const ProxyInfo&) override {
    return decide(event.data);
  }
  asio::awaitable<void> cancelled(const agent::Cancel&, const ProxyInfo&) override {
    cancels.fetch_add(1);
    co_return;
  }

  std::atomic<int> running{0};
  std::atomic<int> cancels{0};
  std::atomic<int> calls{0};

 private:
  Answer decide(std::string how) {
    running.fetch_add(1);
    calls.fetch_add(1);
    if (how == "wait") {
      asio::steady_timer timer(co_await asio::this_coro::executor, 1ms);
      boost::system::error_code ignored;
      co_await timer.async_wait(asio::redirect_error(asio::use_awaitable, ignored));
    }
    running.fetch_sub(1);
    co_return connector::allow();
  }
};

class AgentThreadsTest : public ::testing::Test {
 protected:
  AgentThreadsTest() : work_(asio::make_work_guard(io_)) {
    for (int i = 0; i < 3; ++i)
      threads_.emplace_back([this] { io_.run(); });
  }
  ~AgentThreadsTest() override {
    handlers_.stop();
    handlers_.join();
    work_.reset();
    io_.stop();
    for (std::thread& thread : threads_)
      thread.join();
    dialer_.reset();
    bus_.close();
  }

  void start() {
    AgentServerOptions options;
    options.log = nullptr;
    options.handlers = handlers_.get_executor();
    // Real time, on a machine that may be busy.
    options.handshake_timeout = std::chrono::minutes(10);
    options.processing_timeout = std::chrono::minutes(10);
    options.health_interval = 20ms;
    options.metrics_interval = 30ms;
    options.max_concurrent = 8;
    options.window = {.requests = 32, .controls = 32};
    options.pause_waiting = 16;
    server_.emplace(io_.get_executor(), bus_, timers_, handler_, std::move(options));
    ASSERT_TRUE(server_->serve(network_.make_listener("agent", server_->make_listener_options(AgentCarrier::uds))));
    dialer_ = network_.make_dialer("agent");
  }
  std::unique_ptr<ScriptedProxy> connect() {
    auto proxy =
        std::make_unique<ScriptedProxy>(bus_, *dialer_, AgentWire::msgpack, transport::Credit{100'000, 100'000});
    agent::HandshakeRequest request = hello();
    request.supported_encodings = {"msgpack", "json"};
    proxy->send(request);
    await([&] { return proxy->next<agent::HandshakeResponse>().has_value(); });
    return proxy;
  }
  /// Asks again until `done` is true.
  template <class Done>
  static void await(Done done) {
    while (!done())
      std::this_thread::yield();
  }
  /// Sends, and waits while there is no room.
  template <class Message>
  static void push(ScriptedProxy& proxy, const Message& message) {
    const std::string frame = transport::encode_agent_message(message, AgentWire::msgpack).value();
    await([&] { return proxy.link().send(frame) != transport::SendStatus::full; });
  }
  void close(Duration drain) {
    std::promise<void> closed;
    server_->close(drain, [&closed] { closed.set_value(); });
    closed.get_future().wait();
    server_.reset();
  }

  const Watchdog watchdog_{"the agent server with threads", std::chrono::seconds(240)};
  asio::io_context io_;
  asio::executor_work_guard<asio::io_context::executor_type> work_;
  asio::thread_pool handlers_{2};
  AsyncTimerService timers_{io_.get_executor()};
  SharingBus bus_;
  // It wants a strand.
  transport::MemoryNetwork network_{asio::make_strand(io_)};
  std::unique_ptr<transport::Dialer> dialer_;
  const std::shared_ptr<BusyAgent> handler_ = std::make_shared<BusyAgent>();
  std::optional<AgentServer> server_;
  std::vector<std::thread> threads_;
};

TEST_F(AgentThreadsTest, FourProxies_EveryEventIsAnsweredOnce_InOrderWithinItsId) {
  constexpr int kIds = 50;
  constexpr int kChunks = 3;
  start();
  std::vector<std::thread> proxies;
  for (int p = 0; p < 4; ++p) {
    proxies.emplace_back([this] {
      const auto proxy = connect();
      for (int id = 0; id < kIds; ++id) {
        agent::RequestHeaders event = headers("c" + std::to_string(id));
        event.uri = id % 3 == 0 ? "wait" : "/";
        push(*proxy, event);
        for (std::uint32_t i = 0; i < kChunks; ++i)
          push(*proxy, chunk("c" + std::to_string(id), i, i % 2 == 0 ? "wait" : "x"));
      }
      std::map<std::string, int> answers;
      int seen = 0;
      await([&] {
        for (const std::string& id : proxy->answered()) {
          ++answers[id];
          ++seen;
        }
        return seen >= kIds * (kChunks + 1);
      });
      EXPECT_EQ(answers.size(), std::size_t{kIds});
      for (const auto& [id, count] : answers)
        EXPECT_EQ(count, kChunks + 1) << id;
      proxy->link().finish();
    });
  }
  for (std::thread& proxy : proxies)
    proxy.join();
  EXPECT_EQ(handler_->calls.load(), 4 * kIds * (kChunks + 1));
  close(10s);
  EXPECT_EQ(handler_->running.load(), 0);
}

TEST_F(AgentThreadsTest, CancelsAndEnds_AtAnyMoment_LeaveNothingRunning) {
  start();
  std::vector<std::thread> proxies;
  for (unsigned p = 0; p < 4; ++p) {
    proxies.emplace_back([this, p] {
      std::mt19937 random(p);
      for (int round = 0; round < 10; ++round) {
        const auto proxy = connect();
        for (int i = 0; i < 50; ++i) {
          const std::string id = "c" + std::to_string(random() % 8);
          agent::RequestHeaders event = headers(id);
          event.uri = "wait";
          push(*proxy, event);
          if (random() % 3 == 0) push(*proxy, agent::Cancel{.correlation_id = id});
        }
        if (random() % 2 == 0) {
          proxy->link().finish();
        } else {
          proxy->link().cancel(Error(errc::cancelled, "bye"));
        }
      }
    });
  }
  for (std::thread& proxy : proxies)
    proxy.join();
  close(0s);
  EXPECT_EQ(handler_->running.load(), 0) << "close waited for all";
}

TEST_F(AgentThreadsTest, Close_UnderLoad_EndsInGoodTime) {
  start();
  const auto proxy = connect();
  std::atomic<bool> over{false};
  std::thread load([&] {
    for (int i = 0; !over; ++i) {
      agent::RequestHeaders event = headers("c" + std::to_string(i));
      event.uri = "wait";
      const auto status = proxy->link().send(transport::encode_agent_message(event, AgentWire::msgpack).value());
      if (status == transport::SendStatus::closed) break;
      (void)proxy->answered();
    }
  });
  await([&] { return handler_->calls.load() > 100; });
  close(100ms);
  over = true;
  load.join();
  EXPECT_EQ(handler_->running.load(), 0);
}

TEST_F(AgentThreadsTest, Close_WhileProxiesDial_WaitsForNoHandshake) {
  for (int round = 0; round < 20; ++round) {
    start();
    std::atomic<bool> over{false};
    std::atomic<int> dialled{0};
    std::thread dialling([&] {
      while (!over) {
        const ScriptedProxy silent(bus_, *dialer_, AgentWire::json, transport::Credit{1, 1});
        dialled.fetch_add(1);
      }
    });
    await([&] { return dialled.load() > 3; });
    close(std::chrono::minutes(10));
    over = true;
    dialling.join();
  }
}

}  // namespace
}  // namespace sharingbus::test

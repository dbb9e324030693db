// Calls to agents over real gRPC of which no part is handed over to another thread, and those of which the user's part
// is.
#include <atomic>
#include <functional>
#include <future>
#include <memory>
#include <string>
#include <utility>

#include <boost/asio/bind_executor.hpp>
#include <boost/asio/post.hpp>
#include <gtest/gtest.h>

#include "connector/agent/agent_pool.hpp"
#include "connector/agent/agent_server.hpp"
#include "connector/inline_executor.hpp"
#include "tests/support/context_threads.hpp"
#include "tests/support/watchdog.hpp"
#include "transport/codec/agent_codec.hpp"
#include "transport/grpc/grpc_dialer.hpp"
#include "transport/grpc/grpc_listener.hpp"

namespace sharingbus::test {
namespace {

using namespace std::chrono_literals;
using namespace connector;
namespace asio = boost::asio;
namespace messages = transport::agent_messages;

/// A process of its own, as it were: a bus and an executor.
struct House {
  explicit House(std::size_t threads) : context(threads) {}
  [[nodiscard]] bool here() { return context.context().get_executor().running_in_this_thread(); }

  SharingBus bus;
  ContextThreads context;
};

/// Counts how often it is called, and how often by a thread that is none of the executor's.
class Places {
 public:
  explicit Places(House& house) : house_(house) {}
  void note() {
    ++all_;
    if (!house_.here()) ++elsewhere_;
  }
  [[nodiscard]] int all() const { return all_; }
  [[nodiscard]] int elsewhere() const { return elsewhere_; }

 private:
  House& house_;
  std::atomic<int> all_{0};
  std::atomic<int> elsewhere_{0};
};

class Handler final : public AgentHandler {
 public:
  Handler(House& house, bool blocks) : decided(house), configured(house), blocks_(blocks) {}
  [[nodiscard]] bool may_block() const override { return blocks_; }
  Answer request_headers(const messages::RequestHeaders& event, const ProxyInfo&) override {
    decided.note();
    if (decide) decide(event.metadata.correlation_id);
    co_return allow();
  }
  asio::awaitable<Result<>> configure(const messages::Configure&, const ProxyInfo&) override {
    configured.note();
    co_return Result<>{};
  }

  Places decided;
  Places configured;
  std::function<void(const std::string& id)> decide;

 private:
  const bool blocks_;
};

/// Holds the one thread of an executor as long as it lives.
class Held {
 public:
  explicit Held(House& house) {
    asio::post(house.context.executor(), [this] {
      held_.set_value();
      released_.get_future().wait();
      gone_.set_value();
    });
    held_.get_future().wait();
  }
  ~Held() {
    released_.set_value();
    gone_.get_future().wait();
  }
  Held(const Held&) = delete;
  Held& operator=(const Held&) = delete;

 private:
  std::promise<void> held_;
  std::promise<void> released_;
  std::promise<void> gone_;
};

class AgentWithoutHops : public testing::Test {
 protected:
  void serve(bool blocks, std::size_t agent_threads = 1) {
    agent_house = std::make_unique<House>(agent_threads);
    handler = std::make_shared<Handler>(*agent_house, blocks);
    AgentServerOptions options;
    options.log = nullptr;
    server = std::make_unique<AgentServer>(agent_house->context.executor(), agent_house->bus,
                                           agent_house->context.timers(), handler, options);
    transport::GrpcListenerOptions listening;
    listening.base = server->make_listener_options(transport::AgentCarrier::grpc);
    listening.methods = {transport::kAgentMethod};
    const auto bound = server->serve(
        std::make_unique<transport::GrpcListener>(transport::Endpoint{"grpc", "127.0.0.1", 0}, std::move(listening)));
    ASSERT_TRUE(bound) << to_string(bound.error());
    endpoint = "grpc://127.0.0.1:" + std::to_string(bound->port);
    AgentPoolOptions pooling;
    pooling.connections_per_agent = 1;
    pooling.request_timeout = 100s;
    pool = std::make_unique<AgentPool>(
        pool_house.context.executor(), pool_house.bus, pool_house.context.timers(),
        [this](const AgentEndpoint& where) -> Result<std::unique_ptr<transport::Dialer>> {
          transport::GrpcDialerOptions dialing;
          dialing.method = transport::kAgentMethod;
          dialing.max_streams_per_channel = 1;
          return std::make_unique<transport::GrpcDialer>(where.endpoint, std::move(dialing),
                                                         pool_house.context.timers());
        },
        pooling);
  }
  void add(const std::string& id, AgentOptions options = {}) {
    std::promise<Error> added;
    pool->async_add_agent(id, endpoint, std::move(options), [&](Error error) { added.set_value(std::move(error)); });
    const Error error = added.get_future().get();
    ASSERT_FALSE(error) << to_string(error);
  }
  void TearDown() override {
    if (pool) {
      std::promise<void> closed;
      pool->async_close([&](const Error&) { closed.set_value(); });
      closed.get_future().wait();
    }
    if (server) {
      std::promise<void> closed;
      server->close(0s, [&] { closed.set_value(); });
      closed.get_future().wait();
    }
    pool.reset();
    server.reset();
  }

  /// Asks, one at a time, each from the answer to the one before; `then` may be told of each.
  void ask_in_a_row(int count, Places& places, bool in_line, const std::function<void()>& then = nullptr) {
    std::promise<void> done;
    std::atomic<int> failed{0};
    std::function<void()> ask;
    const auto answered = [&](const Error& error, const AgentReply&) {
      places.note();
      if (error) ++failed;
      if (then) then();
      if (--count == 0) return done.set_value();
      ask();
    };
    ask = [&] {
      const std::string id = "request-" + std::to_string(count);
      if (in_line) {
        pool->send_request_headers("agent", id, {}, asio::bind_executor(InlineExecutor(), answered));
      } else {
        pool->send_request_headers("agent", id, {}, answered);
      }
    };
    ask();
    done.get_future().wait();
    EXPECT_EQ(failed, 0);
  }

  Watchdog watchdog{"AgentWithoutHops", 120s};
  House pool_house{1};
  std::unique_ptr<House> agent_house;
  std::shared_ptr<Handler> handler;
  std::unique_ptr<AgentServer> server;
  std::string endpoint;
  std::unique_ptr<AgentPool> pool;
};

TEST_F(AgentWithoutHops, OverGrpc_ExecutorsThatAreHeldUp_CallsGoOn) {
  serve(false);
  add("agent");
  Places completions(pool_house);
  // Whatever followed the handshake is done.
  ask_in_a_row(10, completions, true);
  constexpr int kCalls = 200;
  {
    const Held agent(*agent_house);
    const Held asker(pool_house);
    ask_in_a_row(kCalls, completions, true);
  }
  EXPECT_GE(handler->decided.elsewhere(), kCalls);
  EXPECT_GE(completions.elsewhere(), kCalls);
}

TEST_F(AgentWithoutHops, ByDefault_HandlersAndCompletionsAreTheExecutors) {
  serve(true);
  add("agent");
  Places completions(pool_house);
  ask_in_a_row(50, completions, false);
  EXPECT_EQ(handler->decided.all(), 50);
  EXPECT_EQ(handler->decided.elsewhere(), 0);
  EXPECT_EQ(completions.all(), 50);
  EXPECT_EQ(completions.elsewhere(), 0);
}

TEST_F(AgentWithoutHops, HandlerThatBlocks_ByDefault_HoldsUpNoOtherStream) {
  serve(true, 2);
  add("slow");
  add("agent");
  std::promise<void> begun;
  std::promise<void> released;
  handler->decide = [&](const std::string& id) {
    if (id != "slow") return;
    begun.set_value();
    released.get_future().wait();
  };
  std::promise<Error> slow;
  pool->send_request_headers("slow", "slow", {}, [&](const Error& error, const AgentReply&) { slow.set_value(error); });
  begun.get_future().wait();
  Places completions(pool_house);
  ask_in_a_row(20, completions, true);
  EXPECT_EQ(completions.all(), 20);
  released.set_value();
  EXPECT_FALSE(slow.get_future().get());
}

TEST_F(AgentWithoutHops, Configure_IsTheExecutorsAlways) {
  serve(false);
  AgentOptions options;
  options.config = AgentConfig{.config_json = R"({"rules":[]})"};
  add("agent", options);
  EXPECT_GT(handler->configured.all(), 0);
  EXPECT_EQ(handler->configured.elsewhere(), 0);
}

TEST_F(AgentWithoutHops, ServerClosedInAHandler_OnTheTransportsThread_Ends) {
  serve(false);
  add("agent");
  std::promise<void> closed;
  std::atomic<bool> elsewhere{false};
  handler->decide = [&](const std::string&) {
    elsewhere = !agent_house->here();
    server->close(0s, [&] { closed.set_value(); });
  };
  std::promise<void> ended;
  pool->send_request_headers(
      "agent", "last", {},
      asio::bind_executor(InlineExecutor(), [&](const Error&, const AgentReply&) { ended.set_value(); }));
  ended.get_future().wait();
  closed.get_future().wait();
  EXPECT_TRUE(elsewhere);
  EXPECT_EQ(server->connection_count(), 0U);
}

TEST_F(AgentWithoutHops, AgentRemovedAndPoolClosedInCompletions_OnTheTransportsThread_End) {
  serve(false);
  add("agent");
  add("other");
  std::promise<void> removed;
  std::promise<void> closed;
  bool elsewhere = false;
  const auto close = [&](const Error& error, const AgentReply&) {
    EXPECT_FALSE(error);
    elsewhere = elsewhere && !pool_house.here();
    pool->async_close([&](const Error&) { closed.set_value(); });
  };
  const auto remove = [&](const Error& error, const AgentReply&) {
    EXPECT_FALSE(error);
    elsewhere = !pool_house.here();
    pool->async_remove_agent("agent", [&](const Error&) { removed.set_value(); });
    pool->send_request_headers("other", "second", {}, asio::bind_executor(InlineExecutor(), close));
  };
  pool->send_request_headers("agent", "first", {}, asio::bind_executor(InlineExecutor(), remove));
  removed.get_future().wait();
  closed.get_future().wait();
  EXPECT_TRUE(elsewhere);
  EXPECT_TRUE(pool->agent_ids().empty());
}

}  // namespace
}  // namespace sharingbus::test

// What agents do wrong, with real processes and sockets: killed, stopped, restarted, paused, slow, answering twice,
// never, with garbage. The pool recovers by itself and its gauges return to zero. `PoolFaults` and `PoolDefects` have
// the same in virtual time.
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <fcntl.h>
#include <filesystem>
#include <future>
#include <memory>
#include <string>
#include <sys/wait.h>
#include <unistd.h>
#include <utility>
#include <vector>

#include <boost/asio/strand.hpp>
#include <gtest/gtest.h>
#include <spawn.h>

#include "connector/agent/agent_pool.hpp"
#include "connector/agent/agent_server.hpp"
#include "tests/support/context_threads.hpp"
#include "tests/support/poll_until.hpp"
#include "tests/support/short_folder.hpp"
#include "tests/support/watchdog.hpp"
#include "transport/length_prefix_framing.hpp"
#include "transport/uds/uds_dialer.hpp"
#include "transport/uds/uds_listener.hpp"

namespace sharingbus::test {
namespace {

using namespace std::chrono_literals;
using namespace connector;
namespace messages = transport::agent_messages;

/// A process that is killed with its owner.
class AgentProcess {
 public:
  AgentProcess(const std::string& path, const std::string& behaviour) {
    int out[2];
    EXPECT_EQ(::pipe2(out, O_CLOEXEC), 0);
    posix_spawn_file_actions_t actions;
    ::posix_spawn_file_actions_init(&actions);
    ::posix_spawn_file_actions_adddup2(&actions, out[1], 1);
    std::string program = SCRIPT_AGENT;
    std::vector<std::string> words{program, path, behaviour};
    char* arguments[] = {words[0].data(), words[1].data(), words[2].data(), nullptr};
    EXPECT_EQ(::posix_spawn(&pid_, program.c_str(), &actions, nullptr, arguments, environ), 0);
    ::posix_spawn_file_actions_destroy(&actions);
    ::close(out[1]);
    char first = 0;
    EXPECT_EQ(::read(out[0], &first, 1), 1) << "the agent is not ready";
    ::close(out[0]);
  }
  ~AgentProcess() { end(SIGKILL); }
  AgentProcess(const AgentProcess&) = delete;
  AgentProcess& operator=(const AgentProcess&) = delete;

  void signal(int number) const { ::kill(pid_, number); }
  void end(int number) {
    if (pid_ == 0) return;
    signal(number);
    ::waitpid(std::exchange(pid_, 0), nullptr, 0);
  }

 private:
  pid_t pid_ = 0;
};

struct Outcome {
  Error error;
  AgentReply reply;
  [[nodiscard]] bool allowed() const { return !error && std::holds_alternative<messages::Allow>(reply->decision); }
};

std::size_t open_descriptors() {
  const std::filesystem::directory_iterator all("/proc/self/fd");
  return static_cast<std::size_t>(std::distance(begin(all), end(all)));
}

class AgentFaults : public testing::Test {
 protected:
  void start_pool(Duration request_timeout = 30s, Duration pace = 20ms) {
    AgentPoolOptions options;
    options.connections_per_agent = 2;
    options.request_timeout = request_timeout;
    options.reconnect_interval = pace;
    options.reconnect_interval_max = 2 * pace;
    options.health_check_interval = pace;
    options.connect_timeout = 2s;
    options.drain_timeout = 1s;
    pool = std::make_unique<AgentPool>(
        context.executor(), bus, context.timers(),
        [this](const AgentEndpoint& where) -> Result<std::unique_ptr<transport::Dialer>> {
          transport::UdsDialerOptions dialing;
          dialing.framing = std::make_shared<transport::LengthPrefixFraming>();
          return std::make_unique<transport::UdsDialer>(context.executor(), context.timers(), where.endpoint,
                                                        std::move(dialing));
        },
        options);
    std::promise<Error> added;
    pool->async_add_agent("waf", "unix:" + path, [&](Error error) { added.set_value(std::move(error)); });
    const Error error = added.get_future().get();
    ASSERT_FALSE(error) << to_string(error);
    pool->start_maintenance();
  }

  std::future<Outcome> ask(const std::string& id) {
    messages::RequestHeaders event;
    event.metadata.correlation_id = id;
    event.metadata.protocol = "HTTP/1.1";
    event.method = "GET";
    event.uri = "/";
    auto promise = std::make_shared<std::promise<Outcome>>();
    pool->send_request_headers("waf", id, event, [promise](Error error, AgentReply reply) {
      promise->set_value({std::move(error), std::move(reply)});
    });
    return promise->get_future();
  }
  /// Whether it comes to answer again by itself.
  bool recovers() {
    return poll_until([this] { return ask("again-" + std::to_string(++asked_)).get().allowed(); }, 30s);
  }

  void TearDown() override {
    if (!pool) return;
    const ProtocolMetrics& metrics = pool->protocol_metrics();
    EXPECT_TRUE(poll_until([&] { return metrics.in_flight.load() == 0; }, 30s));
    EXPECT_EQ(pool->agent_stats("waf")->in_flight, 0U);
    std::promise<void> closed;
    pool->async_close([&](const Error&) { closed.set_value(); });
    closed.get_future().get();
    EXPECT_EQ(metrics.healthy_connections.load(), 0);
    EXPECT_EQ(metrics.paused_connections.load(), 0);
    EXPECT_EQ(metrics.affinities.load(), 0);
  }

  Watchdog watchdog{"AgentFaults", 240s};
  ShortFolder folder;
  const std::string path = folder / "a";
  SharingBus bus;
  ContextThreads context{2};
  std::unique_ptr<AgentPool> pool;

 private:
  int asked_ = 0;
};

TEST_F(AgentFaults, KilledMidRequest_FailsItsCallsAtOnce_AndRecovers) {
  AgentProcess silent(path, "never");
  start_pool();
  auto one = ask("one");
  auto two = ask("two");
  ASSERT_TRUE(poll_until([&] { return pool->agent_stats("waf")->in_flight == 2; }, 30s));
  silent.end(SIGKILL);
  // Long before their deadline.
  EXPECT_EQ(one.get().reply.failure, PoolFailure::connection);
  EXPECT_EQ(two.get().reply.failure, PoolFailure::connection);
  const AgentProcess next(path, "answer");
  EXPECT_TRUE(recovers());
}

TEST_F(AgentFaults, Stopped_ThenStartedOnTheSamePath_Recovers) {
  AgentProcess first(path, "answer");
  start_pool();
  EXPECT_TRUE(ask("one").get().allowed());
  first.end(SIGTERM);
  ASSERT_TRUE(poll_until([&] { return !pool->is_agent_healthy("waf"); }, 30s));
  EXPECT_NE(ask("two").get().reply.failure, PoolFailure::none);
  const AgentProcess second(path, "answer");
  EXPECT_TRUE(recovers());
  EXPECT_TRUE(poll_until([&] { return pool->agent_stats("waf")->active_connections == 2; }, 30s));
}

TEST_F(AgentFaults, PausedProcess_CallsTimeOut_ResumedItRecovers) {
  const AgentProcess agent(path, "answer");
  start_pool(200ms);
  EXPECT_TRUE(poll_until([&] { return ask("one").get().allowed(); }, 30s));
  agent.signal(SIGSTOP);
  EXPECT_TRUE(poll_until([&] { return ask("two").get().reply.failure == PoolFailure::timeout; }, 30s));
  agent.signal(SIGCONT);
  EXPECT_TRUE(recovers());
}

TEST_F(AgentFaults, Slow_IsWaitedFor_AndALateAnswerIsNobodys) {
  const AgentProcess agent(path, "slow");
  start_pool();
  EXPECT_TRUE(ask("one").get().allowed());
  CallOptions brief;
  brief.timeout = 10ms;
  messages::RequestHeaders event;
  event.metadata.correlation_id = "two";
  std::promise<PoolFailure> failure;
  pool->send_request_headers(
      "waf", "two", event, [&](const Error&, const AgentReply& reply) { failure.set_value(reply.failure); }, brief);
  EXPECT_EQ(failure.get_future().get(), PoolFailure::timeout);
  EXPECT_TRUE(poll_until([&] { return pool->protocol_metrics().late_answers.load() == 1; }, 30s));
  EXPECT_TRUE(ask("two").get().allowed()) << "its own answer, not the late one";
}

TEST_F(AgentFaults, AnsweringTwice_IsCountedAndHarmless) {
  const AgentProcess agent(path, "twice");
  start_pool();
  for (int i = 0; i < 20; ++i)
    EXPECT_TRUE(ask("c" + std::to_string(i)).get().allowed());
  EXPECT_TRUE(poll_until([&] { return pool->protocol_metrics().late_answers.load() == 20; }, 30s));
  EXPECT_TRUE(pool->is_agent_healthy("waf"));
}

TEST_F(AgentFaults, NeverAnswering_TimesOut_AndAnotherAgentOnThePathIsFound) {
  AgentProcess silent(path, "never");
  start_pool(100ms);
  for (int i = 0; i < 4; ++i)
    EXPECT_NE(ask("c" + std::to_string(i)).get().reply.failure, PoolFailure::none);
  silent.end(SIGKILL);
  const AgentProcess next(path, "answer");
  EXPECT_TRUE(poll_until([&] { return ask("again").get().allowed(); }, 30s));
}

TEST_F(AgentFaults, Garbage_EndsTheConnection_IsNoAllow_AndThePoolRecovers) {
  AgentProcess mad(path, "garbage");
  start_pool();
  const Outcome outcome = ask("one").get();
  EXPECT_FALSE(outcome.allowed());
  EXPECT_EQ(outcome.reply.failure, PoolFailure::connection);
  mad.end(SIGKILL);
  const AgentProcess next(path, "answer");
  EXPECT_TRUE(recovers());
}

/// Listens for one life of an agent.
class AgentLife {
 public:
  AgentLife(ContextThreads& context, SharingBus& bus, const std::string& path)
      : server_(context.executor(), bus, context.timers(), std::make_shared<AgentHandler>(), quiet()) {
    transport::UdsListenerOptions options;
    options.base = server_.make_listener_options(transport::AgentCarrier::uds);
    options.framing = std::make_shared<transport::LengthPrefixFraming>();
    const auto bound = server_.serve(std::make_unique<transport::UdsListener>(
        context.executor(), context.timers(), transport::Endpoint{"unix", path, 0}, std::move(options)));
    EXPECT_TRUE(bound) << to_string(bound.error());
  }
  ~AgentLife() {
    std::promise<void> closed;
    server_.close(Duration::zero(), [&] { closed.set_value(); });
    closed.get_future().get();
  }

 private:
  static AgentServerOptions quiet() {
    AgentServerOptions options;
    options.log = nullptr;
    return options;
  }
  AgentServer server_;
};

/// A thousand take a minute: with `./run test --full`.
int restarts_wanted() {
  const char* wanted = std::getenv("SHARINGBUS_AGENT_RESTARTS");
  return wanted != nullptr ? std::atoi(wanted) : 60;
}

TEST_F(AgentFaults, Restarts_NoDescriptorGrows) {
  const int restarts = restarts_wanted();
  auto life = std::make_unique<AgentLife>(context, bus, path);
  start_pool(30s, 2ms);
  const auto restart = [&] {
    life.reset();
    if (!poll_until([&] { return pool->agent_stats("waf")->active_connections == 0; }, 30s)) return false;
    life = std::make_unique<AgentLife>(context, bus, path);
    return poll_until([&] { return pool->agent_stats("waf")->healthy_connections == 2; }, 30s);
  };
  for (int i = 0; i < 10; ++i)
    ASSERT_TRUE(restart());
  const std::size_t before = open_descriptors();
  for (int i = 10; i < restarts; ++i)
    ASSERT_TRUE(restart()) << i;
  // Those of the last life may still be on their way out.
  EXPECT_TRUE(poll_until([&] { return open_descriptors() <= before; }, 30s)) << open_descriptors() << " > " << before;
  EXPECT_TRUE(ask("one").get().allowed());
  life.reset();
}

}  // namespace
}  // namespace sharingbus::test

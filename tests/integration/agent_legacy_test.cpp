// An agent over gRPC that knows the protocol's older package name alone: found by falling back, on the first
// connections and on those after a restart (protocol-agent-v2 §11.2.1).
#include <future>
#include <memory>
#include <string>

#include <gtest/gtest.h>

#include "connector/agent/agent_pool.hpp"
#include "connector/agent/agent_server.hpp"
#include "tests/support/context_threads.hpp"
#include "tests/support/poll_until.hpp"
#include "tests/support/watchdog.hpp"
#include "transport/codec/agent_codec.hpp"
#include "transport/grpc/grpc_dialer.hpp"
#include "transport/grpc/grpc_listener.hpp"

namespace sharingbus::test {
namespace {

using namespace std::chrono_literals;
using namespace connector;

/// One life of an agent that serves these methods.
class AgentLife {
 public:
  AgentLife(ContextThreads& context, SharingBus& bus, std::uint16_t port, std::vector<std::string> methods)
      : server_(context.executor(), bus, context.timers(), std::make_shared<AgentHandler>(), quiet()) {
    transport::GrpcListenerOptions options;
    options.base = server_.make_listener_options(transport::AgentCarrier::grpc);
    options.methods = std::move(methods);
    const auto bound = server_.serve(
        std::make_unique<transport::GrpcListener>(transport::Endpoint{"grpc", "127.0.0.1", port}, std::move(options)));
    EXPECT_TRUE(bound) << to_string(bound.error());
    if (bound) port_ = bound->port;
  }
  ~AgentLife() {
    std::promise<void> closed;
    server_.close(Duration::zero(), [&] { closed.set_value(); });
    closed.get_future().get();
  }
  [[nodiscard]] std::uint16_t port() const { return port_; }

 private:
  static AgentServerOptions quiet() {
    AgentServerOptions options;
    options.log = nullptr;
    return options;
  }
  AgentServer server_;
  std::uint16_t port_ = 0;
};

TEST(AgentLegacyName, UsedAtFirst_AndOnRedial) {
  const Watchdog watchdog("AgentLegacyName", 120s);
  SharingBus bus;
  ContextThreads context{2};
  const std::vector<std::string> legacy{std::string(transport::kAgentMethodLegacy)};
  auto life = std::make_unique<AgentLife>(context, bus, 0, legacy);
  const std::uint16_t port = life->port();
  AgentPoolOptions options;
  options.connections_per_agent = 2;
  options.reconnect_interval = 20ms;
  options.reconnect_interval_max = 40ms;
  options.health_check_interval = 20ms;
  AgentPool pool(
      context.executor(), bus, context.timers(),
      [&](const AgentEndpoint& where) -> Result<std::unique_ptr<transport::Dialer>> {
        transport::GrpcDialerOptions dialing;
        dialing.method = transport::kAgentMethod;
        dialing.fallback_method = transport::kAgentMethodLegacy;
        dialing.max_streams_per_channel = 1;
        return std::make_unique<transport::GrpcDialer>(where.endpoint, std::move(dialing), context.timers());
      },
      options);
  const auto all_up = [&] {
    return poll_until([&] { return pool.agent_stats("old")->healthy_connections == 2; }, 60s);
  };
  std::promise<Error> added;
  pool.async_add_agent("old", "grpc://127.0.0.1:" + std::to_string(port),
                       [&](Error error) { added.set_value(std::move(error)); });
  const Error error = added.get_future().get();
  ASSERT_FALSE(error) << to_string(error);
  pool.start_maintenance();
  EXPECT_TRUE(all_up());

  for (int i = 0; i < 2; ++i) {
    life.reset();
    ASSERT_TRUE(poll_until([&] { return !pool.is_agent_healthy("old"); }, 60s));
    life = std::make_unique<AgentLife>(context, bus, port, legacy);
    EXPECT_TRUE(all_up()) << i;
  }
  // One that learned the new name meanwhile.
  life.reset();
  ASSERT_TRUE(poll_until([&] { return !pool.is_agent_healthy("old"); }, 60s));
  life =
      std::make_unique<AgentLife>(context, bus, port, std::vector<std::string>{std::string(transport::kAgentMethod)});
  EXPECT_TRUE(all_up());

  std::promise<void> closed;
  pool.async_close([&](const Error&) { closed.set_value(); });
  closed.get_future().get();
}

}  // namespace
}  // namespace sharingbus::test

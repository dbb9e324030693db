// Requests of which neither the handler nor the completion is handed over to another thread, over real gRPC.
#include <atomic>
#include <future>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include <boost/asio/bind_executor.hpp>
#include <gtest/gtest.h>

#include "connector/connector.hpp"
#include "tests/integration/live_grpc.hpp"
#include "tests/support/poll_until.hpp"
#include "tests/support/watchdog.hpp"

namespace sharingbus::test {
namespace {

namespace asio = boost::asio;
using connector::Context;
using connector::ExecuteReply;
using connector::Payload;

/// Counts how often it is called by a thread that is none of the executor's.
class Places {
 public:
  explicit Places(asio::io_context& io) : io_(io) {}
  void note() {
    ++all_;
    if (!io_.get_executor().running_in_this_thread()) ++elsewhere_;
  }
  [[nodiscard]] int all() const { return all_; }
  [[nodiscard]] int elsewhere() const { return elsewhere_; }

 private:
  asio::io_context& io_;
  std::atomic<int> all_{0};
  std::atomic<int> elsewhere_{0};
};

class Quick final : public connector::Connector {
 public:
  explicit Quick(Places& places) : places_(places) {}
  [[nodiscard]] std::string connector_type() const override { return "quick"; }
  [[nodiscard]] bool may_block() const override { return false; }
  asio::awaitable<Result<Payload>> execute_payload(Payload payload, std::optional<std::string>, Context) override {
    places_.note();
    co_return payload;
  }

 private:
  Places& places_;
};

/// Asks for the next one when one was answered, `left` times.
struct Asker {
  void ask() {
    world.gateway->async_execute(
        "acme.quick.0", {},
        asio::bind_executor(connector::InlineExecutor(), [this](const Error& error, const ExecuteReply& reply) {
          places.note();
          if (error || !reply.success) ++failed;
          if (--left == 0) return done.set_value();
          ask();
        }));
  }
  LiveWorld& world;
  Places& places;
  int left;
  int failed = 0;
  std::promise<void> done{};
};

TEST(WithoutHops, OverGrpc_TransportsThreadsDoTheWork) {
  const Watchdog watchdog("WithoutHops", 120s);
  LiveWorld world(over_grpc());
  Places handlers(world.io);
  Places completions(world.io);
  connector::RunnerOptions options;
  options.host = to_string(world.endpoint);
  options.log = nullptr;
  connector::MultiConnectorRunner runner(
      world.io.get_executor(), world.bus, world.timers, *world.dialer, options,
      {{{.tenant = "acme", .type = "quick", .instance = "0"}, std::make_shared<Quick>(handlers)}});
  std::promise<void> ran;
  runner.run([&](const Error&) { ran.set_value(); });
  ASSERT_TRUE(poll_until([&] { return world.gateway->session_count() == 1; }, 30s));

  constexpr int kRequests = 200;
  Asker asker{world, completions, kRequests};
  asker.ask();
  asker.done.get_future().wait();
  runner.shutdown_handle().shutdown();
  ran.get_future().wait();

  EXPECT_EQ(asker.failed, 0);
  EXPECT_EQ(handlers.all(), kRequests);
  EXPECT_EQ(completions.all(), kRequests);
  // All but those that met the strand at other work, which the executor then goes on with.
  EXPECT_GT(handlers.elsewhere(), 0);
  EXPECT_GT(completions.elsewhere(), 0);
}

}  // namespace
}  // namespace sharingbus::test

#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <gtest/gtest.h>

#include "connector/gateway/gateway.hpp"
#include "connector/registration/events.hpp"
#include "connector/registration/multi_connector_runner.hpp"
#include "tests/support/bus_oracle.hpp"
#include "tests/support/fault_link.hpp"
#include "tests/support/manual_clock.hpp"
#include "transport/memory/memory_network.hpp"

namespace sharingbus::test {

using namespace std::chrono_literals;

/// Handlers that take as many virtual milliseconds as their payload says, unless they are cancelled.
class TimedConnector final : public connector::Connector {
 public:
  explicit TimedConnector(TimerService& timers) : timers_(timers) {}
  std::string connector_type() const override { return "timed"; }
  boost::asio::awaitable<Result<boost::json::value>> execute(boost::json::value payload,
                                                             std::optional<std::string>) override {
    namespace asio = boost::asio;
    ++running;
    const auto wake =
        std::make_shared<asio::steady_timer>(co_await asio::this_coro::executor, asio::steady_timer::time_point::max());
    const TimerId id =
        timers_.schedule_after(std::chrono::milliseconds(payload.as_int64()), [weak = std::weak_ptr(wake)] {
          if (const auto timer = weak.lock()) timer->cancel();
        });
    co_await wake->async_wait(asio::as_tuple(asio::use_awaitable));
    timers_.cancel(id);
    --running;
    co_return payload;
  }
  int running = 0;

 private:
  TimerService& timers_;
};

/// A real gateway, real runners, and a network with faults between them; virtual time, one thread, driven by a seed.
/// Keeps the books: every request gets exactly one answer or one reported failure.
class FaultWorld {
 public:
  FaultWorld(unsigned seed, int connectors, FaultDialer::Plan plan)
      : random(seed), dialer(network.make_dialer("gateway"), io.get_executor(), time, std::move(plan)) {
    counter_ = bus.subscribe_inline({.name = "books", .filter = Filter::all()}, [this](const EventRef& event) {
      if (event->is<connector::ExecuteStarted>()) ++started;
      if (event->is<connector::ExecuteFinished>()) ++finished;
      if (event->is<connector::RequestDispatched>()) ++dispatched;
      if (event->is<connector::RequestCompleted>()) ++completed;
      if (event->is<connector::Registered>()) ++registrations;
    });
    start_gateway();
    connector::RunnerOptions options;
    options.log = nullptr;
    options.max_concurrent_requests = 4;
    options.max_waiting_requests = 8;
    options.connect_timeout = 5s;
    options.max_backoff = 5s;
    std::vector<connector::Registration> registrations_of;
    for (int i = 0; i < connectors; ++i)
      registrations_of.push_back({{.tenant = "acme", .type = "timed", .instance = std::to_string(i)}, handlers});
    count = connectors;
    runner.emplace(io.get_executor(), bus, time, dialer, options, std::move(registrations_of));
    runner->run([this](const Error& error) {
      EXPECT_FALSE(error);
      ended = true;
    });
    settle();
  }

  void start_gateway() {
    connector::GatewayOptions options;
    options.log = nullptr;
    options.session_timeout = 60s;
    gateway.emplace(io.get_executor(), bus, time, options);
    ASSERT_TRUE(gateway->serve(network.make_listener("gateway", gateway->make_listener_options())));
  }
  /// As a killed process: nothing is said to anybody.
  void kill_gateway() {
    gateway.reset();
    settle();
  }

  void settle() {
    std::size_t ran = 0;
    do {
      io.restart();
      ran = io.poll() + bus.poll();
    } while (ran != 0);
  }
  /// Moves time on and runs what falls due on the way, in its order.
  void advance(Duration by) {
    const TimePoint until = time.now() + by;
    settle();
    for (auto next = time.next_deadline(); next && *next <= until; next = time.next_deadline()) {
      time.advance(std::max(*next - time.now(), Duration::zero()));
      settle();
    }
    time.advance(until - time.now());
    settle();
  }

  int pick(int low, int high) { return std::uniform_int_distribution<int>(low, high)(random); }
  void execute(int work_ms, Duration timeout = 20s) {
    if (!gateway) return;
    connector::ExecuteCall call;
    call.payload.bytes = std::to_string(work_ms);
    call.timeout = timeout;
    const std::uint64_t id = ++asked;
    gateway->execute("acme.timed." + std::to_string(pick(0, count - 1)), std::move(call),
                     [this, id](const Error& error, const connector::ExecuteReply& reply) {
                       EXPECT_TRUE(outcomes.emplace(id, !error && reply.success).second) << "told twice";
                       if (!error && reply.success) ++answered;
                     });
  }

  /// Every registration is back, every request has come to its end, and nothing is left of either side.
  void finish() {
    dialer.set_plan({});
    if (!gateway) start_gateway();
    advance(200s);
    EXPECT_EQ(gateway->session_count(), static_cast<std::size_t>(count)) << "all are back";
    EXPECT_EQ(outcomes.size(), asked) << "one answer or one reported failure each";
    EXPECT_LE(started, finished) << "nothing that ran is forgotten; some end in the line";
    EXPECT_EQ(dispatched, completed);
    EXPECT_EQ(handlers->running, 0);
    runner->shutdown_handle().shutdown();
    // A link that is slow by its fault may still have something to send, and gets its second for that.
    advance(2s);
    EXPECT_TRUE(ended);
    runner.reset();
    gateway->close(0s, nullptr);
    settle();
    gateway.reset();
    dialer.close(nullptr);
    settle();
    EXPECT_EQ(dialer.stats().streams, 0U);
    EXPECT_EQ(time.pending(), 0U) << "every timer is gone";
    EXPECT_TRUE(check_balanced(bus));
    EXPECT_EQ(bus.subscriber_count(), 1U) << "only the test's own";
  }

  std::mt19937 random;
  boost::asio::io_context io;
  ManualTimerService time;
  SharingBus bus{BusOptions{.clock = &time, .log = nullptr}};
  transport::MemoryNetwork network{io.get_executor()};
  FaultDialer dialer;
  std::shared_ptr<TimedConnector> handlers = std::make_shared<TimedConnector>(time);
  std::optional<connector::Gateway> gateway;
  std::optional<connector::MultiConnectorRunner> runner;
  int count = 0;
  bool ended = false;
  std::uint64_t asked = 0;
  std::uint64_t answered = 0;
  std::map<std::uint64_t, bool> outcomes;
  std::uint64_t started = 0;
  std::uint64_t finished = 0;
  std::uint64_t dispatched = 0;
  std::uint64_t completed = 0;
  std::uint64_t registrations = 0;

 private:
  Subscription counter_;
};

}  // namespace sharingbus::test

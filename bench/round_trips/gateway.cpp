#include "connector/gateway/gateway.hpp"

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <future>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <boost/asio/bind_executor.hpp>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>

#include "bench/round_trips/round_trips.hpp"
#include "bus/async_timer_service.hpp"
#include "connector/connector.hpp"
#include "connector/registration/multi_connector_runner.hpp"
#include "transport/grpc/grpc_dialer.hpp"
#include "transport/grpc/grpc_listener.hpp"
#include "transport/strand.hpp"
#include "transport/websocket/phoenix_protocol.hpp"
#include "transport/websocket/websocket_dialer.hpp"
#include "transport/websocket/websocket_listener.hpp"

namespace round_trips {
namespace {

namespace asio = boost::asio;
using namespace sharingbus;

[[noreturn]] void fail(const std::string& why) {
  std::fprintf(stderr, "round_trips: gateway: %s\n", why.c_str());
  std::abort();
}

/// Keeps `concurrency` requests under way. On a strand.
class Asker : public std::enable_shared_from_this<Asker> {
 public:
  Asker(const asio::any_io_executor& executor, connector::Gateway& gateway, std::vector<std::string> addresses,
        const Load& load)
      : strand_(executor), gateway_(gateway), addresses_(std::move(addresses)), tally_(load), load_(load) {}

  Sample run() {
    asio::post(strand_, [this] {
      for (std::size_t i = 0; i < load_.concurrency; ++i)
        ask();
    });
    done_.get_future().wait();
    return tally_.sample();
  }

 private:
  void ask() {
    under_way_.fetch_add(1);
    const std::uint64_t number = next_.fetch_add(1);
    connector::ExecuteCall call;
    call.payload.bytes = "{\"index\":" + std::to_string(number) + "}";
    gateway_.async_execute(addresses_[number % addresses_.size()], std::move(call),
                           asio::bind_executor(connector::InlineExecutor(),
                                               [this, self = shared_from_this(), number, asked = Clock::now()](
                                                   const Error& error, const connector::ExecuteReply& reply) {
                                                 answered(error, reply, number, asked);
                                               }));
  }
  void answered(const Error& error, const connector::ExecuteReply& reply, std::uint64_t number,
                Clock::time_point asked) {
    if (error) fail(to_string(error));
    if (!reply.success || reply.payload.bytes != "{\"index\":" + std::to_string(number) + "}") {
      fail("the answer is not the question");
    }
    bool more = false;
    {
      const std::scoped_lock lock(mutex_);
      more = tally_.note(asked);
    }
    if (more) ask();
    if (under_way_.fetch_sub(1) == 1) done_.set_value();
  }

  const transport::Strand strand_;
  connector::Gateway& gateway_;
  const std::vector<std::string> addresses_;
  Tally tally_;
  const Load load_;
  std::atomic<std::uint64_t> next_{0};
  std::atomic<std::size_t> under_way_{0};
  std::mutex mutex_;
  std::promise<void> done_;
};

/// The addresses of all connectors, once they are registered.
class Registered {
 public:
  Registered(SharingBus& bus, std::size_t count) : count_(count) {
    SubscriptionOptions options;
    options.filter = Filter::type<connector::ConnectorRegistered>();
    subscription_ = bus.subscribe_inline(std::move(options), [this](const EventRef& event) {
      addresses_.push_back(event->get_if<connector::ConnectorRegistered>()->address);
      if (addresses_.size() == count_) all_.set_value();
    });
  }
  std::vector<std::string> wait() {
    all_.get_future().wait();
    return addresses_;
  }

 private:
  const std::size_t count_;
  std::vector<std::string> addresses_;
  std::promise<void> all_;
  Subscription subscription_;
};

class Echo final : public connector::Connector {
 public:
  [[nodiscard]] std::string connector_type() const override { return "echo"; }
  [[nodiscard]] bool may_block() const override { return false; }
  asio::awaitable<Result<connector::Payload>> execute_payload(connector::Payload payload, std::optional<std::string>,
                                                              connector::Context) override {
    co_return payload;
  }
};

/// What each of two programs would have: a bus, timers, and one thread.
class Side {
 public:
  Side() : timers_(context_.get_executor()), thread_([this] { context_.run(); }) {}
  ~Side() {
    work_.reset();
    thread_.join();
  }
  Side(const Side&) = delete;
  Side& operator=(const Side&) = delete;

  [[nodiscard]] asio::any_io_executor executor() { return context_.get_executor(); }
  [[nodiscard]] SharingBus& bus() noexcept { return bus_; }
  [[nodiscard]] TimerService& timers() noexcept { return timers_; }

 private:
  asio::io_context context_{1};
  asio::executor_work_guard<asio::io_context::executor_type> work_{context_.get_executor()};
  SharingBus bus_;
  AsyncTimerService timers_;
  std::thread thread_;
};

template <class MakeListener, class MakeDialer>
Sample through_gateway(const Load& load, const MakeListener& make_listener, const MakeDialer& make_dialer) {
  Side asking;
  Side serving;
  connector::Gateway gateway(asking.executor(), asking.bus(), asking.timers());
  const auto bound = gateway.serve(make_listener(gateway.make_listener_options(), asking.timers(), asking.executor()));
  if (!bound) fail(to_string(bound.error()));
  Registered registered(asking.bus(), load.streams);

  const auto dialer = make_dialer(*bound, serving.timers(), serving.executor());
  std::vector<connector::Registration> registrations;
  const auto echo = std::make_shared<Echo>();
  for (std::size_t i = 0; i < load.streams; ++i)
    registrations.push_back({{.tenant = "bench", .type = "echo", .instance = std::to_string(i)}, echo});
  connector::RunnerOptions options;
  options.host = transport::to_string(*bound);
  connector::MultiConnectorRunner runner(serving.executor(), serving.bus(), serving.timers(), *dialer,
                                         std::move(options), std::move(registrations));
  std::promise<void> ran;
  runner.run([&](const Error&) { ran.set_value(); });

  const auto asker = std::make_shared<Asker>(asking.executor(), gateway, registered.wait(), load);
  const Sample sample = asker->run();

  runner.shutdown_handle().shutdown();
  ran.get_future().wait();
  std::promise<void> closed;
  dialer->close([&] { gateway.close(Duration::zero(), [&] { closed.set_value(); }); });
  closed.get_future().wait();
  return sample;
}

}  // namespace

Sample gateway_over_grpc(const Load& load) {
  return through_gateway(
      load,
      [](transport::ListenerOptions base, TimerService&, const asio::any_io_executor&) {
        transport::GrpcListenerOptions options;
        options.base = std::move(base);
        return std::make_unique<transport::GrpcListener>(transport::Endpoint{"grpc", "127.0.0.1", 0},
                                                         std::move(options));
      },
      [](const transport::Endpoint& to, TimerService& timers, const asio::any_io_executor&) {
        return std::make_unique<transport::GrpcDialer>(to, transport::GrpcDialerOptions{}, timers);
      });
}

Sample gateway_over_websocket(const Load& load) {
  return through_gateway(
      load,
      [](transport::ListenerOptions base, TimerService& timers, const asio::any_io_executor& executor) {
        transport::WebSocketListenerOptions options;
        options.base = std::move(base);
        options.protocol = transport::make_phoenix_protocol();
        return std::make_unique<transport::WebSocketListener>(
            executor, timers, transport::Endpoint{"ws", "127.0.0.1", 0}, std::move(options));
      },
      [](const transport::Endpoint& to, TimerService& timers, const asio::any_io_executor& executor) {
        transport::WebSocketDialerOptions options;
        options.protocol = transport::make_phoenix_protocol();
        return std::make_unique<transport::WebSocketDialer>(executor, timers, to, std::move(options));
      });
}

}  // namespace round_trips

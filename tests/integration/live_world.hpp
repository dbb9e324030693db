#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <future>
#include <iterator>
#include <memory>
#include <optional>
#include <ostream>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/strand.hpp>
#include <gtest/gtest.h>

#include "bus/async_timer_service.hpp"
#include "connector/gateway/gateway.hpp"
#include "connector/registration/events.hpp"
#include "connector/registration/multi_connector_runner.hpp"
#include "tests/connector/registration/test_connectors.hpp"
#include "tests/support/poll_until.hpp"
#include "transport/dialer.hpp"
#include "transport/listener.hpp"

namespace sharingbus::test {

using namespace std::chrono_literals;

/// What a LiveWorld's sockets are.
struct LiveTransport {
  std::string name;
  transport::Endpoint any;
  std::function<std::unique_ptr<transport::Listener>(boost::asio::any_io_executor, TimerService&,
                                                     const transport::Endpoint&, transport::ListenerOptions)>
      make_listener;
  std::function<std::unique_ptr<transport::Dialer>(boost::asio::any_io_executor, TimerService&, SharingBus&,
                                                   const transport::Endpoint&)>
      make_dialer;
};

inline std::ostream& operator<<(std::ostream& out, const LiveTransport& value) {
  return out << value.name;
}

/// Real timers, and a wall clock that may be set.
class LiveTimers final : public TimerService {
 public:
  explicit LiveTimers(boost::asio::any_io_executor executor) : timers_(std::move(executor)) {}

  /// From now on, beside the machine's.
  void set_wall_offset_ms(std::int64_t offset) { offset_ms_ = offset; }
  [[nodiscard]] TimePoint now() const override { return timers_.now(); }
  [[nodiscard]] std::int64_t unix_ms() const override { return timers_.unix_ms() + offset_ms_; }
  TimerId schedule_at(TimePoint at, std::function<void()> fn) override {
    return timers_.schedule_at(at, std::move(fn));
  }
  bool cancel(TimerId id) override { return timers_.cancel(id); }

 private:
  AsyncTimerService timers_;
  std::atomic<std::int64_t> offset_ms_{0};
};

/// Threads, time, a bus, and a gateway that may be killed and comes back at the same address.
class LiveWorld {
 public:
  explicit LiveWorld(LiveTransport sockets) : endpoint(sockets.any), sockets_(std::move(sockets)) {
    counter_ = bus.subscribe_inline({.name = "books"}, [this](const EventRef& event) {
      if (event->is<connector::ExecuteStarted>()) ++started;
      if (event->is<connector::ExecuteFinished>()) ++finished;
    });
    for (int i = 0; i < 2; ++i)
      threads_.emplace_back([this] { io.run(); });
    start_gateway();
    dialer = sockets_.make_dialer(io.get_executor(), timers, bus, endpoint);
  }
  ~LiveWorld() {
    if (gateway) {
      std::promise<void> closed;
      gateway->close(0s, [&closed] { closed.set_value(); });
      closed.get_future().wait();
      gateway.reset();
    }
    std::promise<void> hung_up;
    dialer->close([&hung_up] { hung_up.set_value(); });
    hung_up.get_future().wait();
    dialer.reset();
    work_.reset();
    for (std::thread& thread : threads_)
      thread.join();
  }

  void start_gateway() {
    gateway.emplace(io.get_executor(), bus, timers, connector::GatewayOptions{.log = nullptr});
    const auto serve = [this] {
      auto bound =
          gateway->serve(sockets_.make_listener(io.get_executor(), timers, endpoint, gateway->make_listener_options()));
      if (bound) endpoint = *bound;
      return bound.has_value();
    };
    ASSERT_TRUE(poll_until(serve, 60s)) << "the address is still taken";
  }

  std::unique_ptr<connector::MultiConnectorRunner> make_runner(int connectors, connector::RunnerOptions options = {}) {
    options.host = to_string(endpoint);
    options.log = nullptr;
    options.reconnect_delay = 10ms;
    options.max_backoff = 100ms;
    std::vector<connector::Registration> registrations;
    const auto handler = echo();
    for (int i = 0; i < connectors; ++i)
      registrations.push_back({{.tenant = "acme", .type = "echo", .instance = std::to_string(i)}, handler});
    return std::make_unique<connector::MultiConnectorRunner>(io.get_executor(), bus, timers, *dialer, options,
                                                             std::move(registrations));
  }

  /// One request; its answer as text, or how it failed.
  std::string ask(const std::string& address, connector::ExecuteCall call = {}) {
    std::promise<std::string> answer;
    gateway->execute(address, std::move(call), [&](const Error& error, const connector::ExecuteReply& reply) {
      answer.set_value(error ? to_string(error) : reply.success ? reply.payload.bytes : reply.error);
    });
    return answer.get_future().get();
  }

  boost::asio::io_context io;
  LiveTimers timers{boost::asio::make_strand(io.get_executor())};
  SharingBus bus{BusOptions{.log = nullptr}};
  transport::Endpoint endpoint;
  std::optional<connector::Gateway> gateway;
  std::unique_ptr<transport::Dialer> dialer;
  std::atomic<std::uint64_t> started{0};
  std::atomic<std::uint64_t> finished{0};

 private:
  const LiveTransport sockets_;
  boost::asio::executor_work_guard<boost::asio::io_context::executor_type> work_{io.get_executor()};
  std::vector<std::thread> threads_;
  Subscription counter_;
};

inline std::ptrdiff_t open_files() {
  namespace fs = std::filesystem;
  return std::distance(fs::directory_iterator("/proc/self/fd"), fs::directory_iterator());
}

}  // namespace sharingbus::test

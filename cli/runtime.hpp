#pragma once

#include <functional>
#include <thread>
#include <vector>

#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/signal_set.hpp>

#include "bus/async_timer_service.hpp"
#include "bus/base/log.hpp"
#include "bus/sharing_bus.hpp"

namespace sharingbus::cli {

/// What `main` gives the parts of a command: threads, an executor, time, one bus, and Ctrl-C. Everything that uses it
/// must be closed before it is destroyed.
class Runtime {
 public:
  /// `threads` run the executor besides the one that calls `wait`; without any, that one waits for work as `strategy`
  /// says.
  explicit Runtime(std::size_t threads, WaitStrategy strategy = WaitStrategy::block);
  ~Runtime();
  Runtime(const Runtime&) = delete;
  Runtime& operator=(const Runtime&) = delete;

  [[nodiscard]] boost::asio::any_io_executor executor() { return context_.get_executor(); }
  [[nodiscard]] TimerService& timers() { return timers_; }
  [[nodiscard]] SharingBus& bus() { return bus_; }

  /// Calls `fn(signal)` on the executor at the first SIGINT or SIGTERM; a second one ends the program the hard way.
  void on_signal(std::function<void(int)> fn);
  /// Works until `stop` was called by some handler, and does what is ready by then; no handler runs after that.
  void wait();
  /// Lets `wait` return. Any thread.
  void stop();

 private:
  void join();

  const WaitStrategy strategy_;
  boost::asio::io_context context_;
  boost::asio::executor_work_guard<boost::asio::io_context::executor_type> work_;
  boost::asio::signal_set signals_;
  AsyncTimerService timers_;
  SharingBus bus_;
  std::vector<std::thread> threads_;
};

/// spdlog on stderr, `key=value` lines with time and level. Sets the level from `name`: debug, info, warn, error.
[[nodiscard]] LogSink make_log(const std::string& level);

}  // namespace sharingbus::cli

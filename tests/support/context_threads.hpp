#pragma once

#include <cstddef>
#include <thread>
#include <vector>

#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>

#include "bus/async_timer_service.hpp"

namespace sharingbus::test {

/// An executor with threads of its own, and timers on it. Everything that uses it is closed before it goes.
class ContextThreads {
 public:
  explicit ContextThreads(std::size_t threads) {
    for (std::size_t i = 0; i < threads; ++i)
      threads_.emplace_back([this] { context_.run(); });
  }
  ~ContextThreads() { work_.reset(); }

  [[nodiscard]] boost::asio::io_context& context() { return context_; }
  [[nodiscard]] boost::asio::any_io_executor executor() { return context_.get_executor(); }
  [[nodiscard]] TimerService& timers() { return timers_; }

 private:
  boost::asio::io_context context_;
  boost::asio::executor_work_guard<boost::asio::io_context::executor_type> work_{context_.get_executor()};
  AsyncTimerService timers_{context_.get_executor()};
  std::vector<std::jthread> threads_;
};

}  // namespace sharingbus::test

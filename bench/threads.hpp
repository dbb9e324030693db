#pragma once

#include <cstddef>
#include <thread>
#include <vector>

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>

namespace bench {

/// An executor of two threads.
class Threads {
 public:
  Threads() {
    for (std::size_t i = 0; i < 2; ++i)
      threads_.emplace_back([this] { context_.run(); });
  }
  ~Threads() {
    work_.reset();
    for (auto& thread : threads_)
      thread.join();
  }
  Threads(const Threads&) = delete;
  Threads& operator=(const Threads&) = delete;
  [[nodiscard]] boost::asio::any_io_executor executor() { return context_.get_executor(); }

 private:
  boost::asio::io_context context_;
  boost::asio::executor_work_guard<boost::asio::io_context::executor_type> work_{context_.get_executor()};
  std::vector<std::thread> threads_;
};

}  // namespace bench

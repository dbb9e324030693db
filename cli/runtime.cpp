#include "cli/runtime.hpp"

#include <csignal>

#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

#include "transport/run_loop.hpp"

namespace sharingbus::cli {

Runtime::Runtime(std::size_t threads, WaitStrategy strategy)
    : strategy_(threads == 0 ? strategy : WaitStrategy::block),
      context_(static_cast<int>(threads + 1)),
      work_(context_.get_executor()),
      signals_(context_),
      timers_(context_.get_executor()) {
  for (std::size_t i = 0; i < threads; ++i) {
    threads_.emplace_back([this] { context_.run(); });
  }
}

Runtime::~Runtime() {
  stop();
  join();
  bus_.close();
}

void Runtime::on_signal(std::function<void(int)> fn) {
  signals_.add(SIGINT);
  signals_.add(SIGTERM);
  signals_.async_wait([this, fn = std::move(fn)](const boost::system::error_code& error, int signal) {
    if (error) return;
    // From here on the default action: a second Ctrl-C ends the program at once.
    signals_.clear();
    fn(signal);
  });
}

void Runtime::wait() {
  transport::run(context_, strategy_);
  join();
  // What was ready at the stop, such as the last lines of an event log, is still done.
  context_.restart();
  context_.poll();
}

void Runtime::join() {
  for (std::thread& thread : threads_)
    thread.join();
  threads_.clear();
}

void Runtime::stop() {
  work_.reset();
  context_.stop();
}

LogSink make_log(const std::string& level) {
  auto logger = std::make_shared<spdlog::logger>("sharingbus", std::make_shared<spdlog::sinks::stderr_sink_mt>());
  logger->set_pattern("%Y-%m-%dT%H:%M:%S.%e %^%l%$ %v");
  logger->set_level(spdlog::level::from_str(level));
  logger->flush_on(spdlog::level::debug);
  return [logger](LogLevel line_level, std::string_view line) {
    constexpr spdlog::level::level_enum kLevels[] = {spdlog::level::debug, spdlog::level::info, spdlog::level::warn,
                                                     spdlog::level::err};
    logger->log(kLevels[static_cast<int>(line_level)], "{}", line);
  };
}

}  // namespace sharingbus::cli

#include "transport/run_loop.hpp"

#include <chrono>
#include <optional>
#include <thread>

#include <boost/asio/io_context.hpp>

namespace sharingbus::transport {
namespace {

using SteadyClock = std::chrono::steady_clock;

/// Waits by looking, and does one thing that there is to do by then. How long it waited; none when nothing came.
std::optional<Duration> look(boost::asio::io_context& context, SteadyClock::time_point began, Duration at_most) {
  while (!context.stopped()) {
    const Duration waited = SteadyClock::now() - began;
    if (waited >= at_most) return std::nullopt;
    if (context.poll_one() != 0) return waited;
    std::this_thread::yield();
  }
  return std::nullopt;
}

}  // namespace

Duration WaitPolicy::look_for() const noexcept {
  switch (strategy_) {
    case WaitStrategy::block:
      break;
    case WaitStrategy::phased:
      return short_waits_ >= kShortWaits ? kLook : Duration::zero();
    case WaitStrategy::spin:
      return Duration::max();
  }
  return Duration::zero();
}

void WaitPolicy::waited(Duration time) noexcept {
  if (time > kShort) {
    short_waits_ = 0;
  } else if (short_waits_ < kShortWaits) {
    ++short_waits_;
  }
}

void run(boost::asio::io_context& context, WaitStrategy wait) {
  if (wait == WaitStrategy::block || std::thread::hardware_concurrency() == 1) {
    context.run();
    return;
  }
  WaitPolicy policy(wait);
  while (!context.stopped()) {
    if (context.poll() != 0) continue;
    const auto began = SteadyClock::now();
    if (const auto waited = look(context, began, policy.look_for())) {
      policy.waited(*waited);
    } else if (context.run_one() != 0) {
      // The handler's time is in it: nothing tells when it was called.
      policy.waited(SteadyClock::now() - began);
    }
  }
}

}  // namespace sharingbus::transport

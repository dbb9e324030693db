#pragma once

#include <atomic>
#include <chrono>
#include <thread>

namespace registration_cost {

/// How long the machine stood still, as virtual ones do when their host gives them no time: a thread that sleeps 5 ms
/// at a time, in a process that does nothing else, is 100 ms late or more. Latencies of that time say nothing.
class Pauses {
 public:
  Pauses() : thread_([this] { run(); }) {}
  ~Pauses() { stop(); }
  Pauses(const Pauses&) = delete;
  Pauses& operator=(const Pauses&) = delete;

  /// Ends the watch; the sum of all pauses.
  std::chrono::duration<double> stop() {
    stop_ = true;
    if (thread_.joinable()) thread_.join();
    return sum_;
  }

 private:
  void run() {
    using Clock = std::chrono::steady_clock;
    constexpr auto kNap = std::chrono::milliseconds(5);
    constexpr auto kPause = std::chrono::milliseconds(100);
    for (auto last = Clock::now(); !stop_;) {
      std::this_thread::sleep_for(kNap);
      const auto now = Clock::now();
      if (now - last >= kNap + kPause) sum_ += now - last - kNap;
      last = now;
    }
  }

  std::atomic<bool> stop_{false};
  std::chrono::duration<double> sum_{0};
  std::thread thread_;
};

}  // namespace registration_cost

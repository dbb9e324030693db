#pragma once

#include <cstdint>
#include <mutex>
#include <string>
#include <utility>

#include "bus/base/log.hpp"
#include "bus/base/printable.hpp"
#include "bus/base/timer.hpp"

namespace sharingbus::connector::internal {

/// Lines of one kind: at most 256 a second; the first after a pause says how many were left out. Any thread.
class LimitedLog {
 public:
  LimitedLog(LogSink sink, LogLevel level) : sink_(std::move(sink)), level_(level) {}

  void line(TimePoint now, std::string text) {
    if (!sink_) return;
    {
      const std::scoped_lock lock(mutex_);
      if (now - second_ >= std::chrono::seconds(1)) {
        second_ = now;
        used_ = 0;
        if (suppressed_ != 0) text += " suppressed=" + std::to_string(std::exchange(suppressed_, 0));
      }
      if (used_ == kPerSecond) {
        ++suppressed_;
        return;
      }
      ++used_;
    }
    sink_(level_, text);
  }

 private:
  static constexpr unsigned kPerSecond = 256;
  const LogSink sink_;
  const LogLevel level_;
  std::mutex mutex_;
  TimePoint second_{};
  unsigned used_ = 0;
  std::uint64_t suppressed_ = 0;
};

}  // namespace sharingbus::connector::internal

#pragma once

#include <algorithm>
#include <cstddef>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "bus/base/log.hpp"

namespace sharingbus::test {

/// Collects log lines. Its sinks may outlive it. Any thread.
class LogCapture {
 public:
  using Line = std::pair<LogLevel, std::string>;

  [[nodiscard]] LogSink sink() const {
    return [shared = shared_](LogLevel level, std::string_view line) {
      const std::scoped_lock lock(shared->mutex);
      shared->lines.emplace_back(level, line);
    };
  }

  [[nodiscard]] std::vector<Line> lines() const {
    const std::scoped_lock lock(shared_->mutex);
    return shared_->lines;
  }
  /// Lines that contain `text`.
  [[nodiscard]] std::size_t count(std::string_view text) const {
    const std::scoped_lock lock(shared_->mutex);
    return static_cast<std::size_t>(std::count_if(shared_->lines.begin(), shared_->lines.end(), [&](const Line& line) {
      return line.second.find(text) != std::string::npos;
    }));
  }
  void clear() {
    const std::scoped_lock lock(shared_->mutex);
    shared_->lines.clear();
  }

 private:
  struct Shared {
    std::mutex mutex;
    std::vector<Line> lines;
  };
  std::shared_ptr<Shared> shared_ = std::make_shared<Shared>();
};

}  // namespace sharingbus::test

#pragma once

#include <cstdint>

namespace sharingbus::connector {

/// A connection's health by its calls: a number of errors in a row makes it unhealthy at once, one success makes it
/// healthy again. Keeps the totals, and a rate of recent errors in which each call counts for 1/16, so that what
/// happened long ago is forgotten. O(1). One thread at a time.
class ConnectionHealth {
 public:
  explicit ConnectionHealth(std::uint32_t errors_in_a_row = 3) noexcept : limit_(errors_in_a_row) {}

  void requested() noexcept { ++requests_; }
  void succeeded() noexcept {
    in_a_row_ = 0;
    recent_ -= recent_ / kMemory;
  }
  /// True when this is the error that makes it unhealthy.
  bool failed() noexcept {
    ++errors_;
    recent_ += (1 - recent_) / kMemory;
    return ++in_a_row_ == limit_;
  }

  [[nodiscard]] bool healthy() const noexcept { return in_a_row_ < limit_; }
  [[nodiscard]] std::uint32_t errors_in_a_row() const noexcept { return in_a_row_; }
  [[nodiscard]] std::uint64_t requests() const noexcept { return requests_; }
  [[nodiscard]] std::uint64_t errors() const noexcept { return errors_; }
  /// 0 to 1.
  [[nodiscard]] double recent_error_rate() const noexcept { return recent_; }

 private:
  static constexpr double kMemory = 16;

  std::uint32_t limit_;
  std::uint32_t in_a_row_ = 0;
  std::uint64_t requests_ = 0;
  std::uint64_t errors_ = 0;
  double recent_ = 0;
};

}  // namespace sharingbus::connector

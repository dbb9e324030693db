#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include "bus/base/timer.hpp"

namespace sharingbus::transport::internal {

/// Cuts what a child writes to its standard error into lines, of a bounded size and only so many a second. One thread.
class StderrLines {
 public:
  /// A line without its end, and how many before it were dropped.
  using Sink = std::function<void(std::string line, std::uint64_t dropped_before)>;

  StderrLines(std::size_t max_line_bytes, std::size_t max_lines_per_second, Sink sink);

  void add(std::string_view bytes, TimePoint now);
  /// No more will come: what has no end of line is a line, and if the last ones were dropped, an empty line says so.
  void end(TimePoint now);

 private:
  void finish_line(TimePoint now);

  const std::size_t max_line_bytes_;
  const std::size_t max_lines_per_second_;
  const Sink sink_;
  std::string line_;
  TimePoint second_began_{};
  std::size_t lines_in_second_ = 0;
  std::uint64_t dropped_ = 0;
};

}  // namespace sharingbus::transport::internal

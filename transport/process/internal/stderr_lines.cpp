#include "transport/process/internal/stderr_lines.hpp"

#include <chrono>
#include <utility>

namespace sharingbus::transport::internal {

StderrLines::StderrLines(std::size_t max_line_bytes, std::size_t max_lines_per_second, Sink sink)
    : max_line_bytes_(max_line_bytes), max_lines_per_second_(max_lines_per_second), sink_(std::move(sink)) {}

void StderrLines::add(std::string_view bytes, TimePoint now) {
  while (!bytes.empty()) {
    const std::size_t end = bytes.find('\n');
    const std::string_view piece = bytes.substr(0, end).substr(0, max_line_bytes_ - line_.size());
    line_.append(piece);
    bytes.remove_prefix(piece.size());
    if (!bytes.empty() && bytes.front() == '\n') {
      bytes.remove_prefix(1);
      finish_line(now);
    } else if (!bytes.empty()) {
      finish_line(now);
    }
  }
}

void StderrLines::end(TimePoint now) {
  if (!line_.empty()) finish_line(now);
  if (dropped_ != 0) sink_({}, std::exchange(dropped_, 0));
}

void StderrLines::finish_line(TimePoint now) {
  std::string line = std::exchange(line_, {});
  if (line.ends_with('\r')) line.pop_back();
  if (lines_in_second_ == 0 || now - second_began_ >= std::chrono::seconds(1)) {
    second_began_ = now;
    lines_in_second_ = 0;
  }
  if (lines_in_second_ >= max_lines_per_second_) {
    ++dropped_;
    return;
  }
  ++lines_in_second_;
  sink_(std::move(line), std::exchange(dropped_, 0));
}

}  // namespace sharingbus::transport::internal

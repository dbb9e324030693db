#pragma once

#include <cstddef>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

namespace sharingbus::cli {

/// A block of lines at the bottom of a terminal that is drawn anew in place, and lines that scroll away above it. Any
/// thread.
class LiveScreen {
 public:
  /// Draws on `descriptor`, which is a terminal.
  explicit LiveScreen(int descriptor) : descriptor_(descriptor) {}

  void draw(std::vector<std::string> block);
  void print(std::string_view line);

 private:
  void show(const std::string& above);

  const int descriptor_;
  std::mutex mutex_;
  std::vector<std::string> block_;
  std::size_t drawn_ = 0;
};

}  // namespace sharingbus::cli

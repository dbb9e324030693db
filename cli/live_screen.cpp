#include "cli/live_screen.hpp"

#include <algorithm>
#include <sys/ioctl.h>
#include <unistd.h>
#include <utility>

namespace sharingbus::cli {
namespace {

struct Size {
  std::size_t lines = 24;
  std::size_t columns = 80;
};

Size size_of(int descriptor) {
  winsize size{};
  if (::ioctl(descriptor, TIOCGWINSZ, &size) != 0 || size.ws_row == 0 || size.ws_col == 0) return {};
  return {size.ws_row, size.ws_col};
}

void write_all(int descriptor, std::string_view text) {
  while (!text.empty()) {
    const ssize_t written = ::write(descriptor, text.data(), text.size());
    if (written <= 0) return;
    text.remove_prefix(static_cast<std::size_t>(written));
  }
}

}  // namespace

void LiveScreen::draw(std::vector<std::string> block) {
  const std::scoped_lock lock(mutex_);
  block_ = std::move(block);
  show({});
}

void LiveScreen::print(std::string_view line) {
  const std::scoped_lock lock(mutex_);
  show(std::string(line) + "\r\n");
}

void LiveScreen::show(const std::string& above) {
  // Up to the block's first line and everything below away, then all of it again.
  std::string text = drawn_ == 0 ? "\r" : "\x1b[" + std::to_string(drawn_) + "A\r";
  text += "\x1b[J" + above;
  const Size size = size_of(descriptor_);
  drawn_ = std::min(block_.size(), size.lines - 1);
  for (std::size_t i = 0; i < drawn_; ++i)
    text += block_[i].substr(0, size.columns - 1) + "\r\n";
  write_all(descriptor_, text);
}

}  // namespace sharingbus::cli

#include "bus/base/log.hpp"

#include <cstdio>
#include <string>

namespace sharingbus {

LogSink stderr_log() {
  return [](LogLevel level, std::string_view line) {
    if (level < LogLevel::warn) return;
    std::string text = level == LogLevel::warn ? "warning: " : "error: ";
    text.append(line);
    text += '\n';
    std::fwrite(text.data(), 1, text.size(), stderr);
  };
}

}  // namespace sharingbus

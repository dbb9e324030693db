#pragma once

#include <string>
#include <string_view>

namespace sharingbus {

/// A value for a `key=value` log line: control characters, which a peer could forge lines with, become `?`. Any thread.
[[nodiscard]] inline std::string printable(std::string_view text) {
  std::string result(text);
  for (char& c : result) {
    if (static_cast<unsigned char>(c) < 0x20U || c == 0x7F) c = '?';
  }
  return result;
}

}  // namespace sharingbus

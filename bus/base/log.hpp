#pragma once

#include <functional>
#include <string_view>

namespace sharingbus {

enum class LogLevel { debug, info, warn, error };

/// Receives one finished line (no newline). Called from any thread, must not block for long and must not throw.
using LogSink = std::function<void(LogLevel, std::string_view line)>;

/// A sink that writes `warn` and `error` lines to stderr; the default of every option struct that has one.
[[nodiscard]] LogSink stderr_log();

}  // namespace sharingbus

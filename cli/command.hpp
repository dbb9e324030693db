#pragma once

#include <CLI/CLI.hpp>
#include <functional>
#include <memory>
#include <string>

namespace sharingbus::cli {

/// The program's exit codes.
enum ExitCode : int { kDone = 0, kFailed = 1, kUsage = 2, kInterrupted = 130 };

/// One subcommand: its flags, and what it does once they are read.
class Command {
 public:
  virtual ~Command() = default;
  [[nodiscard]] virtual CLI::App& app() = 0;
  /// Returns an exit code. May throw `CLI::ParseError` for flags that do not fit together, before it starts anything.
  virtual int run() = 0;
};

[[nodiscard]] std::unique_ptr<Command> make_agent_command(CLI::App& program);
[[nodiscard]] std::unique_ptr<Command> make_demo_command(CLI::App& program);
[[nodiscard]] std::unique_ptr<Command> make_gateway_command(CLI::App& program);
[[nodiscard]] std::unique_ptr<Command> make_connect_command(CLI::App& program);
[[nodiscard]] std::unique_ptr<Command> make_pool_command(CLI::App& program);
[[nodiscard]] std::unique_ptr<Command> make_supervise_command(CLI::App& program);

}  // namespace sharingbus::cli

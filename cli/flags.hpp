#pragma once

#include <initializer_list>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <CLI/CLI.hpp>

#include "bus/base/result.hpp"
#include "bus/base/timer.hpp"
#include "bus/subscription.hpp"
#include "transport/endpoint.hpp"

namespace sharingbus::cli {

/// `500ms`, `30s`, `5m`, `1h`; a number without a unit is refused.
[[nodiscard]] std::optional<Duration> parse_duration(const std::string& text);
[[nodiscard]] std::string format_duration(Duration duration);

/// The most that a flag lets a message have; gRPC counts in int.
inline constexpr int kMostMessageBytes = 1 << 30;

enum class Zero { allowed, refused };
/// A flag that takes a duration; shows the target's present value as its default.
CLI::Option* add_duration(CLI::App& app, const std::string& flag, Duration& target, const std::string& description,
                          Zero zero = Zero::allowed);

/// A flag that takes one of `choices`; shows the target's present value as its default.
template <class T>
CLI::Option* add_choice(CLI::App& app, const std::string& flag, T& target, std::map<std::string, T> choices,
                        const std::string& description) {
  std::vector<std::string> names;
  std::string present;
  for (const auto& [name, value] : choices) {
    names.push_back(name);
    if (value == target) present = name;
  }
  return app
      .add_option_function<std::string>(
          flag, [&target, choices = std::move(choices)](const std::string& name) { target = choices.at(name); },
          description)
      ->check(CLI::IsMember(std::move(names)))
      ->default_str(present);
}

/// As `CLI::Range`, which lets NaN through.
[[nodiscard]] CLI::Validator between(double low, double high);
[[nodiscard]] CLI::Validator not_empty();
/// Throws `CLI::ValidationError` that names the first of `flags` that was given on the command line, for those that
/// would have no effect: `purpose` says what they are for.
void refuse_given(const CLI::App& app, std::initializer_list<const char*> flags, const std::string& purpose);

/// Adds `--wait-strategy`: how the one thread of a command waits; none is `auto`.
CLI::Option* add_wait_strategy(CLI::App& app, std::optional<WaitStrategy>& target);
/// What `auto` is: where that thread does everything, looking first makes it quicker, while gRPC has threads of its own
/// that need the processors.
[[nodiscard]] WaitStrategy wait_strategy(const std::optional<WaitStrategy>& wanted, bool with_grpc);

/// Gives every option of `app` its environment variable, SHARINGBUS_ and the flag's name in capitals.
void name_environment(CLI::App& app);

/// Adds `--config FILE` to `app`.
void add_config_flag(CLI::App& app, std::string& path);
/// Reads the YAML file at `path`, with the long flags' names as keys, and sets the options that neither the command
/// line nor the environment has set. Throws `CLI::ParseError` that names the key or the line.
void apply_config_file(CLI::App& app, const std::string& path);

/// Throws `CLI::ValidationError` for `flag` when `result` has an error.
template <class T>
T value_or_usage(Result<T> result, const std::string& flag) {
  if (!result) throw CLI::ValidationError(flag, to_string(result.error()));
  if constexpr (!std::is_void_v<T>) return std::move(*result);
}

}  // namespace sharingbus::cli

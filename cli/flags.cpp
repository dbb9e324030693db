#include "cli/flags.hpp"

#include <algorithm>
#include <array>
#include <cctype>
#include <charconv>
#include <cstdlib>
#include <string_view>
#include <vector>

namespace sharingbus::cli {
namespace {

struct Unit {
  std::string_view name;
  Duration length;
};
constexpr std::array kUnits{Unit{"ms", std::chrono::milliseconds(1)}, Unit{"s", std::chrono::seconds(1)},
                            Unit{"m", std::chrono::minutes(1)}, Unit{"h", std::chrono::hours(1)}};

/// What stands in the environment may be for other commands.
bool given_by_hand(const CLI::Option& option) {
  const char* const there = std::getenv(option.get_envname().c_str());
  return option.count() != 0 && (there == nullptr || option.results() != std::vector<std::string>{there});
}

}  // namespace

std::optional<Duration> parse_duration(const std::string& text) {
  double number = 0;
  const auto [rest, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc{} || !(number >= 0) || number > 1e6) return std::nullopt;
  const std::string_view unit_name(rest, static_cast<std::size_t>(text.data() + text.size() - rest));
  for (const Unit& unit : kUnits) {
    if (unit.name == unit_name) {
      return Duration(static_cast<Duration::rep>(number * static_cast<double>(unit.length.count())));
    }
  }
  return std::nullopt;
}

std::string format_duration(Duration duration) {
  const auto ms = std::chrono::duration_cast<std::chrono::milliseconds>(duration).count();
  return ms % 1000 == 0 ? std::to_string(ms / 1000) + "s" : std::to_string(ms) + "ms";
}

CLI::Option* add_duration(CLI::App& app, const std::string& flag, Duration& target, const std::string& description,
                          Zero zero) {
  CLI::Option* option = app.add_option_function<std::string>(
      flag,
      [flag, &target, zero](const std::string& text) {
        const auto duration = parse_duration(text);
        if (!duration) throw CLI::ValidationError(flag, "'" + text + "' is no duration; write 500ms, 30s, 5m or 1h");
        if (zero == Zero::refused && *duration == Duration::zero()) {
          throw CLI::ValidationError(flag, "'" + text + "' is not above 0");
        }
        target = *duration;
      },
      description);
  option->type_name("DURATION");
  option->default_str(format_duration(target));
  return option;
}

CLI::Validator between(double low, double high) {
  const auto text = [](double number) {
    std::array<char, 32> digits{};
    return std::string(digits.data(), std::to_chars(digits.data(), digits.data() + digits.size(), number).ptr);
  };
  const std::string range = text(low) + ".." + text(high);
  return {[low, high, range](const std::string& given) {
            double number = 0;
            const char* end = given.data() + given.size();
            const auto [rest, error] = std::from_chars(given.data(), end, number);
            const bool is = error == std::errc{} && rest == end && number >= low && number <= high;
            return is ? std::string() : "'" + given + "' is not in " + range;
          },
          range};
}

CLI::Validator not_empty() {
  return {[](const std::string& given) { return given.empty() ? std::string("must not be empty") : std::string(); },
          ""};
}

void refuse_given(const CLI::App& app, std::initializer_list<const char*> flags, const std::string& purpose) {
  for (const char* flag : flags) {
    if (given_by_hand(*app.get_option(flag))) throw CLI::ValidationError(flag, "is for " + purpose);
  }
}

CLI::Option* add_wait_strategy(CLI::App& app, std::optional<WaitStrategy>& target) {
  return add_choice<std::optional<WaitStrategy>>(app, "--wait-strategy", target,
                                                 {{"auto", std::nullopt},
                                                  {"block", WaitStrategy::block},
                                                  {"phased", WaitStrategy::phased},
                                                  {"spin", WaitStrategy::spin}},
                                                 "With nothing to do: sleep (block), look first while waits are short "
                                                 "(phased), or look all the time, which costs a core (spin); auto: "
                                                 "phased with Unix sockets, block with gRPC");
}

WaitStrategy wait_strategy(const std::optional<WaitStrategy>& wanted, bool with_grpc) {
  return wanted.value_or(with_grpc ? WaitStrategy::block : WaitStrategy::phased);
}

void name_environment(CLI::App& app) {
  for (CLI::Option* option : app.get_options()) {
    if (option->get_lnames().empty() || option->get_lnames().front() == "help") continue;
    std::string name = "SHARINGBUS_" + option->get_lnames().front();
    std::transform(name.begin(), name.end(), name.begin(),
                   [](unsigned char c) { return c == '-' ? '_' : static_cast<char>(std::toupper(c)); });
    option->envname(name);
  }
}

}  // namespace sharingbus::cli

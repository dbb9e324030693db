#include <algorithm>
#include <charconv>
#include <chrono>
#include <cstdint>

#include "transport/codec/internal/agent_uds.hpp"

namespace sharingbus::transport::internal {
namespace {

using std::chrono::days;
using std::chrono::sys_days;
using std::chrono::year_month_day;

/// The last millisecond of the year 9999: RFC 3339 has four digits for it.
constexpr std::uint64_t kUnixMsMax = 253'402'300'799'999;

/// `value` in `width` digits; where the next goes.
char* put_digits(std::uint64_t value, std::size_t width, char* to) {
  for (std::size_t place = width; place != 0; value /= 10)
    to[--place] = static_cast<char>('0' + value % 10);
  return to + width;
}

/// Reads the parts of a time stamp one after another.
class Scanner {
 public:
  explicit Scanner(std::string_view text) : rest_(text) {}

  /// Exactly `width` digits.
  std::uint64_t digits(std::size_t width) {
    std::uint64_t value = 0;
    for (std::size_t i = 0; i < width; ++i) {
      if (rest_.empty() || rest_.front() < '0' || rest_.front() > '9') return fail();
      value = value * 10 + static_cast<std::uint64_t>(rest_.front() - '0');
      rest_.remove_prefix(1);
    }
    return value;
  }
  void expect(std::string_view one_of) {
    if (rest_.empty() || one_of.find(rest_.front()) == std::string_view::npos) {
      fail();
      return;
    }
    rest_.remove_prefix(1);
  }
  /// Milliseconds of a fraction of any length, if there is one.
  std::uint64_t fraction() {
    if (rest_.empty() || rest_.front() != '.') return 0;
    rest_.remove_prefix(1);
    std::uint64_t ms = 0;
    std::uint64_t unit = 100;
    for (; !rest_.empty() && rest_.front() >= '0' && rest_.front() <= '9'; rest_.remove_prefix(1)) {
      ms += static_cast<std::uint64_t>(rest_.front() - '0') * unit;
      unit /= 10;
    }
    return ms;
  }
  /// `Z`, or how many minutes the text is ahead of UTC.
  std::int64_t offset_minutes() {
    if (rest_ == "Z" || rest_ == "z") return 0;
    const bool behind = !rest_.empty() && rest_.front() == '-';
    expect("+-");
    const std::uint64_t hours = digits(2);
    expect(":");
    const auto minutes = static_cast<std::int64_t>(hours * 60 + digits(2));
    if (!rest_.empty()) fail();
    return behind ? -minutes : minutes;
  }
  [[nodiscard]] bool failed() const noexcept { return failed_; }

 private:
  std::uint64_t fail() {
    failed_ = true;
    return 0;
  }
  std::string_view rest_;
  bool failed_ = false;
};

}  // namespace

Rfc3339 to_rfc3339(std::uint64_t unix_ms) {
  unix_ms = std::min(unix_ms, kUnixMsMax);
  const std::uint64_t of_day = unix_ms % 86'400'000;
  const year_month_day date{sys_days(days(static_cast<int>(unix_ms / 86'400'000)))};
  Rfc3339 out;
  char* at = put_digits(static_cast<std::uint64_t>(static_cast<int>(date.year())), 4, out.data());
  *at++ = '-';
  at = put_digits(static_cast<unsigned>(date.month()), 2, at);
  *at++ = '-';
  at = put_digits(static_cast<unsigned>(date.day()), 2, at);
  *at++ = 'T';
  at = put_digits(of_day / 3'600'000, 2, at);
  *at++ = ':';
  at = put_digits(of_day / 60'000 % 60, 2, at);
  *at++ = ':';
  at = put_digits(of_day / 1000 % 60, 2, at);
  *at++ = '.';
  at = put_digits(of_day % 1000, 3, at);
  *at = 'Z';
  return out;
}

std::uint64_t from_rfc3339(std::string_view text) {
  std::uint64_t decimal = 0;
  const auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), decimal);
  if (code == std::errc{} && end == text.data() + text.size()) return decimal;

  Scanner scan(text);
  const auto year = static_cast<int>(scan.digits(4));
  scan.expect("-");
  const auto month = static_cast<unsigned>(scan.digits(2));
  scan.expect("-");
  const auto day = static_cast<unsigned>(scan.digits(2));
  scan.expect("Tt ");
  const std::uint64_t hour = scan.digits(2);
  scan.expect(":");
  const std::uint64_t minute = scan.digits(2);
  scan.expect(":");
  const std::uint64_t second = scan.digits(2);
  const std::uint64_t ms = scan.fraction();
  const std::int64_t offset = scan.offset_minutes();
  const year_month_day date{std::chrono::year(year), std::chrono::month(month), std::chrono::day(day)};
  if (scan.failed() || !date.ok() || hour > 23 || minute > 59 || second > 60) return 0;
  const std::int64_t seconds = std::int64_t{sys_days(date).time_since_epoch().count()} * 86'400 +
                               static_cast<std::int64_t>(hour * 3600 + minute * 60 + second) - offset * 60;
  return seconds < 0 ? 0 : static_cast<std::uint64_t>(seconds) * 1000 + ms;
}

}  // namespace sharingbus::transport::internal

#include "transport/websocket/internal/upgrade.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <chrono>
#include <cstdint>

namespace sharingbus::transport::internal {
namespace {

struct FromStatus {
  unsigned status;
  errc error;
};
/// All others: the server refused the connection.
constexpr std::array kFromStatus{
    FromStatus{401, errc::unauthenticated}, FromStatus{403, errc::rejected},      FromStatus{404, errc::not_found},
    FromStatus{407, errc::unauthenticated}, FromStatus{501, errc::unimplemented},
};

struct ToStatus {
  errc error;
  std::string_view line;
};
constexpr std::array kToStatus{
    ToStatus{errc::not_found, "404 Not Found"},
    ToStatus{errc::unimplemented, "426 Upgrade Required\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13"},
    ToStatus{errc::capacity_exceeded, "503 Service Unavailable"},
    ToStatus{errc::closed, "503 Service Unavailable"},
    ToStatus{errc::timed_out, "408 Request Timeout"},
};

constexpr std::size_t kMostText = 200;
constexpr std::int64_t kMostSeconds = std::int64_t{24} * 60 * 60;

/// One line of printable ASCII of what a server sent.
std::string printable(std::string_view text) {
  std::string line(text.substr(0, kMostText));
  std::replace_if(
      line.begin(), line.end(), [](char c) { return c < ' ' || c > '~'; }, ' ');
  const auto end = line.find_last_not_of(' ');
  line.resize(end == std::string::npos ? 0 : end + 1);
  return line;
}

}  // namespace

Error refusal(unsigned status, std::string_view reason, std::string_view body) {
  const auto* row = std::find_if(kFromStatus.begin(), kFromStatus.end(),
                                 [&](const FromStatus& each) { return each.status == status; });
  std::string text = "the server answered the upgrade request with " + std::to_string(status);
  if (!reason.empty()) text += " " + printable(reason);
  if (const std::string words = printable(body); !words.empty() && words.front() != '<') text += ": " + words;
  return {row != kFromStatus.end() ? row->error : errc::connection_refused, std::move(text)};
}

Duration parse_retry_after(std::string_view text) {
  std::uint32_t seconds = 0;
  const auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), seconds);
  if (code != std::errc{} || end != text.data() + text.size()) return {};
  return std::chrono::seconds(std::min<std::int64_t>(seconds, kMostSeconds));
}

std::string refusal_answer(const Error& error, Duration retry_after) {
  const auto* row =
      std::find_if(kToStatus.begin(), kToStatus.end(), [&](const ToStatus& each) { return error.is(each.error); });
  std::string answer = "HTTP/1.1 ";
  answer += row != kToStatus.end() ? row->line : "400 Bad Request";
  if (retry_after > Duration::zero()) {
    answer += "\r\nRetry-After: " + std::to_string(std::chrono::ceil<std::chrono::seconds>(retry_after).count());
  }
  const std::string body = to_string(error) + "\n";
  answer += "\r\nConnection: close\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: ";
  answer += std::to_string(body.size()) + "\r\n\r\n" + body;
  return answer;
}

}  // namespace sharingbus::transport::internal

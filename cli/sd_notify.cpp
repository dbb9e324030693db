#include "cli/sd_notify.hpp"

#include <algorithm>
#include <charconv>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

namespace sharingbus::cli {
namespace {

std::string environment(const char* name) {
  const char* value = std::getenv(name);
  return value != nullptr ? value : "";
}

std::optional<std::int64_t> number(const std::string& text) {
  std::int64_t value = 0;
  const auto [rest, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || rest != text.data() + text.size()) return std::nullopt;
  return value;
}

}  // namespace

SystemdNotifier::SystemdNotifier() : socket_(environment("NOTIFY_SOCKET")) {
  const auto microseconds = number(environment("WATCHDOG_USEC"));
  const std::string pid = environment("WATCHDOG_PID");
  const bool ours = pid.empty() || number(pid) == static_cast<std::int64_t>(::getpid());
  if (!microseconds || *microseconds < 2 || !ours || socket_.empty()) return;
  constexpr std::int64_t kDay = std::int64_t{24} * 3600 * 1'000'000;
  watchdog_ = std::chrono::microseconds(std::min(*microseconds, kDay) / 2);
}

void SystemdNotifier::notify(const std::string& message) const {
  sockaddr_un address{};
  if (socket_.empty() || socket_.size() >= sizeof address.sun_path) return;
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path, socket_.data(), socket_.size());
  // Its name for the abstract namespace, whose names begin with a zero.
  if (socket_.front() == '@') address.sun_path[0] = '\0';
  const int descriptor = ::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (descriptor < 0) return;
  const auto length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + socket_.size());
  [[maybe_unused]] const auto sent = ::sendto(descriptor, message.data(), message.size(), MSG_NOSIGNAL | MSG_DONTWAIT,
                                              static_cast<const sockaddr*>(static_cast<const void*>(&address)), length);
  ::close(descriptor);
}

}  // namespace sharingbus::cli

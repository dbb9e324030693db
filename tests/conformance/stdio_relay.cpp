// Joins its standard streams with a Unix socket: stdio_relay PATH. Exits with 0 when both directions ended in good
// order, with 1 when it cannot connect, and with 2 when the socket was closed or reset at once.
#include <array>
#include <cerrno>
#include <csignal>
#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

namespace {

int connect_to(const char* path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::strncpy(address.sun_path, path, sizeof address.sun_path - 1);
  const int fd = ::socket(AF_UNIX, SOCK_STREAM, 0);
  return ::connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0 ? fd : -1;
}

/// Bytes on their way in one direction.
struct Direction {
  int from;
  int to;
  std::array<char, 65536> bytes{};
  std::size_t begin = 0;
  std::size_t end = 0;
  bool ended = false;

  [[nodiscard]] bool empty() const { return begin == end; }
  [[nodiscard]] bool wants_in() const { return !ended && empty(); }

  /// False when it broke.
  [[nodiscard]] bool read() {
    const ssize_t count = ::read(from, bytes.data(), bytes.size());
    if (count < 0) return errno == EINTR || errno == EAGAIN;
    ended = count == 0;
    begin = 0;
    end = static_cast<std::size_t>(count);
    return true;
  }
  [[nodiscard]] bool write() {
    const ssize_t count = ::write(to, bytes.data() + begin, end - begin);
    if (count < 0) return errno == EINTR || errno == EAGAIN;
    begin += static_cast<std::size_t>(count);
    return true;
  }
};

bool closed_at_once(int socket) {
  pollfd entry{socket, POLLRDHUP, 0};
  return ::poll(&entry, 1, 0) == 1 && (entry.revents & POLLHUP) != 0;
}

}  // namespace

int main(int argc, char** argv) {
  std::signal(SIGPIPE, SIG_IGN);
  const int socket = argc == 2 ? connect_to(argv[1]) : -1;
  if (socket < 0) return 1;
  ::fcntl(socket, F_SETFL, O_NONBLOCK);
  static Direction out{STDIN_FILENO, socket};
  static Direction in{socket, STDOUT_FILENO};
  bool out_closed = false;
  bool in_closed = false;
  while (!out_closed || !in_closed) {
    std::array<pollfd, 4> wait{
        pollfd{out.wants_in() ? out.from : -1, POLLIN, 0}, pollfd{out.empty() ? -1 : out.to, POLLOUT, 0},
        pollfd{in.wants_in() ? in.from : -1, POLLIN, 0}, pollfd{in.empty() ? -1 : in.to, POLLOUT, 0}};
    if (::poll(wait.data(), wait.size(), -1) < 0) continue;
    if (wait[0].revents != 0 && !out.read()) return 2;
    if (wait[1].revents != 0 && !out.write()) return 2;
    if (wait[2].revents != 0 && !in.read()) return 2;
    if (wait[3].revents != 0 && !in.write()) return 2;
    if (in.ended && !in_closed && in.empty()) {
      if (!out_closed && closed_at_once(socket)) return 2;
      ::close(STDOUT_FILENO);
      in_closed = true;
    }
    if (out.ended && !out_closed && out.empty()) {
      ::shutdown(socket, SHUT_WR);
      out_closed = true;
    }
  }
  return 0;
}

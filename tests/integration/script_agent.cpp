// An agent on a Unix socket that does one thing wrong, for agent_faults_test: a process, so that it can be killed and
// stopped. Prints `ready` when it listens.
//
//   script_agent PATH answer|twice|never|garbage|slow
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <optional>
#include <string>
#include <string_view>
#include <sys/socket.h>
#include <sys/un.h>
#include <thread>
#include <unistd.h>
#include <variant>
#include <vector>

#include "transport/codec/agent_codec.hpp"

namespace {

using namespace sharingbus::transport;                  // NOLINT(google-build-using-namespace): a program
using namespace sharingbus::transport::agent_messages;  // NOLINT(google-build-using-namespace)

bool read_all(int socket, void* into, std::size_t size) {
  auto* at = static_cast<char*>(into);
  while (size != 0) {
    const ssize_t count = ::read(socket, at, size);
    if (count <= 0) return false;
    at += count;
    size -= static_cast<std::size_t>(count);
  }
  return true;
}

std::optional<std::string> read_frame(int socket) {
  unsigned char head[4];
  if (!read_all(socket, head, sizeof head)) return std::nullopt;
  std::string frame(std::size_t{head[0]} << 24 | std::size_t{head[1]} << 16 | std::size_t{head[2]} << 8 | head[3],
                    '\0');
  if (!read_all(socket, frame.data(), frame.size())) return std::nullopt;
  return frame;
}

void write_frame(int socket, const std::string& frame) {
  std::string bytes;
  for (const int shift : {24, 16, 8, 0})
    bytes += static_cast<char>(frame.size() >> shift & 0xff);
  bytes += frame;
  (void)::send(socket, bytes.data(), bytes.size(), MSG_NOSIGNAL);
}

template <class Message>
void say(int socket, const Message& message) {
  write_frame(socket, *encode_agent_message(message, AgentWire::json));
}

void answer(int socket, const std::string& id, std::string_view behaviour) {
  if (behaviour == "never") return;
  if (behaviour == "garbage") return write_frame(socket, "\x20not json");
  if (behaviour == "slow") std::this_thread::sleep_for(std::chrono::milliseconds(100));
  AgentResponse response;
  response.correlation_id = id;
  say(socket, response);
  if (behaviour == "twice") say(socket, response);
}

void serve(int socket, std::string_view behaviour) {
  while (const auto frame = read_frame(socket)) {
    const auto message = decode_for_agent_uds(*frame);
    if (!message) break;
    if (std::holds_alternative<HandshakeRequest>(*message)) {
      HandshakeResponse welcome;
      welcome.success = true;
      welcome.protocol_version = kAgentProtocolVersion;
      welcome.capabilities.emplace().agent_id = "script";
      say(socket, welcome);
    } else if (const auto* headers = std::get_if<RequestHeaders>(&*message)) {
      answer(socket, headers->metadata.correlation_id, behaviour);
    }
  }
  ::close(socket);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) return 2;
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::strncpy(address.sun_path, argv[1], sizeof address.sun_path - 1);
  ::unlink(argv[1]);
  const int listener = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (::bind(listener, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) return 1;
  if (::listen(listener, 64) != 0) return 1;
  std::puts("ready");
  std::fflush(stdout);
  // For as long as the process lives.
  std::vector<std::thread> connections;
  for (;;) {
    const int socket = ::accept4(listener, nullptr, nullptr, SOCK_CLOEXEC);
    if (socket < 0) std::_Exit(1);
    connections.emplace_back(serve, socket, std::string_view(argv[2]));
  }
}

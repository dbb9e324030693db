#include "transport/uds/internal/unix_address.hpp"

#include <algorithm>
#include <cerrno>
#include <cstddef>

#include "transport/byte_stream/internal/descriptor.hpp"

namespace sharingbus::transport::internal {

Result<UnixAddress> unix_address(const Endpoint& endpoint) {
  const auto invalid = [&](const std::string& why) {
    return Error(errc::invalid_endpoint, to_string(endpoint) + ": " + why);
  };
  if (endpoint.scheme != "unix") return invalid("the scheme unix only is served here");
  const std::string& path = endpoint.host;
  UnixAddress address;
  // One byte is for the NUL behind it.
  constexpr std::size_t kLongest = sizeof address.value.sun_path - 1;
  if (path.empty()) return invalid("the path is empty");
  if (path.find('\0') != std::string::npos) return invalid("the path has a NUL");
  if (path.size() > kLongest) {
    return invalid("the path has " + std::to_string(path.size()) + " bytes, and a socket's at most " +
                   std::to_string(kLongest));
  }
  address.value.sun_family = AF_UNIX;
  std::copy(path.begin(), path.end(), address.value.sun_path);
  address.size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + path.size() + 1);
  return address;
}

std::string unix_peer(int socket, const Endpoint& endpoint) {
  ucred peer{};
  socklen_t size = sizeof peer;
  std::string text = to_string(endpoint);
  if (::getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0) return text;
  return text + " pid=" + std::to_string(peer.pid) + " uid=" + std::to_string(peer.uid) +
         " gid=" + std::to_string(peer.gid);
}

int connect_unix(const UnixAddress& address) {
  UniqueFd socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!socket || ::connect(socket.get(), address.get(), address.size) != 0) return -1;
  return socket.release();
}

}  // namespace sharingbus::transport::internal

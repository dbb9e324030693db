#pragma once

#include <string>
#include <sys/socket.h>
#include <sys/un.h>

#include "bus/base/result.hpp"
#include "transport/endpoint.hpp"

namespace sharingbus::transport::internal {

struct UnixAddress {
  sockaddr_un value{};
  socklen_t size = 0;

  [[nodiscard]] const sockaddr* get() const noexcept { return reinterpret_cast<const sockaddr*>(&value); }
};

/// `invalid_endpoint` for another scheme, and for a path that is empty, too long or has a NUL.
[[nodiscard]] Result<UnixAddress> unix_address(const Endpoint& endpoint);

/// `unix:PATH pid=12 uid=1000 gid=1000`: the other end of a connected socket, as the kernel knows it.
[[nodiscard]] std::string unix_peer(int socket, const Endpoint& endpoint);

/// Connects a new socket without waiting. Returns the socket, or -1 and `errno`.
[[nodiscard]] int connect_unix(const UnixAddress& address);

}  // namespace sharingbus::transport::internal

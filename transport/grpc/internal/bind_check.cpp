#include "transport/grpc/internal/bind_check.hpp"

#include <cerrno>
#include <memory>
#include <string>
#include <sys/socket.h>
#include <system_error>
#include <unistd.h>

#include <netdb.h>

namespace sharingbus::transport::internal {
namespace {

/// 0 or errno.
int try_bind(const addrinfo& address) {
  const int fd = ::socket(address.ai_family, address.ai_socktype, address.ai_protocol);
  if (fd < 0) return errno;
  // As gRPC does it: an address that lingers in TIME_WAIT is free.
  const int on = 1;
  ::setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  const int failed = ::bind(fd, address.ai_addr, address.ai_addrlen) == 0 ? 0 : errno;
  ::close(fd);
  return failed;
}

}  // namespace

Result<> check_bind(const Endpoint& endpoint) {
  addrinfo hints{};
  hints.ai_family = AF_UNSPEC;
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_PASSIVE | AI_NUMERICSERV;
  addrinfo* found = nullptr;
  const int failed = ::getaddrinfo(endpoint.host.c_str(), std::to_string(endpoint.port).c_str(), &hints, &found);
  if (failed != 0) return Error(errc::invalid_endpoint, to_string(endpoint) + ": " + ::gai_strerror(failed));
  const std::unique_ptr<addrinfo, decltype(&::freeaddrinfo)> addresses(found, &::freeaddrinfo);

  int error = EADDRNOTAVAIL;
  for (const addrinfo* each = found; each != nullptr; each = each->ai_next) {
    error = try_bind(*each);
    if (error == 0 || error == EADDRINUSE) break;
  }
  if (error == 0) return {};
  if (error == EADDRINUSE) return Error(errc::address_in_use, to_string(endpoint) + " is in use");
  return Error(errc::invalid_endpoint, to_string(endpoint) + ": " + std::generic_category().message(error));
}

}  // namespace sharingbus::transport::internal

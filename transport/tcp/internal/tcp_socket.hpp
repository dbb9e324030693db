#pragma once

#include <string>

#include <boost/asio/ip/tcp.hpp>

#include "transport/endpoint.hpp"
#include "transport/tcp/tcp_options.hpp"

namespace sharingbus::transport::internal {

/// On a connected socket; what the kernel refuses does no harm.
void set_tcp_options(int socket, const TcpSocketOptions& options);

/// `tcp://127.0.0.1:5`
[[nodiscard]] std::string tcp_text(const boost::asio::ip::tcp::endpoint& address);

/// The other end of a connected socket.
[[nodiscard]] std::string tcp_peer(int socket);

}  // namespace sharingbus::transport::internal

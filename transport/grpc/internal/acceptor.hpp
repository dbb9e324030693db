#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <thread>

#include "bus/base/result.hpp"
#include "bus/base/timer.hpp"
#include "transport/endpoint.hpp"

namespace sharingbus::transport::internal {

/// The sockets that listen at an endpoint, and a thread that accepts on them.
///
/// gRPC could do this itself, but 1.51 gives up a listening socket for good when `accept` fails once, as it does when
/// the process is out of descriptors; it does not tell why an address cannot be bound either. Here connections wait in
/// the kernel's queue until there are descriptors again.
class Acceptor {
 public:
  /// Called on the acceptor's thread; owns `fd`, which does not block.
  using OnConnection = std::function<void(int listener_fd, int fd)>;
  /// Called on the acceptor's thread before each wait, with what is due; returns when it is to be called next.
  using OnTurn = std::function<std::optional<TimePoint>()>;

  /// Binds every address that the host has, port 0 to one free port for all of them: `address_in_use` or
  /// `invalid_endpoint`, naming the endpoint. Resolves host names, so it may block. Connections are dead when sent
  /// bytes stay unacknowledged for `user_timeout`.
  static Result<std::unique_ptr<Acceptor>> bind(const Endpoint& endpoint, Duration user_timeout);

  Acceptor(const Acceptor&) = delete;
  Acceptor& operator=(const Acceptor&) = delete;
  /// Stops listening and waits for the thread. Not inside `OnConnection`.
  ~Acceptor();

  [[nodiscard]] std::uint16_t port() const noexcept { return port_; }
  /// Once.
  void start(OnConnection on_connection, OnTurn on_turn);

 private:
  struct Sockets;

  Acceptor(std::unique_ptr<Sockets> sockets, std::uint16_t port);
  void run() const;
  /// False when there was no descriptor or memory for a connection.
  [[nodiscard]] bool accept_some(int listener_fd) const;

  const std::unique_ptr<const Sockets> sockets_;
  const std::uint16_t port_;
  OnConnection on_connection_;
  OnTurn on_turn_;
  std::thread thread_;
};

}  // namespace sharingbus::transport::internal

#pragma once

#include <arpa/inet.h>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <future>
#include <memory>
#include <netinet/in.h>
#include <poll.h>
#include <string>
#include <sys/socket.h>
#include <unistd.h>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "bus/sharing_bus.hpp"
#include "tests/support/manual_clock.hpp"
#include "tests/support/stream_observer.hpp"
#include "tests/support/text_frames.hpp"
#include "transport/grpc/grpc_dialer.hpp"
#include "transport/grpc/grpc_listener.hpp"

namespace sharingbus::test {

inline constexpr transport::Credit kPlenty{1'000'000, 1'000'000};
inline constexpr transport::Credit kNone{};

/// A bound port of 127.0.0.1: either nobody listens, so connecting is refused, or the kernel accepts and nobody speaks.
class BoundPort {
 public:
  explicit BoundPort(bool listening) : fd_(::socket(AF_INET, SOCK_STREAM, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    if (::bind(fd_, reinterpret_cast<sockaddr*>(&address), size) != 0) std::abort();
    if (listening && ::listen(fd_, 16) != 0) std::abort();
    ::getsockname(fd_, reinterpret_cast<sockaddr*>(&address), &size);
    port_ = ntohs(address.sin_port);
  }
  ~BoundPort() { ::close(fd_); }
  BoundPort(const BoundPort&) = delete;
  BoundPort& operator=(const BoundPort&) = delete;

  [[nodiscard]] transport::Endpoint endpoint() const { return {"grpc", "127.0.0.1", port_}; }
  /// Takes the next connection and closes it. False when none came in time.
  [[nodiscard]] bool hang_up_on_next(std::chrono::milliseconds limit) const {
    pollfd waiting{fd_, POLLIN, 0};
    if (::poll(&waiting, 1, static_cast<int>(limit.count())) != 1) return false;
    ::close(::accept(fd_, nullptr, nullptr));
    return true;
  }

 private:
  int fd_;
  std::uint16_t port_ = 0;
};

/// Both sides on loopback, each with a bus, and virtual time for the dialers.
class GrpcRig : public testing::Test {
 protected:
  GrpcRig() = default;

  transport::GrpcListenerOptions listener_options() {
    transport::GrpcListenerOptions options;
    options.base.publisher = server.bus.publisher();
    options.base.decoder = decoder;
    options.base.new_source = [this] { return server.bus.new_source(); };
    options.base.id = server.bus.new_source();
    return options;
  }
  transport::StreamOptions stream_options(transport::Credit credit = kPlenty) {
    transport::StreamOptions options;
    options.publisher = client.bus.publisher();
    options.decoder = decoder;
    options.id = client.bus.new_source();
    options.initial_credit = credit;
    return options;
  }
  void listen() { listen(listener_options()); }
  void listen(transport::GrpcListenerOptions options, const transport::Endpoint& at = {"grpc", "127.0.0.1", 0}) {
    listener = std::make_unique<transport::GrpcListener>(at, std::move(options));
    const auto bound = listener->listen();
    ASSERT_TRUE(bound.has_value()) << to_string(bound.error());
    endpoint = *bound;
  }
  void dial(transport::GrpcDialerOptions options = {}) { dial_to(endpoint, std::move(options)); }
  void dial_to(const transport::Endpoint& to, transport::GrpcDialerOptions options = {}) {
    dialer = std::make_unique<transport::GrpcDialer>(to, std::move(options), timers);
  }
  StreamRecord& open(transport::StreamOptions options, std::string first = {}) {
    return client.of(dialer->open(std::move(options), std::move(first)));
  }
  StreamRecord& open() { return open(stream_options()); }
  template <class T>
  static void close(T& what) {
    std::promise<void> closed;
    what.close([&closed] { closed.set_value(); });
    closed.get_future().wait();
  }

  const std::shared_ptr<const transport::FrameDecoder> decoder = std::make_shared<TextFrameDecoder>();
  ManualTimerService timers;
  StreamObserver client;
  StreamObserver server;
  transport::Endpoint endpoint;
  std::unique_ptr<transport::GrpcListener> listener;
  std::unique_ptr<transport::GrpcDialer> dialer;
};

}  // namespace sharingbus::test

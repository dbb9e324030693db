#pragma once

#include <algorithm>
#include <arpa/inet.h>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <functional>
#include <future>
#include <map>
#include <memory>
#include <netinet/in.h>
#include <optional>
#include <poll.h>
#include <string>
#include <sys/socket.h>
#include <unistd.h>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "bus/sharing_bus.hpp"
#include "tests/support/manual_clock.hpp"
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

/// What was published about one stream.
struct StreamRecord {
  std::shared_ptr<transport::Link> link;
  std::optional<transport::StreamOpened> opened;
  std::vector<std::string> frames;
  std::size_t writables = 0;
  std::size_t going_aways = 0;
  std::optional<transport::StreamClosed> closed;

  [[nodiscard]] std::string ending() const {
    if (!closed) return "not closed";
    return closed->error.code.message() + ": " + to_string(closed->error);
  }
};

/// A bus and what happened on it. One thread.
class Observer {
 public:
  SharingBus bus;
  /// In the order in which their first events came.
  std::vector<Uuid> order;

  StreamRecord& of(const Uuid& uid) { return records_[uid]; }
  StreamRecord& of(const std::shared_ptr<transport::Link>& link) {
    of(link->uid()).link = link;
    return of(link->uid());
  }
  /// The `index`-th stream that was seen.
  StreamRecord& at(std::size_t index) { return of(order.at(index)); }

  [[nodiscard]] bool wait(const std::function<bool()>& done,
                          std::chrono::milliseconds limit = std::chrono::seconds(30)) {
    const auto deadline = std::chrono::steady_clock::now() + limit;
    for (;;) {
      for (Received next = events_.try_receive(); next.event() != nullptr; next = events_.try_receive())
        note(next);
      if (done()) return true;
      if (std::chrono::steady_clock::now() >= deadline) return false;
      note(events_.receive_for(std::chrono::milliseconds(20)));
    }
  }
  [[nodiscard]] bool opens(StreamRecord& stream) {
    return wait([&] { return stream.opened || stream.closed; }) && !stream.closed;
  }
  [[nodiscard]] bool closes(StreamRecord& stream) {
    return wait([&] { return stream.closed.has_value(); });
  }
  [[nodiscard]] bool gets(StreamRecord& stream, std::size_t frames) {
    return wait([&] { return stream.frames.size() >= frames; });
  }
  /// Waits for the `count`-th stream, and for nothing else.
  [[nodiscard]] bool sees(std::size_t count) {
    return wait([&] { return order.size() >= count; });
  }

 private:
  void note(const Received& received) {
    if (received.event() == nullptr) return;
    const BusEvent& event = **received.event();
    // Of no stream.
    if (!event.routing().connector_uid) return;
    const Uuid uid = event.routing().connector_uid.value();
    const bool known = records_.contains(uid) && std::find(order.begin(), order.end(), uid) != order.end();
    StreamRecord& record = records_[uid];
    if (!known) order.push_back(uid);
    EXPECT_FALSE(record.closed) << event.type_name() << " after StreamClosed";
    if (const auto* opened = event.get_if<transport::StreamOpened>()) {
      record.opened = *opened;
      if (!record.link) record.link = opened->link.lock();
    } else if (const auto* frame = event.get_if<TextFrame>()) {
      record.frames.push_back(frame->text);
    } else if (event.is<transport::StreamWritable>()) {
      ++record.writables;
    } else if (event.is<transport::StreamGoingAway>()) {
      EXPECT_TRUE(record.opened);
      ++record.going_aways;
    } else if (const auto* closed = event.get_if<transport::StreamClosed>()) {
      record.closed = *closed;
    }
  }

  Subscription events_{bus.subscribe(Filter::all(), std::size_t{1} << 16)};
  std::map<Uuid, StreamRecord> records_;
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
  Observer client;
  Observer server;
  transport::Endpoint endpoint;
  std::unique_ptr<transport::GrpcListener> listener;
  std::unique_ptr<transport::GrpcDialer> dialer;
};

}  // namespace sharingbus::test

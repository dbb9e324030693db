#pragma once

#include <array>
#include <cstring>
#include <filesystem>
#include <functional>
#include <future>
#include <memory>
#include <netinet/in.h>
#include <string>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include <utility>

#include <gtest/gtest.h>

#include "tests/support/context_threads.hpp"
#include "tests/support/manual_clock.hpp"
#include "tests/support/short_folder.hpp"
#include "tests/support/stream_observer.hpp"
#include "transport/dialer.hpp"
#include "transport/length_prefix_framing.hpp"
#include "transport/listener.hpp"

namespace sharingbus::test {

inline constexpr transport::Credit kPlenty{1'000'000, 1'000'000};
inline constexpr transport::Credit kNone{};

/// Closes and waits for it.
template <class T>
void close_and_wait(T& what) {
  std::promise<void> closed;
  what.close([&closed] { closed.set_value(); });
  closed.get_future().wait();
}

inline std::size_t open_descriptors() {
  std::size_t count = 0;
  for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fd"))
    count += entry.exists() ? 1U : 0U;
  return count;
}

/// A frame with its length before it.
inline std::string framed(const std::string& frame) {
  std::string bytes;
  transport::LengthPrefixFraming().append_header(frame.size(), bytes);
  return bytes + frame;
}

/// A peer that speaks bytes: blocking, on the test's thread.
class RawPeer {
 public:
  /// Connected to `to`, which is tcp at 127.0.0.1, or unix.
  explicit RawPeer(const transport::Endpoint& to)
      : fd_(::socket(to.scheme == "tcp" ? AF_INET : AF_UNIX, SOCK_STREAM, 0)) {
    connect(to);
  }
  /// Not connected yet.
  explicit RawPeer(int family) : fd_(::socket(family, SOCK_STREAM, 0)) {}
  ~RawPeer() { close(); }
  RawPeer(const RawPeer&) = delete;
  RawPeer& operator=(const RawPeer&) = delete;

  void connect(const transport::Endpoint& to) {
    sockaddr_in internet{};
    internet.sin_family = AF_INET;
    internet.sin_port = htons(to.port);
    internet.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    sockaddr_un local{};
    local.sun_family = AF_UNIX;
    std::strncpy(local.sun_path, to.host.c_str(), sizeof local.sun_path - 1);
    const bool tcp = to.scheme == "tcp";
    const auto* address =
        tcp ? reinterpret_cast<const sockaddr*>(&internet) : reinterpret_cast<const sockaddr*>(&local);
    connected_ = ::connect(fd_, address, tcp ? sizeof internet : sizeof local) == 0;
    error_ = connected_ ? 0 : errno;
  }
  [[nodiscard]] bool connected() const { return connected_; }
  [[nodiscard]] int error() const { return error_; }
  void write(const std::string& bytes) const {
    ASSERT_EQ(::send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL), static_cast<ssize_t>(bytes.size()));
  }
  /// Up to `most` bytes; empty at the end.
  [[nodiscard]] std::string read(std::size_t most = 4096) const {
    std::string bytes(most, '\0');
    const ssize_t count = ::recv(fd_, bytes.data(), bytes.size(), 0);
    bytes.resize(count > 0 ? static_cast<std::size_t>(count) : 0);
    return bytes;
  }
  [[nodiscard]] std::string read_to_end() const {
    std::string all;
    for (std::string piece = read(); !piece.empty(); piece = read())
      all += piece;
    return all;
  }
  void half_close() const { ::shutdown(fd_, SHUT_WR); }
  void reset() {
    const linger at_once{1, 0};
    ::setsockopt(fd_, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
    close();
  }
  void close() {
    if (fd_ >= 0) ::close(std::exchange(fd_, -1));
  }

 private:
  int fd_;
  bool connected_ = false;
  int error_ = 0;
};

/// Buses for both sides, threads, and virtual time. What a test opens it closes.
class ByteStreamRig : public testing::Test {
 protected:
  transport::ListenerOptions listener_options() {
    transport::ListenerOptions options;
    options.publisher = server.bus.publisher();
    options.decoder = decoder;
    options.new_source = [this] { return server.bus.new_source(); };
    options.id = server.bus.new_source();
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
  StreamRecord& open(transport::Dialer& from, transport::StreamOptions options) {
    return client.of(from.open(std::move(options), {}));
  }
  StreamRecord& open(transport::Dialer& from) { return open(from, stream_options()); }

  const std::shared_ptr<const transport::FrameDecoder> decoder = std::make_shared<TextFrameDecoder>();
  const std::shared_ptr<const transport::Framing> framing = std::make_shared<transport::LengthPrefixFraming>();
  const ShortFolder folder;
  ManualTimerService timers;
  StreamObserver client;
  StreamObserver server;
  ContextThreads threads{1};
};

}  // namespace sharingbus::test

// The file of a Unix socket: who may have it, who may connect, and who does.
#include <atomic>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <string>
#include <sys/stat.h>
#include <thread>
#include <vector>

#include "tests/transport/byte_stream_rig.hpp"
#include "transport/uds/uds_dialer.hpp"
#include "transport/uds/uds_listener.hpp"

namespace sharingbus::test {
namespace {

using namespace transport;

class Uds : public ByteStreamRig {
 protected:
  std::unique_ptr<UdsListener> make_listener(const std::string& path, std::uint32_t mode = 0600) {
    UdsListenerOptions options;
    options.base = listener_options();
    options.framing = framing;
    options.mode = mode;
    return std::make_unique<UdsListener>(threads.executor(), timers, Endpoint{"unix", path, 0}, std::move(options));
  }
  void expect_refused(const std::string& path, errc code, const std::string& says) {
    const auto listener = make_listener(path);
    const auto bound = listener->listen();
    ASSERT_FALSE(bound.has_value()) << path;
    EXPECT_TRUE(bound.error().is(code)) << to_string(bound.error());
    EXPECT_NE(bound.error().message.find(says), std::string::npos) << bound.error().message;
  }
  /// As a server leaves it that was killed.
  void leave_stale(const std::string& path) {
    const int fd = ::socket(AF_UNIX, SOCK_STREAM, 0);
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::strncpy(address.sun_path, path.c_str(), sizeof address.sun_path - 1);
    ASSERT_EQ(::bind(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
    ::listen(fd, 1);
    ::close(fd);
    std::ofstream(path + ".lock") << "";
  }
};

TEST_F(Uds, Listen_StaleSocket_IsReplaced) {
  const std::string path = folder / "s";
  leave_stale(path);
  const auto listener = make_listener(path);
  const auto bound = listener->listen();
  ASSERT_TRUE(bound.has_value()) << to_string(bound.error());
  EXPECT_TRUE(RawPeer(*bound).connected());
}

TEST_F(Uds, Listen_LiveSocket_IsInUse) {
  const auto listener = make_listener(folder / "s");
  ASSERT_TRUE(listener->listen().has_value());
  expect_refused(folder / "s", errc::address_in_use, "in use");
  EXPECT_TRUE(RawPeer(Endpoint{"unix", folder / "s", 0}).connected());
  // One that knows nothing of locks.
  const int fd = ::socket(AF_UNIX, SOCK_STREAM, 0);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  const std::string foreign = folder / "foreign";
  std::strncpy(address.sun_path, foreign.c_str(), sizeof address.sun_path - 1);
  ASSERT_EQ(::bind(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
  ASSERT_EQ(::listen(fd, 1), 0);
  expect_refused(foreign, errc::address_in_use, "in use");
  EXPECT_TRUE(std::filesystem::exists(foreign));
  EXPECT_FALSE(std::filesystem::exists(foreign + ".lock"));
  ::close(fd);
}

TEST_F(Uds, Listen_FileThatIsNoSocket_IsNotTouched) {
  const std::string path = folder / "file";
  std::ofstream(path) << "precious";
  expect_refused(path, errc::invalid_endpoint, "no socket");
  std::string text;
  std::ifstream(path) >> text;
  EXPECT_EQ(text, "precious");
}

TEST_F(Uds, Listen_BadPaths_AreNamed) {
  expect_refused("/" + std::string(107, 'x'), errc::invalid_endpoint, "108 bytes");
  expect_refused("", errc::invalid_endpoint, "empty");
  expect_refused(std::string("a\0b", 3), errc::invalid_endpoint, "NUL");
  expect_refused(folder / "gone/s", errc::invalid_endpoint, "No such file");
}

TEST_F(Uds, Listen_PathOf107Bytes_Works) {
  const std::string base = folder / "";
  const std::string path = base + std::string(107 - base.size(), 'x');
  const auto listener = make_listener(path);
  const auto bound = listener->listen();
  ASSERT_TRUE(bound.has_value()) << to_string(bound.error());
  EXPECT_TRUE(RawPeer(*bound).connected());
}

TEST_F(Uds, Dial_PathTooLong_IsNamed) {
  UdsDialer dialer(threads.executor(), timers, Endpoint{"unix", "/" + std::string(107, 'x'), 0}, {framing});
  StreamRecord& stream = open(dialer);
  ASSERT_TRUE(client.closes(stream));
  EXPECT_TRUE(stream.closed_with(errc::invalid_endpoint)) << stream.ending();
}

TEST_F(Uds, Listen_Mode_IsThatOfTheFile) {
  for (const std::uint32_t mode : {0600U, 0660U, 0666U}) {
    const std::string path = folder / std::to_string(mode);
    const auto listener = make_listener(path, mode);
    ASSERT_TRUE(listener->listen().has_value());
    struct stat file {};
    ASSERT_EQ(::stat(path.c_str(), &file), 0);
    EXPECT_EQ(file.st_mode & 0777U, mode);
  }
}

TEST_F(Uds, Close_RemovesItsOwnFilesOnly) {
  const std::string path = folder / "s";
  const auto listener = make_listener(path);
  ASSERT_TRUE(listener->listen().has_value());
  close_and_wait(*listener);
  EXPECT_TRUE(std::filesystem::is_empty(folder.path()));

  const auto second = make_listener(path);
  ASSERT_TRUE(second->listen().has_value());
  std::filesystem::remove(path);
  std::ofstream(path) << "another's";
  close_and_wait(*second);
  EXPECT_TRUE(std::filesystem::exists(path));
}

TEST_F(Uds, Listen_ManyAtOnceOverAStaleSocket_OneWins) {
  for (int round = 0; round < 20; ++round) {
    const std::string path = folder / std::to_string(round);
    leave_stale(path);
    std::vector<std::unique_ptr<UdsListener>> listeners;
    for (int i = 0; i < 8; ++i)
      listeners.push_back(make_listener(path));
    std::atomic<int> won{0};
    {
      std::vector<std::jthread> starting;
      for (const auto& each : listeners) {
        starting.emplace_back([&] {
          const auto bound = each->listen();
          if (bound.has_value()) ++won;
          EXPECT_TRUE(bound.has_value() || bound.error().is(errc::address_in_use)) << to_string(bound.error());
        });
      }
    }
    EXPECT_EQ(won, 1);
    EXPECT_TRUE(RawPeer(Endpoint{"unix", path, 0}).connected());
  }
}

TEST_F(Uds, Peer_IsWhoTheKernelSays) {
  const auto listener = make_listener(folder / "s");
  const auto bound = listener->listen();
  ASSERT_TRUE(bound.has_value());
  UdsDialer dialer(threads.executor(), timers, *bound, {framing});
  StreamRecord& stream = open(dialer);
  ASSERT_TRUE(client.opens(stream));
  ASSERT_TRUE(server.sees(1));
  ASSERT_TRUE(server.opens(server.at(0)));
  const std::string expected = to_string(*bound) + " pid=" + std::to_string(::getpid()) +
                               " uid=" + std::to_string(::getuid()) + " gid=" + std::to_string(::getgid());
  EXPECT_EQ(stream.opened->peer, expected);
  EXPECT_EQ(server.at(0).opened->peer, expected);
  close_and_wait(dialer);
  close_and_wait(*listener);
}

TEST_F(Uds, Options_Bad_AreNamed) {
  UdsListenerOptions options;
  options.base = listener_options();
  EXPECT_EQ(options.validate().error().message, "framing is missing");
  options.framing = framing;
  options.mode = 01000;
  EXPECT_EQ(options.validate().error().message, "mode must be at most 0777");
  options.mode = 0600;
  options.base.max_links = 0;
  EXPECT_EQ(options.validate().error().message, "max_links must be at least 1");
  options.base.max_links = 1;
  options.base.decoder = nullptr;
  EXPECT_EQ(options.validate().error().message, "decoder is missing");
  EXPECT_THROW(UdsListener(threads.executor(), timers, {"unix", "x", 0}, options), std::invalid_argument);
  EXPECT_EQ(UdsDialerOptions{}.validate().error().message, "framing is missing");
}

}  // namespace
}  // namespace sharingbus::test

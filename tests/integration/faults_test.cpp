// Faults that need a real certificate or a real clock, over real sockets (specs 2 and 3).
#include <atomic>
#include <cerrno>
#include <cstdint>
#include <cstdlib>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <utility>

#include <boost/asio/use_future.hpp>
#include <gtest/gtest.h>

#include "tests/integration/live_grpc.hpp"
#include "tests/integration/live_websocket.hpp"
#include "tests/integration/live_world.hpp"
#include "tests/support/test_certificates.hpp"
#include "tests/support/watchdog.hpp"

namespace {

std::atomic<bool> no_descriptors{false};
std::atomic<int> failed_accepts{0};

}  // namespace

/// In place of the system's, for Asio.
extern "C" int accept(int fd, sockaddr* address, socklen_t* size) {
  if (!no_descriptors) return static_cast<int>(::syscall(SYS_accept4, fd, address, size, 0));
  ++failed_accepts;
  errno = EMFILE;
  return -1;
}

namespace sharingbus::test {
namespace {

using OverTls = std::function<LiveTransport(const transport::TlsOptions&, const transport::TlsOptions&)>;

class ExpiredCertificate : public testing::TestWithParam<OverTls> {};
INSTANTIATE_TEST_SUITE_P(Over, ExpiredCertificate, testing::Values(over_grpc, over_websocket, over_shared_websocket),
                         [](const auto& one) { return one.param({}, {}).name; });

// No gateway begins with a certificate that has expired, but it may expire while it is in use, and is replaced then.
TEST_P(ExpiredCertificate, IsRefusedByName_AndTheRunnerTriesOnUntilItIsReplaced) {
  const Watchdog watchdog("expired certificate", 300s);
  const TestAuthority authority;
  const TemporaryFolder folder;
  authority.write_certificate(folder / "ca.pem");
  transport::TlsOptions server;
  server.certificate_file = folder / "cert.pem";
  server.key_file = folder / "key.pem";
  transport::TlsOptions client;
  client.ca_file = folder / "ca.pem";
  // Valid for long enough to be begun with.
  const auto expires = std::chrono::steady_clock::now() + 5s;
  authority.issue({.seconds = 5}, server.certificate_file, server.key_file);
  LiveWorld world(GetParam()(server, client));
  std::atomic<int> failures{0};
  std::mutex mutex;
  std::string last_failure;
  const auto watcher = world.bus.subscribe_inline(
      {.name = "failures", .filter = Filter::type<connector::RegistrationFailed>()}, [&](const EventRef& event) {
        const std::scoped_lock lock(mutex);
        last_failure = to_string(event->get_if<connector::RegistrationFailed>()->error);
        ++failures;
      });
  ASSERT_TRUE(poll_until([&] { return std::chrono::steady_clock::now() > expires + 1s; }, 60s));
  const auto runner = world.make_runner(2);
  auto done = runner->async_run(boost::asio::use_future);
  EXPECT_TRUE(poll_until([&] { return failures >= 6; }, 60s)) << "it goes on trying";
  {
    const std::scoped_lock lock(mutex);
    // gRPC does not tell what is wrong with it.
    const bool named = last_failure.find("certificate has expired") != std::string::npos;
    const bool grpc = last_failure.compare(0, 8, "grpcs://") == 0;
    EXPECT_TRUE(named || (grpc && last_failure.find("certificate verify failed") != std::string::npos)) << last_failure;
  }
  EXPECT_EQ(world.gateway->session_count(), 0U);
  authority.issue({}, server.certificate_file, server.key_file);
  EXPECT_TRUE(poll_until([&] { return world.gateway->session_count() == 2; }, 60s)) << "without a restart";
  EXPECT_EQ(world.ask("acme.echo.1"), "{}");
  runner->shutdown_handle().shutdown();
  EXPECT_FALSE(done.get());
}

// The interop tests take the descriptors away for real, from the gRPC port; this listener's error handling calls
// virtual functions, which UBSan cannot check in a process without descriptors.
TEST(OutOfDescriptors, WebSocketListener_ServesThoseWhoWaitedOnceThereAreSome) {
  const Watchdog watchdog("descriptors", 300s);
  LiveWorld world(over_websocket());
  connector::RunnerOptions options;
  options.connect_timeout = 200ms;
  std::atomic<int> failures{0};
  const auto watcher = world.bus.subscribe_inline(
      {.name = "failures", .filter = Filter::type<connector::RegistrationFailed>()}, [&](const EventRef& event) {
        EXPECT_TRUE(event->get_if<connector::RegistrationFailed>()->error.is(errc::connect_timeout));
        ++failures;
      });
  no_descriptors = true;
  const auto runner = world.make_runner(3, std::move(options));
  auto done = runner->async_run(boost::asio::use_future);
  EXPECT_TRUE(poll_until([&] { return failures >= 3 && failed_accepts >= 2; }, 60s));
  EXPECT_EQ(world.gateway->session_count(), 0U);
  no_descriptors = false;
  EXPECT_TRUE(poll_until([&] { return world.gateway->session_count() == 3; }, 60s));
  EXPECT_EQ(world.ask("acme.echo.2"), "{}");
  runner->shutdown_handle().shutdown();
  EXPECT_FALSE(done.get());
}

class WallClock : public testing::TestWithParam<LiveTransport> {};
INSTANTIATE_TEST_SUITE_P(Over, WallClock,
                         testing::Values(over_grpc({}, {}), over_websocket(), over_shared_websocket({}, {})),
                         [](const auto& one) { return one.param.name; });

// Everything that waits does so by the monotonic clock: wall time may be set as anybody likes.
TEST_P(WallClock, JumpsAnHourBackAndForth_NobodyNotices) {
  const Watchdog watchdog("wall clock", 300s);
  LiveWorld world(GetParam());
  connector::RunnerOptions options;
  options.heartbeat_interval = 5ms;
  options.heartbeat_timeout = 30s;
  std::atomic<std::int64_t> latest{0};
  std::atomic<int> beats{0};
  const auto watcher = world.bus.subscribe_inline(
      {.name = "beats", .filter = Filter::type<transport::messages::HeartbeatResponse>()}, [&](const EventRef& event) {
        const auto* beat = event->get_if<transport::messages::HeartbeatResponse>();
        if (event->origin() == EventOrigin::transport) latest = beat->timestamp_ms;
        ++beats;
      });
  const auto runner = world.make_runner(3, std::move(options));
  auto done = runner->async_run(boost::asio::use_future);
  ASSERT_TRUE(poll_until([&] { return world.gateway->session_count() == 3; }, 60s));
  constexpr std::int64_t kHourMs = 3'600'000;
  for (const std::int64_t offset : {kHourMs, std::int64_t{0}, -kHourMs, std::int64_t{0}}) {
    world.timers.set_wall_offset_ms(offset);
    const auto near = [&](std::int64_t then) { return std::abs(then - world.timers.unix_ms()) < kHourMs / 2; };
    EXPECT_TRUE(poll_until([&] { return near(latest); }, 60s)) << "the jump is seen in the time stamps";
    connector::ExecuteCall call;
    call.timeout = 30s;
    EXPECT_EQ(world.ask("acme.echo.2", std::move(call)), "{}");
    const int seen = beats;
    EXPECT_TRUE(poll_until([&] { return beats >= seen + 20; }, 60s)) << "heartbeats go on at their pace";
  }
  for (const auto& [key, metrics] : runner->metrics_snapshot()) {
    EXPECT_EQ(metrics.total_disconnects, 0U) << to_string(key);
    EXPECT_EQ(metrics.reconnection_attempts, 0U) << to_string(key);
  }
  runner->shutdown_handle().shutdown();
  EXPECT_FALSE(done.get());
}

}  // namespace
}  // namespace sharingbus::test

// Runners and gateway over real WebSockets (specs 2 and 3); the reference's own tests are named as it names them.
#include <algorithm>
#include <atomic>
#include <future>
#include <memory>
#include <string>
#include <utility>

#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/use_future.hpp>
#include <gtest/gtest.h>

#include "tests/integration/live_websocket.hpp"
#include "tests/support/test_certificates.hpp"
#include "tests/support/watchdog.hpp"
#include "transport/codec/connector_frame_decoder.hpp"
#include "transport/codec/connector_protobuf.hpp"
#include "transport/messages/connector_messages.hpp"

namespace sharingbus::test {
namespace {

bool registered(LiveWorld& world, std::size_t count) {
  return poll_until([&] { return world.gateway->session_count() == count; }, 60s);
}

TEST(WebSocketRunner, ExecuteRoundTrips_ReachTheRightConnector) {
  const Watchdog watchdog("round trips");
  LiveWorld world(over_websocket());
  const auto runner = world.make_runner(10);
  auto done = runner->async_run(boost::asio::use_future);
  ASSERT_TRUE(registered(world, 10));
  // A connection for each.
  EXPECT_EQ(world.dialer->stats().channels, 10U);
  std::atomic<int> right{0};
  std::atomic<int> ended{0};
  for (int i = 0; i < 500; ++i) {
    connector::ExecuteCall call;
    call.payload.bytes = "{\"n\":" + std::to_string(i) + "}";
    const std::string expected = call.payload.bytes;
    world.gateway->execute("acme.echo." + std::to_string(i % 10), std::move(call),
                           [&, expected](const Error& error, const connector::ExecuteReply& reply) {
                             if (!error && reply.success && reply.payload.bytes == expected) ++right;
                             ++ended;
                           });
  }
  EXPECT_TRUE(poll_until([&] { return ended == 500; }, 60s));
  EXPECT_EQ(right, 500);
  connector::ExecuteCall large;
  large.payload.bytes = "\"" + std::string(1'000'000, 'x') + "\"";
  const std::string sent = large.payload.bytes;
  EXPECT_TRUE(world.ask("acme.echo.3", std::move(large)) == sent);
  EXPECT_NE(world.ask("acme.echo.99").find("acme.echo.99"), std::string::npos);
  runner->shutdown_handle().shutdown();
  EXPECT_FALSE(done.get());
  EXPECT_EQ(runner->metrics_snapshot().begin()->second.requests_failed, 0U);
  EXPECT_LE(world.started, world.finished);
}

/// As clients do that multiplex: one socket, many registrations, echoes.
class ManyOnOneSocket {
 public:
  ManyOnOneSocket(LiveWorld& world, int count) {
    const Uuid uid = random_uuid();
    inbox_ = world.bus.subscribe_inline(
        {.name = "many", .filter = Filter::connector_uid(uid) && Filter::origin(EventOrigin::transport)},
        [this](const EventRef& event) {
          const auto* request = event->get_if<transport::messages::ExecuteRequest>();
          if (request == nullptr) return;
          send(transport::messages::ExecuteResponse{request->request_id, true, request->context.at("connector_arn"),
                                                    transport::messages::PayloadEncoding::json, "", 1});
        });
    transport::StreamOptions options;
    options.publisher = world.bus.publisher();
    options.decoder = std::make_shared<transport::ConnectorFrameDecoder>();
    options.routing.connector_uid = uid;
    options.initial_credit = {1'000'000, 1'000'000};
    options.limits.outbound_capacity = 100'000;
    link_ = world.dialer->open(std::move(options), {});
    for (int i = 0; i < count; ++i) {
      transport::messages::RegisterRequest request;
      request.tenant_id = "acme";
      request.connector_type = "echo";
      request.instance_id = std::to_string(i);
      send(request);
    }
  }
  void send(const transport::messages::ConnectorMessage& message) {
    EXPECT_EQ(link_->send(transport::encode_connector_message(message)), transport::SendStatus::queued);
  }
  transport::Link& link() { return *link_; }

 private:
  std::shared_ptr<transport::Link> link_;
  Subscription inbox_;
};

TEST(WebSocketRunner, ManyRegistrationsOnOneSocket_EachIsServed) {
  const Watchdog watchdog("many on one socket");
  LiveWorld world(over_websocket());
  constexpr int kCount = 50;
  ManyOnOneSocket many(world, kCount);
  ASSERT_TRUE(registered(world, kCount));
  EXPECT_EQ(world.dialer->stats().channels, 1U);
  std::atomic<int> right{0};
  std::atomic<int> ended{0};
  for (int i = 0; i < 1000; ++i) {
    const std::string instance = std::to_string(i % kCount);
    world.gateway->execute("acme.echo." + instance, {},
                           [&, instance](const Error& error, const connector::ExecuteReply& reply) {
                             if (!error && reply.payload.bytes == "matrix:acme:echo:" + instance) ++right;
                             ++ended;
                           });
  }
  EXPECT_TRUE(poll_until([&] { return ended == 1000; }, 60s)) << ended;
  EXPECT_EQ(right, 1000);
  many.link().cancel(Error(errc::cancelled, "enough"));
  EXPECT_TRUE(registered(world, 0));
}

TEST(WebSocketRunner, SharedSocket_ServesAHundredConnectors) {
  const Watchdog watchdog("shared socket");
  LiveWorld world(over_shared_websocket());
  const auto runner = world.make_runner(100);
  auto done = runner->async_run(boost::asio::use_future);
  ASSERT_TRUE(registered(world, 100));
  EXPECT_EQ(world.dialer->stats().channels, 1U);
  std::atomic<int> right{0};
  std::atomic<int> ended{0};
  for (int i = 0; i < 1000; ++i) {
    connector::ExecuteCall call;
    call.payload.bytes = std::to_string(i);
    world.gateway->execute("acme.echo." + std::to_string(i % 100), std::move(call),
                           [&, i](const Error& error, const connector::ExecuteReply& reply) {
                             if (!error && reply.payload.bytes == std::to_string(i)) ++right;
                             ++ended;
                           });
  }
  EXPECT_TRUE(poll_until([&] { return ended == 1000; }, 60s)) << ended;
  EXPECT_EQ(right, 1000);
  runner->shutdown_handle().shutdown();
  EXPECT_FALSE(done.get());
  EXPECT_TRUE(registered(world, 0));
}

TEST(WebSocketRunner, Heartbeats_KeepTheStreamAlive) {
  const Watchdog watchdog("heartbeats");
  LiveWorld world(over_websocket());
  std::atomic<int> answers{0};
  const auto counting = world.bus.subscribe_inline({.name = "answers"}, [&](const EventRef& event) {
    if (event->is<transport::messages::HeartbeatResponse>()) ++answers;
  });
  connector::RunnerOptions options;
  options.heartbeat_interval = 10ms;
  options.heartbeat_timeout = 30s;
  const auto runner = world.make_runner(2, std::move(options));
  auto done = runner->async_run(boost::asio::use_future);
  EXPECT_TRUE(poll_until([&] { return answers >= 20; }, 60s)) << answers;
  runner->shutdown_handle().shutdown();
  EXPECT_FALSE(done.get());
  // Counted by a subscriber, and so when the bus has dispatched it.
  const auto counted = [&] {
    const auto all = runner->metrics_snapshot();
    return std::all_of(all.begin(), all.end(), [](const auto& each) {
      return each.second.total_disconnects == 1 && each.second.last_disconnect_reason == "shutdown";
    });
  };
  EXPECT_TRUE(poll_until(counted, 60s));
}

TEST(WebSocketRunner, GatewayAsksToReconnect_TheReplacementServes) {
  const Watchdog watchdog("reconnect");
  LiveWorld world(over_websocket());
  const auto runner = world.make_runner(1);
  auto done = runner->async_run(boost::asio::use_future);
  ASSERT_TRUE(registered(world, 1));
  const Uuid before = world.gateway->sessions().front().uid;
  ASSERT_TRUE(world.gateway->ask_to_reconnect("acme.echo.0"));
  EXPECT_TRUE(poll_until(
      [&] {
        const auto sessions = world.gateway->sessions();
        return sessions.size() == 1 && sessions.front().uid != before;
      },
      60s));
  EXPECT_EQ(world.ask("acme.echo.0"), "{}");
  EXPECT_TRUE(poll_until([&] { return world.dialer->stats().streams == 1; }, 60s)) << "the old one was drained";
  runner->shutdown_handle().shutdown();
  EXPECT_FALSE(done.get());
}

TEST(WebSocketRunner, OverTls_Serves) {
  const Watchdog watchdog("TLS");
  const TestAuthority authority;
  const TemporaryFolder folder;
  authority.write_certificate(folder / "ca.pem");
  authority.issue({}, folder / "cert.pem", folder / "key.pem");
  transport::TlsOptions server;
  server.certificate_file = folder / "cert.pem";
  server.key_file = folder / "key.pem";
  transport::TlsOptions client;
  client.ca_file = folder / "ca.pem";
  LiveWorld world(over_websocket(server, client));
  const auto runner = world.make_runner(2);
  auto done = runner->async_run(boost::asio::use_future);
  ASSERT_TRUE(registered(world, 2));
  EXPECT_EQ(world.ask("acme.echo.1"), "{}");
  runner->shutdown_handle().shutdown();
  EXPECT_FALSE(done.get());
}

TEST(WebSocketRunner, PreSignalledRun_OpensNothing) {
  const Watchdog watchdog("pre-signalled");
  LiveWorld world(over_websocket());
  const auto runner = world.make_runner(3);
  runner->shutdown_handle().shutdown();
  EXPECT_FALSE(runner->async_run(boost::asio::use_future).get());
  EXPECT_EQ(world.dialer->stats().streams_opened, 0U);
}

TEST(WebSocketRunner, WebSocketShutdown_LeavesNothingBehind) {
  const Watchdog watchdog("shutdown");
  LiveWorld world(over_websocket());
  const auto files = open_files();
  for (int round = 0; round < 5; ++round) {
    const auto runner = world.make_runner(5);
    auto done = runner->async_run(boost::asio::use_future);
    ASSERT_TRUE(registered(world, 5));
    EXPECT_EQ(world.ask("acme.echo.4"), "{}");
    runner->shutdown_handle().shutdown();
    EXPECT_FALSE(done.get());
    // The place of a stream is free a moment after its end was published.
    EXPECT_TRUE(poll_until([&] { return world.dialer->stats().streams == 0; }, 60s));
    EXPECT_TRUE(registered(world, 0));
  }
  EXPECT_TRUE(poll_until([&] { return open_files() <= files; }, 60s)) << open_files() << " instead of " << files;
}

TEST(WebSocketRunner, ShutdownInMidHandshake_EndsWithSuccess) {
  const Watchdog watchdog("mid-handshake");
  LiveWorld world(over_websocket());
  // The kernel accepts for a listener that never answers.
  boost::asio::ip::tcp::acceptor silent(world.io, {boost::asio::ip::address_v4::loopback(), 0});
  const auto to_silence = over_websocket().make_dialer(world.io.get_executor(), world.timers, world.bus,
                                                       {"ws", "127.0.0.1", silent.local_endpoint().port()});
  connector::RunnerOptions options;
  options.reconnect = false;
  options.log = nullptr;
  options.host = "ws://127.0.0.1:" + std::to_string(silent.local_endpoint().port());
  connector::MultiConnectorRunner runner(world.io.get_executor(), world.bus, world.timers, *to_silence, options,
                                         {{{.tenant = "acme", .type = "echo", .instance = "0"}, echo()}});
  auto done = runner.async_run(boost::asio::use_future);
  EXPECT_TRUE(poll_until([&] { return to_silence->stats().streams_opened == 1; }, 60s));
  runner.shutdown_handle().shutdown();
  EXPECT_FALSE(done.get());
  EXPECT_TRUE(poll_until([&] { return to_silence->stats().streams == 0; }, 60s));
}

}  // namespace
}  // namespace sharingbus::test

// What the metrics count, and when (spec 2, Exact points).
#include "connector/registration/registration_metrics.hpp"

#include <memory>
#include <optional>
#include <string>

#include <gtest/gtest.h>

#include "tests/connector/registration/runner_world.hpp"

namespace sharingbus::connector {
namespace {

using test::echo;
using test::HeldConnector;
using test::milliseconds;
using test::seconds;

class RegistrationMetricsTest : public test::RunnerTest {
 protected:
  RegistrationMetricsTest() {
    options.jitter_mode = JitterMode::additive;
    world.timers.set_unix_ms(1'000'000);
  }
  void run(std::shared_ptr<Connector> connector) {
    runner = std::make_unique<RegistrationRunner>(world.io.get_executor(), world.bus, world.timers, *world.dialer,
                                                  test::registration(std::move(connector)), options);
    sut->watch(runner->uid());
    runner->start([this](Error) { ++times_ended; });
    world.settle();
  }
  RegistrationMetrics metrics() const { return sut->metrics(runner->uid()); }

  std::optional<RegistrationMetricsObserver> sut{std::in_place, world.bus};
};

TEST_F(RegistrationMetricsTest, BeforeAnything_AreZero) {
  run(echo());
  const RegistrationMetrics none = metrics();
  EXPECT_EQ(none.requests_received, 0u);
  EXPECT_EQ(none.last_request_at_ms, 0);
  EXPECT_EQ(none.last_connected_at_ms, 0);
  EXPECT_EQ(none.last_disconnect_reason, "");
  EXPECT_EQ(sut->metrics(random_uuid()).total_disconnects, 0u) << "of nobody";
}

TEST_F(RegistrationMetricsTest, Received_CountsWhenThePermitIsGranted) {
  options.max_concurrent_requests = 1;
  auto held = std::make_shared<HeldConnector>();
  gateway.listen();
  run(held);
  world.advance(milliseconds(5));
  gateway.execute(gateway.last(), "a", "[1]");
  gateway.execute(gateway.last(), "b", "[12]");
  world.settle();
  EXPECT_EQ(metrics().requests_received, 1u) << "the second waits for its permit";
  EXPECT_EQ(metrics().bytes_in, 3u);
  EXPECT_EQ(metrics().last_request_at_ms, 1'000'005);
  EXPECT_EQ(metrics().requests_processed, 0u);
  world.advance(milliseconds(10));
  held->release(1);
  world.settle();
  EXPECT_EQ(metrics().requests_received, 2u);
  EXPECT_EQ(metrics().bytes_in, 7u);
  EXPECT_EQ(metrics().last_request_at_ms, 1'000'015);
  EXPECT_EQ(metrics().requests_processed, 1u);
  EXPECT_EQ(metrics().bytes_out, 3u);
  EXPECT_EQ(metrics().total_duration, milliseconds(10));
}

TEST_F(RegistrationMetricsTest, Failure_AddsOnlyToFailed) {
  gateway.listen();
  run(make_connector(
      "fails",
      [](boost::json::value, std::optional<std::string>) -> boost::asio::awaitable<Result<boost::json::value>> {
        co_return Error(errc::handler_failed, "no");
      }));
  gateway.execute(gateway.last(), "a", "[1]");
  gateway.execute(gateway.last(), "b", "not JSON");
  world.settle();
  EXPECT_EQ(metrics().requests_received, 2u) << "before decoding";
  EXPECT_EQ(metrics().bytes_in, 11u);
  EXPECT_EQ(metrics().requests_failed, 2u);
  EXPECT_EQ(metrics().requests_processed, 0u);
  EXPECT_EQ(metrics().bytes_out, 0u);
  EXPECT_EQ(metrics().total_duration, Duration::zero());
}

TEST_F(RegistrationMetricsTest, AnswerThatLostItsStream_IsAFailure) {
  auto held = std::make_shared<HeldConnector>();
  held->ignore_cancellation = true;
  gateway.listen();
  run(held);
  gateway.execute(gateway.last(), "a");
  world.settle();
  gateway.last().link->cancel(Error(errc::stream_failed, "x"));
  world.settle();
  held->release_for_good();
  world.settle();
  EXPECT_EQ(metrics().requests_failed, 1u);
  EXPECT_EQ(metrics().requests_processed, 0u);
}

TEST_F(RegistrationMetricsTest, AnswerTooLarge_IsAFailure) {
  options.limits.max_outbound_bytes = 2'000;
  gateway.listen();
  run(echo());
  gateway.execute(gateway.last(), "a", '"' + std::string(3'000, 'x') + '"');
  world.settle();
  EXPECT_EQ(metrics().requests_failed, 1u);
  EXPECT_EQ(metrics().bytes_out, 0u);
}

TEST_F(RegistrationMetricsTest, Connections_AreCountedAndTimed) {
  run(echo());
  EXPECT_EQ(metrics().reconnection_attempts, 1u) << "each wait";
  EXPECT_EQ(metrics().current_backoff_ms, 500u);
  EXPECT_EQ(metrics().total_disconnects, 0u) << "it never was connected";
  world.advance(milliseconds(500));
  EXPECT_EQ(metrics().reconnection_attempts, 2u);
  EXPECT_EQ(metrics().current_backoff_ms, 1'000u);
  gateway.listen();
  world.advance(milliseconds(1'000));
  EXPECT_EQ(metrics().last_connected_at_ms, 1'001'500);
  EXPECT_EQ(metrics().current_backoff_ms, 0u);
  EXPECT_EQ(metrics().successful_reconnects, 0u) << "the first";
  world.advance(milliseconds(100));
  gateway.last().link->finish();
  world.settle();
  EXPECT_EQ(metrics().total_disconnects, 1u);
  EXPECT_EQ(metrics().last_disconnected_at_ms, 1'001'600);
  EXPECT_EQ(metrics().last_disconnect_reason, "server-closed");
  EXPECT_EQ(metrics().current_backoff_ms, 2'000u) << "only the text went to 0, the attempts did not";
  EXPECT_EQ(metrics().reconnection_attempts, 3u);
  world.advance(milliseconds(2'000));
  EXPECT_EQ(metrics().successful_reconnects, 1u);
  EXPECT_EQ(metrics().last_connected_at_ms, 1'003'600);
  // Reference: a clean shutdown counts as a disconnect.
  shutdown();
  EXPECT_EQ(metrics().total_disconnects, 2u);
  EXPECT_EQ(metrics().last_disconnect_reason, "shutdown");
}

TEST_F(RegistrationMetricsTest, YesInStream_MovesLastConnected) {
  gateway.listen();
  run(echo());
  world.advance(seconds(5));
  gateway.send(gateway.last(), test::ScriptGateway::yes({}));
  world.settle();
  EXPECT_EQ(metrics().last_connected_at_ms, 1'005'000);
  EXPECT_EQ(metrics().successful_reconnects, 0u);
}

TEST_F(RegistrationMetricsTest, Reasons_AreTheExactTexts) {
  gateway.listen();
  run(echo());
  gateway.last().link->cancel(Error(errc::stream_failed, "x"));
  world.settle();
  EXPECT_EQ(metrics().last_disconnect_reason, "stream-error");
  world.advance(milliseconds(500));
  gateway.answer_heartbeats = false;
  world.advance(seconds(45) + Duration(1));
  EXPECT_EQ(metrics().last_disconnect_reason, "heartbeat-timeout");
}

TEST_F(RegistrationMetricsTest, Observer_IsExactAndMayOutliveTheBus) {
  gateway.listen();
  run(echo());
  for (int i = 0; i < 500; ++i)
    gateway.execute(gateway.last(), std::to_string(i));
  world.settle();
  EXPECT_EQ(metrics().requests_processed, 500u);
  EXPECT_EQ(sut->stats().lagged, 0u);
  EXPECT_TRUE(sut->stats().balanced());
  shutdown();
  expect_nothing_left();

  std::optional<SharingBus> bus(std::in_place);
  RegistrationMetricsObserver survivor(*bus);
  const Uuid uid = random_uuid();
  survivor.watch(uid);
  bus.reset();
  EXPECT_EQ(survivor.metrics(uid).requests_received, 0u);
}

}  // namespace
}  // namespace sharingbus::connector

// Deadlines of requests (protocol-connector §8.2, 15: "no per-request deadline, cancellation or stale-request drop").
#include <memory>
#include <string>
#include <utility>

#include <gtest/gtest.h>

#include "tests/connector/registration/runner_world.hpp"

namespace sharingbus::connector {
namespace {

namespace messages = transport::messages;
using test::echo;
using test::HeldConnector;
using test::milliseconds;
using test::seconds;

class ExecuteDeadlineTest : public test::RunnerTest {
 protected:
  void run_held() {
    gateway.listen();
    run(held);
  }
  void execute(std::string id, std::string timeout_ms = "") {
    messages::ExecuteRequest request;
    request.request_id = std::move(id);
    request.payload = "{}";
    request.payload_encoding = PayloadEncoding::json;
    if (!timeout_ms.empty()) request.context["timeout_ms"] = std::move(timeout_ms);
    gateway.send(gateway.last(), request);
    world.settle();
  }
  std::string error_of(const std::string& id) {
    const auto* answer = gateway.last().answer(id);
    return answer == nullptr ? "(no answer)" : answer->error;
  }

  std::shared_ptr<HeldConnector> held = std::make_shared<HeldConnector>();
};

TEST_F(ExecuteDeadlineTest, None_WaitsForEver) {
  run_held();
  execute("r");
  world.advance(std::chrono::hours(10));
  EXPECT_EQ(error_of("r"), "(no answer)");
}

TEST_F(ExecuteDeadlineTest, OfTheOption_CancelsTheHandlerAndAnswersAtOnce) {
  options.request_timeout = seconds(3);
  run_held();
  execute("r");
  world.advance(seconds(3) - Duration(1));
  EXPECT_EQ(error_of("r"), "(no answer)");
  world.advance(Duration(1));
  EXPECT_EQ(error_of("r"), "Timeout: the handler took too long");
  EXPECT_EQ(gateway.last().answer("r")->duration_ms, 3'000);
  EXPECT_EQ(held->cancelled, 1u);
  EXPECT_EQ(held->running, 0u);
  shutdown();
  expect_nothing_left();
}

TEST_F(ExecuteDeadlineTest, OfTheContext_CountsBeforeTheOption) {
  options.request_timeout = seconds(3);
  run_held();
  execute("short", "500");
  execute("long", "10000");
  world.advance(milliseconds(500));
  EXPECT_EQ(error_of("short"), "Timeout: the handler took too long");
  world.advance(seconds(9));
  EXPECT_EQ(error_of("long"), "(no answer)");
  world.advance(seconds(1));
  EXPECT_EQ(error_of("long"), "Timeout: the handler took too long");
}

TEST_F(ExecuteDeadlineTest, ContextThatIsNoNumber_IsRefusedByName) {
  run_held();
  for (const char* bad : {"0", "-1", "abc", "1.5", "1s", " 1"}) {
    execute(bad, bad);
    EXPECT_EQ(error_of(bad), "Invalid configuration: context timeout_ms is not a number above 0");
  }
  execute("huge", "99999999999999999999999999");
  world.advance(std::chrono::hours(24));
  EXPECT_EQ(error_of("huge"), "(no answer)");
  EXPECT_EQ(held->called, 1u);
}

TEST_F(ExecuteDeadlineTest, StaleRequestInTheLine_IsDroppedUnrun) {
  options.max_concurrent_requests = 1;
  run_held();
  execute("runs");
  execute("stale", "1000");
  execute("waits");
  world.advance(seconds(1));
  EXPECT_EQ(error_of("stale"), "Timeout: the deadline passed before the request's turn");
  held->release_for_good();
  world.settle();
  EXPECT_EQ(held->called, 2u) << "never the stale one";
  EXPECT_EQ(error_of("waits"), "");
}

TEST_F(ExecuteDeadlineTest, LateAnswer_IsDroppedAndCounted) {
  options.max_concurrent_requests = 1;
  held->ignore_cancellation = true;
  RegistrationMetricsObserver metrics(world.bus);
  run_held();
  metrics.watch(runner->uid());
  execute("slow", "1000");
  world.advance(seconds(1));
  EXPECT_EQ(error_of("slow"), "Timeout: the handler took too long");
  execute("next");
  EXPECT_EQ(held->called, 1u) << "its permit is still taken";
  world.advance(seconds(4));
  held->release_for_good();
  world.settle();
  EXPECT_EQ(gateway.last().answers.size(), 2u) << "one answer each";
  EXPECT_EQ(error_of("next"), "");
  ASSERT_EQ(world.all<ExecuteLate>().size(), 1u);
  EXPECT_EQ(world.all<ExecuteLate>()[0].request_id, "slow");
  EXPECT_EQ(world.all<ExecuteLate>()[0].duration, seconds(5));
  const RegistrationMetrics m = metrics.metrics(runner->uid());
  EXPECT_EQ(m.late_answers, 1u);
  EXPECT_EQ(m.requests_failed, 1u);
  EXPECT_EQ(m.requests_processed, 1u);
  shutdown();
  expect_nothing_left();
}

// Handlers that never end hold their places; the stream is read no further, and goes on once they are back.
TEST_F(ExecuteDeadlineTest, HandlersThatIgnoreIt_KeepTheirPlacesAndNothingIsLost) {
  options.max_concurrent_requests = 2;
  options.max_waiting_requests = 2;
  options.request_timeout = seconds(1);
  held->ignore_cancellation = true;
  run_held();
  for (int i = 0; i < 20; ++i)
    gateway.execute(gateway.last(), std::to_string(i));
  world.advance(seconds(60));
  EXPECT_EQ(held->running, 2u);
  held->release_for_good();
  world.advance(seconds(60));
  EXPECT_EQ(gateway.last().answers.size(), 20u);
  shutdown();
  expect_nothing_left();
}

TEST_F(ExecuteDeadlineTest, ManyWithDeadlines_ArmOneTimer) {
  options.request_timeout = seconds(30);
  run_held();
  const std::size_t before = world.timers.pending();
  for (int i = 0; i < 500; ++i)
    gateway.execute(gateway.last(), std::to_string(i));
  world.settle();
  EXPECT_EQ(world.timers.pending(), before);
}

TEST_F(ExecuteDeadlineTest, StreamLostWithDeadlinesArmed_LeavesNoTimer) {
  options.request_timeout = seconds(30);
  run_held();
  execute("r");
  gateway.last().link->cancel(Error(errc::stream_failed, "x"));
  world.advance(seconds(1));
  shutdown();
  expect_nothing_left();
}

}  // namespace
}  // namespace sharingbus::connector

#include "connector/registration/execute_pool.hpp"

#include <algorithm>
#include <chrono>
#include <functional>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/strand.hpp>
#include <boost/json/parse.hpp>
#include <gtest/gtest.h>

#include "tests/connector/registration/test_connectors.hpp"
#include "tests/support/manual_clock.hpp"
#include "tests/support/watchdog.hpp"

namespace sharingbus::connector {
namespace {

namespace asio = boost::asio;
namespace json = boost::json;
namespace messages = transport::messages;
using test::HeldConnector;

constexpr ExecutePool::StreamId kStream = 1;
constexpr ExecutePool::StreamId kOther = 2;

using Answer = asio::awaitable<Result<json::value>>;

messages::ExecuteRequest make_request(std::string id, std::string payload = "{}") {
  messages::ExecuteRequest made;
  made.request_id = std::move(id);
  made.payload = std::move(payload);
  made.payload_encoding = PayloadEncoding::json;
  return made;
}

/// A pool, its owner's executor run by hand, and what its hooks were told.
class ExecutePoolTest : public ::testing::Test {
 protected:
  void make(std::shared_ptr<Connector> connector, ExecutePool::Limits limits = {}) {
    ExecutePool::Hooks hooks;
    hooks.started = [this](const std::string& id, std::size_t bytes) {
      started.push_back(id);
      bytes_in += bytes;
    };
    hooks.finished = [this](ExecutePool::StreamId, messages::ExecuteResponse response, Duration duration,
                            bool is_answerable) {
      durations.push_back(duration);
      answerable.push_back(is_answerable);
      answers.push_back(std::move(response));
      if (on_finished) on_finished();
    };
    hooks.late = [this](const std::string&, Duration) { ++freed; };
    sut = std::make_shared<ExecutePool>(io.get_executor(), io.get_executor(), std::move(connector), limits, clock,
                                        std::move(hooks));
  }
  void settle() {
    io.restart();
    io.poll();
  }
  std::vector<std::string> answered() const {
    std::vector<std::string> ids;
    for (const auto& answer : answers)
      ids.push_back(answer.request_id);
    return ids;
  }
  /// The one answer of a connector that does `handler`.
  messages::ExecuteResponse run_one(Handler handler, messages::ExecuteRequest one = make_request("r")) {
    make(make_connector("t", std::move(handler)));
    sut->submit(std::move(one), kStream);
    settle();
    EXPECT_EQ(answers.size(), 1u);
    return answers.empty() ? messages::ExecuteResponse{} : answers.back();
  }
  static void expect_failure(const messages::ExecuteResponse& response, const std::string& text) {
    EXPECT_FALSE(response.success);
    EXPECT_EQ(response.error, text);
    EXPECT_EQ(response.payload_encoding, PayloadEncoding::json);
    EXPECT_EQ(json::parse(response.payload), (json::object{{"error", text}, {"success", false}}));
  }

  asio::io_context io;
  test::ManualTimerService clock;
  std::shared_ptr<ExecutePool> sut;
  std::vector<std::string> started;
  std::size_t bytes_in = 0;
  std::vector<messages::ExecuteResponse> answers;
  std::vector<Duration> durations;
  std::vector<bool> answerable;
  int freed = 0;
  std::function<void()> on_finished;
};

TEST_F(ExecutePoolTest, Success_AnswersJsonWithIdAndDuration) {
  auto held = std::make_shared<HeldConnector>();
  make(held);
  sut->submit(make_request("r1", R"({"a":1})"), kStream);
  settle();
  clock.advance(std::chrono::microseconds(2'900));
  held->release();
  settle();
  ASSERT_EQ(answers.size(), 1u);
  EXPECT_EQ(answers[0], (messages::ExecuteResponse{.request_id = "r1",
                                                   .success = true,
                                                   .payload = R"({"a":1})",
                                                   .payload_encoding = PayloadEncoding::json,
                                                   .error = "",
                                                   .duration_ms = 2}));
  EXPECT_EQ(durations[0], std::chrono::microseconds(2'900));
  EXPECT_TRUE(answerable[0]);
  EXPECT_EQ(bytes_in, 7u);
}

// Handlers may block, and the owner's strand is shared by many registrations.
TEST_F(ExecutePoolTest, Handler_DoesNotBeginOnTheOwner) {
  bool begun = false;
  make(make_connector("t", [&](json::value, std::optional<std::string>) -> Answer {
    begun = true;
    co_return json::value();
  }));
  asio::post(io, [&] {
    sut->submit(make_request("r"), kStream);
    EXPECT_FALSE(begun);
  });
  settle();
  EXPECT_TRUE(begun);
  EXPECT_EQ(answers.size(), 1u);
}

TEST_F(ExecutePoolTest, Handler_OfAConnectorThatNeverBlocks_BeginsAtOnce) {
  struct Quick final : Connector {
    explicit Quick(bool& begun_flag) : begun(begun_flag) {}
    [[nodiscard]] std::string connector_type() const override { return "t"; }
    [[nodiscard]] bool may_block() const override { return false; }
    asio::awaitable<Result<Payload>> execute_payload(Payload payload, std::optional<std::string>, Context) override {
      begun = true;
      co_return payload;
    }
    bool& begun;
  };
  bool begun = false;
  make(std::make_shared<Quick>(begun));
  // By a thread that is none of the executor's, as a transport's may be.
  sut->submit(make_request("r"), kStream);
  EXPECT_TRUE(begun);
  EXPECT_EQ(answers.size(), 0u) << "never from within submit";
  settle();
  EXPECT_EQ(answers.size(), 1u);
}

TEST_F(ExecutePoolTest, BeyondTheLimit_WaitsInOrder) {
  auto held = std::make_shared<HeldConnector>();
  make(held, {.running = 2, .waiting = 10});
  for (int i = 0; i < 6; ++i)
    sut->submit(make_request(std::to_string(i)), kStream);
  settle();
  EXPECT_EQ(started, (std::vector<std::string>{"0", "1"})) << "the permit comes first";
  EXPECT_EQ(sut->in_flight(kStream), 6u);
  EXPECT_EQ(sut->running(), 2u);
  while (answers.size() < 6) {
    const std::size_t before = answers.size();
    held->release(1);
    settle();
    ASSERT_EQ(answers.size(), before + 1);
  }
  EXPECT_EQ(started, (std::vector<std::string>{"0", "1", "2", "3", "4", "5"}));
  EXPECT_EQ(answered(), started);
  EXPECT_EQ(held->most_running, 2u);
  EXPECT_EQ(sut->in_flight(kStream), 0u);
}

TEST_F(ExecutePoolTest, InFlight_CountsRunningAndWaitingOfEachStream) {
  auto held = std::make_shared<HeldConnector>();
  make(held, {.running = 2, .waiting = 3});
  EXPECT_EQ(sut->capacity(), 5u);
  for (int i = 0; i < 5; ++i)
    sut->submit(make_request(std::to_string(i)), i % 2 == 0 ? kStream : kOther);
  EXPECT_EQ(sut->in_flight(kStream), 3u);
  EXPECT_EQ(sut->in_flight(kOther), 2u);
  settle();
  held->release(1);
  settle();
  EXPECT_EQ(sut->in_flight(kStream), 2u);
  sut->cancel(kOther, false);
  EXPECT_EQ(sut->in_flight(kOther), 0u);
  EXPECT_EQ(sut->lingering(), 1u) << "cancelled, but it has not returned";
  EXPECT_EQ(sut->in_flight(kStream), 2u) << "the other stream's end is nothing to this one";
  settle();
  EXPECT_EQ(sut->lingering(), 0u);
  held->release_for_good();
  settle();
  EXPECT_EQ(sut->in_flight(kStream), 0u);
}

TEST_F(ExecutePoolTest, FullLine_IsRefusedAtOnce) {
  auto held = std::make_shared<HeldConnector>();
  make(held, {.running = 1, .waiting = 1});
  for (const char* id : {"a", "b", "c"})
    sut->submit(make_request(id), kStream);
  ASSERT_EQ(answered(), std::vector<std::string>{"c"});
  expect_failure(answers[0], "Invoke failed: too many requests are waiting");
  held->release_for_good();
  settle();
  EXPECT_EQ(answered(), (std::vector<std::string>{"c", "a", "b"}));
}

TEST_F(ExecutePoolTest, HandlerThrowsAnException_IsAFailedAnswer) {
  expect_failure(run_one([](json::value, std::optional<std::string>) -> Answer {
                   throw std::runtime_error("boom");
                   co_return json::value();
                 }),
                 "Invoke failed: handler threw: boom");
}

TEST_F(ExecutePoolTest, HandlerThrowsSomethingElse_IsAFailedAnswer) {
  expect_failure(run_one([](json::value, std::optional<std::string>) -> Answer {
                   throw 42;
                   co_return json::value();
                 }),
                 "Invoke failed: handler threw something that is no std::exception");
}

TEST_F(ExecutePoolTest, HandlerThrowsBeforeItsCoroutineBegins_IsAFailedAnswer) {
  expect_failure(
      run_one([](json::value, std::optional<std::string>) -> Answer { throw std::logic_error("no coroutine"); }),
      "Invoke failed: handler threw: no coroutine");
}

TEST_F(ExecutePoolTest, HandlerReturnsAnError_IsAFailedAnswer) {
  expect_failure(run_one([](json::value, std::optional<std::string>) -> Answer {
                   co_return Error(errc::invalid_argument, "bad a");
                 }),
                 "Invalid configuration: bad a");
}

TEST_F(ExecutePoolTest, ErrorTextThatIsNotUtf8_IsRepaired) {
  expect_failure(run_one([](json::value, std::optional<std::string>) -> Answer {
                   throw std::runtime_error("caf\xe9!");
                   co_return json::value();
                 }),
                 "Invoke failed: handler threw: caf\xef\xbf\xbd!");
}

TEST_F(ExecutePoolTest, PayloadThatDoesNotDecode_NeverReachesTheHandler) {
  auto held = std::make_shared<HeldConnector>();
  make(held);
  sut->submit(make_request("bad", "{"), kStream);
  settle();
  ASSERT_EQ(answers.size(), 1u);
  EXPECT_FALSE(answers[0].success);
  EXPECT_EQ(answers[0].error.rfind("Deserialization error: payload is not JSON: ", 0), 0u) << answers[0].error;
  EXPECT_EQ(held->called, 0u);
  EXPECT_EQ(started.size(), 1u) << "it is received all the same";
}

TEST_F(ExecutePoolTest, ResultThatDoesNotEncode_IsAFailedAnswer) {
  expect_failure(run_one([](json::value, std::optional<std::string>) -> Answer { co_return json::value("\xff"); }),
                 "Serialization error: result is not JSON: a text is not UTF-8");
}

TEST_F(ExecutePoolTest, UnsupportedEncoding_IsAFailedAnswer) {
  auto one = make_request("r");
  one.payload_encoding = PayloadEncoding::unspecified;
  expect_failure(run_one([](json::value v, std::optional<std::string>) -> Answer { co_return v; }, std::move(one)),
                 "Unsupported encoding: Encoding Unspecified not yet implemented");
}

TEST_F(ExecutePoolTest, ShortForm_GetsPayloadAndCapability) {
  std::vector<std::optional<std::string>> capabilities;
  const Handler handler = [&](json::value value, std::optional<std::string> capability) -> Answer {
    capabilities.push_back(capability);
    co_return value;
  };
  make(make_connector("t", handler));
  auto with = make_request("1");
  with.capability_id = "add";
  sut->submit(std::move(with), kStream);
  sut->submit(make_request("2"), kStream);
  settle();
  EXPECT_EQ(capabilities, (std::vector<std::optional<std::string>>{"add", std::nullopt})) << "empty means none";
}

struct LongForm : Connector {
  std::string connector_type() const override { return "long"; }
  Answer execute_with_context(json::value, std::optional<std::string>, Context given) override {
    context = std::move(given);
    co_return json::value("long");
  }
  Context context;
};

// Reference case: the context map reaches the long form.
TEST_F(ExecutePoolTest, LongForm_GetsTheContext) {
  auto connector = std::make_shared<LongForm>();
  make(connector);
  auto one = make_request("r");
  one.context = {{"user_id", "u"}, {"tenant_id", "t"}};
  sut->submit(std::move(one), kStream);
  settle();
  EXPECT_EQ(connector->context, (Context{{"user_id", "u"}, {"tenant_id", "t"}}));
  EXPECT_EQ(answers.at(0).payload, "\"long\"");
}

struct RawForm : Connector {
  std::string connector_type() const override { return "raw"; }
  asio::awaitable<Result<Payload>> execute_payload(Payload payload, std::optional<std::string>, Context) override {
    co_return Payload{PayloadEncoding::msgpack, payload.bytes + "!"};
  }
};

TEST_F(ExecutePoolTest, RawForm_GetsAndGivesAnyEncoding) {
  make(std::make_shared<RawForm>());
  auto one = make_request("r", "\x81");
  one.payload_encoding = PayloadEncoding::msgpack;
  sut->submit(std::move(one), kStream);
  settle();
  EXPECT_EQ(answers.at(0).payload, "\x81!");
  EXPECT_EQ(answers.at(0).payload_encoding, PayloadEncoding::msgpack);
}

struct Formless : Connector {
  std::string connector_type() const override { return "formless"; }
};

TEST_F(ExecutePoolTest, NoFormImplemented_IsAFailedAnswer) {
  make(std::make_shared<Formless>());
  sut->submit(make_request("r"), kStream);
  settle();
  expect_failure(answers.at(0), "Invoke failed: the connector implements no execute");
}

TEST_F(ExecutePoolTest, Drain_AnswersWhatWaitsAndLetsTheRestFinish) {
  auto held = std::make_shared<HeldConnector>();
  make(held, {.running = 1, .waiting = 5});
  for (const char* id : {"a", "b", "c"})
    sut->submit(make_request(id), kStream);
  settle();
  sut->drain(kStream);
  EXPECT_EQ(answered(), (std::vector<std::string>{"b", "c"}));
  expect_failure(answers[0], "Connector not running: the connector is shutting down");
  sut->submit(make_request("d"), kStream);
  EXPECT_EQ(answered().back(), "d");
  EXPECT_EQ(sut->in_flight(kStream), 1u);
  held->release();
  settle();
  EXPECT_EQ(answered().back(), "a");
  EXPECT_TRUE(answers.back().success);
  EXPECT_EQ(sut->in_flight(kStream), 0u);
}

TEST_F(ExecutePoolTest, CancelAtTheEndOfTheDrain_AnswersEachOnce) {
  auto held = std::make_shared<HeldConnector>();
  make(held, {.running = 2, .waiting = 5});
  for (const char* id : {"a", "b", "c"})
    sut->submit(make_request(id), kStream);
  settle();
  sut->drain(kStream);
  sut->cancel(kStream, true);
  EXPECT_EQ(answers.size(), 3u);
  expect_failure(answers.back(), "Connector not running: cancelled at the end of the drain");
  EXPECT_EQ(sut->in_flight(kStream), 0u);
  EXPECT_EQ(sut->running(), 2u) << "they have not returned yet";
  settle();
  EXPECT_EQ(held->cancelled, 2u);
  EXPECT_EQ(sut->running(), 0u);
  EXPECT_EQ(freed, 2);
  EXPECT_EQ(answers.size(), 3u);
}

TEST_F(ExecutePoolTest, StreamGoneAtTheFirstOfSeveralTimeouts_TheOthersAreLetGoOnce) {
  auto held = std::make_shared<HeldConnector>();
  make(held);
  for (const char* id : {"r1", "r2", "r3"}) {
    auto one = make_request(id);
    one.context["timeout_ms"] = "1000";
    sut->submit(std::move(one), kStream);
  }
  auto other = make_request("o1");
  other.context["timeout_ms"] = "5000";
  sut->submit(std::move(other), kOther);
  settle();
  on_finished = [this] { sut->cancel(kStream, false); };
  clock.advance(std::chrono::seconds(1));
  sut->expire();
  EXPECT_EQ(answered(), std::vector<std::string>{"r1"});
  EXPECT_EQ(sut->in_flight(kStream), 0u);
  EXPECT_EQ(sut->in_flight(kOther), 1u);
  EXPECT_EQ(sut->lingering(), 3u);
  EXPECT_EQ(sut->next_deadline(), clock.now() + std::chrono::seconds(4));
  on_finished = nullptr;
  held->release();
  settle();
  ASSERT_EQ(answers.size(), 4u);
  for (std::size_t i = 0; i < answers.size(); ++i)
    EXPECT_EQ(answerable[i], answers[i].request_id == "r1" || answers[i].request_id == "o1") << answers[i].request_id;
  EXPECT_EQ(sut->running(), 0u);
  EXPECT_EQ(sut->lingering(), 0u);
}

TEST_F(ExecutePoolTest, CancelWithoutTheStream_ForgetsWhatWaitsAndAnswersNothing) {
  auto held = std::make_shared<HeldConnector>();
  make(held, {.running = 1, .waiting = 5});
  for (const char* id : {"a", "b"})
    sut->submit(make_request(id), kStream);
  settle();
  sut->cancel(kStream, false);
  sut->cancel(kStream, false);
  EXPECT_TRUE(answers.empty());
  EXPECT_EQ(sut->in_flight(kStream), 0u);
  settle();
  ASSERT_EQ(answered(), std::vector<std::string>{"a"});
  EXPECT_FALSE(answerable[0]);
  EXPECT_EQ(started, std::vector<std::string>{"a"});
}

TEST_F(ExecutePoolTest, HandlerThatIgnoresCancellation_KeepsItsPermitIntoTheNextStream) {
  auto held = std::make_shared<HeldConnector>();
  held->ignore_cancellation = true;
  make(held, {.running = 1, .waiting = 5});
  sut->submit(make_request("old"), kStream);
  settle();
  sut->cancel(kStream, false);
  settle();
  EXPECT_EQ(sut->running(), 1u);
  EXPECT_EQ(sut->lingering(), 1u);
  sut->submit(make_request("new"), kOther);
  EXPECT_EQ(sut->in_flight(kStream), 0u);
  EXPECT_EQ(sut->in_flight(kOther), 1u) << "of the present stream";
  EXPECT_EQ(started, std::vector<std::string>{"old"});
  held->release_for_good();
  settle();
  EXPECT_EQ(answered(), (std::vector<std::string>{"old", "new"}));
  EXPECT_EQ(answerable, (std::vector<bool>{false, true}));
}

TEST_F(ExecutePoolTest, HandlerExecutor_MayBeAnother) {
  const test::Watchdog watchdog("handlers on another executor");
  asio::io_context handlers;
  auto work = asio::make_work_guard(handlers);
  std::vector<std::thread> threads;
  for (int i = 0; i < 3; ++i)
    threads.emplace_back([&] { handlers.run(); });
  const auto owner_thread = std::this_thread::get_id();
  std::atomic<int> elsewhere{0};
  const auto connector = make_connector("t", [&](json::value value, std::optional<std::string>) -> Answer {
    if (std::this_thread::get_id() != owner_thread) ++elsewhere;
    co_return value;
  });
  int finished = 0;
  bool at_home = true;
  auto io_work = asio::make_work_guard(io);
  ExecutePool::Hooks hooks;
  hooks.started = [](const std::string&, std::size_t) {};
  hooks.late = [](const std::string&, Duration) {};
  hooks.finished = [&](ExecutePool::StreamId, messages::ExecuteResponse response, Duration, bool) {
    at_home = at_home && std::this_thread::get_id() == owner_thread && response.success;
    if (++finished == 1'000) io_work.reset();
  };
  sut = std::make_shared<ExecutePool>(io.get_executor(), handlers.get_executor(), connector,
                                      ExecutePool::Limits{.running = 8, .waiting = 1'000}, clock, std::move(hooks));
  for (int i = 0; i < 1'000; ++i)
    sut->submit(make_request(std::to_string(i)), kStream);
  io.run();
  EXPECT_EQ(finished, 1'000);
  EXPECT_TRUE(at_home) << "hooks run on the owner";
  EXPECT_EQ(elsewhere, 1'000);
  work.reset();
  for (auto& thread : threads)
    thread.join();
}

// Cancelling races with handlers that finish: each request is finished exactly once, and nothing hangs.
TEST_F(ExecutePoolTest, CancelWhileHandlersFinish_FinishesEachOnce) {
  const test::Watchdog watchdog("cancel while handlers finish");
  for (int round = 0; round < 50; ++round) {
    asio::io_context handlers;
    auto work = asio::make_work_guard(handlers);
    std::thread first([&] { handlers.run(); });
    std::thread second([&] { handlers.run(); });
    auto held = std::make_shared<HeldConnector>();
    answers.clear();
    freed = 0;
    io.restart();
    make(held, {.running = 16, .waiting = 16});
    ExecutePool::Hooks hooks;
    std::size_t finished = 0;
    std::size_t returned = 0;
    auto io_work = asio::make_work_guard(io);
    const auto done = [&] {
      if (sut->running() == 0 && finished >= 16) io_work.reset();
    };
    hooks.started = [](const std::string&, std::size_t) {};
    hooks.late = [&](const std::string&, Duration) { ++returned, done(); };
    hooks.finished = [&](ExecutePool::StreamId, messages::ExecuteResponse, Duration, bool) { ++finished, done(); };
    sut = std::make_shared<ExecutePool>(io.get_executor(), handlers.get_executor(), held,
                                        ExecutePool::Limits{.running = 16, .waiting = 16}, clock, std::move(hooks));
    for (int i = 0; i < 16; ++i)
      sut->submit(make_request(std::to_string(i)), kStream);
    std::thread releaser([&] { held->release_for_good(); });
    asio::post(io, [&] { sut->cancel(kStream, round % 2 == 0); });
    io.run();
    EXPECT_EQ(finished, 16u);
    EXPECT_EQ(sut->running(), 0u);
    EXPECT_LE(returned, 16u);
    releaser.join();
    work.reset();
    first.join();
    second.join();
  }
}

}  // namespace
}  // namespace sharingbus::connector

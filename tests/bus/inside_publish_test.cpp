// O: callback groups whose callbacks run inside `publish` (CallbackGroupOptions::inside_publish).
#include <cstdint>
#include <functional>
#include <future>
#include <thread>
#include <utility>
#include <vector>

#include <boost/asio/bind_executor.hpp>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <gtest/gtest.h>

#include "bus/async.hpp"
#include "tests/bus/stream_text.hpp"
#include "tests/bus/test_events.hpp"
#include "tests/support/bus_oracle.hpp"
#include "tests/support/watchdog.hpp"

namespace sharingbus {
namespace {

using namespace test;
namespace asio = boost::asio;

/// A group whose callbacks run inside `publish`; members that want everything have queues, the others an inbox.
class InsidePublish : public ::testing::TestWithParam<bool> {
 protected:
  InsidePublish() : bus_(options()), group_(bus_, context_.get_executor(), {.inside_publish = true}) {}
  static BusOptions options() {
    BusOptions options;
    options.log = nullptr;
    return options;
  }
  static SubscriptionOptions wants() {
    return GetParam() ? named("all") : named("kind", Filter::kind(EventKind::request));
  }
  static Routing routing() { return routing_of(EventKind::request); }
  /// Runs `handler` on the executor.
  void on_executor(std::function<void()> handler) {
    asio::post(context_, std::move(handler));
    context_.restart();
    context_.poll();
  }

  asio::io_context context_;
  SharingBus bus_;
  CallbackGroup group_;
};
INSTANTIATE_TEST_SUITE_P(QueueOrInbox, InsidePublish, ::testing::Bool());

TEST_P(InsidePublish, OnItsExecutor_CallsBackBeforeItReturns) {
  StreamText stream;
  auto sut = group_.subscribe(wants(), [&](const Received& next) { stream.add(next); });
  on_executor([&] {
    publish_notes(bus_, 1, 1, routing());
    EXPECT_EQ(stream.text(), "1");
    publish_notes(bus_, 2, 3, routing());
    EXPECT_EQ(stream.text(), "1 2 3");
  });
  EXPECT_TRUE(check_balanced(bus_));
}

TEST_P(InsidePublish, OnAnotherThread_CallsBackOnTheExecutor) {
  StreamText stream;
  auto sut = group_.subscribe(wants(), [&](const Received& next) { stream.add(next); });
  context_.poll();
  publish_notes(bus_, 1, 2, routing());
  EXPECT_EQ(stream.text(), "");
  context_.restart();
  context_.poll();
  EXPECT_EQ(stream.text(), "1 2");
}

TEST_P(InsidePublish, WhatACallbackPublishes_ComesAfterItAndNotInsideIt) {
  StreamText stream;
  int depth = 0;
  auto sut = group_.subscribe(wants(), [&](const Received& next) {
    EXPECT_EQ(++depth, 1);
    stream.add(next);
    if (next.event() != nullptr && value_of(next) < 4)
      publish_notes(bus_, value_of(next) + 1, value_of(next) + 1, routing());
    --depth;
  });
  on_executor([&] { publish_notes(bus_, 1, 1, routing()); });
  context_.restart();
  context_.poll();
  EXPECT_EQ(stream.text(), "1 2 3 4");
  EXPECT_TRUE(check_balanced(bus_));
}

TEST_P(InsidePublish, OtherCallsThatDispatch_DoNotCallBack) {
  StreamText stream;
  auto sut = group_.subscribe(wants(), [&](const Received& next) { stream.add(next); });
  context_.poll();
  BusOptions manual = options();
  manual.engine = Engine::manual;
  SharingBus bus(std::move(manual));
  CallbackGroup group(bus, context_.get_executor(), {.inside_publish = true});
  auto other = group.subscribe(wants(), [&](const Received& next) { stream.add(next); });
  on_executor([&] {
    publish_notes(bus, 1, 1, routing());
    bus.flush();
    const Subscription later = bus_.subscribe_all();
    bus_.flush();
    EXPECT_EQ(stream.text(), "");
  });
  EXPECT_EQ(stream.text(), "1");
}

/// Something to wait behind: a queue for one event, full, and an `async_publish`.
class InsidePublishOfWaiting : public InsidePublish {
 protected:
  void fill() {
    SubscriptionOptions options = named("full", Filter::all(), 1);
    options.overflow = Overflow::backpressure;
    full_ = bus_.subscribe(std::move(options));
    bus_.publish(note(1));
    async_publish(bus_, note(2, routing()), asio::bind_executor(context_, [](auto, PublishResult) {}));
    context_.restart();
    context_.poll();
    ASSERT_EQ(bus_.snapshot().publish_waiting, 1u);
    sut_ = group_.subscribe(wants(), [&](const Received& next) { stream_.add(next); });
    context_.restart();
    context_.poll();
  }
  Subscription full_;
  StreamText stream_;
  CallbackSubscription sut_;
};
INSTANTIATE_TEST_SUITE_P(QueueOrInbox, InsidePublishOfWaiting, ::testing::Bool());

TEST_P(InsidePublishOfWaiting, AReceiveThatLetsThemIn_DoesNotCallBack) {
  fill();
  on_executor([&] {
    EXPECT_EQ(value_of(full_.try_receive()), 1u);
    EXPECT_EQ(bus_.snapshot().publish_waiting, 0u);
    EXPECT_EQ(stream_.text(), "");
  });
  EXPECT_EQ(stream_.text(), "2");
}

TEST_P(InsidePublishOfWaiting, Close_DoesNotCallBack) {
  fill();
  on_executor([&] {
    bus_.close();
    EXPECT_EQ(bus_.snapshot().publish_waiting, 0u);
    EXPECT_EQ(stream_.text(), "");
  });
  EXPECT_EQ(stream_.text(), "end:bus_closed");
}

// The other bus would wait for what takes its time.
TEST_P(InsidePublish, FromInsideACallbackOfAnotherBus_DoesNotCallBack) {
  StreamText stream;
  auto sut = group_.subscribe(wants(), [&](const Received& next) { stream.add(next); });
  context_.poll();
  SharingBus outer(options());
  auto forwards = outer.subscribe_inline(named("forwards"), [&](const EventRef&) {
    publish_notes(bus_, 1, 1, routing());
    EXPECT_EQ(stream.text(), "");
  });
  on_executor([&] { publish_notes(outer, 0, 0); });
  EXPECT_EQ(stream.text(), "1");
}

TEST_P(InsidePublish, LetGoInsideItsOwnCallback_EndsAtOnce) {
  int calls = 0;
  CallbackSubscription sut;
  sut = group_.subscribe(wants(), [&](const Received&) {
    ++calls;
    sut = {};
  });
  on_executor([&] {
    publish_notes(bus_, 1, 3, routing());
    EXPECT_EQ(calls, 1);
  });
  EXPECT_EQ(calls, 1);
  EXPECT_TRUE(check_balanced(bus_));
}

TEST_P(InsidePublish, PublishersOnAllThreads_NothingIsLostAndOrderHolds) {
  const Watchdog watchdog("InsidePublish.PublishersOnAllThreads");
  constexpr std::uint64_t kEach = 2000;
  std::vector<std::uint64_t> next(3, 0);
  std::uint64_t seen = 0;
  bool in_order = true;
  SubscriptionOptions options = wants();
  options.capacity = 3 * kEach;
  auto sut = group_.subscribe(std::move(options), [&](const Received& received) {
    if (received.event() == nullptr) return;
    const std::uint64_t value = value_of(received);
    in_order = in_order && next[value / kEach]++ == value % kEach;
    ++seen;
  });
  auto work = asio::make_work_guard(context_);
  context_.restart();
  std::thread runner([&] { context_.run(); });
  std::promise<void> posted;
  asio::post(context_, [&] {
    publish_notes(bus_, 0, kEach - 1, routing());
    posted.set_value();
  });
  std::thread first([&] { publish_notes(bus_, kEach, 2 * kEach - 1, routing()); });
  std::thread second([&] { publish_notes(bus_, 2 * kEach, 3 * kEach - 1, routing()); });
  first.join();
  second.join();
  posted.get_future().wait();
  work.reset();
  runner.join();
  EXPECT_EQ(seen, 3 * kEach);
  EXPECT_TRUE(in_order);
  EXPECT_TRUE(check_balanced(bus_));
}

}  // namespace
}  // namespace sharingbus

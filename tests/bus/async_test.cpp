#include "bus/async.hpp"

#include <atomic>
#include <exception>
#include <future>
#include <optional>
#include <stdexcept>
#include <thread>
#include <utility>
#include <vector>

#include <boost/asio/awaitable.hpp>
#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/bind_executor.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/strand.hpp>
#include <boost/asio/thread_pool.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/use_future.hpp>
#include <gtest/gtest.h>

#include "tests/bus/test_events.hpp"
#include "tests/support/bus_oracle.hpp"
#include "tests/support/watchdog.hpp"

namespace sharingbus {
namespace {

using namespace test;
namespace asio = boost::asio;
using boost::system::error_code;

const auto rethrow = [](std::exception_ptr error) {
  if (error) std::rethrow_exception(error);
};

// --- async_receive

asio::awaitable<void> read_to_the_end(Subscription& subscription, std::vector<std::uint64_t>& values, int& gaps,
                                      bool& ended) {
  for (;;) {
    const Received next = co_await async_receive(subscription, asio::use_awaitable);
    if (next.closed() != nullptr) break;
    if (next.gap() != nullptr) {
      ++gaps;
    } else {
      values.push_back(value_of(next));
    }
  }
  ended = true;
}

TEST(AsyncReceive, Coroutine_ReadsEventsGapsAndTheEnd) {
  asio::io_context context;
  SharingBus bus;
  auto sut = bus.subscribe(Filter::all(), 3);
  std::vector<std::uint64_t> values;
  int gaps = 0;
  bool ended = false;
  asio::co_spawn(context, read_to_the_end(sut, values, gaps, ended), rethrow);
  context.poll();
  for (std::uint64_t i = 1; i <= 2; ++i)
    bus.publish(note(i));
  context.poll();
  EXPECT_EQ(values, (std::vector<std::uint64_t>{1, 2}));
  for (std::uint64_t i = 3; i <= 7; ++i)
    bus.publish(note(i));
  context.poll();
  EXPECT_EQ(values, (std::vector<std::uint64_t>{1, 2, 3, 4, 5}));
  EXPECT_EQ(gaps, 1);
  EXPECT_FALSE(ended);
  bus.close();
  context.poll();
  EXPECT_TRUE(ended);
  EXPECT_TRUE(check_balanced(bus));
}

TEST(AsyncReceive, Callback_IsPostedNeverCalledInline) {
  asio::io_context context;
  SharingBus bus;
  auto sut = bus.subscribe_all();
  bus.publish(note(1));
  std::vector<std::uint64_t> values;
  const auto handler = [&](error_code error, const Received& received) {
    EXPECT_FALSE(error);
    values.push_back(value_of(received));
  };
  async_receive(sut, asio::bind_executor(context, handler));
  EXPECT_TRUE(values.empty()) << "something was there already, still it must be posted";
  context.run();
  EXPECT_EQ(values, std::vector<std::uint64_t>{1});
  context.restart();
  async_receive(sut, asio::bind_executor(context, handler));
  context.poll();
  bus.publish(note(2));
  EXPECT_EQ(values.size(), 1u) << "not on the dispatching thread";
  context.run();
  EXPECT_EQ(values, (std::vector<std::uint64_t>{1, 2}));
}

TEST(AsyncReceive, Waiting_KeepsTheContextRunning) {
  const Watchdog watchdog("AsyncReceive.Waiting");
  asio::io_context context;
  SharingBus bus;
  auto sut = bus.subscribe_all();
  std::uint64_t value = 0;
  async_receive(
      sut, asio::bind_executor(context, [&](error_code, const Received& received) { value = value_of(received); }));
  std::thread runner([&] { context.run(); });
  bus.publish(note(7));
  runner.join();
  EXPECT_EQ(value, 7u);
}

TEST(AsyncReceive, Future_IsFulfilled) {
  const Watchdog watchdog("AsyncReceive.Future");
  SharingBus bus;
  auto sut = bus.subscribe_all();
  std::future<Received> ready;
  bus.publish(note(1));
  ready = async_receive(sut, asio::use_future);
  EXPECT_EQ(value_of(ready.get()), 1u);
  std::future<Received> later = async_receive(sut, asio::use_future);
  bus.publish(note(2));
  EXPECT_EQ(value_of(later.get()), 2u);
  std::future<Received> end = async_receive(sut, asio::use_future);
  bus.close();
  const Received last = end.get();
  ASSERT_NE(last.closed(), nullptr);
  EXPECT_EQ(last.closed()->why, CloseReason::bus_closed);
}

class Cancellation : public ::testing::TestWithParam<asio::cancellation_type> {};

TEST_P(Cancellation, WhileWaiting_CompletesAbortedAndLosesNothing) {
  asio::io_context context;
  SharingBus bus;
  auto sut = bus.subscribe_all();
  asio::cancellation_signal signal;
  std::optional<error_code> result;
  const auto start = [&] {
    async_receive(sut, asio::bind_cancellation_slot(
                           signal.slot(), asio::bind_executor(context, [&](error_code error, const Received& received) {
                             result = error;
                             EXPECT_EQ(received.empty(), error.failed());
                           })));
  };
  start();
  context.poll();
  EXPECT_FALSE(result);
  signal.emit(GetParam());
  context.restart();
  context.poll();
  ASSERT_TRUE(result);
  EXPECT_EQ(*result, asio::error::operation_aborted);
  // The subscription is as it was.
  bus.publish(note(1));
  bus.publish(note(2));
  EXPECT_EQ(value_of(sut.try_receive()), 1u);
  result.reset();
  start();
  context.restart();
  context.poll();
  ASSERT_TRUE(result);
  EXPECT_FALSE(*result);
  EXPECT_TRUE(check_balanced(bus));
}

INSTANTIATE_TEST_SUITE_P(AnyType, Cancellation,
                         ::testing::Values(asio::cancellation_type::terminal, asio::cancellation_type::partial,
                                           asio::cancellation_type::total));

// Cancelled when the event is there but the completion not delivered yet: normal completion or, without the event
// consumed, aborted. Never neither.
TEST(AsyncReceive, CancelledWhenAlreadyWoken_CompletesExactlyOnceAndLosesNothing) {
  asio::io_context context;
  SharingBus bus;
  auto sut = bus.subscribe_all();
  asio::cancellation_signal signal;
  int completions = 0;
  std::uint64_t received_value = 0;
  async_receive(sut, asio::bind_cancellation_slot(
                         signal.slot(), asio::bind_executor(context, [&](error_code error, const Received& received) {
                           ++completions;
                           if (!error) received_value = value_of(received);
                         })));
  context.poll();
  bus.publish(note(5));
  signal.emit(asio::cancellation_type::terminal);
  context.restart();
  context.run();
  EXPECT_EQ(completions, 1);
  if (received_value == 0) received_value = value_of(sut.try_receive());
  EXPECT_EQ(received_value, 5u);
}

// The event that woke it is taken by someone else on the strand before the completion runs, then it is cancelled.
TEST(AsyncReceive, CancelledAfterASpuriousWake_IsNotForgotten) {
  asio::io_context context;
  SharingBus bus;
  auto sut = bus.subscribe_all();
  asio::cancellation_signal signal;
  std::optional<error_code> result;
  async_receive(sut, asio::bind_cancellation_slot(
                         signal.slot(),
                         asio::bind_executor(context, [&](error_code error, const Received&) { result = error; })));
  context.poll();
  bus.publish(note(5));
  EXPECT_EQ(value_of(sut.try_receive()), 5u);
  signal.emit(asio::cancellation_type::terminal);
  context.restart();
  context.poll();
  ASSERT_TRUE(result);
  EXPECT_EQ(*result, asio::error::operation_aborted);
}

asio::awaitable<void> one_receive(Subscription& subscription, error_code& result) {
  co_await async_receive(subscription, asio::redirect_error(asio::use_awaitable, result));
}

TEST(AsyncReceive, CoroutineCancelled_SeesAborted) {
  asio::io_context context;
  SharingBus bus;
  auto sut = bus.subscribe_all();
  asio::cancellation_signal signal;
  error_code result;
  bool done = false;
  asio::co_spawn(context, one_receive(sut, result),
                 asio::bind_cancellation_slot(signal.slot(), [&](std::exception_ptr) { done = true; }));
  context.poll();
  signal.emit(asio::cancellation_type::terminal);
  context.poll();
  EXPECT_TRUE(done);
  EXPECT_EQ(result, asio::error::operation_aborted);
}

// --- CallbackSubscription

TEST(CallbackSubscription, EventsGapsAndTheEnd_ArriveInOrderOnTheExecutor) {
  asio::io_context context;
  SharingBus bus;
  std::vector<std::uint64_t> values;
  int gaps = 0;
  int ends = 0;
  auto sut =
      subscribe_on(bus, context.get_executor(), named("callback", Filter::all(), 2), [&](const Received& received) {
        EXPECT_FALSE(received.empty());
        EXPECT_EQ(ends, 0);
        if (received.closed() != nullptr) ++ends;
        if (received.gap() != nullptr) ++gaps;
        if (received.event() != nullptr) values.push_back(value_of(received));
      });
  for (std::uint64_t i = 1; i <= 3; ++i)
    bus.publish(note(i));
  EXPECT_TRUE(values.empty()) << "never on the dispatching thread";
  context.poll();
  EXPECT_EQ(values, (std::vector<std::uint64_t>{1, 2}));
  EXPECT_EQ(gaps, 1);
  EXPECT_EQ(sut.stats().name, "callback");
  EXPECT_EQ(sut.stats().lagged, 1u);
  EXPECT_NE(sut.id(), 0u);
  const SubscriptionId id = sut.id();
  bus.close();
  context.restart();
  context.poll();
  EXPECT_EQ(ends, 1);
  EXPECT_TRUE(sut.stats().closed);
  EXPECT_EQ(sut.id(), id);
  EXPECT_TRUE(check_balanced(bus));
}

TEST(CallbackSubscription, NothingArrives_DoesNotKeepTheContextRunning) {
  const Watchdog watchdog("CallbackSubscription.NothingArrives");
  asio::io_context context;
  SharingBus bus;
  auto sut = subscribe_on(bus, context.get_executor(), named("idle"), [](const Received&) {});
  context.run();
}

TEST(CallbackSubscription, LongQueue_IsServedInTurnsWithOthers) {
  asio::io_context context;
  SharingBus bus;
  std::vector<int> order;
  auto busy = subscribe_on(bus, context.get_executor(), named("busy", Filter::kind(EventKind::custom), 1000),
                           [&](const Received&) { order.push_back(1); });
  auto other = subscribe_on(bus, context.get_executor(), named("other", Filter::kind(EventKind::request)),
                            [&](const Received&) { order.push_back(2); });
  for (std::uint64_t i = 0; i < 1000; ++i)
    bus.publish(note(i));
  bus.publish(note(0, routing_of(EventKind::request)));
  context.poll();
  ASSERT_EQ(order.size(), 1001u);
  EXPECT_NE(order.back(), 2) << "a busy subscription must not starve its neighbours";
}

// Exceptions are caught and counted, the subscription goes on.
TEST(CallbackSubscription, CallbackThatThrows_IsCountedAndGoesOn) {
  asio::io_context context;
  SharingBus bus;
  int calls = 0;
  auto sut = subscribe_on(bus, context.get_executor(), named("throws"), [&](const Received&) {
    ++calls;
    throw std::runtime_error("mine");
  });
  auto other = bus.subscribe_all();
  for (std::uint64_t i = 0; i < 3; ++i)
    bus.publish(note(i));
  context.poll();
  EXPECT_EQ(calls, 3);
  EXPECT_EQ(sut.stats().callback_failures, 3u);
  EXPECT_EQ(sut.stats().received, 3u);
  EXPECT_EQ(drain_values(other).size(), 3u);
}

// Guarantee 3: a callback that blocks for a long time delays no other subscriber.
TEST(CallbackSubscription, CallbackThatBlocks_DelaysNoOther) {
  const Watchdog watchdog("CallbackSubscription.CallbackThatBlocks");
  asio::thread_pool pool(1);
  SharingBus bus;
  std::promise<void> entered;
  std::promise<void> go_on;
  auto other = bus.subscribe(Filter::all(), 5000);
  {
    bool first = true;
    auto sut = subscribe_on(bus, pool.get_executor(), named("blocks", Filter::all(), 5), [&](const Received&) {
      if (!std::exchange(first, false)) return;
      entered.set_value();
      go_on.get_future().wait();
    });
    bus.publish(note(0));
    entered.get_future().wait();
    for (std::uint64_t i = 1; i < 5000; ++i)
      EXPECT_TRUE(bus.publish(note(i)).accepted());
    EXPECT_EQ(drain_values(other).size(), 5000u);
    EXPECT_EQ(sut.stats().lagged, 4994u);
    go_on.set_value();
  }
  EXPECT_TRUE(check_balanced(bus));
  pool.join();
}

// Letting it go from outside while the callback runs waits; afterwards it is not running and will not run.
TEST(CallbackSubscription, LetGoFromOutsideWhileTheCallbackRuns_Waits) {
  const Watchdog watchdog("CallbackSubscription.LetGoFromOutside");
  asio::thread_pool pool(2);
  for (int round = 0; round < 20; ++round) {
    SharingBus bus;
    std::promise<void> entered;
    std::atomic<bool> letting_go{false};
    std::atomic<bool> finished{false};
    std::atomic<int> calls{0};
    auto sut = std::make_optional(subscribe_on(bus, pool.get_executor(), named("slow"), [&](const Received&) {
      if (++calls == 1) entered.set_value();
      while (!letting_go)
        std::this_thread::yield();
      for (int i = 0; i < 100; ++i)
        std::this_thread::yield();
      finished = true;
    }));
    for (std::uint64_t i = 0; i < 100; ++i)
      bus.publish(note(i));
    entered.get_future().wait();
    letting_go = true;
    sut.reset();
    EXPECT_TRUE(finished);
    const int after = calls;
    bus.publish(note(100));
    bus.close();
    EXPECT_EQ(calls, after);
    EXPECT_TRUE(check_balanced(bus));
    // What the callback never saw was not received.
    EXPECT_EQ(bus.snapshot().retired.received, static_cast<std::uint64_t>(after));
    EXPECT_EQ(bus.snapshot().retired.discarded, static_cast<std::uint64_t>(100 - after));
  }
  pool.join();
}

// … called from inside the callback it does not wait.
TEST(CallbackSubscription, LetGoFromInsideTheCallback_DoesNotWait) {
  const Watchdog watchdog("CallbackSubscription.LetGoFromInside");
  asio::io_context context;
  SharingBus bus;
  int calls = 0;
  std::optional<CallbackSubscription> sut;
  sut = subscribe_on(bus, context.get_executor(), named("once"), [&](const Received&) {
    ++calls;
    sut.reset();
  });
  for (std::uint64_t i = 0; i < 10; ++i)
    bus.publish(note(i));
  context.poll();
  EXPECT_EQ(calls, 1);
  bus.publish(note(10));
  context.restart();
  context.poll();
  EXPECT_EQ(calls, 1);
  EXPECT_EQ(bus.subscriber_count(), 0u);
  // What the callback never saw was not received.
  EXPECT_EQ(bus.snapshot().retired.received, 1u);
  EXPECT_EQ(bus.snapshot().retired.discarded, 9u);
  EXPECT_TRUE(check_balanced(bus));
}

TEST(CallbackSubscription, LetGoBeforeThePostedTurn_IsNotCalled) {
  asio::io_context context;
  SharingBus bus;
  int calls = 0;
  {
    auto sut = subscribe_on(bus, context.get_executor(), named("late"), [&](const Received&) { ++calls; });
    bus.publish(note(1));
  }
  context.poll();
  EXPECT_EQ(calls, 0);
}

TEST(CallbackSubscription, MoveAssigned_EndsTheOldOne) {
  asio::io_context context;
  SharingBus bus;
  int first = 0;
  int second = 0;
  auto sut = subscribe_on(bus, context.get_executor(), named("first"), [&](const Received&) { ++first; });
  sut = subscribe_on(bus, context.get_executor(), named("second"), [&](const Received&) { ++second; });
  bus.publish(note(1));
  context.poll();
  EXPECT_EQ(first, 0);
  EXPECT_EQ(second, 1);
  EXPECT_TRUE(static_cast<bool>(sut));
  EXPECT_FALSE(static_cast<bool>(CallbackSubscription()));
}

TEST(CallbackSubscription, CallbackThatPublishes_SeesItsOwnEvents) {
  asio::io_context context;
  SharingBus bus;
  std::uint64_t last = 0;
  auto sut = subscribe_on(bus, context.get_executor(), named("chain"), [&](const Received& received) {
    last = value_of(received);
    if (last < 50) bus.publish(note(last + 1));
  });
  bus.publish(note(0));
  context.poll();
  EXPECT_EQ(last, 50u);
}

}  // namespace
}  // namespace sharingbus

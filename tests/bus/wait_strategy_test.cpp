// O: wait strategies (block, phased, spin) for the dispatcher and blocking receivers; async_wait.
#include <atomic>
#include <chrono>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <boost/asio/awaitable.hpp>
#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/bind_executor.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/use_awaitable.hpp>
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
using boost::system::error_code;

std::string name_of(WaitStrategy strategy) {
  if (strategy == WaitStrategy::block) return "block";
  return strategy == WaitStrategy::phased ? "phased" : "spin";
}

class Waits : public ::testing::TestWithParam<WaitStrategy> {
 protected:
  static SubscriptionOptions waiting(std::size_t capacity = 10'000) {
    auto options = named("sut", Filter::all(), capacity);
    options.wait = GetParam();
    return options;
  }
  const Watchdog watchdog_{"Waits"};
};

TEST_P(Waits, BlockingReceiver_GetsEveryEventAndTheEnd) {
  SharingBus bus;
  auto sut = bus.subscribe(waiting());
  std::vector<std::uint64_t> values;
  std::thread reader([&] {
    for (const EventRef& event : sut)
      values.push_back(event->get_if<Note>()->value);
  });
  for (std::uint64_t i = 0; i < 2000; ++i) {
    bus.publish(note(i));
    if (i % 100 == 0) std::this_thread::yield();
  }
  bus.close();
  reader.join();
  ASSERT_EQ(values.size(), 2000u);
  EXPECT_EQ(values.back(), 1999u);
}

TEST_P(Waits, OneAtATime_EveryWakeUpArrives) {
  SharingBus bus;
  auto requests = named("requests", Filter::kind(EventKind::request));
  requests.wait = GetParam();
  auto answers = named("answers", Filter::kind(EventKind::response));
  answers.wait = GetParam();
  auto asked = bus.subscribe(requests);
  auto answered = bus.subscribe(answers);
  constexpr std::uint64_t kRounds = 300;
  std::thread responder([&] {
    for (std::uint64_t i = 0; i < kRounds; ++i) {
      ASSERT_EQ(value_of(asked.receive()), i);
      bus.publish(note(i, routing_of(EventKind::response)));
    }
  });
  for (std::uint64_t i = 0; i < kRounds; ++i) {
    bus.publish(note(i, routing_of(EventKind::request)));
    ASSERT_EQ(value_of(answered.receive()), i);
  }
  responder.join();
}

TEST_P(Waits, Timeout_PassesWithNothing) {
  SharingBus bus;
  auto sut = bus.subscribe(waiting());
  EXPECT_TRUE(sut.receive_for(std::chrono::nanoseconds(0)).empty());
  EXPECT_TRUE(sut.receive_for(kNothingComes).empty());
  bus.publish(note(1));
  EXPECT_EQ(value_of(sut.receive_for(kPatience)), 1u);
  EXPECT_TRUE(sut.receive_for(kNothingComes).empty());
}

TEST_P(Waits, ClosedWhileWaiting_Ends) {
  SharingBus bus;
  auto sut = bus.subscribe(waiting());
  std::atomic<bool> started{false};
  std::thread reader([&] {
    started = true;
    EXPECT_NE(sut.receive().closed(), nullptr);
  });
  while (!started)
    std::this_thread::yield();
  bus.close();
  reader.join();
}

TEST_P(Waits, UnsubscribedWhileWaiting_Ends) {
  SharingBus bus;
  auto sut = bus.subscribe(waiting());
  std::thread reader([&] {
    const Received end = sut.receive();
    ASSERT_NE(end.closed(), nullptr);
    EXPECT_EQ(end.closed()->why, CloseReason::unsubscribed);
  });
  std::this_thread::yield();
  bus.unsubscribe(sut.id());
  reader.join();
}

TEST_P(Waits, DispatcherThread_DeliversAndEndsWithTheBus) {
  BusOptions options;
  options.engine = Engine::thread;
  options.wait = GetParam();
  SharingBus bus(std::move(options));
  auto sut = bus.subscribe(waiting());
  std::thread dispatcher([&] { bus.run(); });
  for (std::uint64_t i = 0; i < 200; ++i) {
    bus.publish(note(i));
    ASSERT_EQ(value_of(sut.receive()), i);
  }
  publish_notes(bus, 200, 500);
  bus.close();
  dispatcher.join();
  EXPECT_EQ(drain_values(sut).size(), 301u);
  EXPECT_TRUE(check_balanced(bus));
}

INSTANTIATE_TEST_SUITE_P(Strategies, Waits,
                         ::testing::Values(WaitStrategy::block, WaitStrategy::phased, WaitStrategy::spin),
                         [](const auto& instance) { return name_of(instance.param); });

// --- run

TEST(Run, UnderAnotherEngine_ReturnsAtOnce) {
  const Watchdog watchdog("Run.UnderAnotherEngine");
  SharingBus combining;
  combining.run();
  SharingBus manual(manual_options());
  manual.run();
}

TEST(Run, OnAClosedBus_ReturnsAtOnce) {
  const Watchdog watchdog("Run.OnAClosedBus");
  BusOptions options;
  options.engine = Engine::thread;
  SharingBus bus(std::move(options));
  auto sut = bus.subscribe_all();
  publish_notes(bus, 1, 3);
  bus.close();
  bus.run();
  EXPECT_EQ(stream_text(sut), "1 2 3 end:bus_closed") << "nobody ran, so close dispatched";
}

TEST(Run, SecondCall_ReturnsAtOnce) {
  const Watchdog watchdog("Run.SecondCall");
  BusOptions options;
  options.engine = Engine::thread;
  SharingBus bus(std::move(options));
  auto sut = bus.subscribe_all();
  std::thread first([&] { bus.run(); });
  bus.publish(note(1));
  EXPECT_EQ(value_of(sut.receive()), 1u);  // so the first is inside
  bus.run();
  bus.publish(note(2));
  EXPECT_EQ(value_of(sut.receive()), 2u);
  bus.close();
  first.join();
}

// --- async_wait

asio::awaitable<void> lend_to_the_end(Subscription& subscription, std::string& text, int& waits) {
  StreamText stream;
  for (bool ended = false; !ended;) {
    co_await async_wait(subscription, asio::use_awaitable);
    ++waits;
    for (Lent lent = subscription.lend(); !lent.empty() && !ended; lent = subscription.lend()) {
      stream.add(lent);
      ended = lent.closed() != nullptr;
    }
  }
  text = stream.text();
}

TEST(AsyncWait, CoroutineThatLends_SeesTheWholeStreamWithFewWakeUps) {
  asio::io_context context;
  BusOptions options = manual_options();
  options.log = nullptr;
  SharingBus bus(std::move(options));
  auto sut = bus.subscribe(Filter::all(), 5);
  std::string text;
  int waits = 0;
  asio::co_spawn(context, lend_to_the_end(sut, text, waits), [](std::exception_ptr error) {
    if (error) std::rethrow_exception(error);
  });
  context.poll();
  publish_notes(bus, 1, 4);
  bus.poll();
  context.poll();
  publish_notes(bus, 5, 10);
  bus.poll();
  context.poll();
  bus.close();
  context.run();
  EXPECT_EQ(text, "1 2 3 4 5 6 7 8 9 gap10-10(1) end:bus_closed");
  EXPECT_EQ(waits, 3) << "one wake-up serves a whole batch";
}

TEST(AsyncWait, SomethingThereAlready_CompletesPostedAndTakesNothing) {
  asio::io_context context;
  SharingBus bus;
  auto sut = bus.subscribe_all();
  bus.publish(note(1));
  int done = 0;
  async_wait(sut, asio::bind_executor(context, [&](error_code error) {
               EXPECT_FALSE(error);
               ++done;
             }));
  EXPECT_EQ(done, 0);
  context.poll();
  EXPECT_EQ(done, 1);
  EXPECT_EQ(sut.stats().received, 0u);
  EXPECT_EQ(stream_text(sut), "1");
}

TEST(AsyncWait, Cancelled_SeesAbortedAndLosesNothing) {
  asio::io_context context;
  SharingBus bus;
  auto sut = bus.subscribe_all();
  asio::cancellation_signal signal;
  std::optional<error_code> result;
  async_wait(sut, asio::bind_cancellation_slot(
                      signal.slot(), asio::bind_executor(context, [&](error_code error) { result = error; })));
  context.poll();
  EXPECT_FALSE(result);
  signal.emit(asio::cancellation_type::total);
  context.restart();
  context.poll();
  ASSERT_TRUE(result);
  EXPECT_EQ(*result, asio::error::operation_aborted);
  bus.publish(note(1));
  EXPECT_EQ(stream_text(sut), "1");
}

TEST(AsyncWait, GapAlone_CompletesIt) {
  asio::io_context context;
  BusOptions options = manual_options(1);
  options.log = nullptr;
  SharingBus bus(std::move(options));
  auto sut = bus.subscribe(Filter::kind(EventKind::request));
  int done = 0;
  async_wait(sut, asio::bind_executor(context, [&](error_code) { ++done; }));
  bus.publish(note(1, routing_of(EventKind::request)));
  bus.publish(note(2));  // the first gives way
  bus.poll();
  context.poll();
  EXPECT_EQ(done, 1);
  EXPECT_EQ(stream_text(sut), "gap1-1(1)");
}

}  // namespace
}  // namespace sharingbus

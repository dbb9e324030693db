#include <array>
#include <future>
#include <thread>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "bus/sharing_bus.hpp"
#include "tests/bus/test_events.hpp"
#include "tests/support/bus_oracle.hpp"
#include "tests/support/watchdog.hpp"

namespace sharingbus {
namespace {

using namespace test;

TEST(TryReceive, NothingThere_IsEmpty) {
  SharingBus bus;
  auto sut = bus.subscribe_all();
  EXPECT_TRUE(sut.try_receive().empty());
  bus.publish(note(1));
  EXPECT_EQ(value_of(sut.try_receive()), 1u);
  EXPECT_TRUE(sut.try_receive().empty());
}

TEST(ReceiveFor, NothingComes_TimesOutEmptyAndGoesOn) {
  SharingBus bus;
  auto sut = bus.subscribe_all();
  const auto before = std::chrono::steady_clock::now();
  EXPECT_TRUE(sut.receive_for(kNothingComes).empty());
  EXPECT_GE(std::chrono::steady_clock::now() - before, kNothingComes);
  EXPECT_TRUE(sut.receive_for(std::chrono::nanoseconds(0)).empty());
  bus.publish(note(1));
  EXPECT_EQ(value_of(sut.receive_for(std::chrono::nanoseconds(0))), 1u);
}

TEST(Receive, BlockedReader_IsWokenByAPublish) {
  const Watchdog watchdog("Receive.BlockedReader");
  SharingBus bus;
  auto sut = bus.subscribe_all();
  std::vector<std::uint64_t> values;
  std::thread reader([&] {
    for (int i = 0; i < 200; ++i)
      values.push_back(value_of(sut.receive()));
  });
  for (std::uint64_t i = 0; i < 200; ++i) {
    bus.publish(note(i));
    if (i % 10 == 0) std::this_thread::yield();
  }
  reader.join();
  ASSERT_EQ(values.size(), 200u);
  for (std::uint64_t i = 0; i < 200; ++i)
    EXPECT_EQ(values[i], i);
}

TEST(Receive, BlockedReader_IsWokenByTheEnd) {
  const Watchdog watchdog("Receive.BlockedReader_IsWokenByTheEnd");
  SharingBus bus;
  auto sut = bus.subscribe_all();
  std::thread closer([&] { bus.close(); });
  const Received end = sut.receive();
  closer.join();
  ASSERT_NE(end.closed(), nullptr);
  EXPECT_EQ(end.closed()->why, CloseReason::bus_closed);
}

// Not before the end of the turn that queued it, and by the dispatcher: a manual bus polled by another thread.
TEST(Receive, GapWhileBlocked_IsDelivered) {
  const Watchdog watchdog("Receive.GapWhileBlocked");
  SharingBus bus(manual_options(1));
  auto sut = bus.subscribe(Filter::kind(EventKind::request));
  bus.poll();
  std::thread dispatcher([&] {
    bus.publish(note(1, routing_of(EventKind::request)));
    bus.publish(note(2));  // the first gives way
    bus.poll();
  });
  const Received received = sut.receive();
  dispatcher.join();
  ASSERT_NE(received.gap(), nullptr);
  EXPECT_EQ(*received.gap(), (Gap{1, 1, 1}));
}

TEST(ReceiveBatch, Fills_FromTheFrontWithWhatIsThere) {
  SharingBus bus;
  auto sut = bus.subscribe(Filter::all(), 3);
  for (std::uint64_t i = 1; i <= 4; ++i)
    bus.publish(note(i));
  std::array<Received, 2> small;
  EXPECT_EQ(sut.receive_batch(small), 2u);
  EXPECT_EQ(value_of(small[0]), 1u);
  EXPECT_EQ(value_of(small[1]), 2u);
  bus.publish(note(5));
  sut.unsubscribe();
  std::array<Received, 8> large;
  ASSERT_EQ(sut.receive_batch(large), 4u);
  EXPECT_EQ(value_of(large[0]), 3u);
  ASSERT_NE(large[1].gap(), nullptr);
  EXPECT_EQ(*large[1].gap(), (Gap{4, 4, 1}));
  EXPECT_EQ(value_of(large[2]), 5u);
  EXPECT_NE(large[3].closed(), nullptr);
  EXPECT_EQ(sut.receive_batch(large), 1u);
  EXPECT_NE(large[0].closed(), nullptr);
}

TEST(ReceiveBatch, NothingThereOrNoRoom_IsZero) {
  SharingBus bus;
  auto sut = bus.subscribe_all();
  std::array<Received, 4> out;
  EXPECT_EQ(sut.receive_batch(out), 0u);
  bus.publish(note(1));
  EXPECT_EQ(sut.receive_batch({}), 0u);
  EXPECT_EQ(sut.stats().queued, 1u);
}

TEST(RangeFor, Events_UntilTheEndOfTheStreamSkippingGaps) {
  SharingBus bus;
  auto sut = bus.subscribe(Filter::all(), 2);
  for (std::uint64_t i = 1; i <= 3; ++i)
    bus.publish(note(i));
  bus.close();
  std::vector<std::uint64_t> values;
  for (const EventRef& event : sut)
    values.push_back(event->get_if<Note>()->value);
  EXPECT_EQ(values, (std::vector<std::uint64_t>{1, 2}));
  for (const EventRef& event : sut)
    FAIL() << event->sequence();
  EXPECT_TRUE(check_balanced(bus));
}

TEST(NotifyWhenReady, SomethingIsThere_ReturnsFalseAndDoesNotCall) {
  SharingBus bus;
  auto sut = bus.subscribe_all();
  bus.publish(note(1));
  int woken = 0;
  EXPECT_FALSE(sut.notify_when_ready([&] { ++woken; }));
  bus.publish(note(2));
  EXPECT_EQ(woken, 0);
  EXPECT_FALSE(sut.cancel_notify());
}

// Wake-ups are batched: one for all that one turn queued.
TEST(NotifyWhenReady, ManyEventsInOneTurn_WakeOnce) {
  SharingBus bus(manual_options());
  auto sut = bus.subscribe_all();
  bus.poll();
  int woken = 0;
  EXPECT_TRUE(sut.notify_when_ready([&] { ++woken; }));
  for (std::uint64_t i = 0; i < 20; ++i)
    bus.publish(note(i));
  EXPECT_EQ(woken, 0);
  bus.poll();
  EXPECT_EQ(woken, 1);
  bus.publish(note(20));
  bus.poll();
  EXPECT_EQ(woken, 1);
  EXPECT_EQ(drain_values(sut).size(), 21u);
}

TEST(NotifyWhenReady, OtherSubscribersEvent_DoesNotWake) {
  SharingBus bus;
  auto sut = bus.subscribe(Filter::connector_uid(uuid(1)));
  int woken = 0;
  EXPECT_TRUE(sut.notify_when_ready([&] { ++woken; }));
  bus.publish(note(1, with_uid(uuid(2))));
  EXPECT_EQ(woken, 0);
  bus.publish(note(2, with_uid(uuid(1))));
  EXPECT_EQ(woken, 1);
}

TEST(NotifyWhenReady, Cancelled_DoesNotWake) {
  SharingBus bus;
  auto sut = bus.subscribe_all();
  int woken = 0;
  EXPECT_TRUE(sut.notify_when_ready([&] { ++woken; }));
  EXPECT_TRUE(sut.cancel_notify());
  EXPECT_FALSE(sut.cancel_notify());
  bus.publish(note(1));
  EXPECT_EQ(woken, 0);
}

TEST(NotifyWhenReady, Replaced_WakesOnlyTheNewOne) {
  SharingBus bus;
  auto sut = bus.subscribe_all();
  int old_woken = 0;
  int new_woken = 0;
  EXPECT_TRUE(sut.notify_when_ready([&] { ++old_woken; }));
  EXPECT_TRUE(sut.notify_when_ready([&] { ++new_woken; }));
  bus.publish(note(1));
  EXPECT_EQ(old_woken, 0);
  EXPECT_EQ(new_woken, 1);
}

TEST(NotifyWhenReady, EndOfStream_Wakes) {
  SharingBus bus;
  auto first = bus.subscribe_all();
  auto second = bus.subscribe_all();
  int woken = 0;
  EXPECT_TRUE(first.notify_when_ready([&] { ++woken; }));
  EXPECT_TRUE(second.notify_when_ready([&] { ++woken; }));
  first.unsubscribe();
  EXPECT_EQ(woken, 1);
  bus.close();
  EXPECT_EQ(woken, 2);
}

// Letting a handle go wakes nobody.
TEST(NotifyWhenReady, HandleLetGo_WakesNobody) {
  SharingBus bus;
  int woken = 0;
  {
    auto sut = bus.subscribe_all();
    EXPECT_TRUE(sut.notify_when_ready([&] { ++woken; }));
  }
  bus.publish(note(1));
  bus.publish(note(2));
  EXPECT_EQ(woken, 0);
}

// From the dispatching thread, outside locks: it may use the bus.
TEST(NotifyWhenReady, WakeThatUsesTheBus_DoesNotDeadlock) {
  SharingBus bus;
  auto sut = bus.subscribe(Filter::kind(EventKind::request));
  auto all = bus.subscribe_all();
  Subscription made;
  EXPECT_TRUE(sut.notify_when_ready([&] {
    bus.publish(note(2));
    made = bus.subscribe_all();
    (void)bus.snapshot();
    sut.unsubscribe();
  }));
  bus.publish(note(1, routing_of(EventKind::request)));
  EXPECT_EQ(drain_values(all), (std::vector<std::uint64_t>{1, 2}));
  EXPECT_EQ(drain_values(sut), std::vector<std::uint64_t>{1});
  EXPECT_TRUE(drain_values(made).empty());
  EXPECT_TRUE(check_balanced(bus));
}

}  // namespace
}  // namespace sharingbus

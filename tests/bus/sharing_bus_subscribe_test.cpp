#include <atomic>
#include <memory>
#include <optional>
#include <set>
#include <stdexcept>
#include <thread>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "bus/observers/scroll_id_binder.hpp"
#include "bus/sharing_bus.hpp"
#include "tests/bus/test_events.hpp"
#include "tests/support/bus_oracle.hpp"
#include "tests/support/watchdog.hpp"

namespace sharingbus {
namespace {

using namespace test;

// The tests of the reference, ported one to one.

TEST(Reference, SubscribeAll_RoundTrip) {
  SharingBus sut;
  auto subscription = sut.subscribe_all();
  sut.publish(note(42));
  const Received received = subscription.receive_for(kPatience);
  EXPECT_EQ(value_of(received), 42u);
}

TEST(Reference, UidFilter_SecondReceiveTimesOut) {
  SharingBus sut;
  auto subscription = sut.subscribe(Filter::connector_uid(uuid(1)));
  sut.publish(note(1, with_uid(uuid(1))));
  sut.publish(note(2, with_uid(uuid(2))));
  EXPECT_EQ(value_of(subscription.receive_for(kPatience)), 1u);
  EXPECT_TRUE(subscription.receive_for(kNothingComes).empty());
}

TEST(Reference, CapacityOneFivePublishes_FirstIsDeliveredAndLaggedIsFour) {
  SharingBus sut;
  auto subscription = sut.subscribe(Filter::all(), 1);
  for (std::uint64_t i = 1; i <= 5; ++i)
    sut.publish(note(i));
  EXPECT_EQ(value_of(subscription.receive_for(kPatience)), 1u);
  EXPECT_GE(subscription.stats().lagged, 4u);
  EXPECT_TRUE(check_balanced(sut));
}

TEST(Reference, LateBindOnABareBus_IsSeenThroughAScrollIdFilter) {
  SharingBus sut;
  auto subscription = sut.subscribe(Filter::scroll_id(uuid(9)));
  sut.publish(note(1, with_session("c", "s")));
  sut.publish(SessionRegistered{"c", "s", to_string(uuid(9))});
  sut.publish(note(2, with_session("c", "s")));
  EXPECT_NE(subscription.receive_for(kPatience).get_if<SessionRegistered>(), nullptr);
  EXPECT_EQ(value_of(subscription.receive_for(kPatience)), 2u);
}

TEST(Reference, DroppedReceiver_CountsOneThenZeroAfterAPublish) {
  SharingBus sut;
  { auto subscription = sut.subscribe_all(); }
  EXPECT_EQ(sut.subscriber_count(), 1u);
  sut.publish(note(1));
  EXPECT_EQ(sut.subscriber_count(), 0u);
}

// R: subscribe_all() (queue 256).
TEST(Subscribe, All_HasAQueueOf256) {
  SharingBus sut;
  auto subscription = sut.subscribe_all();
  EXPECT_EQ(subscription.stats().capacity, 256u);
  EXPECT_EQ(subscription.stats().filter, "*");
  for (std::uint64_t i = 0; i < 300; ++i)
    sut.publish(note(i));
  EXPECT_EQ(subscription.stats().queued, 256u);
  EXPECT_EQ(subscription.stats().lagged, 44u);
}

TEST(Subscribe, FilterAndCapacity_AreTaken) {
  SharingBus sut;
  auto subscription = sut.subscribe(Filter::kind(EventKind::request), 3);
  const SubscriptionStats stats = subscription.stats();
  EXPECT_EQ(stats.capacity, 3u);
  EXPECT_EQ(stats.filter, "kind=request");
  EXPECT_EQ(stats.name, "subscription-" + std::to_string(subscription.id()));
  EXPECT_FALSE(stats.closed);
}

// Capacity 0 is an error, not a rendezvous.
TEST(Subscribe, CapacityBeyondTheMaximum_IsAnErrorNamingTheField) {
  SharingBus bus;
  try {
    const auto subscription = bus.subscribe(Filter::all(), SubscriptionOptions::kCapacityMax + 1);
    FAIL() << "accepted";
  } catch (const std::invalid_argument& e) {
    EXPECT_NE(std::string(e.what()).find("capacity"), std::string::npos) << e.what();
  }
}

TEST(Subscribe, CapacityZero_IsAnError) {
  SharingBus sut;
  EXPECT_THROW((void)sut.subscribe(Filter::all(), 0), std::invalid_argument);
  EXPECT_THROW((void)sut.subscribe(named("none", Filter::all(), 0)), std::invalid_argument);
  EXPECT_EQ(sut.subscriber_count(), 0u);
}

// R: ids are unique for the bus's life.
TEST(Subscribe, Ids_AreNeverReused) {
  SharingBus sut;
  std::set<SubscriptionId> ids;
  for (int i = 0; i < 100; ++i) {
    auto subscription = sut.subscribe_all();
    EXPECT_TRUE(ids.insert(subscription.id()).second);
    if (i % 3 == 0) subscription.unsubscribe();
    if (i % 5 == 0) sut.publish(note(0));
  }
}

// R: once `subscribe` has returned, every event published afterwards is matched against it.
TEST(Subscribe, Returned_MatchesEveryLaterEventAndNoEarlierOne) {
  SharingBus sut(manual_options());
  sut.publish(note(1));
  auto subscription = sut.subscribe_all();
  sut.publish(note(2));
  auto second = sut.subscribe_all();
  sut.publish(note(3));
  sut.poll();
  EXPECT_EQ(drain_values(subscription), (std::vector<std::uint64_t>{2, 3}));
  EXPECT_EQ(drain_values(second), std::vector<std::uint64_t>{3});
  EXPECT_TRUE(check_balanced(sut));
}

TEST(Subscribe, InsideACallback_SeesWhatIsPublishedAfterwards) {
  SharingBus sut;
  Subscription inner;
  auto outer = sut.subscribe_inline(named("outer", Filter::kind(EventKind::request)), [&](const EventRef&) {
    sut.publish(note(1));
    inner = sut.subscribe_all();
    sut.publish(note(2));
  });
  sut.publish(note(0, routing_of(EventKind::request)));
  sut.publish(note(3));
  EXPECT_EQ(drain_values(inner), (std::vector<std::uint64_t>{2, 3}));
}

TEST(Subscribe, FromAnotherThreadWhileDispatching_Returns) {
  const Watchdog watchdog("Subscribe.FromAnotherThreadWhileDispatching");
  SharingBus sut;
  Subscription other;
  auto inner = sut.subscribe_inline(named("hold"), [&](const EventRef&) {
    if (other) return;
    std::thread([&] { other = sut.subscribe_all(); }).join();
  });
  sut.publish(note(1));
  sut.publish(note(2));
  EXPECT_EQ(drain_values(other), std::vector<std::uint64_t>{2});
}

// R: unsubscribe(id) is idempotent; unknown ids are fine.
TEST(Unsubscribe, AgainOrUnknown_IsFine) {
  SharingBus sut;
  auto subscription = sut.subscribe_all();
  sut.unsubscribe(subscription.id());
  sut.unsubscribe(subscription.id());
  subscription.unsubscribe();
  sut.unsubscribe(0);
  sut.unsubscribe(987'654'321);
  EXPECT_EQ(sut.subscriber_count(), 0u);
  EXPECT_TRUE(sut.publish(note(1)).accepted());
  EXPECT_EQ(subscription.stats().matched, 0u);
}

// R: after `unsubscribe` what was queued can still be read, then end-of-stream.
TEST(Unsubscribe, QueuedEvents_CanStillBeReadThenClosed) {
  SharingBus sut;
  auto subscription = sut.subscribe_all();
  sut.publish(note(1));
  sut.publish(note(2));
  subscription.unsubscribe();
  sut.publish(note(3));
  EXPECT_EQ(value_of(subscription.try_receive()), 1u);
  EXPECT_EQ(value_of(subscription.try_receive()), 2u);
  for (int i = 0; i < 3; ++i) {
    const Received end = subscription.try_receive();
    ASSERT_NE(end.closed(), nullptr);
    EXPECT_EQ(end.closed()->why, CloseReason::unsubscribed);
  }
  EXPECT_TRUE(subscription.stats().closed);
  EXPECT_TRUE(subscription.stats().balanced());
}

TEST(Unsubscribe, InTheBusesOrder_EndsAtAnExactPoint) {
  SharingBus sut(manual_options());
  auto subscription = sut.subscribe_all();
  sut.publish(note(1));
  subscription.unsubscribe();
  sut.publish(note(2));
  EXPECT_TRUE(subscription.try_receive().empty());
  sut.poll();
  EXPECT_EQ(drain_values(subscription), std::vector<std::uint64_t>{1});
  EXPECT_NE(subscription.try_receive().closed(), nullptr);
}

TEST(Unsubscribe, ByIdFromTheBus_EndsABlockedReceive) {
  const Watchdog watchdog("Unsubscribe.ByIdFromTheBus");
  SharingBus sut;
  auto subscription = sut.subscribe_all();
  std::thread other([&] { sut.unsubscribe(subscription.id()); });
  const Received end = subscription.receive();
  other.join();
  ASSERT_NE(end.closed(), nullptr);
  EXPECT_EQ(end.closed()->why, CloseReason::unsubscribed);
}

TEST(Unsubscribe, InsideACallback_TakesEffectBehindTheEventInHand) {
  SharingBus sut;
  auto victim = sut.subscribe_all();
  auto judge = sut.subscribe_inline(named("judge", Filter::kind(EventKind::request)),
                                    [&](const EventRef&) { victim.unsubscribe(); });
  sut.publish(note(1, routing_of(EventKind::request)));
  sut.publish(note(2));
  EXPECT_EQ(drain_values(victim), std::vector<std::uint64_t>{1});
  EXPECT_NE(victim.try_receive().closed(), nullptr);
}

// R: a receiver that was dropped without `unsubscribe` is collected on the next publish that matches it, at the latest.
TEST(LetGo, Dropped_IsCollectedOnTheNextMatchingPublishAtTheLatest) {
  SharingBus sut;
  {
    auto subscription = sut.subscribe(Filter::connector_uid(uuid(1)));
    sut.publish(note(1, with_uid(uuid(1))));
  }
  EXPECT_EQ(sut.subscriber_count(), 1u);
  sut.publish(note(2, with_uid(uuid(1))));
  EXPECT_EQ(sut.subscriber_count(), 0u);
  const BusSnapshot snapshot = sut.snapshot();
  EXPECT_EQ(snapshot.retired.subscriptions, 1u);
  EXPECT_EQ(snapshot.retired.matched, 1u);
  EXPECT_EQ(snapshot.retired.discarded, 1u);
  EXPECT_TRUE(check_balanced(snapshot));
}

// Letting the handle go marks it closed and wakes nobody.
TEST(LetGo, Dropped_IsMarkedClosedAtOnce) {
  SharingBus sut;
  { auto subscription = sut.subscribe(named("gone")); }
  const BusSnapshot snapshot = sut.snapshot();
  ASSERT_EQ(snapshot.subscriptions.size(), 1u);
  EXPECT_EQ(snapshot.subscriptions[0].name, "gone");
  EXPECT_TRUE(snapshot.subscriptions[0].closed);
}

TEST(LetGo, AfterUnsubscribe_IsFine) {
  SharingBus sut;
  {
    auto subscription = sut.subscribe_all();
    sut.publish(note(1));
    subscription.unsubscribe();
  }
  EXPECT_EQ(sut.subscriber_count(), 0u);
  EXPECT_EQ(sut.snapshot().retired.subscriptions, 1u);
  EXPECT_EQ(sut.snapshot().retired.discarded, 1u);
}

TEST(LetGo, QueuedEvents_AreReleased) {
  std::atomic<int> alive{0};
  SharingBus sut;
  {
    auto subscription = sut.subscribe_all();
    sut.publish(make_event(Tracked(alive), Routing{}));
    EXPECT_EQ(alive, 1);
  }
  sut.publish(note(1));
  EXPECT_EQ(alive, 0);
}

TEST(Subscription, Moved_IsTheSameSubscription) {
  SharingBus sut;
  auto first = sut.subscribe_all();
  const SubscriptionId id = first.id();
  Subscription second = std::move(first);
  EXPECT_FALSE(first);
  EXPECT_EQ(second.id(), id);
  sut.publish(note(1));
  EXPECT_EQ(sut.subscriber_count(), 1u);
  auto& itself = second;
  second = std::move(itself);
  EXPECT_EQ(drain_values(second), std::vector<std::uint64_t>{1});
}

TEST(Subscription, MoveAssigned_LetsTheOldOneGo) {
  SharingBus sut;
  auto subscription = sut.subscribe_all();
  subscription = sut.subscribe_all();
  sut.publish(note(1));
  EXPECT_EQ(sut.subscriber_count(), 1u);
  EXPECT_EQ(drain_values(subscription), std::vector<std::uint64_t>{1});
}

TEST(Subscription, DefaultConstructed_IsNone) {
  Subscription sut;
  EXPECT_FALSE(sut);
  sut.unsubscribe();
}

TEST(Subscription, OutlivingTheBus_YieldsItsQueueThenClosed) {
  std::optional<SharingBus> bus(std::in_place);
  auto sut = bus->subscribe_all();
  bus->publish(note(1));
  bus.reset();
  EXPECT_EQ(value_of(sut.receive()), 1u);
  const Received end = sut.receive();
  ASSERT_NE(end.closed(), nullptr);
  EXPECT_EQ(end.closed()->why, CloseReason::bus_closed);
  sut.unsubscribe();
}

TEST(Snapshot, Subscriptions_AreDescribed) {
  SharingBus sut;
  auto first = sut.subscribe(named("first", Filter::kind(EventKind::request), 2));
  auto second = sut.subscribe_inline(named("second"), [](const EventRef&) {});
  for (std::uint64_t i = 1; i <= 3; ++i)
    sut.publish(note(i, routing_of(EventKind::request)));
  sut.publish(note(4));
  (void)first.try_receive();
  const BusSnapshot snapshot = sut.snapshot();
  EXPECT_EQ(snapshot.published, 4u);
  EXPECT_EQ(snapshot.dispatched, 4u);
  EXPECT_EQ(snapshot.ingress_depth, 0u);
  EXPECT_FALSE(snapshot.closed);
  EXPECT_EQ(snapshot.stages, std::vector<std::string>{"scroll_id_binder"});
  ASSERT_EQ(snapshot.subscriptions.size(), 2u);
  const SubscriptionStats& one = snapshot.subscriptions[0];
  EXPECT_EQ(one.id, first.id());
  EXPECT_EQ(one.name, "first");
  EXPECT_EQ(one.filter, "kind=request");
  EXPECT_EQ(one.capacity, 2u);
  EXPECT_EQ(one.matched, 3u);
  EXPECT_EQ(one.received, 1u);
  EXPECT_EQ(one.lagged, 1u);
  EXPECT_EQ(one.queued, 1u);
  EXPECT_EQ(one.high_water, 2u);
  EXPECT_EQ(one.last_received_sequence, 1u);
  const SubscriptionStats& two = snapshot.subscriptions[1];
  EXPECT_EQ(two.name, "second");
  EXPECT_EQ(two.capacity, 0u);
  EXPECT_EQ(two.matched, 4u);
  EXPECT_EQ(two.received, 4u);
  EXPECT_EQ(two.last_received_sequence, 4u);
  EXPECT_TRUE(check_balanced(snapshot));
}

}  // namespace
}  // namespace sharingbus

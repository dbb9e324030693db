#include <atomic>
#include <future>
#include <optional>
#include <set>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "bus/sharing_bus.hpp"
#include "tests/bus/test_events.hpp"
#include "tests/support/bus_oracle.hpp"
#include "tests/support/log_capture.hpp"
#include "tests/support/manual_clock.hpp"
#include "tests/support/watchdog.hpp"

namespace sharingbus {
namespace {

using namespace test;

// R: publish(event) never fails because nobody listens …
TEST(Publish, NobodyListens_IsAccepted) {
  SharingBus sut;
  for (std::uint64_t i = 1; i <= 3000; ++i) {
    const PublishResult result = sut.publish(note(i));
    EXPECT_TRUE(result.accepted());
    EXPECT_EQ(result.sequence, i);
  }
  EXPECT_EQ(sut.snapshot().dispatched, 3000u);
  EXPECT_TRUE(check_balanced(sut));
}

// R: … and never waits for a subscriber.
TEST(Publish, SubscriberThatNeverReads_DoesNotHoldItUp) {
  SharingBus sut;
  auto never_reads = sut.subscribe(Filter::all(), 2);
  for (std::uint64_t i = 0; i < 3000; ++i)
    EXPECT_TRUE(sut.publish(note(i)).accepted());
  EXPECT_EQ(never_reads.stats().queued, 2u);
  EXPECT_EQ(never_reads.stats().lagged, 2998u);
  EXPECT_TRUE(check_balanced(sut));
}

// R: the ingress holds 1 024 events by default, a queue 256.
TEST(Publish, DefaultIngress_Holds1024Events) {
  BusOptions options;
  EXPECT_EQ(options.ingress_capacity, 1024u);
  options.engine = Engine::manual;
  SharingBus sut(std::move(options));
  for (std::uint64_t i = 0; i < 1024; ++i)
    ASSERT_TRUE(sut.try_publish(note(i)).accepted());
  EXPECT_EQ(sut.try_publish(note(1024)).status, PublishStatus::refused_full);
  EXPECT_EQ(sut.snapshot().ingress_depth, 1024u);
  EXPECT_TRUE(check_balanced(sut));
}

TEST(Publish, Sequence_IsTheIngressTicketFromOne) {
  SharingBus sut;
  auto subscription = sut.subscribe_all();
  for (std::uint64_t i = 1; i <= 5; ++i) {
    EXPECT_EQ(sut.publish(note(i)).sequence, i);
    const Received received = subscription.try_receive();
    ASSERT_NE(received.event(), nullptr);
    EXPECT_EQ((*received.event())->sequence(), i);
  }
}

// The payload is built once and shared by every receiver.
TEST(Publish, ManyReceivers_ShareOnePayload) {
  std::atomic<int> alive{0};
  SharingBus sut;
  auto first = sut.subscribe_all();
  auto second = sut.subscribe_all();
  auto filtered = sut.subscribe(Filter::type<Tracked>());
  sut.publish(make_event(Tracked(alive), Routing{}));
  EXPECT_EQ(alive, 1);
  const Received a = first.try_receive();
  const Received b = second.try_receive();
  const Received c = filtered.try_receive();
  ASSERT_NE(a.get_if<Tracked>(), nullptr);
  EXPECT_EQ(a.get_if<Tracked>(), b.get_if<Tracked>());
  EXPECT_EQ(a.get_if<Tracked>(), c.get_if<Tracked>());
}

TEST(Publish, RoutingOriginAndSource_ArriveUnchanged) {
  SharingBus sut;
  auto subscription = sut.subscribe_all();
  Routing routing;
  routing.scroll_id = uuid(1);
  routing.connector_uid = uuid(2);
  routing.connector_id = "connector";
  routing.native_session_id = "session";
  routing.address = "acme.echo.1";
  routing.kind = EventKind::stream;
  const std::uint64_t source = sut.new_source();
  sut.publish(make_event(Note{7}, routing, EventOrigin::transport, source));
  const Received received = subscription.try_receive();
  ASSERT_NE(received.event(), nullptr);
  const BusEvent& event = **received.event();
  EXPECT_EQ(event.routing(), routing);
  EXPECT_EQ(event.origin(), EventOrigin::transport);
  EXPECT_EQ(event.source(), source);
  EXPECT_EQ(value_of(received), 7u);
}

TEST(Publish, PayloadByValue_TakesTheKindOfItsType) {
  SharingBus sut;
  auto beats = sut.subscribe(Filter::kind(EventKind::heartbeat));
  sut.publish(Beat{});
  sut.publish(Note{1});
  EXPECT_NE(beats.try_receive().get_if<Beat>(), nullptr);
  EXPECT_TRUE(beats.try_receive().empty());
}

TEST(Publish, NewSource_IsUniqueAndNotZero) {
  SharingBus sut;
  std::set<std::uint64_t> ids;
  for (int i = 0; i < 100; ++i)
    ids.insert(sut.new_source());
  EXPECT_EQ(ids.size(), 100u);
  EXPECT_FALSE(ids.contains(0));
}

// One clock read a dispatch turn.
TEST(Publish, TimeStamps_AreThoseOfTheDispatchTurn) {
  ManualTimerService clock;
  BusOptions options = manual_options();
  options.clock = &clock;
  SharingBus sut(std::move(options));
  auto subscription = sut.subscribe_all();
  sut.publish(note(1));
  clock.advance(std::chrono::seconds(3));
  sut.publish(note(2));
  sut.poll();
  clock.advance(std::chrono::seconds(3));
  for (int i = 0; i < 2; ++i) {
    const Received received = subscription.try_receive();
    ASSERT_NE(received.event(), nullptr);
    EXPECT_EQ((*received.event())->published_at(), clock.now() - std::chrono::seconds(3));
  }
}

TEST(Publish, TimeStampsOff_LeaveTheEpoch) {
  BusOptions options;
  options.timestamps = false;
  SharingBus sut(std::move(options));
  auto subscription = sut.subscribe_all();
  sut.publish(note(1));
  EXPECT_EQ((*subscription.try_receive().event())->published_at(), TimePoint{});
}

TEST(Publish, TimeStampsOff_NobodyAsksForTheTime) {
  class Counting final : public Clock {
   public:
    [[nodiscard]] TimePoint now() const override {
      ++asked;
      return {};
    }
    [[nodiscard]] std::int64_t unix_ms() const override { return 0; }
    mutable int asked = 0;
  };
  const Counting clock;
  for (const bool timestamps : {true, false}) {
    clock.asked = 0;
    BusOptions options;
    options.clock = &clock;
    options.timestamps = timestamps;
    options.log = nullptr;
    SharingBus sut(std::move(options));
    auto small = sut.subscribe(Filter::all(), 1);
    for (std::uint64_t i = 0; i < 3; ++i)
      sut.publish(note(i));
    EXPECT_EQ(clock.asked, timestamps ? 3 : 0);
  }
}

TEST(PublishFromCallback, IdleIngress_IsQueuedBehindTheEventInHand) {
  SharingBus sut;
  auto first = sut.subscribe_inline(named("echo", Filter::kind(EventKind::request)),
                                    [&](const EventRef&) { EXPECT_TRUE(sut.publish(note(2)).accepted()); });
  auto all = sut.subscribe_all();
  sut.publish(note(1, routing_of(EventKind::request)));
  EXPECT_EQ(drain_values(all), (std::vector<std::uint64_t>{1, 2}));
  EXPECT_TRUE(check_balanced(sut));
}

// Re-entrant: queued past capacity up to a reserve of one turn, then the oldest gives way, counted.
TEST(PublishFromCallback, FullIngress_UsesTheReserveThenTheOldestGivesWay) {
  LogCapture log;
  BusOptions options;
  options.ingress_capacity = 4;
  options.log = log.sink();
  SharingBus sut(std::move(options));
  auto all = sut.subscribe(named("all", Filter::kind(EventKind::custom), 10'000));
  std::uint64_t accepted = 0;
  auto burst = sut.subscribe_inline(named("burst", Filter::kind(EventKind::request)), [&](const EventRef&) {
    for (std::uint64_t i = 0; i < 1000; ++i)
      accepted += sut.publish(note(i)).accepted() ? 1 : 0;
  });
  sut.publish(note(0, routing_of(EventKind::request)));

  EXPECT_EQ(accepted, 1000u);
  const BusSnapshot snapshot = sut.snapshot();
  EXPECT_GT(snapshot.ingress_lost, 0u);
  EXPECT_LT(snapshot.ingress_lost, 1000u - 4u);
  EXPECT_EQ(snapshot.dispatched + snapshot.ingress_lost, 1001u);
  EXPECT_EQ(log.count("ingress"), 1u);
  // Those that gave way are the oldest, and show as a gap at their place.
  const Received gap = all.try_receive();
  ASSERT_NE(gap.gap(), nullptr);
  EXPECT_EQ(*gap.gap(), (Gap{2, 1 + snapshot.ingress_lost, snapshot.ingress_lost}));
  const auto values = drain_values(all);
  ASSERT_EQ(values.size(), 1000u - snapshot.ingress_lost);
  EXPECT_EQ(values.front(), snapshot.ingress_lost);
  EXPECT_EQ(values.back(), 999u);
  EXPECT_TRUE(check_balanced(sut));
}

TEST(PublishFromCallback, OneTurnBeyondAFullIngress_LosesNothing) {
  BusOptions options;
  options.ingress_capacity = 4;
  SharingBus sut(std::move(options));
  auto all = sut.subscribe(Filter::kind(EventKind::custom), 1000);
  auto burst = sut.subscribe_inline(named("burst", Filter::kind(EventKind::request)), [&](const EventRef&) {
    for (std::uint64_t i = 0; i < 4 + 128; ++i)
      sut.publish(note(i));
  });
  sut.publish(note(0, routing_of(EventKind::request)));
  EXPECT_EQ(sut.snapshot().ingress_lost, 0u);
  EXPECT_EQ(drain_values(all).size(), 132u);
}

TEST(TryPublishFromCallback, FullIngress_IsRefusedAndCounted) {
  BusOptions options;
  options.ingress_capacity = 4;
  SharingBus sut(std::move(options));
  std::vector<PublishStatus> statuses;
  auto burst = sut.subscribe_inline(named("burst", Filter::kind(EventKind::request)), [&](const EventRef&) {
    for (std::uint64_t i = 0; i < 6; ++i)
      statuses.push_back(sut.try_publish(note(i)).status);
  });
  sut.publish(note(0, routing_of(EventKind::request)));
  EXPECT_EQ(statuses, (std::vector<PublishStatus>{PublishStatus::accepted, PublishStatus::accepted,
                                                  PublishStatus::accepted, PublishStatus::accepted,
                                                  PublishStatus::refused_full, PublishStatus::refused_full}));
  EXPECT_EQ(sut.snapshot().ingress_refused, 2u);
  EXPECT_EQ(sut.snapshot().ingress_lost, 0u);
  EXPECT_TRUE(check_balanced(sut));
}

TEST(TryPublish, IdleBus_IsDispatchedAtOnce) {
  SharingBus sut;
  auto all = sut.subscribe_all();
  EXPECT_TRUE(sut.try_publish(note(4)).accepted());
  EXPECT_EQ(drain_values(all), std::vector<std::uint64_t>{4});
}

// The refused event is destroyed, not lost in some queue.
TEST(TryPublish, Refused_DestroysTheEvent) {
  std::atomic<int> alive{0};
  SharingBus sut(manual_options(1));
  EXPECT_TRUE(sut.try_publish(make_event(Tracked(alive), Routing{})).accepted());
  EXPECT_EQ(sut.try_publish(make_event(Tracked(alive), Routing{})).status, PublishStatus::refused_full);
  EXPECT_EQ(alive, 1);
}

/// An inline subscriber that holds the dispatching thread until it is told to go on.
class HeldDispatcher {
 public:
  explicit HeldDispatcher(SharingBus& bus) : bus_(bus) {
    subscription_ = bus.subscribe_inline(named("hold", Filter::kind(EventKind::system)), [this](const EventRef&) {
      holding_.set_value();
      go_on_.get_future().wait();
    });
    thread_ = std::thread([this] { bus_.publish(note(0, routing_of(EventKind::system))); });
    holding_.get_future().wait();
  }
  void release() {
    if (!std::exchange(released_, true)) go_on_.set_value();
  }
  ~HeldDispatcher() {
    release();
    thread_.join();
  }

 private:
  SharingBus& bus_;
  std::promise<void> holding_;
  std::promise<void> go_on_;
  bool released_ = false;
  Subscription subscription_;
  std::thread thread_;
};

TEST(TryPublish, FullWhileAnotherThreadDispatches_IsRefused) {
  const Watchdog watchdog("TryPublish.FullWhileAnotherThreadDispatches");
  BusOptions options;
  options.ingress_capacity = 3;
  SharingBus sut(std::move(options));
  auto all = sut.subscribe(Filter::kind(EventKind::custom));
  {
    HeldDispatcher held(sut);
    for (std::uint64_t i = 0; i < 3; ++i)
      EXPECT_TRUE(sut.try_publish(note(i)).accepted());
    const PublishResult refused = sut.try_publish(note(3));
    EXPECT_EQ(refused.status, PublishStatus::refused_full);
    EXPECT_EQ(refused.sequence, 0u);
  }
  EXPECT_EQ(drain_values(all), (std::vector<std::uint64_t>{0, 1, 2}));
  EXPECT_EQ(sut.snapshot().ingress_refused, 1u);
  EXPECT_TRUE(check_balanced(sut));
}

// Ingress full, lock held by another thread: waits for that turn's room; nothing is lost.
TEST(Publish, FullWhileAnotherThreadDispatches_GetsRoomAfterThatTurn) {
  const Watchdog watchdog("Publish.FullWhileAnotherThreadDispatches");
  BusOptions options;
  options.ingress_capacity = 3;
  SharingBus sut(std::move(options));
  auto all = sut.subscribe(Filter::kind(EventKind::custom));
  std::thread waiting;
  {
    HeldDispatcher held(sut);
    for (std::uint64_t i = 0; i < 3; ++i)
      EXPECT_TRUE(sut.publish(note(i)).accepted());
    waiting = std::thread([&] {
      for (std::uint64_t i = 3; i < 20; ++i)
        EXPECT_TRUE(sut.publish(note(i)).accepted());
    });
  }
  waiting.join();
  const auto values = drain_values(all);
  ASSERT_EQ(values.size(), 20u);
  for (std::uint64_t i = 0; i < 20; ++i)
    EXPECT_EQ(values[i], i);
  EXPECT_EQ(sut.snapshot().ingress_lost, 0u);
  EXPECT_TRUE(check_balanced(sut));
}

// Guarantee 1 between threads: what happens after, comes after.
TEST(Publish, TwoThreadsTakingTurns_KeepHappensBefore) {
  const Watchdog watchdog("Publish.TwoThreadsTakingTurns");
  constexpr std::uint64_t kRounds = 2000;
  SharingBus sut;
  auto all = sut.subscribe(Filter::all(), kRounds);
  std::atomic<std::uint64_t> turn{0};
  const auto player = [&](std::uint64_t parity) {
    for (std::uint64_t i = parity; i < kRounds; i += 2) {
      while (turn.load() != i)
        std::this_thread::yield();
      sut.publish(note(i));
      turn.store(i + 1);
    }
  };
  std::thread other(player, 1);
  player(0);
  other.join();
  const auto values = drain_values(all);
  ASSERT_EQ(values.size(), kRounds);
  for (std::uint64_t i = 0; i < kRounds; ++i)
    ASSERT_EQ(values[i], i);
}

TEST(Publisher, CopiesAndManyOfThem_PublishInOneOrder) {
  SharingBus sut;
  auto all = sut.subscribe_all();
  const Publisher first = sut.publisher();
  const Publisher second = sut.publisher();
  Publisher copy = first;
  EXPECT_EQ(first.publish(note(1)).sequence, 1u);
  EXPECT_EQ(second.publish(note(2)).sequence, 2u);
  EXPECT_EQ(copy.try_publish(note(3)).sequence, 3u);
  EXPECT_EQ(sut.publish(note(4)).sequence, 4u);
  EXPECT_EQ(copy.publish(Note{5}, Routing{}, EventOrigin::connector).sequence, 5u);
  EXPECT_EQ(drain_values(all), (std::vector<std::uint64_t>{1, 2, 3, 4, 5}));
}

TEST(Publisher, WithoutABus_IsRefused) {
  const Publisher sut;
  EXPECT_EQ(sut.publish(note(1)).status, PublishStatus::refused_closed);
  EXPECT_EQ(sut.try_publish(note(1)).status, PublishStatus::refused_closed);
}

TEST(Publisher, OutlivingTheBus_IsRefused) {
  std::optional<SharingBus> bus(std::in_place);
  const Publisher sut = bus->publisher();
  EXPECT_TRUE(sut.publish(note(1)).accepted());
  bus.reset();
  EXPECT_EQ(sut.publish(note(2)).status, PublishStatus::refused_closed);
  EXPECT_EQ(sut.try_publish(note(2)).status, PublishStatus::refused_closed);
}

TEST(BusOptions, NoIngress_IsAnErrorThatNamesTheField) {
  BusOptions options;
  options.ingress_capacity = 0;
  const auto valid = options.validate();
  ASSERT_FALSE(valid.has_value());
  EXPECT_TRUE(valid.error().is(errc::invalid_argument));
  EXPECT_NE(valid.error().message.find("ingress_capacity"), std::string::npos);
  EXPECT_THROW(SharingBus{options}, std::invalid_argument);
}

TEST(BusOptions, NullStage_IsAnErrorThatNamesTheField) {
  BusOptions options;
  options.stages.push_back(nullptr);
  ASSERT_FALSE(options.validate().has_value());
  EXPECT_NE(options.validate().error().message.find("stages"), std::string::npos);
  EXPECT_THROW(SharingBus{options}, std::invalid_argument);
}

TEST(BusOptions, Defaults_AreValid) {
  EXPECT_TRUE(BusOptions{}.validate().has_value());
}

}  // namespace
}  // namespace sharingbus

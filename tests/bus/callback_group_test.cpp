// O: callback subscriptions on a given executor; many of them share one worker in a CallbackGroup.
#include <atomic>
#include <future>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include <boost/asio/io_context.hpp>
#include <boost/asio/strand.hpp>
#include <boost/asio/thread_pool.hpp>
#include <gtest/gtest.h>

#include "bus/async.hpp"
#include "tests/bus/stream_text.hpp"
#include "tests/bus/test_events.hpp"
#include "tests/support/bus_oracle.hpp"
#include "tests/support/context_threads.hpp"
#include "tests/support/watchdog.hpp"

namespace sharingbus {
namespace {

using namespace test;
namespace asio = boost::asio;

BusOptions executor_options(asio::io_context& context) {
  BusOptions options;
  options.engine = Engine::executor;
  options.scheduler = dispatch_on(context.get_executor());
  options.log = nullptr;
  return options;
}

class CallbackGroupTest : public ::testing::Test {
 protected:
  CallbackGroupTest() : bus_(options()), group_(bus_, context_.get_executor()) {}
  void run() {
    context_.restart();
    context_.poll();
  }

  asio::io_context context_;
  SharingBus bus_;
  CallbackGroup group_;

 private:
  static BusOptions options() {
    BusOptions options;
    options.log = nullptr;
    return options;
  }
};

TEST_F(CallbackGroupTest, EachMember_GetsItsStreamInOrderOnTheExecutor) {
  StreamText all;
  StreamText requests;
  auto one = group_.subscribe(named("all", Filter::all(), 3), [&](const Received& next) { all.add(next); });
  auto two = group_.subscribe(named("requests", Filter::kind(EventKind::request)),
                              [&](const Received& next) { requests.add(next); });
  publish_notes(bus_, 1, 2);
  publish_notes(bus_, 3, 5, routing_of(EventKind::request));
  EXPECT_EQ(all.text(), "") << "never on the dispatching thread";
  run();
  bus_.close();
  run();
  EXPECT_EQ(all.text(), "1 2 3 gap4-5(2) end:bus_closed");
  EXPECT_EQ(requests.text(), "3 4 5 end:bus_closed");
  EXPECT_EQ(one.stats().name, "all");
  EXPECT_NE(one.id(), two.id());
  EXPECT_TRUE(check_balanced(bus_));
}

// One wake-up serves all that became ready in a dispatch turn.
TEST_F(CallbackGroupTest, ManyMembersReadyInOneTurn_CostOneWakeUp) {
  std::vector<CallbackSubscription> members;
  int calls = 0;
  for (int i = 0; i < 100; ++i)
    members.push_back(group_.subscribe(named("member"), [&](const Received&) { ++calls; }));
  run();
  bus_.publish(note(1));
  context_.restart();
  const std::size_t handlers = context_.poll();
  EXPECT_EQ(calls, 100);
  EXPECT_LE(handlers, 10u);
}

TEST_F(CallbackGroupTest, Batches_AreWholeRunsGapsAndTheEnd) {
  SharingBus bus(manual_options());
  CallbackGroup group(bus, context_.get_executor());
  StreamText stream;
  std::vector<std::size_t> sizes;
  auto sut = group.subscribe_batches(named("batches", Filter::all(), 40), [&](const Lent& lent) {
    EXPECT_FALSE(lent.empty());
    stream.add(lent);
    if (!lent.events().empty()) sizes.push_back(lent.events().size());
  });
  publish_notes(bus, 1, 40);
  bus.poll();
  run();
  EXPECT_LT(sizes.size(), 10u) << "runs, not single events";
  EXPECT_EQ(sut.stats().received, 40u);
  publish_notes(bus, 41, 81);
  bus.poll();
  bus.close();
  run();
  std::string expected;
  for (int i = 1; i <= 80; ++i)
    expected += std::to_string(i) + " ";
  EXPECT_EQ(stream.text(), expected + "gap81-81(1) end:bus_closed");
  EXPECT_TRUE(check_balanced(bus));
}

TEST_F(CallbackGroupTest, CallbackThatThrows_HarmsNeitherItselfNorItsNeighbours) {
  StreamText good;
  int calls = 0;
  auto bad = group_.subscribe(named("bad"), [&](const Received&) {
    ++calls;
    throw std::runtime_error("mine");
  });
  auto bad_batches = group_.subscribe_batches(named("bad_batches"), [](const Lent&) { throw 1; });
  auto sut = group_.subscribe(named("good"), [&](const Received& next) { good.add(next); });
  publish_notes(bus_, 1, 3);
  run();
  EXPECT_EQ(calls, 3);
  EXPECT_EQ(bad.stats().callback_failures, 3u);
  EXPECT_GE(bad_batches.stats().callback_failures, 1u);
  EXPECT_EQ(bad_batches.stats().received, 3u);
  EXPECT_EQ(good.text(), "1 2 3");
  EXPECT_EQ(sut.stats().callback_failures, 0u);
  EXPECT_TRUE(check_balanced(bus_));
}

TEST_F(CallbackGroupTest, LetGoFromInsideItsOwnCallback_EndsAtOnce) {
  int calls = 0;
  StreamText other;
  std::optional<CallbackSubscription> sut;
  sut = group_.subscribe(named("once"), [&](const Received&) {
    ++calls;
    sut.reset();
  });
  auto neighbour = group_.subscribe(named("other"), [&](const Received& next) { other.add(next); });
  publish_notes(bus_, 1, 5);
  run();
  EXPECT_EQ(calls, 1);
  EXPECT_EQ(other.text(), "1 2 3 4 5");
  bus_.publish(note(6));
  run();
  EXPECT_EQ(calls, 1);
  EXPECT_EQ(bus_.subscriber_count(), 1u);
  EXPECT_EQ(bus_.snapshot().retired.received, 1u);
  EXPECT_EQ(bus_.snapshot().retired.discarded, 4u);
  EXPECT_TRUE(check_balanced(bus_));
}

TEST_F(CallbackGroupTest, NeighbourLetGoFromInsideACallback_IsNotCalledAnyMore) {
  int calls = 0;
  std::optional<CallbackSubscription> victim;
  auto killer = group_.subscribe(named("killer"), [&](const Received&) { victim.reset(); });
  victim = group_.subscribe(named("victim"), [&](const Received&) { ++calls; });
  bus_.publish(note(1));
  run();
  const int before = calls;
  EXPECT_LE(before, 1);
  publish_notes(bus_, 2, 4);
  run();
  EXPECT_EQ(calls, before);
  EXPECT_TRUE(check_balanced(bus_));
}

TEST_F(CallbackGroupTest, SubscribedFromInsideACallback_Works) {
  StreamText inner;
  std::optional<CallbackSubscription> born;
  auto sut = group_.subscribe(named("outer"), [&](const Received&) {
    if (!born) born = group_.subscribe(named("inner"), [&](const Received& next) { inner.add(next); });
  });
  bus_.publish(note(1));
  run();
  bus_.publish(note(2));
  run();
  EXPECT_EQ(inner.text(), "2");
}

TEST_F(CallbackGroupTest, GroupIsGone_ItsSubscriptionsGoOn) {
  StreamText stream;
  CallbackSubscription sut;
  {
    CallbackGroup brief(bus_, context_.get_executor());
    sut = brief.subscribe(named("stays"), [&](const Received& next) { stream.add(next); });
  }
  publish_notes(bus_, 1, 2);
  run();
  EXPECT_EQ(stream.text(), "1 2");
}

// The bus must outlive the group, not the subscriptions.
TEST(CallbackGroupLife, BusIsGone_SubscriptionGetsTheRestAndTheEnd) {
  asio::io_context context;
  StreamText stream;
  CallbackSubscription sut;
  {
    SharingBus bus;
    CallbackGroup group(bus, context.get_executor());
    sut = group.subscribe(named("late"), [&](const Received& next) { stream.add(next); });
    publish_notes(bus, 1, 2);
  }
  context.poll();
  EXPECT_EQ(stream.text(), "1 2 end:bus_closed");
}

TEST_F(CallbackGroupTest, BusyMember_DoesNotStarveTheOthers) {
  std::vector<int> order;
  auto busy = group_.subscribe(named("busy", Filter::kind(EventKind::custom), 2000),
                               [&](const Received&) { order.push_back(1); });
  auto other =
      group_.subscribe(named("other", Filter::kind(EventKind::request)), [&](const Received&) { order.push_back(2); });
  publish_notes(bus_, 1, 2000);
  bus_.publish(note(1, routing_of(EventKind::request)));
  run();
  ASSERT_EQ(order.size(), 2001u);
  EXPECT_NE(order.back(), 2);
}

// Members with a filter get event by event, from one inbox for the whole group; all else is as with a queue of their
// own.
class GroupInboxTest : public CallbackGroupTest {
 protected:
  static SubscriptionOptions filtered(std::size_t capacity, Overflow overflow = Overflow::drop_newest) {
    auto options = with_overflow(overflow, capacity, "filtered");
    options.filter = Filter::kind(EventKind::custom);
    return options;
  }
};

TEST_F(GroupInboxTest, Gaps_StandAtTheirPlace) {
  StreamText stream;
  StreamText neighbour;
  auto sut = group_.subscribe(filtered(2), [&](const Received& next) {
    stream.add(next);
    // There is room for one of them, behind the gap.
    if (next.event() != nullptr && value_of(next) == 1) publish_notes(bus_, 4, 5);
  });
  auto other = group_.subscribe(filtered(10), [&](const Received& next) { neighbour.add(next); });
  publish_notes(bus_, 1, 3);
  run();
  EXPECT_EQ(stream.text(), "1 2 gap3-3(1) 4 gap5-5(1)");
  publish_notes(bus_, 6, 9);
  run();
  EXPECT_EQ(stream.text(), "1 2 gap3-3(1) 4 gap5-5(1) 6 7 gap8-9(2)");
  bus_.close();
  run();
  EXPECT_EQ(stream.text(), "1 2 gap3-3(1) 4 gap5-5(1) 6 7 gap8-9(2) end:bus_closed");
  EXPECT_EQ(neighbour.text(), "1 2 3 4 5 6 7 8 9 end:bus_closed");
  EXPECT_EQ(sut.stats().lagged, 4u);
  EXPECT_EQ(sut.stats().high_water, 2u);
  EXPECT_TRUE(check_balanced(bus_));
}

TEST_F(GroupInboxTest, CloseSubscriber_EndsAfterTheGap) {
  StreamText stream;
  auto sut = group_.subscribe(filtered(2, Overflow::close_subscriber), [&](const Received& next) { stream.add(next); });
  publish_notes(bus_, 1, 5);
  EXPECT_EQ(sut.stats().queued, 2u);
  run();
  EXPECT_EQ(stream.text(), "1 2 gap3-3(1) end:overflowed");
  EXPECT_TRUE(sut.stats().closed);
  bus_.publish(note(6));
  EXPECT_EQ(bus_.subscriber_count(), 0u);
  EXPECT_TRUE(check_balanced(bus_));
}

TEST_F(GroupInboxTest, Unsubscribed_GetsWhatWasQueuedAndTheEnd) {
  StreamText stream;
  auto sut = group_.subscribe(filtered(5), [&](const Received& next) { stream.add(next); });
  publish_notes(bus_, 1, 2);
  bus_.unsubscribe(sut.id());
  bus_.publish(note(3));
  run();
  EXPECT_EQ(stream.text(), "1 2 end:unsubscribed");
  EXPECT_TRUE(check_balanced(bus_));
}

TEST_F(GroupInboxTest, LetGoWithEventsQueued_DiscardsThemAndLetsGoOfTheCallback) {
  const auto held = std::make_shared<int>(0);
  int calls = 0;
  auto sut = group_.subscribe(filtered(5), [&calls, held](const Received&) { ++calls; });
  publish_notes(bus_, 1, 7);
  sut = {};
  EXPECT_EQ(held.use_count(), 1);
  bus_.publish(note(8));
  EXPECT_EQ(bus_.subscriber_count(), 0u);
  EXPECT_EQ(bus_.snapshot().retired.discarded, 5u);
  EXPECT_EQ(bus_.snapshot().retired.lagged, 2u);
  run();
  EXPECT_EQ(calls, 0);
  EXPECT_TRUE(check_balanced(bus_));
}

// An executor needs to live as long as the subscriptions on it, not as long as the bus that collects them later.
TEST_F(GroupInboxTest, ContextIsGoneAfterItsSubscriptions_BusGoesOn) {
  {
    asio::io_context brief;
    CallbackGroup group(bus_, brief.get_executor());
    auto one = group.subscribe(filtered(5), [](const Received&) {});
    auto two = group.subscribe(filtered(5), [](const Received&) {});
    publish_notes(bus_, 1, 2);
    brief.poll();
  }
  publish_notes(bus_, 3, 4);
  EXPECT_EQ(bus_.subscriber_count(), 0u);
  EXPECT_EQ(bus_.snapshot().retired.received, 4u);
  EXPECT_TRUE(check_balanced(bus_));
}

TEST(CallbackGroupLife, ContextOfItsStrandIsGoneBeforeTheBus_TouchesItNoMore) {
  // A strand belongs to its context: letting it go later is a use after free.
  SharingBus bus;
  for (const bool woken : {false, true}) {
    SCOPED_TRACE(woken);
    auto context = std::make_unique<asio::io_context>();
    auto alone = subscribe_on(bus, asio::make_strand(*context), named("alone", Filter::kind(EventKind::request)),
                              [](const Received&) {});
    auto group = std::make_unique<CallbackGroup>(bus, asio::make_strand(*context));
    auto member = group->subscribe(named("member", Filter::kind(EventKind::request)), [](const Received&) {});
    auto batches = group->subscribe_batches(named("batches"), [](const Lent&) {});
    context->poll();
    if (woken) publish_notes(bus, 1, 2, routing_of(EventKind::request));
    group.reset();
    for (CallbackSubscription* each : {&alone, &member, &batches})
      *each = {};
    context.reset();
    publish_notes(bus, 3, 4, routing_of(EventKind::request));
    EXPECT_EQ(bus.subscriber_count(), 0u);
  }
  bus.close();
  EXPECT_TRUE(check_balanced(bus));
}

// Its job is thrown away with the context; the subscription stays, and lags.
TEST_F(GroupInboxTest, ContextIsGoneBeforeItsSubscription_OnlyItIsNotCalledAnyMore) {
  StreamText other;
  int calls = 0;
  auto brief = std::make_unique<asio::io_context>();
  auto sut = subscribe_on(bus_, brief->get_executor(), filtered(3), [&](const Received&) { ++calls; });
  auto neighbour = group_.subscribe(filtered(10), [&](const Received& next) { other.add(next); });
  bus_.publish(note(1));
  brief.reset();
  publish_notes(bus_, 2, 5);
  run();
  EXPECT_EQ(calls, 0);
  EXPECT_EQ(other.text(), "1 2 3 4 5");
  EXPECT_EQ(sut.stats().lagged, 2u);
  EXPECT_EQ(sut.stats().queued, 3u);
  EXPECT_TRUE(check_balanced(bus_));
}

TEST_F(GroupInboxTest, SlowSubscriber_IsNamedAndRecovers) {
  auto options = filtered(2);
  options.slow.lost = 1;
  auto notices = bus_.subscribe(Filter::type<SubscriberLagging>() || Filter::type<SubscriberRecovered>());
  StreamText stream;
  auto sut = group_.subscribe(std::move(options), [&](const Received& next) { stream.add(next); });
  publish_notes(bus_, 1, 3);
  Received next = notices.try_receive();
  ASSERT_NE(next.get_if<SubscriberLagging>(), nullptr);
  EXPECT_EQ(next.get_if<SubscriberLagging>()->subscription, sut.id());
  run();
  bus_.publish(note(4));
  next = notices.try_receive();
  EXPECT_NE(next.get_if<SubscriberRecovered>(), nullptr);
  run();
  EXPECT_EQ(stream.text(), "1 2 gap3-3(1) 4");
}

TEST_F(CallbackGroupTest, Idle_DoesNotKeepTheContextRunning) {
  const Watchdog watchdog("CallbackGroup.Idle");
  auto sut = group_.subscribe(named("idle"), [](const Received&) {});
  context_.run();
}

// A callback that blocks holds up its own group only.
TEST(CallbackGroups, OneBlocks_TheOtherGoesOn) {
  const Watchdog watchdog("CallbackGroups.OneBlocks");
  asio::thread_pool pool(2);
  SharingBus bus;
  std::promise<void> entered;
  std::promise<void> go_on;
  std::promise<void> all_seen;
  CallbackGroup blocking(bus, pool.get_executor());
  CallbackGroup other(bus, pool.get_executor());
  {
    bool first = true;
    auto blocked = blocking.subscribe(named("blocks"), [&](const Received&) {
      if (!std::exchange(first, false)) return;
      entered.set_value();
      go_on.get_future().wait();
    });
    std::uint64_t seen = 0;
    auto sut = other.subscribe(named("other", Filter::all(), 10'000), [&](const Received& next) {
      if (next.event() != nullptr && ++seen == 1000) all_seen.set_value();
    });
    bus.publish(note(0));
    entered.get_future().wait();
    publish_notes(bus, 1, 999);
    all_seen.get_future().wait();
    go_on.set_value();
  }
  bus.close();
  EXPECT_TRUE(check_balanced(bus));
  pool.join();
}

// What the bus dispatches on the group's own executor reaches the callbacks without one more way through its queue.
TEST(CallbackGroups, ExecutorThatDispatches_CallsBackInTheSameHandler) {
  const Watchdog watchdog("CallbackGroups.ExecutorThatDispatches");
  asio::io_context context;
  SharingBus bus(executor_options(context));
  CallbackGroup group(bus, context.get_executor());
  StreamText stream;
  auto sut = group.subscribe(named("sut", Filter::kind(EventKind::request)), [&](const Received& next) {
    if (stream.text().empty()) {
      // No longer the dispatching thread.
      publish_notes(bus, 3, 3, routing_of(EventKind::request));
      bus.flush();
      EXPECT_EQ(bus.snapshot().dispatched, 3u);
    }
    stream.add(next);
  });
  context.poll();
  context.restart();
  publish_notes(bus, 1, 2, routing_of(EventKind::request));
  EXPECT_EQ(stream.text(), "") << "never inside publish";
  std::size_t handlers = 0;
  while (stream.text().empty())
    handlers += context.poll_one();
  EXPECT_EQ(handlers, 1u);
  context.poll();
  bus.close();
  context.restart();
  context.poll();
  EXPECT_EQ(stream.text(), "1 2 3 end:bus_closed");
  EXPECT_TRUE(check_balanced(bus));
}

// A callback that blocks there holds up neither the dispatch nor another group.
TEST(CallbackGroups, BlocksOnTheExecutorThatDispatches_OthersGoOn) {
  const Watchdog watchdog("CallbackGroups.BlocksOnTheExecutor");
  std::promise<void> entered;
  std::promise<void> go_on;
  std::promise<void> all_seen;
  ContextThreads threads(2);
  SharingBus bus(executor_options(threads.context()));
  CallbackGroup blocking(bus, threads.executor());
  CallbackGroup other(bus, threads.executor());
  {
    bool first = true;
    auto blocked = blocking.subscribe(named("blocks", Filter::kind(EventKind::request)), [&](const Received&) {
      if (!std::exchange(first, false)) return;
      entered.set_value();
      go_on.get_future().wait();
    });
    std::uint64_t seen = 0;
    auto sut = other.subscribe(named("other", Filter::kind(EventKind::request), 10'000), [&](const Received& next) {
      if (next.event() != nullptr && ++seen == 1000) all_seen.set_value();
    });
    publish_notes(bus, 0, 0, routing_of(EventKind::request));
    entered.get_future().wait();
    publish_notes(bus, 1, 999, routing_of(EventKind::request));
    all_seen.get_future().wait();
    go_on.set_value();
  }
  bus.close();
  EXPECT_TRUE(check_balanced(bus));
}

// Afterwards the callback is not running and will not run.
TEST(CallbackGroups, MemberLetGoFromOutside_IsNeverCalledAfterwards) {
  const Watchdog watchdog("CallbackGroups.MemberLetGo");
  asio::thread_pool pool(2);
  SharingBus bus;
  CallbackGroup group(bus, pool.get_executor());
  std::atomic<std::uint64_t> neighbour_calls{0};
  auto neighbour = group.subscribe(named("neighbour", Filter::all(), 100'000),
                                   [&](const Received& next) { neighbour_calls += next.event() != nullptr ? 1 : 0; });
  for (int round = 0; round < 200; ++round) {
    auto touched = std::make_unique<std::uint64_t>(0);
    auto sut = group.subscribe(named("brief"), [raw = touched.get()](const Received&) { ++*raw; });
    for (std::uint64_t i = 0; i < 5; ++i)
      bus.publish(note(i));
    if (round % 2 == 0) std::this_thread::yield();
    sut = {};
    touched.reset();  // a late call would be a use after free
  }
  bus.close();
  pool.join();
  EXPECT_EQ(neighbour_calls, 1000u);
  EXPECT_TRUE(check_balanced(bus));
}

// The last of it in the bus is a command, behind which neither the member nor its group is there any more.
TEST(CallbackGroups, LetGoThenUnsubscribedByItsId_TouchesNothingThatIsGone) {
  asio::io_context context;
  SharingBus bus(manual_options());
  SubscriptionId id = 0;
  {
    const CallbackSubscription sut = subscribe_on(
        bus, context.get_executor(), named("sut", Filter::kind(EventKind::request)), [](const Received&) {});
    id = sut.id();
  }
  publish_notes(bus, 1, 2);
  bus.unsubscribe(id);
  EXPECT_EQ(bus.poll(1), 1u);
  EXPECT_EQ(bus.poll(), 1u);
  EXPECT_EQ(bus.subscriber_count(), 0u);
  EXPECT_TRUE(check_balanced(bus));
}

/// A payload that holds something of the user's.
struct Holder {
  static constexpr std::string_view event_name = "test_holder";
  std::shared_ptr<void> held;
};

// Receiving gives back the run before, whose last payload may hold whoever owns the subscription.
TEST(CallbackGroups, LetGoWhileItsWorkerReceives_IsNotCalledWithWhatCame) {
  struct Owner {
    CallbackSubscription subscription;
  };
  for (const bool batches : {false, true}) {
    asio::io_context context;
    SharingBus bus(manual_options());
    CallbackGroup group(bus, context.get_executor());
    auto owner = std::make_shared<Owner>();
    const std::weak_ptr<Owner> watched = owner;
    std::uint64_t seen = 0;
    if (batches) {
      owner->subscription = group.subscribe_batches(named("sut"), [&](const Lent& lent) {
        EXPECT_FALSE(watched.expired());
        seen += lent.events().size();
      });
    } else {
      owner->subscription = group.subscribe(named("sut"), [&](const Received&) {
        EXPECT_FALSE(watched.expired());
        ++seen;
      });
    }
    bus.publish(Holder{std::move(owner)});
    publish_notes(bus, 2, 2);
    EXPECT_EQ(bus.poll(), 2u);
    publish_notes(bus, 3, 4);
    EXPECT_EQ(bus.poll(), 2u);
    context.poll();
    EXPECT_TRUE(watched.expired());
    EXPECT_EQ(seen, 2u);
    poll_all(bus);
    bus.close();
    EXPECT_EQ(bus.snapshot().retired.discarded, 2u);
    EXPECT_TRUE(check_balanced(bus));
  }
}

TEST(CallbackGroups, Thousands_MostlyIdle_AllGetTheirOwn) {
  asio::io_context context;
  SharingBus bus;
  CallbackGroup group(bus, context.get_executor());
  std::vector<CallbackSubscription> members;
  std::vector<std::uint64_t> seen(2000);
  for (std::uint64_t i = 0; i < seen.size(); ++i) {
    Filter filter = Filter::connector_id("c" + std::to_string(i));
    members.push_back(group.subscribe(named("member", std::move(filter), 4), [&seen, i](const Received& next) {
      if (next.event() != nullptr) seen[i] += value_of(next);
    }));
  }
  for (std::uint64_t i = 0; i < seen.size(); i += 7)
    bus.publish(note(i + 1, with_session("c" + std::to_string(i), "s")));
  context.poll();
  for (std::uint64_t i = 0; i < seen.size(); ++i)
    ASSERT_EQ(seen[i], i % 7 == 0 ? i + 1 : 0);
  members.clear();
  bus.publish(note(0));
  EXPECT_EQ(bus.subscriber_count(), 0u);
  EXPECT_TRUE(check_balanced(bus));
}

}  // namespace
}  // namespace sharingbus

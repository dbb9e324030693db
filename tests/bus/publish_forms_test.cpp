// O: publish_batch, try_publish, async_publish, flush, and the bound in bytes at the ingress.
#include <atomic>
#include <optional>
#include <span>
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
#include <boost/asio/use_future.hpp>
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

BusOptions quiet(BusOptions options) {
  options.log = nullptr;
  return options;
}

std::vector<EventDraft> notes(std::uint64_t first, std::uint64_t last) {
  std::vector<EventDraft> drafts;
  for (std::uint64_t i = first; i <= last; ++i)
    drafts.push_back(note(i));
  return drafts;
}

// --- publish_batch

TEST(PublishBatch, Events_KeepTheirOrderAndPlace) {
  SharingBus bus;
  auto sut = bus.subscribe_all();
  bus.publish(note(0));
  auto drafts = notes(1, 5);
  const PublishBatchResult result = bus.publish_batch(drafts);
  EXPECT_EQ(result.accepted, 5u);
  EXPECT_EQ(result.last_sequence, 6u);
  for (const EventDraft& draft : drafts)
    EXPECT_FALSE(static_cast<bool>(draft)) << "consumed";
  bus.publish(note(6));
  EXPECT_EQ(stream_text(sut), "0 1 2 3 4 5 6");
  EXPECT_TRUE(check_balanced(bus));
}

TEST(PublishBatch, Empty_IsNothing) {
  SharingBus bus;
  const PublishBatchResult result = bus.publish_batch({});
  EXPECT_EQ(result.accepted, 0u);
  EXPECT_EQ(result.last_sequence, 0u);
  EXPECT_EQ(bus.snapshot().published, 0u);
}

TEST(PublishBatch, EmptyDrafts_AreLeftOut) {
  for (const std::size_t capacity_bytes : {0, 1'000'000}) {
    BusOptions options;
    options.ingress_capacity_bytes = capacity_bytes;
    SharingBus bus(std::move(options));
    auto sut = bus.subscribe_all();
    auto drafts = notes(1, 4);
    drafts[0] = EventDraft();
    drafts[2] = EventDraft();
    const PublishBatchResult result = bus.publish_batch(drafts);
    EXPECT_EQ(result.accepted, 2u);
    EXPECT_EQ(result.last_sequence, 2u);
    EXPECT_EQ(stream_text(sut), "2 4");
    EXPECT_TRUE(check_balanced(bus));
  }
}

TEST(PublishBatch, LargerThanTheIngress_LosesNothingWhereThePublisherMayDispatch) {
  BusOptions options;
  options.ingress_capacity = 4;
  SharingBus bus(std::move(options));
  auto sut = bus.subscribe(Filter::all(), 1000);
  auto drafts = notes(1, 500);
  EXPECT_EQ(bus.publisher().publish_batch(drafts).accepted, 500u);
  EXPECT_EQ(drain_values(sut).size(), 500u);
  EXPECT_EQ(bus.snapshot().ingress_lost, 0u);
}

TEST(PublishBatch, ManualAndLargerThanTheIngress_TheOldestGivesWay) {
  SharingBus bus(quiet(manual_options(4)));
  auto sut = bus.subscribe_all();
  auto drafts = notes(1, 10);
  const PublishBatchResult result = bus.publish_batch(drafts);
  EXPECT_EQ(result.accepted, 10u);
  EXPECT_EQ(result.last_sequence, 10u);
  poll_all(bus);
  EXPECT_EQ(stream_text(sut), "gap1-6(6) 7 8 9 10");
  EXPECT_TRUE(check_balanced(bus));
}

TEST(PublishBatch, ClosedBus_AcceptsNone) {
  std::atomic<int> alive{0};
  SharingBus bus;
  const Publisher publisher = bus.publisher();
  bus.close();
  {
    std::vector<EventDraft> drafts;
    drafts.push_back(make_event(Tracked(alive), Routing{}));
    const PublishBatchResult result = publisher.publish_batch(drafts);
    EXPECT_EQ(result.accepted, 0u);
    EXPECT_EQ(result.last_sequence, 0u);
  }
  EXPECT_EQ(alive, 0);
  EXPECT_EQ(Publisher().publish_batch({}).accepted, 0u);
}

TEST(PublishBatch, InsideACallback_ComesAfterTheEventInHand) {
  SharingBus bus;
  auto sut = bus.subscribe_all();
  auto inline_one = bus.subscribe_inline(named("inline", Filter::kind(EventKind::request)), [&](const EventRef&) {
    auto drafts = notes(10, 12);
    EXPECT_EQ(bus.publish_batch(drafts).accepted, 3u);
  });
  bus.publish(note(1, routing_of(EventKind::request)));
  bus.publish(note(2));
  EXPECT_EQ(stream_text(sut), "1 10 11 12 2");
}

// --- try_publish

TEST(TryPublish, Refused_LeavesTheDraftAsItWas) {
  SharingBus bus(manual_options(1));
  auto sut = bus.subscribe_all();
  bus.publish(note(1));
  EventDraft draft = note(2, with_uid(uuid(7)));
  EXPECT_EQ(bus.try_publish(std::move(draft)).status, PublishStatus::refused_full);
  ASSERT_TRUE(static_cast<bool>(draft));
  EXPECT_EQ(draft->get_if<Note>()->value, 2u);
  EXPECT_EQ(draft->routing(), with_uid(uuid(7)));
  bus.poll();
  EXPECT_TRUE(bus.try_publish(std::move(draft)).accepted());
  EXPECT_FALSE(static_cast<bool>(draft));
  bus.poll();
  EXPECT_EQ(stream_text(sut), "1 2");
  EventDraft late = note(3);
  bus.close();
  EXPECT_EQ(bus.try_publish(std::move(late)).status, PublishStatus::refused_closed);
  EXPECT_TRUE(static_cast<bool>(late));
}

// --- bounds in bytes at the ingress

// One who is refused for the count has weighed in for a moment, and may have been in the way of one who waits.
TEST(IngressBytes, TryPublishIsRefused_WhoWaitsForBytesIsLetIn) {
  const Watchdog watchdog("IngressBytes.TryPublishIsRefused");
  const std::size_t size = note(0)->size_bytes();
  BusOptions options;
  options.ingress_capacity = 1;
  options.ingress_capacity_bytes = 2 * size + size / 2;
  SharingBus bus(quiet(std::move(options)));
  auto sut = bus.subscribe(Filter::all(), 100'000);
  for (int round = 0; round < 200; ++round) {
    std::thread refused([&] {
      for (int i = 0; i < 4; ++i)
        (void)bus.try_publish(note(1));
    });
    std::thread other([&] { bus.publish(note(2)); });
    auto large = async_publish(bus, make_event(Note{3}, Routing{}, EventOrigin::user, 0, 2 * size), asio::use_future);
    refused.join();
    other.join();
    ASSERT_TRUE(large.get().accepted());
  }
  EXPECT_TRUE(check_balanced(bus));
}

TEST(IngressBytes, Full_RefusesAndLetsTheOldestGo) {
  const std::size_t size = note(0)->size_bytes();
  BusOptions options = quiet(manual_options(100));
  options.ingress_capacity_bytes = 2 * size + size / 2;
  SharingBus bus(std::move(options));
  auto sut = bus.subscribe_all();
  EXPECT_TRUE(bus.try_publish(note(1)).accepted());
  EXPECT_TRUE(bus.try_publish(note(2)).accepted());
  EXPECT_EQ(bus.try_publish(note(3)).status, PublishStatus::refused_full);
  EXPECT_TRUE(bus.publish(note(4)).accepted());
  EXPECT_EQ(bus.poll(), 2u);
  EXPECT_EQ(stream_text(sut), "gap1-1(1) 2 4");
  EXPECT_EQ(bus.snapshot().ingress_lost, 1u);
  // What was dispatched does not wait any more.
  EXPECT_TRUE(bus.try_publish(note(5)).accepted());
  EXPECT_TRUE(bus.try_publish(note(6)).accepted());
  EXPECT_FALSE(bus.try_publish(note(7)).accepted());
  EXPECT_TRUE(check_balanced(bus));
}

TEST(IngressBytes, LargeEvent_LetsAsManyGoAsItNeeds) {
  const std::size_t size = note(0)->size_bytes();
  BusOptions options = quiet(manual_options(100));
  options.ingress_capacity_bytes = 4 * size;
  SharingBus bus(std::move(options));
  auto sut = bus.subscribe_all();
  publish_notes(bus, 1, 4);
  EXPECT_TRUE(bus.publish(make_event(Note{5}, Routing{}, EventOrigin::user, 0, 2 * size)).accepted());
  poll_all(bus);
  EXPECT_EQ(stream_text(sut), "gap1-3(3) 4 5");
}

TEST(IngressBytes, WhereThePublisherMayDispatch_NothingIsLost) {
  const std::size_t size = note(0)->size_bytes();
  BusOptions options;
  options.ingress_capacity_bytes = 2 * size;
  SharingBus bus(std::move(options));
  auto sut = bus.subscribe(Filter::all(), 1000);
  publish_notes(bus, 1, 100);
  // Never fails, also when it is larger than all of the ingress.
  EXPECT_TRUE(bus.publish(make_event(Note{101}, Routing{}, EventOrigin::user, 0, 10 * size)).accepted());
  EXPECT_EQ(drain_values(sut).size(), 101u);
  EXPECT_EQ(bus.snapshot().ingress_lost, 0u);
}

// --- flush

TEST(Flush, AllThatWasPublishedBefore_HasBeenDispatched) {
  SharingBus bus(manual_options());
  auto sut = bus.subscribe(Filter::all(), 1000);
  publish_notes(bus, 1, 500);
  bus.flush();
  EXPECT_EQ(bus.snapshot().dispatched, 500u);
  EXPECT_EQ(drain_values(sut).size(), 500u);
  bus.flush();
  bus.close();
  bus.flush();
}

TEST(Flush, InsideACallback_ReturnsAtOnce) {
  const Watchdog watchdog("Flush.InsideACallback");
  SharingBus bus;
  int calls = 0;
  auto sut = bus.subscribe_inline(named("inline"), [&](const EventRef&) {
    if (++calls == 1) bus.publish(note(2));
    bus.flush();
  });
  bus.publish(note(1));
  EXPECT_EQ(calls, 2);
}

TEST(AsyncFlush, CompletesOnceTheEventsBeforeItAreDispatched) {
  asio::io_context context;
  SharingBus bus(manual_options());
  auto sut = bus.subscribe_all();
  int done = 0;
  const auto flush = [&] {
    async_flush(bus, asio::bind_executor(context, [&](error_code error) {
                  EXPECT_FALSE(error);
                  ++done;
                }));
  };
  const auto turn = [&] {
    context.restart();
    context.poll();
    return done;
  };
  flush();
  bus.poll();
  EXPECT_EQ(turn(), 1) << "nothing was published";
  publish_notes(bus, 1, 3);
  flush();
  publish_notes(bus, 4, 5);
  EXPECT_EQ(turn(), 1);
  bus.poll(2);
  EXPECT_EQ(turn(), 1);
  bus.poll(1);
  EXPECT_EQ(turn(), 2) << "4 and 5 came later";
  flush();
  bus.close();
  EXPECT_EQ(turn(), 3);
  flush();
  EXPECT_EQ(turn(), 4) << "also on a closed bus";
}

asio::awaitable<void> publish_and_flush(SharingBus& bus, Subscription& subscription, bool& done) {
  for (std::uint64_t i = 1; i <= 3; ++i)
    co_await async_publish(bus, note(i), asio::use_awaitable);
  co_await async_flush(bus, asio::use_awaitable);
  EXPECT_EQ(stream_text(subscription), "1 2 3");
  done = true;
}

TEST(AsyncFlush, InACoroutine) {
  asio::io_context context;
  SharingBus bus;
  auto sut = bus.subscribe_all();
  bool done = false;
  asio::co_spawn(context, publish_and_flush(bus, sut, done), [](std::exception_ptr error) {
    if (error) std::rethrow_exception(error);
  });
  context.run();
  EXPECT_TRUE(done);
}

// --- async_publish

/// One async publish and what became of it.
struct Pending {
  Pending(SharingBus& bus, asio::io_context& context, EventDraft draft) {
    async_publish(
        bus, std::move(draft),
        asio::bind_cancellation_slot(signal.slot(), asio::bind_executor(context, [this](error_code e, PublishResult r) {
                                       ++completions;
                                       error = e;
                                       result = r;
                                     })));
  }
  asio::cancellation_signal signal;
  int completions = 0;
  error_code error;
  PublishResult result;
};

class AsyncPublish : public ::testing::Test {
 protected:
  void turn() {
    context_.restart();
    context_.poll();
  }
  asio::io_context context_;
};

TEST_F(AsyncPublish, Room_CompletesPostedWithTheSequence) {
  SharingBus bus;
  auto sut = bus.subscribe_all();
  bus.publish(note(1));
  Pending pending(bus, context_, note(2));
  EXPECT_EQ(pending.completions, 0) << "always posted";
  turn();
  EXPECT_EQ(pending.completions, 1);
  EXPECT_FALSE(pending.error);
  EXPECT_TRUE(pending.result.accepted());
  EXPECT_EQ(pending.result.sequence, 2u);
  EXPECT_EQ(stream_text(sut), "1 2");
  EXPECT_EQ(bus.snapshot().publish_waited, 0u);
}

TEST_F(AsyncPublish, FullIngress_WaitsInOrderUntilThereIsRoom) {
  SharingBus bus(manual_options(2));
  auto sut = bus.subscribe_all();
  publish_notes(bus, 1, 2);
  Pending third(bus, context_, note(3));
  Pending fourth(bus, context_, note(4));
  Pending fifth(bus, context_, note(5));
  turn();
  EXPECT_EQ(third.completions, 0);
  EXPECT_EQ(bus.snapshot().publish_waiting, 3u);
  EXPECT_EQ(bus.snapshot().ingress_lost, 0u);
  bus.poll(1);
  turn();
  EXPECT_EQ(third.completions, 1);
  EXPECT_EQ(third.result.sequence, 3u);
  EXPECT_EQ(fourth.completions, 0);
  poll_all(bus);
  turn();
  EXPECT_EQ(fourth.completions, 1);
  EXPECT_EQ(fifth.completions, 1);
  poll_all(bus);
  EXPECT_EQ(stream_text(sut), "1 2 3 4 5");
  EXPECT_EQ(bus.snapshot().publish_waiting, 0u);
  EXPECT_EQ(bus.snapshot().publish_waited, 3u);
  EXPECT_TRUE(check_balanced(bus));
}

TEST_F(AsyncPublish, ClosedWhileItWaits_CompletesRefused) {
  std::atomic<int> alive{0};
  SharingBus bus(manual_options(1));
  bus.publish(note(1));
  Pending pending(bus, context_, make_event(Tracked(alive), Routing{}));
  turn();
  EXPECT_EQ(pending.completions, 0);
  bus.close();
  turn();
  EXPECT_EQ(pending.completions, 1);
  EXPECT_FALSE(pending.error);
  EXPECT_EQ(pending.result.status, PublishStatus::refused_closed);
  EXPECT_EQ(pending.result.sequence, 0u);
  EXPECT_EQ(alive, 0);
  EXPECT_EQ(bus.snapshot().published, 1u);
  Pending late(bus, context_, note(2));
  turn();
  EXPECT_EQ(late.result.status, PublishStatus::refused_closed);
  EXPECT_TRUE(check_balanced(bus));
}

TEST_F(AsyncPublish, CancelledWhileItWaits_LeavesNothingBehind) {
  for (const auto type :
       {asio::cancellation_type::terminal, asio::cancellation_type::partial, asio::cancellation_type::total}) {
    std::atomic<int> alive{0};
    SharingBus bus(manual_options(1));
    auto sut = bus.subscribe_all();
    bus.publish(note(1));
    {
      Pending pending(bus, context_, make_event(Tracked(alive), Routing{}));
      Pending next(bus, context_, note(2));
      pending.signal.emit(type);
      turn();
      EXPECT_EQ(pending.completions, 1);
      EXPECT_EQ(pending.error, asio::error::operation_aborted);
      EXPECT_FALSE(pending.result.accepted());
      EXPECT_EQ(alive, 0);
      EXPECT_EQ(bus.snapshot().publish_waiting, 1u);
      poll_all(bus);
      turn();
      EXPECT_TRUE(next.result.accepted()) << "the one behind it moves up";
      next.signal.emit(type);
      turn();
      EXPECT_EQ(next.completions, 1) << "too late";
    }
    poll_all(bus);
    EXPECT_EQ(stream_text(sut), "1 2");
    EXPECT_EQ(bus.snapshot().publish_waiting, 0u);
    EXPECT_EQ(bus.snapshot().published, 2u);
  }
}

TEST_F(AsyncPublish, WithoutABus_IsRefused) {
  std::optional<PublishResult> result;
  async_publish(Publisher(), note(1), asio::bind_executor(context_, [&](error_code, PublishResult r) { result = r; }));
  turn();
  ASSERT_TRUE(result);
  EXPECT_EQ(result->status, PublishStatus::refused_closed);
}

TEST_F(AsyncPublish, BusIsGoneWhileItWaits_Completes) {
  auto bus = std::make_optional<SharingBus>(manual_options(1));
  bus->publish(note(1));
  Pending pending(*bus, context_, note(2));
  bus.reset();
  turn();
  EXPECT_EQ(pending.completions, 1);
  EXPECT_EQ(pending.result.status, PublishStatus::refused_closed);
}

TEST_F(AsyncPublish, InsideACallbackWithAFullIngress_WaitsAndIsNotLost) {
  SharingBus bus(manual_options(1));
  auto sut = bus.subscribe_all();
  std::vector<std::unique_ptr<Pending>> pending;
  auto inline_one = bus.subscribe_inline(named("inline", Filter::kind(EventKind::request)), [&](const EventRef&) {
    for (std::uint64_t i = 2; i <= 5; ++i)
      pending.push_back(std::make_unique<Pending>(bus, context_, note(i)));
  });
  bus.publish(note(1, routing_of(EventKind::request)));
  for (int i = 0; i < 10; ++i) {
    bus.poll();
    turn();
  }
  EXPECT_EQ(stream_text(sut), "1 2 3 4 5");
  EXPECT_EQ(bus.snapshot().ingress_lost, 0u);
  for (const auto& each : pending)
    EXPECT_EQ(each->completions, 1);
}

TEST_F(AsyncPublish, AsAFuture) {
  SharingBus bus;
  auto future = async_publish(bus, note(1), asio::use_future);
  EXPECT_EQ(future.get().sequence, 1u);
}

}  // namespace
}  // namespace sharingbus

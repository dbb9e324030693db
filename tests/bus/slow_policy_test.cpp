// O: a slow-subscriber policy. After N lost or T behind the bus publishes SubscriberLagging, SubscriberRecovered when
// it kept up again; optionally it ends the subscription. Off by default, never sent to the lagging subscription itself.
#include <chrono>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "bus/sharing_bus.hpp"
#include "tests/bus/stream_text.hpp"
#include "tests/bus/test_events.hpp"
#include "tests/support/bus_oracle.hpp"
#include "tests/support/manual_clock.hpp"

namespace sharingbus {
namespace {

using namespace test;
using std::chrono::milliseconds;
using std::chrono::seconds;

class SlowPolicyTest : public ::testing::Test {
 protected:
  SlowPolicyTest() : bus_(options()) {}

  Subscription subscribe_slow(SlowPolicy policy, std::size_t capacity, Overflow overflow = Overflow::drop_newest) {
    auto options = with_overflow(overflow, capacity, "slow");
    options.slow = policy;
    return bus_.subscribe(options);
  }
  void publish(std::uint64_t first, std::uint64_t last) {
    publish_notes(bus_, first, last);
    poll_all(bus_);
  }
  /// `lagging` and `recovered` as they arrived.
  std::string notices() {
    std::string text;
    for (Received next = watcher_.try_receive(); !next.empty(); next = watcher_.try_receive()) {
      if (const auto* lagging = next.get_if<SubscriberLagging>()) {
        last_lagging_ = *lagging;
        text += "lagging ";
      } else if (const auto* recovered = next.get_if<SubscriberRecovered>()) {
        last_recovered_ = *recovered;
        text += "recovered ";
      } else {
        text += "? ";
      }
    }
    return text;
  }

  ManualTimerService clock_;
  SharingBus bus_;
  Subscription watcher_ = bus_.subscribe(Filter::type<SubscriberLagging>() || Filter::type<SubscriberRecovered>());
  SubscriberLagging last_lagging_;
  SubscriberRecovered last_recovered_;

 private:
  BusOptions options() {
    BusOptions options = manual_options();
    options.clock = &clock_;
    options.log = nullptr;
    return options;
  }
};

TEST_F(SlowPolicyTest, ByDefault_NothingIsSaid) {
  auto sut = bus_.subscribe(Filter::all(), 1);
  publish(1, 100);
  clock_.advance(std::chrono::hours(1));
  publish(101, 102);
  EXPECT_EQ(notices(), "");
}

TEST_F(SlowPolicyTest, EnoughLost_IsSaidOnceAnEpisode) {
  auto sut = subscribe_slow({.lost = 3}, 2);
  publish(1, 4);  // 2 lost
  EXPECT_EQ(notices(), "");
  publish(5, 5);  // the third
  EXPECT_EQ(notices(), "lagging ");
  EXPECT_EQ(last_lagging_.subscription, sut.id());
  EXPECT_EQ(last_lagging_.name, "slow");
  EXPECT_EQ(last_lagging_.lagged, 3u);
  EXPECT_EQ(last_lagging_.queued, 2u);
  publish(6, 50);
  EXPECT_EQ(notices(), "");
}

TEST_F(SlowPolicyTest, KeepsUpAgain_RecoversOnceAndMayLagAnew) {
  auto sut = subscribe_slow({.lost = 3}, 4);
  publish(1, 10);
  EXPECT_EQ(notices(), "lagging ");
  // More than half of it is still queued.
  (void)sut.try_receive();
  publish(11, 11);
  EXPECT_EQ(notices(), "");
  (void)stream_text(sut);
  publish(12, 12);
  publish(13, 13);
  EXPECT_EQ(notices(), "recovered ");
  EXPECT_EQ(last_recovered_.subscription, sut.id());
  EXPECT_EQ(last_recovered_.name, "slow");
  EXPECT_EQ(last_recovered_.lagged, sut.stats().lagged);
  publish(14, 14);
  EXPECT_EQ(notices(), "");
  publish(15, 30);
  EXPECT_EQ(notices(), "lagging ");
}

// Since it last kept up: what it lost in earlier episodes does not count again.
TEST_F(SlowPolicyTest, LossesOfAnEarlierEpisode_DoNotCountAgain) {
  auto sut = subscribe_slow({.lost = 3}, 2);
  publish(1, 6);
  EXPECT_EQ(notices(), "lagging ");
  (void)stream_text(sut);
  publish(7, 7);
  EXPECT_EQ(notices(), "recovered ");
  publish(8, 10);  // one is room, two are lost
  EXPECT_EQ(notices(), "");
}

TEST_F(SlowPolicyTest, QueuedForTooLong_IsSaidOnce) {
  auto sut = subscribe_slow({.behind = seconds(1)}, 100);
  publish(1, 1);
  clock_.advance(milliseconds(500));
  publish(2, 2);
  EXPECT_EQ(notices(), "");
  clock_.advance(milliseconds(600));
  publish(3, 3);
  EXPECT_EQ(notices(), "lagging ");
  EXPECT_GE(last_lagging_.behind, seconds(1));
  EXPECT_EQ(last_lagging_.lagged, 0u);
  EXPECT_EQ(last_lagging_.queued, 3u);
  clock_.advance(seconds(10));
  publish(4, 4);
  EXPECT_EQ(notices(), "");
  (void)stream_text(sut);
  publish(5, 5);
  EXPECT_EQ(notices(), "recovered ");
}

TEST_F(SlowPolicyTest, ReaderThatKeepsReading_IsNotBehind) {
  auto sut = subscribe_slow({.behind = seconds(1)}, 100);
  for (std::uint64_t i = 1; i <= 20; ++i) {
    publish(i, i);
    clock_.advance(milliseconds(900));
    EXPECT_EQ(stream_text(sut), std::to_string(i));
  }
  EXPECT_EQ(notices(), "");
}

// Never to the lagging subscription itself, whose books and stream stay exact.
TEST_F(SlowPolicyTest, OwnNotices_AreNotDeliveredToIt) {
  auto sut = subscribe_slow({.lost = 1}, 2);
  auto all = bus_.subscribe(Filter::all(), 1000);
  publish(1, 4);
  EXPECT_EQ(stream_text(sut), "1 2 gap3-4(2)");
  publish(5, 5);
  EXPECT_EQ(notices(), "lagging recovered ");
  EXPECT_EQ(stream_text(sut), "5");
  EXPECT_EQ(sut.stats().matched, 5u);
  EXPECT_EQ(stream_text(all), "1 2 3 4 ? 5 ?") << "others see them, in the bus's order";
  EXPECT_TRUE(check_balanced(bus_));
}

TEST_F(SlowPolicyTest, TwoSlowOnes_SeeEachOthersNotices) {
  auto one = subscribe_slow({.lost = 1}, 1);
  auto options = with_overflow(Overflow::drop_oldest, 4, "other");
  options.slow.lost = 1;
  options.filter = Filter::type<SubscriberLagging>();
  auto two = bus_.subscribe(options);
  publish(1, 3);
  const Received received = two.try_receive();
  ASSERT_NE(received.get_if<SubscriberLagging>(), nullptr);
  EXPECT_EQ(received.get_if<SubscriberLagging>()->subscription, one.id());
  EXPECT_TRUE(check_balanced(bus_));
}

class SlowPolicyClose : public SlowPolicyTest, public ::testing::WithParamInterface<bool> {};

TEST_P(SlowPolicyClose, TooSlow_EndsAfterWhatWasQueued) {
  const bool by_time = GetParam();
  SlowPolicy policy{.close = true};
  if (by_time) {
    policy.behind = seconds(1);
  } else {
    policy.lost = 2;
  }
  auto sut = subscribe_slow(policy, 2);
  publish(1, 2);
  clock_.advance(seconds(2));
  publish(3, 4);
  publish(5, 5);
  EXPECT_TRUE(sut.stats().closed);
  EXPECT_EQ(sut.stats().matched, 4u);
  EXPECT_EQ(stream_text(sut), "1 2 gap3-4(2) end:too_slow");
  EXPECT_EQ(notices(), "lagging ");
  EXPECT_TRUE(check_balanced(bus_));
}

INSTANTIATE_TEST_SUITE_P(Measures, SlowPolicyClose, ::testing::Bool(),
                         [](const auto& instance) { return std::string(instance.param ? "behind" : "lost"); });

TEST_F(SlowPolicyTest, CloseWithoutAMeasure_IsOff) {
  EXPECT_FALSE(SlowPolicy{.close = true}.enabled());
  auto sut = subscribe_slow({.close = true}, 1);
  publish(1, 100);
  EXPECT_EQ(stream_text(sut), "1 gap2-100(99)");
}

TEST_F(SlowPolicyTest, EveryOverflowPolicyThatLoses_IsWatched) {
  for (const Overflow overflow : {Overflow::drop_newest, Overflow::drop_oldest, Overflow::backpressure}) {
    auto sut = subscribe_slow({.lost = 5}, 1, overflow);
    publish(1, 6);
    EXPECT_EQ(notices(), "lagging ") << to_string(overflow);
  }
}

// It is published like everything else: with a sequence, by the runtime, as a system event.
TEST_F(SlowPolicyTest, Notice_IsAnEventInTheOneOrder) {
  auto sut = subscribe_slow({.lost = 1}, 1);
  publish(1, 2);
  const Received received = watcher_.try_receive();
  ASSERT_NE(received.event(), nullptr);
  EXPECT_EQ((*received.event())->sequence(), 3u);
  EXPECT_EQ((*received.event())->kind(), EventKind::system);
  EXPECT_EQ((*received.event())->origin(), EventOrigin::runtime);
  EXPECT_EQ(bus_.snapshot().published, 3u);
  EXPECT_TRUE(check_balanced(bus_));
}

TEST_F(SlowPolicyTest, LaggingSubscriptionIsLetGo_NothingMoreIsSaid) {
  auto sut = subscribe_slow({.lost = 1}, 1);
  publish(1, 3);
  EXPECT_EQ(notices(), "lagging ");
  sut = {};
  publish(4, 6);
  EXPECT_EQ(notices(), "");
}

}  // namespace
}  // namespace sharingbus

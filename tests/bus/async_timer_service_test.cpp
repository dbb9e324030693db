#include "bus/async_timer_service.hpp"

#include <chrono>
#include <future>
#include <memory>
#include <optional>
#include <set>
#include <thread>
#include <vector>

#include <boost/asio/io_context.hpp>
#include <boost/asio/strand.hpp>
#include <boost/asio/thread_pool.hpp>
#include <gtest/gtest.h>

#include "tests/support/manual_clock.hpp"
#include "tests/support/watchdog.hpp"

namespace sharingbus {
namespace {

namespace asio = boost::asio;
using std::chrono::hours;
using std::chrono::milliseconds;
using test::Watchdog;

TEST(AsyncTimerService, DueTimers_FireInOrderOfTimeAndNotBefore) {
  const Watchdog watchdog("AsyncTimerService.DueTimers");
  asio::io_context context;
  AsyncTimerService sut(context.get_executor());
  const TimePoint start = sut.now();
  std::vector<int> fired;
  TimePoint last_at;
  sut.schedule_at(start + milliseconds(6), [&] {
    fired.push_back(3);
    last_at = sut.now();
  });
  sut.schedule_at(start + milliseconds(2), [&] { fired.push_back(1); });
  sut.schedule_at(start + milliseconds(4), [&] { fired.push_back(2); });
  EXPECT_EQ(sut.pending(), 3u);
  context.run();
  EXPECT_EQ(fired, (std::vector<int>{1, 2, 3}));
  EXPECT_GE(last_at, start + milliseconds(6));
  EXPECT_EQ(sut.pending(), 0u);
}

TEST(AsyncTimerService, SameTime_FiresInOrderOfScheduling) {
  asio::io_context context;
  AsyncTimerService sut(context.get_executor());
  const TimePoint at = sut.now();
  std::vector<int> fired;
  for (int i = 0; i < 20; ++i)
    sut.schedule_at(at, [&fired, i] { fired.push_back(i); });
  context.run();
  ASSERT_EQ(fired.size(), 20u);
  for (int i = 0; i < 20; ++i)
    EXPECT_EQ(fired[static_cast<std::size_t>(i)], i);
}

/// Has a timer of its own until its end.
struct OwnerOfATimer {
  explicit OwnerOfATimer(TimerService& timers)
      : service(timers), own(timers.schedule_at(timers.now() + hours(1), [] {})) {}
  OwnerOfATimer(const OwnerOfATimer&) = delete;
  OwnerOfATimer& operator=(const OwnerOfATimer&) = delete;
  ~OwnerOfATimer() { service.cancel(own); }
  TimerService& service;
  const TimerId own;
};

TEST(AsyncTimerService, FunctionHoldsTheLastOfAnOwner_WhoCancelsAnotherTimer) {
  const Watchdog watchdog("AsyncTimerService.FunctionHoldsTheLast");
  asio::io_context context;
  AsyncTimerService sut(context.get_executor());
  sut.schedule_at(sut.now(), [owner = std::make_shared<OwnerOfATimer>(sut)] {});
  context.run();
  EXPECT_EQ(sut.pending(), 0u);
}

TEST(ManualTimerService, FunctionHoldsTheLastOfAnOwner_WhoCancelsAnotherTimer) {
  const Watchdog watchdog("ManualTimerService.FunctionHoldsTheLast");
  test::ManualTimerService sut;
  sut.schedule_at(sut.now(), [owner = std::make_shared<OwnerOfATimer>(sut)] {});
  EXPECT_EQ(sut.advance({}), 1u);
  EXPECT_EQ(sut.pending(), 0u);
}

TEST(AsyncTimerService, Cancelled_DoesNotFire) {
  const Watchdog watchdog("AsyncTimerService.Cancelled");
  asio::io_context context;
  AsyncTimerService sut(context.get_executor());
  bool fired = false;
  const TimerId id = sut.schedule_after(hours(1), [&] { fired = true; });
  EXPECT_TRUE(sut.cancel(id));
  EXPECT_FALSE(sut.cancel(id));
  EXPECT_FALSE(sut.cancel(id + 100));
  context.run();  // returns, for nothing is pending
  EXPECT_FALSE(fired);
}

TEST(AsyncTimerService, EarlierTimerScheduledLater_FiresFirst) {
  const Watchdog watchdog("AsyncTimerService.EarlierTimer");
  asio::io_context context;
  AsyncTimerService sut(context.get_executor());
  std::vector<int> fired;
  const TimerId far = sut.schedule_after(hours(1), [&] { fired.push_back(1); });
  sut.schedule_after(milliseconds(1), [&] {
    fired.push_back(2);
    EXPECT_TRUE(sut.cancel(far));
  });
  context.run();
  EXPECT_EQ(fired, std::vector<int>{2});
}

TEST(AsyncTimerService, CancelledThenScheduledAgain_Fires) {
  const Watchdog watchdog("AsyncTimerService.CancelledThenScheduledAgain");
  asio::io_context context;
  AsyncTimerService sut(context.get_executor());
  int fired = 0;
  sut.cancel(sut.schedule_after(milliseconds(1), [&] { fired += 100; }));
  sut.schedule_after(milliseconds(3), [&] { ++fired; });
  context.run();
  EXPECT_EQ(fired, 1);
}

TEST(AsyncTimerService, ScheduledWhileFiring_FiresToo) {
  const Watchdog watchdog("AsyncTimerService.ScheduledWhileFiring");
  asio::io_context context;
  AsyncTimerService sut(context.get_executor());
  int rounds = 0;
  std::function<void()> again = [&] {
    if (++rounds < 5) sut.schedule_after(milliseconds(1), again);
  };
  sut.schedule_after({}, again);
  context.run();
  EXPECT_EQ(rounds, 5);
}

// True means: it will not be called. A component that cancels on the strand may then go away.
TEST(AsyncTimerService, CancelledByATimerOfTheSameMoment_DoesNotFire) {
  asio::io_context context;
  AsyncTimerService sut(context.get_executor());
  const TimePoint at = sut.now();
  bool fired = false;
  bool cancelled = false;
  TimerId second = 0;
  sut.schedule_at(at, [&] { cancelled = sut.cancel(second); });
  second = sut.schedule_at(at, [&] { fired = true; });
  context.run();
  EXPECT_TRUE(cancelled);
  EXPECT_FALSE(fired);
}

TEST(AsyncTimerService, DestroyedByATimer_ForgetsTheOthers) {
  asio::io_context context;
  std::optional<AsyncTimerService> sut(context.get_executor());
  const TimePoint at = sut->now();
  int fired = 0;
  for (int i = 0; i < 3; ++i) {
    sut->schedule_at(at, [&] {
      ++fired;
      sut.reset();
    });
  }
  context.run();
  EXPECT_EQ(fired, 1);
}

TEST(AsyncTimerService, Destroyed_LetsTheContextEnd) {
  const Watchdog watchdog("AsyncTimerService.Destroyed");
  asio::io_context context;
  bool fired = false;
  {
    AsyncTimerService sut(context.get_executor());
    sut.schedule_after(hours(1), [&] { fired = true; });
  }
  context.run();
  EXPECT_FALSE(fired);
}

TEST(AsyncTimerService, ManyThreads_FireOrCancelEachTimerExactlyOnce) {
  const Watchdog watchdog("AsyncTimerService.ManyThreads");
  asio::thread_pool pool(2);
  std::atomic<int> fired{0};
  std::atomic<int> cancelled{0};
  constexpr int kTimers = 400;
  {
    AsyncTimerService sut(asio::make_strand(pool.get_executor()));
    std::vector<std::thread> threads;
    for (int t = 0; t < 2; ++t) {
      threads.emplace_back([&] {
        for (int i = 0; i < kTimers / 2; ++i) {
          const TimerId id = sut.schedule_after(std::chrono::microseconds(i % 50), [&] { ++fired; });
          if (i % 3 == 0 && sut.cancel(id)) ++cancelled;
        }
      });
    }
    for (auto& thread : threads)
      thread.join();
    std::promise<void> last;
    sut.schedule_after(milliseconds(5), [&] { last.set_value(); });
    last.get_future().wait();
    EXPECT_EQ(sut.pending(), 0u);
  }
  pool.join();
  EXPECT_EQ(fired + cancelled, kTimers);
}

TEST(AsyncTimerService, Ids_AreNotReused) {
  asio::io_context context;
  AsyncTimerService sut(context.get_executor());
  std::set<TimerId> ids;
  for (int i = 0; i < 100; ++i) {
    const TimerId id = sut.schedule_after(hours(1), [] {});
    EXPECT_TRUE(ids.insert(id).second);
    if (i % 2 == 0) sut.cancel(id);
  }
}

TEST(AsyncTimerService, WallTime_IsAfterThisWasWritten) {
  asio::io_context context;
  const AsyncTimerService sut(context.get_executor());
  EXPECT_GT(sut.unix_ms(), 1'600'000'000'000);
}

// The virtual clock that other tests rely on keeps the same contract.
TEST(ManualTimerService, Advance_FiresInOrderAtEachTimersOwnTime) {
  test::ManualTimerService sut;
  const TimePoint start = sut.now();
  std::vector<Duration> fired;
  const auto note_time = [&] { fired.push_back(sut.now() - start); };
  sut.schedule_after(milliseconds(30), note_time);
  sut.schedule_after(milliseconds(10), [&] {
    note_time();
    sut.schedule_after(milliseconds(5), note_time);
    sut.schedule_after(milliseconds(100), note_time);
  });
  EXPECT_EQ(sut.next_deadline(), start + milliseconds(10));
  EXPECT_EQ(sut.advance(milliseconds(9)), 0u);
  EXPECT_EQ(sut.advance(milliseconds(41)), 3u);
  EXPECT_EQ(fired, (std::vector<Duration>{milliseconds(10), milliseconds(15), milliseconds(30)}));
  EXPECT_EQ(sut.now(), start + milliseconds(50));
  EXPECT_EQ(sut.next_deadline(), start + milliseconds(110));
  EXPECT_EQ(sut.pending(), 1u);
}

TEST(ManualTimerService, Cancelled_DoesNotFire) {
  test::ManualTimerService sut;
  bool fired = false;
  const TimerId id = sut.schedule_after(milliseconds(1), [&] { fired = true; });
  EXPECT_TRUE(sut.cancel(id));
  EXPECT_FALSE(sut.cancel(id));
  sut.advance(milliseconds(2));
  EXPECT_FALSE(fired);
  EXPECT_EQ(sut.next_deadline(), std::nullopt);
}

TEST(ManualTimerService, UnixTime_FollowsFromASettableBase) {
  test::ManualTimerService sut;
  sut.set_unix_ms(5000);
  sut.advance(milliseconds(250));
  EXPECT_EQ(sut.unix_ms(), 5250);
}

}  // namespace
}  // namespace sharingbus

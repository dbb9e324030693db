#include "transport/run_loop.hpp"

#include <atomic>
#include <functional>
#include <stdexcept>
#include <thread>

#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <gtest/gtest.h>

namespace sharingbus::transport {
namespace {

using boost::asio::io_context;

WaitPolicy after_short_waits(int count) {
  WaitPolicy policy(WaitStrategy::phased);
  for (int i = 0; i < count; ++i)
    policy.waited(WaitPolicy::kShort);
  return policy;
}

TEST(WaitPolicy, Block_NeverLooks) {
  WaitPolicy policy(WaitStrategy::block);
  for (int i = 0; i < 2 * WaitPolicy::kShortWaits; ++i)
    policy.waited(Duration::zero());
  EXPECT_EQ(policy.look_for(), Duration::zero());
}

TEST(WaitPolicy, Spin_NeverSleeps) {
  WaitPolicy policy(WaitStrategy::spin);
  policy.waited(std::chrono::hours(1));
  EXPECT_EQ(policy.look_for(), Duration::max());
}

TEST(WaitPolicy, Phased_LooksAfterShortWaitsInARow) {
  EXPECT_EQ(after_short_waits(0).look_for(), Duration::zero());
  EXPECT_EQ(after_short_waits(WaitPolicy::kShortWaits - 1).look_for(), Duration::zero());
  EXPECT_EQ(after_short_waits(WaitPolicy::kShortWaits).look_for(), WaitPolicy::kLook);
  EXPECT_EQ(after_short_waits(10 * WaitPolicy::kShortWaits).look_for(), WaitPolicy::kLook);
}

TEST(WaitPolicy, Phased_AfterALongWait_SleepsUntilShortOnesCameInARow) {
  WaitPolicy policy = after_short_waits(10 * WaitPolicy::kShortWaits);
  policy.waited(WaitPolicy::kShort + Duration(1));
  for (int i = 0; i < WaitPolicy::kShortWaits; ++i) {
    EXPECT_EQ(policy.look_for(), Duration::zero()) << i;
    policy.waited(Duration::zero());
  }
  EXPECT_EQ(policy.look_for(), WaitPolicy::kLook);
}

class RunLoop : public testing::TestWithParam<WaitStrategy> {};

INSTANTIATE_TEST_SUITE_P(Strategies, RunLoop,
                         testing::Values(WaitStrategy::block, WaitStrategy::phased, WaitStrategy::spin));

TEST_P(RunLoop, OutOfWork_Returns) {
  io_context context(1);
  int left = 1000;
  std::function<void()> next = [&] {
    if (--left > 0) boost::asio::post(context, next);
  };
  boost::asio::post(context, next);
  run(context, GetParam());
  EXPECT_EQ(left, 0);
  EXPECT_TRUE(context.stopped());
}

TEST_P(RunLoop, WorkOfOtherThreads_IsDoneAsItComes_UntilStopped) {
  constexpr int kJobs = 2000;
  io_context context;
  const auto work = boost::asio::make_work_guard(context);
  std::atomic<int> done = 0;
  std::thread other([&] {
    for (int i = 0; i < kJobs; ++i) {
      boost::asio::post(context, [&] { ++done; });
      // Now and then each is waited for, so that the loop has nothing to do in between.
      while (i % 4 == 0 && done <= i)
        std::this_thread::yield();
    }
    boost::asio::post(context, [&] { context.stop(); });
  });
  run(context, GetParam());
  other.join();
  EXPECT_EQ(done, kJobs);
}

TEST_P(RunLoop, StoppedByAnotherThreadWhileItWaits_Returns) {
  io_context context;
  const auto work = boost::asio::make_work_guard(context);
  std::atomic<bool> runs = false;
  boost::asio::post(context, [&] { runs = true; });
  std::thread other([&] {
    while (!runs)
      std::this_thread::yield();
    context.stop();
  });
  run(context, GetParam());
  other.join();
  EXPECT_TRUE(context.stopped());
}

TEST_P(RunLoop, WhatAHandlerThrows_ComesOut_AndTheRestIsDoneByTheNextRun) {
  io_context context(1);
  bool done = false;
  boost::asio::post(context, [] { throw std::runtime_error("handler"); });
  boost::asio::post(context, [&] { done = true; });
  EXPECT_THROW(run(context, GetParam()), std::runtime_error);
  run(context, GetParam());
  EXPECT_TRUE(done);
}

}  // namespace
}  // namespace sharingbus::transport

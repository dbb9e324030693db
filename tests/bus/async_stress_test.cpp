// Threads against callback subscriptions and asynchronous receives, meant for ThreadSanitizer.
#include <atomic>
#include <future>
#include <memory>
#include <thread>
#include <utility>

#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/bind_executor.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/dispatch.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/strand.hpp>
#include <boost/asio/thread_pool.hpp>
#include <gtest/gtest.h>

#include "bus/async.hpp"
#include "tests/bus/test_events.hpp"
#include "tests/support/bus_oracle.hpp"
#include "tests/support/watchdog.hpp"

namespace sharingbus {
namespace {

using namespace test;
namespace asio = boost::asio;

constexpr std::chrono::seconds kLimit{120};

TEST(CallbackChurn, SubscriptionsOnAPool_EndCleanlyUnderFire) {
  const Watchdog watchdog("CallbackChurn", kLimit);
  asio::thread_pool pool(2);
  SharingBus sut;
  std::atomic<bool> done{false};
  std::thread publisher([&] {
    for (std::uint64_t i = 0; !done; ++i)
      sut.publish(note(i));
  });
  for (int round = 0; round < 400; ++round) {
    auto running = std::make_unique<std::atomic<int>>(0);
    auto subscription = subscribe_on(sut, pool.get_executor(), named("brief", Filter::all(), 1 + round % 7),
                                     [raw = running.get()](const Received& received) {
                                       EXPECT_EQ(raw->fetch_add(1), 0) << "one call at a time";
                                       const bool fails = received.event() != nullptr && value_of(received) % 50 == 0;
                                       raw->fetch_sub(1);
                                       if (fails) throw 1;
                                     });
    if (round % 2 == 0) {
      for (int i = 0; i < 20; ++i)
        std::this_thread::yield();
    }
    (void)subscription.stats();
    subscription = {};
    running.reset();
  }
  done = true;
  publisher.join();
  sut.close();
  EXPECT_TRUE(check_balanced(sut));
  pool.join();
}

/// Receives on a strand for ever, each time cancelled or not, until the end.
class CancellingReader : public std::enable_shared_from_this<CancellingReader> {
 public:
  CancellingReader(Subscription subscription, asio::any_io_executor executor)
      : subscription_(std::move(subscription)), strand_(asio::make_strand(std::move(executor))) {}

  std::future<void> start() {
    asio::dispatch(strand_, [self = shared_from_this()] { self->receive(); });
    return ended_.get_future();
  }
  std::uint64_t events = 0;
  std::uint64_t lost = 0;
  std::uint64_t aborted = 0;

 private:
  void receive() {
    async_receive(
        subscription_,
        asio::bind_cancellation_slot(
            signal_.slot(), asio::bind_executor(strand_, [self = shared_from_this()](boost::system::error_code error,
                                                                                     const Received& received) {
              self->received(error, received);
            })));
    // Cancel every other wait, racing with the dispatcher.
    if (++rounds_ % 2 == 0) {
      asio::post(strand_, [self = shared_from_this()] { self->signal_.emit(asio::cancellation_type::terminal); });
    }
  }
  void received(boost::system::error_code error, const Received& received) {
    if (error) {
      ++aborted;
      EXPECT_TRUE(received.empty());
    } else if (received.closed() != nullptr) {
      ended_.set_value();
      subscription_ = {};
      return;
    } else if (received.gap() != nullptr) {
      lost += received.gap()->count;
    } else {
      ++events;
    }
    receive();
  }

  Subscription subscription_;
  asio::strand<asio::any_io_executor> strand_;
  asio::cancellation_signal signal_;
  std::promise<void> ended_;
  int rounds_ = 0;
};

TEST(AsyncReceiveChurn, CancelledAtRandom_LosesNothing) {
  const Watchdog watchdog("AsyncReceiveChurn", kLimit);
  asio::thread_pool pool(2);
  constexpr std::uint64_t kEvents = 10'000;
  SharingBus sut;
  const auto reader = std::make_shared<CancellingReader>(sut.subscribe(Filter::all(), 8), pool.get_executor());
  auto ended = reader->start();
  for (std::uint64_t i = 0; i < kEvents; ++i) {
    sut.publish(note(i));
    if (i % 16 == 0) std::this_thread::yield();
  }
  sut.close();
  ended.get();
  pool.join();
  EXPECT_EQ(reader->events + reader->lost, kEvents);
}

}  // namespace
}  // namespace sharingbus

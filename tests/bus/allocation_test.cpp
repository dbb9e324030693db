// After warm-up an event costs no allocation on its way from publish to its receivers, whichever way they receive; and
// what happens around an allocation. A program of its own, for it replaces operator new.
#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <functional>
#include <memory>
#include <new>
#include <utility>
#include <vector>

#include <boost/asio/bind_executor.hpp>
#include <boost/asio/io_context.hpp>
#include <gtest/gtest.h>

#include "bus/async.hpp"
#include "tests/bus/test_events.hpp"
#include "tests/support/bus_harness.hpp"
#include "tests/support/bus_oracle.hpp"

namespace {

std::atomic<std::uint64_t> allocations{0};
thread_local const std::function<void()>* at_allocation = nullptr;

/// Calls `fn` before each allocation of this thread, but not for its own.
class AtAllocation {
 public:
  explicit AtAllocation(std::function<void()> fn) : fn_(std::move(fn)) { at_allocation = &fn_; }
  ~AtAllocation() { at_allocation = nullptr; }
  AtAllocation(const AtAllocation&) = delete;
  AtAllocation& operator=(const AtAllocation&) = delete;

 private:
  const std::function<void()> fn_;
};

void before_allocation() {
  const auto* const fn = std::exchange(at_allocation, nullptr);
  if (fn == nullptr) return;
  (*fn)();
  at_allocation = fn;
}

}  // namespace

void* operator new(std::size_t size) {
  before_allocation();
  void* const block = std::malloc(size);
  if (block == nullptr) throw std::bad_alloc();
  allocations.fetch_add(1, std::memory_order_relaxed);
  return block;
}
void* operator new(std::size_t size, std::align_val_t alignment) {
  before_allocation();
  const auto align = static_cast<std::size_t>(alignment);
  void* const block = std::aligned_alloc(align, (size + align - 1) / align * align);
  if (block == nullptr) throw std::bad_alloc();
  allocations.fetch_add(1, std::memory_order_relaxed);
  return block;
}
void operator delete(void* block) noexcept {
  std::free(block);
}
void operator delete(void* block, std::size_t /*size*/) noexcept {
  std::free(block);
}
void operator delete(void* block, std::align_val_t /*alignment*/) noexcept {
  std::free(block);
}
void operator delete(void* block, std::size_t /*size*/, std::align_val_t /*alignment*/) noexcept {
  std::free(block);
}

namespace sharingbus {
namespace {

using namespace test;
namespace asio = boost::asio;

// AddressSanitizer wants to see every event and block, so the pool is off there.
#if defined(__SANITIZE_ADDRESS__)
constexpr bool kPooled = false;
#else
constexpr bool kPooled = true;
#endif

EventDraft tick(std::uint64_t i) {
  EventDraft draft = emplace_event<Note>(EventOrigin::user, i);
  draft.routing().connector_uid = uuid(i % 4);
  return draft;
}

/// Everything happens on one executor, as a service would have it: a task publishes, and posts itself again. Some
/// rounds to warm up, then allocations are counted.
class Allocations : public ::testing::TestWithParam<Engine> {
 protected:
  Allocations() : bus_(options()) {}

  /// `publish(n)` publishes n events; `receive()` takes what is there and says how much it was.
  void expect_none(std::function<void(std::uint64_t)> publish, std::function<std::uint64_t()> receive) {
    publish_ = std::move(publish);
    receive_ = std::move(receive);
    asio::post(context_, [this] { round(); });
    context_.run();
    EXPECT_LE(counted_, kPooled ? 0 : 3 * kRound * kRounds);
    EXPECT_GT(deliveries_, 0u);
    EXPECT_EQ(bus_.snapshot().dispatched, bus_.snapshot().published);
  }
  void expect_none(std::function<std::uint64_t()> receive) {
    expect_none(
        [this](std::uint64_t count) {
          for (std::uint64_t i = 0; i < count; ++i)
            bus_.publish(tick(i));
        },
        std::move(receive));
  }
  static SubscriptionOptions of(Filter filter, Overflow overflow = Overflow::drop_newest) {
    SubscriptionOptions options;
    options.filter = std::move(filter);
    options.overflow = overflow;
    return options;
  }

  asio::io_context context_;

 private:
  static constexpr std::uint64_t kRound = 100;
  static constexpr std::uint64_t kWarmUp = 20;
  static constexpr std::uint64_t kRounds = 50;

  void round() {
    if (rounds_ == kWarmUp) {
      begin_ = allocations;
      deliveries_ = 0;
    }
    deliveries_ += receive_();
    if (++rounds_ > kWarmUp + kRounds) {
      counted_ = allocations - begin_;
      return context_.stop();
    }
    publish_(kRound);
    if (GetParam() == Engine::manual) bus_.poll();
    asio::post(context_, [this] { round(); });
  }

  BusOptions options() {
    BusOptions options;
    options.engine = GetParam();
    if (options.engine == Engine::executor) options.scheduler = dispatch_on(context_.get_executor());
    options.log = nullptr;
    return options;
  }

  std::function<void(std::uint64_t)> publish_;
  std::function<std::uint64_t()> receive_;
  std::uint64_t rounds_ = 0;
  std::uint64_t begin_ = 0;
  std::uint64_t counted_ = 0;
  std::uint64_t deliveries_ = 0;

 protected:
  SharingBus bus_;
};

TEST_P(Allocations, NoneWithTryReceive) {
  auto all = bus_.subscribe_all();
  auto one = bus_.subscribe(Filter::connector_uid(uuid(1)));
  expect_none([&] {
    std::uint64_t count = 0;
    while (!all.try_receive().empty())
      ++count;
    while (!one.try_receive().empty())
      ++count;
    return count;
  });
}

TEST_P(Allocations, NoneInBatchesAndLent) {
  auto all = bus_.subscribe_all();
  auto one = bus_.subscribe(Filter::connector_uid(uuid(1)));
  expect_none([&] {
    std::array<Received, 16> batch;
    std::uint64_t count = 0;
    while (const std::size_t some = all.receive_batch(batch))
      count += some;
    for (Lent lent = one.lend(); !lent.empty(); lent = one.lend())
      count += lent.events().size();
    return count;
  });
}

TEST_P(Allocations, NoneWithPublishBatch) {
  auto one = bus_.subscribe(Filter::kind(EventKind::custom));
  std::vector<EventDraft> drafts;
  expect_none(
      [&](std::uint64_t count) {
        drafts.clear();
        for (std::uint64_t i = 0; i < count; ++i)
          drafts.push_back(tick(i));
        bus_.publish_batch(drafts);
      },
      [&] {
        std::uint64_t count = 0;
        while (!one.try_receive().empty())
          ++count;
        return count;
      });
}

TEST_P(Allocations, NoneInline) {
  std::uint64_t calls = 0;
  auto sut = bus_.subscribe_inline(SubscriptionOptions{}, [&](const EventRef&) { ++calls; });
  expect_none([&] { return std::exchange(calls, 0); });
}

// The jobs are recycled by Asio.
TEST_P(Allocations, NoneWithCallbacksOfAGroup) {
  CallbackGroup group(bus_, context_.get_executor());
  std::uint64_t calls = 0;
  const auto count = [&](const Received&) { ++calls; };
  auto all = group.subscribe(SubscriptionOptions{}, count);
  auto one = group.subscribe(of(Filter::connector_uid(uuid(1))), count);
  auto batches = group.subscribe_batches(of(Filter::kind(EventKind::custom)), [&](const Lent&) { ++calls; });
  expect_none([&] { return std::exchange(calls, 0); });
}

// A gap, each time round, is no allocation either.
TEST_P(Allocations, NoneWhereEventsAreLost) {
  CallbackGroup group(bus_, context_.get_executor());
  std::uint64_t calls = 0;
  auto few = of(Filter::connector_uid(uuid(1)));
  few.capacity = 5;
  auto sut = group.subscribe(few, [&](const Received&) { ++calls; });
  auto polled = bus_.subscribe(few);
  expect_none([&] {
    while (!polled.try_receive().empty())
      ++calls;
    return std::exchange(calls, 0);
  });
  EXPECT_GT(sut.stats().lagged, 0u);
}

TEST_P(Allocations, NoneWithAsyncWait) {
  auto sut = bus_.subscribe_all();
  std::uint64_t wakes = 0;
  std::function<void()> wait = [&] {
    async_wait(sut, asio::bind_executor(context_, [&](boost::system::error_code error) {
                 if (error) return;
                 ++wakes;
                 for (Lent lent = sut.lend(); !lent.empty() && lent.closed() == nullptr; lent = sut.lend()) {
                 }
                 wait();
               }));
  };
  wait();
  expect_none([&] { return std::exchange(wakes, 0); });
  // Completes the last wait, which looks once more and finds the end.
  wait = [] {};
  bus_.close();
  context_.restart();
  context_.run();
}

INSTANTIATE_TEST_SUITE_P(Engines, Allocations, ::testing::Values(Engine::combining, Engine::manual, Engine::executor),
                         [](const auto& instance) { return name_of(instance.param); });

/// Commands that a bus takes before it allocates for another one, at most.
constexpr std::size_t kCommandsInABlock = 16;

// Whichever of its allocations fails: the bus does not know of it, and nobody waits for it.
TEST(OutOfMemory, Subscribe_LeavesNothingBehind) {
  for (std::size_t kept = 0; kept < kCommandsInABlock; ++kept) {
    SharingBus bus(manual_options());
    std::vector<Subscription> others;
    for (std::size_t i = 0; i < kept; ++i)
      others.push_back(bus.subscribe_all());
    bool failed = true;
    for (int nth = 0; failed; ++nth) {
      SubscriptionOptions options = named("a name that is too long to be kept in place", Filter::all(), 1);
      options.overflow = Overflow::backpressure;
      Subscription sut;
      int left = nth;
      try {
        const AtAllocation hook([&] {
          if (left-- == 0) throw std::bad_alloc();
        });
        sut = bus.subscribe(std::move(options));
        failed = false;
      } catch (const std::bad_alloc&) {
        ASSERT_EQ(bus.subscriber_count(), kept);
        ASSERT_TRUE(bus.try_publish(tick(0)).accepted());
      }
    }
    EXPECT_EQ(bus.subscriber_count(), kept + 1);
    EXPECT_GT(bus.poll(), 1u);
    EXPECT_TRUE(check_balanced(bus));
  }
}

// Backpressure: between the two ends of a `subscribe` nobody lets in more than there is room for.
TEST(SubscribeWhileOthersPublish, Backpressure_LosesNothing) {
  for (std::size_t kept = 0; kept < kCommandsInABlock; ++kept) {
    SharingBus bus(manual_options());
    std::vector<Subscription> others;
    for (std::size_t i = 0; i < kept; ++i)
      others.push_back(bus.subscribe_all());
    SubscriptionOptions options = named("sut", Filter::all(), 2);
    options.overflow = Overflow::backpressure;
    Subscription sut;
    const auto publish = [&] {
      for (std::uint64_t i = 0; i < 3; ++i)
        (void)bus.try_publish(tick(i));
    };
    {
      const AtAllocation hook(publish);
      sut = bus.subscribe(std::move(options));
    }
    publish();
    EXPECT_GT(bus.poll(), 0u);
    EXPECT_EQ(sut.stats().lagged, 0u);
    EXPECT_TRUE(check_balanced(bus));
  }
}

// The gap at the start of a late join reaches up to its first event, also when others publish while its place in the
// order is written down.
TEST(SubscribeWhileOthersPublish, LateJoinWithoutAHistory_TheGapReachesUpToTheFirstEvent) {
  SharingBus bus;
  // Kept, so that each is one command.
  std::vector<Subscription> suts;
  for (std::size_t i = 0; i < 2 * kCommandsInABlock; ++i) {
    bus.publish(tick(i));
    SubscriptionOptions options = named("sut", Filter::all(), 1000);
    options.start = Start::sequence(1);
    Subscription& sut = suts.emplace_back();
    {
      const AtAllocation hook([&] { bus.publish(tick(i)); });
      sut = bus.subscribe(std::move(options));
    }
    bus.publish(tick(i));
    const Received first = sut.try_receive();
    const Received second = sut.try_receive();
    ASSERT_NE(first.gap(), nullptr);
    ASSERT_NE(second.event(), nullptr);
    ASSERT_EQ(first.gap()->last + 1, (*second.event())->sequence());
  }
}

}  // namespace
}  // namespace sharingbus

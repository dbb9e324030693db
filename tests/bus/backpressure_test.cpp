// O: backpressure. `async_publish` waits and `try_publish` refuses before a loss can happen; a plain publish goes
// through and that queue drops the newest; other subscribers keep being served.
#include <array>
#include <functional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <boost/asio/bind_executor.hpp>
#include <boost/asio/io_context.hpp>
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

/// Starts async publishes and keeps their completions, in order.
class AsyncPublisher {
 public:
  explicit AsyncPublisher(SharingBus& bus) : bus_(bus) {}

  void start(std::uint64_t value) {
    async_publish(bus_, note(value),
                  asio::bind_executor(context_, [this, value](error_code error, PublishResult result) {
                    EXPECT_FALSE(error);
                    done_ += (done_.empty() ? "" : " ") + std::to_string(value);
                    if (!result.accepted()) done_ += "!";
                  }));
  }
  [[nodiscard]] std::string done() {
    context_.restart();
    context_.poll();
    return done_;
  }

 private:
  asio::io_context context_;
  SharingBus& bus_;
  std::string done_;
};

TEST(Backpressure, TryPublish_IsRefusedWhileTheQueueIsFullAndOthersAreServed) {
  SharingBus bus(manual_options());
  auto sut = bus.subscribe(with_overflow(Overflow::backpressure, 2));
  auto other = bus.subscribe_all();
  poll_all(bus);
  for (std::uint64_t i = 1; i <= 2; ++i) {
    EXPECT_TRUE(bus.try_publish(note(i)).accepted());
    poll_all(bus);
  }
  for (int i = 0; i < 3; ++i)
    EXPECT_EQ(bus.try_publish(note(9)).status, PublishStatus::refused_full);
  EXPECT_EQ(bus.snapshot().ingress_refused, 3u);
  EXPECT_EQ(stream_text(other), "1 2");
  EXPECT_EQ(value_of(sut.try_receive()), 1u);
  poll_all(bus);
  EXPECT_TRUE(bus.try_publish(note(3)).accepted());
  poll_all(bus);
  EXPECT_EQ(bus.try_publish(note(9)).status, PublishStatus::refused_full);
  EXPECT_EQ(stream_text(sut), "2 3");
  EXPECT_EQ(stream_text(other), "3");
  EXPECT_EQ(sut.stats().lagged, 0u);
  EXPECT_TRUE(check_balanced(bus));
}

// Before a loss can happen: what is on its way counts, too.
TEST(Backpressure, TryPublishBeforeDispatch_NeverTakesMoreThanThereIsRoom) {
  SharingBus bus(manual_options());
  auto sut = bus.subscribe(with_overflow(Overflow::backpressure, 3));
  poll_all(bus);
  int accepted = 0;
  for (std::uint64_t i = 1; i <= 10; ++i)
    accepted += bus.try_publish(note(i)).accepted() ? 1 : 0;
  EXPECT_EQ(accepted, 3);
  poll_all(bus);
  EXPECT_EQ(stream_text(sut), "1 2 3");
  EXPECT_EQ(sut.stats().lagged, 0u);
}

// Once `subscribe` has returned, also when nothing was dispatched since.
TEST(Backpressure, JustSubscribed_CountsAtOnce) {
  SharingBus bus(manual_options());
  bus.publish(note(0));
  auto sut = bus.subscribe(with_overflow(Overflow::backpressure, 2));
  int accepted = 0;
  for (std::uint64_t i = 1; i <= 5; ++i)
    accepted += bus.try_publish(note(i)).accepted() ? 1 : 0;
  EXPECT_LE(accepted, 2);
  poll_all(bus);
  EXPECT_EQ(sut.stats().lagged, 0u);
  EXPECT_TRUE(check_balanced(bus));
}

// What a late join asks for fills its queue, too, so nothing may be let in for it before that is there.
TEST(Backpressure, LateJoin_CountsWithWhatItAskedFor) {
  BusOptions options = manual_options();
  options.history_events = 10;
  SharingBus bus(std::move(options));
  publish_notes(bus, 1, 10);
  poll_all(bus);
  SubscriptionOptions late = with_overflow(Overflow::backpressure, 12);
  late.start = Start::last(10);
  auto sut = bus.subscribe(std::move(late));
  std::uint64_t next = 11;
  const auto publish_some = [&] {
    for (int i = 0; i < 20; ++i)
      next += bus.try_publish(note(next)).accepted() ? 1 : 0;
  };
  publish_some();
  poll_all(bus);
  publish_some();
  poll_all(bus);
  EXPECT_EQ(next, 13u);
  EXPECT_EQ(sut.stats().lagged, 0u);
  EXPECT_EQ(stream_text(sut), "1 2 3 4 5 6 7 8 9 10 11 12");
  EXPECT_TRUE(check_balanced(bus));
}

TEST(Backpressure, LateJoinIsLetGoBeforeItBegan_FreesThePublishers) {
  BusOptions options = manual_options();
  options.history_events = 10;
  SharingBus bus(std::move(options));
  publish_notes(bus, 1, 10);
  SubscriptionOptions late = with_overflow(Overflow::backpressure, 12);
  late.start = Start::last(10);
  {
    const Subscription sut = bus.subscribe(std::move(late));
    EXPECT_FALSE(bus.try_publish(note(11)).accepted());
  }
  poll_all(bus);
  EXPECT_TRUE(bus.try_publish(note(11)).accepted());
}

/// A payload whose end is the user's code.
struct AtItsEnd {
  static constexpr std::string_view event_name = "test_at_its_end";
  std::function<void()> call;

  explicit AtItsEnd(std::function<void()> fn) : call(std::move(fn)) {}
  AtItsEnd(AtItsEnd&& other) noexcept : call(std::exchange(other.call, nullptr)) {}
  AtItsEnd& operator=(AtItsEnd&&) = delete;
  ~AtItsEnd() {
    if (call) call();
  }
};

// What it had queued is destroyed under no lock that a receive takes.
TEST(Backpressure, LetGoWithEventsQueued_TheirDestructorsMayReceive) {
  const Watchdog watchdog("Backpressure.LetGoWithEventsQueued");
  SharingBus bus(manual_options());
  auto other = bus.subscribe(with_overflow(Overflow::backpressure, 10));
  std::uint64_t received = 0;
  {
    SubscriptionOptions requests = with_overflow(Overflow::backpressure, 10);
    requests.filter = Filter::type<AtItsEnd>();
    auto sut = bus.subscribe(std::move(requests));
    publish_notes(bus, 1, 1);
    bus.publish(AtItsEnd([&] { received = value_of(other.try_receive()); }));
    poll_all(bus);
    EXPECT_EQ(value_of(other.try_receive()), 1u);
    EXPECT_NE(other.try_receive().get_if<AtItsEnd>(), nullptr);
    publish_notes(bus, 2, 2);
  }
  EXPECT_EQ(received, 0u);
  poll_all(bus);
  EXPECT_EQ(received, 2u);
  EXPECT_TRUE(check_balanced(bus));
}

TEST(Backpressure, PlainPublish_GoesThroughAndThatQueueDropsTheNewest) {
  SharingBus bus(manual_options());
  auto sut = bus.subscribe(with_overflow(Overflow::backpressure, 2));
  auto other = bus.subscribe_all();
  for (std::uint64_t i = 1; i <= 4; ++i) {
    EXPECT_TRUE(bus.publish(note(i)).accepted());
    poll_all(bus);
  }
  EXPECT_EQ(stream_text(sut), "1 2 gap3-4(2)");
  EXPECT_EQ(stream_text(other), "1 2 3 4");
  EXPECT_TRUE(check_balanced(bus));
}

TEST(Backpressure, SeveralQueues_TheFullestDecides) {
  SharingBus bus(manual_options());
  auto small = bus.subscribe(with_overflow(Overflow::backpressure, 1));
  auto large = bus.subscribe(with_overflow(Overflow::backpressure, 5));
  poll_all(bus);
  EXPECT_TRUE(bus.try_publish(note(1)).accepted());
  poll_all(bus);
  EXPECT_FALSE(bus.try_publish(note(2)).accepted());
  EXPECT_EQ(stream_text(small), "1");
  poll_all(bus);
  EXPECT_TRUE(bus.try_publish(note(2)).accepted());
  poll_all(bus);
  EXPECT_EQ(stream_text(large), "1 2");
}

TEST(Backpressure, FullQueueIsUnsubscribedOrLetGo_FreesThePublishers) {
  for (const bool let_go : {false, true}) {
    SharingBus bus(manual_options());
    auto sut = bus.subscribe(with_overflow(Overflow::backpressure, 1));
    bus.publish(note(1));
    poll_all(bus);
    EXPECT_FALSE(bus.try_publish(note(2)).accepted());
    if (let_go) {
      sut = {};
    } else {
      sut.unsubscribe();
    }
    poll_all(bus);
    EXPECT_TRUE(bus.try_publish(note(3)).accepted()) << let_go;
  }
}

TEST(Backpressure, TryPublishOnCombiningBus_IsRefusedUntilTheConsumerDrains) {
  SharingBus bus;
  auto sut = bus.subscribe(with_overflow(Overflow::backpressure, 2));
  EXPECT_TRUE(bus.try_publish(note(1)).accepted());
  EXPECT_TRUE(bus.try_publish(note(2)).accepted());
  EXPECT_FALSE(bus.try_publish(note(3)).accepted());
  EXPECT_EQ(stream_text(sut), "1 2");
  bus.poll();
  EXPECT_TRUE(bus.try_publish(note(3)).accepted());
  EXPECT_EQ(stream_text(sut), "3");
}

// --- async_publish

TEST(BackpressureAsync, PublishesWait_CompleteInOrderAsTheConsumerDrains) {
  SharingBus bus(manual_options());
  auto sut = bus.subscribe(with_overflow(Overflow::backpressure, 2));
  auto other = bus.subscribe_all();
  poll_all(bus);
  AsyncPublisher publisher(bus);
  for (std::uint64_t i = 1; i <= 5; ++i)
    publisher.start(i);
  poll_all(bus);
  EXPECT_EQ(publisher.done(), "1 2");
  EXPECT_EQ(bus.snapshot().publish_waiting, 3u);
  EXPECT_EQ(bus.snapshot().publish_waited, 3u);
  std::string received;
  for (int i = 0; i < 5; ++i) {
    received += std::to_string(value_of(sut.try_receive()));
    poll_all(bus);
  }
  EXPECT_EQ(received, "12345");
  EXPECT_EQ(publisher.done(), "1 2 3 4 5");
  EXPECT_EQ(stream_text(other), "1 2 3 4 5");
  EXPECT_EQ(sut.stats().lagged, 0u);
  EXPECT_EQ(bus.snapshot().publish_waiting, 0u);
  EXPECT_EQ(bus.snapshot().publish_waited, 3u);
  EXPECT_TRUE(check_balanced(bus));
}

// Nobody polls and nobody publishes: the consumer's own receives must let the next one in.
class DrainedBy : public ::testing::TestWithParam<const char*> {};

TEST_P(DrainedBy, ConsumerOfACombiningBus_LetsTheNextOneIn) {
  const std::string form = GetParam();
  SharingBus bus;
  auto sut = bus.subscribe(with_overflow(Overflow::backpressure, 1));
  AsyncPublisher publisher(bus);
  std::string expected;
  for (std::uint64_t i = 1; i <= 20; ++i) {
    publisher.start(i);
    expected += (i == 1 ? "" : " ") + std::to_string(i);
  }
  EXPECT_EQ(publisher.done(), "1");
  StreamText stream;
  std::array<Received, 4> batch;
  for (int i = 0; i < 100; ++i) {
    if (form == "try_receive") stream.add(sut.try_receive());
    if (form == "receive_for") stream.add(sut.receive_for(kNothingComes / 5));
    if (form == "lend") stream.add(sut.lend());
    if (form == "receive_batch") {
      const std::size_t count = sut.receive_batch(batch);
      for (std::size_t n = 0; n < count; ++n)
        stream.add(batch[n]);
    }
    (void)publisher.done();
  }
  EXPECT_EQ(publisher.done(), expected);
  EXPECT_EQ(stream.text(), expected);
  EXPECT_EQ(sut.stats().lagged, 0u);
  EXPECT_TRUE(check_balanced(bus));
}

INSTANTIATE_TEST_SUITE_P(Forms, DrainedBy, ::testing::Values("try_receive", "receive_for", "lend", "receive_batch"),
                         [](const auto& instance) { return std::string(instance.param); });

TEST(BackpressureAsync, TheFullSubscriptionEnds_TheOthersGoOn) {
  SharingBus bus;
  auto sut = bus.subscribe(with_overflow(Overflow::backpressure, 1));
  auto other = bus.subscribe_all();
  AsyncPublisher publisher(bus);
  for (std::uint64_t i = 1; i <= 4; ++i)
    publisher.start(i);
  EXPECT_EQ(publisher.done(), "1");
  sut.unsubscribe();
  bus.poll();
  EXPECT_EQ(publisher.done(), "1 2 3 4");
  EXPECT_EQ(stream_text(other), "1 2 3 4");
  EXPECT_EQ(stream_text(sut), "1 end:unsubscribed");
}

// What a plain publish took is not there for those who wait, yet they lose nothing: they wait on.
TEST(BackpressureAsync, PlainPublishInBetween_LosesItsOwnEventOnly) {
  SharingBus bus;
  auto sut = bus.subscribe(with_overflow(Overflow::backpressure, 2));
  AsyncPublisher publisher(bus);
  for (std::uint64_t i = 1; i <= 3; ++i)
    publisher.start(i);
  EXPECT_EQ(publisher.done(), "1 2");
  bus.publish(note(9));
  EXPECT_EQ(sut.stats().lagged, 1u);
  StreamText stream;
  for (int i = 0; i < 10; ++i) {
    stream.add(sut.try_receive());
    (void)publisher.done();
    bus.poll();
  }
  EXPECT_EQ(stream.text(), "1 2 gap3-3(1) 3");
  EXPECT_EQ(publisher.done(), "1 2 3");
}

// try_publish does not overtake those who wait.
TEST(BackpressureAsync, SomebodyWaits_TryPublishDoesNotTakeItsPlace) {
  SharingBus bus(manual_options());
  auto sut = bus.subscribe(with_overflow(Overflow::backpressure, 1));
  poll_all(bus);
  AsyncPublisher publisher(bus);
  publisher.start(1);
  publisher.start(2);
  poll_all(bus);
  EXPECT_EQ(publisher.done(), "1");
  EXPECT_EQ(value_of(sut.try_receive()), 1u);
  (void)bus.try_publish(note(7));
  poll_all(bus);
  EXPECT_EQ(sut.stats().lagged, 0u);
  EXPECT_TRUE(check_balanced(bus));
}

}  // namespace
}  // namespace sharingbus

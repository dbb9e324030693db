// Threads against the bus, meant for ThreadSanitizer. Sizes are chosen so that the whole file stays within seconds.
#include <array>
#include <atomic>
#include <cstdlib>
#include <iostream>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "bus/observers/metrics_observer.hpp"
#include "bus/observers/scroll_id_binder.hpp"
#include "bus/sharing_bus.hpp"
#include "tests/bus/stress_reader.hpp"
#include "tests/bus/test_events.hpp"
#include "tests/support/bus_oracle.hpp"
#include "tests/support/watchdog.hpp"

namespace sharingbus {
namespace {

using namespace test;

constexpr std::chrono::seconds kLimit{120};

struct Load {
  const char* name;
  std::size_t ingress_capacity;
  int publishers;
  std::uint64_t events;
};
void PrintTo(const Load& load, std::ostream* out) {
  *out << load.name;
}

class Conservation : public ::testing::TestWithParam<Load> {};

// Guarantees 1 and 2 under fire: many publishers, subscribers with different capacities and filters, others that come,
// end and are let go at random; every stream is explained completely, every counter adds up.
TEST_P(Conservation, PublishersReadersAndChurn_EverythingIsAccountedFor) {
  const Watchdog watchdog("Conservation", kLimit);
  const Load& load = GetParam();
  auto recorder = std::make_shared<OrderRecorder>();
  BusOptions options;
  options.ingress_capacity = load.ingress_capacity;
  options.stages.push_back(recorder);
  options.log = nullptr;
  SharingBus sut(std::move(options));
  const MetricsObserver metrics(sut);

  std::vector<std::unique_ptr<StressReader>> readers;
  const auto add_reader = [&](const Filter& filter, std::size_t capacity) {
    auto log = recorder->track(filter);
    readers.push_back(
        std::make_unique<StressReader>(std::move(log), sut.subscribe(filter, capacity), run_seed() + capacity));
  };
  add_reader(Filter::all(), 1);
  add_reader(Filter::all(), 100'000);
  add_reader(Filter::connector_uid(uuid(1)), 16);
  add_reader(Filter::kind(EventKind::request) && Filter::connector_uid(uuid(2)), 3);

  std::atomic<bool> done{false};
  std::vector<std::thread> threads;
  for (auto& reader : readers)
    threads.emplace_back([&reader] { reader->run(); });
  threads.emplace_back([&] {
    std::mt19937_64 random(run_seed());
    std::vector<Subscription> transient;
    while (!done) {
      if (transient.size() < 6) {
        transient.push_back(random() % 4 == 0
                                ? sut.subscribe_inline(named("transient"), [](const EventRef&) {})
                                : sut.subscribe(Filter::connector_uid(uuid(random() % 3)), 1 + random() % 8));
      }
      auto& any = transient[random() % transient.size()];
      switch (random() % 4) {
        case 0:
          any.unsubscribe();
          break;
        case 1:
          (void)any.try_receive();
          break;
        case 2:
          (void)sut.snapshot();
          break;
        default:
          transient.erase(transient.begin() + static_cast<std::ptrdiff_t>(random() % transient.size()));
      }
      std::this_thread::yield();
    }
  });
  std::vector<std::thread> publishers;
  std::atomic<std::uint64_t> refused{0};
  for (int p = 0; p < load.publishers; ++p) {
    publishers.emplace_back([&, p] {
      std::mt19937_64 random(run_seed() + 1000 + static_cast<std::uint64_t>(p));
      const Publisher publisher = sut.publisher();
      for (std::uint64_t i = 0; i < load.events; ++i) {
        Routing routing = random() % 2 == 0 ? with_uid(uuid(random() % 3)) : Routing{};
        routing.kind = random() % 2 == 0 ? EventKind::request : EventKind::response;
        EventDraft draft = note(stamp(static_cast<std::uint64_t>(p), i), std::move(routing));
        const bool try_only = random() % 4 == 0;
        const PublishResult result =
            try_only ? publisher.try_publish(std::move(draft)) : publisher.publish(std::move(draft));
        if (!result.accepted()) {
          EXPECT_TRUE(try_only && result.status == PublishStatus::refused_full);
          ++refused;
        }
      }
    });
  }
  for (auto& publisher : publishers)
    publisher.join();
  done = true;
  sut.close();
  for (auto& thread : threads)
    thread.join();

  const BusSnapshot snapshot = sut.snapshot();
  EXPECT_TRUE(check_balanced(snapshot));
  EXPECT_EQ(snapshot.published, static_cast<std::uint64_t>(load.publishers) * load.events - refused);
  EXPECT_EQ(snapshot.dispatched, snapshot.published);
  EXPECT_EQ(snapshot.ingress_lost, 0u);
  EXPECT_EQ(snapshot.ingress_refused, refused);
  EXPECT_EQ(metrics.events(), snapshot.published);
  EXPECT_EQ(recorder->out_of_order(), 0u);
  for (auto& reader : readers) {
    EXPECT_TRUE(reader->oracle.verify(reader->subscription.stats()));
    EXPECT_EQ(reader->order.violations(), 0u);
  }
  // What was big enough lost nothing.
  EXPECT_EQ(readers[1]->oracle.lost(), 0u);
  EXPECT_EQ(readers[1]->oracle.events(), snapshot.published);
}

INSTANTIATE_TEST_SUITE_P(Ingress, Conservation,
                         ::testing::Values(Load{"one", 1, 3, 1500}, Load{"few", 7, 3, 3000}, Load{"turn", 128, 4, 3000},
                                           Load{"standard", 1024, 4, 4000}),
                         [](const auto& instance) { return instance.param.name; });

// A publisher that waits for room always gets it, also when the dispatcher has just emptied the ring and nobody else
// comes to publish: hence the rounds.
TEST(SmallIngress, PublishersInRounds_NeverHang) {
  const Watchdog watchdog("SmallIngress", kLimit);
  constexpr std::uint64_t kPublishers = 3;
  constexpr std::uint64_t kRounds = 3000;
  for (const std::size_t capacity : {1u, 2u}) {
    BusOptions options;
    options.ingress_capacity = capacity;
    SharingBus sut(std::move(options));
    std::atomic<std::uint64_t> dispatched{0};
    auto slow = sut.subscribe_inline(named("slow"), [&](const EventRef&) {
      std::this_thread::yield();
      ++dispatched;
    });
    std::atomic<std::uint64_t> arrived{0};
    std::vector<std::thread> publishers;
    for (std::uint64_t p = 0; p < kPublishers; ++p) {
      publishers.emplace_back([&] {
        for (std::uint64_t round = 1; round <= kRounds; ++round) {
          for (std::uint64_t i = 0; i < 2; ++i)
            EXPECT_TRUE(sut.publish(note(i)).accepted());
          ++arrived;
          while (arrived < round * kPublishers)
            std::this_thread::yield();
        }
      });
    }
    for (auto& publisher : publishers)
      publisher.join();
    sut.close();
    EXPECT_EQ(dispatched, kPublishers * kRounds * 2);
    EXPECT_EQ(sut.snapshot().ingress_lost, 0u);
  }
}

// Whoever dispatches by poll(limit) takes care of those who published meanwhile and went away.
TEST(CombiningPoll, WithALimit_LeavesNobodysEventBehind) {
  const Watchdog watchdog("CombiningPoll", kLimit);
  SharingBus sut;
  auto all = sut.subscribe_all();
  constexpr std::uint64_t kRounds = 5000;
  std::atomic<std::uint64_t> round{0};
  std::thread poller([&] {
    for (std::uint64_t i = 1; i <= kRounds; ++i) {
      while (round < i)
        std::this_thread::yield();
      sut.poll(1);
    }
  });
  for (std::uint64_t i = 1; i <= kRounds; ++i) {
    round = i;
    sut.publish(note(i));
    sut.publish(note(i));
    for (int n = 0; n < 2; ++n)
      ASSERT_EQ(value_of(all.receive()), i);
  }
  poller.join();
}

// A refusal means full: with one publisher at a time and nobody else, there is always room.
TEST(SmallIngress, TryPublishAfterThatThreadsOwnEventWasReceived_IsNotRefused) {
  const Watchdog watchdog("TryPublish", kLimit);
  BusOptions options;
  options.ingress_capacity = 64;
  SharingBus sut(std::move(options));
  std::vector<std::thread> players;
  for (int p = 0; p < 3; ++p) {
    // Never more than 3 in the ingress, far below its capacity.
    players.emplace_back([&, p] {
      auto mine = sut.subscribe(Filter::connector_uid(uuid(static_cast<std::uint64_t>(p))));
      for (std::uint64_t i = 0; i < 5000; ++i) {
        ASSERT_TRUE(sut.try_publish(note(i, with_uid(uuid(static_cast<std::uint64_t>(p))))).accepted());
        ASSERT_EQ(value_of(mine.receive()), i);
      }
    });
  }
  for (auto& player : players)
    player.join();
  EXPECT_EQ(sut.snapshot().ingress_refused, 0u);
}

// Guarantee 5: what was accepted before the close is delivered, what comes after is refused; nothing in between.
TEST(CloseUnderFire, Accepted_IsExactlyWhatWasDispatched) {
  const Watchdog watchdog("CloseUnderFire", kLimit);
  for (int round = 0; round < 25; ++round) {
    BusOptions options;
    options.ingress_capacity = 1 + static_cast<std::size_t>(round) % 9;
    options.log = nullptr;
    auto sut = std::make_optional<SharingBus>(std::move(options));
    const MetricsObserver metrics(*sut);
    auto all = sut->subscribe(Filter::all(), 1'000'000);
    auto slow = sut->subscribe(Filter::all(), 2);
    std::atomic<std::uint64_t> accepted{0};
    std::atomic<int> running{0};
    std::vector<std::thread> publishers;
    for (int p = 0; p < 3; ++p) {
      publishers.emplace_back([&, publisher = sut->publisher()] {
        ++running;
        for (std::uint64_t i = 0;; ++i) {
          const PublishResult result = publisher.publish(note(i));
          if (!result.accepted()) {
            EXPECT_EQ(result.status, PublishStatus::refused_closed);
            return;
          }
          ++accepted;
        }
      });
    }
    std::uint64_t events = 0;
    std::thread reader([&] {
      for (const EventRef& event : all)
        events += event ? 1 : 0;
    });
    while (running != 3 || accepted < 50)
      std::this_thread::yield();
    if (round % 2 == 0) {
      sut->close();
      const BusSnapshot snapshot = sut->snapshot();
      EXPECT_EQ(snapshot.dispatched, snapshot.published);
    }
    // Publishers still hold a handle and run into the closed bus.
    sut.reset();
    for (auto& publisher : publishers)
      publisher.join();
    reader.join();
    EXPECT_EQ(events, accepted);
    EXPECT_EQ(metrics.events(), accepted);
    EXPECT_TRUE(slow.stats().balanced());
    EXPECT_EQ(slow.stats().matched, accepted);
  }
}

// After the handle of an inline subscription is gone, its callback is not running and will not run.
TEST(InlineChurn, HandleLetGo_CallbackNeverRunsAfterwards) {
  const Watchdog watchdog("InlineChurn", kLimit);
  SharingBus sut;
  std::atomic<bool> done{false};
  std::vector<std::thread> publishers;
  for (int p = 0; p < 2; ++p) {
    publishers.emplace_back([&] {
      for (std::uint64_t i = 0; !done; ++i)
        sut.publish(note(i));
    });
  }
  for (int round = 0; round < 800; ++round) {
    auto touched = std::make_unique<std::uint64_t>(0);
    auto subscription = sut.subscribe_inline(named("brief"), [raw = touched.get()](const EventRef&) { ++*raw; });
    if (round % 3 == 0) std::this_thread::yield();
    subscription = {};
    touched.reset();  // a late call would be a use after free
  }
  done = true;
  for (auto& publisher : publishers)
    publisher.join();
  sut.close();
  EXPECT_TRUE(check_balanced(sut));
}

// A reader that waits with short timeouts never sleeps through an event: the last one of each round must come.
TEST(TimedReceive, ManyTimeouts_NoWakeUpIsLost) {
  const Watchdog watchdog("TimedReceive", kLimit);
  SharingBus sut;
  auto requests = sut.subscribe(Filter::kind(EventKind::request));
  auto answers = sut.subscribe(Filter::kind(EventKind::response));
  constexpr std::uint64_t kRounds = 2000;
  std::thread responder([&] {
    std::mt19937_64 random(run_seed());
    for (std::uint64_t i = 0; i < kRounds;) {
      const Received received =
          i % 2 == 0 ? requests.receive_for(std::chrono::microseconds(random() % 60)) : requests.receive();
      if (received.empty()) continue;
      ASSERT_EQ(value_of(received), i);
      sut.publish(note(i++, routing_of(EventKind::response)));
    }
  });
  for (std::uint64_t i = 0; i < kRounds; ++i) {
    sut.publish(note(i, routing_of(EventKind::request)));
    ASSERT_EQ(value_of(answers.receive()), i);
  }
  responder.join();
}

// Manual engine with publishers on many threads and losses at the ingress: each loss is in the right gap.
TEST(ManualUnderFire, LossesAtTheIngress_AreExactForEverySubscriber) {
  const Watchdog watchdog("ManualUnderFire", kLimit);
  auto recorder = std::make_shared<OrderRecorder>();
  BusOptions options = manual_options(8);
  options.stages.push_back(recorder);
  options.log = nullptr;
  SharingBus sut(std::move(options));
  std::vector<std::unique_ptr<StressReader>> readers;
  for (const auto& filter : {Filter::all(), Filter::connector_uid(uuid(1))}) {
    auto log = recorder->track(filter);
    readers.push_back(std::make_unique<StressReader>(std::move(log), sut.subscribe(filter, 5), run_seed()));
  }
  std::atomic<bool> done{false};
  std::thread poller([&] {
    while (!done)
      sut.poll(3);
  });
  std::vector<std::thread> threads;
  for (auto& reader : readers)
    threads.emplace_back([&reader] { reader->run(); });
  std::vector<std::thread> publishers;
  for (int p = 0; p < 2; ++p) {
    publishers.emplace_back([&, p] {
      for (std::uint64_t i = 0; i < 5'000; ++i) {
        const auto result = sut.publish(note(stamp(static_cast<std::uint64_t>(p), i), with_uid(uuid(i % 2))));
        EXPECT_TRUE(result.accepted());
        if (i % 8 == 0) std::this_thread::yield();
      }
    });
  }
  for (auto& publisher : publishers)
    publisher.join();
  done = true;
  poller.join();
  sut.close();
  for (auto& thread : threads)
    thread.join();
  const BusSnapshot snapshot = sut.snapshot();
  EXPECT_EQ(snapshot.published, 10'000u);
  EXPECT_EQ(snapshot.dispatched + snapshot.ingress_lost, 10'000u);
  EXPECT_TRUE(check_balanced(snapshot));
  EXPECT_EQ(recorder->out_of_order(), 0u);
  for (auto& reader : readers) {
    EXPECT_TRUE(reader->oracle.verify(reader->subscription.stats()));
    EXPECT_EQ(reader->order.violations(), 0u);
  }
}

// Two buses that publish into each other from their callbacks, from two threads: no circle of waiting threads.
TEST(TwoBuses, BridgedBothWays_DoNotDeadlock) {
  const Watchdog watchdog("TwoBuses", kLimit);
  BusOptions options;
  options.ingress_capacity = 4;
  options.log = nullptr;
  SharingBus left(options);
  SharingBus right(options);
  auto to_right = left.subscribe_inline(named("to-right", Filter::kind(EventKind::request)),
                                        [&](const EventRef&) { right.publish(note(0)); });
  auto to_left = right.subscribe_inline(named("to-left", Filter::kind(EventKind::request)),
                                        [&](const EventRef&) { left.publish(note(0)); });
  const auto run = [](SharingBus& bus) {
    for (std::uint64_t i = 0; i < 3000; ++i)
      bus.publish(note(i, routing_of(EventKind::request)));
  };
  std::thread other([&] { run(left); });
  run(right);
  other.join();
  left.close();
  right.close();
  for (const SharingBus* bus : {&left, &right}) {
    const BusSnapshot snapshot = bus->snapshot();
    EXPECT_TRUE(check_balanced(snapshot));
    EXPECT_EQ(snapshot.published, snapshot.dispatched + snapshot.ingress_lost);
  }
}

// Late binding between threads: whoever publishes SessionRegistered, what happens after it is bound.
TEST(LateBindingUnderFire, RegisteredByAnotherThread_BindsWhatHappensAfter) {
  const Watchdog watchdog("LateBindingUnderFire", kLimit);
  SharingBus sut;
  auto all = sut.subscribe(Filter::type<Note>(), 100'000);
  std::atomic<bool> done{false};
  std::thread noise([&] {
    while (!done)
      sut.publish(Beat{});
  });
  std::atomic<int> registered{0};
  constexpr int kSessions = 2000;
  std::thread registrar([&] {
    for (int i = 1; i <= kSessions; ++i) {
      sut.publish(SessionRegistered{"c", std::to_string(i), to_string(uuid(1))});
      registered = i;
    }
  });
  for (int i = 1; i <= kSessions; ++i) {
    while (registered < i)
      std::this_thread::yield();
    sut.publish(note(1, with_session("c", std::to_string(i))));
  }
  registrar.join();
  done = true;
  noise.join();
  sut.close();
  int bound = 0;
  for (const EventRef& event : all)
    bound += event->routing().scroll_id == uuid(1) ? 1 : 0;
  EXPECT_EQ(bound, kSessions);
}

}  // namespace
}  // namespace sharingbus

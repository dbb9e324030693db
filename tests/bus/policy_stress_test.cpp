// Threads against every overflow policy, late joins and asynchronous publishing, under every engine; meant for
// ThreadSanitizer. Sizes are chosen so that the whole file stays within seconds.
#include <atomic>
#include <future>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/bind_executor.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/thread_pool.hpp>
#include <boost/asio/use_future.hpp>
#include <gtest/gtest.h>

#include "bus/async.hpp"
#include "tests/bus/stream_text.hpp"
#include "tests/bus/stress_reader.hpp"
#include "tests/bus/test_events.hpp"
#include "tests/support/bus_harness.hpp"
#include "tests/support/bus_oracle.hpp"
#include "tests/support/watchdog.hpp"

namespace sharingbus {
namespace {

using namespace test;
namespace asio = boost::asio;

constexpr std::chrono::seconds kLimit{120};
constexpr std::uint64_t kEvents = 1500;
constexpr std::uint64_t kPublishers = 3;

class PolicyStress : public ::testing::TestWithParam<Engine> {
 protected:
  const Watchdog watchdog_{"PolicyStress", kLimit};
};

/// The bus under fire and everything that watches it.
class Fire {
 public:
  Fire(Engine engine, bool close_in_the_middle, std::size_t ingress_bytes = 0)
      : close_in_the_middle_(close_in_the_middle),
        recorder_(std::make_shared<OrderRecorder>()),
        bus_(engine, options(recorder_, ingress_bytes)),
        random_(run_seed()) {
    for (const Filter& filter : {Filter::all(), Filter::connector_uid(uuid(1)),
                                 Filter::kind(EventKind::request) || !Filter::connector_uid(uuid(2))}) {
      filters_.push_back(filter);
      logs_.push_back(recorder_->track(filter));
    }
    letters_ = bus_->subscribe_dead_letters(named("letters", Filter::all(), 1'000'000));
    std::size_t i = 0;
    for (const Overflow overflow : kEveryOverflow) {
      auto options = with_overflow(overflow, 1 + 5 * i % 17, std::string(to_string(overflow)));
      if (i % 2 == 1 && overflow != Overflow::backpressure) options.capacity_bytes = 2000;
      add_reader(i++ % filters_.size(), std::move(options));
    }
    add_reader(0, named("large", Filter::all(), 1'000'000));
  }

  void run() {
    std::vector<std::thread> readers;
    for (auto& reader : readers_)
      readers.emplace_back([&reader] { reader->run(); });
    std::thread churn([this] { come_and_go(); });
    std::thread poller([this] {
      while (!settled_ && bus_.engine() == Engine::manual)
        bus_->poll(5);
    });
    std::vector<std::thread> publishers;
    for (std::uint64_t p = 0; p < kPublishers; ++p)
      publishers.emplace_back([this, p] { publish(p); });
    for (auto& publisher : publishers)
      publisher.join();
    done_ = true;
    churn.join();
    settled_ = true;
    poller.join();
    bus_->close();
    for (auto& reader : readers)
      reader.join();
  }

  void verify() {
    const BusSnapshot snapshot = bus_->snapshot();
    EXPECT_TRUE(check_balanced(snapshot));
    EXPECT_EQ(snapshot.published, accepted_);
    EXPECT_EQ(snapshot.dispatched + snapshot.ingress_lost, accepted_);
    EXPECT_EQ(snapshot.ingress_refused, refused_full_);
    EXPECT_EQ(recorder_->out_of_order(), 0u);
    std::uint64_t lagged = snapshot.retired.lagged;
    for (const SubscriptionStats& stats : snapshot.subscriptions)
      lagged += stats.name == "letters" ? 0 : stats.lagged;
    EXPECT_EQ(snapshot.dead_letters, lagged) << "each loss once, whoever lost";
    EXPECT_EQ(letters_.stats().matched, lagged);
    EXPECT_EQ(told_, lagged) << "on_drop, each loss once";
    for (auto& reader : readers_) {
      EXPECT_TRUE(reader->oracle.verify(reader->subscription.stats())) << reader->subscription.stats().name;
      EXPECT_EQ(reader->order.violations(), 0u);
    }
    EXPECT_EQ(readers_.back()->oracle.lost(), snapshot.ingress_lost);
    EXPECT_GT(joined_, 0u);
  }

 private:
  static BusOptions options(const std::shared_ptr<OrderRecorder>& recorder, std::size_t ingress_bytes) {
    BusOptions options;
    options.ingress_capacity = 64;
    options.ingress_capacity_bytes = ingress_bytes;
    options.history_events = 200;
    options.log = nullptr;
    options.stages.push_back(recorder);
    return options;
  }
  void add_reader(std::size_t filter, SubscriptionOptions options) {
    options.filter = filters_[filter];
    options.on_drop = [this](const EventRef&) { ++told_; };
    readers_.push_back(std::make_unique<StressReader>(logs_[filter], bus_->subscribe(std::move(options)), random_()));
  }

  void publish(std::uint64_t p) {
    std::mt19937_64 random(run_seed() + 1000 + p);
    const Publisher publisher = bus_->publisher();
    std::uint64_t index = 0;
    const auto next = [&] {
      Routing routing = random() % 2 == 0 ? with_uid(uuid(random() % 3)) : Routing{};
      routing.kind = random() % 2 == 0 ? EventKind::request : EventKind::response;
      return note(stamp(p, index++), std::move(routing));
    };
    while (index < kEvents) {
      switch (random() % 4) {
        case 0: {
          EventDraft draft = next();
          const PublishResult result = publisher.try_publish(std::move(draft));
          accepted_ += result.accepted() ? 1 : 0;
          refused_full_ += result.status == PublishStatus::refused_full ? 1 : 0;
          EXPECT_EQ(static_cast<bool>(draft), !result.accepted());
          break;
        }
        case 1: {
          std::vector<EventDraft> batch;
          for (std::uint64_t n = random() % 20; n > 0; --n)
            batch.push_back(next());
          accepted_ += publisher.publish_batch(batch).accepted;
          break;
        }
        default:
          accepted_ += publisher.publish(next()).accepted() ? 1 : 0;
      }
      // Whoever publishes now and later is refused.
      if (close_in_the_middle_ && p == 0 && index > kEvents / 2) bus_->close();
    }
  }

  /// Subscriptions that join late, read a while, and end in one of the ways there are.
  void come_and_go() {
    std::mt19937_64 random(run_seed() + 2000);
    while (!done_) {
      const std::size_t filter = random() % filters_.size();
      auto options = with_overflow(kEveryOverflow[random() % 5], 1 + random() % 50, "transient");
      options.filter = filters_[filter];
      options.on_drop = [this](const EventRef&) { ++told_; };
      // What gave way at the ingress is not in the history, and only the manual engine lets anything go.
      const std::uint64_t how = bus_.engine() == Engine::manual ? 2 : random() % 3;
      std::uint64_t start = bus_->snapshot().published;
      start = start > 50 ? start - random() % 50 : 1;
      if (how == 0) options.start = Start::sequence(start);
      if (how == 1) options.start = Start::last(random() % 20);
      StressReader reader(logs_[filter], bus_->subscribe(std::move(options)), random());
      if (how == 0) reader.oracle.start_at(start);
      for (std::uint64_t n = random() % 20; n > 0; --n)
        reader.read_once(false);
      if (random() % 2 == 0) {
        reader.subscription.unsubscribe();
        reader.run();
        EXPECT_TRUE(reader.oracle.verify(reader.subscription.stats()));
      } else {
        EXPECT_TRUE(reader.oracle.verify());
      }
      EXPECT_EQ(reader.order.violations(), 0u);
      if (random() % 3 == 0) (void)bus_->snapshot();
      ++joined_;
    }
  }

  const bool close_in_the_middle_;
  const std::shared_ptr<OrderRecorder> recorder_;
  std::atomic<std::uint64_t> told_{0};
  BusHarness bus_;
  std::mt19937_64 random_;
  std::vector<Filter> filters_;
  std::vector<std::shared_ptr<const MatchLog>> logs_;
  Subscription letters_;
  std::vector<std::unique_ptr<StressReader>> readers_;
  std::atomic<bool> done_{false};
  std::atomic<bool> settled_{false};
  std::atomic<std::uint64_t> accepted_{0};
  std::atomic<std::uint64_t> refused_full_{0};
  std::atomic<std::uint64_t> joined_{0};
};

// Guarantees 1, 2 and 5 under fire, for every policy, with subscriptions that come late and go early.
TEST_P(PolicyStress, PublishersReadersAndChurn_EverythingIsAccountedFor) {
  Fire fire(GetParam(), false);
  fire.run();
  fire.verify();
}

TEST_P(PolicyStress, IngressBoundedInBytes_EverythingIsAccountedFor) {
  Fire fire(GetParam(), false, 4 * note(0)->size_bytes());
  fire.run();
  fire.verify();
}

TEST_P(PolicyStress, ClosedInTheMiddle_EverythingIsAccountedFor) {
  Fire fire(GetParam(), true);
  fire.run();
  fire.verify();
}

// The seam between history and live: with publishers running, each joiner sees every event from its sequence on.
TEST_P(PolicyStress, LateJoinsWhilePublishersRun_HaveNeitherGapNorDuplicate) {
  BusOptions options;
  options.history_events = 100'000;
  options.ingress_capacity = 100'000;
  options.log = nullptr;
  BusHarness bus(GetParam(), std::move(options));
  std::atomic<bool> done{false};
  std::vector<std::thread> publishers;
  for (std::uint64_t p = 0; p < 2; ++p) {
    publishers.emplace_back([&, p] {
      for (std::uint64_t i = 0; i < 4000; ++i)
        bus->publish(note(stamp(p, i)));
    });
  }
  std::thread poller([&] {
    while (!done && GetParam() == Engine::manual)
      bus->poll(7);
  });
  std::vector<Subscription> joined;
  std::vector<std::uint64_t> starts;
  std::mt19937_64 random(run_seed());
  for (int i = 0; i < 40; ++i) {
    const std::uint64_t published = bus->snapshot().published;
    SubscriptionOptions late = named("late", Filter::all(), 100'000);
    starts.push_back(published == 0 ? 1 : 1 + random() % published);
    late.start = Start::sequence(starts.back());
    joined.push_back(bus->subscribe(std::move(late)));
    std::this_thread::yield();
  }
  for (auto& publisher : publishers)
    publisher.join();
  done = true;
  poller.join();
  bus->close();
  for (std::size_t i = 0; i < joined.size(); ++i) {
    std::uint64_t expected = starts[i];
    for (const EventRef& event : joined[i]) {
      ASSERT_EQ(event->sequence(), expected++) << "joiner " << i;
    }
    EXPECT_EQ(expected, 8001u);
    EXPECT_EQ(joined[i].stats().lagged, 0u);
  }
}

// Backpressure: what is published by async_publish alone is never lost, whoever dispatches and however slow the reader.
TEST_P(PolicyStress, AsyncPublishersOnly_LoseNothingToBackpressure) {
  constexpr std::uint64_t kEach = 600;
  asio::thread_pool pool(2);
  BusHarness bus(GetParam());
  auto slow = bus->subscribe(with_overflow(Overflow::backpressure, 3));
  auto other = bus->subscribe(Filter::all(), 100'000);
  std::atomic<bool> done{false};
  std::thread poller([&] {
    while (!done && GetParam() == Engine::manual)
      bus->poll();
  });
  std::vector<std::uint64_t> values;
  std::thread reader([&] {
    std::mt19937_64 random(run_seed());
    while (values.size() < 3 * kEach) {
      if (random() % 2 == 0) {
        for (const Lent lent = slow.lend(2); const EventRef& event : lent.events())
          values.push_back(event->get_if<Note>()->value);
      } else if (const Received next = slow.receive_for(std::chrono::milliseconds(1)); next.event() != nullptr) {
        values.push_back(value_of(next));
      }
    }
  });
  std::vector<std::thread> publishers;
  for (std::uint64_t p = 0; p < 3; ++p) {
    publishers.emplace_back([&, p] {
      for (std::uint64_t i = 0; i < kEach; ++i) {
        auto result = async_publish(*bus, note(stamp(p, i)), asio::bind_executor(pool, asio::use_future));
        ASSERT_TRUE(result.get().accepted());
      }
    });
  }
  for (auto& publisher : publishers)
    publisher.join();
  reader.join();
  done = true;
  poller.join();
  EXPECT_EQ(slow.stats().lagged, 0u);
  EXPECT_EQ(slow.stats().received, 3 * kEach);
  bus.settle();
  EXPECT_EQ(drain_values(other), values) << "the same order for everyone";
  EXPECT_EQ(bus->snapshot().publish_waiting, 0u);
  EXPECT_TRUE(check_balanced(*bus));
  pool.join();
}

// Async publishers that give up at random leave nothing behind.
TEST_P(PolicyStress, AsyncPublishersThatAreCancelled_AreEitherPublishedOrNot) {
  // One thread, because a cancellation slot belongs to one at a time.
  asio::thread_pool pool(1);
  BusHarness bus(GetParam());
  auto slow = bus->subscribe(with_overflow(Overflow::backpressure, 2));
  std::atomic<std::uint64_t> accepted{0};
  std::atomic<std::uint64_t> aborted{0};
  std::atomic<bool> done{false};
  std::thread reader([&] {
    std::mt19937_64 random(run_seed());
    while (!done) {
      if (GetParam() == Engine::manual) bus->poll();
      (void)slow.receive_for(std::chrono::microseconds(random() % 100));
    }
  });
  std::vector<std::thread> publishers;
  for (std::uint64_t p = 0; p < 2; ++p) {
    publishers.emplace_back([&, p] {
      for (std::uint64_t i = 0; i < 400; ++i) {
        asio::cancellation_signal signal;
        std::promise<void> completed;
        async_publish(
            *bus, note(stamp(p, i)),
            asio::bind_cancellation_slot(
                signal.slot(), asio::bind_executor(pool, [&](boost::system::error_code error, PublishResult result) {
                  EXPECT_EQ(!error, result.accepted());
                  ++(error ? aborted : accepted);
                  completed.set_value();
                })));
        auto future = completed.get_future();
        if (i % 2 == 0) {
          if (future.wait_for(std::chrono::microseconds(50)) != std::future_status::ready) {
            std::promise<void> emitted;
            asio::post(pool, [&] {
              signal.emit(asio::cancellation_type::terminal);
              emitted.set_value();
            });
            emitted.get_future().wait();
          }
        }
        future.wait();
      }
    });
  }
  for (auto& publisher : publishers)
    publisher.join();
  done = true;
  reader.join();
  bus->close();
  EXPECT_EQ(accepted + aborted, 800u);
  EXPECT_EQ(bus->snapshot().published, accepted);
  EXPECT_EQ(bus->snapshot().publish_waiting, 0u);
  EXPECT_EQ(slow.stats().lagged, 0u);
  EXPECT_TRUE(check_balanced(*bus));
  pool.join();
}

INSTANTIATE_TEST_SUITE_P(Engines, PolicyStress,
                         ::testing::Values(Engine::combining, Engine::manual, Engine::thread, Engine::executor),
                         [](const auto& instance) { return name_of(instance.param); });

}  // namespace
}  // namespace sharingbus

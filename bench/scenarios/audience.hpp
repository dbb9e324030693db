#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <numeric>
#include <span>
#include <thread>
#include <vector>

#include "bench/scenarios/house.hpp"
#include "bench/scenarios/load.hpp"
#include "bus/async.hpp"
#include "bus/sharing_bus.hpp"

namespace sharingbus::scenarios {

/// What every receiver keeps. Receivers add `take(event)`, and `done()` after one or several of them.
struct alignas(128) Receiver {
  std::atomic<std::uint64_t> acknowledged{0};
  std::atomic<bool> closed{false};
  /// Told of in gaps.
  std::uint64_t lost = 0;
};

/// Reads every event: counts, and adds up the numbers.
struct Summing : Receiver {
  std::uint64_t count = 0;
  std::uint64_t sum = 0;

  void take(const BusEvent& event) {
    sum += event.get_if<Tick>()->seq;
    ++count;
  }
  void take(std::span<const EventRef> events) {
    std::uint64_t numbers = 0;
    for (const EventRef& event : events)
      numbers += event->get_if<Tick>()->seq;
    sum += numbers;
    count += events.size();
  }
  void done() { acknowledged.store(count, std::memory_order_release); }
};

/// The subscribers of a run, attached in the way that the row says. Let it go before the house.
template <class R>
class Audience {
 public:
  /// One subscriber for each of `options`, told to the receiver at the same place.
  Audience(House& house, const Way& way, const std::vector<SubscriptionOptions>& options, std::vector<R>& receivers)
      : receivers_(receivers) {
    switch (way.attach) {
      case Attach::callback:
        attach_callbacks(house, options);
        break;
      case Attach::batches:
        attach_batches(house, options, {way.inside_publish});
        break;
      case Attach::inlined:
        inline_ = true;
        attach_inline(house, options);
        break;
      case Attach::blocking:
        attach_threads(house, options);
        break;
      case Attach::polling:
        attach_poller(house, options);
        break;
    }
  }
  ~Audience() {
    for (std::thread& thread : threads_)
      thread.join();
  }
  Audience(const Audience&) = delete;
  Audience& operator=(const Audience&) = delete;

  /// Until every subscriber has read the end of its stream. Close the bus first.
  void wait_for_end() const {
    // Nothing is told of the end to those who are called by the dispatcher: they are done when the bus is closed.
    if (inline_) return;
    wait_until([this] {
      return std::all_of(receivers_.begin(), receivers_.end(),
                         [](const R& r) { return r.closed.load(std::memory_order_acquire); });
    });
  }

  [[nodiscard]] std::vector<SubscriptionStats> stats() const {
    std::vector<SubscriptionStats> all;
    for (const CallbackSubscription& callback : callbacks_)
      all.push_back(callback.stats());
    for (const Subscription& subscription : subscriptions_)
      all.push_back(subscription.stats());
    return all;
  }

 private:
  static constexpr std::size_t kBatch = 64;

  static void hand_over(R& receiver, const Received& received) {
    if (const EventRef* event = received.event()) {
      receiver.take(**event);
    } else if (const Gap* gap = received.gap()) {
      receiver.lost += static_cast<decltype(receiver.lost)>(gap->count);
    } else if (received.closed() != nullptr) {
      receiver.closed.store(true, std::memory_order_release);
    }
  }

  static void take_all(R& receiver, std::span<const EventRef> events) {
    if constexpr (requires { receiver.take(events); }) {
      receiver.take(events);
    } else {
      for (const EventRef& event : events)
        receiver.take(*event);
    }
  }

  /// Whether there was anything.
  static bool drain(Subscription& subscription, R& receiver) {
    std::array<Received, kBatch> batch;
    const std::size_t count = subscription.receive_batch(batch);
    for (std::size_t i = 0; i < count; ++i)
      hand_over(receiver, batch[i]);
    if (count != 0) receiver.done();
    return count != 0;
  }

  void attach_callbacks(House& house, const std::vector<SubscriptionOptions>& options) {
    CallbackGroup group(house.bus(), house.executor().get_executor());
    for (std::size_t i = 0; i < options.size(); ++i) {
      R* receiver = &receivers_[i];
      callbacks_.push_back(group.subscribe(options[i], [receiver](const Received& received) {
        hand_over(*receiver, received);
        receiver->done();
      }));
    }
  }

  void attach_batches(House& house, const std::vector<SubscriptionOptions>& options, CallbackGroupOptions how) {
    CallbackGroup group(house.bus(), house.executor().get_executor(), how);
    for (std::size_t i = 0; i < options.size(); ++i) {
      R* receiver = &receivers_[i];
      callbacks_.push_back(group.subscribe_batches(options[i], [receiver](const Lent& lent) {
        take_all(*receiver, lent.events());
        if (const Gap* gap = lent.gap()) hand_over(*receiver, Received(*gap));
        if (const Closed* closed = lent.closed()) hand_over(*receiver, Received(*closed));
        receiver->done();
      }));
    }
  }

  void attach_inline(House& house, const std::vector<SubscriptionOptions>& options) {
    for (std::size_t i = 0; i < options.size(); ++i) {
      R* receiver = &receivers_[i];
      subscriptions_.push_back(house.bus().subscribe_inline(options[i], [receiver](const EventRef& event) {
        receiver->take(*event);
        receiver->done();
      }));
    }
  }

  void subscribe(House& house, const std::vector<SubscriptionOptions>& options) {
    for (const SubscriptionOptions& one : options)
      subscriptions_.push_back(house.bus().subscribe(one));
  }

  void attach_threads(House& house, const std::vector<SubscriptionOptions>& options) {
    subscribe(house, options);
    for (std::size_t i = 0; i < options.size(); ++i) {
      threads_.emplace_back([&subscription = subscriptions_[i], &receiver = receivers_[i]] {
        while (!receiver.closed.load(std::memory_order_relaxed)) {
          hand_over(receiver, subscription.receive());
          receiver.done();
          drain(subscription, receiver);
        }
      });
    }
  }

  void attach_poller(House& house, const std::vector<SubscriptionOptions>& options) {
    subscribe(house, options);
    poller_ = std::make_unique<Task>(house, [this] {
      bool all_closed = true;
      for (std::size_t i = 0; i < subscriptions_.size(); ++i) {
        if (receivers_[i].closed.load(std::memory_order_relaxed)) continue;
        drain(subscriptions_[i], receivers_[i]);
        all_closed = all_closed && receivers_[i].closed.load(std::memory_order_relaxed);
      }
      return !all_closed;
    });
  }

  std::vector<R>& receivers_;
  bool inline_ = false;
  std::vector<CallbackSubscription> callbacks_;
  std::vector<Subscription> subscriptions_;
  std::unique_ptr<Task> poller_;
  std::vector<std::thread> threads_;
};

/// `count` subscriptions to everything, with queues as long as the reference's.
[[nodiscard]] inline std::vector<SubscriptionOptions> to_everything(std::size_t count, std::size_t capacity = 1024) {
  SubscriptionOptions options;
  options.capacity = capacity;
  return std::vector<SubscriptionOptions>(count, options);
}

/// Ends the run: closes the bus, lets everybody read to the end, and looks for losses where none may be.
template <class R>
void finish_without_loss(House& house, Audience<R>& audience) {
  house.bus().close();
  audience.wait_for_end();
  require(house.bus().snapshot().ingress_lost == 0, "the ingress lost events");
  for (const SubscriptionStats& stats : audience.stats())
    require(stats.lagged == 0, "a subscriber lagged");
}

}  // namespace sharingbus::scenarios

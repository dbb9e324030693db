#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <iostream>
#include <memory>
#include <random>
#include <utility>
#include <vector>

#include "bus/sharing_bus.hpp"
#include "tests/bus/test_events.hpp"
#include "tests/support/bus_oracle.hpp"

namespace sharingbus::test {

/// Of this whole program; printed, and given again by SHARINGBUS_SEED.
inline std::uint64_t run_seed() {
  static const std::uint64_t seed = [] {
    const char* const given = std::getenv("SHARINGBUS_SEED");
    const std::uint64_t value = given != nullptr ? std::strtoull(given, nullptr, 10) : std::random_device{}();
    std::cout << "SHARINGBUS_SEED=" << value << '\n';
    return value;
  }();
  return seed;
}

/// A value says who published it and as which.
inline std::uint64_t stamp(std::uint64_t publisher, std::uint64_t index) {
  return publisher << 32 | index;
}

/// Per publisher, in that publisher's order (guarantee 1).
class PublisherOrder {
 public:
  void observe(const EventRef& event) {
    const Note* const payload = event->get_if<Note>();
    if (payload == nullptr) return;
    const std::size_t publisher = payload->value >> 32;
    const std::uint64_t index = (payload->value & 0xffff'ffff) + 1;
    if (last_.size() <= publisher) last_.resize(publisher + 1);
    if (index <= last_[publisher]) ++violations_;
    last_[publisher] = index;
  }
  [[nodiscard]] std::uint64_t violations() const { return violations_; }

 private:
  std::vector<std::uint64_t> last_;
  std::uint64_t violations_ = 0;
};

/// Reads one subscription in every form, at random, and watches its stream.
class StressReader {
 public:
  StressReader(std::shared_ptr<const MatchLog> log, Subscription s, std::uint64_t seed)
      : oracle(std::move(log)), subscription(std::move(s)), random_(seed) {}

  void run() {
    while (!oracle.ended())
      read_once(true);
  }
  /// Without `may_wait` it never waits without limit.
  void read_once(bool may_wait) {
    switch (random_() % 6) {
      case 0:
        if (may_wait) return observe(subscription.receive());
        [[fallthrough]];
      case 1:
        return observe(subscription.receive_for(std::chrono::microseconds(random_() % 200)));
      case 2:
        return observe(subscription.try_receive());
      case 3: {
        std::array<Received, 16> batch;
        const std::size_t count = subscription.receive_batch(batch);
        for (std::size_t i = 0; i < count; ++i)
          observe(batch[i]);
        return;
      }
      default: {
        const Lent lent = subscription.lend(1 + random_() % 64);
        oracle.observe(lent);
        for (const EventRef& event : lent.events())
          order.observe(event);
      }
    }
  }

  StreamOracle oracle;
  PublisherOrder order;
  Subscription subscription;

 private:
  void observe(const Received& received) {
    oracle.observe(received);
    if (received.event() != nullptr) order.observe(*received.event());
  }
  std::mt19937_64 random_;
};

}  // namespace sharingbus::test

#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <string_view>
#include <vector>

#include <gtest/gtest.h>

#include "bus/filter.hpp"
#include "bus/received.hpp"
#include "bus/sharing_bus.hpp"
#include "bus/stage.hpp"

namespace sharingbus::test {

/// The books of a bus at a quiet moment (spec 1, guarantee 2): every subscription balances, so do the ingress and the
/// subscriptions that are gone.
[[nodiscard]] ::testing::AssertionResult check_balanced(const BusSnapshot& snapshot);
[[nodiscard]] ::testing::AssertionResult check_balanced(const SharingBus& bus);

/// What a filter should have matched, in the bus's order: sequences of dispatched events and of those that were lost at
/// the ingress alike. Any thread.
class MatchLog {
 public:
  explicit MatchLog(Filter filter) : filter_(std::move(filter)) {}

  void record(const BusEvent& event) {
    if (!filter_.matches(event)) return;
    const std::scoped_lock lock(mutex_);
    sequences_.push_back(event.sequence());
  }
  [[nodiscard]] std::vector<std::uint64_t> sequences() const {
    const std::scoped_lock lock(mutex_);
    return sequences_;
  }

 private:
  const Filter filter_;
  mutable std::mutex mutex_;
  std::vector<std::uint64_t> sequences_;
};

/// Install it as the last stage of a bus: it sees the one order, events that gave way included, and keeps a MatchLog
/// for each tracked filter. Any thread.
class OrderRecorder final : public Stage {
 public:
  /// Call it before subscribing with the same filter.
  [[nodiscard]] std::shared_ptr<const MatchLog> track(Filter filter);

  [[nodiscard]] std::string_view name() const override { return "order_recorder"; }
  void on_event(StagedEvent& event) override;
  /// Events seen whose sequence was not the one after its predecessor's.
  [[nodiscard]] std::uint64_t out_of_order() const;

 private:
  mutable std::mutex mutex_;
  std::vector<std::shared_ptr<MatchLog>> logs_;
  std::uint64_t last_ = 0;
  std::uint64_t out_of_order_ = 0;
};

/// Watches one subscription's stream: sequences rise strictly, every hole is explained by a gap of the right range and
/// count, nothing follows the end. Consumer-side.
class StreamOracle {
 public:
  explicit StreamOracle(std::shared_ptr<const MatchLog> expected) : expected_(std::move(expected)) {}

  /// A late join: the stream must start with the first match from `sequence` on, or with a gap of unknown count there.
  void start_at(std::uint64_t sequence) { start_ = sequence; }
  void observe(const Received& received);
  void observe(const Lent& lent);
  /// The stream so far against what should have matched, from the first thing seen on. With `stats`, their counters
  /// must agree with the stream; pass them when everything queued was received.
  [[nodiscard]] ::testing::AssertionResult verify() const;
  [[nodiscard]] ::testing::AssertionResult verify(const SubscriptionStats& stats) const;

  [[nodiscard]] std::uint64_t events() const noexcept { return events_; }
  [[nodiscard]] std::uint64_t lost() const noexcept { return lost_; }
  [[nodiscard]] bool ended() const noexcept { return ended_; }

 private:
  struct Item {
    std::uint64_t first;
    std::uint64_t last;
    std::uint64_t count;
    bool is_gap;
  };

  void observe(const EventRef& event);
  void observe(const Gap& gap);

  const std::shared_ptr<const MatchLog> expected_;
  std::uint64_t start_ = 0;
  std::vector<Item> items_;
  std::uint64_t events_ = 0;
  std::uint64_t lost_ = 0;
  bool ended_ = false;
  bool after_end_ = false;
};

}  // namespace sharingbus::test

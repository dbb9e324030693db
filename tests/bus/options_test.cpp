// What cannot work is refused before anything starts, naming the field.
#include <memory>
#include <stdexcept>
#include <string>

#include <gtest/gtest.h>

#include "bus/sharing_bus.hpp"
#include "tests/bus/test_events.hpp"

namespace sharingbus {
namespace {

using namespace test;

::testing::AssertionResult refused_naming(const Result<>& result, const std::string& field) {
  if (result.has_value()) return ::testing::AssertionFailure() << "accepted";
  const std::string text = to_string(result.error());
  if (text.find(field) == std::string::npos) return ::testing::AssertionFailure() << text << " does not name " << field;
  return ::testing::AssertionSuccess();
}

TEST(SubscriptionOptionsValidate, Defaults_AreFine) {
  EXPECT_TRUE(SubscriptionOptions{}.validate().has_value());
  SubscriptionOptions options;
  options.capacity = SubscriptionOptions::kCapacityMax;
  EXPECT_TRUE(options.validate().has_value());
}

// O: capacity 0 is an error, not a rendezvous.
TEST(SubscriptionOptionsValidate, CapacityZeroOrTooLarge_IsRefusedByName) {
  SubscriptionOptions options;
  options.capacity = 0;
  EXPECT_TRUE(refused_naming(options.validate(), "capacity"));
  options.capacity = SubscriptionOptions::kCapacityMax + 1;
  EXPECT_TRUE(refused_naming(options.validate(), "capacity"));
}

// The credit of backpressure is counted in events.
TEST(SubscriptionOptionsValidate, BytesWithBackpressure_IsRefusedByName) {
  SubscriptionOptions options;
  options.overflow = Overflow::backpressure;
  options.capacity_bytes = 1000;
  EXPECT_TRUE(refused_naming(options.validate(), "capacity_bytes"));
}

TEST(SubscriptionOptionsValidate, KeyWithoutItsPolicy_IsRefusedByName) {
  SubscriptionOptions options;
  options.key = [](const BusEvent&) { return std::string(); };
  EXPECT_TRUE(refused_naming(options.validate(), "key"));
  options.overflow = Overflow::latest_per_key;
  EXPECT_TRUE(options.validate().has_value());
}

TEST(SubscriptionOptionsValidate, NegativeTime_IsRefusedByName) {
  SubscriptionOptions options;
  options.slow.behind = Duration(-1);
  EXPECT_TRUE(refused_naming(options.validate(), "slow.behind"));
}

TEST(SubscriptionOptionsValidate, EveryPolicy_RefusesCapacityZero) {
  for (const Overflow overflow : {Overflow::drop_newest, Overflow::drop_oldest, Overflow::latest_per_key,
                                  Overflow::backpressure, Overflow::close_subscriber}) {
    SharingBus bus;
    SubscriptionOptions options;
    options.overflow = overflow;
    options.capacity = 0;
    EXPECT_THROW((void)bus.subscribe(options), std::invalid_argument);
    EXPECT_EQ(bus.subscriber_count(), 0u);
  }
}

TEST(Subscribe, CapacityZero_ThrowsAndLeavesNothingBehind) {
  SharingBus bus;
  EXPECT_THROW((void)bus.subscribe(Filter::all(), 0), std::invalid_argument);
  SubscriptionOptions options;
  options.capacity = 0;
  EXPECT_THROW((void)bus.subscribe_dead_letters(options), std::invalid_argument);
  EXPECT_EQ(bus.subscriber_count(), 0u);
  EXPECT_TRUE(bus.snapshot().subscriptions.empty());
}

TEST(BusOptionsValidate, Defaults_AreFine) {
  EXPECT_TRUE(BusOptions{}.validate().has_value());
}

TEST(BusOptionsValidate, IngressCapacityZero_IsRefusedByName) {
  BusOptions options;
  options.ingress_capacity = 0;
  EXPECT_TRUE(refused_naming(options.validate(), "ingress_capacity"));
  EXPECT_THROW(SharingBus sut(options), std::invalid_argument);
}

TEST(BusOptionsValidate, ExecutorEngineWithoutAScheduler_IsRefusedByName) {
  BusOptions options;
  options.engine = Engine::executor;
  EXPECT_TRUE(refused_naming(options.validate(), "scheduler"));
  EXPECT_THROW(SharingBus sut(options), std::invalid_argument);
}

TEST(BusOptionsValidate, HistoryTooLarge_IsRefusedByName) {
  BusOptions options;
  options.history_events = BusOptions::kHistoryMax + 1;
  EXPECT_TRUE(refused_naming(options.validate(), "history_events"));
}

TEST(BusOptionsValidate, HistoryBytesWithoutHistory_IsRefusedByName) {
  BusOptions options;
  options.history_bytes = 1000;
  EXPECT_TRUE(refused_naming(options.validate(), "history_bytes"));
}

TEST(BusOptionsValidate, NullStage_IsRefusedByName) {
  BusOptions options;
  options.stages.push_back(nullptr);
  EXPECT_TRUE(refused_naming(options.validate(), "stages"));
}

}  // namespace
}  // namespace sharingbus

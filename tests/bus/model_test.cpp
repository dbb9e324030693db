// Random operations on a bus under the manual engine against a single-threaded model of it.
// A failure prints its seed; SHARINGBUS_SEED=<seed> repeats exactly that run.
#include <cstdint>
#include <cstdlib>
#include <random>
#include <string>

#include <gtest/gtest.h>

#include "tests/support/bus_model.hpp"

namespace sharingbus {
namespace {

void run_model(std::uint64_t seed, int steps) {
  std::mt19937_64 random(seed);
  test::BusModel sut([&](std::uint32_t bound) { return static_cast<std::uint32_t>(random() % bound); });
  const auto replay = [&] {
    return "replay: SHARINGBUS_SEED=" + std::to_string(seed) + " bus_test --gtest_filter=BusModel.*";
  };
  for (int i = 0; i < steps; ++i) {
    const std::string difference = sut.step();
    ASSERT_EQ(difference, "") << "at step " << i << "; " << replay();
  }
  const std::string difference = sut.finish();
  ASSERT_EQ(difference, "") << "at the end; " << replay();
}

TEST(BusModel, RandomOperations_AgreeWithTheModel) {
  if (const char* const given = std::getenv("SHARINGBUS_SEED")) {
    run_model(std::strtoull(given, nullptr, 10), 400);
    return;
  }
  const std::uint64_t base = std::random_device{}();
  RecordProperty("seed", std::to_string(base));
  std::cout << "seeds " << base << " to " << base + 199 << '\n';
  for (std::uint64_t i = 0; i < 200 && !HasFatalFailure(); ++i)
    run_model(base + i, 400);
}

}  // namespace
}  // namespace sharingbus

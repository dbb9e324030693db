// Random operations on a bus under each engine against a single-threaded model of it.
//
// A failure prints its seed and the one command that repeats exactly that run, by SHARINGBUS_SEED. How many steps all
// engines do together: SHARINGBUS_MODEL_STEPS; a step is one operation, most of them on one event.
#include <cstdint>
#include <cstdlib>
#include <iostream>
#include <random>
#include <string>

#include <gtest/gtest.h>

#include "tests/support/bus_model.hpp"

namespace sharingbus {
namespace {

using namespace test;

constexpr std::uint64_t kStepsOfARun = 500;

class BusModelTest : public ::testing::TestWithParam<Engine> {
 protected:
  static void run(std::uint64_t seed, std::uint64_t compare_every) {
    std::mt19937_64 random(seed);
    BusModel sut([&](std::uint32_t bound) { return static_cast<std::uint32_t>(random() % bound); }, GetParam(),
                 compare_every);
    const auto replay = [&] {
      const auto* const test = ::testing::UnitTest::GetInstance()->current_test_info();
      return "replay: SHARINGBUS_SEED=" + std::to_string(seed) +
             " bus_model_test --gtest_filter=" + test->test_suite_name() + "." + test->name();
    };
    for (std::uint64_t i = 0; i < kStepsOfARun; ++i) {
      const std::string difference = sut.step();
      ASSERT_EQ(difference, "") << "at step " << i << "; " << replay();
    }
    const std::string difference = sut.finish();
    ASSERT_EQ(difference, "") << "at the end; " << replay();
  }
  /// The steps of this engine: those that cost a thread's wake-up get less.
  static std::uint64_t steps() {
    const char* const given = std::getenv("SHARINGBUS_MODEL_STEPS");
    const std::uint64_t all = given != nullptr ? std::strtoull(given, nullptr, 10) : 1'000'000;
    return GetParam() == Engine::manual ? all * 4 / 10 : all * 2 / 10;
  }
};

TEST_P(BusModelTest, RandomOperations_AgreeWithTheModel) {
  if (const char* const given = std::getenv("SHARINGBUS_SEED")) {
    // Comparing more often changes neither the operations nor what they do.
    return run(std::strtoull(given, nullptr, 10), 1);
  }
  const std::uint64_t runs = steps() / kStepsOfARun;
  const std::uint64_t base = std::random_device{}();
  std::cout << runs << " runs of " << kStepsOfARun << " steps, seeds from " << base << '\n';
  for (std::uint64_t i = 0; i < runs && !HasFatalFailure(); ++i)
    run(base + i, 16);
}

INSTANTIATE_TEST_SUITE_P(Engines, BusModelTest,
                         ::testing::Values(Engine::manual, Engine::combining, Engine::thread, Engine::executor),
                         [](const auto& instance) { return name_of(instance.param); });

}  // namespace
}  // namespace sharingbus

#include "connector/registration/backoff.hpp"

#include <algorithm>
#include <array>
#include <cstdint>
#include <limits>
#include <map>
#include <memory>
#include <random>

#include <gtest/gtest.h>

namespace sharingbus::connector {
namespace {

constexpr std::array kModes{JitterMode::additive, JitterMode::equal, JitterMode::decorrelated};

Backoff::Random seeded(std::uint64_t seed) {
  return [engine = std::make_shared<std::mt19937_64>(seed)](std::uint64_t bound) {
    return std::uniform_int_distribution<std::uint64_t>(0, bound)(*engine);
  };
}
Backoff::Random lowest() {
  return [](std::uint64_t) { return std::uint64_t{0}; };
}
Backoff::Random highest() {
  return [](std::uint64_t bound) { return bound; };
}

// Reference case: the cap is a strict upper bound, however large the jitter.
TEST(Backoff, JitterAboveTheCap_StaysWithinTheCap) {
  for (const JitterMode mode : kModes) {
    Backoff sut({.base_ms = 500, .cap_ms = 2'000, .jitter_ms = 10'000, .mode = mode}, seeded(1));
    for (std::uint64_t attempt = 1; attempt <= 64; ++attempt) {
      for (int sample = 0; sample < 32; ++sample) {
        ASSERT_LE(sut.delay_ms(attempt), 2'000u) << "mode " << static_cast<int>(mode) << " attempt " << attempt;
      }
    }
  }
}

// Reference case.
TEST(Backoff, WithoutJitter_DoublesUpToTheCap) {
  Backoff sut({.base_ms = 500, .cap_ms = 1'000, .jitter_ms = 0}, highest());
  EXPECT_EQ(sut.delay_ms(1), 500u);
  EXPECT_EQ(sut.delay_ms(2), 1'000u);
  EXPECT_EQ(sut.delay_ms(8), 1'000u);
}

// Reference case: nothing overflows.
TEST(Backoff, HugeBaseAndJitter_Saturate) {
  constexpr std::uint64_t kQuarter = std::uint64_t{1} << 62;
  constexpr std::uint64_t kMax = std::numeric_limits<std::uint64_t>::max();
  for (const JitterMode mode : kModes) {
    for (const std::uint64_t cap : {std::uint64_t{60'000}, kMax}) {
      Backoff sut({.base_ms = kQuarter, .cap_ms = cap, .jitter_ms = kQuarter, .mode = mode}, highest());
      std::uint64_t last = 0;
      for (std::uint64_t attempt = 1; attempt <= 128; ++attempt) {
        const std::uint64_t delay = sut.delay_ms(attempt);
        ASSERT_LE(delay, cap);
        ASSERT_GE(delay, last) << "wrapped around, mode " << static_cast<int>(mode) << " attempt " << attempt;
        last = delay;
      }
      EXPECT_EQ(last, cap);
    }
  }
}

TEST(Backoff, JitterZero_IsExactInEveryMode) {
  for (const JitterMode mode : kModes) {
    Backoff sut({.base_ms = 3, .cap_ms = 2'000'000, .jitter_ms = 0, .mode = mode}, highest());
    for (std::uint64_t attempt = 1; attempt <= 64; ++attempt) {
      const std::uint64_t exponent = std::min<std::uint64_t>(attempt - 1, 20);
      EXPECT_EQ(sut.delay_ms(attempt), std::min<std::uint64_t>(2'000'000, 3ULL << exponent)) << "attempt " << attempt;
    }
  }
}

TEST(Backoff, ExponentBeyondTwenty_GrowsNoMore) {
  Backoff sut({.base_ms = 1, .cap_ms = 1ULL << 40, .jitter_ms = 0}, lowest());
  EXPECT_EQ(sut.delay_ms(21), 1ULL << 20);
  EXPECT_EQ(sut.delay_ms(22), 1ULL << 20);
  EXPECT_EQ(sut.delay_ms(std::numeric_limits<std::uint64_t>::max()), 1ULL << 20);
}

TEST(Backoff, Additive_AddsUpToTheJitter) {
  const BackoffOptions options{.base_ms = 500, .cap_ms = 60'000, .jitter_ms = 300, .mode = JitterMode::additive};
  EXPECT_EQ(Backoff(options, lowest()).delay_ms(3), 2'000u);
  EXPECT_EQ(Backoff(options, highest()).delay_ms(3), 2'300u);
}

TEST(Backoff, Equal_StaysBetweenHalfAndAll) {
  const BackoffOptions options{.base_ms = 501, .cap_ms = 60'000, .jitter_ms = 1, .mode = JitterMode::equal};
  EXPECT_EQ(Backoff(options, lowest()).delay_ms(1), 250u);
  EXPECT_EQ(Backoff(options, highest()).delay_ms(1), 501u);
  EXPECT_EQ(Backoff(options, lowest()).delay_ms(60), 30'000u);
  EXPECT_EQ(Backoff(options, highest()).delay_ms(60), 60'000u);
  Backoff sut(options, seeded(2));
  for (std::uint64_t attempt = 1; attempt <= 30; ++attempt) {
    const std::uint64_t d = std::min<std::uint64_t>(60'000, 501ULL << std::min<std::uint64_t>(attempt - 1, 20));
    for (int sample = 0; sample < 100; ++sample) {
      const std::uint64_t delay = sut.delay_ms(attempt);
      ASSERT_GE(delay, d / 2);
      ASSERT_LE(delay, d);
    }
  }
}

TEST(Backoff, Decorrelated_StaysBetweenBaseAndThriceThePrevious) {
  Backoff sut({.base_ms = 500, .cap_ms = 60'000, .jitter_ms = 1, .mode = JitterMode::decorrelated}, seeded(3));
  std::uint64_t previous = 500;
  for (std::uint64_t attempt = 1; attempt <= 2'000; ++attempt) {
    const std::uint64_t delay = sut.delay_ms(attempt);
    ASSERT_GE(delay, 500u);
    ASSERT_LE(delay, std::min<std::uint64_t>(60'000, 3 * previous));
    previous = delay;
  }
}

TEST(Backoff, DecorrelatedReset_StartsOver) {
  Backoff sut({.base_ms = 500, .cap_ms = 60'000, .jitter_ms = 1, .mode = JitterMode::decorrelated}, highest());
  EXPECT_EQ(sut.delay_ms(1), 1'500u);
  EXPECT_EQ(sut.delay_ms(2), 4'500u);
  sut.reset();
  EXPECT_EQ(sut.delay_ms(3), 1'500u);
}

TEST(Backoff, BaseAboveTheCap_IsTheCap) {
  for (const JitterMode mode : kModes) {
    Backoff sut({.base_ms = 5'000, .cap_ms = 1'000, .jitter_ms = 9, .mode = mode}, highest());
    EXPECT_EQ(sut.delay_ms(1), 1'000u);
  }
}

/// Of 10 000 registrations dropped together, the largest share that comes back within the same 100 ms, once all have
/// backed off up to the cap.
double worst_share(JitterMode mode) {
  constexpr int kRegistrations = 10'000;
  std::map<std::uint64_t, int> windows;
  const Backoff::Random random = seeded(4);
  for (int i = 0; i < kRegistrations; ++i) {
    Backoff backoff({.base_ms = 500, .cap_ms = 60'000, .jitter_ms = 500, .mode = mode}, random);
    std::uint64_t delay = 0;
    for (std::uint64_t attempt = 1; attempt <= 20; ++attempt)
      delay = backoff.delay_ms(attempt);
    ++windows[delay / 100];
  }
  int worst = 0;
  for (const auto& [window, count] : windows)
    worst = std::max(worst, count);
  return static_cast<double>(worst) / kRegistrations;
}

TEST(Backoff, AtTheCap_EqualAndDecorrelatedStillSpread) {
  EXPECT_GT(worst_share(JitterMode::additive), 0.99) << "the plain formula has no spread left: why the others exist";
  EXPECT_LT(worst_share(JitterMode::equal), 0.01);
  EXPECT_LT(worst_share(JitterMode::decorrelated), 0.02);
}

TEST(SeededRandom, AnyBound_IsInclusive) {
  const Backoff::Random sut = seeded_random();
  EXPECT_EQ(sut(0), 0u);
  bool low = false;
  bool high = false;
  for (int i = 0; i < 1'000; ++i) {
    const std::uint64_t value = sut(1);
    ASSERT_LE(value, 1u);
    (value == 0 ? low : high) = true;
  }
  EXPECT_TRUE(low && high);
  (void)sut(std::numeric_limits<std::uint64_t>::max());
}

}  // namespace
}  // namespace sharingbus::connector

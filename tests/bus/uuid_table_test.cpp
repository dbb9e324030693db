#include "bus/internal/uuid_table.hpp"

#include <cstdint>
#include <map>
#include <random>
#include <utility>

#include <gtest/gtest.h>

namespace sharingbus::internal {
namespace {

/// Empty at 0.
class Number {
 public:
  Number() noexcept = default;
  Number(Number&& other) noexcept : value(std::exchange(other.value, 0)) {}
  Number& operator=(Number&& other) noexcept {
    std::swap(value, other.value);
    return *this;
  }
  [[nodiscard]] bool empty() const noexcept { return value == 0; }

  std::uint32_t value = 0;
};

Uuid numbered(std::uint32_t n) {
  Uuid uuid;
  uuid.bytes[0] = static_cast<std::uint8_t>(n);
  uuid.bytes[9] = static_cast<std::uint8_t>(n >> 8);
  return uuid;
}

std::uint32_t found(const UuidTable<Number>& table, const Uuid& uuid) {
  if (table.empty()) return 0;
  const Number* number = table.find(uuid);
  return number != nullptr ? number->value : 0;
}

TEST(UuidTable, RandomChanges_SameAsAMap) {
  for (std::uint32_t seed = 1; seed <= 20; ++seed) {
    std::mt19937 engine(seed);
    const auto below = [&engine](std::uint32_t end) { return static_cast<std::uint32_t>(engine() % end); };
    const std::uint32_t keys = 1 + below(600);
    UuidTable<Number> sut;
    std::map<std::uint32_t, std::uint32_t> model;
    for (int step = 0; step < 3000; ++step) {
      const std::uint32_t key = below(keys);
      // In waves, so that it grows, and that holes are closed in a full one and in a nearly empty one.
      const bool set = below(100) < (step / 1000 % 2 == 0 ? 80u : 20u);
      const std::uint32_t value = set ? 1 + below(1000) : 0;
      sut.change(numbered(key), [&](Number& number) { number.value = value; });
      if (set) {
        model[key] = value;
      } else {
        model.erase(key);
      }
      ASSERT_EQ(sut.size(), model.size()) << "seed " << seed;
      if (step % 100 != 0) continue;
      for (std::uint32_t other = 0; other < keys + 3; ++other) {
        const auto expected = model.find(other);
        ASSERT_EQ(found(sut, numbered(other)), expected == model.end() ? 0 : expected->second) << "seed " << seed;
      }
    }
  }
}

TEST(UuidTable, Empty_HasNothing) {
  UuidTable<Number> sut;
  EXPECT_TRUE(sut.empty());
  sut.change(numbered(1), [](Number&) {});
  EXPECT_TRUE(sut.empty());
  sut.change(numbered(1), [](Number& number) { number.value = 7; });
  sut.change(numbered(1), [](Number& number) { number.value = 0; });
  EXPECT_TRUE(sut.empty());
  EXPECT_EQ(sut.find(numbered(1)), nullptr);
}

}  // namespace
}  // namespace sharingbus::internal

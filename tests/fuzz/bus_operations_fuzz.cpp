// Bytes as operations on a bus under the manual engine, compared with a model of it step by step.
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>

#include "tests/support/bus_model.hpp"

namespace {

class Bytes {
 public:
  Bytes(const std::uint8_t* data, std::size_t size) : data_(data), size_(size) {}
  [[nodiscard]] bool empty() const { return at_ == size_; }
  /// 0 when they are used up.
  std::uint32_t below(std::uint32_t bound) {
    if (empty()) return 0;
    // Two bytes only where one does not reach, so that a mutation changes one thing.
    std::uint32_t value = data_[at_++];
    if (bound > 256 && !empty()) value = value << 8 | data_[at_++];
    return value % bound;
  }

 private:
  const std::uint8_t* data_;
  std::size_t size_;
  std::size_t at_ = 0;
};

void require_none(const std::string& difference) {
  if (difference.empty()) return;
  std::fprintf(stderr, "differs from the model: %s\n", difference.c_str());
  std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size > 4096) return 0;
  Bytes bytes(data, size);
  sharingbus::test::BusModel sut([&](std::uint32_t bound) { return bytes.below(bound); });
  while (!bytes.empty())
    require_none(sut.step());
  require_none(sut.finish());
  return 0;
}

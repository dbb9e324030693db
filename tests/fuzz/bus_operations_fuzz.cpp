// Bytes as operations on a bus under the manual engine, compared with a model of it step by step.
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>

#include "tests/fuzz/fuzz_bytes.hpp"
#include "tests/support/bus_model.hpp"

namespace {

void require_none(const std::string& difference) {
  if (difference.empty()) return;
  std::fprintf(stderr, "differs from the model: %s\n", difference.c_str());
  std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size > 4096) return 0;
  sharingbus::fuzz::Bytes bytes(data, size);
  sharingbus::test::BusModel sut([&](std::uint32_t bound) { return bytes.below(bound); });
  while (!bytes.empty())
    require_none(sut.step());
  require_none(sut.finish());
  return 0;
}

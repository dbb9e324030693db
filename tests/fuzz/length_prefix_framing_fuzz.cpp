// Any bytes in any pieces, with and without empty frames.
#include "tests/fuzz/framing_differential.hpp"
#include "transport/length_prefix_framing.hpp"

using sharingbus::test::check_framing;
using sharingbus::transport::LengthPrefixFraming;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  check_framing(LengthPrefixFraming(), data, size);
  check_framing(LengthPrefixFraming(LengthPrefixFraming::EmptyFrames::allowed), data, size);
  return 0;
}

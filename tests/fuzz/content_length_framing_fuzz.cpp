// Any bytes in any pieces, with the usual bound of the header section and with one that small inputs reach.
#include "tests/fuzz/framing_differential.hpp"
#include "transport/content_length_framing.hpp"

using sharingbus::test::check_framing;
using sharingbus::transport::ContentLengthFraming;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  check_framing(ContentLengthFraming(), data, size);
  check_framing(ContentLengthFraming(40), data, size);
  return 0;
}

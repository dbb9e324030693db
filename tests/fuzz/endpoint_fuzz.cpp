// Any text: it is refused as no endpoint, or it gives one whose own text reads back as the same.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "transport/endpoint.hpp"

using sharingbus::errc;
using sharingbus::transport::parse_endpoint;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto endpoint = parse_endpoint({reinterpret_cast<const char*>(data), size});
  if (!endpoint.has_value()) {
    if (!endpoint.error().is(errc::invalid_endpoint)) std::abort();
    return 0;
  }
  const auto again = parse_endpoint(to_string(*endpoint));
  if (!again.has_value() || *again != *endpoint) std::abort();
  return 0;
}

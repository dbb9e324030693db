// A proxy's answer, whole and in pieces: the same outcome, the same end; and any text as a proxy's URL.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "transport/proxy/internal/connect_exchange.hpp"

using sharingbus::errc;
using sharingbus::Error;
using sharingbus::transport::parse_proxy;
using sharingbus::transport::internal::ConnectReply;

namespace {

struct Outcome {
  Error error;
  bool complete = false;
  std::size_t used = 0;
  bool operator==(const Outcome&) const = default;
};

/// `piece` bytes at a time, as a socket may bring them.
Outcome feed(std::string_view bytes, std::size_t piece) {
  ConnectReply reply;
  Outcome outcome;
  std::size_t there = 0;
  while (there < bytes.size() && !reply.complete()) {
    there = std::min(there + piece, bytes.size());
    const auto used = reply.put({bytes.data() + outcome.used, there - outcome.used});
    if (!used) {
      outcome.error = used.error();
      return outcome;
    }
    outcome.used += *used;
    if (outcome.used > there) std::abort();
  }
  outcome.complete = reply.complete();
  if (outcome.complete) outcome.error = reply.outcome();
  return outcome;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  const Outcome whole = feed(bytes, size);
  if (whole.complete) {
    const Outcome pieces = feed(bytes, 1);
    if (!pieces.complete || pieces.used != whole.used || pieces.error != whole.error) std::abort();
  }
  if (whole.error && !whole.error.is(errc::rejected) && !whole.error.is(errc::unauthenticated)) std::abort();

  const auto proxy = parse_proxy(bytes);
  if (!proxy) {
    if (!proxy.error().is(errc::invalid_endpoint)) std::abort();
  } else if (proxy->host.empty() || proxy->port == 0) {
    std::abort();
  }
  return 0;
}

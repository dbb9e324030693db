// Any frame of a Unix socket, read by either side: refused, or a message that goes through both encodings. Covers JSON
// and MessagePack payloads, handshakes and registrations.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "tests/fuzz/agent_fuzz.hpp"

using namespace sharingbus::transport;  // NOLINT(google-build-using-namespace): the subject's vocabulary

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view frame(reinterpret_cast<const char*>(data), size);
  if (const auto message = decode_for_agent_uds(frame); message.has_value()) {
    agent_fuzz::check_round_trip(*message, AgentWire::json, decode_for_agent_uds);
    agent_fuzz::check_round_trip(*message, AgentWire::msgpack, decode_for_agent_uds);
  }
  if (const auto message = decode_for_proxy_uds(frame); message.has_value()) {
    agent_fuzz::check_round_trip(*message, AgentWire::json, decode_for_proxy_uds);
    agent_fuzz::check_round_trip(*message, AgentWire::msgpack, decode_for_proxy_uds);
  }
  return 0;
}

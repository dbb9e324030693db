// Any message of either gRPC stream, and of the control stream: refused, or one that encodes and decodes to itself.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "tests/fuzz/agent_fuzz.hpp"
#include "transport/codec/agent_control.hpp"
#include "transport/codec/connector_protobuf.hpp"

using namespace sharingbus::transport;  // NOLINT(google-build-using-namespace): the subject's vocabulary

// Else Protobuf reports each bad text on stderr, and writing that takes most of the time.
[[maybe_unused]] const bool muted = (mute_protobuf_log(), true);

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  if (const auto message = decode_for_agent_protobuf(bytes); message.has_value()) {
    agent_fuzz::check_round_trip(*message, AgentWire::protobuf, decode_for_agent_protobuf);
  }
  if (const auto message = decode_for_proxy_protobuf(bytes); message.has_value()) {
    agent_fuzz::check_round_trip(*message, AgentWire::protobuf, decode_for_proxy_protobuf);
  }
  if (const auto message = decode_agent_control(bytes); message.has_value()) {
    agent_fuzz::check_round_trip(*message, AgentWire::protobuf, decode_for_proxy_protobuf);
  }
  return 0;
}

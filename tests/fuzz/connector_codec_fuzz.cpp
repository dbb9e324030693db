// Any bytes: the decoder refuses them, or gives a message that encodes and decodes to itself.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>
#include <variant>

#include "transport/codec/connector_peek.hpp"
#include "transport/codec/connector_protobuf.hpp"

using sharingbus::transport::decode_connector_message;
using sharingbus::transport::encode_connector_message;
using sharingbus::transport::messages::MetricsReport;

// Else Protobuf reports each bad text on stderr, and writing that takes most of the time.
[[maybe_unused]] const bool muted = (sharingbus::transport::mute_protobuf_log(), true);

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view frame(reinterpret_cast<const char*>(data), size);
  const auto id = sharingbus::transport::execute_request_id(frame);
  if (!id.empty() && (id.data() < frame.data() || id.data() + id.size() > frame.data() + frame.size())) std::abort();
  const auto message = decode_connector_message(frame);
  if (!message.has_value()) return 0;
  const auto bytes = encode_connector_message(*message);
  const auto again = decode_connector_message(bytes);
  if (!again.has_value()) std::abort();
  // Only metrics hold doubles, and NaN differs from itself; their bytes still have to agree.
  if (!std::holds_alternative<MetricsReport>(*message) && *again != *message) std::abort();
  if (encode_connector_message(*again) != bytes) std::abort();
  return 0;
}

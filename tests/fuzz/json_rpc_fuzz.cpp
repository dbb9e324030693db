// Any bytes as a JSON-RPC body: it never throws, and what it reads as a message is the same message when written and
// read again, if JSON can say it.
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>
#include <variant>

#include "transport/codec/json_rpc_codec.hpp"

using namespace sharingbus::transport;

namespace {

void require(bool condition, const char* what) {
  if (condition) return;
  std::fprintf(stderr, "json_rpc_fuzz: %s\n", what);
  std::abort();
}

bool well_formed(const messages::JsonRpcMessage& message) {
  if (std::holds_alternative<messages::JsonRpcInvalid>(message)) return false;
  const auto* batch = std::get_if<messages::JsonRpcBatch>(&message);
  if (batch == nullptr) return true;
  require(!batch->calls.empty(), "an empty batch");
  for (const auto& call : batch->calls) {
    if (std::holds_alternative<messages::JsonRpcInvalid>(call)) return false;
  }
  return true;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view body(reinterpret_cast<const char*>(data), size);
  const auto message = decode_json_rpc(body, {.max_depth = 16, .max_batch = 8});
  if (!message) return 0;
  const auto written = encode_json_rpc(*message);
  // A number beyond what a double holds is read as infinite, which JSON cannot say.
  if (!written && written.error().is(sharingbus::errc::serialization_failed)) return 0;
  require(written.has_value(), "what was read cannot be written");
  const auto again = decode_json_rpc(*written, {.max_depth = 18, .max_batch = 8});
  require(again.has_value(), "what was written cannot be read");
  // Boost.JSON writes doubles with an E, and reads long ones a digit off.
  if (written->find('E') != std::string::npos) return 0;
  if (well_formed(*message)) require(encode_json_rpc(*again).value() == *written, "it is another message now");
  return 0;
}

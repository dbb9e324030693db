#include <absl/strings/escaping.h>

#include "bench/round_trips/round_trips.hpp"
#include "transport/codec/connector_protobuf.hpp"

namespace round_trips {

std::string encoded_request(std::uint64_t number) {
  namespace messages = sharingbus::transport::messages;
  messages::ExecuteRequest request;
  request.request_id = "3f2504e0-4f89-41d3-9a0c-" + std::to_string(100'000'000'000 + number);
  request.payload = "{\"index\":" + std::to_string(number) + "}";
  request.payload_encoding = messages::PayloadEncoding::json;
  request.context = {{"connector_arn", "arn:connector:bench.echo.1"}, {"timeout_ms", "30000"}};
  return sharingbus::transport::encode_connector_message(request);
}

std::string phoenix_request(std::uint64_t number) {
  return R"(["1",null,"connector:lobby","proto",{"data":")" + absl::Base64Escape(encoded_request(number)) + R"("}])";
}

}  // namespace round_trips

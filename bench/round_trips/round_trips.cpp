#include "bench/round_trips/round_trips.hpp"

#include <algorithm>
#include <limits>

#include <absl/strings/escaping.h>

#include "transport/codec/connector_protobuf.hpp"

namespace round_trips {

bool Tally::note(Clock::time_point asked) {
  const auto now = Clock::now();
  if (now >= to_) over_ = true;
  if (now < from_ || over_) return !over_;
  const auto took = std::chrono::duration_cast<std::chrono::nanoseconds>(now - asked).count();
  constexpr std::int64_t kMost = std::numeric_limits<std::uint32_t>::max();
  latencies_ns_.push_back(static_cast<std::uint32_t>(std::min<std::int64_t>(took, kMost)));
  return true;
}

Sample Tally::sample() {
  Sample sample;
  if (latencies_ns_.empty()) return sample;
  std::sort(latencies_ns_.begin(), latencies_ns_.end());
  const auto at = [this](double share) {
    const auto index = static_cast<std::size_t>(share * static_cast<double>(latencies_ns_.size() - 1));
    return static_cast<double>(latencies_ns_[index]) / 1000.0;
  };
  sample.per_second = static_cast<double>(latencies_ns_.size()) / std::chrono::duration<double>(to_ - from_).count();
  sample.p50_us = at(0.5);
  sample.p99_us = at(0.99);
  return sample;
}

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

#include <cstdio>

#include "bench/agents/agents.hpp"
#include "bench/agents/house.hpp"
#include "bench/round_trips/round_trips.hpp"
#include "transport/codec/agent_codec.hpp"

namespace round_trips {

std::string encoded_request(std::uint64_t number) {
  static const auto kRequest = agents::make_request(false);
  auto request = kRequest;
  request.metadata.correlation_id = "request-" + std::to_string(number);
  request.metadata.request_id = request.metadata.correlation_id;
  return *sharingbus::transport::encode_agent_message(request, sharingbus::transport::AgentWire::protobuf);
}

}  // namespace round_trips

namespace agents {

int run_bare(double seconds, std::size_t concurrency, std::size_t streams, bool hint) {
  round_trips::Load load;
  load.measured = std::chrono::nanoseconds(static_cast<std::int64_t>(1e9 * seconds));
  load.concurrency = concurrency;
  load.streams = streams;
  const round_trips::Sample sample = round_trips::bare_grpc(load, hint);
  std::printf(R"({"requests":%.0f,"wrong":0,"errors":0,"rps":%.0f,"p50_us":%.1f,"p99_us":%.1f})"
              "\n",
              sample.per_second * seconds, sample.per_second, sample.p50_us, sample.p99_us);
  return 0;
}

}  // namespace agents

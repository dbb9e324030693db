#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

/// Requests and their answers over one connection, as many at a time as asked for: bare echoes of the transports' own
/// libraries, and the same messages through a gateway and its connectors. Each function runs both ends in this process,
/// checks every answer, and aborts the program when one is wrong.
namespace round_trips {

using Clock = std::chrono::steady_clock;

struct Load {
  std::size_t streams = 20;
  /// Requests under way, over all streams.
  std::size_t concurrency = 64;
  std::chrono::nanoseconds warm_up = std::chrono::milliseconds(300);
  std::chrono::nanoseconds measured = std::chrono::seconds(2);
};

struct Sample {
  double per_second = 0;
  double p50_us = 0;
  double p99_us = 0;
};

/// The answers of one run: counts and latencies of those that came after the warm-up. One thread at a time.
class Tally {
 public:
  explicit Tally(const Load& load) : from_(Clock::now() + load.warm_up), to_(from_ + load.measured) {}

  /// False when the time is up.
  bool note(Clock::time_point asked);
  [[nodiscard]] bool over() const { return over_; }
  /// Sorts.
  [[nodiscard]] Sample sample();

 private:
  const Clock::time_point from_;
  const Clock::time_point to_;
  std::vector<std::uint32_t> latencies_ns_;
  bool over_ = false;
};

/// What is echoed, as it goes over the wire, with its number in it. The program says what that is: `round_trips` an
/// ExecuteRequest.
[[nodiscard]] std::string encoded_request(std::uint64_t number);
/// The same in an event of a Phoenix channel, as it goes over a WebSocket.
[[nodiscard]] std::string phoenix_request(std::uint64_t number);

/// gRPC's callback API and nothing else, messages echoed as they are. `hint`: writes with more waiting behind them say
/// so, which lets gRPC put them into one packet.
[[nodiscard]] Sample bare_grpc(const Load& load, bool hint);
/// The same on completion queues, one with a thread for either side, and the hint.
[[nodiscard]] Sample bare_grpc_queues(const Load& load);

/// Beast and nothing else, a WebSocket a stream, messages echoed as they are: binary, or as `text` in Phoenix events.
/// Two threads share one context, or stand `apart`, one with the clients and one with the servers.
[[nodiscard]] Sample bare_beast(const Load& load, bool text, bool apart);

/// A gateway, `streams` echo connectors that are registered over gRPC, or over WebSockets of their own, and requests
/// through `Gateway::execute`.
[[nodiscard]] Sample gateway_over_grpc(const Load& load);
[[nodiscard]] Sample gateway_over_websocket(const Load& load);

}  // namespace round_trips

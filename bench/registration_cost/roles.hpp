#pragma once

#include <cstddef>
#include <string>
#include <vector>

/// What the program is in each of its processes. `transport` is `grpc` or `websocket`.
namespace registration_cost {

using Arguments = std::vector<std::string>;

/// `gateway TRANSPORT`. Says where it listens, once for the many and once for the others, and does as it is told:
/// `storm SECONDS` asks the others for so long, ends all streams of the many at once, and asks on until they are back.
int gateway(const Arguments& arguments);
/// `registrations | others TRANSPORT HOST:PORT COUNT WATCH DELAY_MS`. Says how long it took until all were registered,
/// their memory and, after WATCH seconds, their CPU; 0: not that. DELAY_MS is the first wait of their backoff.
int registrations(const Arguments& arguments);
/// `links TRANSPORT HOST:PORT COUNT`: as many streams by our dialer, and nothing on them. Says what memory they take.
int links(const Arguments& arguments);
/// `bare TRANSPORT HOST:PORT COUNT`: the same by gRPC itself.
int bare_grpc(const Arguments& arguments);

/// In this process, over the memory transport, so that no transport's own cost is in the way.
void over_memory(std::size_t count, long watch_seconds);

}  // namespace registration_cost

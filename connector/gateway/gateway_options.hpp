#pragma once

#include <cstddef>
#include <cstdint>

#include "bus/base/log.hpp"
#include "bus/base/result.hpp"
#include "bus/base/timer.hpp"
#include "transport/link.hpp"

namespace sharingbus::connector {

/// What happens when a connector registers with an identity that is registered already.
enum class DuplicatePolicy : std::uint8_t {
  /// The newer stream takes over; the older one is ended, at once, or, if it had been asked to reconnect, when its
  /// pending requests are answered. A connector that lost its network is back at once.
  replace_old,
  /// The newer one is answered `success = false` and its stream ended.
  refuse_new,
};

/// Bounds and times of a gateway. Every session costs at most `window` inbound messages that wait, the pending
/// requests, and the answers to what its connector asked.
struct GatewayOptions {
  /// A registered connector from which nothing came for this long is sent a heartbeat request, and again after each
  /// such interval. Above the interval at which connectors send heartbeats (30 s), so that those that do are not asked.
  Duration heartbeat_interval = std::chrono::seconds(45);
  /// A registered connector from which nothing at all came for this long is ended. Above the interval at which
  /// connectors send heartbeats (30 s); old ones do not answer the gateway's.
  Duration session_timeout = std::chrono::seconds(90);
  /// From the opening of a stream to its register request. Also what a refused stream gets to take its last message.
  Duration register_timeout = std::chrono::seconds(10);
  DuplicatePolicy duplicates = DuplicatePolicy::replace_old;
  /// Streams, registered or not yet; those beyond are refused.
  std::size_t max_sessions = 16'384;
  /// Registered connectors of one tenant; the next is refused.
  std::size_t max_registrations_per_tenant = 16'384;
  /// Registrations that share one stream, its first one included; the next is refused.
  std::size_t max_registrations_per_stream = 512;
  /// Bytes that a stream may send before it is registered, its register request included; nothing else is read.
  std::size_t max_register_bytes = 1024 * 1024;
  /// Requests that all connectors together may have unanswered.
  std::size_t max_pending = 262'144;
  /// Requests that one connector may have unanswered, those that wait for room on its stream included.
  std::size_t max_pending_per_session = 4096;
  /// InvokeRequests of one connector that may be under way; those beyond are answered with a failure.
  std::size_t max_invokes_per_session = 256;
  /// Inbound credit of a stream. The session's queue has room for all of it, so nothing is ever lost; 8 bytes a place,
  /// taken when the first message arrives.
  transport::Credit window{.requests = 64, .controls = 1024};
  /// From registration to the `exp` of the session token.
  Duration session_token_lifetime = std::chrono::hours(24);
  /// One line per connector that comes, goes or is refused; at most 256 a second of each.
  LogSink log = stderr_log();

  /// `invalid_argument`, naming the field.
  [[nodiscard]] Result<> validate() const;
};

}  // namespace sharingbus::connector

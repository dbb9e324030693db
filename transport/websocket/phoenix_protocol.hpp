#pragma once

#include <chrono>
#include <memory>
#include <string>

#include "bus/base/timer.hpp"
#include "transport/websocket/message_protocol.hpp"

namespace sharingbus::transport {

struct PhoenixOptions {
  std::string path = "/socket/connector/websocket";
  /// The one channel that a stream is; another one on the same socket is answered with `unmatched topic`.
  std::string topic = "connector:lobby";
  /// Between two heartbeats that a dialer sends on the topic `phoenix`.
  Duration heartbeat_interval = std::chrono::seconds(25);
};

/// Channels of the Phoenix framework, serializer V2 (protocol-connector §3.2, §3.3): each frame is the `data`, in
/// base64, of an event `proto` in an array `[join_ref, ref, topic, event, payload]`. A stream is open when the channel
/// was joined.
///
/// A dialer joins, and takes `proto` events, replies that have `data`, and binary messages, which are bare frames. A
/// listener takes `proto` events as text, binary pushes of the V2 serializer, and bare frames, and answers in text.
/// Messages that are no arrays of at least five elements are ignored; text that is no JSON, and `data` that is neither
/// base64 nor hexadecimal, end the stream with `malformed_frame`.
///
/// Dialed streams end with `connection_refused` when joining is refused, with `stream_failed` after `phx_error` or when
/// the server does not know the channel (any more), with `stream_closed` after `phx_close`; accepted ones with
/// `stream_closed` after `phx_leave`, which a dialer sends before it closes.
[[nodiscard]] std::shared_ptr<const MessageProtocol> make_phoenix_protocol(PhoenixOptions options = {});

}  // namespace sharingbus::transport

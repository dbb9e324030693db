#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "bus/base/error.hpp"
#include "bus/base/timer.hpp"

namespace sharingbus::transport {

/// One WebSocket message.
struct WebSocketMessage {
  std::string bytes;
  /// Text otherwise, which has to be UTF-8.
  bool binary = false;

  bool operator==(const WebSocketMessage&) const = default;
};

/// What a protocol wants done; in this order.
struct ProtocolStep {
  /// To be sent, ahead of what is queued.
  std::optional<WebSocketMessage> reply;
  /// The stream is open now.
  bool opened = false;
  /// A frame that came for the stream; what it points to stays until the next call of the channel.
  std::optional<std::string_view> frame;
  /// The peer has finished in good order.
  bool finished = false;
  /// Ends the stream.
  Error error;
};

/// One stream's half of a protocol over WebSocket messages. No I/O, no time: told what came, it says what to do. Calls
/// come one at a time.
class MessageChannel {
 public:
  virtual ~MessageChannel() = default;

  /// The WebSocket is open.
  virtual ProtocolStep begin() = 0;
  /// A message came. Must not throw for any bytes.
  virtual ProtocolStep receive(std::string_view bytes, bool binary) = 0;
  /// A frame of the stream as a message. Only once it is open.
  virtual WebSocketMessage encode(std::string frame) = 0;
  /// The last message, when this side finishes.
  virtual std::optional<WebSocketMessage> farewell() = 0;
  /// To be sent each `MessageProtocol::heartbeat_interval`, once the stream is open.
  virtual std::optional<WebSocketMessage> heartbeat() = 0;
};

/// What a WebSocket's messages mean. Any thread.
class MessageProtocol {
 public:
  enum class Role : std::uint8_t { dialer, listener };

  virtual ~MessageProtocol() = default;

  [[nodiscard]] virtual std::unique_ptr<MessageChannel> make_channel(Role role) const = 0;
  /// What is asked for in the upgrade request: `/path?query`.
  [[nodiscard]] virtual std::string target() const = 0;
  /// Whether a request for this target is for this protocol; why not (`not_found`, `invalid_argument`).
  [[nodiscard]] virtual Error check_target(std::string_view target) const = 0;
  /// The largest message that a frame of `frame_bytes` may come in.
  [[nodiscard]] virtual std::size_t max_message_bytes(std::size_t frame_bytes) const = 0;
  /// Between two heartbeats of this role; 0: none.
  [[nodiscard]] virtual Duration heartbeat_interval(Role role) const = 0;
};

}  // namespace sharingbus::transport

#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "bus/base/error.hpp"
#include "bus/base/timer.hpp"
#include "transport/websocket/internal/wire.hpp"

namespace sharingbus::transport::internal {

/// Why no message comes any more.
struct PeerEnd {
  /// Of the peer's Close frame, 1005 when that has none; 0: it sent no such frame.
  std::uint16_t code = 0;
  std::string reason;
  /// Without a Close frame: what broke.
  Error error;
  /// Nothing came but what this side's own `close` or end brought about.
  bool aborted = false;
};

/// What a WebSocket tells its owner.
class WebSocketEvents {
 public:
  virtual ~WebSocketEvents() = default;
  virtual void on_message(std::string_view bytes, bool binary) = 0;
  virtual void on_end(PeerEnd end) = 0;
  /// What `close` began is over.
  virtual void on_closed(PeerEnd end) = 0;
};

/// A server's answer to an upgrade request.
struct UpgradeAnswer {
  /// Nothing: it is open.
  Error error;
  /// How long the server asked to be left alone.
  Duration retry_after{};
};

/// A client's upgrade request.
struct UpgradeRequest {
  Error error;
  /// The peer went before it had said anything.
  bool silent = false;
  std::string target;
};

/// Beast's WebSocket over a `Wire`, in the one translation unit that includes Beast. All on the wire's strand; one
/// operation of each kind at a time; callbacks never come from within. Who calls is kept alive by what it hands in.
class WebSocket : public std::enable_shared_from_this<WebSocket> {
 public:
  /// A message above `max_message_bytes` is an end.
  WebSocket(std::shared_ptr<Wire> wire, std::size_t max_message_bytes);
  ~WebSocket();
  WebSocket(const WebSocket&) = delete;
  WebSocket& operator=(const WebSocket&) = delete;

  [[nodiscard]] Wire& wire() noexcept { return *wire_; }

  /// Lets `what` go when this does: after the last operation.
  void hold(std::shared_ptr<void> what) { held_ = std::move(what); }

  /// Client: asks for the upgrade.
  void upgrade(const std::string& host, const std::string& target, std::function<void(UpgradeAnswer)> done);
  /// Server: reads the request, with a header of at most so many bytes; then `accept`, or `refuse_upgrade`.
  void read_request(std::size_t max_header_bytes, std::function<void(UpgradeRequest)> done);
  void accept(std::function<void(Error)> done);

  /// Reads one message.
  void read(std::shared_ptr<WebSocketEvents> to);
  /// What `on_message` was given is not needed any more. Before the next `read`.
  void release_message();
  /// Appends a message to the wire, which has to be flushed. False: the WebSocket is closing, and took nothing.
  bool write(std::string_view bytes, bool binary);
  void ping();
  /// Sends Close and waits for the peer's, dropping what comes before.
  void close(std::uint16_t code, std::string_view reason, std::shared_ptr<WebSocketEvents> to);

 private:
  struct Beast;

  /// The first member, so that it goes last.
  std::shared_ptr<void> held_;
  const std::shared_ptr<Wire> wire_;
  const std::unique_ptr<Beast> beast_;
};

}  // namespace sharingbus::transport::internal

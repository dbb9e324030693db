#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/post.hpp>

#include "bus/base/bounded.hpp"
#include "bus/base/timer.hpp"
#include "transport/stream_publisher.hpp"
#include "transport/websocket/internal/web_socket.hpp"
#include "transport/websocket/internal/websocket_link_set.hpp"
#include "transport/websocket/internal/wire.hpp"
#include "transport/websocket/message_protocol.hpp"
#include "transport/websocket/websocket_options.hpp"

namespace sharingbus::transport::internal {

/// What the links of one dialer or listener share.
struct WebSocketContext {
  boost::asio::any_io_executor executor;
  TimerService& timers;
  std::shared_ptr<const MessageProtocol> protocol;
  MessageProtocol::Role role = MessageProtocol::Role::dialer;
  WebSocketTimes times;
  std::shared_ptr<WebSocketLinkSet> links;
};

/// A stream over a WebSocket: queue, credit, reading, writing, timers, and who ends it. Derived classes know how to
/// come to an open WebSocket.
///
/// One message is read ahead of the credit and held, so that pings are answered, and the peer's end is seen, while
/// nothing may be published.
///
/// Threads: the mutex guards what any thread may call; everything else happens on a strand of the executor. Nothing is
/// published while the mutex is held. Strand and socket are given up with `StreamClosed`, as others may hold the link
/// for longer than the executor's context lives.
class WebSocketLink : public Link, public WebSocketEvents, public std::enable_shared_from_this<WebSocketLink> {
 public:
  [[nodiscard]] std::uint64_t id() const noexcept final { return publisher_.id(); }
  [[nodiscard]] const Uuid& uid() const noexcept final { return publisher_.uid(); }
  SendStatus send(std::string frame) final;
  void grant(Credit credit) final;
  void finish() final;
  void cancel(Error why) final;
  [[nodiscard]] LinkStats stats() const final { return publisher_.stats(); }

  /// Opens it. Once.
  void start();
  /// Instead of `start`: it never came to be.
  void fail(Error why);

 protected:
  WebSocketLink(WebSocketContext context, Strand strand, StreamOptions options, std::uint64_t listener);

  // What derived classes do. On the strand.
  virtual void begin() = 0;
  /// The stream is over: gives up timers and what else is under way.
  virtual void release() = 0;
  /// `StreamOpened` was published.
  virtual void on_opened() = 0;

  // What derived classes call. On the strand.
  /// Takes the socket that WebSocket and TLS handshakes go over, so that it ends with the link.
  void use(const std::shared_ptr<WebSocket>& socket) {
    socket_ = socket;
    socket_->hold(place_);
  }
  /// The WebSocket is open: now it is the protocol's turn.
  void upgraded(std::string peer);
  /// Ends the stream for this reason unless there is one. An open WebSocket is told.
  void break_with(Error why);
  /// Publishes `StreamClosed`, once, and gives everything up.
  void close(Error error, Duration retry_after = Duration::zero());
  /// The same without an event, for what was never a stream.
  void vanish();
  /// Calls `fn` on the strand unless the stream is closed by then.
  template <class Fn>
  void post(Fn fn);
  /// Calls `fn` on the strand, later, unless the stream is closed by then. `release` cancels it.
  template <class Fn>
  [[nodiscard]] TimerId after(Duration delay, Fn fn);
  void cancel_timer(TimerId& timer) {
    if (timer != 0) timers().cancel(std::exchange(timer, 0));
  }

  [[nodiscard]] bool ended() const noexcept { return ended_; }
  [[nodiscard]] bool breaking() const noexcept { return reason_.has_value(); }
  [[nodiscard]] bool opened() const noexcept { return opened_; }
  [[nodiscard]] StreamPublisher& publisher() noexcept { return publisher_; }
  [[nodiscard]] TimerService& timers() noexcept { return context_.timers; }
  [[nodiscard]] const WebSocketContext& context() const noexcept { return context_; }
  [[nodiscard]] const std::shared_ptr<WebSocket>& socket() const noexcept { return socket_; }
  [[nodiscard]] Strand strand() const;

 private:
  void on_message(std::string_view bytes, bool binary) final;
  void on_end(PeerEnd end) final;
  void on_closed(PeerEnd end) final;

  void apply(const ProtocolStep& step);
  [[nodiscard]] bool reply(const WebSocketMessage& message);
  void open();
  void take(std::string_view frame);
  void publish(std::string_view frame);
  void resume();
  void read();

  [[nodiscard]] bool write_one();
  void flush();
  void on_written();
  void start_close();
  void ended_by_peer(const PeerEnd& end);
  void close_socket(bool reset);
  void end_now();
  void give_up();
  void leave();

  void watch();
  void heartbeat();

  const WebSocketContext context_;
  const std::uint64_t listener_;
  StreamPublisher publisher_;

  mutable std::mutex mutex_;
  // Guarded by the mutex.
  std::optional<Strand> strand_;
  std::deque<std::string> queue_;
  bool flushing_ = false;
  bool writable_wanted_ = false;
  bool finishing_ = false;
  bool cancelled_ = false;
  /// Nothing more is taken to be sent.
  bool sends_closed_ = false;

  // The strand's.
  /// Its end is the end of this link's place in the set: when neither the link nor an operation of its socket, which
  /// may come to its end later, needs the executor any more.
  std::shared_ptr<void> place_;
  std::shared_ptr<WebSocket> socket_;
  std::unique_ptr<MessageChannel> channel_;
  std::string peer_;
  std::optional<Error> reason_;
  /// Read, but there was no credit to publish it.
  std::optional<std::string> held_;
  /// Bytes of replies since one that ends there, which was not written when it was looked at last.
  std::uint64_t replied_ = 0;
  std::uint64_t reply_end_ = 0;
  TimePoint resumed_at_;
  /// The last that was heard when a ping was sent.
  std::optional<TimePoint> pinged_after_;
  bool upgraded_ = false;
  bool opened_ = false;
  bool ended_ = false;
  bool reading_ = false;
  /// Close was sent.
  bool closing_ = false;
  bool finished_by_peer_ = false;
  /// Messages are read and dropped: this side has finished, and one came without credit.
  bool deaf_ = false;
  TimerId watch_timer_ = 0;
  TimerId heartbeat_timer_ = 0;
  TimerId close_timer_ = 0;
};

template <class Fn>
void WebSocketLink::post(Fn fn) {
  std::optional<Strand> strand;
  {
    const std::scoped_lock lock(mutex_);
    strand = strand_;
  }
  if (!strand) return;
  boost::asio::post(*strand, [self = shared_from_this(), fn = std::move(fn)]() mutable {
    if (!self->ended_) fn();
  });
}

template <class Fn>
TimerId WebSocketLink::after(Duration delay, Fn fn) {
  return timers().schedule_after(bounded(delay), [weak = weak_from_this(), fn = std::move(fn)] {
    if (const auto self = weak.lock()) self->post(fn);
  });
}

/// What `Dialer::open` does with a link that was just made: owns it and starts it, or ends it.
void launch(WebSocketLinkSet& links, const std::shared_ptr<WebSocketLink>& link, std::string first_frame);

}  // namespace sharingbus::transport::internal

#include "transport/websocket/internal/websocket_link.hpp"

#include <algorithm>
#include <chrono>
#include <exception>

#include "transport/turn.hpp"
#include "transport/websocket/internal/close_codes.hpp"

namespace sharingbus::transport::internal {
namespace {

/// Frames leave the queue while less than this waits to be written.
constexpr std::size_t kChunkBytes = std::size_t{64} * 1024;
/// Of the protocol's replies, so many may wait behind the first of them that was not written yet.
constexpr std::size_t kMostReplyBytes = std::size_t{64} * 1024;
/// What a peer that does not read gets to take our Close when the stream is cancelled; then the connection is reset.
constexpr auto kAbortPatience = std::chrono::seconds(1);

}  // namespace

WebSocketLink::WebSocketLink(WebSocketContext context, Strand strand, StreamOptions options, std::uint64_t listener)
    : context_(std::move(context)),
      listener_(listener),
      publisher_(std::move(options)),
      strand_(std::move(strand)),
      resumed_at_(context_.timers.now()) {}

// --- any thread ------------------------------------------------------------------------------------------------------

SendStatus WebSocketLink::send(std::string frame) {
  std::optional<Strand> strand;
  {
    const std::scoped_lock lock(mutex_);
    if (sends_closed_ || finishing_) return SendStatus::closed;
    if (frame.size() > publisher_.limits().max_outbound_bytes) return SendStatus::too_large;
    if (queue_.size() >= publisher_.limits().outbound_capacity) {
      writable_wanted_ = true;
      return SendStatus::full;
    }
    queue_.push_back(std::move(frame));
    if (std::exchange(flushing_, true)) return SendStatus::queued;
    strand = strand_;
  }
  if (!strand) return SendStatus::queued;
  // At once where the strand is idle, or this thread's, and this is one of its executor's.
  strand->execute([self = shared_from_this()] {
    if (!self->ended_) self->flush();
  });
  return SendStatus::queued;
}

void WebSocketLink::grant(Credit credit) {
  if (publisher_.grant(credit)) post([this] { resume(); });
}

void WebSocketLink::finish() {
  {
    const std::scoped_lock lock(mutex_);
    if (cancelled_ || std::exchange(finishing_, true)) return;
  }
  post([this] {
    flush();
    resume();
  });
}

void WebSocketLink::cancel(Error why) {
  {
    const std::scoped_lock lock(mutex_);
    if (std::exchange(cancelled_, true)) return;
    sends_closed_ = true;
  }
  post([this, why = std::move(why)]() mutable { break_with(std::move(why)); });
}

void WebSocketLink::start() {
  place_ = std::shared_ptr<void>(static_cast<void*>(nullptr),
                                 [links = context_.links, key = this](void*) { links->remove(key); });
  post([this] {
    if (!reason_) begin();
  });
}

void WebSocketLink::fail(Error why) {
  post([this, why = std::move(why)]() mutable { close(std::move(why)); });
}

Strand WebSocketLink::strand() const {
  const std::scoped_lock lock(mutex_);
  return *strand_;
}

// --- opening ---------------------------------------------------------------------------------------------------------

void WebSocketLink::upgraded(std::string peer) {
  peer_ = std::move(peer);
  upgraded_ = true;
  socket_->wire().on_written([this, weak = weak_from_this()] {
    if (const auto self = weak.lock()) on_written();
  });
  channel_ = context_.protocol->make_channel(context_.role);
  apply(channel_->begin());
  read();
}

void WebSocketLink::open() {
  on_opened();
  opened_ = true;
  publisher_.opened(weak_from_this(), peer_, listener_);
  if (reason_) return;
  resumed_at_ = timers().now();
  watch_timer_ = after(context_.times.ping_interval, [this] { watch(); });
  if (const auto interval = context_.protocol->heartbeat_interval(context_.role); interval > Duration::zero()) {
    heartbeat_timer_ = after(interval, [this] { heartbeat(); });
  }
  flush();
}

// --- reading ---------------------------------------------------------------------------------------------------------

void WebSocketLink::read() {
  if (!upgraded_ || ended_ || reason_ || reading_ || closing_ || held_) return;
  reading_ = true;
  socket_->read(shared_from_this());
}

void WebSocketLink::on_message(std::string_view bytes, bool binary) {
  // What the message gives others to do comes last, after the next read was started.
  const Turn turn(Turn::On::executor);
  reading_ = false;
  if (ended_) return;
  if (!reason_ && !deaf_) apply(channel_->receive(bytes, binary));
  if (ended_) return;
  socket_->release_message();
  read();
}

void WebSocketLink::apply(const ProtocolStep& step) {
  if (step.reply && !reply(*step.reply)) {
    return break_with({errc::capacity_exceeded, "the peer asks without reading the answers"});
  }
  if (step.error) return break_with(step.error);
  if (step.opened && !opened_) open();
  if (step.frame && !reason_ && !ended_) take(*step.frame);
  if (step.finished && !reason_ && !ended_) {
    {
      const std::scoped_lock lock(mutex_);
      if (!std::exchange(finishing_, true)) finished_by_peer_ = true;
    }
    flush();
  }
}

/// False: too many replies wait. Frames that wait do not count, as one alone may take a slow peer longer to read than
/// it takes between two heartbeats.
bool WebSocketLink::reply(const WebSocketMessage& message) {
  Wire& wire = socket_->wire();
  const std::uint64_t before = wire.appended();
  if (before - wire.pending() >= reply_end_) replied_ = 0;
  if (replied_ > kMostReplyBytes) return false;
  static_cast<void>(socket_->write(message.bytes, message.binary));
  if (replied_ == 0) reply_end_ = wire.appended();
  replied_ += wire.appended() - before;
  wire.flush();
  return true;
}

void WebSocketLink::take(std::string_view frame) {
  if (publisher_.may_read()) return publish(frame);
  bool finishing = false;
  {
    // Whoever has finished must not hold up the peer's end for want of credit.
    const std::scoped_lock lock(mutex_);
    finishing = finishing_;
  }
  if (finishing) {
    deaf_ = true;
  } else {
    held_.emplace(frame);
  }
}

void WebSocketLink::publish(std::string_view frame) {
  Result<> taken;
  try {
    taken = publisher_.frame(frame);
  } catch (const std::exception& thrown) {
    taken = Error(errc::internal, std::string("decoding threw: ") + thrown.what());
  } catch (...) {
    taken = Error(errc::internal, "decoding threw");
  }
  if (!taken) break_with(std::move(taken).error());
}

/// There is credit again, or none will be needed.
void WebSocketLink::resume() {
  if (ended_ || reason_) return;
  if (held_) {
    const std::string frame = std::move(*held_);
    held_.reset();
    take(frame);
    if (held_ || ended_) return;
    resumed_at_ = timers().now();
  }
  read();
}

// --- writing ---------------------------------------------------------------------------------------------------------

/// False when there is nothing to write now.
bool WebSocketLink::write_one() {
  std::string frame;
  bool writable = false;
  {
    const std::scoped_lock lock(mutex_);
    if (queue_.empty()) {
      flushing_ = false;
      return false;
    }
    frame = std::move(queue_.front());
    queue_.pop_front();
    writable = writable_wanted_ && !finishing_ && queue_.size() <= publisher_.limits().outbound_capacity / 2;
    if (writable) writable_wanted_ = false;
  }
  const std::size_t size = frame.size();
  const WebSocketMessage message = channel_->encode(std::move(frame));
  // Refused when the peer has closed, which is about to be read.
  if (socket_->write(message.bytes, message.binary)) publisher_.sent(size);
  if (writable) publisher_.writable();
  return true;
}

void WebSocketLink::flush() {
  if (!opened_ || ended_ || reason_ || closing_ || socket_->wire().write_error()) return;
  Wire::Tell tell = Wire::Tell::always;
  while (socket_->wire().pending() < kChunkBytes) {
    if (!write_one()) {
      bool finishing = false;
      {
        const std::scoped_lock lock(mutex_);
        finishing = finishing_ && queue_.empty();
      }
      if (finishing) return start_close();
      // Nothing follows that waits for this to be written.
      tell = Wire::Tell::if_late;
      break;
    }
  }
  socket_->wire().flush(tell);
}

void WebSocketLink::on_written() {
  if (ended_) return;
  if (socket_->wire().write_error()) {
    // What the peer sent before it went, its own reason perhaps, is still to be read, if anybody does.
    if (reason_ || held_ || !reading_) {
      break_with({errc::stream_failed, peer_ + ": writing failed: " + socket_->wire().write_error().message()});
    }
    return;
  }
  if (reason_) {
    // Our Close is out: that is all the peer is told.
    if (socket_->wire().pending() == 0) end_now();
    return;
  }
  flush();
}

// --- ending ----------------------------------------------------------------------------------------------------------

void WebSocketLink::start_close() {
  if (!finished_by_peer_) {
    if (const auto last = channel_->farewell()) static_cast<void>(socket_->write(last->bytes, last->binary));
  }
  closing_ = true;
  {
    const std::scoped_lock lock(mutex_);
    sends_closed_ = true;
  }
  held_.reset();
  cancel_timer(watch_timer_);
  cancel_timer(heartbeat_timer_);
  close_timer_ = after(context_.times.close_timeout, [this] {
    break_with({errc::timed_out, peer_ + ": the peer did not answer the Close in time"});
  });
  socket_->close(kNormalClose, {}, shared_from_this());
}

void WebSocketLink::break_with(Error why) {
  if (ended_ || reason_) return;
  reason_ = std::move(why);
  {
    const std::scoped_lock lock(mutex_);
    sends_closed_ = true;
    queue_.clear();
  }
  if (!upgraded_ || closing_ || socket_->wire().write_error()) return end_now();
  closing_ = true;
  cancel_timer(close_timer_);
  close_timer_ = after(kAbortPatience, [this] { end_now(); });
  socket_->close(close_code_of(*reason_), close_text_of(*reason_), shared_from_this());
}

/// Not waiting for anything any more.
void WebSocketLink::end_now() {
  const bool told = upgraded_ && closing_ && socket_->wire().pending() == 0 && !socket_->wire().write_error();
  close_socket(!told);
  close(*reason_);
}

void WebSocketLink::close_socket(bool reset) {
  if (socket_) socket_->wire().close(reset);
}

void WebSocketLink::on_end(PeerEnd end) {
  reading_ = false;
  if (ended_) return;
  // Then `on_closed` tells how it ends.
  if (end.aborted && closing_) return;
  ended_by_peer(end);
}

void WebSocketLink::on_closed(PeerEnd end) {
  if (ended_) return;
  // Then `on_end` tells how it ended.
  if (end.aborted && reading_) return;
  ended_by_peer(end);
}

void WebSocketLink::ended_by_peer(const PeerEnd& end) {
  if (reason_) return end_now();
  if (end.code == 0) {
    Error why = end.error ? end.error : Error(errc::stream_failed, "the connection ended");
    why.message = peer_ + ": " + why.message;
    if (!opened_) why.code = make_error_code(errc::connection_refused);
    close_socket(true);
    return close(std::move(why));
  }
  CloseMeaning meaning = meaning_of(end.code, end.reason, peer_);
  close_socket(false);
  if (!opened_ && !meaning.error) {
    meaning.error = {errc::connection_refused, peer_ + ": the peer closed before the stream was open"};
  } else if (!meaning.error && (!closing_ || finished_by_peer_)) {
    meaning.error = {errc::stream_closed, peer_ + ": the peer closed the stream"};
  }
  close(std::move(meaning.error), meaning.retry_after);
}

void WebSocketLink::close(Error error, Duration retry_after) {
  if (std::exchange(ended_, true)) return;
  give_up();
  publisher_.closed(std::move(error), retry_after);
  leave();
}

void WebSocketLink::vanish() {
  if (std::exchange(ended_, true)) return;
  give_up();
  leave();
}

void WebSocketLink::leave() {
  if (place_) return place_.reset();
  context_.links->remove(this);
}

void WebSocketLink::give_up() {
  release();
  for (TimerId* timer : {&watch_timer_, &heartbeat_timer_, &close_timer_})
    cancel_timer(*timer);
  close_socket(true);
  socket_.reset();
  held_.reset();
  const std::scoped_lock lock(mutex_);
  sends_closed_ = true;
  queue_.clear();
  strand_.reset();
}

// --- is the peer there? ----------------------------------------------------------------------------------------------

void WebSocketLink::watch() {
  if (closing_ || reason_) return;
  const TimePoint now = timers().now();
  TimePoint heard = std::max(socket_->wire().last_read(), resumed_at_);
  if (held_) {
    // Nothing can be heard. But the peer should hear us.
    socket_->ping();
    heard = now;
  }
  const Duration silence = now - heard;
  if (silence >= context_.times.idle_timeout) {
    const auto seconds = std::chrono::floor<std::chrono::seconds>(silence).count();
    return break_with(
        {errc::stream_failed, peer_ + ": nothing came from the peer for " + std::to_string(seconds) + " s"});
  }
  if (silence >= context_.times.ping_interval && pinged_after_ != heard) {
    pinged_after_ = heard;
    socket_->ping();
  }
  const bool pinged = pinged_after_ == heard;
  const TimePoint next = heard + (pinged ? context_.times.idle_timeout : context_.times.ping_interval);
  watch_timer_ = after(next - now, [this] { watch(); });
}

void WebSocketLink::heartbeat() {
  if (closing_ || reason_) return;
  if (const auto message = channel_->heartbeat()) {
    static_cast<void>(socket_->write(message->bytes, message->binary));
    socket_->wire().flush();
  }
  heartbeat_timer_ = after(context_.protocol->heartbeat_interval(context_.role), [this] { heartbeat(); });
}

void launch(WebSocketLinkSet& links, const std::shared_ptr<WebSocketLink>& link, std::string first_frame) {
  if (!links.add(link)) return link->fail(Error(errc::closed, "the dialer is closed"));
  if (!first_frame.empty() && link->send(std::move(first_frame)) == SendStatus::too_large) {
    return link->fail(Error(errc::message_too_large, "the first message exceeds the outbound limit"));
  }
  link->start();
}

}  // namespace sharingbus::transport::internal

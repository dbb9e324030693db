#include "transport/memory/internal/memory_link.hpp"

#include <utility>

#include <boost/asio/post.hpp>

namespace sharingbus::transport::internal {

MemoryLink::MemoryLink(boost::asio::any_io_executor executor, StreamOptions options, std::function<void()> on_closed)
    : executor_(std::move(executor)), publisher_(std::move(options)), on_closed_(std::move(on_closed)) {}

void MemoryLink::post(void (MemoryLink::*step)()) {
  boost::asio::post(executor_, [self = shared_from_this(), step] { (self.get()->*step)(); });
}

SendStatus MemoryLink::send(std::string frame) {
  {
    const std::scoped_lock lock(mutex_);
    if (closed_ || finishing_) return SendStatus::closed;
    if (frame.size() > publisher_.limits().max_outbound_bytes) return SendStatus::too_large;
    if (outbound_.size() >= publisher_.limits().outbound_capacity) {
      writable_wanted_ = true;
      return SendStatus::full;
    }
    outbound_.push_back(std::move(frame));
  }
  boost::asio::post(executor_, [self = shared_from_this()] {
    if (const auto peer = self->peer_.lock()) peer->pump();
  });
  return SendStatus::queued;
}

void MemoryLink::grant(Credit credit) {
  if (publisher_.grant(credit)) post(&MemoryLink::pump);
}

void MemoryLink::finish() {
  {
    const std::scoped_lock lock(mutex_);
    if (closed_ || std::exchange(finishing_, true)) return;
  }
  boost::asio::post(executor_, [self = shared_from_this()] {
    if (const auto peer = self->peer_.lock()) peer->pump();
    self->pump();
  });
}

void MemoryLink::cancel(Error why) {
  {
    const std::scoped_lock lock(mutex_);
    closed_ = true;
  }
  boost::asio::post(executor_, [self = shared_from_this(), why = std::move(why)]() mutable {
    const auto peer = self->peer_.lock();
    self->close(why);
    if (peer) peer->close(Error(errc::stream_failed, "the peer cancelled: " + to_string(why)));
  });
}

void MemoryLink::fail(Error why) {
  close(std::move(why));
}

void MemoryLink::connect(const std::shared_ptr<MemoryLink>& dialled, const std::shared_ptr<MemoryLink>& accepted,
                         const std::string& name, std::uint64_t listener) {
  dialled->peer_ = accepted;
  accepted->peer_ = dialled;
  const std::string peer = "memory://" + name;
  accepted->publisher_.opened(accepted, peer, listener);
  dialled->publisher_.opened(dialled, peer);
  accepted->pump();
  dialled->pump();
}

std::optional<std::string> MemoryLink::take_outbound() {
  bool writable = false;
  std::optional<std::string> frame;
  {
    const std::scoped_lock lock(mutex_);
    if (outbound_.empty()) return std::nullopt;
    frame = std::move(outbound_.front());
    outbound_.pop_front();
    writable = writable_wanted_ && !finishing_ && outbound_.size() <= publisher_.limits().outbound_capacity / 2;
    if (writable) writable_wanted_ = false;
  }
  publisher_.sent(frame->size());
  if (writable) publisher_.writable();
  return frame;
}

bool MemoryLink::drained() {
  const std::scoped_lock lock(mutex_);
  return finishing_ && outbound_.empty();
}

void MemoryLink::pump() {
  const auto peer = peer_.lock();
  if (!peer || ended_) return;
  bool finishing = false;
  {
    const std::scoped_lock lock(mutex_);
    finishing = finishing_;
  }
  // Once this side has finished it must not keep the peer from finishing by giving no credit: it goes deaf instead, for
  // good, so that what was published has no hole.
  while (!ended_ && (deaf_ || finishing || publisher_.may_read())) {
    const bool may_read = publisher_.may_read();
    auto frame = peer->take_outbound();
    if (!frame) break;
    deaf_ = deaf_ || !may_read;
    if (deaf_) continue;
    if (const auto result = publisher_.frame(*frame); !result) {
      close(result.error());
      peer->close(Error(errc::stream_failed, "the peer ended the stream: " + to_string(result.error())));
      return;
    }
  }
  if (ended_ || !peer->drained()) return;
  // The peer has finished, so this side does too, once the peer has taken what is still queued here.
  {
    const std::scoped_lock lock(mutex_);
    if (!std::exchange(finishing_, true)) finished_by_peer_ = true;
  }
  if (!drained()) return peer->post(&MemoryLink::pump);
  close(outcome());
  peer->close(peer->outcome());
}

Error MemoryLink::outcome() const {
  return finished_by_peer_ ? Error(errc::stream_closed, "the peer closed the stream") : Error{};
}

void MemoryLink::close(Error why) {
  if (std::exchange(ended_, true)) return;
  {
    const std::scoped_lock lock(mutex_);
    closed_ = true;
    outbound_.clear();
  }
  peer_.reset();
  publisher_.closed(std::move(why));
  if (auto on_closed = std::exchange(on_closed_, nullptr)) on_closed();
}

}  // namespace sharingbus::transport::internal

#include "connector/internal/lane_link.hpp"

#include <algorithm>
#include <utility>

namespace sharingbus::connector::internal {
namespace {

using transport::SendStatus;

/// Messages that may wait for credit; whoever has not read that many has fallen far behind.
constexpr std::size_t kMostHeld = 1024;
constexpr std::size_t kMostHeldBytes = std::size_t{32} * 1024 * 1024;

}  // namespace

LaneLink::LaneLink(std::string arn, std::weak_ptr<LaneHost> host, std::shared_ptr<transport::Link> stream,
                   transport::StreamOptions options)
    : arn_(std::move(arn)), host_(std::move(host)), publisher_(std::move(options)), stream_(std::move(stream)) {}

std::string LaneLink::address() const {
  std::string address = arn_.substr(std::min(arn_.size(), arn_.find(':') + 1));
  std::replace(address.begin(), address.end(), ':', '.');
  return address;
}

template <class Fn>
void LaneLink::post(Fn fn) {
  if (const auto host = host_.lock()) host->on_strand([self = shared_from_this(), fn = std::move(fn)] { fn(*self); });
}

SendStatus LaneLink::send(std::string frame) {
  const auto host = host_.lock();
  std::shared_ptr<transport::Link> stream;
  {
    const std::scoped_lock lock(mutex_);
    if (stopped_ || !host) return SendStatus::closed;
    stream = stream_;
    // Before it is known to be full: the notice that it is not any more may come at once.
    writable_wanted_ = true;
  }
  SendStatus status = SendStatus::queued;
  const std::size_t size = frame.size();
  if (host->passes(shared_from_this(), frame)) status = stream->send(std::move(frame));
  if (status == SendStatus::queued) publisher_.sent(size);
  if (status != SendStatus::full) {
    const std::scoped_lock lock(mutex_);
    writable_wanted_ = false;
  }
  return status;
}

void LaneLink::move_to(std::shared_ptr<transport::Link> stream) {
  const std::scoped_lock lock(mutex_);
  stream_ = std::move(stream);
}

void LaneLink::grant(transport::Credit credit) {
  if (publisher_.grant(credit)) post([](LaneLink& self) { self.drain(); });
}

void LaneLink::finish() {
  if (stop_sending()) post([](LaneLink& self) { self.end({}); });
}

void LaneLink::cancel(Error why) {
  static_cast<void>(stop_sending());
  post([why = std::move(why)](LaneLink& self) { self.end(why); });
}

bool LaneLink::stop_sending() {
  const std::scoped_lock lock(mutex_);
  return !std::exchange(stopped_, true);
}

void LaneLink::opened(const std::string& peer, std::uint64_t listener) {
  if (ended_ || std::exchange(opened_, true)) return;
  publisher_.opened(weak_from_this(), peer, listener);
}

bool LaneLink::deliver(std::string frame) {
  if (ended_) return true;
  if (held_.empty() && publisher_.may_read()) {
    publish(frame);
    return true;
  }
  if (held_.size() >= kMostHeld || held_bytes_ > kMostHeldBytes) return false;
  held_bytes_ += frame.size();
  held_.push_back(std::move(frame));
  drain();
  return true;
}

void LaneLink::publish(std::string_view frame) {
  if (auto taken = publisher_.frame(frame); !taken) end(std::move(taken).error());
}

void LaneLink::drain() {
  while (!ended_ && !held_.empty() && publisher_.may_read()) {
    const std::string frame = std::move(held_.front());
    held_.pop_front();
    held_bytes_ -= frame.size();
    publish(frame);
  }
}

void LaneLink::writable() {
  {
    const std::scoped_lock lock(mutex_);
    if (!std::exchange(writable_wanted_, false)) return;
  }
  if (!ended_) publisher_.writable();
}

void LaneLink::going_away() {
  set_leaving();
  if (!ended_ && opened_) publisher_.going_away();
}

void LaneLink::end(Error why) {
  if (ended_) return;
  if (const auto host = host_.lock()) host->lane_ended(*this, why);
  close(std::move(why));
}

void LaneLink::close(Error why, Duration retry_after) {
  if (std::exchange(ended_, true)) return;
  static_cast<void>(stop_sending());
  held_.clear();
  publisher_.closed(std::move(why), retry_after);
}

}  // namespace sharingbus::connector::internal

// The way down: stop accepting, drain, let streams finish, cancel, join.

#include <boost/asio/post.hpp>

#include "bus/base/bounded.hpp"
#include "connector/gateway/internal/gateway_core.hpp"

namespace sharingbus::connector::internal {

namespace {

/// A function that takes a step of the core's on the executor, if the core is still there.
template <class Core, class Step>
std::function<void()> posted(const std::shared_ptr<Core>& core, Step step) {
  return [weak = std::weak_ptr<Core>(core), step] {
    if (const auto self = weak.lock()) boost::asio::post(self->executor(), [self, step] { step(*self); });
  };
}

}  // namespace

void GatewayCore::close(Duration drain, std::function<void()> done) {
  std::vector<std::shared_ptr<transport::Listener>> listeners;
  bool first = false;
  {
    std::unique_lock lock(mutex_);
    if (phase_ == Phase::closed) {
      lock.unlock();
      if (done) boost::asio::post(executor_, std::move(done));
      return;
    }
    if (done) waiting_.push_back(std::move(done));
    first = phase_ == Phase::open;
    if (first) {
      phase_ = Phase::draining;
      listeners = listeners_;
    }
  }
  for (const auto& listener : listeners)
    listener->stop_accepting();
  if (first && drain > Duration::zero()) {
    std::vector<std::shared_ptr<Session>> sessions;
    {
      const std::scoped_lock lock(mutex_);
      for (const auto& [uid, session] : sessions_)
        sessions.push_back(session);
    }
    for (const auto& session : sessions)
      session->ask_to_reconnect();
  }
  limit_drain(drain);
  if (first) requests_->close(posted(shared_from_this(), [](GatewayCore& self) { self.end_sessions(true); }));
}

void GatewayCore::limit_drain(Duration drain) {
  const auto cancel = posted(shared_from_this(), [](GatewayCore& self) { self.end_sessions(false); });
  if (drain <= Duration::zero()) return cancel();
  const TimePoint until = timers_.now() + bounded(drain);
  const std::scoped_lock lock(mutex_);
  if (phase_ == Phase::closed || (drain_timer_ != 0 && drain_until_ <= until)) return;
  timers_.cancel(drain_timer_);
  drain_until_ = until;
  drain_timer_ = timers_.schedule_at(until, cancel);
}

void GatewayCore::end_sessions(bool graceful) {
  std::vector<std::shared_ptr<Session>> sessions;
  bool first = false;
  {
    const std::scoped_lock lock(mutex_);
    const Phase next = graceful ? Phase::finishing : Phase::cancelling;
    if (phase_ >= next) return;
    first = phase_ == Phase::draining;
    phase_ = next;
    sessions.reserve(sessions_.size());
    for (const auto& [uid, session] : sessions_)
      sessions.push_back(session);
  }
  for (const auto& session : sessions)
    session->end(Error(errc::closed, "the gateway is closing"), graceful);
  sessions.clear();
  if (first) alive_->close(posted(shared_from_this(), [](GatewayCore& self) { self.close_listeners(); }));
}

void GatewayCore::close_listeners() {
  std::vector<std::shared_ptr<transport::Listener>> listeners;
  {
    const std::scoped_lock lock(mutex_);
    phase_ = Phase::cancelling;
    listeners = listeners_;
  }
  // One more than there are listeners, since they may call back at once.
  const auto open = std::make_shared<std::atomic<std::size_t>>(listeners.size() + 1);
  const auto one_less = [open, step = posted(shared_from_this(), [](GatewayCore& self) { self.closed(); })] {
    if (open->fetch_sub(1, std::memory_order_acq_rel) == 1) step();
  };
  for (const auto& listener : listeners)
    listener->close(one_less);
  one_less();
}

void GatewayCore::closed() {
  Subscription opened;
  Subscription closed;
  Subscription refused;
  std::vector<std::shared_ptr<transport::Listener>> listeners;
  std::vector<std::function<void()>> waiting;
  {
    const std::scoped_lock lock(mutex_);
    if (phase_ == Phase::closed) return;
    phase_ = Phase::closed;
    opened = std::move(opened_);
    closed = std::move(closed_);
    refused = std::move(refused_);
    listeners.swap(listeners_);
    waiting.swap(waiting_);
    timers_.cancel(drain_timer_);
  }
  opened = {};
  closed = {};
  refused = {};
  listeners.clear();
  for (const auto& done : waiting)
    done();
}

void GatewayCore::abandon() {
  Subscription opened;
  Subscription closed;
  Subscription refused;
  std::vector<std::shared_ptr<transport::Listener>> listeners;
  std::vector<std::function<void()>> waiting;
  std::unordered_map<Uuid, std::shared_ptr<Session>> sessions;
  std::map<std::string, Registered, std::less<>> addresses;
  {
    const std::scoped_lock lock(mutex_);
    phase_ = Phase::closed;
    opened = std::move(opened_);
    closed = std::move(closed_);
    refused = std::move(refused_);
    listeners.swap(listeners_);
    waiting.swap(waiting_);
    sessions.swap(sessions_);
    addresses.swap(addresses_);
  }
  requests_->close([] {});
  opened = {};
  closed = {};
  refused = {};
  for (const auto& [uid, session] : sessions)
    session->end(Error(errc::closed, "the gateway was destroyed"), false);
  listeners.clear();
  timers_.let_go();
  for (auto& done : waiting)
    boost::asio::post(executor_, std::move(done));
}

}  // namespace sharingbus::connector::internal

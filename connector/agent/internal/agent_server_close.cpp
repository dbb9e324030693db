// The way down: stop accepting, drain, let streams finish, cancel, join.

#include <algorithm>
#include <exception>

#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/strand.hpp>

#include "bus/base/bounded.hpp"
#include "connector/agent/internal/agent_server_core.hpp"
#include "connector/agent/internal/reverse_slot.hpp"

namespace sharingbus::connector::internal {

namespace asio = boost::asio;

namespace {

asio::awaitable<void> tell_drain(std::shared_ptr<AgentHandler> handler, Duration limit) {
  co_await handler->drain(limit);
}

/// A function that takes a step of the core's on the executor, if the core is still there.
template <class Core, class Step>
std::function<void()> posted(const std::shared_ptr<Core>& core, Step step) {
  return [weak = std::weak_ptr<Core>(core), step] {
    if (const auto self = weak.lock()) asio::post(self->executor(), [self, step] { step(*self); });
  };
}

}  // namespace

void AgentServerCore::close(Duration drain, std::function<void()> done) {
  std::vector<std::shared_ptr<transport::Listener>> listeners;
  std::vector<std::shared_ptr<ReverseSlot>> slots;
  bool first = false;
  {
    std::unique_lock lock(mutex_);
    if (phase_ == Phase::closed) {
      lock.unlock();
      if (done) asio::post(executor_, std::move(done));
      return;
    }
    if (done) waiting_.push_back(std::move(done));
    first = phase_ == Phase::open;
    if (first) {
      phase_ = Phase::draining;
      listeners = listeners_;
      slots = slots_;
    }
  }
  drain = bounded(std::max(drain, Duration::zero()));
  if (first) {
    for (const auto& listener : listeners)
      listener->stop_accepting();
    for (const auto& slot : slots)
      slot->stop();
    Routing routing = routing_for<AgentDraining>();
    routing.connector_id = options_.capabilities.agent_id;
    publisher_.publish(AgentDraining{drain}, std::move(routing), EventOrigin::agent, source_);
    start_drain(drain);
  }
  limit_drain(drain);
  if (first) alive_->close(posted(shared_from_this(), [](AgentServerCore& self) { self.close_transports(); }));
}

void AgentServerCore::start_drain(Duration limit) {
  // Its place in the gate makes the server wait for it, as for every handler.
  auto presence = std::make_shared<Presence>(enter());
  asio::post(drain_strand_, [self = shared_from_this(), presence = std::move(presence), limit]() mutable {
    auto done = [self, presence = std::move(presence)](std::exception_ptr exception) {
      if (exception) self->log_failure("drain", exception);
    };
    asio::co_spawn(self->drain_strand_, tell_drain(self->handler_, limit),
                   asio::bind_cancellation_slot(self->drain_cancel_.slot(), std::move(done)));
    if (self->drain_over_) self->drain_cancel_.emit(asio::cancellation_type::terminal);
  });
  for (const auto& session : sessions())
    session->drain(limit);
}

void AgentServerCore::limit_drain(Duration drain) {
  const auto cancel = posted(shared_from_this(), [](AgentServerCore& self) { self.cancel_sessions(); });
  if (drain <= Duration::zero()) return cancel();
  const TimePoint until = timers_.now() + drain;
  const std::scoped_lock lock(mutex_);
  if (phase_ == Phase::closed || (drain_timer_ != 0 && drain_until_ <= until)) return;
  timers_.cancel(drain_timer_);
  drain_until_ = until;
  drain_timer_ = timers_.schedule_at(until, cancel);
}

void AgentServerCore::cancel_sessions() {
  {
    const std::scoped_lock lock(mutex_);
    if (phase_ >= Phase::cancelling) return;
    phase_ = Phase::cancelling;
  }
  for (const auto& session : sessions())
    session->end(Error(errc::closed, "the agent is closing"));
  asio::post(drain_strand_, [self = shared_from_this()] {
    self->drain_over_ = true;
    self->drain_cancel_.emit(asio::cancellation_type::terminal);
  });
}

void AgentServerCore::close_transports() {
  std::vector<std::shared_ptr<transport::Listener>> listeners;
  std::vector<std::shared_ptr<transport::Dialer>> dialers;
  {
    const std::scoped_lock lock(mutex_);
    if (phase_ == Phase::closed) return;
    phase_ = Phase::cancelling;
    listeners = listeners_;
    dialers = dialers_;
  }
  // One more than there are, since they may call back at once.
  const auto open = std::make_shared<std::atomic<std::size_t>>(listeners.size() + dialers.size() + 1);
  const auto one_less = [open, step = posted(shared_from_this(), [](AgentServerCore& self) { self.closed(); })] {
    if (open->fetch_sub(1, std::memory_order_acq_rel) == 1) step();
  };
  for (const auto& listener : listeners)
    listener->close(one_less);
  for (const auto& dialer : dialers)
    dialer->close(one_less);
  one_less();
}

void AgentServerCore::closed() {
  Subscription opened;
  Subscription closed;
  std::vector<std::shared_ptr<transport::Listener>> listeners;
  std::vector<std::shared_ptr<transport::Dialer>> dialers;
  std::vector<std::shared_ptr<ReverseSlot>> slots;
  std::vector<std::function<void()>> waiting;
  {
    const std::scoped_lock lock(mutex_);
    if (phase_ == Phase::closed) return;
    phase_ = Phase::closed;
    opened = std::move(opened_);
    closed = std::move(closed_);
    listeners.swap(listeners_);
    dialers.swap(dialers_);
    slots.swap(slots_);
    waiting.swap(waiting_);
    timers_.cancel(drain_timer_);
    timers_.cancel(health_timer_);
    timers_.cancel(metrics_timer_);
  }
  opened = {};
  closed = {};
  slots.clear();
  listeners.clear();
  dialers.clear();
  for (const auto& done : waiting)
    done();
}

void AgentServerCore::abandon() {
  Subscription opened;
  Subscription closed;
  std::vector<std::shared_ptr<transport::Listener>> listeners;
  std::vector<std::shared_ptr<transport::Dialer>> dialers;
  std::vector<std::shared_ptr<ReverseSlot>> slots;
  std::vector<std::function<void()>> waiting;
  std::unordered_map<Uuid, std::shared_ptr<ServerSession>> sessions;
  {
    const std::scoped_lock lock(mutex_);
    phase_ = Phase::closed;
    opened = std::move(opened_);
    closed = std::move(closed_);
    listeners.swap(listeners_);
    dialers.swap(dialers_);
    slots.swap(slots_);
    waiting.swap(waiting_);
    sessions.swap(sessions_);
  }
  for (const auto& slot : slots)
    slot->stop();
  opened = {};
  closed = {};
  for (const auto& [uid, session] : sessions)
    session->end(Error(errc::closed, "the agent was destroyed"));
  slots.clear();
  listeners.clear();
  dialers.clear();
  timers_.let_go();
  for (auto& done : waiting)
    asio::post(executor_, std::move(done));
}

}  // namespace sharingbus::connector::internal

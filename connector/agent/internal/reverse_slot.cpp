#include "connector/agent/internal/reverse_slot.hpp"

#include <chrono>
#include <utility>

#include <boost/asio/post.hpp>

#include "connector/agent/internal/agent_server_core.hpp"

namespace sharingbus::connector::internal {

ReverseSlot::ReverseSlot(const std::shared_ptr<AgentServerCore>& core, SharingBus& bus,
                         std::shared_ptr<transport::Dialer> dialer, ReverseOptions options, std::string registration)
    : core_(core),
      bus_(bus),
      dialer_(std::move(dialer)),
      options_(std::move(options)),
      registration_(std::move(registration)),
      backoff_(options_.backoff, seeded_random()) {}

void ReverseSlot::stop() {
  TimerId timer = 0;
  {
    const std::scoped_lock lock(mutex_);
    stopped_ = true;
    timer = std::exchange(timer_, 0);
  }
  if (const auto core = core_.lock()) core->timers().cancel(timer);
}

void ReverseSlot::dial() {
  const auto core = core_.lock();
  if (!core) return;
  {
    const std::scoped_lock lock(mutex_);
    if (stopped_) return;
    core->timers().fired(std::exchange(timer_, 0));
  }
  Error refused;
  const auto session = core->make_session(StreamKind{}, random_uuid(), refused);
  // No room, or the server closes; the first may pass.
  if (!session) {
    ended(std::nullopt);
    return;
  }
  session->dial(
      bus_, *dialer_, registration_, options_.connect_timeout,
      [self = shared_from_this()](std::optional<TimePoint> registered_at) { return self->ended(registered_at); });
}

Duration ReverseSlot::ended(std::optional<TimePoint> registered_at) {
  const auto core = core_.lock();
  if (!core) return {};
  const TimePoint now = core->timers().now();
  const std::scoped_lock lock(mutex_);
  if (stopped_) return {};
  if (registered_at && now - *registered_at >= options_.stable_after) {
    attempt_ = 0;
    backoff_.reset();
  }
  const Duration wait = std::chrono::milliseconds(backoff_.delay_ms(++attempt_));
  timer_ = core->timers().schedule_at(now + wait, [weak = weak_from_this(), weak_core = core_] {
    const auto self = weak.lock();
    const auto alive = weak_core.lock();
    if (self && alive) boost::asio::post(alive->executor(), [self] { self->dial(); });
  });
  return wait;
}

}  // namespace sharingbus::connector::internal

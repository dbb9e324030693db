#include "bus/async.hpp"

#include <utility>

#include "bus/internal/async_post.hpp"
#include "bus/internal/bus_core.hpp"

namespace sharingbus {
namespace {

class AsioScheduler final : public DispatchScheduler {
 public:
  explicit AsioScheduler(boost::asio::any_io_executor executor) : executor_(std::move(executor)) {}
  void schedule(DispatchJob job) override { internal::post(executor_, std::move(job)); }

 private:
  const boost::asio::any_io_executor executor_;
};

}  // namespace

std::shared_ptr<DispatchScheduler> dispatch_on(boost::asio::any_io_executor executor) {
  return std::make_shared<AsioScheduler>(std::move(executor));
}

namespace detail {

void publish_when_room(const Publisher& publisher, std::shared_ptr<PendingPublish> pending) {
  const auto& core = internal::CoreAccess::of(publisher);
  if (core == nullptr) return pending->complete({});
  core->publish_when_room(std::move(pending));
}

bool cancel_publish(const Publisher& publisher, const std::shared_ptr<PendingPublish>& pending) {
  const auto& core = internal::CoreAccess::of(publisher);
  return core != nullptr && core->cancel_publish(pending);
}

void when_flushed(const Publisher& publisher, std::function<void()> done) {
  const auto& core = internal::CoreAccess::of(publisher);
  if (core == nullptr) return done();
  core->when_flushed(std::move(done));
}

}  // namespace detail
}  // namespace sharingbus

#include "transport/grpc/internal/grpc_threads.hpp"

#include <utility>

#include <absl/synchronization/mutex.h>
#include <grpc/grpc.h>

namespace sharingbus::transport::internal {
namespace {

struct Nudge : grpc_completion_queue_functor {
  explicit Nudge(std::function<void()> work) : grpc_completion_queue_functor{}, fn(std::move(work)) {
    functor_run = [](grpc_completion_queue_functor* self, int) {
      const std::unique_ptr<Nudge> nudge(static_cast<Nudge*>(self));
      if (nudge->fn) nudge->fn();
    };
  }
  const std::function<void()> fn;
};

}  // namespace

void run_on_grpc_thread(std::function<void()> fn) {
  auto alarm = std::make_shared<grpc::Alarm>();
  // It keeps itself until it has fired.
  alarm->Set(std::chrono::system_clock::now(), [alarm, fn = std::move(fn)](bool) mutable {
    const auto last = std::move(alarm);
    fn();
  });
}

std::unique_ptr<grpc::Alarm> run_after(std::chrono::milliseconds delay, std::function<void()> fn) {
  auto alarm = std::make_unique<grpc::Alarm>();
  alarm->Set(std::chrono::system_clock::now() + delay, [fn = std::move(fn)](bool expired) {
    if (expired) fn();
  });
  return alarm;
}

void nudge(grpc_call* call, std::function<void()> fn) {
  auto functor = std::make_unique<Nudge>(std::move(fn));
  if (grpc_call_start_batch(call, nullptr, 0, functor.get(), nullptr) == GRPC_CALL_OK) {
    functor.release();
  } else if (functor->fn) {
    functor->fn();
  }
}

void spare_deadlock_search() {
  absl::SetMutexDeadlockDetectionMode(absl::OnDeadlockCycle::kIgnore);
}

}  // namespace sharingbus::transport::internal

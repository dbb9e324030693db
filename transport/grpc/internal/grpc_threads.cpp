#include "transport/grpc/internal/grpc_threads.hpp"

#include <utility>

#include <absl/synchronization/mutex.h>
#include <grpc/grpc.h>

namespace sharingbus::transport::internal {
namespace {

struct Nudge : grpc_completion_queue_functor {
  Nudge() : grpc_completion_queue_functor{} {
    functor_run = [](grpc_completion_queue_functor* self, int) { delete static_cast<Nudge*>(self); };
  }
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

void nudge(grpc_call* call) {
  auto functor = std::make_unique<Nudge>();
  if (grpc_call_start_batch(call, nullptr, 0, functor.get(), nullptr) == GRPC_CALL_OK) functor.release();
}

void spare_deadlock_search() {
  absl::SetMutexDeadlockDetectionMode(absl::OnDeadlockCycle::kIgnore);
}

}  // namespace sharingbus::transport::internal

#include "transport/grpc/internal/grpc_threads.hpp"

#include <utility>

#include <absl/synchronization/mutex.h>

namespace sharingbus::transport::internal {

std::unique_ptr<grpc::Alarm> run_after(std::chrono::milliseconds delay, std::function<void()> fn) {
  auto alarm = std::make_unique<grpc::Alarm>();
  alarm->Set(std::chrono::system_clock::now() + delay, [fn = std::move(fn)](bool expired) {
    if (expired) fn();
  });
  return alarm;
}

void spare_deadlock_search() {
  absl::SetMutexDeadlockDetectionMode(absl::OnDeadlockCycle::kIgnore);
}

}  // namespace sharingbus::transport::internal

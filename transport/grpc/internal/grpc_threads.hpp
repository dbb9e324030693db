#pragma once

#include <chrono>
#include <functional>
#include <memory>

#include <grpcpp/alarm.h>

namespace sharingbus::transport::internal {

/// Calls `fn` after `delay`, on a thread of gRPC, unless what is returned was destroyed before.
[[nodiscard]] std::unique_ptr<grpc::Alarm> run_after(std::chrono::milliseconds delay, std::function<void()> fn);

/// Turns off, for the whole process, the search for deadlocks in which Abseil's mutexes, and so all of gRPC's, take
/// part when Abseil was built without NDEBUG (Debian's was): each lock and unlock then passes one lock of the process,
/// and a graph of all mutexes, of which a call has several. It finds mistakes of gRPC's, not ours.
void spare_deadlock_search();

}  // namespace sharingbus::transport::internal

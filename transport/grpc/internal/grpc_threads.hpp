#pragma once

#include <chrono>
#include <functional>
#include <memory>

#include <grpcpp/alarm.h>

struct grpc_call;

namespace sharingbus::transport::internal {

/// Calls `fn` soon, on a thread of gRPC.
void run_on_grpc_thread(std::function<void()> fn);

/// Calls `fn` after `delay`, on a thread of gRPC, unless what is returned was destroyed before.
[[nodiscard]] std::unique_ptr<grpc::Alarm> run_after(std::chrono::milliseconds delay, std::function<void()> fn);

/// Gives one of the threads that run reactions something to do. Where gRPC has no background poller (Debian's has none)
/// each of them goes to sleep for 100 ms when it had nothing to do for a second (`nexting_thread` in gRPC's
/// completion_queue_cc.cc), and when all sleep, messages wait. A nudge every half second keeps one of them awake.
/// `call` must not end meanwhile. Calls `fn` there.
void nudge(grpc_call* call, std::function<void()> fn = nullptr);

/// Turns off, for the whole process, the search for deadlocks in which Abseil's mutexes, and so all of gRPC's, take
/// part when Abseil was built without NDEBUG (Debian's was): each lock and unlock then passes one lock of the process,
/// and a graph of all mutexes, of which a call has several. It finds mistakes of gRPC's, not ours.
void spare_deadlock_search();

}  // namespace sharingbus::transport::internal

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

}  // namespace sharingbus::transport::internal

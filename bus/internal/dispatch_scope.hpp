#pragma once

namespace sharingbus::internal {

class BusCore;

/// The buses that a thread is dispatching right now, innermost first.
struct DispatchFrame {
  const BusCore* core;
  const DispatchFrame* outer;
};
inline constinit thread_local const DispatchFrame* t_dispatch_frames = nullptr;

/// Marks this thread as the dispatcher, which makes publishing from inside callbacks re-entrant.
class DispatchScope {
 public:
  explicit DispatchScope(const BusCore& core) noexcept : frame_{&core, t_dispatch_frames} {
    t_dispatch_frames = &frame_;
  }
  ~DispatchScope() { t_dispatch_frames = frame_.outer; }
  DispatchScope(const DispatchScope&) = delete;
  DispatchScope& operator=(const DispatchScope&) = delete;

 private:
  DispatchFrame frame_;
};

}  // namespace sharingbus::internal

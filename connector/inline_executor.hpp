#pragma once

#include <utility>

namespace sharingbus::connector {

/// An executor that does everything in the caller. A completion of `Gateway::async_execute`, or of a call of
/// `AgentPool`, that is bound to it (`boost::asio::bind_executor`) is called by whoever brings the answer or finds that
/// none will come, which saves the hand-over to another thread; that may be a thread of the transport's. So it must not
/// block, and two of them may run at once. A cancellation signal of its slot must not be emitted at the same time.
struct InlineExecutor {
  template <class Function>
  void execute(Function&& function) const {
    std::forward<Function>(function)();
  }
  friend bool operator==(const InlineExecutor& /*a*/, const InlineExecutor& /*b*/) noexcept { return true; }
  friend bool operator!=(const InlineExecutor& /*a*/, const InlineExecutor& /*b*/) noexcept { return false; }
};

}  // namespace sharingbus::connector

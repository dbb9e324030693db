#pragma once

#include "bus/base/timer.hpp"
#include "bus/subscription.hpp"

namespace boost::asio {
class io_context;
}

namespace sharingbus::transport {

/// When looking for work before going to sleep is worth it: to sleep and be woken takes longer than many a wait, and
/// Linux prefers to wake whoever waits on a socket on the processor of the one who wrote, so that two processes that
/// ask and answer each other in microseconds take turns on one processor while another has nothing to do. No clock, no
/// I/O; one thread.
class WaitPolicy {
 public:
  /// How long `phased` looks at most.
  static constexpr Duration kLook = std::chrono::microseconds(200);
  /// Longer waits show that there is little to do, and are to be slept through.
  static constexpr Duration kShort = std::chrono::microseconds(400);
  /// `phased` looks after this many short waits in a row, so that single events now and then do not cost a look each.
  static constexpr int kShortWaits = 8;

  explicit WaitPolicy(WaitStrategy strategy) noexcept : strategy_(strategy) {}

  /// How long to look before going to sleep. Zero: not at all; `Duration::max()`: never sleep.
  [[nodiscard]] Duration look_for() const noexcept;
  /// Something came to do after so long, looking and sleeping taken together.
  void waited(Duration time) noexcept;

 private:
  const WaitStrategy strategy_;
  int short_waits_ = 0;
};

/// `context.run()`, but with a choice of how this thread waits: returns when `context` was stopped or has run out of
/// work. `block` is `context.run()`, and so is everything on a machine with one processor. `phased` looks for work as
/// `WaitPolicy` says, which costs nothing while there is little to do, and up to a core while waits are shorter than
/// 0.4 ms; `spin` looks all the time. Between looks other threads get their turn.
///
/// For a context that this thread alone runs: where several do, each look wakes another one; use `context.run()` there.
/// What handlers throw comes out of it, as it does out of `context.run()`.
void run(boost::asio::io_context& context, WaitStrategy wait);

}  // namespace sharingbus::transport

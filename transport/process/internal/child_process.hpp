#pragma once

#include <string>
#include <sys/types.h>
#include <vector>

#include "transport/byte_stream/internal/descriptor.hpp"
#include "transport/process/process_dialer.hpp"

namespace sharingbus::transport::internal {

/// How a child ended.
struct ExitState {
  int status = 0;
  int signal = 0;
  /// False when this program lets the kernel forget its children (SIGCHLD ignored).
  bool known = true;
};

/// `exited with status 3`, `killed by signal 9 (Killed)`.
[[nodiscard]] std::string to_string(const ExitState& exit);

/// A child that leads a process group, and our ends of its pipes. Signals reach it through its pidfd, and its group
/// only as long as it has not been reaped: until then the kernel gives its number to nobody else. One thread at a time.
class ChildProcess {
 public:
  /// Starts it and returns when its program runs. Errors: `connection_refused` with why it cannot run,
  /// `capacity_exceeded` when there are no descriptors or processes left.
  [[nodiscard]] static Result<ChildProcess> spawn(const ProcessDialerOptions& options);

  ChildProcess(ChildProcess&&) = default;
  ChildProcess& operator=(ChildProcess&&) = default;
  /// Kills and waits, unless it was reaped.
  ~ChildProcess();

  [[nodiscard]] pid_t pid() const noexcept { return pid_; }
  /// Readable once it has ended.
  [[nodiscard]] int pidfd() const noexcept { return pidfd_.get(); }
  [[nodiscard]] bool has_ended() const noexcept;
  /// To its whole group. Nothing happens once it was reaped.
  void signal_group(int signal) const;
  /// Kills what is left of the group, its leader too, and takes the child's number away. Waits for its end.
  [[nodiscard]] ExitState reap();

  /// Not blocking, and closed when a new program is loaded.
  UniqueFd input;
  UniqueFd output;
  UniqueFd errors;

 private:
  ChildProcess() = default;

  pid_t pid_ = 0;
  UniqueFd pidfd_;
};

}  // namespace sharingbus::transport::internal

#pragma once

#include <chrono>
#include <cstddef>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include <boost/asio/any_io_executor.hpp>

#include "bus/base/result.hpp"
#include "bus/base/timer.hpp"
#include "transport/dialer.hpp"
#include "transport/framing.hpp"
#include "transport/messages/process_events.hpp"

namespace sharingbus::transport {

struct ProcessDialerOptions {
  /// The program. With a slash it is a path, relative to `cwd`; without, it is looked for in the `PATH` that the child
  /// gets. No shell.
  std::string command;
  /// What follows the program's name.
  std::vector<std::string> args;
  /// Set in the child's environment, over what it inherits.
  std::map<std::string, std::string> env;
  /// Whether the child inherits this process's environment, as it is when the child starts.
  bool inherit_env = true;
  /// Where the child starts; empty: where this process is.
  std::string cwd;
  /// How the frames on standard input and output are cut. Required.
  std::shared_ptr<const Framing> framing;
  /// After `finish`, once everything was sent and its input closed: how long the child may take to end by itself before
  /// it gets SIGTERM.
  Duration stop_grace = std::chrono::seconds(5);
  /// How long after SIGTERM it gets SIGKILL.
  Duration kill_grace = std::chrono::seconds(5);
  /// The child gets SIGKILL when the thread that started it ends, and so when this process dies without a word. Threads
  /// of `executor` must then live as long as children do, as those of a fixed pool.
  bool kill_with_parent = true;
  /// Called with each line of the child's standard error, on the stream's executor; must not block or throw. Null: the
  /// lines are read and dropped.
  std::function<void(const ProcessStderr&)> on_stderr;
  /// Whether these lines are events on the stream's bus too, which its subscribers need room for.
  bool publish_stderr = false;
  /// Longer lines are cut into pieces of this size.
  std::size_t max_stderr_line_bytes = 4096;
  /// Lines beyond this are dropped and counted, within each second.
  std::size_t max_stderr_lines_per_second = 200;

  /// `invalid_argument`, naming the field.
  [[nodiscard]] Result<> validate() const;
};

/// Opens streams to children of this process: each `open` starts one, and its frames go over the child's standard input
/// and output. A child leads a process group of its own, inherits no other descriptors, and starts with no signal
/// blocked or ignored.
///
/// `StreamOpened` comes when the program runs; its `peer` is `pid 1234`. A program that cannot be run is a
/// `StreamClosed` with `connection_refused` that says why: `command not found`, `not executable`, `working directory
/// gone`; or `capacity_exceeded`, when there are no descriptors or processes left. The end of the child is seen at
/// once, without polling and without a handler for SIGCHLD, and is `ProcessExited`. `StreamClosed` comes when the child
/// was reaped and what it wrote was read, as far as there is credit: success when this side finished and the child
/// exited with 0, `stream_closed` when the child exited with 0 by itself, else `stream_failed` with how it ended
/// (`exited with status 3`, `killed by signal 9 (Killed)`), or the reason of `cancel`, or what was wrong with its
/// frames.
///
/// `finish` sends what is queued and closes the child's input; after `stop_grace` its group gets SIGTERM, `kill_grace`
/// later SIGKILL. `cancel`, and a frame that is none, are SIGTERM at once and SIGKILL after `kill_grace`. A child that
/// closes its output or its input, but lives, is stopped like with `finish`. When the child has ended, what is left of
/// its group is killed; what left the group on its own is its own. Signals go to pidfds, and to the group while its
/// leader has not been reaped, never to a number that somebody else may have by now.
///
/// Any thread. Works on the executor that it is given, each stream on a strand of it, so it may have many threads;
/// starting a child keeps one of them busy until the program is loaded. Context and timers must outlive the dialer and
/// the last `StreamClosed`.
class ProcessDialer final : public Dialer {
 public:
  /// Starts nothing yet. Throws `std::invalid_argument` when `options.validate()` fails.
  ProcessDialer(boost::asio::any_io_executor executor, TimerService& timers, ProcessDialerOptions options);
  /// Cancels what is open; the rest happens on the executor.
  ~ProcessDialer() override;
  ProcessDialer(const ProcessDialer&) = delete;
  ProcessDialer& operator=(const ProcessDialer&) = delete;

  std::shared_ptr<Link> open(StreamOptions options, std::string first_frame) override;
  void close(std::function<void()> done) override;
  /// Channels are children.
  [[nodiscard]] DialerStats stats() const override;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace sharingbus::transport

#include "transport/process/internal/process_link.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <ctime>
#include <pthread.h>
#include <sys/ioctl.h>
#include <utility>

namespace sharingbus::transport::internal {
namespace {

constexpr std::size_t kErrorChunkBytes = 4096;
constexpr int kErrorChunksPerTurn = 16;

/// Lets a write to a pipe that nobody reads fail with EPIPE and nothing else, whatever the program does with SIGPIPE.
class NoSigpipe {
 public:
  NoSigpipe() {
    ::sigemptyset(&sigpipe_);
    ::sigaddset(&sigpipe_, SIGPIPE);
    sigset_t pending;
    ::sigpending(&pending);
    was_pending_ = ::sigismember(&pending, SIGPIPE) == 1;
    ::pthread_sigmask(SIG_BLOCK, &sigpipe_, &before_);
  }
  ~NoSigpipe() {
    const int error = errno;
    if (error == EPIPE && !was_pending_) {
      const timespec now{};
      while (::sigtimedwait(&sigpipe_, nullptr, &now) < 0 && errno == EINTR) {
      }
    }
    ::pthread_sigmask(SIG_SETMASK, &before_, nullptr);
    errno = error;
  }
  NoSigpipe(const NoSigpipe&) = delete;
  NoSigpipe& operator=(const NoSigpipe&) = delete;

 private:
  sigset_t sigpipe_{};
  sigset_t before_{};
  bool was_pending_ = false;
};

/// What a pipe holds.
std::size_t readable(Descriptor& pipe) {
  int bytes = 0;
  return ::ioctl(pipe.native_handle(), FIONREAD, &bytes) == 0 && bytes > 0 ? static_cast<std::size_t>(bytes) : 0;
}

}  // namespace

ProcessLink::ProcessLink(const ByteLinkContext& context, StreamOptions options,
                         std::shared_ptr<const ProcessDialerOptions> process)
    : ByteLink(context, options),
      process_(std::move(process)),
      bus_(options.publisher),
      routing_(std::move(options.routing)),
      origin_(options.origin) {
  routing_.connector_uid = uid();
  routing_.kind = EventKind::stream;
}

template <class T>
void ProcessLink::publish(T payload) {
  bus_.publish(std::move(payload), routing_, origin_, id());
}

// --- beginning -------------------------------------------------------------------------------------------------------

void ProcessLink::begin() {
  auto spawned = ChildProcess::spawn(*process_);
  if (!spawned) return break_with(std::move(spawned).error());
  child_.emplace(std::move(*spawned));
  name_ = "pid " + std::to_string(child_->pid());
  if (auto watching = watch(); !watching) {
    reap();
    return break_with(std::move(watching).error());
  }
  lines_.emplace(process_->max_stderr_line_bytes, process_->max_stderr_lines_per_second,
                 [this](std::string line, std::uint64_t dropped) { on_stderr_line(std::move(line), dropped); });
  watch_end();
  opened(name_, 0);
  if (!ended()) read_errors();
}

/// Registers the child's descriptors.
Result<> ProcessLink::watch() {
  const auto assign = [this](std::optional<Descriptor>& descriptor, int fd) -> Result<> {
    boost::system::error_code failed;
    descriptor.emplace(strand());
    descriptor->assign(fd, failed);
    if (failed) return Error(errc::capacity_exceeded, "the child cannot be waited for: " + failed.message());
    return {};
  };
  if (auto attached = attach(std::move(child_->output), std::move(child_->input)); !attached) return attached;
  if (auto assigned = assign(end_, child_->pidfd()); !assigned) return assigned;
  if (auto assigned = assign(errors_, child_->errors.get()); !assigned) return assigned;
  static_cast<void>(child_->errors.release());
  return {};
}

void ProcessLink::watch_end() {
  end_->async_wait(Descriptor::wait_read, [this, self = shared_from_this()](const boost::system::error_code& aborted) {
    if (aborted || ended() || exit_) return;
    // A wait may complete for an event of the descriptor that had the number before, and reaping kills who still lives.
    child_->has_ended() ? child_ended() : watch_end();
  });
}

void ProcessLink::on_opened() {
  publish(ProcessStarted{child_->pid()});
}

// --- ending ----------------------------------------------------------------------------------------------------------

ssize_t ProcessLink::write_some(const iovec* pieces, int count) {
  const NoSigpipe no_sigpipe;
  const ssize_t written = ::writev(output().native_handle(), pieces, count);
  if (written > 0) bytes_written_ += static_cast<std::uint64_t>(written);
  return written;
}

void ProcessLink::end_writes() {
  close_output();
  stop();
}

void ProcessLink::on_finishing() {
  if (stop_timer_ == 0) stop();
}

void ProcessLink::on_write_error() {
  close_output();
  stop();
}

/// It should end by itself now, and has `stop_grace` for it.
void ProcessLink::stop() {
  if (exit_ || terminated_ || !child_) return;
  const TimerId before = stop_timer_;
  arm_stop_timer();
  if (before != 0) timers().cancel(before);
}

void ProcessLink::arm_stop_timer() {
  bytes_at_arming_ = bytes_written_;
  stop_timer_ = after(process_->stop_grace, [this, number = ++stop_number_] {
    if (number != stop_number_ || exit_ || terminated_) return;
    stop_timer_ = 0;
    // It still reads what was queued for it.
    if (bytes_written_ != bytes_at_arming_) return arm_stop_timer();
    terminate();
  });
}

void ProcessLink::terminate() {
  if (exit_ || std::exchange(terminated_, true)) return;
  if (stop_timer_ != 0) timers().cancel(std::exchange(stop_timer_, 0));
  child_->signal_group(SIGTERM);
  // Who is stopped sees SIGTERM only when he goes on.
  child_->signal_group(SIGCONT);
  kill_timer_ = after(process_->kill_grace, [this] {
    kill_timer_ = 0;
    kill();
  });
}

void ProcessLink::kill() {
  if (exit_ || std::exchange(killed_, true)) return;
  child_->signal_group(SIGKILL);
  if (ended_child_) reap();
}

void ProcessLink::child_ended() {
  ended_child_ = true;
  // After SIGTERM the others of its group, of whom it may be a mere shell, end in their own time: while they live they
  // hold its output open, as a rule.
  if (terminated_ && !killed_ && !read_ended()) return;
  reap();
}

void ProcessLink::reap() {
  if (exit_) return;
  // The wait must be off the descriptor before that goes.
  if (end_ && end_->is_open()) end_->release();
  end_.reset();
  exit_ = child_->reap();
  if (stop_timer_ != 0) timers().cancel(std::exchange(stop_timer_, 0));
  if (kill_timer_ != 0) timers().cancel(std::exchange(kill_timer_, 0));
  if (!lines_) return;
  read_errors();
  lines_->end(timers().now());
  errors_.reset();
  publish(ProcessExited{child_->pid(), exit_->status, exit_->signal});
  if (read_ended()) return close(outcome());
  // What it wrote is in the pipe. Somebody else who has the other end may go on writing for ever.
  limit_reads(readable(input()));
}

void ProcessLink::on_read_end(Error broken) {
  if (broken && !broken_) broken_ = std::move(broken);
  if (ended_child_ && !exit_) return reap();
  if (exit_) {
    // Only now: a stream that has finished reads on without credit.
    note_peer_finished();
    return close(outcome());
  }
  if (!reason()) peer_finished();
}

void ProcessLink::break_off() {
  if (!child_ || exit_) return close(*reason());
  terminate();
  // Only now, or it could take that for the good order which it is not.
  close_output();
  if (ended_child_) return reap();
  // What it still writes is dropped, so that it cannot get stuck in that.
  read_soon();
}

Error ProcessLink::outcome() const {
  if (reason()) return *reason();
  const std::string how = name_ + " " + to_string(*exit_);
  if (broken_) return {errc::stream_failed, broken_.message + "; " + how};
  if (write_error()) return {errc::stream_failed, write_error()->message + "; " + how};
  if (exit_->status != 0 || exit_->signal != 0 || !exit_->known) return {errc::stream_failed, how};
  return good_order(how);
}

void ProcessLink::release() {
  if (stop_timer_ != 0) timers().cancel(std::exchange(stop_timer_, 0));
  if (kill_timer_ != 0) timers().cancel(std::exchange(kill_timer_, 0));
  if (end_ && end_->is_open()) end_->release();
  end_.reset();
  errors_.reset();
  child_.reset();
}

// --- standard error --------------------------------------------------------------------------------------------------

void ProcessLink::read_errors() {
  if (!errors_) return;
  // After its end: what is there, and no more, as others may go on writing.
  std::size_t left = exit_ ? readable(*errors_) : kErrorChunkBytes * kErrorChunksPerTurn;
  std::array<char, kErrorChunkBytes> chunk;
  while (left != 0) {
    const ssize_t count = ::read(errors_->native_handle(), chunk.data(), std::min(left, chunk.size()));
    if (count < 0 && errno == EINTR) continue;
    if (count < 0 && errno == EAGAIN) break;
    if (count <= 0) return errors_.reset();
    left -= static_cast<std::size_t>(count);
    lines_->add({chunk.data(), static_cast<std::size_t>(count)}, timers().now());
  }
  if (exit_) return;
  errors_->async_wait(Descriptor::wait_read,
                      [this, self = shared_from_this()](const boost::system::error_code& aborted) {
                        if (!aborted && !ended()) read_errors();
                      });
}

void ProcessLink::on_stderr_line(std::string line, std::uint64_t dropped_before) {
  ProcessStderr event{child_->pid(), std::move(line), dropped_before};
  if (process_->on_stderr) process_->on_stderr(event);
  if (process_->publish_stderr) publish(std::move(event));
}

}  // namespace sharingbus::transport::internal

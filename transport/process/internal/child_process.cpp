#include "transport/process/internal/child_process.hpp"

#include <array>
#include <cerrno>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <fcntl.h>
#include <linux/close_range.h>
#include <memory>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include <utility>

#include <sched.h>

/// For what runs between clone and exec.
#define SHARINGBUS_PLAIN_CODE [[gnu::no_sanitize("address", "thread", "undefined")]]

/// The C library's other name of clone. ThreadSanitizer takes clone over, as if the child had memory of its own: its
/// notes for the child, that nothing it does counts, would be those of the thread that is suspended here.
extern "C" int __clone(int (*run)(void*), void* stack, int flags, void* argument, ...);

namespace sharingbus::transport::internal {
namespace {

constexpr int kStandardStreams = 3;
constexpr std::size_t kStackBytes = std::size_t{64} * 1024;
/// What the kernel takes for a set of signals.
constexpr std::size_t kKernelSignalSetBytes = 8;

/// PIDFD_SIGNAL_PROCESS_GROUP, which the C library's headers may not have yet.
constexpr unsigned kSignalProcessGroup = 1U << 2;

enum class Step : std::uint8_t { prepare, change_folder, execute };

/// What the child needs; it shares the memory of its parent, who is suspended until the child's program is loaded.
struct Launch {
  int streams[kStandardStreams] = {};
  pid_t parent = 0;
  bool kill_with_parent = false;
  const char* cwd = nullptr;
  /// Where the program may be, in order; the last one is null.
  const char* const* programs = nullptr;
  char* const* arguments = nullptr;
  char* const* environment = nullptr;

  /// From the child.
  Step step = Step::prepare;
  int error = 0;
};

/// In the child too: takes the error of a system call.
SHARINGBUS_PLAIN_CODE bool failed(Launch& launch, long result) {
  if (result >= 0) return false;
  launch.error = errno;
  return true;
}

/// Runs in the child, on a stack of its own but in the parent's memory: system calls, and nothing that a sanitizer or
/// the C library would keep books about. What it returns becomes its exit status, when no program was loaded.
SHARINGBUS_PLAIN_CODE int run_child(void* argument) {
  auto& launch = *static_cast<Launch*>(argument);
  // Its own group before anything can go wrong with it.
  if (failed(launch, ::syscall(SYS_setpgid, 0, 0))) return 1;
  if (launch.kill_with_parent) {
    if (failed(launch, ::syscall(SYS_prctl, PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0))) return 1;
    // It may have died just before.
    if (::syscall(SYS_getppid) != launch.parent) return 1;
  }
  // No signal is ignored or blocked: all zero is the default action, and the empty set. Some signals cannot be set.
  const std::uint64_t zero[4] = {};
  for (int signal = 1; signal <= 64; ++signal)
    ::syscall(SYS_rt_sigaction, signal, zero, nullptr, kKernelSignalSetBytes);
  for (int stream = 0; stream < kStandardStreams; ++stream) {
    if (failed(launch, ::syscall(SYS_dup3, launch.streams[stream], stream, 0))) return 1;
  }
  // For descriptors that others opened without the flag. Old kernels have no such call, and then these leak.
  ::syscall(SYS_close_range, kStandardStreams, ~0U, CLOSE_RANGE_CLOEXEC);
  if (launch.cwd != nullptr) {
    launch.step = Step::change_folder;
    if (failed(launch, ::syscall(SYS_chdir, launch.cwd))) return 1;
  }
  launch.step = Step::execute;
  ::syscall(SYS_rt_sigprocmask, SIG_SETMASK, zero, nullptr, kKernelSignalSetBytes);
  // Told to the parent only when all have failed.
  int error = ENOENT;
  for (const char* const* program = launch.programs; *program != nullptr; ++program) {
    ::syscall(SYS_execve, *program, launch.arguments, launch.environment);
    if (errno == ENOENT || errno == ENOTDIR) continue;
    error = errno;
    if (error != EACCES) break;
  }
  launch.error = error;
  return 1;
}

struct Pipe {
  UniqueFd read;
  UniqueFd write;
};

/// Both ends above the standard streams, which the child's ends become.
[[nodiscard]] int make_pipe(Pipe& pipe) {
  std::array<int, 2> ends{};
  if (::pipe2(ends.data(), O_CLOEXEC) != 0) return errno;
  pipe.read.reset(ends[0]);
  pipe.write.reset(ends[1]);
  for (UniqueFd* end : {&pipe.read, &pipe.write}) {
    if (end->get() >= kStandardStreams) continue;
    const int moved = ::fcntl(end->get(), F_DUPFD_CLOEXEC, kStandardStreams);
    if (moved < 0) return errno;
    end->reset(moved);
  }
  return 0;
}

void set_nonblocking(const UniqueFd& fd) {
  ::fcntl(fd.get(), F_SETFL, ::fcntl(fd.get(), F_GETFL) | O_NONBLOCK);
}

/// A null-terminated array of pointers into `texts`.
std::vector<char*> pointers(std::vector<std::string>& texts) {
  std::vector<char*> result;
  result.reserve(texts.size() + 1);
  for (std::string& text : texts)
    result.push_back(text.data());
  result.push_back(nullptr);
  return result;
}

std::vector<std::string> environment_of(const ProcessDialerOptions& options) {
  std::vector<std::string> result;
  for (char** entry = options.inherit_env ? ::environ : nullptr; entry != nullptr && *entry != nullptr; ++entry) {
    const std::string_view text(*entry);
    if (!options.env.contains(std::string(text.substr(0, text.find('='))))) result.emplace_back(text);
  }
  for (const auto& [name, value] : options.env)
    result.push_back(name + "=" + value);
  return result;
}

/// Where to look for the program: as execvp does it, but with the child's own PATH.
std::vector<std::string> programs_of(const std::string& command, const std::vector<std::string>& environment) {
  if (command.find('/') != std::string::npos) return {command};
  std::string_view path = "/usr/local/bin:/usr/bin:/bin";
  for (const std::string& entry : environment) {
    if (entry.starts_with("PATH=")) path = std::string_view(entry).substr(5);
  }
  std::vector<std::string> result;
  for (;;) {
    const std::size_t colon = path.find(':');
    const std::string_view folder = path.substr(0, colon);
    result.push_back(folder.empty() ? command : std::string(folder) + "/" + command);
    if (colon == std::string_view::npos) return result;
    path.remove_prefix(colon + 1);
  }
}

Error launch_error(const Launch& launch, const ProcessDialerOptions& options) {
  const std::string command = "'" + options.command + "'";
  const auto refused = [](std::string why) { return Error(errc::connection_refused, std::move(why)); };
  const std::string system = system_text(launch.error);
  if (launch.step == Step::prepare) return {errc::capacity_exceeded, "starting " + command + " failed: " + system};
  if (launch.step == Step::change_folder) {
    if (launch.error == ENOENT || launch.error == ENOTDIR) {
      return refused("working directory gone: '" + options.cwd + "'");
    }
    return refused("working directory '" + options.cwd + "': " + system);
  }
  switch (launch.error) {
    case ENOENT:
    case ENOTDIR:
      // A script whose interpreter is missing looks the same to the kernel.
      if (options.command.starts_with('/') && ::access(options.command.c_str(), F_OK) == 0) {
        return refused("not executable: " + command + " names an interpreter that is not there");
      }
      return refused("command not found: " + command);
    case EACCES:
    case ENOEXEC:
      return refused("not executable: " + command + ": " + system);
    default:
      return refused("executing " + command + " failed: " + system);
  }
}

/// All signals, so that no handler of ours runs in the child.
class AllSignalsBlocked {
 public:
  AllSignalsBlocked() {
    sigset_t all;
    ::sigfillset(&all);
    ::pthread_sigmask(SIG_SETMASK, &all, &before_);
  }
  ~AllSignalsBlocked() { ::pthread_sigmask(SIG_SETMASK, &before_, nullptr); }
  AllSignalsBlocked(const AllSignalsBlocked&) = delete;
  AllSignalsBlocked& operator=(const AllSignalsBlocked&) = delete;

 private:
  sigset_t before_{};
};

struct Cloned {
  pid_t pid = -1;
  int pidfd = -1;
  int error = 0;
};

/// As vfork, with a pidfd: returns when the child has loaded its program or ended.
Cloned clone_child(Launch& launch) {
  // Not touched by the parent, so it costs only the pages that the child needs.
  const std::unique_ptr<std::byte[]> stack(new std::byte[kStackBytes]);
  auto top = reinterpret_cast<std::uintptr_t>(stack.get() + kStackBytes);
  top -= top % 16;
  Cloned cloned;
  const AllSignalsBlocked blocked;
  cloned.pid = ::__clone(&run_child, reinterpret_cast<void*>(top), CLONE_VM | CLONE_VFORK | CLONE_PIDFD | SIGCHLD,
                         &launch, &cloned.pidfd);
  if (cloned.pid < 0) cloned.error = errno;
  return cloned;
}

}  // namespace

std::string to_string(const ExitState& exit) {
  if (!exit.known) return "ended, and its status was taken by somebody else";
  if (exit.signal == 0) return "exited with status " + std::to_string(exit.status);
  const char* name = ::sigdescr_np(exit.signal);
  return "killed by signal " + std::to_string(exit.signal) + (name != nullptr ? " (" + std::string(name) + ")" : "");
}

Result<ChildProcess> ChildProcess::spawn(const ProcessDialerOptions& options) {
  std::array<Pipe, kStandardStreams> pipes;
  for (Pipe& pipe : pipes) {
    if (const int error = make_pipe(pipe); error != 0) {
      return Error(errc::capacity_exceeded, "starting '" + options.command + "' failed: " + system_text(error));
    }
  }
  std::vector<std::string> arguments{options.command};
  arguments.insert(arguments.end(), options.args.begin(), options.args.end());
  std::vector<std::string> environment = environment_of(options);
  std::vector<std::string> programs = programs_of(options.command, environment);
  const auto argument_pointers = pointers(arguments);
  const auto environment_pointers = pointers(environment);
  const auto program_pointers = pointers(programs);

  Launch launch;
  launch.streams[0] = pipes[0].read.get();
  launch.streams[1] = pipes[1].write.get();
  launch.streams[2] = pipes[2].write.get();
  launch.parent = ::getpid();
  launch.kill_with_parent = options.kill_with_parent;
  launch.cwd = options.cwd.empty() ? nullptr : options.cwd.c_str();
  launch.programs = program_pointers.data();
  launch.arguments = argument_pointers.data();
  launch.environment = environment_pointers.data();
  const Cloned cloned = clone_child(launch);
  if (cloned.pid < 0) {
    return Error(errc::capacity_exceeded, "starting '" + options.command + "' failed: " + system_text(cloned.error));
  }
  ChildProcess child;
  child.pid_ = cloned.pid;
  child.pidfd_.reset(cloned.pidfd);
  // On an error the child has ended, and its destructor reaps it.
  if (launch.error != 0) return launch_error(launch, options);
  child.input = std::move(pipes[0].write);
  child.output = std::move(pipes[1].read);
  child.errors = std::move(pipes[2].read);
  for (const UniqueFd* fd : {&child.input, &child.output, &child.errors})
    set_nonblocking(*fd);
  return child;
}

ChildProcess::~ChildProcess() {
  if (!pidfd_) return;
  signal_group(SIGKILL);
  static_cast<void>(reap());
}

void ChildProcess::signal_group(int signal) const {
  if (!pidfd_) return;
  if (::syscall(SYS_pidfd_send_signal, pidfd_.get(), signal, nullptr, kSignalProcessGroup) == 0 || errno != EINVAL) {
    return;
  }
  // Before Linux 6.9. Not when somebody else takes the statuses of all children, as then the number may be another's.
  siginfo_t info{};
  if (::waitid(P_PIDFD, static_cast<id_t>(pidfd_.get()), &info, WEXITED | WNOHANG | WNOWAIT) == 0)
    ::kill(-pid_, signal);
}

bool ChildProcess::has_ended() const noexcept {
  pollfd ended{pidfd_.get(), POLLIN, 0};
  return ::poll(&ended, 1, 0) == 1;
}

ExitState ChildProcess::reap() {
  if (!pidfd_) return {};
  // While the leader's number is still its own.
  signal_group(SIGKILL);
  // The descriptor is not blocking, so waitid would not wait.
  pollfd ended{pidfd_.get(), POLLIN, 0};
  while (::poll(&ended, 1, -1) < 0 && errno == EINTR) {
  }
  siginfo_t info{};
  const bool known = ::waitid(P_PIDFD, static_cast<id_t>(pidfd_.get()), &info, WEXITED) == 0;
  pidfd_.reset();
  if (!known) return {0, 0, false};
  return info.si_code == CLD_EXITED ? ExitState{info.si_status, 0} : ExitState{0, info.si_status};
}

}  // namespace sharingbus::transport::internal

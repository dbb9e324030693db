// Children with every fault (issue: lifecycle of services; spec 5, O1 and O9). Time is virtual, processes are real.
#include <algorithm>
#include <csignal>
#include <fstream>
#include <mutex>
#include <optional>
#include <poll.h>
#include <string>
#include <sys/stat.h>
#include <sys/wait.h>
#include <thread>
#include <vector>

#include "tests/support/poll_until.hpp"
#include "tests/transport/byte_stream_rig.hpp"
#include "transport/process/internal/child_process.hpp"
#include "transport/process/internal/stderr_lines.hpp"
#include "transport/process/process_dialer.hpp"

namespace sharingbus::test {
namespace {

using namespace transport;
using std::chrono::seconds;

constexpr auto kPatience = seconds(40);

/// Not there, or dead and waiting for whoever has to reap it.
bool is_gone(int pid) {
  std::ifstream file("/proc/" + std::to_string(pid) + "/stat");
  std::string text;
  if (!std::getline(file, text)) return true;
  const char state = text.at(text.rfind(')') + 2);
  return state == 'Z' || state == 'X';
}

class Processes : public ByteStreamRig {
 protected:
  ProcessDialerOptions shell(const std::string& script) {
    ProcessDialerOptions options;
    options.command = "sh";
    options.args = {"-c", script};
    options.framing = framing;
    options.stop_grace = seconds(20);
    options.kill_grace = seconds(10);
    options.on_stderr = [this](const ProcessStderr& line) {
      const std::scoped_lock lock(mutex);
      lines.push_back(line);
    };
    return options;
  }
  ProcessDialer& dialer_of(ProcessDialerOptions options) {
    return *dialers.emplace_back(std::make_unique<ProcessDialer>(threads.executor(), timers, std::move(options)));
  }
  StreamRecord& start(ProcessDialerOptions options, Credit credit = kPlenty) {
    return open(dialer_of(std::move(options)), stream_options(credit));
  }
  StreamRecord& start(const std::string& script, Credit credit = kPlenty) { return start(shell(script), credit); }
  /// A child that has said that it is ready.
  StreamRecord& start_ready(const std::string& before, const std::string& after) {
    StreamRecord& stream = start(before + "; printf '\\000\\000\\000\\006Cready'; " + after);
    EXPECT_TRUE(client.gets(stream, 1)) << stream.ending();
    return stream;
  }
  static int pid_of(const StreamRecord& stream) {
    const auto* started = stream.other<ProcessStarted>();
    return started != nullptr ? started->pid : 0;
  }
  /// The number that the child wrote to its standard error.
  int number_from_stderr() {
    EXPECT_TRUE(poll_until([&] { return !stderr_lines().empty(); }, kPatience));
    return std::stoi(stderr_lines().at(0).line);
  }
  std::vector<ProcessStderr> stderr_lines() {
    const std::scoped_lock lock(mutex);
    return lines;
  }
  /// Lets the next timer fire, once there is one.
  void next_timer_fires(Duration after) {
    ASSERT_TRUE(poll_until([&] { return timers.pending() != 0; }, kPatience));
    EXPECT_EQ(*timers.next_deadline() - timers.now(), after);
    timers.advance(after);
  }
  void expect_failed(StreamRecord& stream, const std::string& how) {
    ASSERT_TRUE(client.closes(stream));
    EXPECT_TRUE(stream.closed_with(errc::stream_failed)) << stream.ending();
    EXPECT_NE(stream.ending().find(how), std::string::npos) << stream.ending();
  }
  void TearDown() override {
    for (const auto& each : dialers)
      close_and_wait(*each);
    EXPECT_EQ(timers.pending(), 0U);
    EXPECT_EQ(::waitpid(-1, nullptr, WNOHANG), -1) << "a child is left";
    EXPECT_EQ(errno, ECHILD);
  }

  std::mutex mutex;
  std::vector<ProcessStderr> lines;
  std::vector<std::unique_ptr<ProcessDialer>> dialers;
};

TEST_F(Processes, Frames_ThroughACat_ComeBack) {
  StreamRecord& stream = start("cat");
  ASSERT_TRUE(client.opens(stream)) << stream.ending();
  std::vector<std::string> frames;
  for (int i = 0; i < 200; ++i) {
    frames.push_back("C" + std::string(static_cast<std::size_t>(i) * 10, 'x'));
    ASSERT_EQ(stream.link->send(frames.back()), SendStatus::queued);
  }
  ASSERT_TRUE(client.gets(stream, frames.size()));
  EXPECT_EQ(stream.frames, frames);
  stream.link->finish();
  ASSERT_TRUE(client.closes(stream));
  EXPECT_FALSE(stream.closed->error) << stream.ending();
}

TEST_F(Processes, Events_TellPidAndExit) {
  StreamRecord& stream = start("exit 3");
  expect_failed(stream, "exited with status 3");
  const int pid = pid_of(stream);
  ASSERT_NE(pid, 0);
  EXPECT_EQ(stream.opened->peer, "pid " + std::to_string(pid));
  EXPECT_EQ(stream.ending().find("pid " + std::to_string(pid)) != std::string::npos, true) << stream.ending();
  const auto* exited = stream.other<ProcessExited>();
  ASSERT_NE(exited, nullptr);
  EXPECT_EQ(exited->pid, pid);
  EXPECT_EQ(exited->status, 3);
  EXPECT_EQ(exited->signal, 0);
  EXPECT_EQ(stream.others.front()->source(), stream.link->id());
}

TEST_F(Processes, Exit_ByItselfWithZero_IsStreamClosedAfterItsFrames) {
  StreamRecord& stream = start("printf '\\000\\000\\000\\005Clast'; exit 0");
  ASSERT_TRUE(client.closes(stream));
  EXPECT_TRUE(stream.closed_with(errc::stream_closed)) << stream.ending();
  EXPECT_NE(stream.ending().find("exited with status 0"), std::string::npos) << stream.ending();
  EXPECT_EQ(stream.frames, std::vector<std::string>{"Clast"});
}

TEST_F(Processes, Exit_WithUnreadFrames_DeliversThemAsCreditComes) {
  StreamRecord& stream = start("printf '\\000\\000\\000\\002C1\\000\\000\\000\\002C2'; exit 0", kNone);
  ASSERT_TRUE(client.wait([&] { return stream.other<ProcessExited>() != nullptr; }));
  EXPECT_TRUE(is_gone(pid_of(stream)));
  EXPECT_TRUE(stream.frames.empty());
  EXPECT_FALSE(stream.closed);
  stream.link->grant({1, 1});
  ASSERT_TRUE(client.gets(stream, 1));
  stream.link->grant(kPlenty);
  ASSERT_TRUE(client.closes(stream));
  EXPECT_EQ(stream.frames, (std::vector<std::string>{"C1", "C2"}));
  EXPECT_TRUE(stream.closed_with(errc::stream_closed)) << stream.ending();
}

TEST_F(Processes, Exit_WithNothingUnread_NeedsNoCredit) {
  StreamRecord& stream = start("exit 7", kNone);
  expect_failed(stream, "exited with status 7");
}

TEST_F(Processes, Killed_FromOutside_SaysBySignal) {
  StreamRecord& stream = start_ready("true", "exec sleep 1000");
  ::kill(pid_of(stream), SIGKILL);
  expect_failed(stream, "killed by signal 9 (Killed)");
  EXPECT_EQ(stream.other<ProcessExited>()->signal, SIGKILL);
}

TEST_F(Processes, Exit_StatusTakenByTheProgram_EndsAllTheSame) {
  std::signal(SIGCHLD, SIG_IGN);
  StreamRecord& stream = start("cat");
  ASSERT_TRUE(client.opens(stream));
  stream.link->finish();
  expect_failed(stream, "its status was taken by somebody else");
  std::signal(SIGCHLD, SIG_DFL);
}

TEST_F(Processes, KillWithParent_EndsWithTheThreadThatStartedIt) {
  for (const bool with_parent : {true, false}) {
    ProcessDialerOptions options = shell("exec sleep 1000");
    options.kill_with_parent = with_parent;
    std::optional<transport::internal::ChildProcess> child;
    std::thread([&] { child.emplace(std::move(*transport::internal::ChildProcess::spawn(options))); }).join();
    if (!with_parent) child->signal_group(SIGTERM);
    pollfd ended{child->pidfd(), POLLIN, 0};
    ASSERT_EQ(::poll(&ended, 1, 40'000), 1);
    EXPECT_EQ(child->reap().signal, with_parent ? SIGKILL : SIGTERM);
  }
}

TEST_F(Processes, CannotRun_EachReasonIsNamed) {
  struct Case {
    std::string command;
    std::string cwd;
    std::string says;
  };
  const std::string plain_file = folder / "plain";
  std::ofstream(plain_file) << "text\n";
  const std::string no_interpreter = folder / "script";
  std::ofstream(no_interpreter) << "#!/nowhere/interpreter\n";
  const std::string empty_program = folder / "data";
  std::ofstream(empty_program) << "\x7f no program";
  ::chmod(no_interpreter.c_str(), 0755);
  ::chmod(empty_program.c_str(), 0755);
  for (const auto& [command, cwd, says] :
       {Case{"no-such-command-here", "", "command not found: 'no-such-command-here'"},
        Case{"/no/such/path", "", "command not found: '/no/such/path'"}, Case{plain_file, "", "not executable"},
        Case{no_interpreter, "", "interpreter"}, Case{empty_program, "", "not executable"},
        Case{"true", folder / "gone", "working directory gone: '" + (folder / "gone") + "'"}}) {
    ProcessDialerOptions options = shell("");
    options.command = command;
    options.cwd = cwd;
    StreamRecord& stream = start(std::move(options));
    ASSERT_TRUE(client.closes(stream));
    EXPECT_FALSE(stream.opened);
    EXPECT_TRUE(stream.closed_with(errc::connection_refused)) << stream.ending();
    EXPECT_NE(stream.ending().find(says), std::string::npos) << stream.ending();
  }
}

TEST_F(Processes, Setting_ArgsEnvCwdAndGroup_AreTheChilds) {
  ProcessDialerOptions options = shell(
      "echo \"$0|$1|$SB_ADDED|$HOME|$PWD\" >&2; cut -d' ' -f5 /proc/$$/stat >&2; echo $(ls /proc/self/fd) >&2; "
      // What the shell hands on, for it blocks signals itself while it starts another program.
      "grep -E 'SigBlk|SigIgn' /proc/self/status >&2");
  options.args.insert(options.args.end(), {"zero", "one two"});
  options.env = {{"SB_ADDED", "yes"}, {"HOME", "/elsewhere"}};
  options.cwd = folder.path();
  std::signal(SIGPIPE, SIG_IGN);
  // Not closed on exec by itself.
  const int leaked = ::dup(STDIN_FILENO);
  StreamRecord& stream = start(std::move(options));
  ASSERT_TRUE(client.closes(stream));
  ::close(leaked);
  std::signal(SIGPIPE, SIG_DFL);
  EXPECT_TRUE(stream.closed_with(errc::stream_closed)) << stream.ending();
  const auto said = stderr_lines();
  ASSERT_EQ(said.size(), 5U);
  EXPECT_EQ(said[0].line, "zero|one two|yes|/elsewhere|" + folder.path().string());
  EXPECT_EQ(said[1].line, std::to_string(pid_of(stream))) << "the group is its own";
  EXPECT_EQ(said[2].line, "0 1 2 3") << "the last one is that of ls itself";
  EXPECT_EQ(said[3].line, "SigBlk:\t0000000000000000");
  EXPECT_EQ(said[4].line, "SigIgn:\t0000000000000000");
}

TEST_F(Processes, Environment_NotInherited_HasOnlyWhatWasSet) {
  ProcessDialerOptions options = shell("/usr/bin/env >&2");
  options.inherit_env = false;
  options.env = {{"ONLY", "this"}};
  StreamRecord& stream = start(std::move(options));
  ASSERT_TRUE(client.closes(stream));
  bool found = false;
  for (const ProcessStderr& line : stderr_lines()) {
    found = found || line.line == "ONLY=this";
    EXPECT_FALSE(line.line.starts_with("HOME=")) << line.line;
  }
  EXPECT_TRUE(found);
}

TEST_F(Processes, Finish_IgnoresInputAndSigterm_IsKilledAfterBothGraces) {
  StreamRecord& stream = start_ready("trap '' TERM", "while :; do sleep 1000 & wait; done");
  stream.link->finish();
  next_timer_fires(seconds(20));
  ASSERT_TRUE(poll_until([&] { return timers.pending() != 0; }, kPatience));
  EXPECT_FALSE(client.wait([&] { return stream.closed.has_value(); }, std::chrono::milliseconds(1)));
  next_timer_fires(seconds(10));
  expect_failed(stream, "killed by signal 9 (Killed)");
}

TEST_F(Processes, Finish_EndsAtSigterm_IsNotKilled) {
  StreamRecord& stream = start_ready("true", "exec sleep 1000");
  stream.link->finish();
  next_timer_fires(seconds(20));
  expect_failed(stream, "killed by signal 15 (Terminated)");
}

TEST_F(Processes, Finish_ExitsAtSigtermWithZero_IsGoodOrder) {
  const std::string fifo = folder / "fifo";
  StreamRecord& stream =
      start_ready("mkfifo " + fifo + "; exec 3<>" + fifo + "; trap 'exit 0' TERM", "read nothing <&3");
  stream.link->finish();
  next_timer_fires(seconds(20));
  ASSERT_TRUE(client.closes(stream));
  EXPECT_FALSE(stream.closed->error) << stream.ending();
}

TEST_F(Processes, Finish_InputFullAndNeverRead_IsStoppedAllTheSame) {
  StreamRecord& stream = start_ready("true", "exec sleep 1000");
  while (stream.link->send(std::string(100'000, 'C')) == SendStatus::queued) {
  }
  stream.link->finish();
  ASSERT_TRUE(poll_until([&] { return timers.pending() != 0; }, kPatience));
  // The first look finds that something was written since.
  for (int i = 0; i < 3 && !client.wait([&] { return stream.closed.has_value(); }, std::chrono::milliseconds(200)); ++i)
    timers.advance(seconds(20));
  expect_failed(stream, "killed by signal 15");
}

TEST_F(Processes, Cancel_HasItsReason_AndEscalates) {
  StreamRecord& polite = start_ready("true", "exec sleep 1000");
  polite.link->cancel(Error(errc::cancelled, "enough"));
  ASSERT_TRUE(client.closes(polite));
  EXPECT_EQ(polite.closed->error, Error(errc::cancelled, "enough"));
  EXPECT_EQ(polite.other<ProcessExited>()->signal, SIGTERM);

  StreamRecord& stubborn = start_ready("trap '' TERM", "while :; do sleep 1000 & wait; done");
  stubborn.link->cancel(Error(errc::cancelled, "enough"));
  next_timer_fires(seconds(10));
  ASSERT_TRUE(client.closes(stubborn));
  EXPECT_EQ(stubborn.closed->error, Error(errc::cancelled, "enough"));
  EXPECT_EQ(stubborn.other<ProcessExited>()->signal, SIGKILL);
}

TEST_F(Processes, Stopped_Child_EndsAtCancel) {
  StreamRecord& stream = start_ready("true", "kill -STOP $$; sleep 1000");
  stream.link->cancel(Error(errc::timed_out, "no answer"));
  ASSERT_TRUE(client.closes(stream));
  EXPECT_TRUE(stream.closed_with(errc::timed_out)) << stream.ending();
}

TEST_F(Processes, Grandchild_HoldingTheOutput_DoesNotKeepTheStream) {
  StreamRecord& stream = start("sleep 1000 & echo $! >&2; exit 0");
  ASSERT_TRUE(client.closes(stream));
  EXPECT_TRUE(stream.closed_with(errc::stream_closed)) << stream.ending();
  EXPECT_TRUE(poll_until([pid = number_from_stderr()] { return is_gone(pid); }, kPatience));
}

TEST_F(Processes, Grandchild_InASessionOfItsOwnThatFloods_DoesNotKeepTheStream) {
  StreamRecord& stream = start("setsid sh -c 'echo $$ >&2; exec yes >&2' & cat; exit 0");
  const int grandchild = number_from_stderr();
  stream.link->finish();
  ASSERT_TRUE(client.closes(stream));
  EXPECT_FALSE(stream.closed->error) << stream.ending();
  // Unless SIGPIPE was faster.
  ::kill(grandchild, SIGKILL);
}

TEST_F(Processes, Group_AfterCancel_HasNobodyLeft) {
  StreamRecord& stream = start("trap '' TERM; sh -c \"trap '' TERM; echo \\$\\$ >&2; sleep 1000; sleep 1000\" & wait");
  const int grandchild = number_from_stderr();
  stream.link->cancel(Error(errc::cancelled, "enough"));
  next_timer_fires(seconds(10));
  ASSERT_TRUE(client.closes(stream));
  EXPECT_TRUE(poll_until([&] { return is_gone(grandchild); }, kPatience));
}

TEST_F(Processes, Shell_AroundAServer_LetsItEndInItsOwnTime) {
  // The shell dies of SIGTERM at once; what it runs says goodbye first.
  StreamRecord& stream = start(
      "sh -c \"trap 'sleep 0.3; echo bye >&2; exit 0' TERM; printf '\\000\\000\\000\\006Cready'; "
      "while :; do sleep 0.1; done\"; true");
  ASSERT_TRUE(client.gets(stream, 1)) << stream.ending();
  stream.link->cancel(Error(errc::cancelled, "enough"));
  ASSERT_TRUE(client.closes(stream));
  const auto said = stderr_lines();
  // Shells comment on what else SIGTERM ended.
  EXPECT_TRUE(std::any_of(said.begin(), said.end(), [](const ProcessStderr& each) { return each.line == "bye"; }));
}

TEST_F(Processes, Output_Garbage_EndsWithMalformedFrameAndTheChild) {
  ProcessDialerOptions options = shell("echo hello; exec sleep 1000");
  options.framing = std::make_shared<LengthPrefixFraming>();
  StreamRecord& stream = start(std::move(options));
  ASSERT_TRUE(client.closes(stream));
  // "hell" is a length.
  EXPECT_TRUE(stream.closed_with(errc::message_too_large)) << stream.ending();
  EXPECT_EQ(stream.other<ProcessExited>()->signal, SIGTERM);
}

TEST_F(Processes, Output_HalfAFrame_SaysSo) {
  expect_failed(start("printf '\\000\\000\\000\\005Cab'; exit 0"),
                "the stream ended inside a frame: 3 of 5 bytes; pid ");
}

TEST_F(Processes, Output_Flood_IsHeldBackByCredit) {
  StreamRecord& stream = start("yes \"$(printf '\\001\\001\\001')\"", {1, 3});
  // Bytes 1, 1, 1, newline are a length above the limit, so that the first frame ends it.
  ASSERT_TRUE(client.closes(stream));
  EXPECT_TRUE(stream.closed_with(errc::message_too_large)) << stream.ending();

  StreamRecord& endless = start("while :; do printf '\\000\\000\\000\\002Cx'; done", {1, 3});
  ASSERT_TRUE(client.gets(endless, 3));
  EXPECT_FALSE(client.wait([&] { return endless.frames.size() > 3; }, std::chrono::milliseconds(50)));
  endless.link->cancel(Error(errc::cancelled, "enough"));
  ASSERT_TRUE(client.closes(endless));
}

TEST_F(Processes, Input_ClosedByTheChild_StopsIt) {
  StreamRecord& stream = start_ready("exec <&-", "exec sleep 1000");
  stream.link->send("Cinto nothing");
  next_timer_fires(seconds(20));
  expect_failed(stream, "writing failed: Broken pipe; pid ");
  EXPECT_EQ(stream.link->send("Clate"), SendStatus::closed);
}

TEST_F(Processes, Output_ClosedByTheChild_StopsIt) {
  StreamRecord& stream = start("exec >&-; exec sleep 1000");
  next_timer_fires(seconds(20));
  expect_failed(stream, "killed by signal 15");
}

TEST_F(Processes, Stderr_Lines_AreCutBoundedAndOnTheBusWhenAsked) {
  ProcessDialerOptions options = shell("printf 'one\\r\\ntwo\\n\\n123456789abc\\nrest' >&2");
  options.max_stderr_line_bytes = 10;
  options.publish_stderr = true;
  StreamRecord& stream = start(std::move(options));
  ASSERT_TRUE(client.closes(stream));
  std::vector<std::string> texts;
  for (const ProcessStderr& line : stderr_lines())
    texts.push_back(line.line);
  EXPECT_EQ(texts, (std::vector<std::string>{"one", "two", "", "123456789a", "bc", "rest"}));
  std::vector<std::string> published;
  for (const EventRef& each : stream.others) {
    if (const auto* line = each->get_if<ProcessStderr>()) published.push_back(line->line);
  }
  EXPECT_EQ(published, texts);
}

TEST_F(Processes, Stderr_Flood_IsDroppedAndCountedAndBlocksNobody) {
  ProcessDialerOptions options = shell("i=0; while [ $i -lt 20000 ]; do echo line; i=$((i+1)); done >&2; exit 0");
  options.max_stderr_lines_per_second = 10;
  StreamRecord& stream = start(std::move(options));
  ASSERT_TRUE(client.closes(stream));
  EXPECT_TRUE(stream.closed_with(errc::stream_closed)) << stream.ending();
  const auto said = stderr_lines();
  // Virtual time stands still, so there was one second.
  ASSERT_EQ(said.size(), 11U);
  EXPECT_EQ(said.back().line, "");
  EXPECT_EQ(said.back().dropped_before, 19'990U);
}

TEST(StderrLines, NextSecond_TellsWhatWasDropped) {
  std::vector<std::pair<std::string, std::uint64_t>> got;
  transport::internal::StderrLines sut(
      100, 2, [&](std::string line, std::uint64_t dropped) { got.emplace_back(std::move(line), dropped); });
  const TimePoint start{seconds(5)};
  sut.add("a\nb\nc\nd\n", start);
  sut.add("e\n", start + seconds(1));
  sut.end(start + seconds(1));
  EXPECT_EQ(got, (std::vector<std::pair<std::string, std::uint64_t>>{{"a", 0}, {"b", 0}, {"e", 2}}));
}

TEST_F(Processes, Loops_AThousand_LeakNothing) {
  ProcessDialerOptions options = shell("");
  options.command = "true";
  options.args = {};
  ProcessDialer& dialer = dialer_of(std::move(options));
  ASSERT_TRUE(client.closes(open(dialer)));
  const std::size_t before = open_descriptors();
  for (int i = 0; i < 1000; ++i) {
    StreamRecord& stream = open(dialer);
    ASSERT_TRUE(client.closes(stream));
    ASSERT_TRUE(stream.closed_with(errc::stream_closed)) << stream.ending();
    ASSERT_NE(stream.other<ProcessExited>(), nullptr);
  }
  EXPECT_EQ(open_descriptors(), before);
  // A stream leaves the count just after its StreamClosed.
  EXPECT_TRUE(poll_until([&] { return dialer.stats().streams == 0; }, kPatience));
  EXPECT_EQ(dialer.stats().streams_opened, 1001U);
  EXPECT_EQ(timers.pending(), 0U);
}

TEST_F(Processes, CannotRun_Often_LeaksNothing) {
  ProcessDialerOptions options = shell("");
  options.command = "/no/such/path";
  ProcessDialer& dialer = dialer_of(std::move(options));
  ASSERT_TRUE(client.closes(open(dialer)));
  const std::size_t before = open_descriptors();
  for (int i = 0; i < 100; ++i)
    ASSERT_TRUE(client.closes(open(dialer)));
  EXPECT_EQ(open_descriptors(), before);
}

TEST_F(Processes, Options_Bad_AreNamed) {
  const auto refuses = [&](const std::string& field, const std::function<void(ProcessDialerOptions&)>& spoil) {
    ProcessDialerOptions options = shell("true");
    spoil(options);
    const auto valid = options.validate();
    ASSERT_FALSE(valid.has_value()) << field;
    EXPECT_TRUE(valid.error().is(errc::invalid_argument));
    EXPECT_NE(valid.error().message.find(field), std::string::npos) << valid.error().message;
    EXPECT_THROW(ProcessDialer(threads.executor(), timers, options), std::invalid_argument);
  };
  refuses("command", [](auto& o) { o.command.clear(); });
  refuses("command", [](auto& o) { o.command += '\0'; });
  refuses("args", [](auto& o) { o.args.emplace_back(1, '\0'); });
  refuses("cwd", [](auto& o) { o.cwd += '\0'; });
  refuses("env", [](auto& o) { o.env["a=b"] = "c"; });
  refuses("env", [](auto& o) { o.env[""] = "c"; });
  refuses("framing", [](auto& o) { o.framing = nullptr; });
  refuses("stop_grace", [](auto& o) { o.stop_grace = -seconds(1); });
  refuses("kill_grace", [](auto& o) { o.kill_grace = -seconds(1); });
  refuses("max_stderr_line_bytes", [](auto& o) { o.max_stderr_line_bytes = 0; });
  refuses("max_stderr_lines_per_second", [](auto& o) { o.max_stderr_lines_per_second = 0; });
}

}  // namespace
}  // namespace sharingbus::test

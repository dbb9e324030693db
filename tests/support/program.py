"""Runs the program under test as a user would: starts it, reads its lines, sends it signals, and ends it whatever the
test did.

Environment: TEST_PROGRAM is the path of `sharingbus`; TEST_TIME_SCALE multiplies every deadline (sanitized builds);
TEST_PEERS is the folder with programs of others.
"""

import collections
import contextlib
import fcntl
import json
import os
import pty
import re
import signal
import socket
import struct
import subprocess
import tempfile
import termios
import threading
import time
import unittest

SCALE = float(os.environ.get("TEST_TIME_SCALE") or 1)
# For things that happen at once on an idle machine; long, because the machine is not idle.
DEADLINE = 30 * SCALE

INTERRUPTED = 130
CRASHES = {-signal.SIGSEGV, -signal.SIGABRT, -signal.SIGBUS, -signal.SIGILL, -signal.SIGFPE, -signal.SIGTRAP}
SANITIZER_REPORT = re.compile(r"(?:Address|Leak|Thread|Memory|UndefinedBehavior)Sanitizer|: runtime error: ")

Completed = collections.namedtuple("Completed", "code stdout stderr")


def program_path():
    path = os.environ.get("TEST_PROGRAM")
    if not path:
        raise RuntimeError("TEST_PROGRAM must be the path of the program `sharingbus`")
    return path


def child_environment(extra=None):
    """Ours without what would configure the program."""
    ours = re.compile(r"SHARINGBUS_.*|MATRIX_.*|(?:https?|all|no|studio)_proxy", re.IGNORECASE)
    environment = {k: v for k, v in os.environ.items() if not ours.fullmatch(k)}
    return {**environment, **(extra or {})}


def peer_path(*parts):
    """Of a program of others, which `run` installs; the test is skipped without it."""
    path = os.path.join(os.environ.get("TEST_PEERS") or "", *parts)
    if not os.path.exists(path):
        raise unittest.SkipTest(f"{parts[-1]} is not installed")
    return path


def scaled(milliseconds):
    """A duration flag's value, longer in slow builds."""
    return f"{int(milliseconds * SCALE)}ms"


def wait_until(condition, what, seconds=DEADLINE):
    """For what sends no notice (the state of another process): asks again and again. Returns what is true."""
    give_up = time.monotonic() + seconds
    while True:
        result = condition()
        if result:
            return result
        if time.monotonic() > give_up:
            raise AssertionError(f"not within {seconds:.0f} s: {what}")
        time.sleep(0.02)


class Output:
    """What came out of one end of the program so far. A carriage return ends a line as well."""

    def __init__(self, descriptor, changed):
        self._changed = changed
        self._data = bytearray()
        self._ended = False
        self._thread = threading.Thread(target=self._read, args=(descriptor,), daemon=True)
        self._thread.start()

    def _read(self, descriptor):
        while True:
            try:
                data = os.read(descriptor, 65536)
            except OSError:  # how a terminal says that nobody is at its other end
                data = b""
            with self._changed:
                self._data += data
                self._ended = not data
                self._changed.notify_all()
            if not data:
                os.close(descriptor)
                return

    def join(self):
        self._thread.join()

    # Both with the lock.

    @property
    def ended(self):
        return self._ended

    def lines(self):
        """Complete ones; all of them when no more can come."""
        parts = re.split(r"[\r\n]", self._data.decode(errors="replace"))
        return parts if self._ended else parts[:-1]

    def text(self):
        return self._data.decode(errors="replace")


class Program:
    """One run of the program. `close` must be called; ProgramTest.start sees to it."""

    def __init__(self, *arguments, environment=None, terminal=False, command=None):
        """`terminal`: its stderr is a terminal. `command`: what to start instead of the program."""
        self.arguments = [*(command or [program_path()]), *map(str, arguments)]
        reader, writer = os.pipe()
        error_reader, error_writer = pty.openpty() if terminal else os.pipe()
        if terminal:
            fcntl.ioctl(error_writer, termios.TIOCSWINSZ, struct.pack("HHHH", 25, 80, 0, 0))
        with contextlib.ExitStack() as stack:
            stack.callback(os.close, writer)
            stack.callback(os.close, error_writer)
            self._process = subprocess.Popen(
                self.arguments,
                stdin=subprocess.DEVNULL,
                stdout=writer,
                stderr=error_writer,
                env=child_environment(environment),
            )
        self._changed = threading.Condition()
        self._stdout = Output(reader, self._changed)
        self._stderr = Output(error_reader, self._changed)

    @property
    def pid(self):
        return self._process.pid

    @property
    def stdout(self):
        with self._changed:
            return self._stdout.text()

    @property
    def stderr(self):
        with self._changed:
            return self._stderr.text()

    def running(self):
        return self._process.poll() is None

    def signal(self, number):
        self._process.send_signal(number)

    def interrupt(self):
        self.signal(signal.SIGINT)

    def wait(self, seconds=DEADLINE):
        """The exit code, negative when a signal ended it. All output is there then."""
        try:
            code = self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"did not end within {seconds:.0f} s\n{self.describe()}") from None
        self._stdout.join()
        self._stderr.join()
        return code

    def close(self):
        if self.running():
            self._process.kill()
        self.wait()

    def wait_output(self, pattern, seconds=DEADLINE, skip=0):
        """Waits for a line of stdout that `pattern` is found in, after `skip` such lines; the match."""
        return self._wait_line(self._stdout, pattern, seconds, skip)

    def wait_log(self, pattern, seconds=DEADLINE, skip=0):
        """The same for stderr."""
        return self._wait_line(self._stderr, pattern, seconds, skip)

    def wait_lines(self, condition, what, seconds=DEADLINE):
        """Waits until `condition(lines of stderr)` is true; what it returned."""
        give_up = time.monotonic() + seconds
        with self._changed:
            while True:
                result = condition(self._stderr.lines())
                if result:
                    return result
                if self._stderr.ended or not self._changed.wait(give_up - time.monotonic()):
                    break
        raise AssertionError(f"no {what} in stderr\n{self.describe()}")

    def log_lines(self, pattern=""):
        with self._changed:
            return [line for line in self._stderr.lines() if re.search(pattern, line)]

    def output_lines(self):
        with self._changed:
            return [line for line in self._stdout.lines() if line]

    def _wait_line(self, output, pattern, seconds, skip):
        give_up = time.monotonic() + seconds
        with self._changed:
            while True:
                found = [m for m in (re.search(pattern, line) for line in output.lines()) if m]
                if len(found) > skip:
                    return found[skip]
                if output.ended or not self._changed.wait(give_up - time.monotonic()):
                    break
        raise AssertionError(f"no line {skip + 1} with {pattern!r}\n{self.describe()}")

    def describe(self):
        with self._changed:
            parts = [f"--- {' '.join(self.arguments)} (exit code {self._process.poll()})"]
            for name, output in (("stdout", self._stdout), ("stderr", self._stderr)):
                lines = output.text().splitlines()
                left_out = f", last 40 of {len(lines)} lines" if len(lines) > 40 else ""
                parts += [f"--- {name}{left_out}", *(line[:400] for line in lines[-40:])]
        return "\n".join(parts)


def descriptors(pid):
    """What descriptors a process has, by kind."""
    folder = f"/proc/{pid}/fd"
    kinds = collections.Counter()
    for name in os.listdir(folder):
        with contextlib.suppress(FileNotFoundError):
            kinds[os.readlink(os.path.join(folder, name)).split(":[")[0]] += 1
    return kinds


def dead_port():
    """A socket that keeps a port of 127.0.0.1 and refuses connections to it, and the port."""
    keeper = socket.socket()
    keeper.bind(("127.0.0.1", 0))
    return keeper, keeper.getsockname()[1]


class ProgramTest(unittest.TestCase):
    """Whatever a test starts is ended after it, and may neither have crashed nor have a sanitizer's report."""

    def start(self, *arguments, **options):
        program = Program(*arguments, **options)
        self.addCleanup(self._end, program)
        return program

    def run_program(self, *arguments, seconds=DEADLINE, **options):
        """Until it ends by itself."""
        program = Program(*arguments, **options)
        try:
            code = program.wait(seconds)
            return Completed(code, program.stdout, program.stderr)
        finally:
            self._end(program)

    def _end(self, program):
        program.close()
        self.assertIsNone(SANITIZER_REPORT.search(program.stderr), program.describe())
        self.assertNotIn(program.wait(), CRASHES, program.describe())

    def assert_exit(self, program, code, seconds=DEADLINE):
        self.assertEqual(program.wait(seconds), code, program.describe())

    def start_gateway(self, *arguments, port=0, **options):
        """A gateway that is ready, and its address."""
        gateway = self.start("gateway", "--grpc", f"127.0.0.1:{port}", *arguments, **options)
        return gateway, gateway.wait_output(r"^listening grpc=(\S+)$")[1]

    def temporary_file(self, text, suffix=".yaml"):
        descriptor, path = tempfile.mkstemp(suffix=suffix)
        self.addCleanup(os.unlink, path)
        with open(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
        return path

    def wait_descriptors(self, program, most):
        """Until it has no more than `most` of any kind."""
        try:
            wait_until(lambda: descriptors(program.pid) <= most, "no more descriptors than before")
        except AssertionError as failure:
            self.fail(f"{failure}: {most}, now {descriptors(program.pid)}")

    @staticmethod
    def with_descriptors(count):
        """Options that start the program with no more than so many. UBSan needs some itself, and takes objects for
        broken when there are none: nothing may be asked of the program then."""
        return {"command": ["sh", "-c", f'ulimit -n {count}; exec "$0" "$@"', program_path()]}

    def one_json_document(self, text):
        """`text` is one line with one JSON object; the object."""
        self.assertEqual(text.count("\n"), 1, text)
        document = json.loads(text)
        self.assertIsInstance(document, dict)
        return document

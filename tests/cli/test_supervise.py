#!/usr/bin/env python3
"""`sharingbus supervise`: real child processes and socket servers, their crashes, its config, and how it ends."""

import json
import os
import re
import select
import signal
import socket
import subprocess
import sys
import tempfile
import time
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
SUPPORT = os.path.join(HERE, os.pardir, "support")
sys.path.insert(0, SUPPORT)
from program import DEADLINE, SCALE, ProgramTest, program_path, scaled, wait_until  # noqa: E402

SERVICE = os.path.join(os.path.abspath(SUPPORT), "json_rpc_service.py")
ROOT = os.path.abspath(os.path.join(HERE, os.pardir, os.pardir))

QUICK = {
    "heartbeat-interval": scaled(50),
    "heartbeat-timeout": scaled(1500),
    "reconnect-delay": "10ms",
    "max-reconnect-delay": "50ms",
    "stop-grace": scaled(500),
    "kill-grace": scaled(500),
}


def alive(pid):
    """Zombies count: nobody has reaped them."""
    return os.path.exists(f"/proc/{pid}")


def children_of(pid):
    with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as file:
        found = [int(child) for child in file.read().split()]
    for task in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{task}/children", encoding="ascii") as file:
            found += [int(child) for child in file.read().split()]
    return sorted(set(found))


class SuperviseTest(ProgramTest):
    def config(self, services, **options):
        # JSON is YAML.
        return self.temporary_file(json.dumps({**QUICK, **options, "services": services}))

    def stdio(self, name, *arguments, **more):
        return {"name": name, "command": [sys.executable, SERVICE, *arguments], **more}

    def supervise(self, services, *arguments, environment=None, **options):
        """In JSON lines."""
        return self.start("supervise", "--config", self.config(services, **options), "--json", *arguments,
                          environment=environment)  # fmt: skip

    def events(self, program, service):
        lines = [json.loads(line) for line in program.output_lines()]
        return [line for line in lines if line.get("service") == service]

    def wait_event(self, program, event, service, skip=0, **fields):
        """The `skip`-th such line, as an object."""
        def found():
            matches = [e for e in self.events(program, service)
                       if e["event"] == event and all(e.get(k) == v for k, v in fields.items())]  # fmt: skip
            self.assertTrue(program.running() or len(matches) > skip, program.describe())
            return len(matches) > skip and matches[skip]

        try:
            return wait_until(found, f"{event} of {service} {fields}")
        except AssertionError as e:
            raise AssertionError(f"{e}\n{program.describe()}") from None

    def wait_pid(self, program, service, skip=0):
        return int(self.wait_event(program, "ProcessStarted", service, skip=skip)["pid"])

    def stop(self, program, number=signal.SIGTERM):
        program.signal(number)
        self.assert_exit(program, 0)


class Lives(SuperviseTest):
    def test_killed_child_is_an_error_and_comes_back(self):
        program = self.supervise([self.stdio("one")])
        pid = self.wait_pid(program, "one")
        self.wait_event(program, "Heartbeat", "one")
        os.kill(pid, signal.SIGKILL)
        self.wait_event(program, "Reconnected", "one")
        self.assertFalse(alive(pid))
        self.assertTrue(alive(self.wait_pid(program, "one", skip=1)))
        self.stop(program)
        seen = [e["event"] + (":" + e["new"] if "new" in e else "") for e in self.events(program, "one")
                if e["event"] not in ("Heartbeat", "ProcessStarted", "ProcessExited")]  # fmt: skip
        self.assertEqual(seen, ["Started", "StatusChanged:running", "Error", "StatusChanged:error", "Reconnecting",
                                "StatusChanged:reconnecting", "Reconnected", "StatusChanged:running",
                                "StatusChanged:stopping", "StatusChanged:stopped", "Stopped"])  # fmt: skip
        error = self.wait_event(program, "Error", "one")
        self.assertIn("signal 9", error["error"])

    def test_event_lines_have_their_fields(self):
        program = self.supervise([self.stdio("one", "--on-ping", "2:exit")])
        retry = self.wait_event(program, "Reconnecting", "one")
        self.assertEqual((retry["attempt"], retry["max"]), ("1", "5"))
        self.assertIn("exited with status 3", retry["reason"])
        exited = self.wait_event(program, "ProcessExited", "one")
        self.assertEqual(exited["status"], "3")
        ready = json.loads(program.wait_output("^.*listening.*$")[0])
        self.assertEqual((ready["services"], ready["running"]), (1, 1))
        self.stop(program)

    def test_crash_loop_leaves_nothing_behind(self):
        program = self.supervise([self.stdio("one", "--on-ping", "1:exit")], **{"max-reconnect-attempts": 1000000})
        self.wait_event(program, "ProcessExited", "one", skip=20)
        descriptors = len(os.listdir(f"/proc/{program.pid}/fd"))
        self.wait_event(program, "ProcessExited", "one", skip=60)
        self.assertLess(len(os.listdir(f"/proc/{program.pid}/fd")), descriptors + 8)
        self.assertLessEqual(len(children_of(program.pid)), 1)
        self.stop(program)

    def test_silent_child_is_replaced(self):
        program = self.supervise([self.stdio("one", "--on-ping", "3:silent")])
        self.wait_event(program, "HeartbeatTimeout", "one")
        first = self.wait_pid(program, "one")
        self.wait_event(program, "Reconnected", "one")
        self.assertFalse(alive(first))
        self.stop(program)

    def test_stopped_child_is_replaced(self):
        program = self.supervise([self.stdio("one")])
        self.wait_event(program, "Heartbeat", "one")
        pid = self.wait_pid(program, "one")
        os.kill(pid, signal.SIGSTOP)
        self.wait_event(program, "HeartbeatTimeout", "one")
        self.wait_event(program, "Reconnected", "one")
        self.assertFalse(alive(pid))
        self.stop(program)

    def test_bad_output_ends_that_child_only(self):
        for action in ("garbage", "half", "close"):
            with self.subTest(action):
                program = self.supervise([self.stdio("bad", "--on-ping", f"2:{action}"), self.stdio("good")])
                self.wait_event(program, "Error", "bad")
                self.wait_event(program, "Reconnected", "bad")
                self.assertEqual([e for e in self.events(program, "good") if e["event"] == "Error"], [])
                self.stop(program)

    def test_flood_is_read_and_loses_nobody(self):
        program = self.supervise([self.stdio("one", "--on-ping", "2:flood")])
        self.wait_event(program, "Heartbeat", "one", skip=3)
        self.assertEqual([e for e in self.events(program, "one") if e["event"] == "Error"], [])
        self.stop(program)

    def test_tcp_and_unix_services(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        path = os.path.join(folder.name, "s")
        servers = {}

        def serve(*arguments):
            server = subprocess.Popen([sys.executable, SERVICE, *arguments], stdout=subprocess.PIPE, text=True)
            self.addCleanup(server.stdout.close)
            self.addCleanup(server.wait)
            self.addCleanup(server.kill)
            return server, server.stdout.readline().split()

        servers["tcp"], ready = serve("--tcp", "0")
        port = int(ready[1])
        servers["unix"], _ = serve("--unix", path)
        program = self.supervise([{"name": "tcp", "transport": "tcp", "address": "127.0.0.1", "port": port},
                                  {"name": "unix", "transport": "unix", "address": path}],
                                 **{"max-reconnect-attempts": 1000000})  # fmt: skip
        for name, arguments in (("tcp", ("--tcp", str(port))), ("unix", ("--unix", path))):
            self.wait_event(program, "Heartbeat", name)
            servers[name].kill()
            servers[name].wait()
            self.wait_event(program, "Error", name)
            serve(*arguments)
            self.wait_event(program, "Reconnected", name)
        self.stop(program)

    def test_stderr_of_a_child_is_logged(self):
        program = self.supervise([self.stdio("one", "--grandchild")])
        program.wait_log(r"stderr pid=\d+ .*grandchild \d+")
        self.stop(program)


class Failures(SuperviseTest):
    def test_command_not_found_fails_for_good(self):
        program = self.supervise([{"name": "one", "command": "no-such-program-here"}], **{"max-reconnect-attempts": 2})
        self.assert_exit(program, 1)
        events = [e["event"] for e in self.events(program, "one") if e["event"] != "StatusChanged"]
        self.assertEqual(events, ["Started", "Error", "Reconnecting", "Reconnecting", "ReconnectFailed", "Stopped"])
        self.assertIn("command not found", self.events(program, "one")[1]["error"])
        self.assertTrue(program.log_lines("no service is left"))

    def test_not_executable_and_no_folder(self):
        services = [{"name": "file", "command": self.temporary_file("")},
                    {"name": "folder", "command": "true", "cwd": "/no/such/folder"}]  # fmt: skip
        program = self.supervise(services, **{"auto-reconnect": False})
        self.assert_exit(program, 1)
        self.assertIn("not executable", self.wait_event(program, "Error", "file")["error"])
        self.assertIn("working directory", self.wait_event(program, "Error", "folder")["error"])

    def test_one_that_failed_does_not_end_the_others(self):
        program = self.supervise([{"name": "bad", "command": "no-such-program-here"}, self.stdio("good")],
                                 **{"max-reconnect-attempts": 1})  # fmt: skip
        self.wait_event(program, "ReconnectFailed", "bad")
        self.wait_event(program, "Heartbeat", "good", skip=3)
        self.stop(program)

    def test_restart_intensity(self):
        program = self.supervise([self.stdio("one", "--on-ping", "2:exit")], strategy="one-for-one",
                                 **{"max-restarts": 3, "restart-window": "1h"})  # fmt: skip
        self.assert_exit(program, 1)
        self.assertEqual(len([e for e in self.events(program, "one") if e["event"] == "Reconnected"]), 3)

    def test_rest_for_one_restarts_what_was_started_later(self):
        program = self.supervise([self.stdio("a"), self.stdio("b"), self.stdio("c")], strategy="rest-for-one",
                                 **{"max-restarts": 1000})  # fmt: skip
        pids = {name: self.wait_pid(program, name) for name in "abc"}
        for name in "abc":
            self.wait_event(program, "Heartbeat", name)
        os.kill(pids["b"], signal.SIGKILL)
        self.wait_event(program, "Reconnected", "c")
        self.assertTrue(alive(pids["a"]))
        self.assertFalse(alive(pids["c"]))
        self.stop(program)


class Ends(SuperviseTest):
    def test_interrupt_stops_in_reverse_order_and_leaves_nothing(self):
        services = [self.stdio("c", **{"depends-on": ["b"]}), self.stdio("a"), self.stdio("b", **{"depends-on": "a"})]
        program = self.supervise(services)
        pids = [self.wait_pid(program, name) for name in "abc"]
        program.wait_output("listening")
        self.stop(program, signal.SIGINT)
        lines = [json.loads(line) for line in program.output_lines()]
        self.assertEqual([l["service"] for l in lines if l.get("event") == "Started"], ["a", "b", "c"])
        self.assertEqual([l["service"] for l in lines if l.get("event") == "Stopped"], ["c", "b", "a"])
        self.assertEqual([pid for pid in pids if alive(pid)], [])

    def test_child_that_ignores_everything_is_killed_with_its_group(self):
        program = self.supervise([self.stdio("one", "--ignore-sigterm", "--ignore-end", "--grandchild")])
        pid = self.wait_pid(program, "one")
        grandchild = int(program.wait_log(r"grandchild (\d+)")[1])
        self.wait_event(program, "Heartbeat", "one")
        self.stop(program)
        self.assertFalse(alive(pid))
        wait_until(lambda: not alive(grandchild), "end of the grandchild")

    def test_during_a_reconnect(self):
        program = self.supervise([{"name": "one", "command": "no-such-program-here"}],
                                 **{"reconnect-delay": "1h", "max-reconnect-delay": "1h"})  # fmt: skip
        self.wait_event(program, "Reconnecting", "one")
        self.stop(program)
        self.assertEqual(self.events(program, "one")[-1]["event"], "Stopped")

    def test_drain_is_a_limit(self):
        program = self.supervise([self.stdio(str(i), "--ignore-end") for i in range(3)], "--drain", scaled(200),
                                 **{"stop-grace": "1h"})  # fmt: skip
        for i in range(3):
            self.wait_event(program, "Heartbeat", str(i))
        self.stop(program)

    def test_killed_supervisor_takes_its_children_along(self):
        program = self.supervise([self.stdio("one")])
        pid = self.wait_pid(program, "one")
        program.signal(signal.SIGKILL)
        program.wait()
        wait_until(lambda: not alive(pid), "end of the child")


class Config(SuperviseTest):
    def refused(self, text, *names):
        path = self.temporary_file(text)
        for arguments in ((), ("--check-config",)):
            done = self.run_program("supervise", "--config", path, *arguments)
            self.assertEqual(done.code, 2, done)
            self.assertEqual(done.stdout, "")
            for name in names:
                self.assertIn(name, done.stderr)

    def test_check_config(self):
        path = self.config([self.stdio("one"), self.stdio("two")])
        done = self.run_program("supervise", "--config", path, "--check-config")
        self.assertEqual((done.code, done.stdout), (0, "config ok services=2\n"))
        done = self.run_program("supervise", "--config", path, "--check-config", "--json")
        self.assertEqual(self.one_json_document(done.stdout), {"config": "ok", "services": 2})

    def test_full_config_is_good(self):
        done = self.run_program("supervise", "--check-config", "--config", self.temporary_file("""
heartbeat-interval: 5s
strategy: rest-for-one
services:
  - name: lsp
    version: "14"
    description: a language server
    capabilities: [code, {name: chat, version: "2", config: {deep: [1, x]}}]
    metadata: {team: core}
    command: clangd-14
    args: [--log=error]
    env: {LANG: C}
    cwd: /
    timeout: 10s
    auto-reconnect: false
    greeting:
      - {method: initialize, params: {processId: null, capabilities: {}}}
      - {method: initialized, params: {}, notification: true}
      - ping
  - {name: db, transport: tcp, address: localhost, port: 5432, depends-on: lsp}
  - {name: cache, transport: unix, address: /tmp/cache, depends-on: [lsp, db]}
"""))  # fmt: skip
        self.assertEqual((done.code, done.stdout), (0, "config ok services=3\n"), done.stderr)

    def test_wrong_keys_are_named(self):
        one = "services: [{name: a, command: b, %s}]"
        for text, name in {
            "": "services",
            "services: []": "services",
            "services: 3": "services",
            "services: [3]": "services[0]",
            "heartbeat-intervall: 3s\nservices: [{name: a, command: b}]": "heartbeat-intervall",
            "heartbeat-interval: 3\nservices: [{name: a, command: b}]": "heartbeat-interval",
            "jitter: 7\nservices: [{name: a, command: b}]": "jitter",
            "services: [{command: b}]": "services[0].name",
            "services: [{name: a}]": "services[0].command",
            "services: [{name: a, transport: tcp, port: 1}]": "services[0].address",
            "services: [{name: a, transport: tcp, address: b}]": "services[0].port",
            "services: [{name: a, transport: tcp, address: b, port: 70000}]": "services[0].port",
            "services: [{name: a, transport: unix}]": "services[0].address",
            "services: [{name: a, transport: pigeon}]": "services[0].transport",
            "services: [{name: a, transport: websocket, address: b}]": "services[0].transport",
            one % "comand: c": "services[0].comand",
            one % "timeout: 5": "services[0].timeout",
            one % "timeout: 0s": "services[0].timeout",
            one % "auto-reconnect: perhaps": "services[0].auto-reconnect",
            one % "args: {a: b}": "services[0].args",
            one % "args: [[1]]": "services[0].args[0]",
            one % "env: [a]": "services[0].env",
            one % "greeting: [{params: {}}]": "services[0].greeting[0].method",
            one % "greeting: [{method: m, params: 1}]": "services[0].greeting[0].params",
            one % "capabilities: [{nam: c}]": "services[0].capabilities[0].nam",
            one % "depends-on: z": "'z'",
            "services: [{name: a, command: b}, {name: a, command: c}]": "two services are called 'a'",
            "services: [{name: a, command: b, depends-on: a}]": "a -> a",
            "services: [": "line ",
        }.items():
            with self.subTest(text):
                self.refused(text, name)

    def test_wrong_flags_are_named(self):
        path = self.config([self.stdio("one")])
        for flag, value in [
            ("--jitter", "2"),
            ("--jitter", "nan"),
            ("--backoff-multiplier", "0.5"),
            ("--backoff-multiplier", "1e7"),
            ("--healthy-after", "0"),
            ("--failed-after", "0"),
        ]:
            with self.subTest(flag=flag, value=value):
                done = self.run_program("supervise", "--config", path, "--check-config", flag, value)
                self.assertEqual((done.code, done.stdout), (2, ""), done)
                self.assertIn(flag, done.stderr)
                self.assertNotIn("LifecycleConfig", done.stderr)

    def test_config_is_needed(self):
        done = self.run_program("supervise")
        self.assertEqual(done.code, 2)
        self.assertIn("--config", done.stderr)

    def test_flags_win_over_the_file(self):
        path = self.temporary_file("max-reconnect-attempts: 7\nservices: [{name: a, command: no-such-program-here}]")
        program = self.start("supervise", "--config", path, "--json", "--max-reconnect-attempts", "1",
                             "--reconnect-delay", "1ms")  # fmt: skip
        self.assert_exit(program, 1)
        self.assertEqual(self.wait_event(program, "Reconnecting", "a")["max"], "1")


class Faces(SuperviseTest):
    def test_plain_lines_where_there_is_no_terminal(self):
        program = self.start("supervise", "--config", self.config([self.stdio("one")]))
        program.wait_output(r"^StatusChanged service=one old=starting new=running$")
        program.wait_output(r"^listening services=1 running=1$")
        self.stop(program)
        self.assertNotIn("\x1b", program.stdout)
        self.assertEqual(program.output_lines()[-1], "Stopped service=one")

    def test_table_on_a_terminal(self):
        import fcntl
        import pty
        import struct
        import termios

        terminal, other = pty.openpty()
        fcntl.ioctl(other, termios.TIOCSWINSZ, struct.pack("HHHH", 25, 80, 0, 0))
        process = subprocess.Popen([program_path(), "supervise", "--config", self.config([self.stdio("one")])],
                                   stdin=subprocess.DEVNULL, stdout=other, stderr=subprocess.DEVNULL)  # fmt: skip
        os.close(other)
        self.addCleanup(os.close, terminal)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        text = ""
        give_up = time.monotonic() + DEADLINE
        while not re.search(r"one +running +\d+ +0 +\d+ s ago", text) and time.monotonic() < give_up:
            if select.select([terminal], [], [], 1)[0]:
                text += os.read(terminal, 65536).decode()
        self.assertRegex(text, r"SERVICE +STATUS +PID +RESTARTS +HEARTBEAT")
        self.assertRegex(text, r"one +running +\d+ +0 +\d+ s ago")
        process.terminate()
        self.assertEqual(process.wait(DEADLINE), 0)

    def test_systemd_is_told(self):
        with tempfile.TemporaryDirectory() as folder, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
            path = os.path.join(folder, "notify")
            systemd.bind(path)
            systemd.settimeout(DEADLINE)
            program = self.supervise([self.stdio("one")], environment={"NOTIFY_SOCKET": path, "WATCHDOG_USEC": "100000"})
            heard = []
            while heard.count(b"WATCHDOG=1") < 3 or b"READY=1" not in heard:
                heard.append(systemd.recv(1000))
            self.stop(program)
            systemd.setblocking(False)
            try:
                while True:
                    heard.append(systemd.recv(1000))
            except BlockingIOError:
                pass
            self.assertEqual(heard.count(b"READY=1"), 1)
            self.assertEqual(heard.count(b"STOPPING=1"), 1)

    def test_abstract_socket_of_systemd(self):
        name = f"@sharingbus-test-{os.getpid()}"
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
            systemd.bind("\0" + name[1:])
            systemd.settimeout(DEADLINE)
            program = self.supervise([self.stdio("one")], environment={"NOTIFY_SOCKET": name})
            self.assertEqual(systemd.recv(1000), b"READY=1")
            self.stop(program)


class Example(SuperviseTest):
    def test_the_example_config_runs_and_its_crashing_service_comes_back(self):
        examples = os.path.join(os.path.dirname(os.path.dirname(program_path())), "examples")
        if not os.path.exists(os.path.join(examples, "supervised_service")):
            self.skipTest("examples are not built")
        path = self.temporary_file("")
        with open(os.path.join(ROOT, "examples", "supervised_services.yaml"), encoding="utf-8") as example:
            text = example.read().replace("examples/supervised_service.py", f"{ROOT}/examples/supervised_service.py")
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
        program = self.start("supervise", "--config", path, "--json",
                             environment={"PATH": f"{examples}:{os.environ['PATH']}"})  # fmt: skip
        self.wait_event(program, "Reconnected", "crashing")
        self.wait_event(program, "Heartbeat", "steady", skip=1)
        self.assertEqual([e for e in self.events(program, "steady") if e["event"] == "Error"], [])
        self.stop(program, signal.SIGINT)


if __name__ == "__main__":
    unittest.main()

#!/usr/bin/env python3
"""`sharingbus supervise` over language servers that nobody here wrote: initialise, ping, kill -9, restart, stop."""

import json
import os
import shutil
import signal
import sys
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), os.pardir, "support"))
from program import ProgramTest, scaled, wait_until  # noqa: E402


class LanguageServer:
    """The test; a mixin so that the base does not run by itself."""

    command = []

    def events(self, program, name):
        lines = [json.loads(line) for line in program.output_lines()]
        return [line for line in lines if line.get("event") == name]

    def wait_event(self, program, name, skip=0):
        def found():
            self.assertTrue(program.running(), program.describe())
            return len(self.events(program, name)) > skip and self.events(program, name)[skip]

        try:
            return wait_until(found, f"{name} number {skip + 1}")
        except AssertionError as e:
            raise AssertionError(f"{e}\n{program.describe()}") from None

    def test_initialise_ping_kill_restart_stop(self):
        self.assertIsNotNone(shutil.which(self.command[0]), f"{self.command[0]} is not installed")
        service = {
            "name": "server",
            "command": self.command,
            "greeting": [
                {"method": "initialize", "params": {"processId": None, "rootUri": None, "capabilities": {}}},
                {"method": "initialized", "params": {}, "notification": True},
            ],
        }
        config = {"heartbeat-interval": scaled(100), "reconnect-delay": "50ms", "services": [service]}
        program = self.start("supervise", "--config", self.temporary_file(json.dumps(config)), "--json")
        program.wait_output('"running":1')
        self.wait_event(program, "Heartbeat", skip=2)
        pid = int(self.wait_event(program, "ProcessStarted")["pid"])
        os.kill(pid, signal.SIGKILL)
        self.wait_event(program, "Reconnected")
        again = int(self.wait_event(program, "ProcessStarted", skip=1)["pid"])
        self.assertNotEqual(again, pid)
        self.assertFalse(os.path.exists(f"/proc/{pid}"))
        beats = len(self.events(program, "Heartbeat"))
        self.wait_event(program, "Heartbeat", skip=beats + 2)
        program.signal(signal.SIGTERM)
        self.assert_exit(program, 0)
        self.assertFalse(os.path.exists(f"/proc/{again}"))
        self.assertEqual([line["event"] for line in self.events(program, "Stopped")], ["Stopped"])


class Clangd(LanguageServer, ProgramTest):
    command = ["clangd-14", "--log=error"]


class Pylsp(LanguageServer, ProgramTest):
    command = ["pylsp"]


if __name__ == "__main__":
    unittest.main()

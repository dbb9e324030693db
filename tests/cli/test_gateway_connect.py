#!/usr/bin/env python3
"""`sharingbus gateway` and `sharingbus connect`, two processes: registration, outages, and how they end."""

import json
import os
import random
import re
import signal
import socket
import sys
import time
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), os.pardir, "support"))
from program import (  # noqa: E402
    DEADLINE,
    INTERRUPTED,
    SCALE,
    Program,
    ProgramTest,
    dead_port,
    scaled,
    wait_until,
)

SUMMARY_KEYS = ["connectors", "requests_received", "requests_processed", "requests_failed", "bytes_in", "bytes_out",
                "reconnection_attempts", "successful_reconnects", "total_disconnects"]  # fmt: skip
# A build that is not slow needs some 10 ms.
PROMPTLY = 1 * SCALE


class PairTest(ProgramTest):
    def start_connect(self, address, *arguments, **options):
        return self.start("connect", f"grpc://{address}", *arguments, **options)

    def start_pair(self, instances, *arguments):
        """A gateway with `instances` connectors registered."""
        gateway, address = self.start_gateway()
        connect = self.start_connect(address, "--instances", instances, *arguments)
        gateway.wait_log(rf"connector registered .* connectors={instances} ")
        self.wait_registered(connect, instances)
        return gateway, address, connect

    def wait_registered(self, connect, count):
        connect.wait_log(" registered address=", skip=count - 1)

    def start_gateway_again(self, address, *arguments):
        """On the port of one that is gone. Another program may hold it for a moment."""

        def attempt():
            gateway = Program("gateway", "--grpc", address, *arguments)
            try:
                gateway.wait_output("^listening ")
                return gateway
            except AssertionError:
                gateway.close()
                return None

        gateway = wait_until(attempt, f"a gateway on {address}")
        self.addCleanup(self._end, gateway)
        return gateway

    def seconds_to_end(self, program, code):
        began = time.monotonic()
        program.interrupt()
        self.assert_exit(program, code)
        return time.monotonic() - began


class Registration(PairTest):
    def test_a_hundred_connectors_over_two_connections(self):
        gateway, _, connect = self.start_pair(100, "--type", "echo", "--tenant", "acme", "--instance", "e")
        last = gateway.wait_log(r"connector registered .* connectors=100 connections=(\d+)$")
        self.assertEqual(last[1], "2")
        names = {re.search(r"address=(\S+)", line)[1] for line in gateway.log_lines("connector registered")}
        self.assertEqual(names, {f"acme.echo.e-{i}" for i in range(1, 101)})
        peers = [re.search(r"peer=(\S+)", line)[1] for line in gateway.log_lines("connector registered")]
        self.assertEqual(sorted(peers.count(peer) for peer in set(peers)), [20, 80])
        connect.interrupt()
        self.assert_exit(connect, INTERRUPTED)
        gateway.wait_log(r"connector disconnected .* connectors=0 connections=0$")

    def test_streams_per_connection_can_be_set(self):
        gateway, address = self.start_gateway()
        self.start_connect(address, "--instances", "10", "--max-streams-per-channel", "3")
        gateway.wait_log(r"connector registered .* connectors=10 connections=4$")

    def test_one_instance_has_no_number(self):
        gateway, address = self.start_gateway()
        connect = self.start_connect(address, "--type", "clock", "--tenant", "a.b", "--instance", "x y:z")
        gateway.wait_log(r"connector registered address=a-b\.clock\.x-y-z peer=\S+ connectors=1 connections=1$")
        connect.wait_log(r" registered address=a-b\.clock\.x-y-z arn=matrix:a-b:clock:x-y-z$")

    def test_json_lines_of_the_gateway(self):
        gateway = self.start("gateway", "--grpc", "127.0.0.1:0", "--json")
        address = json.loads(gateway.wait_output("^.*listening.*$")[0])["listening"]["grpc"]
        connect = self.start_connect(address, "--instances", "3")
        gateway.wait_output('"connector registered".*"connectors":"3"')
        connect.interrupt()
        gateway.wait_output('"connector disconnected".*"connectors":"0"')
        gateway.interrupt()
        self.assert_exit(gateway, 0)
        lines = [json.loads(line) for line in gateway.output_lines()]
        self.assertEqual(list(lines[0]), ["listening"])
        events = [line["event"] for line in lines[1:]]
        self.assertEqual(events, 3 * ["connector registered"] + 3 * ["connector disconnected"])
        for line in lines[1:]:
            self.assertRegex(line["address"], r"^default\.echo\.instance-[123]$")
            self.assertIn("127.0.0.1:", line["peer"])

    def test_the_newer_stream_takes_over(self):
        gateway, address, old = self.start_pair(1)
        self.start_connect(address)
        gateway.wait_log("connector disconnected .*replaced by a newer stream")
        old.wait_log(" disconnected address=default.echo.instance ")

    def test_the_older_stream_can_keep_its_place(self):
        gateway, address = self.start_gateway("--duplicates", "refuse-new")
        old = self.start_connect(address)
        self.wait_registered(old, 1)
        new = self.start_connect(address, "--no-reconnect")
        self.assert_exit(new, 1)
        self.assertRegex(new.stderr, "registration failed .*registered already")
        gateway.wait_log("connector refused address=default.echo.instance .*registered already")
        self.assertTrue(old.running())
        self.assertEqual(old.log_lines(" disconnected "), [])


class UnusedConnections(PairTest):
    """Connections that open no stream."""

    def open_socket(self, address):
        host, port = address.rsplit(":", 1)
        opened = socket.create_connection((host, int(port)), timeout=DEADLINE)
        self.addCleanup(opened.close)
        return opened

    def assert_closed(self, opened):
        try:
            # Up to the end: HTTP/2 servers speak first.
            while opened.recv(4096):
                pass
        except ConnectionResetError:
            pass

    def test_too_many(self):
        gateway, address = self.start_gateway("--max-unused-connections", "1")
        self.open_socket(address)
        self.assert_closed(self.open_socket(address))
        gateway.wait_log("connector refused .*there are 1 connections without a stream already")

    def test_one_that_says_nothing(self):
        gateway, address = self.start_gateway("--handshake-timeout", scaled(200))
        self.assert_closed(self.open_socket(address))
        gateway.wait_log("connector refused .*said nothing within")

    def test_one_that_opens_no_stream(self):
        gateway, address = self.start_gateway("--max-connection-idle", scaled(300))
        opened = self.open_socket(address)
        opened.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0]))
        self.assert_closed(opened)
        gateway.wait_log("connector refused .*opened no stream within")


class Outages(PairTest):
    def test_unreachable_gateway_is_named_and_tried_again_later_and_later(self):
        keeper, port = dead_port()
        self.addCleanup(keeper.close)
        connect = self.start_connect(f"127.0.0.1:{port}", "--reconnect-delay", "20ms", "--reconnect-jitter", "0s",
                                     "--max-backoff", "200ms")  # fmt: skip
        connect.wait_log("retrying .* attempt=6 ")
        failed = connect.log_lines("registration failed")
        self.assertIn(f"127.0.0.1:{port}", failed[0])
        self.assertIn("Connection refused", failed[0])
        waits = [re.search(r"attempt=(\d+) after=(\S+)$", line).groups() for line in connect.log_lines("retrying")]
        self.assertEqual(
            waits[:6], [("1", "20ms"), ("2", "40ms"), ("3", "80ms"), ("4", "160ms"), ("5", "200ms"), ("6", "200ms")]
        )
        connect.interrupt()
        self.assert_exit(connect, INTERRUPTED)

    def test_unreachable_gateway_and_ctrl_c(self):
        keeper, port = dead_port()
        self.addCleanup(keeper.close)

        def attempt():
            connect = self.start_connect(f"127.0.0.1:{port}", "--reconnect-delay", "10m", "--max-backoff", "10m")
            connect.wait_log("retrying .* after=")
            return self.seconds_to_end(connect, INTERRUPTED)

        # The best of three, because the machine has others to serve.
        self.assertLess(min(attempt() for _ in range(3)), PROMPTLY)

    def test_host_that_swallows_everything_and_ctrl_c(self):
        keeper, port = dead_port()
        self.addCleanup(keeper.close)
        keeper.listen()  # accepts, and never says a word

        def attempt():
            connect = self.start_connect(f"127.0.0.1:{port}", "--connect-timeout", "10m", "--log-level", "debug")
            with keeper.accept()[0] as accepted:
                accepted.recv(1)
                return self.seconds_to_end(connect, INTERRUPTED)

        self.assertLess(min(attempt() for _ in range(3)), PROMPTLY)

    def test_host_that_swallows_everything(self):
        keeper, port = dead_port()
        self.addCleanup(keeper.close)
        keeper.listen()
        connect = self.start_connect(f"127.0.0.1:{port}", "--connect-timeout", scaled(300), "--no-reconnect")
        self.assert_exit(connect, 1)
        self.assertIn("registration failed", connect.stderr)

    def test_without_reconnecting(self):
        keeper, port = dead_port()
        self.addCleanup(keeper.close)
        connect = self.start_connect(f"127.0.0.1:{port}", "--no-reconnect", "--instances", "3", "--json")
        self.assert_exit(connect, 1)
        self.assertEqual(len(connect.log_lines("registration failed")), 3)
        self.assertEqual(connect.log_lines("retrying"), [])
        self.assertEqual(self.one_json_document(connect.stdout)["connectors"], 3)

    def test_last_words_are_not_lost(self):
        keeper, port = dead_port()
        self.addCleanup(keeper.close)
        # At once, because it is a matter of who is first.
        programs = [self.start("connect", f"ws://127.0.0.1:{port}", "--no-reconnect") for _ in range(20)]
        for connect in programs:
            self.assert_exit(connect, 1)
            self.assertIn("registration failed", connect.stderr, connect.describe())

    def test_without_reconnecting_when_the_gateway_goes(self):
        gateway, _, connect = self.start_pair(2, "--no-reconnect")
        gateway.signal(signal.SIGKILL)
        self.assert_exit(connect, 1)
        self.assertEqual(len(connect.log_lines(" disconnected ")), 2)

    def test_killed_gateway_gets_its_connectors_back(self):
        gateway, address, connect = self.start_pair(20, "--reconnect-delay", "20ms", "--max-backoff", "500ms", "--json")
        gateway.signal(signal.SIGKILL)
        gateway.wait()
        connect.wait_log(" disconnected address=.* reason=stream-error", skip=19)
        connect.wait_log("registration failed .*Connection refused")
        again = self.start_gateway_again(address)
        again.wait_log("connector registered .* connectors=20 connections=1$")
        self.wait_registered(connect, 40)
        connect.interrupt()
        self.assert_exit(connect, INTERRUPTED)
        summary = self.one_json_document(connect.stdout)
        self.assertEqual(summary["successful_reconnects"], 20)
        self.assertEqual(summary["total_disconnects"], 40)
        self.assertGreaterEqual(summary["reconnection_attempts"], 20)

    def test_restarted_gateway_gets_its_connectors_back_again_and_again(self):
        gateway, address, connect = self.start_pair(5, "--reconnect-delay", "20ms", "--max-backoff", "200ms")
        for round_number in range(2, 5):
            gateway.signal(signal.SIGTERM)
            self.assert_exit(gateway, 0)
            gateway = self.start_gateway_again(address)
            gateway.wait_log("connector registered .* connectors=5 ")
            self.wait_registered(connect, 5 * round_number)

    def test_stopped_gateway_is_noticed_by_its_silence(self):
        beats = ["--heartbeat-interval", scaled(100), "--heartbeat-timeout", scaled(400)]
        gateway, _, connect = self.start_pair(3, *beats)
        gateway.signal(signal.SIGSTOP)
        connect.wait_log(" disconnected .* reason=heartbeat-timeout", skip=2)
        gateway.signal(signal.SIGCONT)
        self.wait_registered(connect, 6)

    def test_stopped_connectors_are_noticed_by_their_silence(self):
        gateway, address = self.start_gateway("--session-timeout", scaled(500))
        connect = self.start_connect(address, "--instances", "3", "--heartbeat-interval", scaled(100))
        self.wait_registered(connect, 3)
        connect.signal(signal.SIGSTOP)
        gateway.wait_log("connector disconnected .*no message for .* connectors=0 ")
        connect.signal(signal.SIGCONT)
        self.wait_registered(connect, 6)


class Ends(PairTest):
    def test_gateway_drains_after_sigterm_and_sigint(self):
        for number in (signal.SIGTERM, signal.SIGINT):
            with self.subTest(number.name):
                gateway, _, connect = self.start_pair(5)
                gateway.signal(number)
                self.assert_exit(gateway, 0)
                self.assertEqual(len(gateway.log_lines("draining for up to 5s")), 1)
                self.assertEqual(len(gateway.log_lines("connector disconnected")), 5)
                self.assertRegex(gateway.log_lines(".")[-1], "stopped$")
                connect.wait_log(" disconnected .* reason=server-closed", skip=4)
                connect.interrupt()
                self.assert_exit(connect, INTERRUPTED)

    def test_gateway_ends_at_once_when_told_to_right_after_its_first_line(self):
        for number in (signal.SIGTERM, signal.SIGINT):
            gateway = self.start("gateway", "--grpc", "127.0.0.1:0")
            gateway.wait_output("^listening")
            gateway.signal(number)
            self.assert_exit(gateway, 0)

    def test_a_second_ctrl_c_does_not_wait_for_the_drain(self):
        gateway, _, connect = self.start_pair(1)
        # Does not close its streams any more.
        connect.signal(signal.SIGSTOP)
        gateway.interrupt()
        gateway.wait_log("draining")
        gateway.interrupt()
        self.assertIn(gateway.wait(), (-signal.SIGINT, 0), gateway.describe())

    def test_connect_ends_promptly(self):
        def attempt():
            _, _, connect = self.start_pair(10)
            return self.seconds_to_end(connect, INTERRUPTED)

        self.assertLess(min(attempt() for _ in range(3)), PROMPTLY)

    def test_connect_ends_after_sigterm(self):
        gateway, _, connect = self.start_pair(3)
        connect.signal(signal.SIGTERM)
        self.assert_exit(connect, INTERRUPTED)
        self.assertEqual(len(connect.log_lines(" disconnected .* reason=shutdown")), 3)
        gateway.wait_log("connector disconnected .* connectors=0 ")

    def test_summary_of_connect(self):
        _, _, connect = self.start_pair(4, "--json")
        connect.interrupt()
        self.assert_exit(connect, INTERRUPTED)
        summary = self.one_json_document(connect.stdout)
        self.assertEqual(list(summary), SUMMARY_KEYS)
        self.assertEqual({k: v for k, v in summary.items() if v}, {"connectors": 4, "total_disconnects": 4})

    def test_no_summary_without_json(self):
        _, _, connect = self.start_pair(1)
        connect.interrupt()
        self.assert_exit(connect, INTERRUPTED)
        self.assertEqual(connect.stdout, "")


class RandomEnds(PairTest):
    """Ctrl-C at any moment. Before the program's handlers are in place it is the system that ends it, with what a shell
    shows as 130 as well; it has said nothing by then."""

    ROUNDS = 20

    def setUp(self):
        seed = os.environ.get("TEST_SEED") or str(time.time_ns() % 1_000_000)
        print(f"seed {seed}; again with TEST_SEED={seed}", flush=True)
        self.random = random.Random(seed)

    def interrupt_at_random(self, longest, *arguments):
        """Starts the program and interrupts it after up to `longest` seconds; the program, ended."""
        program = self.start(*arguments)
        time.sleep(self.random.uniform(0, longest * SCALE))
        program.signal(self.random.choice([signal.SIGINT, signal.SIGTERM]))
        program.wait()
        return program

    def check(self, program, code):
        if program.wait() in (-signal.SIGINT, -signal.SIGTERM):
            self.assertEqual((program.stdout, program.stderr), ("", ""), program.describe())
        else:
            self.assert_exit(program, code)

    def test_demo(self):
        for _ in range(self.ROUNDS):
            demo = self.interrupt_at_random(0.15, "demo", "--json", "--requests", "100000000", "--connectors", "30")
            if demo.wait() == -signal.SIGINT or demo.wait() == -signal.SIGTERM:
                self.assertNotIn("slow", demo.stderr)
            else:
                self.assert_exit(demo, INTERRUPTED)
            self.assertEqual(demo.stdout, "")

    def test_gateway(self):
        for _ in range(self.ROUNDS):
            self.check(self.interrupt_at_random(0.05, "gateway", "--grpc", "127.0.0.1:0"), 0)

    def test_gateway_with_connectors(self):
        for _ in range(self.ROUNDS):
            gateway, address = self.start_gateway("--drain", "1s")
            connect = self.start_connect(address, "--instances", "30", "--no-reconnect")
            time.sleep(self.random.uniform(0, 0.1 * SCALE))
            gateway.signal(self.random.choice([signal.SIGINT, signal.SIGTERM]))
            self.assert_exit(gateway, 0)
            self.assertIn(connect.wait(), (0, 1), connect.describe())
            registered = len(gateway.log_lines("connector registered"))
            self.assertEqual(len(gateway.log_lines("connector disconnected")), registered)

    def test_connect(self):
        gateway, address = self.start_gateway()
        for _ in range(self.ROUNDS):
            connect = self.interrupt_at_random(0.1, "connect", address, "--instances", "30")
            self.check(connect, INTERRUPTED)
        wait_until(
            lambda: len(gateway.log_lines("connector registered")) == len(gateway.log_lines("connector disconnected")),
            "all connectors gone",
        )

    def test_connect_to_a_dead_port(self):
        keeper, port = dead_port()
        self.addCleanup(keeper.close)
        for _ in range(self.ROUNDS):
            connect = self.interrupt_at_random(
                0.1, "connect", f"127.0.0.1:{port}", "--instances", "30", "--reconnect-delay", "5ms"
            )
            self.check(connect, INTERRUPTED)


if __name__ == "__main__":
    unittest.main(verbosity=2)

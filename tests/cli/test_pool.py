#!/usr/bin/env python3
"""`sharingbus pool`: drives `sharingbus agent` and finds its decisions right, over every transport."""

import os
import shutil
import signal
import socket
import sys
import tempfile
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), os.pardir, "support"))
import prometheus  # noqa: E402
from certificates import make_certificate  # noqa: E402
from program import DEADLINE, INTERRUPTED, Completed, ProgramTest, wait_until  # noqa: E402

KEYS = ["agent", "requests", "blocked", "wrong", "failed", "seconds", "rps", "p50_us", "p99_us", "p999_us"]
REQUESTS = 400


class PoolTest(ProgramTest):
    def setUp(self):
        # Short, as the paths of sockets have to be.
        self.folder = tempfile.mkdtemp(prefix="sb")
        self.addCleanup(shutil.rmtree, self.folder)
        self.path = f"unix:{os.path.join(self.folder, 's')}"

    def start_agent(self, endpoint, *flags):
        """The address that it serves."""
        agent = self.start("agent", "--listen", endpoint, *flags)
        scheme, address = agent.wait_output(r"^listening (grpc|unix)=(\S+)$").groups()
        return f"grpc://{address}" if scheme == "grpc" else f"unix:{address}"

    def pool(self, *arguments):
        return self.run_program("pool", "--json", "--requests", REQUESTS, *arguments, seconds=3 * DEADLINE)

    @staticmethod
    def ended(program):
        code = program.wait(3 * DEADLINE)
        return Completed(code, program.stdout, program.stderr)

    def check(self, done):
        self.assertEqual(done.code, 0, done)
        report = self.one_json_document(done.stdout)
        self.assertEqual(list(report), KEYS)
        self.assertEqual((report["requests"], report["wrong"], report["failed"]), (REQUESTS, 0, 0))
        # Every tenth is malicious, every twentieth an attack.
        self.assertEqual(report["blocked"], REQUESTS // 10 + REQUESTS // 20)
        self.assertGreater(report["rps"], 0)
        self.assertLessEqual(report["p50_us"], report["p99_us"])


class Transports(PoolTest):
    def test_unix_socket(self):
        self.check(self.pool("--agent", self.start_agent(self.path), "--concurrency", 64))

    def test_unix_socket_msgpack(self):
        self.check(self.pool("--agent", self.start_agent(self.path), "--encoding", "msgpack"))

    def test_wait_strategies(self):
        for number, strategy in enumerate(["auto", "block", "phased", "spin"]):
            with self.subTest(strategy):
                waits = ["--wait-strategy", strategy]
                agent = self.start_agent(f"{self.path}{number}", *waits)
                self.check(self.pool("--agent", agent, "--concurrency", 64, *waits))

    def test_grpc(self):
        self.check(self.pool("--agent", self.start_agent("grpc://127.0.0.1:0"), "--concurrency", 16))

    def test_reverse(self):
        pool = self.start("pool", "--json", "--requests", REQUESTS, "--reverse", self.path, "--connections", 2)
        self.start("agent", "--reverse", self.path, "--connections", 2)
        self.check(self.ended(pool))

    def test_reverse_with_token(self):
        pool = self.start("pool", "--json", "--requests", REQUESTS, "--reverse", self.path, "--connections", 1,
                          "--auth-token", "open sesame")  # fmt: skip
        self.start("agent", "--reverse", self.path, "--connections", 1, "--auth-token", "open sesame")
        self.check(self.ended(pool))

    def test_strategies(self):
        address = self.start_agent(self.path)
        for strategy in ["least-in-flight", "lowest-error-rate", "random", "peak-ewma", "power-of-two-choices"]:
            with self.subTest(strategy):
                self.check(self.pool("--agent", address, "--strategy", strategy, "--connections", 3))


    def test_calls_in_a_row(self):
        address = self.start_agent(self.path)
        self.check(self.pool("--agent", address, "--calls-in-a-row", 64, "--connections", 3))


class Metrics(PoolTest):
    def test_pool(self):
        file = os.path.join(self.folder, "pool.prom")
        self.check(self.pool("--agent", self.start_agent(self.path), "--connections", 3, "--metrics", file))
        metrics = prometheus.read(file)
        # Body chunks and response headers are asked about as well.
        self.assertGreaterEqual(metrics["agent_protocol_requests_total"], REQUESTS)
        self.assertEqual(metrics["agent_protocol_requests_total"], metrics["agent_protocol_responses_total"])
        self.assertEqual(metrics["agent_protocol_in_flight_requests"], 0)
        self.assertEqual(metrics['agent_pool_connections_opened_total{agent="agent"}'], 3)
        self.assertEqual(metrics['agent_pool_connections{agent="agent"}'], 0)

    def test_pool_that_finds_nobody_has_figures_too(self):
        file = os.path.join(self.folder, "pool.prom")
        self.assertEqual(self.pool("--agent", self.path, "--metrics", file).code, 1)
        self.assertEqual(prometheus.read(file)["agent_protocol_requests_total"], 0)

    def test_agent(self):
        file = os.path.join(self.folder, "agent.prom")
        agent = self.start("agent", "--listen", self.path, "--metrics", file, "--metrics-interval", "50ms")
        agent.wait_output("^listening ")
        self.assertEqual(prometheus.read(file)["agent_server_proxies_connected_total"], 0)
        self.check(self.pool("--agent", self.path, "--connections", 2))
        # While it runs, and whole at any time.
        wait_until(lambda: prometheus.read(file)["agent_server_connections"] == 0, "no connections")
        wait_until(lambda: prometheus.read(file)["agent_server_proxies_connected_total"] == 2, "two connections")
        agent.signal(signal.SIGTERM)
        self.assert_exit(agent, 0)
        metrics = prometheus.read(file)
        self.assertEqual(metrics['agent_server_answers_total{outcome="blocked"}'], REQUESTS // 10 + REQUESTS // 20)
        self.assertEqual(os.listdir(self.folder), ["agent.prom"], "nothing is left beside it")

    def test_bad_usage(self):
        nowhere = os.path.join(self.folder, "nowhere", "file")
        for arguments, word in [
            (["pool", "--agent", self.path, "--metrics", nowhere], nowhere),
            (["agent", "--listen", self.path, "--metrics", nowhere], nowhere),
            (["agent", "--listen", self.path, "--metrics", self.folder], self.folder),
            (["pool", "--agent", self.path, "--metrics-interval", "0s"], "--metrics-interval"),
            (["pool", "--agent", self.path, "--calls-in-a-row", "0"], "--calls-in-a-row"),
        ]:
            with self.subTest(arguments):
                done = self.run_program(*arguments)
                self.assertEqual(done.code, 2, done)
                self.assertIn(word, done.stderr)
                self.assertEqual(os.listdir(self.folder), [])


class Certificates(PoolTest):
    @classmethod
    def setUpClass(cls):
        made = tempfile.TemporaryDirectory()
        cls.addClassCleanup(made.cleanup)
        cls.ours = make_certificate(made.name, "ours", "DNS:localhost,IP:127.0.0.1")
        cls.other = make_certificate(made.name, "other", "DNS:elsewhere")

    def start_secure(self, *arguments):
        agent = self.start("agent", "--listen", "grpcs://127.0.0.1:0", "--tls-cert", self.ours[0], "--tls-key",
                           self.ours[1], *arguments)  # fmt: skip
        return "grpcs://" + agent.wait_output(r"^listening grpcs=(\S+)$")[1]

    def test_a_certificate_that_is_vouched_for(self):
        self.check(self.pool("--agent", self.start_secure(), "--tls-ca", self.ours[0]))

    def test_one_that_is_not(self):
        done = self.pool("--agent", self.start_secure(), "--tls-ca", self.other[0])
        self.assertEqual(done.code, 1, done)

    def test_insecure_warns_and_goes_on(self):
        done = self.pool("--agent", self.start_secure(), "--insecure")
        self.check(done)
        self.assertIn("certificates are not checked", done.stderr)

    def test_certificates_of_proxies(self):
        address = self.start_secure("--tls-client-ca", self.other[0])
        self.assertEqual(self.pool("--agent", address, "--tls-ca", self.ours[0]).code, 1)
        self.check(self.pool("--agent", address, "--tls-ca", self.ours[0], "--tls-cert", self.other[0], "--tls-key",
                             self.other[1]))  # fmt: skip

    def test_bad_usage(self):
        certificate = ["--tls-cert", self.ours[0], "--tls-key", self.ours[1]]
        for arguments, word in [
            (["agent", "--listen", "grpcs://127.0.0.1:0"], "--tls-cert"),
            (["agent", "--listen", "grpc://127.0.0.1:0", *certificate], "grpcs://"),
            (["agent", "--listen", self.path, *certificate], "grpcs://"),
            (["agent", "--listen", "grpcs://127.0.0.1:0", *certificate[:2]], "--tls-key"),
            (["pool", "--agent", "grpc://127.0.0.1:1", "--insecure"], "grpcs://"),
            (["pool", "--agent", self.path, "--tls-ca", self.ours[0]], "grpcs://"),
            (["pool", "--agent", "grpcs://127.0.0.1:1", "--tls-ca", "/nowhere/ca.pem"], "/nowhere/ca.pem"),
        ]:
            with self.subTest(arguments):
                done = self.run_program(*arguments)
                self.assertEqual(done.code, 2, done)
                self.assertIn(word, done.stderr)


class Failures(PoolTest):
    def test_nobody_there(self):
        done = self.pool("--agent", self.path)
        self.assertEqual(done.code, 1)
        self.assertIn("Failed to create any connections", done.stderr)
        self.assertEqual(done.stdout, "")

    def test_reverse_agent_that_never_comes(self):
        done = self.pool("--reverse", self.path, "--wait", "100ms")
        self.assertEqual(done.code, 1)
        self.assertIn("did not connect within 100ms", done.stderr)

    def test_bad_usage(self):
        for arguments, word in [
            ([], "--agent"),
            (["--agent", self.path, "--reverse", self.path], "--agent"),
            (["--agent", "ws://127.0.0.1:1"], "--agent"),
            (["--agent", self.path, "--requests", "0"], "--requests"),
            (["--agent", self.path, "--strategy", "best"], "--strategy"),
            (["--reverse", "grpc://127.0.0.1:1"], "--reverse"),
            (["--reverse", self.path, "--agent-id", ""], "--agent-id"),
        ]:
            with self.subTest(arguments):
                done = self.run_program("pool", *arguments)
                self.assertEqual(done.code, 2, done)
                self.assertIn(word, done.stderr)

    def test_flags_without_effect(self):
        for arguments, flag, purpose in [
            (["--agent", self.path, "--auth-token", "t"], "--auth-token", "--reverse"),
            (["--agent", self.path, "--agent-id", "waf"], "--agent-id", "--reverse"),
            (["--agent", self.path, "--wait", "1s"], "--wait", "--reverse"),
            (["--agent", "grpc://127.0.0.1:1", "--encoding", "msgpack"], "--encoding", "--agent unix:PATH"),
            (["--reverse", self.path, "--encoding", "json"], "--encoding", "--agent unix:PATH"),
        ]:
            with self.subTest(arguments):
                done = self.run_program("pool", *arguments)
                self.assertEqual((done.code, done.stdout), (2, ""), done)
                self.assertIn(f"{flag}: is for {purpose}", done.stderr)

    def test_flags_without_effect_in_the_environment_are_for_other_commands(self):
        done = self.run_program("pool", "--agent", self.path, environment={"SHARINGBUS_AUTH_TOKEN": "t"})
        self.assertEqual(done.code, 1, done)
        self.assertNotIn("--auth-token", done.stderr)

    def test_interrupted_while_it_waits_for_an_agent(self):
        # Longer than this test may take.
        pool = self.start("pool", "--json", "--reverse", self.path, "--wait", "1h")
        wait_until(lambda: os.path.exists(os.path.join(self.folder, "s")), "the socket")
        pool.interrupt()
        self.assert_exit(pool, INTERRUPTED)
        self.assertEqual(self.one_json_document(pool.stdout)["requests"], 0)
        self.assertNotIn("did not connect", pool.stderr)

    def test_interrupted_while_it_dials(self):
        with socket.socket(socket.AF_UNIX) as silent:
            silent.bind(os.path.join(self.folder, "s"))
            silent.listen()
            pool = self.start("pool", "--json", "--agent", self.path, "--connect-timeout", "1h")
            silent.settimeout(DEADLINE)
            connection, _ = silent.accept()
            pool.interrupt()
            self.assert_exit(pool, INTERRUPTED)
            connection.close()

    def test_interrupted(self):
        address = self.start_agent(self.path)
        pool = self.start("pool", "--json", "--requests", 1_000_000_000, "--agent", address, "--log-level", "info")
        pool.wait_log("agent connected")
        pool.interrupt()
        self.assert_exit(pool, INTERRUPTED)


if __name__ == "__main__":
    unittest.main()

#!/usr/bin/env python3
"""`sharingbus agent`: its rules, on a Unix socket and dialling out; its lines, and how it ends."""

import json
import os
import shutil
import sys
import tempfile
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), os.pardir, "support"))
import agent_frames as wire  # noqa: E402
from program import DEADLINE, ProgramTest, scaled  # noqa: E402

ALLOW = "allow"


class AgentTest(ProgramTest):
    def setUp(self):
        # Short, as the paths of sockets have to be.
        self.folder = tempfile.mkdtemp(prefix="sb")
        self.addCleanup(shutil.rmtree, self.folder)
        self.path = os.path.join(self.folder, "agent.sock")

    def start_agent(self, *arguments):
        agent = self.start("agent", "--listen", f"unix:{self.path}", *arguments)
        agent.wait_output("^listening ")
        return agent

    def dial(self):
        connection = wire.Connection.dial(self.path, DEADLINE)
        self.addCleanup(connection.close)
        return connection

    def connect(self):
        connection = self.dial()
        self.assertTrue(connection.handshake()["success"])
        return connection

    def assert_answers(self, answer, correlation_id):
        self.assertEqual(answer["version"], 2)
        self.assertEqual(answer["audit"]["custom"]["correlation_id"], correlation_id)


class Rules(AgentTest):
    def test_headers(self):
        self.start_agent()
        proxy = self.connect()
        answer = proxy.ask(wire.REQUEST_HEADERS, wire.request_headers("c1", accept="*/*"))
        self.assert_answers(answer, "c1")
        self.assertEqual(answer["decision"], ALLOW)
        self.assertEqual(answer["request_headers"], [{"set": {"name": "x-inspected", "value": "true"}}])
        answer = proxy.ask(wire.REQUEST_HEADERS, wire.request_headers("c2", X_Malicious="1"))
        self.assert_answers(answer, "c2")
        self.assertEqual(answer["decision"]["block"]["status"], 403)

    def test_body_chunks(self):
        self.start_agent()
        proxy = self.connect()
        answer = proxy.ask(wire.REQUEST_BODY_CHUNK, wire.body_chunk("c", b"harmless", last=False))
        self.assertEqual(answer["decision"], ALLOW)
        self.assertTrue(answer["needs_more"])
        answer = proxy.ask(wire.REQUEST_BODY_CHUNK, wire.body_chunk("c", b"\xff an attack"))
        self.assertEqual(answer["decision"]["block"]["status"], 400)

    def test_response_headers(self):
        self.start_agent()
        event = {"correlation_id": "c", "status": 200, "headers": {}}
        answer = self.connect().ask(wire.RESPONSE_HEADERS, event)
        self.assertEqual(answer["response_headers"], [{"set": {"name": "x-agent", "value": "sharingbus"}}])

    def test_every_event_is_answered(self):
        self.start_agent()
        proxy = self.connect()
        complete = {"correlation_id": "a", "status": 200, "duration_ms": 1, "request_body_size": 0,
                    "response_body_size": 0, "upstream_attempts": 1, "error": None}  # fmt: skip
        self.assert_answers(proxy.ask(wire.REQUEST_COMPLETE, complete), "a")
        inspect = {"correlation_id": "b", "inspection_type": "pii_detection", "content": "text"}
        self.assert_answers(proxy.ask(wire.GUARDRAIL_INSPECT, inspect), "b")
        configure = {"correlation_id": "c", "config": {"a": 1}, "config_version": None}
        self.assert_answers(proxy.ask(wire.CONFIGURE, configure), "c")
        proxy.send(wire.PING, {"sequence": 7, "timestamp_ms": 8})
        self.assertEqual(proxy.receive_json(wire.PONG), {"sequence": 7, "timestamp_ms": 8})

    def test_two_hundred_ids_over_four_connections(self):
        self.start_agent()
        proxies = [self.connect() for _ in range(4)]
        for i in range(200):
            proxies[i % 4].send(wire.REQUEST_HEADERS, wire.request_headers(f"c{i}"))
        for n, proxy in enumerate(proxies):
            ids = [proxy.receive_json(wire.AGENT_RESPONSE)["audit"]["custom"]["correlation_id"] for _ in range(50)]
            self.assertEqual(sorted(ids), sorted(f"c{i}" for i in range(n, 200, 4)))

    def test_broken_event_is_blocked_and_broken_frame_ends_the_stream(self):
        self.start_agent()
        proxy = self.connect()
        answer = proxy.ask(wire.RESPONSE_HEADERS, {"correlation_id": "c", "status": "bad", "headers": {}})
        self.assert_answers(answer, "c")
        self.assertEqual(answer["decision"]["block"]["status"], 500)
        self.assertEqual(answer["audit"]["reason_codes"], ["malformed_frame"])
        other = self.connect()
        proxy.send_bytes(b"\x01\x00\x00\x01\x10")
        self.assertTrue(proxy.ended())
        self.assert_answers(other.ask(wire.REQUEST_HEADERS, wire.request_headers("d")), "d")

    def test_fail_open_is_a_flag(self):
        self.start_agent("--fail-mode", "open")
        answer = self.connect().ask(wire.RESPONSE_HEADERS, {"correlation_id": "c", "status": "bad", "headers": {}})
        self.assertEqual(answer["decision"], ALLOW)

    def test_other_versions_are_refused(self):
        agent = self.start_agent()
        proxy = self.dial()
        answer = proxy.handshake(supported_versions=[1])
        self.assertFalse(answer["success"])
        self.assertEqual(answer["error"], "Protocol version mismatch: expected 2, got 1")
        self.assertIn("features", answer["capabilities"])
        self.assertTrue(proxy.ended())
        agent.wait_log("proxy refused .*Protocol version mismatch")


class Reverse(AgentTest):
    def listen(self):
        listener = wire.Listener(self.path, DEADLINE)
        self.addCleanup(listener.close)
        return listener

    def accept(self, listener, **answer):
        connection, registration = listener.accept()
        self.addCleanup(connection.close)
        connection.send(wire.REGISTRATION_RESPONSE, {"success": True, "error": None, "proxy_id": "p",
                                                     "proxy_version": "1", "connection_id": "c", **answer})  # fmt: skip
        return connection, registration

    def test_registers_and_serves(self):
        listener = self.listen()
        agent = self.start("agent", "--reverse", f"unix:{self.path}", "--agent-id", "waf", "--auth-token", "secret",
                           "--connections", "2")  # fmt: skip
        agent.wait_output(f"^listening reverse=unix:{self.path}$")
        for i in range(2):
            proxy, registration = self.accept(listener)
            self.assertEqual(registration["protocol_version"], 2)
            self.assertEqual(registration["agent_id"], "waf")
            self.assertEqual(registration["auth_token"], "secret")
            self.assert_answers(proxy.ask(wire.REQUEST_HEADERS, wire.request_headers(f"c{i}")), f"c{i}")
        agent.wait_log("proxy connected proxy_id=p .*reverse=true", skip=1)
        self.assertNotIn("secret", agent.stderr)

    def test_comes_back(self):
        listener = self.listen()
        agent = self.start("agent", "--reverse", f"unix:{self.path}", "--connections", "1")
        refused, _ = self.accept(listener, success=False, error="Invalid message format: Registration rejected")
        agent.wait_log("proxy refused .*Registration rejected.* retry_in=")
        lost, _ = self.accept(listener)
        agent.wait_log("proxy connected ")
        lost.close()
        agent.wait_log("proxy disconnected .* retry_in=")
        proxy, _ = self.accept(listener)
        self.assert_answers(proxy.ask(wire.REQUEST_HEADERS, wire.request_headers("again")), "again")
        self.assertTrue(refused.ended())


class Lines(AgentTest):
    def test_json(self):
        agent = self.start("agent", "--listen", f"unix:{self.path}", "--listen", "grpc://127.0.0.1:0", "--json")
        listening = json.loads(agent.wait_output("listening")[0] and agent.output_lines()[0])["listening"]
        self.assertEqual(listening["unix"], self.path)
        self.assertRegex(listening["grpc"], r"^127\.0\.0\.1:[1-9]\d*$")
        proxy = self.connect()
        agent.wait_output('"proxy connected"')
        proxy.close()
        agent.wait_output('"proxy disconnected"')
        lines = [json.loads(line) for line in agent.output_lines()]
        self.assertEqual(lines[1]["event"], "proxy connected")
        self.assertEqual(lines[1]["proxy_id"], "test-proxy")
        self.assertEqual(lines[1]["encoding"], "json")

    def test_reports(self):
        self.start_agent("--report-interval", "50ms")
        proxy = self.connect()
        health = proxy.receive_json(wire.HEALTH_STATUS)
        self.assertEqual(health["state"], 1)

    def test_address_in_use(self):
        self.start_agent()
        second = self.run_program("agent", "--listen", f"unix:{self.path}")
        self.assertEqual(second.code, 1, second.stderr)
        self.assertIn(self.path, second.stderr)

    def test_usage(self):
        for arguments, word in [
            ([], "--listen or --reverse"),
            (["--listen", "ws://127.0.0.1:1"], "--listen"),
            (["--listen", "grpc://127.0.0.1:0", "--listen", "grpc://127.0.0.1:0"], "--listen"),
            (["--reverse", "grpc://127.0.0.1:1"], "--reverse"),
            (["--listen", "unix:x", "--fail-mode", "maybe"], "--fail-mode"),
            (["--listen", "unix:x", "--processing-timeout", "0s"], "--processing-timeout"),
            (["--listen", "unix:x", "--agent-id", ""], "--agent-id"),
            (["--listen", "unix:x", "--auth-token", "t"], "--auth-token: is for --reverse"),
            (["--listen", "unix:x", "--connections", "2"], "--connections: is for --reverse"),
        ]:
            result = self.run_program("agent", *arguments)
            self.assertEqual(result.code, 2, f"{arguments}: {result.stderr}")
            self.assertIn(word, result.stderr)


class Ends(AgentTest):
    def test_drains_at_sigterm(self):
        agent = self.start_agent()
        proxy = self.connect()
        agent.signal(15)
        self.assertEqual(proxy.receive_json(wire.HEALTH_STATUS)["state"], 3)
        self.assertTrue(proxy.ended())
        proxy.close()
        self.assert_exit(agent, 0)
        self.assertFalse(os.path.exists(self.path))

    def test_peer_that_stays_holds_it_up_no_longer_than_the_drain(self):
        agent = self.start_agent("--drain", scaled(100))
        proxy = self.connect()
        agent.interrupt()
        self.assert_exit(agent, 0)
        self.assertTrue(proxy.ended())

    def test_while_dialling_out(self):
        agent = self.start("agent", "--reverse", f"unix:{self.path}")
        agent.wait_log("proxy refused ")
        agent.interrupt()
        self.assert_exit(agent, 0)


if __name__ == "__main__":
    unittest.main()

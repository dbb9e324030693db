#!/usr/bin/env python3
"""`sharingbus agent` asked by the published crate of the agent protocol (zentinel-peer/, in Rust): its pool over Unix
sockets in both encodings, over gRPC, and with agents that dial in; and the crate's agent asked by `sharingbus pool`; control streams
of both. Needs cargo, once crates.io, and for the last grpcio."""

import json
import os
import queue
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import unittest

try:
    import grpc
except ImportError:
    grpc = None

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), os.pardir, "support"))
from program import DEADLINE, ProgramTest, dead_port, program_path, wait_until  # noqa: E402

PEER_SOURCE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "zentinel-peer")
# What the crate asks for.
CARGO_NEEDED = (1, 95)
PEER = None

REQUESTS = 1000
# By the rules of `sharingbus pool`: every 10th is malicious, every 20th brings an attack in its body.
BLOCKED = REQUESTS // 10 + REQUESTS // 20


def cargo(*arguments, target):
    environment = {**os.environ, "CARGO_TARGET_DIR": target}
    return subprocess.run(["cargo", *arguments], cwd=PEER_SOURCE, env=environment, capture_output=True, text=True,
                          check=False)  # fmt: skip


def setUpModule():
    global PEER
    if not shutil.which("cargo"):
        raise unittest.SkipTest("no cargo")
    target = os.path.join(os.path.dirname(os.path.abspath(program_path())), "zentinel-peer")
    version = re.search(r"(\d+)\.(\d+)", cargo("--version", target=target).stdout)
    if not version or (int(version[1]), int(version[2])) < CARGO_NEEDED:
        raise unittest.SkipTest("cargo is older than 1.95")
    fetched = cargo("fetch", "--locked", target=target)
    if fetched.returncode != 0:
        raise unittest.SkipTest(f"crates.io cannot be reached: {fetched.stderr[-300:]}")
    built = cargo("build", "--locked", "--offline", target=target)
    if built.returncode != 0:
        raise AssertionError(f"cargo build failed:\n{built.stderr[-3000:]}")
    PEER = os.path.join(target, "debug", "zentinel-peer")


class ZentinelTest(ProgramTest):
    def setUp(self):
        # Short, as the paths of sockets have to be.
        self.folder = tempfile.mkdtemp(prefix="sb")
        self.addCleanup(shutil.rmtree, self.folder)
        self.path = os.path.join(self.folder, "agent.sock")

    def start_peer_on_grpc(self):
        keeper, port = dead_port()
        keeper.close()
        self.start("agent", f"http://127.0.0.1:{port}", command=[PEER])

        def answers():
            with socket.socket() as probe:
                return probe.connect_ex(("127.0.0.1", port)) == 0

        wait_until(answers, "the agent's port")
        return f"127.0.0.1:{port}"

    def start_agent(self, *arguments):
        agent = self.start("agent", *arguments)
        return agent, agent.wait_output("^listening .*=(\\S+)$")[1]

    def peer(self, *arguments):
        # 200 ids at once over four connections.
        flags = ["--requests", str(REQUESTS), "--concurrency", "200", "--connections", "4"]
        return self.start(*arguments, *flags, command=[PEER])

    def assert_all_right(self, peer):
        self.assert_exit(peer, 0, 4 * DEADLINE)
        report = json.loads(peer.output_lines()[-1])
        found = {key: report[key] for key in ("requests", "blocked", "wrong", "errors", "connections")}
        expected = {"requests": REQUESTS, "blocked": BLOCKED, "wrong": 0, "errors": 0, "connections": 4}
        self.assertEqual(found, expected, peer.describe())

    def assert_ends(self, agent):
        agent.interrupt()
        self.assert_exit(agent, 0)


class Pool(ZentinelTest):
    def test_message_pack_over_a_unix_socket(self):
        agent, _ = self.start_agent("--listen", f"unix:{self.path}")
        self.assert_all_right(self.peer("pool", self.path))
        agent.wait_log("proxy connected proxy_id=zentinel-proxy .* encoding=msgpack", skip=3)
        self.assert_ends(agent)

    def test_json_over_a_unix_socket(self):
        agent, _ = self.start_agent("--listen", f"unix:{self.path}", "--encoding", "json")
        self.assert_all_right(self.peer("pool", self.path))
        agent.wait_log("proxy connected proxy_id=zentinel-proxy .* encoding=json", skip=3)
        self.assert_ends(agent)

    def test_grpc(self):
        agent, address = self.start_agent("--listen", "grpc://127.0.0.1:0")
        self.assert_all_right(self.peer("pool", f"http://{address}"))
        agent.wait_log("proxy connected proxy_id=zentinel-proxy .* encoding=protobuf", skip=3)
        self.assert_ends(agent)


class Reverse(ZentinelTest):
    def test_agents_dial_in(self):
        peer = self.peer("reverse", self.path)
        peer.wait_output("^listening$")
        agent, _ = self.start_agent("--reverse", f"unix:{self.path}")
        self.assert_all_right(peer)
        agent.wait_log("proxy connected proxy_id=zentinel-proxy .* reverse=true", skip=3)
        self.assert_ends(agent)


class CrateAgent(ZentinelTest):
    def assert_asked_right(self, endpoint, *arguments):
        flags = ["--requests", REQUESTS, "--concurrency", 200, "--connections", 4]
        done = self.run_program("pool", "--json", "--agent", endpoint, *flags, *arguments, seconds=4 * DEADLINE)
        self.assertEqual(done.code, 0, done)
        report = self.one_json_document(done.stdout)
        found = {key: report[key] for key in ("requests", "blocked", "wrong", "failed")}
        self.assertEqual(found, {"requests": REQUESTS, "blocked": BLOCKED, "wrong": 0, "failed": 0})

    def start_peer_on_socket(self):
        self.start("agent", self.path, command=[PEER])
        wait_until(lambda: os.path.exists(self.path), "the agent's socket")

    def test_json_over_a_unix_socket(self):
        self.start_peer_on_socket()
        self.assert_asked_right(f"unix:{self.path}")

    def test_message_pack_over_a_unix_socket(self):
        self.start_peer_on_socket()
        self.assert_asked_right(f"unix:{self.path}", "--encoding", "msgpack")

    def test_grpc(self):
        self.assert_asked_right(f"grpc://{self.start_peer_on_grpc()}")


@unittest.skipUnless(grpc, "no grpcio")
class ControlStream(ZentinelTest):
    """The same client, written by hand, at the crate's agent and at ours: each answers as the other does."""

    PATHS = ["/zentinel.agent.v2.AgentServiceV2/ControlStream", "/sentinel.agent.v2.AgentServiceV2/ControlStream"]

    def assert_requests_are_accepted(self, address, path):
        """`AgentControl`: health (1), two configuration requests (3), each answered by `config_response` (4)."""
        sent = queue.SimpleQueue()
        with grpc.insecure_channel(address) as channel:
            answers = channel.stream_stream(path)(iter(sent.get, None), timeout=DEADLINE)
            sent.put(b"\x0a\x05\x0a\x03waf")
            for name in (b"one", b"two"):
                sent.put(b"\x1a\x07\x0a\x03" + name + b"\x52\x00")
            # Field 1, configure, is the crate's heartbeat.
            told = (answer for answer in answers if answer[:1] == b"\x22")
            for name in (b"one", b"two"):
                # request_id, accepted, and the time.
                self.assertEqual(next(told)[2:9], b"\x0a\x03" + name + b"\x10\x01")
            sent.put(None)

    def test_the_crates_agent(self):
        self.assert_requests_are_accepted(self.start_peer_on_grpc(), self.PATHS[0])

    def test_ours(self):
        agent, address = self.start_agent("--listen", "grpc://127.0.0.1:0")
        for path in self.PATHS:
            self.assert_requests_are_accepted(address, path)
        self.assert_ends(agent)

    def test_ours_tells_of_its_drain_and_its_end(self):
        agent, address = self.start_agent("--listen", "grpc://127.0.0.1:0", "--drain", "5s")
        with grpc.insecure_channel(address) as channel:
            sent = queue.SimpleQueue()
            answers = channel.stream_stream(self.PATHS[0])(iter(sent.get, None), timeout=DEADLINE)
            sent.put(b"\x1a\x07\x0a\x03one\x52\x00")
            self.assertEqual(next(answers)[:1], b"\x22")
            agent.interrupt()
            # drain (3) of 5,000 ms, shutdown (2) for the reason 1, and the end in good order.
            drain = next(answers)
            self.assertEqual((drain[:1], drain[2:5]), (b"\x1a", b"\x08\x88\x27"))
            shutdown = next(answers)
            self.assertEqual((shutdown[:1], shutdown[2:4]), (b"\x12", b"\x08\x01"))
            self.assertEqual(list(answers), [])
            sent.put(None)
        self.assert_exit(agent, 0)


if __name__ == "__main__":
    unittest.main()

#!/usr/bin/env python3
"""The WebSocket port of `sharingbus gateway` against the official Phoenix client (phoenix_peer.js, under Node.js)."""

import json
import os
import shutil
import signal
import sys
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(HERE, os.pardir, "support")]

from connector_wire import INVOKE_RESPONSE, invoke_request  # noqa: E402
from program import peer_path, scaled  # noqa: E402
from test_websocket_connector import WebSocketTest  # noqa: E402


class PhoenixClient(WebSocketTest):
    gateway_flags = ["--heartbeat-interval", scaled(100)]

    def setUp(self):
        if not shutil.which("node"):
            self.skipTest("node is not installed")
        self.modules = peer_path("node", "node_modules")
        super().setUp()

    def start_client(self, instance):
        return self.start(
            self.address,
            instance,
            command=["node", os.path.join(HERE, "phoenix_peer.js")],
            environment={"NODE_PATH": self.modules},
        )

    def wait_event(self, client, name, skip=0):
        return json.loads(client.wait_output(rf'^.*"event":"{name}".*$', skip=skip)[0])

    def assert_nothing_failed(self, client):
        events = {json.loads(line)["event"] for line in client.output_lines()}
        self.assertLessEqual(
            events, {"joined", "registered", "executed", "heartbeat", "heartbeat_request", "left", "socket_closed"}
        )

    def ask(self, address, value):
        asking = self.registered(instance="asking")
        asking.send(invoke_request("i-1", address, payload=json.dumps(value)))
        self.assertEqual(json.loads(asking.receive_until(INVOKE_RESPONSE)[3][-1]), value)
        asking.close()

    def test_joins_registers_answers_beats_and_leaves(self):
        client = self.start_client("js")
        self.assertEqual(self.wait_event(client, "joined")["response"], {})
        registered = self.wait_event(client, "registered")
        self.assertEqual((registered["success"], registered["arn"]), (True, "matrix:acme:echo:js"))
        self.gateway.wait_log("connector registered address=acme.echo.js ")
        for value in ({"n": [1, "é"]}, "x" * 100_000):
            self.ask("acme.echo.js", value)
        # Phoenix' own, and the gateway's.
        self.assertEqual(self.wait_event(client, "heartbeat", skip=4)["status"], "ok")
        self.wait_event(client, "heartbeat_request", skip=4)
        client.signal(signal.SIGTERM)
        self.assert_exit(client, 0)
        self.wait_event(client, "left")
        self.gateway.wait_log("connector disconnected address=acme.echo.js ")
        self.assert_nothing_failed(client)
        self.assert_serves()

    def test_comes_back_by_itself_when_it_is_replaced(self):
        client = self.start_client("js")
        self.wait_event(client, "registered")
        other = self.registered(instance="js")
        self.gateway.wait_log("connector disconnected address=acme.echo.js .*replaced by a newer stream")
        self.wait_event(client, "registered", skip=1)
        other.wait_end()
        client.signal(signal.SIGTERM)
        self.assert_exit(client, 0)

    def test_comes_back_to_a_gateway_that_was_killed(self):
        client = self.start_client("js")
        self.wait_event(client, "registered")
        grpc, websocket = self.grpc_address, self.address
        self.gateway.signal(signal.SIGKILL)
        self.gateway.wait()
        self.wait_event(client, "socket_closed")
        self.gateway = self.start("gateway", "--grpc", grpc, "--websocket", websocket)
        self.wait_event(client, "registered", skip=1)
        client.signal(signal.SIGTERM)
        self.assert_exit(client, 0)


if __name__ == "__main__":
    unittest.main(verbosity=2, warnings="ignore")

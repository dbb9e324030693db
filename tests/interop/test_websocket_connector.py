#!/usr/bin/env python3
"""The WebSocket port of `sharingbus gateway` against connectors in Python (sockets.py), written from the protocol's
description alone: good ones and bad ones."""

import contextlib
import json
import os
import re
import signal
import socket
import sys
import threading
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(HERE, os.pardir, "support")]

import test_python_connector as over_grpc  # noqa: E402
import websockets  # noqa: E402
from connector_case import ConnectorTest  # noqa: E402
from connector_wire import (  # noqa: E402
    EXECUTE_REQUEST,
    HEARTBEAT_REQUEST,
    HEARTBEAT_RESPONSE,
    INVOKE_RESPONSE,
    REGISTER_RESPONSE,
    execute_response,
    field,
    heartbeat_request,
    integer,
    invoke_request,
    register_request,
    string_map,
    text,
)
from phoenix_wire import HEARTBEAT, JOIN, LOBBY, PATH, PHOENIX, PROTO, REPLY, phoenix, proto_payload  # noqa: E402
from program import DEADLINE, descriptors, scaled  # noqa: E402
from sockets import PhoenixStream  # noqa: E402

MIB = 1024 * 1024


class OverWebSocket:
    """Has a ConnectorTest's streams go over WebSocket; programs that know gRPC only find its port, too."""

    def setUp(self):
        self.streams = []
        super().setUp()
        self.addCleanup(self.assert_no_complaints)

    def use_gateway(self, *arguments):
        super().use_gateway(*arguments)
        self.url = f"ws://{self.address}"
        self.grpc_address = self.gateway.wait_output(r"grpc=(\S+)")[1]

    def start_gateway(self, *arguments, **options):
        ports = ["--grpc", "127.0.0.1:0", "--websocket", "127.0.0.1:0"]
        gateway = self.start("gateway", *ports, *arguments, **options)
        return gateway, gateway.wait_output(r"^listening .*websocket=(\S+)")[1]

    def open(self, **options):
        stream = PhoenixStream(self.address, **options)
        self.streams.append(stream)
        self.addCleanup(stream.close)
        return stream

    def assert_no_complaints(self):
        for stream in self.streams:
            self.assertEqual(stream.complaints, [])


class WebSocketTest(OverWebSocket, ConnectorTest):
    pass


# What a connector sees does not depend on the transport.


class Registration(OverWebSocket, over_grpc.Registration):
    test_headers_come_without_a_message = None
    test_ten_connectors_of_one_peer = None  # looks at the end's gRPC status


class Execute(OverWebSocket, over_grpc.Execute):
    pass


class OddMessages(OverWebSocket, over_grpc.OddMessages):
    test_garbage_ends_that_stream_only = None  # below

    def test_garbage_touches_nobody_else(self):
        good = self.registered(instance="good")
        garbage = (b"\xff" * 16, b"\x0a\x7f", field(HEARTBEAT_REQUEST, field(1, b"\xff\xfe")))
        for i, data in enumerate(garbage):
            bad = self.registered(instance=f"bad-{i}")
            bad.send(data)
            self.assert_alive(good)
            bad.close()


class Silence(OverWebSocket, over_grpc.Silence):
    def test_no_join(self):
        stream = self.open(join=False)
        stream.wait_end()
        self.assert_serves()


# What is WebSocket's and Phoenix's own.


class Handshake(WebSocketTest):
    def request(self, path=PATH, method="GET", **headers):
        """Status and headers of the answer to an upgrade request by hand."""
        fields = {"Host": self.address, "Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13",
                  "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==", **headers}  # fmt: skip
        lines = [f"{method} {path} HTTP/1.1", *(f"{k}: {v}" for k, v in fields.items() if v is not None), "", ""]
        return self.exchange("\r\n".join(lines).encode())

    def exchange(self, data):
        """What comes back, up to the end of its head; empty when the connection ends before that."""
        host, port = self.address.rsplit(":", 1)
        with socket.create_connection((host, int(port)), DEADLINE) as connection:
            connection.sendall(data)
            answer = b""
            with contextlib.suppress(ConnectionError):
                while b"\r\n\r\n" not in answer and (more := connection.recv(65536)):
                    answer += more
        return answer.decode("latin-1")

    def status(self, **options):
        answer = self.request(**options)
        return int(re.match(r"HTTP/1\.1 (\d+)", answer)[1])

    def test_the_minimal_request_is_enough(self):
        answer = self.request()
        self.assertTrue(answer.startswith("HTTP/1.1 101"), answer)
        self.assertRegex(answer, r"(?i)sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK\+xOo=\r\n")

    def test_no_subprotocol_and_no_extension_even_when_offered(self):
        # G14: clients refuse a subprotocol that they did not ask for; there is no permessage-deflate.
        for options in ({}, {"subprotocols": ["phoenix"]}, {"compression": "deflate"}):
            with self.subTest(options):
                stream = self.open(**options)
                self.assertNotIn("Sec-WebSocket-Protocol", stream.response_headers)
                self.assertNotIn("Sec-WebSocket-Extensions", stream.response_headers)
                stream.register(instance="a")

    def test_other_paths(self):
        for path in ("/", "/socket", "/socket/connector", "/socket/connector/websocketx?vsn=2.0.0", "/../etc/passwd"):
            with self.subTest(path):
                self.assertEqual(self.status(path=path), 404)
        self.assert_serves()

    def test_other_versions_of_the_framing(self):
        self.assertIn(self.status(path="/socket/connector/websocket?vsn=1.0.0"), range(400, 500))

    def test_requests_that_are_no_upgrade(self):
        self.assertIn(self.status(Upgrade=None, Connection=None), range(400, 500))
        self.assertIn(self.status(method="POST"), range(400, 500))
        self.assertIn(self.status(**{"Sec-WebSocket-Version": "8"}), range(400, 500))
        self.assertIn(self.status(**{"Sec-WebSocket-Key": None}), range(400, 500))
        self.assert_serves()

    def test_requests_that_are_nonsense(self):
        good = self.registered(instance="good")
        for data in (b"\r\n\r\n", b"\x00" * 100 + b"\r\n\r\n", b"GET\r\n\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
                     b"GET / HTTP/1.1\r\n" + b"x: " + b"y" * 100_000 + b"\r\n\r\n",
                     b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 10_000 + b"\r\n\r\n"):  # fmt: skip
            with self.subTest(data[:20]):
                answer = self.exchange(data)
                self.assertFalse(answer.startswith("HTTP/1.1 101"), answer)
            self.assert_alive(good)
        self.assert_serves()

    def test_a_socket_that_only_joins_and_vanishes_before_the_real_one(self):
        # G10: what `connect()` of older clients leaves behind.
        first = self.open()
        first.reset()
        self.registered(instance="real")
        self.assert_serves()


class Channel(WebSocketTest):
    def test_heartbeats_are_answered_before_and_after_the_join(self):
        stream = self.open(join=False)
        self.assertEqual(stream.heartbeat(), {"status": "ok", "response": {}})
        stream.join()
        stream.register()
        for _ in range(3):
            self.assertEqual(stream.heartbeat(), {"status": "ok", "response": {}})

    def test_other_topics_are_refused_by_name(self):
        stream = self.open(join=False)
        for topic in ("connector:hall", "", "connector:lobby ", "phoenix"):
            with self.subTest(topic):
                payload = stream.request(topic, JOIN, {}, "77")
                self.assertEqual(payload["status"], "error")
        self.assertEqual(stream.request("room:1", PROTO + "x", {}, "77")["response"], {"reason": "unmatched topic"})
        stream.join()
        stream.register()

    def test_leaving_ends_the_registration(self):
        stream = self.registered(instance="leaver")
        self.assertEqual(stream.leave(), {"status": "ok", "response": {}})
        self.gateway.wait_log("connector disconnected address=acme.echo.leaver ")
        self.assert_serves()

    def test_closing_handshake(self):
        for code, answer in ((1000, 1000), (1001, 1001)):
            stream = self.registered(instance=f"closer-{code}")
            stream.finish() if code == 1000 else stream.close_with(code)
            stream.wait_end()
            self.assertEqual(stream.close_code, answer)
            self.gateway.wait_log(f"connector disconnected address=acme.echo.closer-{code} ")

    def test_connection_reset(self):
        stream = self.registered(instance="vanisher")
        stream.reset()
        self.gateway.wait_log("connector disconnected address=acme.echo.vanisher ")
        self.assert_serves()

    def test_pings_are_answered(self):
        stream = self.registered()
        for _ in range(3):
            stream.ping()
        self.assert_alive(stream)

    def test_refs_may_be_anything_that_phoenix_allows(self):
        stream = self.registered()
        for join_ref, ref in (("1", None), (None, "5"), (None, None), ("x", "y")):
            payload = proto_payload(heartbeat_request("g", 5))
            stream.send_raw(phoenix(join_ref, ref, LOBBY, PROTO, payload))
            stream.receive_until(HEARTBEAT_RESPONSE)
        self.assert_alive(stream)

    def test_longer_arrays_and_further_keys(self):
        stream = self.open()
        data = proto_payload(register_request())
        stream.send_raw(json.dumps(["1", "2", LOBBY, PROTO, {**data, "more": [1]}, {"even": "more"}]))
        self.assertEqual(integer(stream.receive_until(REGISTER_RESPONSE), 1), 1)

    def test_fragments_are_put_together(self):
        stream = self.open()
        frame = phoenix("1", "9", LOBBY, PROTO, proto_payload(register_request()))
        stream.send_raw(iter([frame[:1], "", frame[1:50], frame[50:]]))
        self.assertEqual(integer(stream.receive_until(REGISTER_RESPONSE), 1), 1)

    def test_frames_that_are_none(self):
        """Whatever becomes of the one who sends them, the others are served."""
        good = self.registered(instance="good")
        proto = proto_payload(heartbeat_request())
        frames = ["", "nonsense", "{}", "[]", "null", "7", '"x"', "[" * 100_000, "[1,2,3,4]", '[null,null,null,null,null]',
                  json.dumps(["1", "2", LOBBY, PROTO, None]), json.dumps(["1", "2", LOBBY, PROTO, {}]),
                  json.dumps(["1", "2", LOBBY, PROTO, {"data": 7}]), json.dumps(["1", "2", LOBBY, PROTO, {"data": "!!!!"}]),
                  json.dumps(["1", "2", LOBBY, PROTO, {"data": "AAA"}]), json.dumps(["1", "2", {}, PROTO, proto]),
                  json.dumps(["1", "2", LOBBY, [], proto]), json.dumps(["1", "2", LOBBY, "no_such_event", {}]),
                  json.dumps(["1", "2", LOBBY, REPLY, {}]), json.dumps(["1", {}, PHOENIX, HEARTBEAT, {}]),
                  b"", b"\xff" * 20, b"\x00"]  # fmt: skip
        for joined in (False, True):
            for frame in frames:
                with self.subTest(frame=frame[:60], joined=joined):
                    bad = self.open(join=joined)
                    bad.send_raw(frame)
                    bad.close()
                    bad.complaints.clear()  # an error reply to what has no ref
                    self.assert_alive(good)
        self.assertEqual(self.gateway.log_lines("connector disconnected"), [])
        self.assert_serves()

    def test_broken_websocket_frames_end_that_socket_only(self):
        good = self.registered(instance="good")
        broken = {
            1007: [b"\x81\x82\x00\x00\x00\x00\xff\xff"],  # text that is not UTF-8
            1002: [
                b"\x81\x02[]",  # not masked
                b"\x83\x80\x00\x00\x00\x00",  # reserved opcode
                b"\xc1\x80\x00\x00\x00\x00",  # reserved bit
                b"\x09\x80\x00\x00\x00\x00",  # a ping in fragments
                b"\x80\x80\x00\x00\x00\x00",  # goes on with nothing
                b"\x88\x81\x00\x00\x00\x00\x03",  # half a close code
            ],
        }
        for code, frames in broken.items():
            for i, frame in enumerate(frames):
                with self.subTest(frame):
                    bad = self.registered(instance=f"bad-{code}-{i}")
                    bad.write_bytes(frame)
                    bad.wait_end()
                    self.assertEqual(bad.close_code, code)
                    self.gateway.wait_log(f"connector disconnected address=acme.echo.bad-{code}-{i} ")
                    self.assert_alive(good)

    def test_drain(self):
        streams = [self.registered(instance=f"s-{i}") for i in range(3)]
        self.gateway.signal(signal.SIGTERM)
        for stream in streams:
            stream.wait_end()
            self.assertIn(stream.close_code, (1000, 1001, 1012))
        self.assert_exit(self.gateway, 0)


class Sizes(WebSocketTest):
    def test_messages_of_5_mib_both_ways(self):
        target, asking = self.registered(instance="a"), self.registered(instance="b")
        value = b'"' + b"x" * 5 * MIB + b'"'
        asking.send(invoke_request("i-1", "acme.echo.a", payload=value))
        request = target.receive_until(EXECUTE_REQUEST)
        self.assertEqual(request[2], [value])
        target.send(execute_response(text(request, 1), value))
        self.assertEqual(asking.receive_until(INVOKE_RESPONSE)[3], [value])

    def test_17_mib_end_that_socket_only(self):
        good = self.registered(instance="good")
        for size in (17 * MIB, 40 * MIB):
            with self.subTest(size=size):
                bad = self.registered(instance=f"bad-{size}")
                with contextlib.suppress(websockets.ConnectionClosed):
                    bad.send(execute_response("r", b"x" * size))
                bad.wait_end()
                self.assertIn(bad.close_code, (1009, 1006))
                self.gateway.wait_log(f"connector disconnected address=acme.echo.bad-{size} ")
                self.assert_alive(good)

    def test_limit_can_be_set(self):
        self.use_gateway("--max-message-bytes", 1000)
        bad = self.registered(instance="bad")
        bad.send(execute_response("r", b"x" * 1100))
        bad.wait_end()
        self.assertEqual(bad.close_code, 1009)
        self.gateway.wait_log("connector disconnected address=acme.echo.bad .*1000")


class ManyOnOneSocket(WebSocketTest):
    """Multiplexed: N registrations on one socket, told apart by ARN."""

    gateway_flags = ["--duplicates", "refuse-new"]

    def register_many(self, stream, count):
        """All at once; the ARNs by instance."""
        for i in range(count):
            stream.send(register_request(instance=f"m-{i}"))
        responses = [stream.receive_until(REGISTER_RESPONSE) for _ in range(count)]
        self.assertTrue(all(integer(response, 1) for response in responses), responses)
        return {text(response, 4) for response in responses}

    def test_each_registers_and_is_asked_by_its_arn(self):
        stream, asking = self.open(), self.registered(instance="asking")
        count = 20
        self.assertEqual(self.register_many(stream, count), {f"matrix:acme:echo:m-{i}" for i in range(count)})
        self.gateway.wait_log("connector registered .* connectors=21 ")
        for i in range(count):
            asking.send(invoke_request(f"i-{i}", f"acme.echo.m-{i}", payload=str(i)))
        asked = {}
        for _ in range(count):
            request = stream.receive_until(EXECUTE_REQUEST)
            asked[string_map(request, 4)["connector_arn"]] = request[2][-1].decode()
            stream.send(execute_response(text(request, 1), request[2][-1]))
        self.assertEqual(asked, {f"matrix:acme:echo:m-{i}": str(i) for i in range(count)})
        answers = [asking.receive_until(INVOKE_RESPONSE) for _ in range(count)]
        self.assertEqual({text(a, 1): a[3][-1].decode() for a in answers}, {f"i-{i}": str(i) for i in range(count)})

    def test_one_that_is_rejected_is_named_and_touches_no_other(self):
        self.registered(instance="taken")
        stream = self.open()
        for instance in ("m-1", "taken", "m-2"):
            stream.send(register_request(instance=instance))
        responses = [stream.receive_until(REGISTER_RESPONSE) for _ in range(3)]
        # G4: the ARN is there in refusals, too.
        self.assertEqual(
            {text(response, 4): integer(response, 1) for response in responses},
            {"matrix:acme:echo:m-1": 1, "matrix:acme:echo:taken": 0, "matrix:acme:echo:m-2": 1},
        )
        self.assert_alive(stream)

    def test_all_go_with_their_socket(self):
        stream = self.open()
        self.register_many(stream, 5)
        stream.reset()
        self.gateway.wait_log("connector disconnected address=acme.echo.m", skip=4)
        self.assert_serves()

    def test_one_heartbeat_does_for_all(self):
        self.use_gateway("--session-timeout", scaled(600))
        stream, silent = self.open(), self.registered(instance="silent")
        self.register_many(stream, 3)
        # Longer than any may be silent.
        beating = threading.Event()
        self.addCleanup(beating.set)
        while not beating.wait(0.05):
            stream.send(heartbeat_request())
            if self.gateway.log_lines("connector disconnected address=acme.echo.silent .*no message for"):
                break
        silent.wait_end()
        stream.send(heartbeat_request("last"))
        while text(stream.receive_until(HEARTBEAT_RESPONSE), 1) != "last":
            pass
        self.assertEqual(self.gateway.log_lines("connector disconnected address=acme.echo.m"), [])

    def test_they_ask_each_other(self):
        stream = self.open()
        self.register_many(stream, 2)
        stream.send(invoke_request("i-1", "acme.echo.m-1", payload="[1]"))
        request = stream.receive_until(EXECUTE_REQUEST)
        stream.send(execute_response(text(request, 1), b"[2]"))
        self.assertEqual(stream.receive_until(INVOKE_RESPONSE)[3], [b"[2]"])

    def test_512_on_one_socket(self):
        stream = self.open()
        self.register_many(stream, 512)
        self.assert_alive(stream)
        stream.finish()
        self.gateway.wait_log("connector disconnected .* connectors=0 ")


class Storm(WebSocketTest):
    SOCKETS = 200

    def test_sockets_dropped_at_random_leave_nothing(self):
        self.registered().close()
        before = descriptors(self.gateway.pid)
        for i in range(self.SOCKETS):
            stream = self.open(join=i % 4 > 0)
            if i % 4 > 1:
                stream.send(register_request(instance=f"s-{i % 7}"))
            if i % 4 > 2:
                stream.receive()
            (stream.reset if i % 3 else stream.finish)()
        self.wait_descriptors(self.gateway, before)
        self.assert_serves()
        self.wait_empty()


if __name__ == "__main__":
    unittest.main(verbosity=2, warnings="ignore")

#!/usr/bin/env python3
"""The WebSocket port of `sharingbus gateway` against clients that are slow, silent, hasty or out of their minds, and bad
networks between it and `sharingbus connect`: what test_grpc_port.py and test_bad_networks.py do, over WebSocket."""

import os
import struct
import sys
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(HERE, os.pardir, "support")]

import test_bad_networks as networks  # noqa: E402
import test_grpc_port as grpc_port  # noqa: E402
from connector_wire import register_request  # noqa: E402
from phoenix_wire import JOIN, LOBBY, PATH, PROTO, phoenix, proto_payload  # noqa: E402
from program import DEADLINE  # noqa: E402
from test_websocket_connector import OverWebSocket  # noqa: E402

TEXT, BINARY, CLOSE, PING = 1, 2, 8, 9
LAST = 0x80


def websocket_frame(opcode, payload):
    """As clients send it, with a mask that changes nothing."""
    size = len(payload)
    sizes = bytes([0x80 | size]) if size < 126 else b"\xfe" + struct.pack(">H", size)
    return bytes([LAST | opcode]) + sizes + bytes(4) + payload


def text_frame(*elements):
    return websocket_frame(TEXT, phoenix(*elements).encode())


UPGRADE = (
    f"GET {PATH} HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
).encode()
JOINED = UPGRADE + text_frame("1", "1", LOBBY, JOIN, {})
REGISTER = text_frame("1", "2", LOBBY, PROTO, proto_payload(register_request(instance="raw")))


class OverWebSocketPort(OverWebSocket):
    opening = UPGRADE
    registration = JOINED + REGISTER
    register_bytes = len(REGISTER)

    def connect_raw(self, data=b""):
        """As RFC 6455 has it: nothing follows the request before its answer."""
        client = super().connect_raw(data[: len(UPGRADE)])
        if len(data) > len(UPGRADE):
            client.read_until(b"\r\n\r\n", DEADLINE)
            client.send(data[len(UPGRADE) :])
        return client


class Slow(OverWebSocketPort, grpc_port.Slow):
    def send_bytewise(self, client):
        for part in (UPGRADE, self.registration[len(UPGRADE) :]):
            for byte in part:
                client.send(bytes([byte]))
            if part is UPGRADE:
                client.read_until(b"\r\n\r\n", DEADLINE)

    def test_halves_of_a_handshake_are_given_up(self):
        clients = [self.connect_raw(UPGRADE[:cut]) for cut in range(0, len(UPGRADE), 10)]
        for client in clients:
            client.read_end(DEADLINE)
            client.close()
        self.assert_nothing_left()


class Silent(OverWebSocketPort, grpc_port.Silent):
    # Fewer than may be in their handshake at once.
    CONNECTIONS = 1000

    def test_more_than_may_be_in_their_handshake(self):
        # Newcomers wait in the kernel until these are given up, those who have their session are served.
        clients = [self.connect_raw() for _ in range(1500)]
        self.wait_accepted(1000)
        self.assert_alive(self.good)
        for client in clients:
            client.close()
        self.assert_nothing_left()


class Hasty(OverWebSocketPort, grpc_port.Hasty):
    test_streams_reset_as_soon_as_they_are_open = None
    test_streams_reset_after_their_registration = None


class Noise(OverWebSocketPort, grpc_port.Noise):
    starts = [b"", b"GET / HTTP/1.1\r\n", UPGRADE + b"\x81", JOINED, JOINED + REGISTER]
    test_random_frames = None
    test_floods_of_settings_and_pings = None

    def test_random_websocket_frames(self):
        for _ in range(100):
            client = self.connect_raw(JOINED)
            client.discard()
            for _ in range(20):
                payload = self.random.randbytes(self.random.randrange(60))
                client.send(websocket_frame(self.random.choice([0, TEXT, BINARY, CLOSE, PING, 10, 11]), payload))
            client.close()
        self.assert_nothing_left()

    def test_random_phoenix_frames(self):
        parts = ["1", None, LOBBY, "phoenix", PROTO, JOIN, "phx_leave", "heartbeat", {}, [], {"data": "AAAA"}, 7]
        for _ in range(100):
            client = self.connect_raw(JOINED if self.random.random() < 0.7 else UPGRADE)
            client.discard()
            for _ in range(20):
                client.send(text_frame(*(self.random.choice(parts) for _ in range(5))))
            client.close()
        self.assert_nothing_left()

    def test_flood_of_pings(self):
        client = self.connect_raw(JOINED)
        client.discard()
        for _ in range(100):
            client.send(websocket_frame(PING, bytes(125)) * 50)
            self.assert_alive(self.good)
        client.close()
        self.assert_nothing_left()

    def test_flood_of_pings_from_one_who_reads_nothing(self):
        client = self.connect_raw(JOINED)
        # More than the kernel keeps of the pongs. Whether it is made to wait or thrown out is the gateway's choice.
        client.send_many(websocket_frame(PING, bytes(125)) * 500, 300, 3)
        self.assert_alive(self.good)
        client.close()
        self.assert_nothing_left()


class Reset(OverWebSocket, networks.Reset):
    scheme = "ws"
    connections = 5


class HalfOpen(OverWebSocket, networks.HalfOpen):
    scheme = "ws"


class SlowNetwork(OverWebSocket, networks.Slow):
    scheme = "ws"
    too_late = "no open stream in time"


class Dns(OverWebSocket, networks.Dns):
    scheme = "ws"
    flag, key = "--websocket", "websocket"


class Twins(OverWebSocket, networks.Twins):
    scheme = "ws"


if __name__ == "__main__":
    unittest.main(verbosity=2, warnings="ignore")

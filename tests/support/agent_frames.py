"""The agent protocol on Unix sockets, from its description alone: frames of a length, a type byte and JSON."""

import base64
import json
import os
import socket
import struct

HANDSHAKE, HANDSHAKE_RESPONSE = 0x01, 0x02
REGISTRATION, REGISTRATION_RESPONSE = 0x01, 0x02
REQUEST_HEADERS, REQUEST_BODY_CHUNK, RESPONSE_HEADERS, RESPONSE_BODY_CHUNK = 0x10, 0x11, 0x12, 0x13
REQUEST_COMPLETE, GUARDRAIL_INSPECT, CONFIGURE = 0x14, 0x16, 0x17
AGENT_RESPONSE = 0x20
HEALTH_STATUS, METRICS_REPORT, FLOW_CONTROL = 0x30, 0x31, 0x33
CANCEL, PING, PONG = 0x40, 0x41, 0x42

REPORTS = {HEALTH_STATUS, METRICS_REPORT, FLOW_CONTROL}


def frame(kind, payload):
    data = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    return struct.pack(">IB", len(data) + 1, kind) + data


def request_headers(correlation_id, **headers):
    return {
        "correlation_id": correlation_id,
        "metadata": {
            "correlation_id": correlation_id,
            "request_id": "r",
            "client_ip": "192.0.2.1",
            "client_port": 4711,
            "server_name": None,
            "protocol": "HTTP/1.1",
            "tls_version": None,
            "tls_cipher": None,
            "route_id": None,
            "upstream_id": None,
            "timestamp": "2026-01-01T00:00:00Z",
        },
        "method": "GET",
        "uri": "/",
        "headers": {name.replace("_", "-"): [value] for name, value in headers.items()},
    }


def body_chunk(correlation_id, data, last=True):
    return {"correlation_id": correlation_id, "data": base64.b64encode(data).decode(), "is_last": last,
            "total_size": None, "chunk_index": 0, "bytes_received": len(data)}  # fmt: skip


class Connection:
    """One end of a connection, in either role."""

    def __init__(self, peer, seconds):
        self._socket = peer
        self._socket.settimeout(seconds)

    @classmethod
    def dial(cls, path, seconds):
        peer = socket.socket(socket.AF_UNIX)
        peer.settimeout(seconds)
        peer.connect(path)
        return cls(peer, seconds)

    def send(self, kind, payload):
        self._socket.sendall(frame(kind, payload))

    def send_bytes(self, data):
        self._socket.sendall(data)

    def receive(self):
        """Type and payload of the next frame; None at the end of the stream."""
        head = self._read(4)
        if head is None:
            return None
        data = self._read(struct.unpack(">I", head)[0])
        return data[0], data[1:]

    def receive_json(self, kind):
        """The next frame that is no report; it must be of this kind."""
        while True:
            received = self.receive()
            if received is None:
                raise AssertionError(f"the stream ended instead of a frame of type {kind:#x}")
            if received[0] in REPORTS and received[0] != kind:
                continue
            if received[0] != kind:
                raise AssertionError(f"type {received[0]:#x} instead of {kind:#x}: {received[1]!r}")
            return json.loads(received[1])

    def handshake(self, **changes):
        request = {"supported_versions": [2], "proxy_id": "test-proxy", "proxy_version": "1.0.0", "config": None,
                   "supported_encodings": ["json"]}  # fmt: skip
        self.send(HANDSHAKE, {**request, **changes})
        return self.receive_json(HANDSHAKE_RESPONSE)

    def ask(self, kind, payload):
        self.send(kind, payload)
        return self.receive_json(AGENT_RESPONSE)

    def ended(self):
        """Reads on to the end of the stream."""
        try:
            while self.receive() is not None:
                pass
        except ConnectionError:
            pass
        return True

    def close(self):
        self._socket.close()

    def _read(self, size):
        data = bytearray()
        while len(data) < size:
            piece = self._socket.recv(size - len(data))
            if not piece:
                if data:
                    raise ConnectionError("the stream ended within a frame")
                return None
            data += piece
        return bytes(data)


class Listener:
    """Where agents dial in."""

    def __init__(self, path, seconds):
        self._seconds = seconds
        self._path = path
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(seconds)
        self._socket.bind(path)
        self._socket.listen(64)

    def accept(self):
        """A connection and its registration."""
        peer, _ = self._socket.accept()
        connection = Connection(peer, self._seconds)
        return connection, connection.receive_json(REGISTRATION)

    def close(self):
        self._socket.close()
        os.unlink(self._path)

"""HTTP/2 by hand, for peers that break its rules: frames as bytes, and a socket that sends what it is told."""

import contextlib
import socket
import struct
import threading

from connector_wire import METHOD

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY = 0, 1, 3, 4, 6, 7
END_STREAM, ACK, END_HEADERS = 1, 1, 4
CANCEL = 8
HEAD_BYTES = 9


def frame(kind, flags=0, stream=0, payload=b""):
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def literal(name, value):
    """A header field without compression or indexing."""
    return b"".join([b"\x00", *(bytes([len(part)]) + part.encode() for part in (name, value))])


def request_headers(stream, path=METHOD):
    fields = {":method": "POST", ":scheme": "http", ":path": path, ":authority": "localhost",
              "te": "trailers", "content-type": "application/grpc"}  # fmt: skip
    return frame(HEADERS, END_HEADERS, stream, b"".join(literal(*field) for field in fields.items()))


def response_headers(stream):
    return frame(HEADERS, END_HEADERS, stream, b"\x88" + literal("content-type", "application/grpc"))


def grpc_data(stream, message):
    return frame(DATA, 0, stream, b"\x00" + struct.pack(">I", len(message)) + message)


OPENING = PREFACE + frame(SETTINGS)


class RawClient:
    """A TCP connection to a gateway, which reads nothing unless told to."""

    def __init__(self, address, data=b""):
        host, port = address.rsplit(":", 1)
        self._socket = socket.create_connection((host, int(port)))
        self._reader = None
        self.send(data)

    def send(self, data):
        """What the other side does not want to read any more is lost."""
        with contextlib.suppress(ConnectionError):
            self._socket.sendall(data)

    def send_many(self, data, times, seconds):
        """Until the other side has taken none of it for so long, or ends."""
        self._socket.settimeout(seconds)
        with contextlib.suppress(TimeoutError, ConnectionError):
            for _ in range(times):
                self._socket.sendall(data)

    def finish(self):
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_WR)

    def read_until(self, end, seconds):
        """What came, with `end` in it unless the other side ended the connection."""
        self._socket.settimeout(seconds)
        data = b""
        with contextlib.suppress(ConnectionError):
            while end not in data and (more := self._socket.recv(65536)):
                data += more
        return data

    def read_end(self, seconds):
        """Reads until the other side ends the connection."""
        self._socket.settimeout(seconds)
        with contextlib.suppress(ConnectionError):
            while self._socket.recv(65536):
                pass

    def discard(self):
        """Reads and forgets all that comes, in a thread of its own, until the end."""
        self._reader = threading.Thread(target=self._discard, daemon=True)
        self._reader.start()

    def _discard(self):
        with contextlib.suppress(OSError):
            while self._socket.recv(65536):
                pass

    def close(self):
        if self._reader is not None:
            # A socket that is closed while a thread reads from it lives on.
            with contextlib.suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)
            self._reader.join()
            self._reader = None
        self._socket.close()

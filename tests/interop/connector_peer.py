#!/usr/bin/env python3
"""A connector written from the protocol's description alone: no generated code, no .proto file.

Opens one stream to a gateway over gRPC, registers, answers heartbeats, and answers each ExecuteRequest with
{"echo": <payload>}. Prints what happens as JSON lines. Exits 0 after --max-requests answered requests, 1 when the
registration is rejected or the stream ends before that, 2 on bad usage.

Needs grpcio (Debian: python3-grpcio).
"""

import argparse
import json
import queue
import struct
import sys
import threading
import time

import grpc

METHOD = "/matrix.connectors.v1.ConnectorService/Connect"
DRAIN_SECONDS = 5

# Numbers in StreamMessage.
REGISTER_REQUEST, REGISTER_RESPONSE, EXECUTE_REQUEST, EXECUTE_RESPONSE, APPROVAL_NOTIFICATION = 1, 2, 3, 4, 5
HEARTBEAT_REQUEST, HEARTBEAT_RESPONSE, CREDENTIALS_ISSUED = 6, 7, 10

JSON, RAW_BYTES, JSON_LINES = 1, 2, 4
ENCODING_NAMES = {0: "Unspecified", 3: "ArrowIpc", 5: "Protobuf", 6: "Msgpack", 7: "Parquet"}
REQUEST_RESPONSE = 5
STATUS_NAMES = {0: "unspecified", 1: "pending", 2: "approved", 3: "rejected"}


# --- Protobuf's wire form ---


def varint(value):
    """Base-128, negative numbers as 64-bit two's complement."""
    value &= (1 << 64) - 1
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def field(number, value):
    """One field: int and bool as varint, str and bytes with their length, dict as a map of str to str."""
    if isinstance(value, dict):
        return b"".join(field(number, field(1, k) + field(2, v)) for k, v in value.items())
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    data = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(data)) + data


def message(fields):
    """Fields by number; default values stay off the wire."""
    return b"".join(field(number, value) for number, value in fields.items() if value)


def read_varint(data, at):
    value = shift = 0
    while True:
        if at >= len(data) or shift > 63:
            raise ValueError("varint is cut off or too long")
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return value & (1 << 64) - 1, at


def parse(data):
    """All values of each field, in order: {number: [int or bytes, …]}."""
    fields = {}
    at = 0
    while at < len(data):
        tag, at = read_varint(data, at)
        number, wire_type = tag >> 3, tag & 7
        if wire_type == 0:
            value, at = read_varint(data, at)
        elif wire_type in (1, 2, 5):
            size = {1: 8, 5: 4}.get(wire_type)
            if size is None:
                size, at = read_varint(data, at)
            value, at = data[at : at + size], at + size
            if at > len(data):
                raise ValueError(f"field {number} is cut off")
            if wire_type != 2:
                value = int.from_bytes(value, "little")
        else:
            raise ValueError(f"field {number} has wire type {wire_type}")
        fields.setdefault(number, []).append(value)
    return fields


def text(fields, number):
    return fields.get(number, [b""])[-1].decode()


def integer(fields, number):
    return fields.get(number, [0])[-1]


def signed(fields, number):
    return struct.unpack("<q", struct.pack("<Q", integer(fields, number)))[0]


def string_map(fields, number):
    entries = [parse(entry) for entry in fields.get(number, [])]
    return {text(entry, 1): text(entry, 2) for entry in entries}


# --- the protocol ---


def sanitised(identifier):
    return identifier.translate(str.maketrans(dict.fromkeys(".: \t\n", "-")))


def now_ms():
    return time.time_ns() // 1_000_000


def register_request(options):
    capabilities = message(
        {
            1: options.type,
            2: "1.0.0",
            3: bytes([JSON, RAW_BYTES]),  # packed
            4: bytes([REQUEST_RESPONSE]),  # packed
        }
    )
    instance = sanitised(options.instance)
    return field(
        REGISTER_REQUEST,
        message(
            {
                1: sanitised(options.tenant),
                2: sanitised(options.type),
                3: instance,
                4: capabilities,
                7: options.jwt,
                10: message({1: instance, 3: {"sdk.language": "python"}}),
            }
        ),
    )


def first_message(options):
    """The registration, or what a broken peer might send instead."""
    return {
        "register": register_request(options),
        "execute": field(EXECUTE_REQUEST, message({1: "r-1", 2: "{}", 3: JSON})),
        "empty": b"",
        "garbage": b"\xff" * 16,
        "unknown": field(99, "from the future"),
    }[options.first]


def decode_payload(payload, encoding):
    if encoding in (JSON, RAW_BYTES):
        return json.loads(payload.decode())
    if encoding == JSON_LINES:
        return [line for line in payload.decode().split("\n") if line]
    name = ENCODING_NAMES.get(encoding, encoding)
    raise ValueError(f"Unsupported encoding: Encoding {name} not yet implemented")


def execute_response(request):
    """The answer to an ExecuteRequest, and whether it is a success."""
    started = time.monotonic()
    try:
        payload = request.get(2, [b""])[-1]
        result, error = {"echo": decode_payload(payload, integer(request, 3))}, ""
    except ValueError as failure:
        result, error = {"error": str(failure), "success": False}, str(failure)
    fields = {
        1: text(request, 1),
        2: not error,
        3: json.dumps(result),
        4: JSON,
        5: error,
        6: int((time.monotonic() - started) * 1000),
    }
    return field(EXECUTE_RESPONSE, message(fields)), not error


class Peer:
    """One stream. Its requests come from a queue, so that every answer is one `put`."""

    def __init__(self, options, emit):
        self._options = options
        self._emit = emit
        self._outbound = queue.SimpleQueue()
        self._stopped = threading.Event()
        self._answered = 0
        self._rejected = False

    def run(self):
        """Serves the stream until it ends; returns the exit code."""
        with grpc.insecure_channel(self._options.address) as channel:
            connect = channel.stream_stream(METHOD, request_serializer=None, response_deserializer=None)
            self._outbound.put(first_message(self._options))
            call = connect(iter(self._outbound.get, None), timeout=self._options.timeout or None)
            threading.Thread(target=self._send_heartbeats, daemon=True).start()
            try:
                for data in call:
                    self._handle(parse(data))
                    if self._rejected or self._done():
                        break
                if self._done():
                    self._drain(call)
                    return 0
                call.cancel()
                if not self._rejected:
                    self._emit("stream_closed", code=call.code().name, details=call.details())
                return 1 if self._rejected or self._options.max_requests else 0
            except grpc.RpcError as error:
                self._emit("stream_error", code=error.code().name, details=error.details())
                return 1
            except ValueError as error:
                self._emit("protocol_error", details=str(error))
                return 1
            finally:
                self._stopped.set()
                self._outbound.put(None)

    def _done(self):
        return 0 < self._options.max_requests <= self._answered

    def _drain(self, call):
        """Half-closes, so that the last answers arrive, and waits for the gateway to close as well."""
        self._outbound.put(None)
        give_up = threading.Timer(DRAIN_SECONDS, call.cancel)
        give_up.start()
        try:
            for _ in call:
                pass
        except grpc.RpcError:
            pass
        give_up.cancel()
        self._emit("done", answered=self._answered, code=call.code().name)

    def _send_heartbeats(self):
        while not self._stopped.wait(self._options.heartbeat_interval):
            self._outbound.put(field(HEARTBEAT_REQUEST, message({2: now_ms()})))

    def _handle(self, stream_message):
        handlers = {
            REGISTER_RESPONSE: self._on_register_response,
            EXECUTE_REQUEST: self._on_execute_request,
            APPROVAL_NOTIFICATION: self._on_approval_notification,
            HEARTBEAT_REQUEST: self._on_heartbeat_request,
            HEARTBEAT_RESPONSE: self._on_heartbeat_response,
            CREDENTIALS_ISSUED: self._on_credentials_issued,
        }
        for number, values in stream_message.items():
            if number in handlers and isinstance(values[-1], bytes):
                handlers[number](parse(values[-1]))
            else:
                self._emit("ignored", field_number=number)

    def _on_register_response(self, response):
        arn = text(response, 4)
        if not integer(response, 1):
            self._rejected = True
            self._emit("rejected", arn=arn, error=text(response, 3))
            return
        status = integer(response, 5)
        self._emit(
            "registered", arn=arn, status=STATUS_NAMES.get(status, status), session_token=text(response, 8)
        )

    def _on_execute_request(self, request):
        response, success = execute_response(request)
        self._outbound.put(response)
        self._answered += 1
        self._emit(
            "executed",
            request_id=text(request, 1),
            capability=text(request, 5),
            context=string_map(request, 4),
            success=success,
        )

    def _on_approval_notification(self, notification):
        status = integer(notification, 2)
        self._emit(
            "approval",
            gateway_id=text(notification, 1),
            status=STATUS_NAMES.get(status, status),
            message=text(notification, 5),
        )

    def _on_heartbeat_request(self, request):
        self._outbound.put(
            field(HEARTBEAT_RESPONSE, message({1: text(request, 1), 2: signed(request, 2)}))
        )
        self._emit("heartbeat_answered", timestamp_ms=signed(request, 2))

    def _on_heartbeat_response(self, response):
        self._emit(
            "heartbeat_response", timestamp_ms=signed(response, 2), should_reconnect=bool(integer(response, 3))
        )

    def _on_credentials_issued(self, credentials):
        self._emit("credentials", gateway_id=text(credentials, 1), ott=text(credentials, 8))


def emit(event, **details):
    print(json.dumps({"event": event, **details}), flush=True)


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--address", required=True, metavar="HOST:PORT")
    parser.add_argument("--tenant", default="acme")
    parser.add_argument("--type", default="echo")
    parser.add_argument("--instance", default="peer-1")
    parser.add_argument("--jwt", default="")
    parser.add_argument("--max-requests", type=int, default=1, help="0: until the stream ends")
    parser.add_argument("--first", choices=["register", "execute", "empty", "garbage", "unknown"], default="register")
    parser.add_argument("--heartbeat-interval", type=float, default=30, metavar="SECONDS")
    parser.add_argument("--timeout", type=float, default=0, metavar="SECONDS", help="of the whole stream; 0: none")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(Peer(parse_arguments(), emit).run())

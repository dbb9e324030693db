"""The connector protocol from its description alone: no generated code, no .proto file.

What both ends in Python share: Protobuf's wire form, the numbers of messages and fields, and the messages themselves.
"""

import json
import struct
import time

METHOD = "/matrix.connectors.v1.ConnectorService/Connect"

# Numbers in StreamMessage.
REGISTER_REQUEST, REGISTER_RESPONSE, EXECUTE_REQUEST, EXECUTE_RESPONSE, APPROVAL_NOTIFICATION = 1, 2, 3, 4, 5
HEARTBEAT_REQUEST, HEARTBEAT_RESPONSE, INVOKE_REQUEST, INVOKE_RESPONSE, CREDENTIALS_ISSUED = 6, 7, 8, 9, 10

JSON, RAW_BYTES, JSON_LINES = 1, 2, 4
ENCODING_NAMES = {0: "Unspecified", 3: "ArrowIpc", 5: "Protobuf", 6: "Msgpack", 7: "Parquet"}
REQUEST_RESPONSE = 5
PENDING, APPROVED, REJECTED = 1, 2, 3
STATUS_NAMES = {0: "unspecified", PENDING: "pending", APPROVED: "approved", REJECTED: "rejected"}


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


def register_request(tenant="acme", type="echo", instance="peer-1", jwt="", metadata=None):
    capabilities = message(
        {
            1: type,
            2: "1.0.0",
            3: bytes([JSON, RAW_BYTES]),  # packed
            4: bytes([REQUEST_RESPONSE]),  # packed
        }
    )
    instance = sanitised(instance)
    return field(
        REGISTER_REQUEST,
        message(
            {
                1: sanitised(tenant),
                2: sanitised(type),
                3: instance,
                4: capabilities,
                7: jwt,
                10: message({1: instance, 3: {"sdk.language": "python", **(metadata or {})}}),
            }
        ),
    )


def register_response(success=True, arn="", status=APPROVED, session_token="", error=""):
    return field(REGISTER_RESPONSE, message({1: success, 3: error, 4: arn, 5: status, 8: session_token}))


def execute_request(request_id, payload=b"{}", encoding=JSON, context=None, capability=""):
    return field(EXECUTE_REQUEST, message({1: request_id, 2: payload, 3: encoding, 4: context, 5: capability}))


def execute_response(request_id, payload, error="", duration_ms=0):
    fields = {1: request_id, 2: not error, 3: payload, 4: JSON, 5: error, 6: duration_ms}
    return field(EXECUTE_RESPONSE, message(fields))


def approval_notification(status, gateway_id="", text=""):
    return field(APPROVAL_NOTIFICATION, message({1: gateway_id, 2: status, 5: text}))


def heartbeat_request(gateway_id="", timestamp_ms=None):
    return field(HEARTBEAT_REQUEST, message({1: gateway_id, 2: now_ms() if timestamp_ms is None else timestamp_ms}))


def heartbeat_response(request, should_reconnect=False):
    """To the fields of a HeartbeatRequest."""
    return field(HEARTBEAT_RESPONSE, message({1: text(request, 1), 2: signed(request, 2), 3: should_reconnect}))


def invoke_request(request_id, target, payload="{}", encoding=JSON, capability="", context=None, timeout_ms=0,
                   fire_and_forget=False):  # fmt: skip
    fields = {1: request_id, 2: target, 3: capability, 4: payload, 5: encoding, 6: context, 7: timeout_ms,
              8: fire_and_forget}  # fmt: skip
    return field(INVOKE_REQUEST, message(fields))


def decode_payload(payload, encoding):
    if encoding in (JSON, RAW_BYTES):
        return json.loads(payload.decode())
    if encoding == JSON_LINES:
        return [line for line in payload.decode().split("\n") if line]
    name = ENCODING_NAMES.get(encoding, encoding)
    raise ValueError(f"Unsupported encoding: Encoding {name} not yet implemented")


def first_field(data):
    """A StreamMessage's only message: its number and its fields. 0 for an empty one."""
    for number, values in parse(data).items():
        return number, parse(values[-1])
    return 0, {}

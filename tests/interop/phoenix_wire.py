"""The connector protocol over WebSocket from its description alone: Phoenix V2 frames around StreamMessages."""

import base64
import binascii
import json

PATH = "/socket/connector/websocket?vsn=2.0.0"
LOBBY = "connector:lobby"
PHOENIX = "phoenix"
JOIN, LEAVE, CLOSE, ERROR = "phx_join", "phx_leave", "phx_close", "phx_error"
REPLY, HEARTBEAT, PROTO = "phx_reply", "heartbeat", "proto"


def phoenix(join_ref, ref, topic, event, payload):
    return json.dumps([join_ref, ref, topic, event, payload], separators=(",", ":"))


def proto_payload(data):
    return {"data": base64.b64encode(data).decode()}


def reply(join_ref, ref, topic, response=None, status="ok"):
    return phoenix(join_ref, ref, topic, REPLY, {"status": status, "response": response or {}})


def parse_phoenix(text):
    """The five elements, as strictly as the description has them."""
    elements = json.loads(text)
    if not isinstance(elements, list) or len(elements) != 5:
        raise ValueError(f"not an array of five: {text[:200]}")
    join_ref, ref, topic, event, payload = elements
    for name, value in (("join_ref", join_ref), ("ref", ref)):
        if not isinstance(value, (str, type(None))):
            raise ValueError(f"{name} is neither a string nor null: {text[:200]}")
    if not isinstance(topic, str) or not isinstance(event, str) or not isinstance(payload, dict):
        raise ValueError(f"topic and event must be strings, payload an object: {text[:200]}")
    return elements


def proto_data(payload):
    """The bytes of a `proto` payload."""
    if list(payload) != ["data"]:
        raise ValueError(f"payload has other keys than data: {list(payload)}")
    try:
        return base64.b64decode(payload["data"], validate=True)
    except (binascii.Error, TypeError) as error:
        raise ValueError(f"data is not padded base64 of the standard alphabet: {error}") from None

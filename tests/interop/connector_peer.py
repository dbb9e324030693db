#!/usr/bin/env python3
"""A connector written from the protocol's description alone: no generated code, no .proto file.

Opens one stream to a gateway over gRPC, registers, answers heartbeats, and answers each ExecuteRequest with
{"echo": <payload>}. Prints what happens as JSON lines. Exits 0 after --max-requests answered requests, 1 when the
registration is rejected or the stream ends before that, 2 on bad usage.

With --invoke ADDRESS it asks the connector at that address once it is registered, and exits 0 when that one says
success, 1 otherwise.

Needs grpcio (Debian: python3-grpcio).
"""

import argparse
import json
import queue
import sys
import threading
import time

import grpc
from connector_wire import (
    APPROVAL_NOTIFICATION,
    CREDENTIALS_ISSUED,
    EXECUTE_REQUEST,
    HEARTBEAT_REQUEST,
    HEARTBEAT_RESPONSE,
    INVOKE_RESPONSE,
    METHOD,
    REGISTER_RESPONSE,
    STATUS_NAMES,
    decode_payload,
    execute_request,
    execute_response,
    field,
    heartbeat_request,
    heartbeat_response,
    integer,
    invoke_request,
    parse,
    register_request,
    signed,
    string_map,
    text,
)

DRAIN_SECONDS = 5
INVOKE_ID = "invoke-1"
CHANNEL_OPTIONS = [("grpc.enable_http_proxy", 0)]


def first_message(options):
    """The registration, or what a broken peer might send instead."""
    return {
        "register": register_request(options.tenant, options.type, options.instance, options.jwt),
        "execute": execute_request("r-1"),
        "empty": b"",
        "garbage": b"\xff" * 16,
        "unknown": field(99, "from the future"),
    }[options.first]


def answer(request):
    """The answer to an ExecuteRequest, and whether it is a success."""
    started = time.monotonic()
    try:
        payload = request.get(2, [b""])[-1]
        result, error = {"echo": decode_payload(payload, integer(request, 3))}, ""
    except ValueError as failure:
        result, error = {"error": str(failure), "success": False}, str(failure)
    duration_ms = int((time.monotonic() - started) * 1000)
    return execute_response(text(request, 1), json.dumps(result), error, duration_ms), not error


class Peer:
    """One stream. Its requests come from a queue, so that every answer is one `put`."""

    def __init__(self, options, emit):
        self._options = options
        self._emit = emit
        self._outbound = queue.SimpleQueue()
        self._stopped = threading.Event()
        self._answered = 0
        self._rejected = False
        self._invoke_success = None

    def run(self):
        """Serves the stream until it ends; returns the exit code."""
        with grpc.insecure_channel(self._options.address, CHANNEL_OPTIONS) as channel:
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
                    return 1 if self._invoke_success is False else 0
                call.cancel()
                if not self._rejected:
                    self._emit("stream_closed", code=call.code().name, details=call.details())
                return 1 if self._rejected or self._options.max_requests or self._options.invoke else 0
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
        if self._options.invoke:
            return self._invoke_success is not None
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
            self._outbound.put(heartbeat_request())

    def _handle(self, stream_message):
        handlers = {
            REGISTER_RESPONSE: self._on_register_response,
            EXECUTE_REQUEST: self._on_execute_request,
            APPROVAL_NOTIFICATION: self._on_approval_notification,
            HEARTBEAT_REQUEST: self._on_heartbeat_request,
            HEARTBEAT_RESPONSE: self._on_heartbeat_response,
            INVOKE_RESPONSE: self._on_invoke_response,
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
        if self._options.invoke:
            self._invoke()

    def _invoke(self):
        options = self._options
        context = dict(pair.split("=", 1) for pair in options.context)
        self._outbound.put(
            invoke_request(
                INVOKE_ID,
                options.invoke,
                options.payload,
                capability=options.capability,
                context=context,
                timeout_ms=options.invoke_timeout_ms,
            )
        )

    def _on_invoke_response(self, response):
        if text(response, 1) != INVOKE_ID:
            self._emit("ignored", request_id=text(response, 1))
            return
        self._invoke_success = bool(integer(response, 2))
        self._emit(
            "invoked",
            success=self._invoke_success,
            payload=response.get(3, [b""])[-1].decode(),
            encoding=integer(response, 4),
            error=text(response, 5),
            duration_ms=signed(response, 6),
            error_details=string_map(response, 8),
        )

    def _on_execute_request(self, request):
        response, success = answer(request)
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
        self._outbound.put(heartbeat_response(request))
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
    parser.add_argument("--invoke", default="", metavar="ADDRESS", help="tenant.type.instance of whom to ask")
    parser.add_argument("--payload", default="{}", metavar="JSON", help="of --invoke")
    parser.add_argument("--capability", default="", help="of --invoke")
    parser.add_argument("--context", action="append", default=[], metavar="KEY=VALUE", help="of --invoke")
    parser.add_argument("--invoke-timeout-ms", type=int, default=0, metavar="MS")
    parser.add_argument("--first", choices=["register", "execute", "empty", "garbage", "unknown"], default="register")
    parser.add_argument("--heartbeat-interval", type=float, default=30, metavar="SECONDS")
    parser.add_argument("--timeout", type=float, default=0, metavar="SECONDS", help="of the whole stream; 0: none")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(Peer(parse_arguments(), emit).run())

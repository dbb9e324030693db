"""Both ends of the connector protocol over WebSocket for tests in one process: `PhoenixStream` opens one to a gateway,
`PhoenixGateway` accepts them. They have the faces of streams.py, and say what the other side does against the protocol
(`complaints`).
"""

import asyncio
import contextlib
import http
import queue
import socket
import struct
import threading

import websockets
from connector_wire import REGISTER_REQUEST, REGISTER_RESPONSE, integer, register_request, register_response, text
from phoenix_wire import (
    HEARTBEAT,
    JOIN,
    LEAVE,
    LOBBY,
    PATH,
    PHOENIX,
    PROTO,
    REPLY,
    parse_phoenix,
    phoenix,
    proto_data,
    proto_payload,
    reply,
)
from program import DEADLINE
from streams import Inbox

# What clients of the protocol have: no compression, no pings of their own; sizes are the other side's matter.
OPTIONS = {"compression": None, "ping_interval": None, "max_size": None, "max_queue": None}

_loop = asyncio.new_event_loop()


def run(coroutine, seconds=DEADLINE):
    """Has it done by the thread that all sockets share."""
    if not _loop.is_running():
        threading.Thread(target=_loop.run_forever, daemon=True).start()
    return asyncio.run_coroutine_threadsafe(coroutine, _loop).result(seconds)


class PhoenixSocket(Inbox):
    """What both ends share. StreamMessages come by `receive`, all other Phoenix frames by `next_frame`."""

    def __init__(self):
        super().__init__()
        self.complaints = []
        self._frames = queue.Queue()
        self._socket = None
        self._reader = None
        # Code and reason of the other side's Close frame, once the socket has ended; 1006: there was none.
        self.close_code = None
        self.close_reason = None

    def _adopt(self, websocket):
        self._socket = websocket
        self._reader = asyncio.ensure_future(self._read())

    async def _read(self):
        with contextlib.suppress(websockets.ConnectionClosed):
            async for data in self._socket:
                try:
                    await self._on_message(data)
                except (ValueError, KeyError) as error:
                    self.complaints.append(str(error))
        received = self._socket.close_rcvd if hasattr(self._socket, "close_rcvd") else None
        self.close_code = received.code if received else 1006
        self.close_reason = received.reason if received else ""
        self._frames.put(None)
        self.end()

    async def _on_message(self, data):
        raise NotImplementedError

    def next_frame(self, event, seconds=DEADLINE):
        """The next Phoenix frame, which must be of that event; None when the socket ended."""
        try:
            frame = self._frames.get(timeout=seconds)
        except queue.Empty:
            raise AssertionError(f"no {event} within {seconds:.0f} s") from None
        if frame is None:
            self._frames.put(None)
            return None
        if frame[3] != event:
            raise AssertionError(f"{frame[3]} instead of {event}: {frame}")
        return frame

    def send_raw(self, data):
        """A text message for str, a binary one for bytes. What a dead socket is told is lost."""
        with contextlib.suppress(websockets.ConnectionClosed):
            run(self._socket.send(data))

    def ping(self):
        """Waits for the pong."""

        async def ping():
            await (await self._socket.ping())

        run(ping())

    def close_with(self, code, reason=""):
        run(self._socket.close(code, reason))

    def reset(self):
        """The connection ends with RST."""

        async def abort():
            transport = self._socket.transport
            linger = struct.pack("ii", 1, 0)
            transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            transport.abort()

        run(abort())

    def write_bytes(self, data):
        """Below WebSocket."""

        async def write():
            self._socket.transport.write(data)

        run(write())

    def finish(self):
        self.close_with(1000)

    def close(self):
        with contextlib.suppress(Exception):
            run(self._socket.close())
        with contextlib.suppress(Exception):
            run(asyncio.wait_for(self._reader, DEADLINE))


class PhoenixStream(PhoenixSocket):
    """A connector's socket to a gateway, joined unless told otherwise; one stream, or several at once. `close` must be
    called."""

    def __init__(self, address, path=PATH, join=True, **options):
        super().__init__()
        self._ref = 0
        self._join_ref = None
        # Of frames that were sent and want a reply; whether gateways reply to `proto` is left open.
        self._awaited = {}
        self._protos = set()

        async def connect():
            self._adopt(await websockets.connect(f"ws://{address}{path}", **{**OPTIONS, **options}))

        run(connect())
        if join:
            self.join()

    @property
    def subprotocol(self):
        return self._socket.subprotocol

    @property
    def response_headers(self):
        return self._socket.response_headers

    async def _on_message(self, data):
        if isinstance(data, bytes):
            self.put(data)
            return
        join_ref, ref, topic, event, payload = parse_phoenix(data)
        if event == PROTO:
            self.put(proto_data(payload))
        elif event == REPLY:
            if "data" in payload["response"]:
                self.put(proto_data(payload["response"]))
            self._on_reply(join_ref, ref, topic, payload)
        elif (topic, event) == (PHOENIX, HEARTBEAT):
            await self._socket.send(reply(join_ref, ref, PHOENIX))
        else:
            self._frames.put([join_ref, ref, topic, event, payload])

    def _on_reply(self, join_ref, ref, topic, payload):
        if ref in self._protos:
            return
        sent = self._awaited.pop(ref, None)
        if sent is None:
            self.complaints.append(f"a reply to ref {ref!r}, which nobody waits for")
        elif (join_ref, topic) != sent:
            self.complaints.append(f"a reply with join_ref and topic {join_ref!r}, {topic!r} to {sent}")
        self._frames.put([join_ref, ref, topic, REPLY, payload])

    def push(self, topic, event, payload, join_ref=None):
        """With the next ref."""
        self._ref += 1
        ref = str(self._ref)
        if event == PROTO:
            self._protos.add(ref)
        else:
            self._awaited[ref] = (join_ref, topic)
        self.send_raw(phoenix(join_ref, ref, topic, event, payload))
        return ref

    def request(self, topic, event, payload, join_ref=None):
        """The payload of the reply."""
        ref = self.push(topic, event, payload, join_ref)
        frame = self.next_frame(REPLY)
        if frame is None:
            raise AssertionError(f"the socket ended ({self.close_code} {self.close_reason}) before the reply to {event}")
        if frame[1] != ref:
            raise AssertionError(f"a reply to ref {frame[1]} instead of {ref}")
        return frame[4]

    def join(self):
        self._join_ref = str(self._ref + 1)
        payload = self.request(LOBBY, JOIN, {}, self._join_ref)
        if payload != {"status": "ok", "response": {}}:
            raise AssertionError(f"not joined: {payload}")

    def leave(self):
        """The payload of the reply."""
        return self.request(LOBBY, LEAVE, {}, self._join_ref)

    def heartbeat(self):
        """The payload of the reply."""
        return self.request(PHOENIX, HEARTBEAT, {})

    def send(self, data):
        self.push(LOBBY, PROTO, proto_payload(data), self._join_ref)

    def register(self, **identity):
        """The fields of the response, which must be a success."""
        self.send(register_request(**identity))
        response = self.receive_fields(REGISTER_RESPONSE)
        if not integer(response, 1):
            raise AssertionError(f"rejected: {text(response, 3)}")
        return response


class PhoenixSession(PhoenixSocket):
    """A connector's socket as the gateway sees it. Joins and heartbeats are answered unless told otherwise."""

    def __init__(self, gateway, websocket, path):
        super().__init__()
        self._gateway = gateway
        self.path = path
        self.request_headers = websocket.request_headers
        self.peer = websocket.remote_address
        self._last_ref = 0
        self._join_ref = None
        self._adopt(websocket)

    async def _on_message(self, data):
        if isinstance(data, bytes):
            raise ValueError("clients never send binary messages")
        frame = parse_phoenix(data)
        join_ref, ref, topic, event, payload = frame
        if (topic, event) == (PHOENIX, REPLY):
            self._frames.put(frame)
            return
        self._check_refs(join_ref, ref, topic)
        if event == PROTO:
            if self._join_ref is None:
                raise ValueError("proto before the join")
            self.put(proto_data(payload))
            return
        self._frames.put(frame)
        if event == JOIN:
            if topic != LOBBY or payload != {}:
                raise ValueError(f"join of {topic!r} with {payload}")
            self._join_ref = join_ref
            if self._gateway.answer_joins:
                await self._socket.send(reply(join_ref, ref, topic))
        elif event == LEAVE:
            await self._socket.send(reply(join_ref, ref, topic))
        elif event == HEARTBEAT:
            if topic != PHOENIX or payload != {} or join_ref is not None:
                raise ValueError(f"not how a heartbeat looks: {data}")
            if self._gateway.answer_heartbeats:
                await self._socket.send(reply(join_ref, ref, topic))
        else:
            raise ValueError(f"unknown event {event!r}")

    def _check_refs(self, join_ref, ref, topic):
        if ref is None or not ref.isdecimal() or int(ref) <= self._last_ref:
            raise ValueError(f"ref {ref!r} after {self._last_ref}: not the text of a larger number")
        self._last_ref = int(ref)
        if topic == PHOENIX:
            return
        if topic != LOBBY:
            raise ValueError(f"topic {topic!r}")
        if join_ref is None or not join_ref.isdecimal():
            raise ValueError(f"join_ref {join_ref!r}: not the text of a number")
        if self._join_ref not in (None, join_ref):
            raise ValueError(f"join_ref {join_ref!r} instead of {self._join_ref!r}")

    def push(self, event, payload, topic=LOBBY, join_ref=None, ref=None):
        self.send_raw(phoenix(self._join_ref if join_ref is None else join_ref, ref, topic, event, payload))

    def send(self, data):
        self.push(PROTO, proto_payload(data))

    def answer_join(self, status="ok", response=None):
        """For gateways that do not do it themselves."""
        frame = self.next_frame(JOIN)
        self.send_raw(reply(frame[0], frame[1], frame[2], response, status))

    def accept_registration(self, session_token="", **response):
        """Answers yes; the fields of the request."""
        request = self.receive_fields(REGISTER_REQUEST)
        arn = "matrix:" + ":".join(text(request, number) for number in (1, 2, 3))
        self.send(register_response(arn=arn, session_token=session_token, **response))
        return request


class PhoenixGateway:
    """Accepts connectors on a free port. `close` must be called."""

    def __init__(self, port=0):
        self._sessions = queue.Queue()
        self._all = []
        self.answer_joins = True
        self.answer_heartbeats = True
        # An HTTP status and headers to refuse upgrades with.
        self.refusal = None

        async def serve():
            return await websockets.serve(
                self._on_socket, "127.0.0.1", port, process_request=self._on_request, server_header=None, **OPTIONS
            )

        self._server = run(serve())
        self.address = f"127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def _on_request(self, path, headers):
        if self.refusal is None:
            return None
        status, extra = self.refusal
        return http.HTTPStatus(status), extra, b"no\n"

    async def _on_socket(self, websocket, path):
        session = PhoenixSession(self, websocket, path)
        self._all.append(session)
        self._sessions.put(session)
        await session._reader

    def accept(self, seconds=DEADLINE):
        """The next socket."""
        try:
            return self._sessions.get(timeout=seconds)
        except queue.Empty:
            raise AssertionError(f"no socket within {seconds:.0f} s") from None

    def complaints(self):
        return [complaint for session in self._all for complaint in session.complaints]

    def close(self):
        async def close():
            self._server.close()
            await self._server.wait_closed()

        run(close())

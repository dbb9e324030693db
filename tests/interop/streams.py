"""Both ends of the connector protocol for tests in one process: `Stream` opens one to a gateway, `PythonGateway`
accepts them. Messages go in and out as bytes (connector_wire), so that a test can send what no sane peer would.
"""

import concurrent.futures
import queue
import threading

import grpc
from connector_wire import (
    METHOD,
    REGISTER_REQUEST,
    REGISTER_RESPONSE,
    first_field,
    integer,
    register_request,
    register_response,
    text,
)
from program import DEADLINE

UNLIMITED = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
CHANNEL_OPTIONS = [("grpc.enable_http_proxy", 0), ("grpc.use_local_subchannel_pool", 1), *UNLIMITED]
MOST_STREAMS = 64

END = object()


class Inbox:
    """What came from the other side, and that it ended."""

    def __init__(self):
        self._messages = queue.Queue()

    def put(self, data):
        self._messages.put(data)

    def end(self):
        self._messages.put(END)

    def waiting(self):
        """Messages that have come and were not received yet."""
        return self._messages.qsize()

    def receive(self, seconds=DEADLINE):
        """Number and fields of the next message; None when the stream ended."""
        data = self.receive_bytes(seconds)
        return None if data is None else first_field(data)

    def receive_bytes(self, seconds=DEADLINE):
        try:
            data = self._messages.get(timeout=seconds)
        except queue.Empty:
            raise AssertionError(f"no message within {seconds:.0f} s") from None
        if data is END:
            self._messages.put(END)
            return None
        return data

    def receive_fields(self, number, seconds=DEADLINE):
        """The fields of the next message, which must be `number`."""
        received = self.receive(seconds)
        if received is None:
            raise AssertionError(f"the stream ended before message {number}")
        if received[0] != number:
            raise AssertionError(f"message {received[0]} instead of {number}: {received[1]}")
        return received[1]

    def receive_until(self, number, seconds=DEADLINE):
        """The fields of the next message with that number; others before it are passed over."""
        while True:
            received = self.receive(seconds)
            if received is None:
                raise AssertionError(f"the stream ended before message {number}")
            if received[0] == number:
                return received[1]

    def wait_end(self, seconds=DEADLINE):
        """Passes over what is left."""
        while self.receive_bytes(seconds) is not None:
            pass


class Stream(Inbox):
    """A connector's stream to a gateway. `close` must be called."""

    def __init__(self, address, method=METHOD):
        super().__init__()
        self._outbound = queue.SimpleQueue()
        self._channel = grpc.insecure_channel(address, CHANNEL_OPTIONS)
        connect = self._channel.stream_stream(method, request_serializer=None, response_deserializer=None)
        self._call = connect(iter(self._outbound.get, None))
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self):
        try:
            for data in self._call:
                self.put(data)
        except grpc.RpcError:
            pass
        self.end()

    def send(self, data):
        self._outbound.put(data)

    def finish(self):
        self._outbound.put(None)

    def status(self):
        """Waits for the end; its name and text."""
        self.wait_end()
        return self._call.code().name, self._call.details() or ""

    def register(self, **identity):
        """The fields of the response, which must be a success."""
        self.send(register_request(**identity))
        response = self.receive_fields(REGISTER_RESPONSE)
        if not integer(response, 1):
            raise AssertionError(f"rejected: {text(response, 3)}")
        return response

    def close(self):
        self._outbound.put(None)
        self._call.cancel()
        self._thread.join()
        self._channel.close()


class Session(Inbox):
    """A connector's stream as the gateway sees it."""

    def __init__(self, context):
        super().__init__()
        self._outbound = queue.SimpleQueue()
        self.context = context
        # Whether it ends the stream when the connector has finished its side.
        self.polite = True
        self.peer = context.peer()

    def send(self, data):
        self._outbound.put(data)

    def finish(self):
        """With status OK."""
        self._outbound.put(None)

    def abort(self, code, details):
        self._outbound.put((code, details))

    def outbound(self):
        for item in iter(self._outbound.get, None):
            if isinstance(item, tuple):
                self.context.abort(*item)
            yield item

    def accept_registration(self, session_token="", **response):
        """Answers yes; the fields of the request."""
        request = self.receive_fields(REGISTER_REQUEST)
        arn = "matrix:" + ":".join(text(request, number) for number in (1, 2, 3))
        self.send(register_response(arn=arn, session_token=session_token, **response))
        return request


class PythonGateway(grpc.GenericRpcHandler):
    """Accepts connectors on a free port. `close` must be called."""

    def __init__(self, port=0, max_streams=None):
        """`max_streams`: of one connection."""
        self._sessions = queue.Queue()
        # So many streams get their response headers with the first message instead of at once.
        self.without_headers = 0
        self._open = set()
        self._lock = threading.Lock()
        limit = [("grpc.max_concurrent_streams", max_streams)] if max_streams else []
        self._server = grpc.server(
            concurrent.futures.ThreadPoolExecutor(MOST_STREAMS),
            handlers=[self],
            options=[("grpc.so_reuseport", 0), *UNLIMITED, *limit],
        )
        self.address = f"127.0.0.1:{self._server.add_insecure_port(f'127.0.0.1:{port}')}"
        self._server.start()

    def service(self, handler_call_details):
        if handler_call_details.method != METHOD:
            return None
        return grpc.stream_stream_rpc_method_handler(self._connect)

    def _connect(self, requests, context):
        session = Session(context)
        with self._lock:
            self._open.add(session)
        context.add_callback(session.finish)
        with self._lock:
            headers = self.without_headers == 0
            self.without_headers -= not headers
        if headers:
            context.send_initial_metadata(())
        threading.Thread(target=self._read, args=(requests, session), daemon=True).start()
        self._sessions.put(session)
        yield from session.outbound()

    def _read(self, requests, session):
        try:
            for data in requests:
                session.put(data)
        except Exception:  # grpcio raises a bare one when the stream is cancelled
            pass
        session.end()
        if session.polite:
            session.finish()

    def accept(self, seconds=DEADLINE):
        """The next stream."""
        try:
            return self._sessions.get(timeout=seconds)
        except queue.Empty:
            raise AssertionError(f"no stream within {seconds:.0f} s") from None

    def go_away(self):
        """Takes no new streams, gives the port up, and leaves those that there are alone."""
        self._server.stop(3600)

    def close(self):
        with self._lock:
            sessions = list(self._open)
        for session in sessions:
            session.finish()
        self._server.stop(0).wait()

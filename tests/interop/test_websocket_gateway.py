#!/usr/bin/env python3
"""`sharingbus connect ws://…` against a gateway in Python (sockets.py), written from the protocol's description alone."""

import json
import os
import socket
import sys
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(HERE, os.pardir, "support")]

import test_python_gateway as over_grpc  # noqa: E402
from connector_wire import (  # noqa: E402
    EXECUTE_RESPONSE,
    HEARTBEAT_REQUEST,
    HEARTBEAT_RESPONSE,
    REGISTER_REQUEST,
    execute_request,
    field,
    heartbeat_request,
    heartbeat_response,
    register_response,
    text,
)
from phoenix_wire import (  # noqa: E402
    CLOSE,
    ERROR,
    HEARTBEAT,
    JOIN,
    LEAVE,
    LOBBY,
    PATH,
    PHOENIX,
    PROTO,
    REPLY,
    phoenix,
    proto_payload,
    reply,
)
from program import INTERRUPTED, scaled, wait_until  # noqa: E402
from sockets import PhoenixGateway  # noqa: E402

MIB = 1024 * 1024


class OverWebSocket:
    """Has a GatewayTest's gateway speak WebSocket."""

    scheme = "ws"
    transport = "WebSocket"
    open_gateway = PhoenixGateway

    def setUp(self):
        super().setUp()
        self.addCleanup(self.assert_no_complaints)

    def assert_no_complaints(self):
        self.assertEqual(self.gateway.complaints(), [])


class WebSocketTest(OverWebSocket, over_grpc.Ends):
    """Only the helpers."""

    for name in dir(over_grpc.Ends):
        if name.startswith("test_"):
            locals()[name] = None


# What a gateway sees does not depend on the transport.


class Registration(OverWebSocket, over_grpc.Registration):
    test_limit_of_streams_that_the_gateway_keeps_to_itself = None
    test_many_instances_have_a_stream_each_over_shared_connections = None

    def test_many_instances_have_a_socket_each(self):
        self.start_connect("--instances", "7")
        sessions = [self.gateway.accept() for _ in range(7)]
        instances = {text(session.accept_registration(), 3) for session in sessions}
        self.assertEqual(instances, {f"instance-{i}" for i in range(1, 8)})


class RegistrationFails(OverWebSocket, over_grpc.RegistrationFails):
    test_stream_fails_before_the_answer = None
    test_no_headers = None
    test_ctrl_c_during_the_wait_for_headers = None
    test_method_is_not_served = None
    test_connections_that_are_closed_at_once = None

    def test_upgrade_is_refused(self):
        for status in (400, 401, 403, 404, 500, 503):
            with self.subTest(status):
                self.gateway.refusal = (status, {})
                connect = self.start_connect("--no-reconnect")
                self.assert_exit(connect, 1)
                self.assertRegex(connect.stderr, f"registration failed .*{status}")
        self.gateway.refusal = None

    def test_refused_for_now(self):
        self.gateway.refusal = (503, {"Retry-After": "2"})
        connect = self.start("connect", f"ws://{self.gateway.address}", "--reconnect-delay", "10ms",
                             "--reconnect-jitter", "0s")  # fmt: skip
        connect.wait_log(r"retrying .* after=(2s|20\d\dms)$")
        self.gateway.refusal = None
        self.gateway.accept().accept_registration()
        connect.wait_log(" registered address=")

    def test_no_answer_to_the_upgrade(self):
        with socket.create_server(("127.0.0.1", 0)) as silent:
            url = f"ws://127.0.0.1:{silent.getsockname()[1]}"
            connect = self.start("connect", url, "--connect-timeout", scaled(300), "--no-reconnect")
            self.assert_exit(connect, 1)
            self.assertIn("registration failed", connect.stderr)

    def test_answers_that_are_no_upgrade(self):
        for answer in (b"", b"\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", b"SSH-2.0-x\r\n",
                       b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                       b"Sec-WebSocket-Accept: bm90IHRoZSBrZXkgYXQgYWxs\r\n\r\n",
                       b"HTTP/1.1 101 X\r\nx: " + b"y" * 100_000 + b"\r\n\r\n"):  # fmt: skip
            with self.subTest(answer[:40]), socket.create_server(("127.0.0.1", 0)) as odd:
                url = f"ws://127.0.0.1:{odd.getsockname()[1]}"
                connect = self.start("connect", url, "--no-reconnect")
                with odd.accept()[0] as accepted:
                    accepted.recv(65536)
                    accepted.sendall(answer)
                self.assert_exit(connect, 1)
                self.assertIn("registration failed", connect.stderr)

    def test_join_is_refused(self):
        self.gateway.answer_joins = False
        connect = self.start_connect()
        self.gateway.accept().answer_join("error", {"reason": "full"})
        connect.wait_log("registration failed .*full")
        self.gateway.answer_joins = True
        self.gateway.accept().accept_registration()
        connect.wait_log(" registered address=")

    def test_join_is_never_answered(self):
        self.gateway.answer_joins = False
        connect = self.start_connect("--connect-timeout", scaled(300))
        self.gateway.accept().wait_end()
        connect.wait_log("registration failed ")
        self.gateway.answer_joins = True
        while not connect.log_lines(" registered address="):
            session = self.gateway.accept()
            session.next_frame(JOIN)
            if session.receive() is not None:
                session.send(register_response(arn="matrix:default:echo:instance"))
                connect.wait_log(" registered address=")

    def test_only_the_reply_to_the_join_counts(self):
        # Weakness 9.
        self.gateway.answer_joins = False
        connect = self.start_connect()
        session = self.gateway.accept()
        join = session.next_frame(JOIN)
        session.send_raw(reply(join[0], "999", LOBBY))
        session.send_raw(reply(join[0], join[1], "connector:hall"))
        session.send_raw(reply(None, join[1], PHOENIX))
        session.send_raw(reply(join[0], join[1], LOBBY, {"reason": "no"}, "error"))
        connect.wait_log("registration failed .*no")
        self.assertEqual(connect.log_lines(" registered "), [])

    def test_frames_before_the_reply_to_the_join_do_not_disturb_it(self):
        self.gateway.answer_joins = False
        connect = self.start_connect()
        session = self.gateway.accept()
        join = session.next_frame(JOIN)
        session.send_raw(phoenix(None, None, LOBBY, PROTO, proto_payload(heartbeat_request("g", 42))))
        session.send_raw(phoenix(None, None, LOBBY, "no_such_event", {}))
        session.send_raw(reply(join[0], join[1], LOBBY))
        session.accept_registration()
        connect.wait_log(" registered address=")


class Execute(OverWebSocket, over_grpc.Execute):
    pass


class Stays(OverWebSocket, over_grpc.Stays):
    def assert_stays(self, connect, session):
        self.assert_answer(self.execute(session, b"[1]"), [1])
        self.assertEqual(connect.log_lines(" disconnected "), [])

    def test_events_it_does_not_know(self):
        connect, session = self.connected()
        session.push("presence_diff", {"joins": {}})
        session.push("no_such_event", {"x": [1, {"y": None}]}, topic="room:1")
        session.send_raw(reply("1", "99", LOBBY, {"reason": "whatever"}, "error"))
        session.send_raw(reply(None, "99", PHOENIX))
        self.assert_stays(connect, session)

    def test_arrays_of_other_lengths(self):
        connect, session = self.connected()
        for odd in ("[]", "[1,2,3,4]", '["1",null,"connector:lobby","proto"]'):
            session.send_raw(odd)
        request = proto_payload(execute_request("r-6", b"[6]"))
        session.send_raw(json.dumps([None, None, LOBBY, PROTO, request, "more"]))
        self.assertEqual(text(session.receive_until(EXECUTE_RESPONSE), 1), "r-6")
        self.assert_stays(connect, session)

    def test_any_topic_and_any_refs(self):
        _, session = self.connected()
        for i, (join_ref, ref, topic) in enumerate(((None, None, LOBBY), ("7", "8", "x"), (None, "9", PHOENIX))):
            session.send_raw(phoenix(join_ref, ref, topic, PROTO, proto_payload(execute_request(f"r-{i}", b"1"))))
            self.assertEqual(text(session.receive_until(EXECUTE_RESPONSE), 1), f"r-{i}")

    def test_hexadecimal_data(self):
        _, session = self.connected()
        # Its length is no multiple of four, so it is no base64.
        request = execute_request("r-hex", b"[12]")
        self.assertEqual(len(request) % 2, 1)
        session.push(PROTO, {"data": request.hex()})
        self.assertEqual(text(session.receive_until(EXECUTE_RESPONSE), 1), "r-hex")

    def test_data_in_a_reply(self):
        _, session = self.connected()
        session.send_raw(reply("1", "2", LOBBY, proto_payload(execute_request("r-reply", b"[1]"))))
        self.assertEqual(text(session.receive_until(EXECUTE_RESPONSE), 1), "r-reply")

    def test_binary_messages_are_bare(self):
        connect, session = self.connected()
        session.send_raw(execute_request("r-binary", b"[1]"))
        self.assertEqual(text(session.receive_until(EXECUTE_RESPONSE), 1), "r-binary")
        session.send_raw(b"")
        session.send_raw(field(99, "?"))
        self.assert_stays(connect, session)

    def test_fragments(self):
        _, session = self.connected()
        frame = phoenix(None, None, LOBBY, PROTO, proto_payload(execute_request("r-f", b"[1]")))
        session.send_raw(iter([frame[:1], frame[1:30], "", frame[30:]]))
        self.assertEqual(text(session.receive_until(EXECUTE_RESPONSE), 1), "r-f")

    def test_heartbeats_of_the_gateway_s_channel(self):
        _, session = self.connected()
        for join_ref, ref in (("x", "y"), (None, "5")):
            session.send_raw(phoenix(join_ref, ref, PHOENIX, HEARTBEAT, {}))
            frame = session.next_frame(JOIN) if join_ref == "x" else None
            self.assertTrue(frame is None or frame[4] == {})
            self.assertEqual(
                session.next_frame(REPLY), [join_ref, ref, PHOENIX, REPLY, {"status": "ok", "response": {}}]
            )

    def test_pings(self):
        connect, session = self.connected()
        session.ping()
        self.assert_stays(connect, session)


class Ends(OverWebSocket, over_grpc.Ends):
    test_goaway = None
    test_gateway_fails = None
    test_ctrl_c_with_a_gateway_that_does_not_finish_its_side = None

    def test_close_codes(self):
        for code in (1001, 1002, 1008, 1009, 1011, 3000, 4999):
            with self.subTest(code):
                connect, session = self.connected()
                session.close_with(code, "for a reason")
                connect.wait_log(" disconnected .*")
                self.assert_comes_back(connect, session)

    def test_close_codes_that_ask_to_wait(self):
        for code in (1012, 1013):
            with self.subTest(code):
                connect = self.start("connect", f"ws://{self.gateway.address}", "--reconnect-delay", "10ms",
                                     "--reconnect-jitter", "0s")  # fmt: skip
                session = self.gateway.accept()
                session.accept_registration()
                connect.wait_log(" registered address=")
                session.close_with(code)
                connect.wait_log(f" disconnected .*{code}")
                # Not at once, although its first wait is 10 ms.
                connect.wait_log(r"retrying .* after=(5s|50\d\dms)$")
                connect.interrupt()
                self.assert_exit(connect, INTERRUPTED)

    def test_channel_errors(self):
        for event, topic in ((ERROR, LOBBY), (CLOSE, LOBBY), (ERROR, "room:1"), (CLOSE, PHOENIX)):
            with self.subTest(event=event, topic=topic):
                connect, session = self.connected()
                session.push(event, {}, topic=topic)
                connect.wait_log(f" disconnected .*{'phx_error' if event == ERROR else 'server-closed'}")
                self.assert_comes_back(connect, session)

    def test_what_cannot_be_decoded(self):
        # The reference drops it; here somebody waits for each message, so the peer is met anew.
        frames = ["no JSON", b"\xff" * 16, b"\x0a\x7f"]
        frames += [phoenix(None, None, LOBBY, PROTO, {"data": data}) for data in ("!!!!", "AAA", "=", "\u00e9", "zz")]
        for frame in frames:
            with self.subTest(frame):
                connect, session = self.connected()
                session.send_raw(frame)
                connect.wait_log(" disconnected .* reason=stream-error")
                self.assert_comes_back(connect, session)

    def test_unmatched_topic(self):
        connect, session = self.connected()
        session.send_raw(reply("1", "2", LOBBY, {"reason": "unmatched topic"}, "error"))
        connect.wait_log(" disconnected .*unmatched topic")
        self.assert_comes_back(connect, session)

    def test_connection_reset(self):
        connect, session = self.connected()
        session.reset()
        connect.wait_log(" disconnected .* reason=stream-error")
        self.assert_comes_back(connect, session)

    def test_broken_websocket_frames(self):
        for frame in (b"\x81\x82\x00\x00\x00\x00[]", b"\x83\x00", b"\xc1\x00", b"\x81\x01\xff"):
            with self.subTest(frame):
                connect, session = self.connected()
                session.write_bytes(frame)
                connect.wait_log(" disconnected .* reason=stream-error")
                self.assert_comes_back(connect, session)

    def test_ctrl_c_leaves_and_closes_in_good_order(self):
        # Weakness 10.
        connect, session = self.connected()
        session.next_frame(JOIN)
        connect.interrupt()
        self.assert_exit(connect, INTERRUPTED)
        session.wait_end()
        self.assertEqual(session.next_frame(LEAVE)[2:], [LOBBY, LEAVE, {}])
        self.assertEqual(session.close_code, 1000)


class Handshake(WebSocketTest):
    def test_request(self):
        self.start_connect()
        session = self.gateway.accept()
        self.assertEqual(session.path, PATH)
        headers = {name.lower(): value for name, value in session.request_headers.raw_items()}
        self.assertEqual(headers["host"], self.gateway.address)
        self.assertEqual(headers["sec-websocket-version"], "13")
        for name in ("sec-websocket-protocol", "sec-websocket-extensions", "origin", "cookie", "authorization"):
            self.assertNotIn(name, headers)

    def test_http_is_another_word_for_ws(self):
        self.start("connect", f"http://{self.gateway.address}/ignored")
        self.assertEqual(self.gateway.accept().path, PATH)

    def test_join_comes_first_and_registration_next(self):
        self.start_connect()
        session = self.gateway.accept()
        join_ref, ref, topic, event, payload = session.next_frame(JOIN)
        self.assertEqual((join_ref, ref, topic, payload), ("1", "1", LOBBY, {}))
        session.receive_fields(REGISTER_REQUEST)


class Beats(WebSocketTest):
    """Takes as long as 25 s are."""

    def test_phoenix_heartbeat_after_25_seconds(self):
        connect, session = self.connected("--heartbeat-interval", "10m", "--heartbeat-timeout", "20m")
        session.next_frame(JOIN)
        frame = session.next_frame(HEARTBEAT)
        self.assertEqual((frame[0], frame[2], frame[4]), (None, PHOENIX, {}))
        connect.interrupt()
        self.assert_exit(connect, INTERRUPTED)


class ManyOnOneSocket(WebSocketTest):
    """Multiplexed: registrations of a tenant share a socket."""

    SHARED = ["--max-registrations-per-stream", 512]

    def start_many(self, count, *arguments):
        """The program and the only session, with all of them registered."""
        connect = self.start_connect("--instances", count, "--instance", "m", *self.SHARED, *arguments)
        session = self.gateway.accept()
        self.names = {text(session.accept_registration(), 3) for _ in range(count)}
        connect.wait_log(" registered address=", skip=count - 1)
        return connect, session

    def ask(self, session, i):
        context = {"connector_arn": f"matrix:default:echo:m-{i}"}
        session.send(execute_request(f"r-{i}", str(i), context=context))

    def assert_all_answer(self, session, numbers):
        for i in numbers:
            self.ask(session, i)
        answers = [session.receive_until(EXECUTE_RESPONSE) for _ in numbers]
        self.assertEqual({text(a, 1): a[3][-1].decode() for a in answers}, {f"r-{i}": str(i) for i in numbers})

    def test_all_register_and_answer(self):
        _, session = self.start_many(20)
        self.assertEqual(self.names, {f"m-{i}" for i in range(1, 21)})
        self.assert_all_answer(session, range(1, 21))

    def test_no_more_than_they_may(self):
        connect = self.start_connect("--instances", 7, "--instance", "m", "--max-registrations-per-stream", 3)
        sessions = [self.gateway.accept() for _ in range(3)]
        registered = [0, 0, 0]

        def accept_all():
            for i, session in enumerate(sessions):
                while session.waiting():
                    session.accept_registration()
                    registered[i] += 1
            return sum(registered) == 7

        wait_until(accept_all, "7 registrations")
        self.assertEqual(sorted(registered), [1, 3, 3])
        connect.wait_log(" registered address=", skip=6)

    def test_one_that_is_rejected_touches_no_other(self):
        connect = self.start_connect("--instances", 3, "--instance", "m", *self.SHARED)
        session = self.gateway.accept()
        for _ in range(3):
            name = text(session.receive_until(REGISTER_REQUEST), 3)
            good = name != "m-2"
            session.send(register_response(good, f"matrix:default:echo:{name}", error="" if good else "not you"))
        connect.wait_log(" registered address=", skip=1)
        connect.wait_log("registration failed address=default.echo.m-2 .*not you")
        self.assert_all_answer(session, (1, 3))
        # It tries again, on the same socket.
        self.assertEqual(text(session.receive_until(REGISTER_REQUEST), 3), "m-2")
        self.assertEqual(connect.log_lines(" disconnected "), [])

    def test_addressed_to_nobody(self):
        # Weakness 31: the caller must not wait for its timeout.
        connect, session = self.start_many(2)
        self.ask(session, 7)
        response = session.receive_until(EXECUTE_RESPONSE)
        self.assertEqual((text(response, 1), response.get(2, [0])[-1]), ("r-7", 0))
        self.assert_all_answer(session, (1, 2))
        self.assertEqual(connect.log_lines(" disconnected "), [])

    def test_one_heartbeat_for_the_socket(self):
        _, session = self.start_many(5, "--heartbeat-interval", "200ms", "--heartbeat-timeout", scaled(5000))
        for _ in range(3):
            session.send(heartbeat_response(session.receive_fields(HEARTBEAT_REQUEST)))

    def test_silence_is_noticed(self):
        # Weakness 34.
        connect, session = self.start_many(3, "--heartbeat-interval", scaled(100), "--heartbeat-timeout", scaled(400))
        connect.wait_log(" disconnected .* reason=heartbeat-timeout", skip=2)
        session.wait_end()

    def test_all_come_back_together(self):
        connect, session = self.start_many(5)
        session.reset()
        again = self.gateway.accept()
        for _ in range(5):
            again.accept_registration()
        connect.wait_log(" registered address=", skip=9)
        self.assert_all_answer(again, range(1, 6))

    def test_ctrl_c(self):
        connect, session = self.start_many(5)
        connect.interrupt()
        self.assert_exit(connect, INTERRUPTED)
        session.wait_end()
        self.assertEqual(len(connect.log_lines(" disconnected .* reason=shutdown")), 5)


class Sizes(WebSocketTest):
    def test_requests_above_its_limit(self):
        for size in (5 * MIB, 40 * MIB):
            with self.subTest(size=size):
                connect, session = self.connected("--max-message-bytes", 4 * MIB)
                session.send(execute_request("r-1", b'"' + b"x" * size + b'"'))
                connect.wait_log(r" disconnected .* reason=stream-error detail=.*(?i:too large|larger|exceeds|max)")
                session.wait_end()
                self.assertIn(session.close_code, (1009, 1006))
                connect.interrupt()
                self.assert_exit(connect, INTERRUPTED)


if __name__ == "__main__":
    unittest.main(verbosity=2, warnings="ignore")

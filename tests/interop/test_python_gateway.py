#!/usr/bin/env python3
"""`sharingbus connect` against a gateway in Python, written from the protocol's description alone."""

import contextlib
import json
import os
import socket
import sys
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(HERE, os.pardir, "support")]

import grpc  # noqa: E402
from connector_wire import (  # noqa: E402
    APPROVED,
    EXECUTE_RESPONSE,
    HEARTBEAT_REQUEST,
    HEARTBEAT_RESPONSE,
    JSON,
    JSON_LINES,
    PENDING,
    RAW_BYTES,
    REGISTER_REQUEST,
    REJECTED,
    approval_notification,
    execute_request,
    field,
    heartbeat_request,
    heartbeat_response,
    integer,
    message,
    now_ms,
    parse,
    register_response,
    signed,
    string_map,
    text,
)
from program import INTERRUPTED, ProgramTest, scaled, wait_until  # noqa: E402
from streams import PythonGateway  # noqa: E402

MIB = 1024 * 1024
# So that a test need not wait for a second attempt.
QUICK = ["--reconnect-delay", "10ms", "--reconnect-jitter", "0s", "--max-backoff", "50ms"]


class GatewayTest(ProgramTest):
    scheme = "grpc"
    transport = "gRPC"
    open_gateway = PythonGateway

    def setUp(self):
        self.gateway = self.open_gateway()
        self.addCleanup(self.gateway.close)

    def start_connect(self, *arguments):
        return self.start("connect", f"{self.scheme}://{self.gateway.address}", *QUICK, *arguments)

    def connected(self, *arguments):
        """A program with one connector, and its stream, registered."""
        connect = self.start_connect(*arguments)
        session = self.gateway.accept()
        session.accept_registration()
        connect.wait_log(" registered address=")
        return connect, session

    def execute(self, session, *arguments, **options):
        """The fields of the answer."""
        session.send(execute_request("r-1", *arguments, **options))
        response = session.receive_until(EXECUTE_RESPONSE)
        self.assertEqual(text(response, 1), "r-1")
        return response

    def assert_answer(self, response, value):
        self.assertEqual(integer(response, 2), 1, text(response, 5))
        self.assertEqual(json.loads(response[3][-1]), value)
        self.assertEqual(integer(response, 4), JSON)
        self.assertEqual(text(response, 5), "")
        self.assertLess(signed(response, 6), 60_000)

    def assert_failure(self, response, error):
        """A failure with `error` in its text, in the reference's form."""
        self.assertEqual(integer(response, 2), 0)
        self.assertIn(error, text(response, 5))
        self.assertEqual(json.loads(response[3][-1]), {"error": text(response, 5), "success": False})
        self.assertEqual(integer(response, 4), JSON)


class Registration(GatewayTest):
    def register_message(self, *arguments):
        """The fields of RegisterConnectorRequest, the first message, and the program."""
        connect = self.start_connect(*arguments)
        first = self.gateway.accept().receive_bytes()
        stream_message = parse(first)
        self.assertEqual(list(stream_message), [REGISTER_REQUEST])
        self.assertEqual(len(stream_message[REGISTER_REQUEST]), 1)
        return parse(stream_message[REGISTER_REQUEST][0]), connect

    def test_fields_of_a_plain_one(self):
        request, connect = self.register_message()
        # Nothing reserved (5, 6), no tokens yet (7, 8), scope left unspecified (9).
        self.assertEqual(sorted(request), [1, 2, 3, 4, 10])
        self.assertEqual((request[1], request[2], request[3]), ([b"default"], [b"echo"], [b"instance"]))
        # connector_type, version, supported_encodings and behaviors (packed), metadata and task types empty.
        self.assertEqual(request[4], [b"\x0a\x04echo" b"\x12\x051.0.0" b"\x1a\x02\x01\x02" b"\x22\x01\x05"])
        instance = parse(request[10][-1])
        self.assertEqual(sorted(instance), [1, 3])
        self.assertEqual(instance[1], [b"instance"])
        self.check_facts(string_map(instance, 3), connect)

    def check_facts(self, facts, connect):
        """sdk.* of the instance's metadata."""
        for key in ("sdk.version", "sdk.language", "sdk.os", "sdk.arch", "sdk.os_family", "sdk.debug", "sdk.hostname"):
            self.assertTrue(facts[key], key)
        self.assertEqual(facts["sdk.os"], "linux")
        self.assertEqual(facts["sdk.arch"], os.uname().machine)
        self.assertEqual(facts["sdk.pid"], str(connect.pid))
        self.assertEqual(facts["sdk.transport"], self.transport)
        self.assertEqual(facts["sdk.tls"], "false")
        self.assertIn(facts["sdk.debug"], ("true", "false"))

    def test_identifiers_are_sanitised(self):
        request, _ = self.register_message("--tenant", "acme inc.eu", "--instance", "a:b\tc\nd/é.", "--type", "clock")
        self.assertEqual(request[1], [b"acme-inc-eu"])
        self.assertEqual(request[2], [b"clock"])
        self.assertEqual(request[3], ["a-b-c-d/é-".encode()])
        self.assertEqual(parse(request[10][-1])[1], ["a-b-c-d/é-".encode()])

    def test_what_flags_say(self):
        request, _ = self.register_message(
            "--auth-token", "header.claims.signature", "--display-name", "The Echo: 1", "--tags", "blue,green",
            "--tags", "new"
        )  # fmt: skip
        self.assertEqual(request[7], [b"header.claims.signature"])
        instance = parse(request[10][-1])
        self.assertEqual(instance[1], [b"The Echo: 1"])
        self.assertEqual(instance[2], [b"blue", b"green", b"new"])

    def test_session_token_comes_back(self):
        connect = self.start_connect("--auth-token", "jwt")
        session = self.gateway.accept()
        session.accept_registration(session_token="token.1")
        session.finish()
        connect.wait_log(" disconnected .* reason=server-closed")
        request = self.gateway.accept().receive_fields(REGISTER_REQUEST)
        self.assertEqual((text(request, 7), text(request, 8)), ("jwt", "token.1"))

    def test_many_instances_have_a_stream_each_over_shared_connections(self):
        self.start_connect("--instances", "7", "--max-streams-per-channel", "3")
        sessions = [self.gateway.accept() for _ in range(7)]
        instances = {text(session.accept_registration(), 3) for session in sessions}
        self.assertEqual(instances, {f"instance-{i}" for i in range(1, 8)})
        peers = [session.peer for session in sessions]
        self.assertEqual(sorted(peers.count(peer) for peer in set(peers)), [1, 3, 3])

    def test_limit_of_streams_that_the_gateway_keeps_to_itself(self):
        self.gateway.close()
        self.gateway = self.open_gateway(max_streams=2)
        connect = self.start_connect("--instances", "5", "--connect-timeout", scaled(500))
        self.addCleanup(self.gateway.close)
        instances = set()
        while len(instances) < 5:
            instances.add(text(self.gateway.accept().accept_registration(), 3))
        connect.wait_log(" registered address=", skip=4)

    def test_other_messages_before_the_answer_are_skipped(self):
        connect = self.start_connect()
        session = self.gateway.accept()
        for early in (b"", field(99, "?"), heartbeat_request(), approval_notification(PENDING)):
            session.send(early)
        session.accept_registration()
        connect.wait_log(" registered address=default.echo.instance arn=matrix:default:echo:instance$")
        self.assert_answer(self.execute(session, b"[1]"), [1])


class RegistrationFails(GatewayTest):
    def test_rejected(self):
        connect = self.start_connect()
        for attempt in range(3):
            session = self.gateway.accept()
            session.receive_fields(REGISTER_REQUEST)
            session.send(register_response(success=False, status=REJECTED, error="not today"))
            connect.wait_log("registration failed .*register failed: status=.3. error=.not today", skip=attempt)
        self.gateway.accept().accept_registration()
        connect.wait_log(" registered address=")

    def test_rejected_without_reconnecting(self):
        connect = self.start_connect("--no-reconnect")
        session = self.gateway.accept()
        session.receive_fields(REGISTER_REQUEST)
        session.send(register_response(success=False, error="not today"))
        self.assert_exit(connect, 1)

    def test_stream_ends_before_the_answer(self):
        connect = self.start_connect()
        session = self.gateway.accept()
        session.receive_fields(REGISTER_REQUEST)
        session.finish()
        connect.wait_log("registration failed .*stream closed before register response")
        self.gateway.accept().accept_registration()
        connect.wait_log(" registered address=")

    def test_stream_fails_before_the_answer(self):
        connect = self.start_connect()
        session = self.gateway.accept()
        session.abort(grpc.StatusCode.UNAUTHENTICATED, "who are you")
        connect.wait_log("registration failed .*who are you")
        self.gateway.accept().accept_registration()
        connect.wait_log(" registered address=")

    def test_no_answer(self):
        # The stream opens within --connect-timeout; the answer may take three times as long.
        connect = self.start_connect("--connect-timeout", scaled(300))
        session = self.gateway.accept()
        connect.wait_log("registration failed .*register response not received within deadline")
        session.wait_end()
        self.gateway.accept().accept_registration()
        connect.wait_log(" registered address=")

    def test_no_headers(self):
        self.gateway.without_headers = 2
        connect = self.start_connect("--connect-timeout", scaled(300))
        for attempt in range(2):
            session = self.gateway.accept()
            connect.wait_log("registration failed .*no answer within", skip=attempt)
            session.wait_end()
        self.gateway.accept().accept_registration()
        connect.wait_log(" registered address=")

    def test_ctrl_c_during_the_wait_for_headers(self):
        self.gateway.without_headers = 1
        connect = self.start_connect("--connect-timeout", "10m")
        self.gateway.accept().receive_fields(REGISTER_REQUEST)
        connect.interrupt()
        self.assert_exit(connect, INTERRUPTED)

    def test_connections_that_are_closed_at_once(self):
        listener = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(listener.close)
        connect = self.start("connect", f"127.0.0.1:{listener.getsockname()[1]}", "--reconnect-delay", "10ms",
                             "--reconnect-jitter", "0s", "--max-backoff", "40ms")  # fmt: skip
        for _ in range(5):
            listener.accept()[0].close()
        waits = [connect.wait_log(r"retrying .* after=(\S+)$", skip=attempt)[1] for attempt in range(5)]
        self.assertEqual(waits, ["10ms", "20ms", "40ms", "40ms", "40ms"])
        connect.interrupt()
        self.assert_exit(connect, INTERRUPTED)

    def test_ctrl_c_during_the_wait_for_the_answer(self):
        connect = self.start_connect("--connect-timeout", "10m")
        self.gateway.accept().receive_fields(REGISTER_REQUEST)
        connect.interrupt()
        self.assert_exit(connect, INTERRUPTED)

    def test_method_is_not_served(self):
        server = grpc.server(None)
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        self.addCleanup(lambda: server.stop(0).wait())
        connect = self.start("connect", f"127.0.0.1:{port}", "--no-reconnect")
        self.assert_exit(connect, 1)
        self.assertRegex(connect.stderr, "registration failed .*(?i:unimplemented|not found|not served)")


class Execute(GatewayTest):
    def test_json(self):
        _, session = self.connected()
        for value in ({"a": [1, 2.5, None, True, "é\n\u0000"]}, [], "text", 7, None, False, {"deep": [[[[{}]]]]}):
            with self.subTest(value=value):
                self.assert_answer(self.execute(session, json.dumps(value)), value)

    def test_raw_bytes(self):
        _, session = self.connected()
        self.assert_answer(self.execute(session, b' {"raw": "\xc3\xa9"} ', encoding=RAW_BYTES), {"raw": "é"})

    def test_json_lines(self):
        _, session = self.connected()
        lines = b'{"n": 1}\n\n[2]\n"three"\n'
        self.assert_answer(self.execute(session, lines, encoding=JSON_LINES), [{"n": 1}, [2], "three"])
        self.assert_answer(self.execute(session, b"", encoding=JSON_LINES), [])

    def test_messagepack(self):
        _, session = self.connected()
        self.assert_answer(self.execute(session, b"\x93\x01\xa1a\x81\xa1k\xc0", encoding=6), [1, "a", {"k": None}])
        self.assert_failure(self.execute(session, b"\xc4\x01x", encoding=6), "Deserialization error: ")

    def test_unsupported_encodings(self):
        _, session = self.connected()
        for encoding, name in ((0, "Unspecified"), (3, "ArrowIpc"), (5, "Protobuf"), (7, "Parquet")):
            with self.subTest(name):
                response = self.execute(session, b"{}", encoding=encoding)
                self.assert_failure(response, f"Unsupported encoding: Encoding {name} not yet implemented")
                self.assertEqual(text(response, 5), f"Unsupported encoding: Encoding {name} not yet implemented")
        self.assert_failure(self.execute(session, b"{}", encoding=99), "Unsupported encoding: ")

    def test_not_json(self):
        _, session = self.connected()
        for payload in (b"", b"{", b"nonsense", b"{} {}", b'"\xff\xfe"', b"\x00", b"[1,]", b"[" * 100_000, b"NaN"):
            for encoding in (JSON, RAW_BYTES):
                with self.subTest(payload=payload[:20], encoding=encoding):
                    self.assert_failure(self.execute(session, payload, encoding=encoding), "Deserialization error: ")
        self.assert_answer(self.execute(session, b"{}"), {})

    def test_capability_and_context(self):
        _, session = self.connected()
        context = {"connector_arn": "matrix:default:echo:instance", "tenant_id": "acme", "x": ""}
        self.assert_answer(self.execute(session, b"1", capability="tool", context=context), 1)

    def test_clock(self):
        _, session = self.connected("--type", "clock")
        before = now_ms()
        response = self.execute(session, b"{}")
        self.assertEqual(integer(response, 2), 1)
        told = json.loads(response[3][-1])["unix_ms"]
        self.assertTrue(before - 1000 <= told <= now_ms() + 1000, told)

    def test_many_at_once_are_each_answered_once(self):
        _, session = self.connected()
        count = 3000  # more than may run and wait
        for i in range(count):
            session.send(execute_request(f"r-{i}", str(i)))
        answers = {}
        for _ in range(count):
            response = session.receive_until(EXECUTE_RESPONSE)
            answers[text(response, 1)] = json.loads(response[3][-1])
        self.assertEqual(answers, {f"r-{i}": i for i in range(count)})

    def test_summary_counts_them(self):
        connect, session = self.connected("--json")
        self.execute(session, b"[1]")
        self.execute(session, b"{")
        connect.interrupt()
        self.assert_exit(connect, INTERRUPTED)
        summary = self.one_json_document(connect.stdout)
        self.assertEqual(
            (summary["requests_received"], summary["requests_processed"], summary["requests_failed"]), (2, 1, 1)
        )
        self.assertEqual((summary["bytes_in"], summary["bytes_out"]), (4, 3))


class Stays(GatewayTest):
    """What does not end a stream."""

    def test_messages_it_does_not_know(self):
        connect, session = self.connected()
        known = (field(8, message({1: "i"})), field(11, b""), field(2, b"\x40\x01"))
        for odd in (b"", field(99, "?"), field(200, 7), *known):
            session.send(odd)
        self.assert_answer(self.execute(session, b"[1]"), [1])
        self.assertEqual(connect.log_lines(" disconnected "), [])

    def test_pending_approval(self):
        connect = self.start_connect()
        session = self.gateway.accept()
        session.accept_registration(status=PENDING)
        connect.wait_log(" registered address=")
        session.send(approval_notification(PENDING, text="soon"))
        session.send(approval_notification(APPROVED, text="welcome"))
        session.send(approval_notification(17))
        connect.wait_log("notice .*approved")
        self.assert_answer(self.execute(session, b"[1]"), [1])
        self.assertEqual(connect.log_lines(" disconnected "), [])

    def test_failed_renewal(self):
        connect, session = self.connected()
        session.send(register_response(success=False, error="later"))
        self.assert_answer(self.execute(session, b"[1]"), [1])
        self.assertEqual(connect.log_lines(" disconnected "), [])

    def test_heartbeats_of_the_gateway_are_answered(self):
        _, session = self.connected()
        for timestamp_ms in (1, 0, -1, 1 << 62):
            session.send(heartbeat_request("default.echo.instance", timestamp_ms))
            response = session.receive_until(HEARTBEAT_RESPONSE)
            self.assertEqual(integer(response, 3), 0, "should_reconnect")

    def test_its_own_heartbeats(self):
        connect, session = self.connected("--heartbeat-interval", "200ms", "--heartbeat-timeout", scaled(5000))
        for _ in range(5):
            request = session.receive_fields(HEARTBEAT_REQUEST)
            self.assertEqual(text(request, 1), "")
            self.assertLess(abs(signed(request, 2) - now_ms()), 60_000)
            session.send(heartbeat_response(request))
        self.assertEqual(connect.log_lines(" disconnected "), [])


class Ends(GatewayTest):
    """What ends a stream, and that it comes back."""

    def assert_comes_back(self, connect, session):
        session.wait_end()
        again = self.gateway.accept()
        again.accept_registration()
        self.assert_answer(self.execute(again, b"[2]"), [2])
        connect.interrupt()
        self.assert_exit(connect, INTERRUPTED)

    def test_gateway_finishes(self):
        connect, session = self.connected()
        session.finish()
        connect.wait_log(" disconnected .* reason=server-closed")
        self.assert_comes_back(connect, session)

    def test_accepted_and_then_closed_at_once(self):
        # Weakness 20: a good registration must not make the waits short again, or this is a hot loop.
        connect = self.start_connect()
        for _ in range(5):
            session = self.gateway.accept()
            session.accept_registration()
            session.finish()
        waits = [connect.wait_log(r"retrying .* after=(\S+)$", skip=attempt)[1] for attempt in range(5)]
        self.assertEqual(waits, ["10ms", "20ms", "40ms", "50ms", "50ms"])
        self.gateway.accept().accept_registration()
        connect.wait_log(" registered address=", skip=5)

    def test_goaway(self):
        connect, session = self.connected()
        port = int(self.gateway.address.rsplit(":", 1)[1])
        self.gateway.go_away()
        # The stream lives on, and a replacement goes to whoever has the port now.
        self.assert_answer(self.execute(session, b"[1]"), [1])
        self.addCleanup(self.gateway.close)
        self.gateway = wait_until(lambda: self.open_gateway_again(port), f"a gateway on port {port}")
        connect.wait_log("connection is going away: opening a replacement")
        again = self.gateway.accept()
        self.assert_answer(self.execute(session, b"[2]"), [2])
        self.assertEqual(connect.log_lines(" disconnected "), [])
        again.accept_registration()
        # Only then is the old one drained: a heartbeat, and its end behind the echo.
        session.send(heartbeat_response(session.receive_fields(HEARTBEAT_REQUEST)))
        session.wait_end()
        connect.wait_log(" disconnected .* reason=server-closed")
        self.assert_answer(self.execute(again, b"[3]"), [3])
        connect.interrupt()
        self.assert_exit(connect, INTERRUPTED)

    def open_gateway_again(self, port):
        with contextlib.suppress(RuntimeError):
            return self.open_gateway(port)

    def test_gateway_fails(self):
        connect, session = self.connected()
        session.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "too many of you")
        connect.wait_log(" disconnected .* reason=stream-error .*too many of you")
        self.assert_comes_back(connect, session)

    def test_requests_above_its_limit(self):
        for size in (5 * MIB, 9 * MIB):
            with self.subTest(size=size):
                connect, session = self.connected()
                session.send(execute_request("r-1", b'"' + b"x" * size + b'"'))
                connect.wait_log(r" disconnected .* reason=stream-error detail=.*(?i:too large|larger|exceeds|max)")
                self.assert_comes_back(connect, session)

    def test_one_stream_of_several(self):
        connect = self.start_connect("--instances", "3")
        sessions = [self.gateway.accept() for _ in range(3)]
        for session in sessions:
            session.accept_registration()
        connect.wait_log(" registered address=", skip=2)
        sessions[1].send(execute_request("r-1", b'"' + b"x" * 5 * MIB + b'"'))
        self.gateway.accept().accept_registration()
        connect.wait_log(" registered address=", skip=3)
        for session in (sessions[0], sessions[2]):
            self.assert_answer(self.execute(session, b"[1]"), [1])
        self.assertEqual(len(connect.log_lines(" disconnected ")), 1)

    def test_its_limit_can_be_set(self):
        _, session = self.connected("--max-message-bytes", 8 * MIB)
        value = "x" * 5 * MIB
        self.assert_answer(self.execute(session, json.dumps(value)), value)

    def test_requests_just_below_its_limit(self):
        _, session = self.connected()
        value = "x" * (4 * MIB - 100)
        self.assert_answer(self.execute(session, json.dumps(value)), value)

    def test_garbage(self):
        connect, session = self.connected()
        session.send(b"\xff" * 16)
        connect.wait_log(r" disconnected .* reason=stream-error detail=.*.*broken Protobuf")
        self.assert_comes_back(connect, session)

    def test_no_answers_to_its_heartbeats(self):
        connect, session = self.connected("--heartbeat-interval", "200ms", "--heartbeat-timeout", scaled(500))
        session.receive_fields(HEARTBEAT_REQUEST)
        connect.wait_log(" disconnected .* reason=heartbeat-timeout")
        session.wait_end()
        self.gateway.accept().accept_registration()

    def test_rejection(self):
        connect, session = self.connected()
        session.send(approval_notification(REJECTED, text="no more"))
        connect.wait_log(" disconnected .* reason=server-closed")
        self.assert_comes_back(connect, session)

    def test_ctrl_c_finishes_the_stream_in_good_order(self):
        connect, session = self.connected()
        connect.interrupt()
        self.assert_exit(connect, INTERRUPTED)
        session.wait_end()
        self.assertEqual(len(connect.log_lines(" info disconnected .* reason=shutdown$")), 1, connect.describe())

    def test_ctrl_c_with_a_gateway_that_does_not_finish_its_side(self):
        connect, session = self.connected()
        session.polite = False
        connect.interrupt()
        self.assert_exit(connect, INTERRUPTED)
        self.assertEqual(len(connect.log_lines(" info disconnected .* reason=shutdown")), 1, connect.describe())


if __name__ == "__main__":
    unittest.main(verbosity=2)

#!/usr/bin/env python3
"""`sharingbus gateway` against connectors in Python, written from the protocol's description alone: good ones
(connector_peer.py, a process of its own) and bad ones (streams of this process)."""

import base64
import json
import os
import signal
import sys
import time
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(HERE, os.pardir, "support")]

from connector_case import ConnectorTest  # noqa: E402
from connector_wire import (  # noqa: E402
    EXECUTE_REQUEST,
    HEARTBEAT_REQUEST,
    HEARTBEAT_RESPONSE,
    INVOKE_RESPONSE,
    JSON,
    METHOD,
    REGISTER_RESPONSE,
    execute_request,
    execute_response,
    field,
    heartbeat_request,
    integer,
    invoke_request,
    message,
    register_request,
    signed,
    string_map,
    text,
)
from program import DEADLINE, descriptors, scaled  # noqa: E402
from streams import Stream  # noqa: E402

MIB = 1024 * 1024
PEER = [sys.executable, os.path.join(HERE, "connector_peer.py")]


class PeerTest(ConnectorTest):
    def start_peer(self, *arguments):
        return self.start("--address", self.grpc_address, *arguments, command=PEER)

    def events(self, peer, name):
        """The JSON lines of a peer with that event, so far."""
        lines = [json.loads(line) for line in peer.output_lines()]
        return [line for line in lines if line["event"] == name]

    def wait_event(self, peer, name):
        return json.loads(peer.wait_output(rf'^.*"event": "{name}".*$')[0])


class Registration(PeerTest):
    gateway_flags = ["--heartbeat-interval", "200ms"]

    def test_peer_registers_and_beats(self):
        peer = self.start_peer(
            "--tenant", "acme inc", "--instance", "p.1", "--max-requests", "0", "--heartbeat-interval", "0.7"
        )
        event = self.wait_event(peer, "registered")
        self.assertEqual((event["arn"], event["status"]), ("matrix:acme-inc:echo:p-1", "approved"))
        self.check_token(event["session_token"])
        self.gateway.wait_log("connector registered address=acme-inc.echo.p-1 ")
        # Both ways.
        self.assertFalse(self.wait_event(peer, "heartbeat_response")["should_reconnect"])
        self.wait_event(peer, "heartbeat_answered")
        peer.signal(signal.SIGTERM)
        peer.wait()
        self.gateway.wait_log("connector disconnected address=acme-inc.echo.p-1 .* connectors=0 ")

    def check_token(self, token):
        """As the oldest clients parse it (G12)."""
        claims, _, _ = token.partition(".")
        claims = json.loads(base64.urlsafe_b64decode(claims + "=" * (-len(claims) % 4)))
        self.assertGreater(claims["exp"], time.time())

    def test_response_names_the_connector(self):
        response = self.open().register(tenant="a:b", type="t.y", instance="x y\tz\n")
        self.assertEqual(text(response, 4), "matrix:a-b:t-y:x-y-z-")
        self.assertEqual(text(response, 2), "a-b.t-y.x-y-z-")

    def test_headers_come_without_a_message(self):
        stream = self.open()
        self.assertIsNotNone(stream._call.initial_metadata())

    def test_identity_must_be_complete(self):
        for identity in ({"tenant": ""}, {"type": ""}, {"instance": ""}, {"tenant": "x" * 257}):
            with self.subTest(identity):
                stream = self.open()
                stream.send(register_request(**identity))
                response = stream.receive_fields(REGISTER_RESPONSE)
                self.assertEqual(integer(response, 1), 0)
                self.assertTrue(text(response, 4).startswith("matrix:"))
                self.assertIn("invalid connector identity", text(response, 3))
                # Words that make old clients throw their credentials away (G13).
                for word in ("expired", "invalid_token", "invalid token", "unauthorized", "unauthenticated"):
                    self.assertNotIn(word, text(response, 3).lower())
                stream.wait_end()

    def test_renewal_on_the_same_stream(self):
        stream = self.registered()
        stream.send(register_request(jwt="new.jwt"))
        self.assertEqual(integer(stream.receive_until(REGISTER_RESPONSE), 1), 1)
        self.assert_alive(stream)
        stream.finish()
        self.gateway.wait_log("connector disconnected address=acme.echo.peer-1 ")
        self.assertEqual(len(self.gateway.log_lines("connector registered")), 1)

    def test_another_identity_on_the_same_stream_is_another_connector(self):
        stream = self.registered()
        stream.send(register_request(instance="peer-2"))
        response = stream.receive_until(REGISTER_RESPONSE)
        self.assertEqual((integer(response, 1), text(response, 4)), (1, "matrix:acme:echo:peer-2"))
        self.assert_alive(stream)
        stream.finish()
        for address in ("acme.echo.peer-1", "acme.echo.peer-2"):
            self.gateway.wait_log(f"connector disconnected address={address} ")

    def test_newer_stream_takes_over(self):
        old = self.registered(instance="twin")
        new = self.registered(instance="twin")
        old.wait_end()
        self.gateway.wait_log("connector disconnected address=acme.echo.twin .*replaced by a newer stream")
        self.assert_alive(new)

    def test_ten_connectors_of_one_peer(self):
        streams = [self.registered(instance=f"p-{i}") for i in range(10)]
        self.gateway.wait_log("connector registered .* connectors=10 ")
        for stream in streams:
            stream.finish()
            self.assertEqual(stream.status()[0], "OK")
        self.wait_empty()


class RefuseNew(PeerTest):
    gateway_flags = ["--duplicates", "refuse-new"]

    def test_older_stream_keeps_its_place(self):
        old = self.registered(instance="twin")
        new = self.start_peer("--instance", "twin")
        event = self.wait_event(new, "rejected")
        self.assertEqual(event["arn"], "matrix:acme:echo:twin")
        self.assertIn("registered already", event["error"])
        self.assert_exit(new, 1)
        self.gateway.wait_log("connector refused address=acme.echo.twin .*registered already")
        self.assert_alive(old)
        old.finish()
        old.wait_end()
        self.gateway.wait_log("connector disconnected address=acme.echo.twin ")
        self.registered(instance="twin")


class Execute(PeerTest):
    """What one connector asks, another answers: the gateway turns an InvokeRequest into an ExecuteRequest."""

    def test_peer_answers_an_execute(self):
        answering = self.start_peer("--instance", "a")
        self.gateway.wait_log("connector registered address=acme.echo.a ")
        asking = self.start_peer("--instance", "b", "--invoke", "acme.echo.a", "--payload", '{"n": [1, "é"]}',
                                 "--capability", "greet", "--context", "tenant_id=acme")  # fmt: skip
        self.assert_exit(asking, 0)
        invoked = self.wait_event(asking, "invoked")
        self.assertEqual(json.loads(invoked["payload"]), {"echo": {"n": [1, "é"]}})
        self.assertEqual((invoked["success"], invoked["encoding"], invoked["error"]), (True, JSON, ""))
        self.assert_exit(answering, 0)
        (executed,) = self.events(answering, "executed")
        self.assertTrue(executed["request_id"])
        self.assertEqual(executed["capability"], "greet")
        self.assertEqual(
            executed["context"],
            {
                "tenant_id": "acme",
                "connector_arn": "matrix:acme:echo:a",
                "x-invoke-depth": "1",
                "timeout_ms": "30000",
            },
        )

    def test_our_own_connector_answers_a_peer(self):
        self.start("connect", self.url, "--tenant", "ours", "--instance", "c")
        self.gateway.wait_log("connector registered address=ours.echo.c ")
        asking = self.start_peer("--invoke", "ours.echo.c", "--payload", '{"n":1}')
        self.assert_exit(asking, 0)
        self.assertEqual(json.loads(self.wait_event(asking, "invoked")["payload"]), {"n": 1})

    def test_handler_that_fails(self):
        self.start("connect", self.url, "--instance", "c")
        self.gateway.wait_log("connector registered address=default.echo.c ")
        asking = self.start_peer("--invoke", "default.echo.c", "--payload", "not json")
        self.assert_exit(asking, 1)
        invoked = self.wait_event(asking, "invoked")
        self.assertIn("Deserialization error: ", invoked["error"])
        self.assertEqual(json.loads(invoked["payload"]), {"error": invoked["error"], "success": False})

    def test_nobody_there(self):
        for address in ("acme.echo.nobody", "nonsense", "", "a.b.c.d"):
            with self.subTest(address):
                stream = self.registered()
                stream.send(invoke_request("i-1", address))
                self.assert_invoke_fails(stream, "i-1", "not_found", "no connector is registered")
                self.assert_alive(stream)

    def assert_invoke_fails(self, stream, request_id, code, words):
        response = stream.receive_until(INVOKE_RESPONSE)
        self.assertEqual(text(response, 1), request_id)
        self.assertEqual(integer(response, 2), 0)
        self.assertIn(words, text(response, 5))
        self.assertEqual(string_map(response, 8)["code"], code)

    def test_request_as_the_connector_sees_it(self):
        target, asking = self.registered(instance="a"), self.registered(instance="b")
        asking.send(invoke_request("i-1", "acme.echo.a", payload=b"", encoding=0))
        request = target.receive_fields(EXECUTE_REQUEST)
        # Never empty and never without encoding (G7).
        self.assertEqual((request[2], integer(request, 3)), ([b"{}"], JSON))
        self.assertNotIn(5, request)
        self.assertNotEqual(text(request, 1), "i-1")

    def test_answers_in_any_order_and_only_once(self):
        target, asking = self.registered(instance="a"), self.registered(instance="b")
        count = 50
        for i in range(count):
            asking.send(invoke_request(f"i-{i}", "acme.echo.a", payload=str(i)))
        requests = [target.receive_until(EXECUTE_REQUEST) for _ in range(count)]
        target.send(execute_response("no such request", "0"))
        for request in reversed(requests):
            for _ in range(2):
                target.send(execute_response(text(request, 1), request[2][-1]))
        answers = {}
        for _ in range(count):
            response = asking.receive_until(INVOKE_RESPONSE)
            answers[text(response, 1)] = response[3][-1]
        self.assertEqual(answers, {f"i-{i}": str(i).encode() for i in range(count)})
        self.assert_alive(asking)

    def test_a_connector_may_ask_itself(self):
        stream = self.registered(instance="a")
        stream.send(invoke_request("i-1", "acme.echo.a", payload="7"))
        request = stream.receive_until(EXECUTE_REQUEST)
        stream.send(execute_response(text(request, 1), request[2][-1]))
        self.assertEqual(stream.receive_until(INVOKE_RESPONSE)[3], [b"7"])

    def test_no_answer_in_time(self):
        target, asking = self.registered(instance="a"), self.registered(instance="b")
        asking.send(invoke_request("i-1", "acme.echo.a", timeout_ms=200))
        self.assert_invoke_fails(asking, "i-1", "timed_out", "Timeout: ")
        # The answer that comes too late is nobody's.
        target.send(execute_response(text(target.receive_until(EXECUTE_REQUEST), 1), "0"))
        self.assert_alive(target)
        self.assert_alive(asking)

    def test_connector_goes_while_it_is_asked(self):
        for leave in ("close", "finish"):
            target, asking = self.registered(instance="a"), self.registered(instance="b")
            asking.send(invoke_request("i-1", "acme.echo.a", timeout_ms=3_600_000))
            target.receive_until(EXECUTE_REQUEST)
            getattr(target, leave)()
            response = asking.receive_until(INVOKE_RESPONSE)
            self.assertEqual(integer(response, 2), 0)
            self.assertIn("acme.echo.a", text(response, 5))
            asking.close()

    def test_fire_and_forget(self):
        target, asking = self.registered(instance="a"), self.registered(instance="b")
        asking.send(invoke_request("i-1", "acme.echo.a", fire_and_forget=True))
        target.send(execute_response(text(target.receive_until(EXECUTE_REQUEST), 1), "0"))
        asking.send(invoke_request("i-2", "acme.echo.nobody"))
        self.assert_invoke_fails(asking, "i-2", "not_found", "acme.echo.nobody")

    def test_drain_waits_for_answers(self):
        target, asking = self.registered(instance="a"), self.registered(instance="b")
        asking.send(invoke_request("i-1", "acme.echo.a"))
        request = target.receive_until(EXECUTE_REQUEST)
        self.gateway.signal(signal.SIGTERM)
        self.gateway.wait_log("draining")
        target.send(execute_response(text(request, 1), "42"))
        self.assertEqual(asking.receive_until(INVOKE_RESPONSE)[3], [b"42"])
        for stream in (target, asking):
            stream.finish()
        self.assert_exit(self.gateway, 0)


class BadFirstMessages(PeerTest):
    def assert_refused(self, first, words):
        peer = self.start_peer("--first", first)
        self.assert_exit(peer, 1)
        self.assertEqual(self.events(peer, "registered"), [])
        self.gateway.wait_log(f"connector refused .*{words}")
        self.assert_serves()

    def test_execute(self):
        self.assert_refused("execute", "first message is .*execute")

    def test_empty(self):
        self.assert_refused("empty", "first message is empty")

    def test_unknown_field(self):
        self.assert_refused("unknown", r"first message is an unknown message \(field 99\)")

    def test_garbage(self):
        self.assert_refused("garbage", "broken Protobuf")

    def test_others_are_not_disturbed(self):
        good = self.registered(instance="good")
        broken = (b"", b"\xff" * 16, b"\x0a\xff\xff\xff\x7f")
        for first in (execute_request("r"), field(99, "?"), heartbeat_request(), *broken):
            bad = self.open()
            bad.send(first)
            bad.wait_end()
            self.assert_alive(good)
        self.assertEqual(self.gateway.log_lines("connector disconnected"), [])

    def test_other_methods(self):
        for method in ("/matrix.connectors.v1.ConnectorService/Disconnect", "/Connect", METHOD + "/", METHOD.lower()):
            with self.subTest(method):
                code, details = self.open(method=method).status()
                self.assertEqual(code, "UNIMPLEMENTED")
                self.assertIn(method, details)
        self.assert_serves()


class Silence(ConnectorTest):
    gateway_flags = ["--register-timeout", scaled(300), "--session-timeout", scaled(1000), "--heartbeat-interval", "1h"]

    def test_no_registration(self):
        self.open().wait_end()
        self.gateway.wait_log("connector refused .*no register request within")
        self.assert_serves()

    def test_registered_and_silent(self):
        self.registered().wait_end()
        self.gateway.wait_log("connector disconnected .*no message for")
        self.assert_serves()


class OddMessages(ConnectorTest):
    """After the registration."""

    def test_unknown_and_empty_ones_are_ignored(self):
        stream = self.registered()
        known = (field(2, b""), field(10, message({1: "g"})), field(15, b""))
        for odd in (b"", field(99, "from the future"), field(200, 7), *known):
            stream.send(odd)
            self.assert_alive(stream)
        # A known message with unknown fields, and the oneof twice: the last one counts.
        stream.send(field(6, message({1: "x", 2: 5, 77: "?"})))
        self.assertEqual(signed(stream.receive_until(HEARTBEAT_RESPONSE), 2), 5)
        stream.send(field(99, "?") + heartbeat_request("y", 6))
        self.assertEqual(signed(stream.receive_until(HEARTBEAT_RESPONSE), 2), 6)

    def test_garbage_ends_that_stream_only(self):
        good = self.registered(instance="good")
        garbage = (b"\xff" * 16, b"\x0a\x7f", field(HEARTBEAT_REQUEST, field(1, b"\xff\xfe")))
        for i, data in enumerate(garbage):
            bad = self.registered(instance=f"bad-{i}")
            bad.send(data)
            bad.wait_end()
            self.gateway.wait_log(f"connector disconnected address=acme.echo.bad-{i} .*(?:broken Protobuf|not UTF-8)")
            self.assert_alive(good)


class Sizes(ConnectorTest):
    def test_registration_of_5_mib(self):
        self.registered(instance="big", metadata={"notes": "x" * 5 * MIB})
        self.gateway.wait_log("connector registered address=acme.echo.big ")

    def test_answer_of_5_mib(self):
        target, asking = self.registered(instance="a"), self.registered(instance="b")
        asking.send(invoke_request("i-1", "acme.echo.a"))
        answer = b'"' + b"x" * 5 * MIB + b'"'
        target.send(execute_response(text(target.receive_until(EXECUTE_REQUEST), 1), answer))
        self.assertEqual(asking.receive_until(INVOKE_RESPONSE)[3], [answer])

    def test_17_mib_end_that_stream_only(self):
        good = self.registered(instance="good")
        for size, words in ((17 * MIB, "message of .* exceeds the limit"), (40 * MIB, "reason=")):
            with self.subTest(size=size):
                bad = self.registered(instance=f"bad-{size}")
                bad.send(execute_response("r", b"x" * size))
                code, details = bad.status()
                self.assertEqual(code, "RESOURCE_EXHAUSTED")
                self.assertIn("larger than max", details)
                # Of what is far too large gRPC tells the client only.
                self.gateway.wait_log(f"connector disconnected address=acme.echo.bad-{size} .*{words}")
                self.assert_alive(good)

    def test_registration_of_17_mib(self):
        bad = self.open()
        bad.send(register_request(metadata={"notes": "x" * 17 * MIB}))
        bad.wait_end()
        self.gateway.wait_log("connector refused .*message of .* exceeds the limit")
        self.assert_serves()

    def test_a_connector_with_a_smaller_limit_loses_that_stream_and_comes_back(self):
        connect = self.start("connect", self.url, "--instance", "c", "--reconnect-delay", "10ms")
        self.gateway.wait_log("connector registered address=default.echo.c ")
        asking = self.registered()
        asking.send(invoke_request("i-1", "default.echo.c", payload=b'"' + b"x" * 5 * MIB + b'"'))
        response = asking.receive_until(INVOKE_RESPONSE)
        self.assertEqual(integer(response, 2), 0)
        self.assertIn("default.echo.c", text(response, 5))
        connect.wait_log(" disconnected .* reason=stream-error detail=")
        self.gateway.wait_log("connector registered address=default.echo.c ", skip=1)
        asking.send(invoke_request("i-2", "default.echo.c", payload="[2]"))
        self.assertEqual(asking.receive_until(INVOKE_RESPONSE)[3], [b"[2]"])

    def test_limit_can_be_set(self):
        small, address = self.start_gateway("--max-message-bytes", 1000)
        stream = Stream(address)
        self.addCleanup(stream.close)
        stream.register()
        stream.send(execute_response("r", b"x" * 1001))
        stream.wait_end()
        small.wait_log("connector disconnected .*1000")


class Storm(ConnectorTest):
    STREAMS = 200

    def drop_streams(self, count, seed):
        storm = self.start(self.address, count, seed, command=[sys.executable, os.path.join(HERE, "stream_storm.py")])
        self.assert_exit(storm, 0, seconds=2 * DEADLINE)

    def test_streams_dropped_at_random_leave_nothing(self):
        seed = os.environ.get("TEST_SEED") or str(time.time_ns() % 1_000_000)
        print(f"seed {seed}; again with TEST_SEED={seed}", flush=True)
        self.drop_streams(20, seed)  # makes what is made once
        self.wait_empty()
        before = descriptors(self.gateway.pid)
        self.drop_streams(self.STREAMS, seed)
        self.wait_descriptors(self.gateway, before)
        self.assert_serves()
        self.wait_empty()


if __name__ == "__main__":
    unittest.main(verbosity=2)

#!/usr/bin/env python3
"""The gRPC port of `sharingbus gateway` against clients that are slow, silent, hasty or out of their minds. A good
connector beside them is served all the time, and when they have gone nothing of them is left."""

import os
import random
import resource
import sys
import time
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(HERE, os.pardir, "support")]

from connector_case import ConnectorTest  # noqa: E402
from connector_wire import register_request  # noqa: E402
from program import DEADLINE, descriptors, scaled, wait_until  # noqa: E402
from raw_http2 import (  # noqa: E402
    CANCEL,
    OPENING,
    PING,
    PREFACE,
    RST_STREAM,
    SETTINGS,
    RawClient,
    frame,
    grpc_data,
    request_headers,
)

# What a connector sends until it is registered.
REGISTRATION = OPENING + request_headers(1) + grpc_data(1, register_request(instance="raw"))


class PortTest(ConnectorTest):
    # Makes a connection, and all that a connector sends until it is registered as acme.echo.raw; the message with which
    # it does so is the end of it.
    opening = OPENING
    registration = REGISTRATION
    register_bytes = len(grpc_data(1, register_request(instance="raw")))

    def setUp(self):
        super().setUp()
        self.good = self.registered(instance="good")
        # Makes what is made once.
        first = self.connect_raw(self.opening)
        first.finish()
        first.read_end(DEADLINE)
        self.before = descriptors(self.gateway.pid)
        seed = os.environ.get("TEST_SEED") or str(time.time_ns() % 1_000_000)
        print(f"seed {seed}; again with TEST_SEED={seed}", flush=True)
        self.random = random.Random(seed)

    def connect_raw(self, data=b""):
        client = RawClient(self.address, data)
        self.addCleanup(client.close)
        return client

    def wait_accepted(self, count):
        wait_until(lambda: descriptors(self.gateway.pid)["socket"] >= count, f"{count} connections")

    def assert_undisturbed(self):
        self.assert_alive(self.good)
        self.assert_serves()

    def assert_nothing_left(self):
        self.wait_descriptors(self.gateway, self.before)
        self.assert_undisturbed()
        self.assertEqual(self.gateway.log_lines("connector disconnected address=acme.echo.good "), [])
        self.gateway.interrupt()
        self.good.finish()
        self.good.wait_end()
        self.good.close()  # or it would not answer the ping that the server ends the connection with
        self.assert_exit(self.gateway, 0)


class Slow(PortTest):
    gateway_flags = ["--register-timeout", scaled(500)]

    def send_bytewise(self, client):
        for byte in self.registration:
            client.send(bytes([byte]))

    def test_clients_that_stop_halfway(self):
        cuts = range(0, len(self.registration), 5)
        clients = [self.connect_raw(self.registration[:cut]) for cut in cuts]
        # Those who opened a stream are refused in time.
        opened = sum(cut >= len(self.registration) - self.register_bytes for cut in cuts)
        self.gateway.wait_log("connector refused .*no register request within", skip=opened - 1)
        self.assert_undisturbed()
        for client in clients:
            client.close()
        self.assert_nothing_left()

    def test_clients_that_stop_halfway_and_finish(self):
        clients = [self.connect_raw(self.registration[:cut]) for cut in range(0, len(self.registration), 5)]
        for client in clients:
            client.finish()
        # It is the gateway that ends these.
        for client in clients:
            client.read_end(DEADLINE)
        self.assert_nothing_left()

    def test_a_byte_at_a_time(self):
        client = self.connect_raw()
        self.send_bytewise(client)
        self.gateway.wait_log("connector registered address=acme.echo.raw ")
        client.finish()
        self.gateway.wait_log("connector disconnected address=acme.echo.raw ")
        client.close()
        self.assert_nothing_left()

    def test_a_registration_that_comes_too_late(self):
        client = self.connect_raw(self.registration[:-1])
        self.gateway.wait_log("connector refused .*no register request within")
        client.send(self.registration[-1:])
        self.assert_undisturbed()
        self.assertEqual(self.gateway.log_lines("address=acme.echo.raw "), [])
        client.close()
        self.assert_nothing_left()


class Silent(PortTest):
    CONNECTIONS = 2000

    def setUp(self):
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        wanted = self.CONNECTIONS + 200
        if soft < wanted:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        super().setUp()

    def test_thousands_that_say_nothing(self):
        clients = [self.connect_raw() for _ in range(self.CONNECTIONS)]
        self.wait_accepted(self.CONNECTIONS)
        self.assert_undisturbed()
        for client in clients:
            client.close()
        self.assert_nothing_left()

    def test_hundreds_with_an_idle_session(self):
        clients = [self.connect_raw(self.opening) for _ in range(300)]
        self.wait_accepted(300)
        self.assert_undisturbed()
        for client in clients:
            client.close()
        self.assert_nothing_left()


class Hasty(PortTest):
    STREAMS = 4000
    AT_ONCE = 100

    def reset_many(self, *messages):
        client = self.connect_raw(OPENING)
        client.discard()
        reset = CANCEL.to_bytes(4, "big")
        for first in range(1, 2 * self.STREAMS, 2 * self.AT_ONCE):
            streams = range(first, first + 2 * self.AT_ONCE, 2)
            client.send(
                b"".join(
                    request_headers(i) + b"".join(grpc_data(i, m) for m in messages) + frame(RST_STREAM, 0, i, reset)
                    for i in streams
                )
            )
            self.assert_alive(self.good)
        client.close()

    def test_streams_reset_as_soon_as_they_are_open(self):
        self.reset_many()
        self.assert_nothing_left()

    def test_streams_reset_after_their_registration(self):
        self.reset_many(register_request(instance="hasty"))
        self.assert_nothing_left()

    def test_connections_closed_as_soon_as_they_are_open(self):
        for cut in [0, len(self.opening) // 2, len(self.opening), len(self.registration)] * 100:
            self.connect_raw(self.registration[:cut]).close()
        self.assert_nothing_left()


class Noise(PortTest):
    starts = [b"", b"GET / HTTP/1.1\r\n\r\n", PREFACE, OPENING, OPENING + request_headers(1), REGISTRATION]

    def garbage(self):
        return self.random.randbytes(self.random.randrange(1, 4000))

    def test_random_bytes(self):
        for start in self.starts:
            for _ in range(30):
                client = self.connect_raw(start + self.garbage())
                if self.random.random() < 0.5:
                    client.finish()
                    client.read_end(DEADLINE)
                client.close()
            self.assert_alive(self.good)
        self.assert_nothing_left()

    def test_random_frames(self):
        for _ in range(100):
            client = self.connect_raw(OPENING + request_headers(1))
            client.discard()
            for _ in range(20):
                kind, flags = self.random.randrange(12), self.random.randrange(256)
                stream = self.random.choice([0, 1, 2, 3, 1 << 30])
                client.send(frame(kind, flags, stream, self.random.randbytes(self.random.randrange(40))))
            client.close()
        self.assert_nothing_left()

    def test_floods_of_settings_and_pings(self):
        client = self.connect_raw(OPENING)
        client.discard()
        for _ in range(100):
            client.send((frame(SETTINGS) + frame(PING, 0, 0, bytes(8))) * 50)
            self.assert_alive(self.good)
        client.close()
        self.assert_nothing_left()


if __name__ == "__main__":
    unittest.main(verbosity=2, warnings="ignore")

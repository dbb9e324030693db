"""What tests of `sharingbus gateway` share: a gateway, and streams of connectors in the test's own process."""

import time

from connector_wire import HEARTBEAT_RESPONSE, heartbeat_request, signed, text
from program import ProgramTest, wait_until
from streams import Stream


class ConnectorTest(ProgramTest):
    gateway_flags = []
    descriptor_limit = None

    def setUp(self):
        self.use_gateway(*self.gateway_flags)

    def use_gateway(self, *arguments):
        options = self.with_descriptors(self.descriptor_limit) if self.descriptor_limit else {}
        self.gateway, self.address = self.start_gateway(*arguments, **options)
        # For `connect`, and for peers that know gRPC only.
        self.url = self.grpc_address = self.address

    def open(self, **options):
        stream = Stream(self.address, **options)
        self.addCleanup(stream.close)
        return stream

    def registered(self, **identity):
        stream = self.open()
        stream.register(**identity)
        return stream

    def assert_serves(self):
        """The gateway takes a new connector and answers it."""
        stream = self.registered(instance=f"after-{time.monotonic_ns()}")
        self.assert_alive(stream)
        stream.close()

    def assert_alive(self, stream):
        timestamp_ms = time.monotonic_ns()
        stream.send(heartbeat_request("g", timestamp_ms))
        response = stream.receive_until(HEARTBEAT_RESPONSE)
        self.assertEqual((text(response, 1), signed(response, 2)), ("g", timestamp_ms))

    def wait_empty(self):
        """Until every connector that was registered is gone."""

        def empty():
            gone = self.gateway.log_lines("connector disconnected")
            return len(gone) == len(self.gateway.log_lines("connector registered")) and gone

        self.assertRegex(wait_until(empty, "no connectors")[-1], " connectors=0 connections=0$")

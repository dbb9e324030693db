#!/usr/bin/env python3
"""`sharingbus connect` and `sharingbus gateway` with a bad network between them, and gateways that have no room: the
connectors come back by themselves, and their requests are answered again."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(HERE, os.pardir, "support")]

from byte_proxy import ByteProxy  # noqa: E402
from connector_case import ConnectorTest  # noqa: E402
from connector_wire import INVOKE_RESPONSE, integer, invoke_request, text  # noqa: E402
from program import INTERRUPTED, descriptors, program_path, scaled, wait_until  # noqa: E402
from raw_http2 import RawClient  # noqa: E402

# So that a test need not wait for long.
QUICK = ["--reconnect-delay", "10ms", "--reconnect-jitter", "0s", "--max-backoff", "100ms"]
BEATS = ["--heartbeat-interval", scaled(100), "--heartbeat-timeout", scaled(400)]


class NetworkTest(ConnectorTest):
    scheme = "grpc"

    def start_proxy(self, **options):
        proxy = ByteProxy(self.address, **options)
        self.addCleanup(proxy.close)
        return proxy

    def start_connect(self, address, *arguments):
        return self.start("connect", f"{self.scheme}://{address}", *QUICK, *arguments)

    def wait_registered(self, connect, count):
        connect.wait_log(" registered address=", skip=count - 1)

    def connected_through(self, proxy, instances, *arguments):
        connect = self.start_connect(proxy.address, "--instances", instances, "--instance", "c", *arguments)
        self.wait_registered(connect, instances)
        return connect

    def assert_answers(self, address, value=(1, "é")):
        """The connector at that address echoes a request of another one, that has no proxy in between."""
        asking = self.registered(instance="asking")
        asking.send(invoke_request("i-1", address, payload=json.dumps(value)))
        response = asking.receive_until(INVOKE_RESPONSE)
        self.assertEqual(integer(response, 2), 1, text(response, 5))
        self.assertEqual(json.loads(response[3][-1]), json.loads(json.dumps(value)))
        asking.close()

    def assert_ends(self, connect):
        connect.interrupt()
        self.assert_exit(connect, INTERRUPTED)


class Reset(NetworkTest):
    connections = 3

    def test_all_come_back_each_time(self):
        proxy = self.start_proxy()
        connect = self.connected_through(proxy, 5, "--max-streams-per-channel", 2, "--json")
        for round_number in range(1, 6):
            self.assertEqual(proxy.reset(), self.connections)
            connect.wait_log(" disconnected .* reason=stream-error", skip=5 * round_number - 1)
            self.gateway.wait_log("connector disconnected address=default.echo", skip=5 * round_number - 1)
            self.wait_registered(connect, 5 * round_number + 5)
        self.assert_answers("default.echo.c-1")
        self.assert_ends(connect)
        summary = self.one_json_document(connect.stdout)
        self.assertEqual((summary["successful_reconnects"], summary["total_disconnects"]), (25, 30))


class HalfOpen(NetworkTest):
    gateway_flags = ["--session-timeout", scaled(600)]

    def test_both_sides_notice_and_all_come_back_over_a_new_connection(self):
        proxy = self.start_proxy()
        connect = self.connected_through(proxy, 3, *BEATS, "--connect-timeout", scaled(500))
        proxy.swallow()
        connect.wait_log(" disconnected .* reason=heartbeat-timeout", skip=2)
        self.gateway.wait_log("connector disconnected .*(?:no message for|replaced by a newer stream)", skip=2)
        self.wait_registered(connect, 6)
        self.assert_answers("default.echo.c-1")
        self.assert_ends(connect)


class Slow(NetworkTest):
    too_late = "no answer within"
    gateway_flags = ["--register-timeout", "10m"]

    def test_a_byte_at_a_time(self):
        proxy = self.start_proxy(chunk=1)
        connect = self.connected_through(proxy, 3, "--heartbeat-interval", scaled(100))
        self.assert_answers("default.echo.c-2", ["x" * 5000])
        self.assertEqual(connect.log_lines(" disconnected "), [])
        self.assert_ends(connect)

    def test_64_bytes_a_second(self):
        proxy = self.start_proxy(chunk=16, rate=64)
        connect = self.connected_through(proxy, 1, "--connect-timeout", "10m")
        self.assert_answers("default.echo.c")
        self.assertEqual(connect.log_lines(" disconnected |failed"), [])
        self.assert_ends(connect)
        self.gateway.wait_log("connector disconnected address=default.echo.c ")

    def test_too_slow_to_register_in_time(self):
        proxy = self.start_proxy(chunk=16, rate=64)
        connect = self.start_connect(proxy.address, "--connect-timeout", scaled(250))
        connect.wait_log(f"registration failed .*{self.too_late}")
        connect.wait_log("retrying .* attempt=2 ")
        self.assert_serves()
        self.assert_ends(connect)


class FewDescriptors(NetworkTest):
    descriptor_limit = 64

    def test_connectors_get_in_when_others_have_gone(self):
        self.assert_serves()
        before = descriptors(self.gateway.pid)
        clients = [RawClient(self.address) for _ in range(2 * self.descriptor_limit)]
        wait_until(lambda: descriptors(self.gateway.pid).total() >= self.descriptor_limit - 1, "no descriptor left")
        connect = self.start_connect(self.address, "--connect-timeout", scaled(200), "--instance", "c")
        connect.wait_log("registration failed ")
        for client in clients:
            client.close()
        self.wait_registered(connect, 1)
        self.assert_answers("default.echo.c")
        self.assert_ends(connect)
        self.wait_descriptors(self.gateway, before)
        self.gateway.interrupt()
        self.assert_exit(self.gateway, 0)


def own_hosts(hosts):
    """A command that starts the program with the file `hosts` in place of /etc/hosts, in a mount namespace of its own."""
    script = f'mount --bind "{hosts}" /etc/hosts && exec "$0" "$@"'
    for flags in (["--mount"], ["--user", "--map-root-user", "--mount"]):
        command = ["unshare", *flags, "sh", "-c", script]
        if shutil.which("unshare") and subprocess.run([*command, "true"], capture_output=True, check=False).returncode == 0:
            return [*command, program_path()]
    raise unittest.SkipTest("this machine allows no mount namespaces")


class Dns(NetworkTest):
    """A name that comes to stand for another address: it is resolved anew for every connection."""

    name = "gateway.sharingbus.test"
    # Of another address than the fixture's gateway, with the same port.
    other = "127.0.0.2"
    flag, key = "--grpc", "grpc"

    def test_gateway_moves_to_another_address(self):
        hosts = self.temporary_file(f"127.0.0.1 {self.name}\n", ".hosts")
        command = own_hosts(hosts)
        port = self.address.rsplit(":", 1)[1]
        moved = self.start("gateway", self.flag, f"{self.other}:{port}")
        moved.wait_output(f"^listening {self.key}={self.other}:{port}$")
        connect = self.start("connect", f"{self.scheme}://{self.name}:{port}", *QUICK, "--instances", 3,
                             "--instance", "c", command=command)  # fmt: skip
        self.gateway.wait_log("connector registered address=default.echo.c", skip=2)
        # In place, as the program has the file itself and not its name.
        with open(hosts, "w", encoding="utf-8") as file:
            file.write(f"{self.other} {self.name}\n")
        self.assertEqual(moved.log_lines("connector registered"), [])
        self.gateway.signal(signal.SIGTERM)
        self.assert_exit(self.gateway, 0)
        moved.wait_log("connector registered address=default.echo.c", skip=2)
        self.assert_ends(connect)


class Twins(NetworkTest):
    """Two programs with connectors of the same identity."""

    def start_twin(self):
        return self.start("connect", self.url, "--instance", "twin", "--reconnect-delay", "10ms",
                          "--reconnect-jitter", "0s")  # fmt: skip

    def test_newer_one_replaces_the_older_one_at_longer_and_longer_intervals(self):
        old = self.start_twin()
        self.wait_registered(old, 1)
        new = self.start_twin()
        self.wait_registered(new, 1)
        old.wait_log(" disconnected .*replaced by a newer stream")
        # A stream that lived for no more than a moment does not make the waits short again.
        for twin in (old, new):
            twin.wait_log(r"retrying .* attempt=4 after=80ms")
        self.gateway.signal(signal.SIGTERM)
        self.assert_exit(self.gateway, 0)
        lines = self.gateway.log_lines("connector (?:dis|)(?:connected|registered)")
        # The newer one is told before the older one ends.
        self.assertLessEqual({re.search(r" connectors=(\d+) ", line)[1] for line in lines}, {"0", "1", "2"})

    def test_older_one_keeps_its_place_until_it_goes(self):
        self.use_gateway("--duplicates", "refuse-new")
        old = self.start_twin()
        self.wait_registered(old, 1)
        new = self.start_twin()
        new.wait_log("registration failed .*registered already", skip=2)
        self.assert_answers("default.echo.twin")
        self.assertEqual(old.log_lines(" disconnected "), [])
        self.assert_ends(old)
        self.wait_registered(new, 1)
        self.assert_answers("default.echo.twin")
        self.assert_ends(new)


if __name__ == "__main__":
    unittest.main(verbosity=2, warnings="ignore")

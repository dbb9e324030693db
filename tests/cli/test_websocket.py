#!/usr/bin/env python3
"""`gateway --websocket` and `connect ws://`, wss:// and grpcs:// with certificates, and HTTP proxies: two processes."""

import base64
import os
import re
import signal
import socket
import sys
import tempfile
import threading
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), os.pardir, "support"))
from certificates import make_certificate  # noqa: E402
from program import INTERRUPTED, Program, ProgramTest, dead_port, scaled, wait_until  # noqa: E402

REFERENCE_PATH = "/socket/connector/websocket?vsn=2.0.0"


class WebSocketTest(ProgramTest):
    scheme = "ws"

    def start_server(self, *arguments, address="127.0.0.1:0"):
        gateway = self.start("gateway", "--websocket", address, *arguments)
        return gateway, gateway.wait_output(r"^listening websocket=(\S+)$")[1]

    def start_pair(self, instances, *arguments):
        gateway, address = self.start_server()
        connect = self.start("connect", f"ws://{address}", "--instances", instances, *arguments)
        gateway.wait_log(rf"connector registered .* connectors={instances} ")
        connect.wait_log(" registered address=", skip=instances - 1)
        return gateway, address, connect

    def start_server_again(self, address):
        """On the port of one that is gone. Another program may hold it for a moment."""

        def attempt():
            gateway = Program("gateway", "--websocket", address)
            try:
                gateway.wait_output("^listening ")
                return gateway
            except AssertionError:
                gateway.close()
                return None

        gateway = wait_until(attempt, f"a gateway on {address}")
        self.addCleanup(self._end, gateway)
        return gateway


class Registration(WebSocketTest):
    def test_each_connector_has_a_connection(self):
        gateway, _, connect = self.start_pair(20, "--tenant", "acme", "--instance", "w")
        gateway.wait_log(r"connector registered .* connectors=20 connections=20$")
        names = {re.search(r"address=(\S+)", line)[1] for line in gateway.log_lines("connector registered")}
        self.assertEqual(names, {f"acme.echo.w-{i}" for i in range(1, 21)})
        connect.interrupt()
        self.assert_exit(connect, INTERRUPTED)
        gateway.wait_log(r"connector disconnected .* connectors=0 connections=0$")
        gateway.interrupt()
        self.assert_exit(gateway, 0)

    def test_connectors_may_share_connections(self):
        gateway, _, connect = self.start_pair(50, "--max-registrations-per-stream", "20")
        gateway.wait_log(r"connector registered .* connectors=50 connections=3$")
        connect.interrupt()
        self.assert_exit(connect, INTERRUPTED)
        gateway.wait_log(r"connector disconnected .* connectors=0 connections=0$")

    def test_both_transports_at_once(self):
        gateway = self.start("gateway", "--grpc", "127.0.0.1:0", "--websocket", "127.0.0.1:0")
        grpc, websocket = gateway.wait_output(r"^listening grpc=(\S+) websocket=(\S+)$").groups()
        self.start("connect", f"grpc://{grpc}", "--instance", "g")
        self.start("connect", f"ws://{websocket}", "--instance", "w")
        gateway.wait_log(r"connector registered .* connectors=2 connections=2$")

    def test_killed_gateway_gets_its_connectors_back(self):
        gateway, address, connect = self.start_pair(5, "--reconnect-delay", "20ms", "--max-backoff", "500ms")
        gateway.signal(signal.SIGKILL)
        gateway.wait()
        connect.wait_log(" disconnected address=.* reason=stream-error", skip=4)
        again = self.start_server_again(address)
        again.wait_log("connector registered .* connectors=5 ")
        connect.interrupt()
        self.assert_exit(connect, INTERRUPTED)

    def test_gateway_drains_after_sigterm(self):
        gateway, _, connect = self.start_pair(3)
        gateway.signal(signal.SIGTERM)
        self.assert_exit(gateway, 0)
        self.assertEqual(len(gateway.log_lines("connector disconnected")), 3)
        connect.wait_log(" disconnected .* reason=server-closed", skip=2)

    def test_stopped_gateway_is_noticed_by_its_silence(self):
        beats = ["--heartbeat-interval", scaled(100), "--heartbeat-timeout", scaled(400)]
        gateway, _, connect = self.start_pair(2, *beats)
        gateway.signal(signal.SIGSTOP)
        connect.wait_log(" disconnected .* reason=heartbeat-timeout", skip=1)
        gateway.signal(signal.SIGCONT)
        connect.wait_log(" registered address=", skip=3)


class Failures(WebSocketTest):
    def connect_once(self, url, *arguments):
        connect = self.start("connect", url, "--no-reconnect", *arguments)
        self.assert_exit(connect, 1)
        return connect.log_lines("registration failed")[0]

    def test_dead_server_is_named(self):
        keeper, port = dead_port()
        self.addCleanup(keeper.close)
        line = self.connect_once(f"ws://127.0.0.1:{port}")
        self.assertIn(f"127.0.0.1:{port}", line)
        self.assertIn("Connection refused", line)

    def test_a_server_that_is_no_gateway(self):
        keeper, port = dead_port()
        self.addCleanup(keeper.close)
        keeper.listen()
        requests = []

        def answer():
            with keeper.accept()[0] as peer:
                requests.append(peer.recv(4096).decode())
                peer.sendall(b"HTTP/1.1 404 Not Found\r\nContent-Length: 8\r\n\r\nno room\n")

        server = threading.Thread(target=answer)
        server.start()
        self.addCleanup(server.join)
        line = self.connect_once(f"ws://127.0.0.1:{port}")
        self.assertIn("404 Not Found: no room", line)
        self.assertTrue(requests[0].startswith(f"GET {REFERENCE_PATH} HTTP/1.1\r\n"), requests)

    def test_a_server_that_never_answers(self):
        keeper, port = dead_port()
        self.addCleanup(keeper.close)
        keeper.listen()
        line = self.connect_once(f"ws://127.0.0.1:{port}", "--connect-timeout", scaled(200))
        self.assertIn(f"127.0.0.1:{port}", line)

    def test_a_full_gateway(self):
        _, address = self.start_server("--max-sessions", "1")
        first = self.start("connect", f"ws://{address}")
        first.wait_log(" registered address=")
        line = self.connect_once(f"ws://{address}", "--instance", "other")
        self.assertIn("503 Service Unavailable", line)
        self.assertIn("the limit of 1 streams is reached", line)

    def test_grpc_where_websockets_are_served(self):
        _, address = self.start_server()
        self.connect_once(f"grpc://{address}", "--connect-timeout", scaled(2000))


class Certificates(WebSocketTest):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(cls.folder.cleanup)
        cls.ours = make_certificate(cls.folder.name, "ours", "DNS:localhost,IP:127.0.0.1")
        cls.other = make_certificate(cls.folder.name, "other", "DNS:elsewhere")

    def start_secure(self, certificate, *arguments):
        """Over both transports; their URLs."""
        gateway = self.start("gateway", "--grpc", "127.0.0.1:0", "--websocket", "127.0.0.1:0", "--tls-cert",
                             certificate[0], "--tls-key", certificate[1], *arguments)  # fmt: skip
        grpc, websocket = gateway.wait_output(r"^listening grpc=(\S+) websocket=(\S+)$").groups()
        return gateway, [f"grpcs://{grpc}", f"wss://{websocket}"]

    def test_a_certificate_that_is_vouched_for(self):
        gateway, urls = self.start_secure(self.ours)
        for url in urls:
            connect = self.start("connect", url, "--tls-ca", self.ours[0], "--instance", url[:3])
            connect.wait_log(" registered address=")
            self.assertEqual(connect.log_lines("certificates are not checked"), [])
        gateway.wait_log(r"connector registered .* connectors=2 ")

    def test_certificates_that_are_not(self):
        for certificate, trusted in ((self.ours, self.other), (self.other, self.other)):
            _, urls = self.start_secure(certificate)
            for url in urls:
                with self.subTest(url):
                    connect = self.start("connect", url, "--tls-ca", trusted[0], "--no-reconnect")
                    self.assert_exit(connect, 1)
                    line = connect.log_lines("registration failed")[0]
                    self.assertIn(url.split("//")[1], line)
                    if url.startswith("wss"):
                        self.assertIn("certificate", line)

    def test_insecure_warns_and_goes_on(self):
        _, urls = self.start_secure(self.other)
        for url in urls:
            connect = self.start("connect", url, "--insecure", "--instance", url[:3])
            connect.wait_log(" registered address=")
            self.assertEqual(len(connect.log_lines("warn.*certificates are not checked")), 1)

    def test_the_references_variables(self):
        _, urls = self.start_secure(self.ours)
        for environment in ({"MATRIX_TLS_CA_CERT": self.ours[0]}, {"MATRIX_TLS_INSECURE": "TRUE"}):
            connect = self.start("connect", urls[1], environment=environment)
            connect.wait_log(" registered address=")

    def test_certificates_of_connectors(self):
        _, urls = self.start_secure(self.ours, "--tls-ca", self.other[0])
        for url in urls:
            trust = ["--tls-ca", self.ours[0], "--instance", url[:3]]
            without = self.start("connect", url, "--no-reconnect", *trust)
            self.assert_exit(without, 1)
            known = self.start("connect", url, "--tls-cert", self.other[0], "--tls-key", self.other[1], *trust)
            known.wait_log(" registered address=")

    def test_plain_where_tls_is_served(self):
        _, urls = self.start_secure(self.ours)
        connect = self.start("connect", urls[1].replace("wss", "ws"), "--no-reconnect")
        self.assert_exit(connect, 1)


class HttpProxy:
    """CONNECT, on loopback."""

    def __init__(self, answer=b"HTTP/1.1 200 OK\r\n\r\n"):
        self._answer = answer
        self.requests = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self):
        self._listener.close()

    def _accept(self):
        while True:
            try:
                peer = self._listener.accept()[0]
            except OSError:
                return
            threading.Thread(target=self._serve, args=(peer,), daemon=True).start()

    def _serve(self, peer):
        request = b""
        while not request.endswith(b"\r\n\r\n"):
            data = peer.recv(1)
            if not data:
                return
            request += data
        self.requests.append(request.decode())
        peer.sendall(self._answer)
        if b" 200 " not in self._answer:
            peer.close()
            return
        host, port = request.split()[1].decode().rsplit(":", 1)
        target = socket.create_connection((host, int(port)))
        threading.Thread(target=self._copy, args=(target, peer), daemon=True).start()
        self._copy(peer, target)

    @staticmethod
    def _copy(source, sink):
        try:
            while data := source.recv(65536):
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            sink.close()


class Proxies(WebSocketTest):
    def start_both(self):
        gateway = self.start("gateway", "--grpc", "127.0.0.1:0", "--websocket", "127.0.0.1:0")
        grpc, websocket = gateway.wait_output(r"^listening grpc=(\S+) websocket=(\S+)$").groups()
        return [f"grpc://{grpc}", f"ws://{websocket}"]

    def start_proxy(self, *arguments):
        proxy = HttpProxy(*arguments)
        self.addCleanup(proxy.close)
        return proxy

    def test_the_flag_and_the_variables(self):
        for url in self.start_both():
            for how in ("flag", "HTTP_PROXY", "all_proxy", "STUDIO_PROXY"):
                with self.subTest(url=url, how=how):
                    proxy = self.start_proxy()
                    name = f"http://me:secret@{proxy.address}"
                    flag = ["--proxy", name] if how == "flag" else []
                    environment = {} if flag else {how: name}
                    connect = self.start("connect", url, "--instance", how, *flag, environment=environment)
                    connect.wait_log(f"through the proxy http://me@{proxy.address}|through the proxy http://{proxy.address}")
                    connect.wait_log(" registered address=")
                    self.assertNotIn("secret", connect.stderr)
                    target = url.split("//")[1]
                    self.assertTrue(proxy.requests[0].startswith(f"CONNECT {target} HTTP/1.1\r\n"), proxy.requests)
                    password = base64.b64encode(b"me:secret").decode()
                    self.assertIn(f"Proxy-Authorization: Basic {password}\r\n", proxy.requests[0])
                    connect.interrupt()
                    self.assert_exit(connect, INTERRUPTED)

    def test_no_proxy_wins(self):
        proxy = self.start_proxy()
        for url in self.start_both():
            connect = self.start("connect", url, "--proxy", f"http://{proxy.address}", "--instance", url[:2],
                                 environment={"NO_PROXY": "example.com, 127.0.0.1"})  # fmt: skip
            connect.wait_log(" registered address=")
        self.assertEqual(proxy.requests, [])

    def test_a_proxy_that_refuses_is_named(self):
        proxy = self.start_proxy(b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n")
        for url in self.start_both():
            connect = self.start("connect", url, "--proxy", f"http://{proxy.address}", "--no-reconnect")
            self.assert_exit(connect, 1)
            self.assertIn("Proxy authentication failed", connect.log_lines("registration failed")[0])

    def test_a_proxy_that_is_not_there_is_named(self):
        keeper, port = dead_port()
        self.addCleanup(keeper.close)
        for url in self.start_both():
            connect = self.start("connect", url, "--proxy", f"http://127.0.0.1:{port}", "--no-reconnect")
            self.assert_exit(connect, 1)
            self.assertIn("Proxy unreachable", connect.log_lines("registration failed")[0])


if __name__ == "__main__":
    unittest.main(verbosity=2)

#!/usr/bin/env python3
"""How the program takes its flags, environment and config file, and what it says when they are wrong."""

import json
import os
import socket
import sys
import tempfile
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), os.pardir, "support"))
from program import ProgramTest, dead_port  # noqa: E402

FLAGS = {
    "demo": ["--connectors", "--requests", "--concurrency", "--transport", "--json", "--config"],
    "gateway": [
        "--grpc", "--websocket", "--tls-cert", "--tls-key", "--tls-ca", "--json", "--heartbeat-interval", "--session-timeout", "--register-timeout", "--drain",
        "--duplicates", "--max-sessions", "--max-unused-connections", "--handshake-timeout", "--max-connection-idle",
        "--max-message-bytes", "--log-level", "--config",
    ],
    "connect": [
        "--type", "--tenant", "--instance", "--instances", "--auth-token", "--display-name", "--tags",
        "--tls-ca", "--tls-cert", "--tls-key", "--insecure", "--proxy", "--max-registrations-per-stream",
        "--max-streams-per-channel", "--connect-timeout", "--no-reconnect", "--reconnect-delay", "--max-backoff",
        "--reconnect-jitter", "--jitter-mode", "--max-concurrent-requests", "--max-waiting-requests",
        "--request-timeout",
        "--heartbeat-interval", "--heartbeat-timeout", "--minimum-stream-life", "--drain", "--max-message-bytes",
        "--json", "--log-level", "--config",
    ],
}  # fmt: skip


class UsageTest(ProgramTest):
    """What is refused before anything starts."""

    def assert_refused(self, *arguments, naming, environment=None):
        """Exit code 2, nothing on stdout, and a text on stderr with all of `naming`."""
        done = self.run_program(*arguments, environment=environment)
        self.assertEqual(done.code, 2, done)
        self.assertEqual(done.stdout, "")
        for text in [naming] if isinstance(naming, str) else naming:
            self.assertIn(text, done.stderr)
        self.assertTrue(done.stderr.isprintable() or done.stderr.replace("\n", "").isprintable(), repr(done.stderr))
        self.assertLess(len(done.stderr), 500, "an error text is for people")
        self.assertNotIn("Options::", done.stderr, "no names of C++ in what users read")
        return done

    def serve_and_stop(self, *arguments, environment=None):
        """The address that a gateway with these flags says that it serves, and its stdout."""
        gateway = self.start("gateway", *arguments, environment=environment)
        line = gateway.wait_output(r"\S")[0] and gateway.output_lines()[0]
        gateway.interrupt()
        self.assert_exit(gateway, 0)
        return line


class Help(UsageTest):
    def test_every_command_lists_its_flags(self):
        for command, flags in FLAGS.items():
            for spelling in ("--help", "-h"):
                with self.subTest(command=command, spelling=spelling):
                    done = self.run_program(command, spelling)
                    self.assertEqual((done.code, done.stderr), (0, ""))
                    for flag in flags:
                        self.assertRegex(done.stdout, rf"(?m)^\s+{flag}\b")
                        name = flag.removeprefix("--").upper().replace("-", "_")
                        self.assertIn(f"SHARINGBUS_{name})", done.stdout)

    def test_help_is_readable(self):
        for command in FLAGS:
            with self.subTest(command):
                text = self.run_program(command, "--help").stdout
                self.assertTrue(text.replace("\n", "").isprintable(), repr(text))
                self.assertLess(max(map(len, text.split("\n"))), 200, text)

    def test_the_program_lists_its_commands(self):
        done = self.run_program("--help")
        self.assertEqual((done.code, done.stderr), (0, ""))
        for command in FLAGS:
            self.assertRegex(done.stdout, rf"(?m)^\s+{command}\b")

    def test_version(self):
        done = self.run_program("--version")
        self.assertEqual((done.code, done.stderr), (0, ""))
        self.assertRegex(done.stdout, r"^sharingbus \d+\.\d+\.\d+\n$")


class BadUsage(UsageTest):
    def test_unknown_flag(self):
        for command in FLAGS:
            with self.subTest(command):
                self.assert_refused(command, "--frobnicate", naming="--frobnicate")
        self.assert_refused("--frobnicate", naming="--frobnicate")

    def test_unknown_command(self):
        self.assert_refused("frobnicate", naming="frobnicate")

    def test_no_command(self):
        self.assert_refused(naming="subcommand")

    def test_two_commands(self):
        self.assert_refused("demo", "gateway", naming="gateway")

    def test_flag_without_its_value(self):
        self.assert_refused("demo", "--requests", naming="--requests")

    def test_durations(self):
        flags = {
            "gateway": ["--heartbeat-interval", "--session-timeout", "--register-timeout", "--drain"],
            "connect": [
                "--connect-timeout", "--reconnect-delay", "--max-backoff", "--reconnect-jitter",
                "--heartbeat-interval", "--heartbeat-timeout", "--minimum-stream-life", "--drain",
            ],
        }  # fmt: skip
        for command, names in flags.items():
            for name in names:
                for value in ("30", "-1s"):
                    with self.subTest(command=command, flag=name, value=value):
                        self.assert_refused(command, f"{name}={value}", naming=[name, value])
        for value in ("", "s", "30 s", "1d", "30sec", "nan", "nans", "1e99s", "0x10s", "5s5s"):
            with self.subTest(value=value):
                self.assert_refused("gateway", f"--drain={value}", naming="--drain")

    def test_ranges(self):
        for arguments in (
            ["demo", "--connectors", "0"],
            ["demo", "--connectors", "-3"],
            ["demo", "--connectors", "many"],
            ["demo", "--connectors", "10001"],
            ["demo", "--requests", "0"],
            ["demo", "--requests", "1.5"],
            ["demo", "--concurrency", "0"],
            ["demo", "--concurrency", "99999999999999999999"],
            ["gateway", "--max-sessions", "0"],
            ["gateway", "--max-sessions", "-1"],
            ["gateway", "--max-unused-connections", "0"],
            ["gateway", "--max-unused-connections", "many"],
            ["gateway", "--handshake-timeout", "0s"],
            ["gateway", "--max-connection-idle", "0s"],
            ["gateway", "--max-message-bytes", "0"],
            ["gateway", "--max-message-bytes", "-1"],
            ["gateway", "--heartbeat-interval", "0s"],
            ["gateway", "--session-timeout", "0s"],
            ["gateway", "--register-timeout", "0s"],
            ["connect", "--instances", "0"],
            ["connect", "--max-streams-per-channel", "0"],
            ["connect", "--max-streams-per-channel", "-1"],
            ["connect", "--max-concurrent-requests", "-1"],
            ["connect", "--max-waiting-requests", "0"],
            ["connect", "--max-message-bytes", "0"],
            ["connect", "--connect-timeout", "0s"],
            ["connect", "--heartbeat-interval", "0s"],
            ["connect", "--heartbeat-timeout", "0s"],
        ):
            with self.subTest(" ".join(arguments)):
                url = ["127.0.0.1:1"] if arguments[0] == "connect" else []
                self.assert_refused(*arguments, *url, naming=arguments[1])

    def test_choices_name_what_is_possible(self):
        for arguments, choices in (
            (["connect", "--jitter-mode", "wild", "127.0.0.1:1"], ["additive", "equal", "decorrelated"]),
            (["connect", "--type", "oracle", "127.0.0.1:1"], ["echo", "clock"]),
            (["connect", "--log-level", "loud", "127.0.0.1:1"], ["debug", "info", "warn", "error"]),
            (["gateway", "--duplicates", "keep-both"], ["replace-old", "refuse-new"]),
            (["gateway", "--log-level", "loud"], ["debug", "info", "warn", "error"]),
            (["demo", "--transport", "carrier-pigeon"], ["grpc", "websocket"]),
        ):
            with self.subTest(" ".join(arguments)):
                self.assert_refused(*arguments, naming=[arguments[1], arguments[2], *choices])

    def test_addresses_of_the_gateway(self):
        for address in ("", "nonsense:port", "127.0.0.1:70000", "127.0.0.1:-1", "a b:1", "[::1", "ftp://127.0.0.1:0",
                        "ws://127.0.0.1:0", "grpcs://127.0.0.1:0", "user@127.0.0.1:0"):  # fmt: skip
            with self.subTest(address):
                self.assert_refused("gateway", "--grpc", address, naming="--grpc")

    def test_urls_of_connect(self):
        for url in ("nonsense:port", "grpc://", "grpc://127.0.0.1:70000", "ftp://127.0.0.1:1", "a b", "::"):
            with self.subTest(url):
                self.assert_refused("connect", url, naming="url")
        self.assert_refused("connect", naming="url is required")
        self.assert_refused("connect", "", naming="url")
        self.assert_refused("connect", "127.0.0.1:1", "127.0.0.1:2", naming="127.0.0.1:2")

    def test_schemes_that_no_gateway_speaks(self):
        for url in ("tcp://127.0.0.1:1", "unix:/tmp/x", "memory://x"):
            with self.subTest(url):
                self.assert_refused("connect", url, naming=["url", "grpc://", "wss://", url.split(":")[0] + "://"])

    def test_addresses_of_the_gateway_for_websockets(self):
        for address in ("", "nonsense:port", "127.0.0.1:70000", "grpc://127.0.0.1:0"):
            with self.subTest(address):
                self.assert_refused("gateway", "--websocket", address, naming="--websocket")
        self.assert_refused("gateway", "--websocket", "wss://127.0.0.1:0", naming=["--websocket", "--tls-cert"])

    def test_certificates_of_the_gateway(self):
        for flag in ("--tls-cert", "--tls-key", "--tls-ca"):
            with self.subTest(flag):
                self.assert_refused("gateway", flag, "/nowhere/file.pem", naming="--tls-")
        self.assert_refused(
            "gateway", "--tls-cert", "/nowhere/cert.pem", "--tls-key", "/nowhere/key.pem",
            naming=["--tls-cert", "/nowhere/cert.pem", "No such file"],
        )  # fmt: skip

    def test_certificates_of_connect(self):
        url = "wss://127.0.0.1:1"
        self.assert_refused("connect", url, "--tls-ca", "/nowhere/ca.pem", naming=["--tls-ca", "/nowhere/ca.pem"])
        self.assert_refused("connect", url, "--insecure", "--tls-cert", "/nowhere/c.pem", naming="--tls-key")
        for flag in (["--insecure"], ["--tls-ca", "x"]):
            with self.subTest(flag[0]):
                self.assert_refused("connect", "ws://127.0.0.1:1", *flag, naming=["url", "no TLS", flag[0]])

    def test_proxies(self):
        for proxy in ("socks5://127.0.0.1:1", "http://", "http://127.0.0.1:port"):
            with self.subTest(proxy):
                self.assert_refused("connect", "ws://127.0.0.1:1", "--proxy", proxy, naming="--proxy")
        self.assert_refused(
            "connect", "127.0.0.1:1", naming="STUDIO_PROXY", environment={"STUDIO_PROXY": "ftp://127.0.0.1:1"}
        )


class ConfigFile(UsageTest):
    def test_keys_are_flags(self):
        path = self.temporary_file("connectors: 2\nrequests: 7\nconcurrency: 3\njson: true\n")
        done = self.run_program("demo", "--config", path)
        self.assertEqual(done.code, 0, done)
        report = self.one_json_document(done.stdout)
        self.assertEqual((report["connectors"], report["requests"]), (2, 7))

    def test_lists_and_durations_and_choices(self):
        path = self.temporary_file("tags: [blue, green]\nmax-backoff: 5m\njitter-mode: additive\nno-reconnect: true\n")
        keeper, port = dead_port()
        with keeper:
            done = self.run_program("connect", f"127.0.0.1:{port}", "--config", path)
        self.assertEqual(done.code, 1, done)
        self.assertIn("registration failed", done.stderr)

    def test_empty_file(self):
        path = self.temporary_file("# nothing yet\n")
        self.assertEqual(self.run_program("demo", "--requests", "5", "--config", path).code, 0)

    def test_unknown_key(self):
        path = self.temporary_file("requests: 5\nconectors: 2\n")
        self.assert_refused("demo", "--config", path, naming=["conectors", path])

    def test_key_of_another_command(self):
        path = self.temporary_file("grpc: 127.0.0.1:0\n")
        self.assert_refused("demo", "--config", path, naming=["grpc", path])

    def test_config_and_help_are_no_keys(self):
        for key in ("config", "help"):
            with self.subTest(key):
                self.assert_refused("demo", "--config", self.temporary_file(f"{key}: x\n"), naming=key)

    def test_wrong_values_name_their_key(self):
        for text, key in (
            ("drain: 10", "drain"),
            ("drain: [1s, 2s]", "drain"),
            ("drain: {seconds: 1}", "drain"),
            ("drain:", "drain"),
            ("max-sessions: many", "max-sessions"),
            ("max-message-bytes: 0", "max-message-bytes"),
            ("duplicates: keep-both", "duplicates"),
            ("json: perhaps", "json"),
            ("grpc: nonsense:port", "grpc"),
            ("log-level: loud", "log-level"),
        ):
            with self.subTest(text):
                self.assert_refused("gateway", "--config", self.temporary_file(text), naming=key)

    def test_missing_file(self):
        self.assert_refused("demo", "--config", "/nonexistent/demo.yaml", naming=["--config", "/nonexistent/demo.yaml"])

    def test_folder(self):
        with tempfile.TemporaryDirectory() as path:
            self.assert_refused("demo", "--config", path, naming=["--config", path])

    def test_not_yaml(self):
        path = self.temporary_file("requests: [1,\n")
        self.assert_refused("demo", "--config", path, naming=["--config", path])

    def test_not_a_map(self):
        for text in ("- requests\n- 5\n", "requests\n"):
            with self.subTest(text):
                path = self.temporary_file(text)
                self.assert_refused("demo", "--config", path, naming=["--config", path])


class Environment(UsageTest):
    def demo(self, *arguments, environment):
        done = self.run_program("demo", "--json", *arguments, environment=environment)
        self.assertEqual(done.code, 0, done)
        return self.one_json_document(done.stdout)

    def test_sets_flags(self):
        report = self.demo(environment={"SHARINGBUS_CONNECTORS": "2", "SHARINGBUS_REQUESTS": "11"})
        self.assertEqual((report["connectors"], report["requests"]), (2, 11))

    def test_sets_switches_and_the_config_file(self):
        path = self.temporary_file("requests: 13\n")
        done = self.run_program("demo", environment={"SHARINGBUS_JSON": "true", "SHARINGBUS_CONFIG": path})
        self.assertEqual(self.one_json_document(done.stdout)["requests"], 13)

    def test_flags_win_over_environment_wins_over_file(self):
        path = self.temporary_file("connectors: 2\nrequests: 20\nconcurrency: 2\n")
        environment = {"SHARINGBUS_CONNECTORS": "3", "SHARINGBUS_REQUESTS": "30"}
        report = self.demo("--connectors", "4", "--config", path, environment=environment)
        self.assertEqual((report["connectors"], report["requests"]), (4, 30))
        report = self.demo("--config", path, environment={})
        self.assertEqual((report["connectors"], report["requests"]), (2, 20))

    def test_a_switch_of_the_file_can_be_turned_off(self):
        path = self.temporary_file("json: true\ngrpc: 127.0.0.1:0\n")
        self.assertTrue(self.serve_and_stop("--config", path).startswith("{"))
        line = self.serve_and_stop("--config", path, environment={"SHARINGBUS_JSON": "false"})
        self.assertTrue(line.startswith("listening"), line)

    def test_wrong_values_name_the_flag(self):
        for name, value, flag in (("DRAIN", "10", "drain"), ("DUPLICATES", "both", "duplicates"),
                                  ("MAX_SESSIONS", "many", "max-sessions")):  # fmt: skip
            with self.subTest(name):
                self.assert_refused("gateway", environment={f"SHARINGBUS_{name}": value}, naming=flag)


class Serving(UsageTest):
    def test_ready_line(self):
        self.assertRegex(self.serve_and_stop("--grpc", "127.0.0.1:0"), r"^listening grpc=127\.0\.0\.1:[1-9]\d*$")

    def test_ready_line_as_json(self):
        line = json.loads(self.serve_and_stop("--grpc", "grpc://127.0.0.1:0", "--json"))
        self.assertEqual(list(line), ["listening"])
        self.assertRegex(line["listening"]["grpc"], r"^127\.0\.0\.1:[1-9]\d*$")

    def test_ready_line_with_websockets(self):
        port = r"127\.0\.0\.1:[1-9]\d*"
        self.assertRegex(self.serve_and_stop("--websocket", "127.0.0.1:0"), rf"^listening websocket={port}$")
        self.assertRegex(
            self.serve_and_stop("--grpc", "127.0.0.1:0", "--websocket", "ws://127.0.0.1:0"),
            rf"^listening grpc={port} websocket={port}$",
        )
        line = json.loads(self.serve_and_stop("--grpc", "127.0.0.1:0", "--websocket", "127.0.0.1:0", "--json"))
        self.assertEqual(list(line["listening"]), ["grpc", "websocket"])

    def test_port_in_use(self):
        for flag in ("--grpc", "--websocket"):
            with self.subTest(flag), socket.socket() as holder:
                holder.bind(("127.0.0.1", 0))
                holder.listen()
                address = f"127.0.0.1:{holder.getsockname()[1]}"
                done = self.run_program("gateway", flag, address)
                self.assertEqual((done.code, done.stdout), (1, ""), done)
                self.assertIn(address, done.stderr)
                self.assertIn("in use", done.stderr)

    def test_second_gateway_on_the_same_port(self):
        gateway, address = self.start_gateway()
        done = self.run_program("gateway", "--grpc", address, "--json")
        self.assertEqual((done.code, done.stdout), (1, ""), done)
        self.assertIn(address, done.stderr)
        self.assertTrue(gateway.running())

    def test_address_of_another_machine(self):
        done = self.run_program("gateway", "--grpc", "192.0.2.1:0")
        self.assertEqual((done.code, done.stdout), (1, ""), done)
        self.assertIn("192.0.2.1:0", done.stderr)


if __name__ == "__main__":
    unittest.main(verbosity=2)

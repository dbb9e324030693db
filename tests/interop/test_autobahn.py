#!/usr/bin/env python3
"""The WebSocket transport against the Autobahn cases (kosoku): as server and as client, each an echo (websocket_echo).

Sections 12 and 13 are about compression, which the transport does not have: they may go unanswered, but not wrong.
"""

import asyncio
import collections
import os
import signal
import sys
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(HERE, os.pardir, "support")]

from program import DEADLINE, SCALE, ProgramTest, peer_path  # noqa: E402

# Framing, pings, reserved bits, opcodes, fragments, UTF-8 and closing.
SAMPLE, SAMPLE_CASES = ["1.*", "2.*", "3.*", "4.*", "5.*", "6.*", "7.*", "10.*"], 247
# Size and speed.
LARGE, LARGE_CASES = ["9.*"], 54
COMPRESSION, COMPRESSION_CASES = ["12.*", "13.*"], 216
WHOLE_DEADLINE = 600 * SCALE


class AutobahnTest(ProgramTest):
    def setUp(self):
        sys.path.insert(0, peer_path("python"))
        try:
            import kosoku
        except ImportError as error:
            self.skipTest(f"kosoku is not installed: {error}")
        self.kosoku = kosoku

    def start_echo(self, *arguments):
        return self.start(*arguments, command=[os.environ["TEST_ECHO"]])

    async def results(self, run, seconds):
        """Of all cases, or of those that failed."""
        try:
            return await asyncio.wait_for(run, seconds)
        except self.kosoku.FailureError as failure:
            return failure.results

    def check(self, cases, count, results):
        behaviors = collections.Counter(result.behavior.value for result in results)
        print(f"{len(results)} results of {' '.join(cases)}: {dict(behaviors)}", flush=True)
        allowed = ["UNIMPLEMENTED"] if cases == COMPRESSION else ["OK", "NON-STRICT", "INFORMATIONAL"]
        wrong = [
            f"{result.case_id}: {result.behavior.value}, closing {result.behavior_close.value}. {result.result} "
            f"{result.result_close} {result.description[:200]}"
            for result in results
            if result.behavior.value not in allowed or result.behavior_close.value not in ("OK", "INFORMATIONAL")
        ]
        self.assertEqual(wrong, [])
        self.assertEqual(len(results), count)

    def check_server(self, cases, count, seconds):
        echo = self.start_echo("listen")
        address = echo.wait_output("^listening (.*)$")[1]

        async def drive():
            return await self.results(self.kosoku.run_fuzzingclient(f"ws://{address}", cases, concurrency=4), seconds)

        self.check(cases, count, asyncio.run(drive()))
        echo.signal(signal.SIGTERM)
        self.assert_exit(echo, 0)

    def check_client(self, cases, count, seconds):
        async def serve():
            async with self.kosoku.run_fuzzingserver(cases, host="127.0.0.1", port=0) as server:
                self.echo = self.start_echo("connect", f"{server.address}:{server.port}")
                return await self.results(server.get_result(), seconds)

        self.check(cases, count, asyncio.run(serve()))
        self.assert_exit(self.echo, 0)


class Server(AutobahnTest):
    def test_sample(self):
        self.check_server(SAMPLE, SAMPLE_CASES, DEADLINE)


class Client(AutobahnTest):
    def test_sample(self):
        self.check_client(SAMPLE, SAMPLE_CASES, DEADLINE)


class ServerAtLength(AutobahnTest):
    def test_large_messages(self):
        self.check_server(LARGE, LARGE_CASES, WHOLE_DEADLINE)

    def test_compression(self):
        self.check_server(COMPRESSION, COMPRESSION_CASES, WHOLE_DEADLINE)


class ClientAtLength(AutobahnTest):
    def test_large_messages(self):
        self.check_client(LARGE, LARGE_CASES, WHOLE_DEADLINE)

    def test_compression(self):
        self.check_client(COMPRESSION, COMPRESSION_CASES, WHOLE_DEADLINE)


if __name__ == "__main__":
    unittest.main(verbosity=2, warnings="ignore")

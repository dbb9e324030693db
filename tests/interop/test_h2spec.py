#!/usr/bin/env python3
"""The gRPC port of `sharingbus gateway` against h2spec, the conformance tests for HTTP/2.

Which of its cases pass is a matter of gRPC's HTTP/2 and its version (1.51 answers some 90 of 145 as h2spec wishes), so
they are counted and shown only. What is ours: no case may end the gateway, make it hang, leave a descriptor behind or
disturb a connector.
"""

import os
import re
import sys
import time
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(HERE, os.pardir, "support")]

from connector_case import ConnectorTest  # noqa: E402
from connector_wire import METHOD  # noqa: E402
from program import DEADLINE, descriptors, peer_path  # noqa: E402

# All of it, in parts that are run side by side: most of the time goes in waiting for answers that do not come.
PARTS = (
    ["generic", "hpack", "http2/3", "http2/4", "http2/5.3", "http2/5.4", "http2/5.5", "http2/7", "http2/8.1.2.1"]
    + [f"http2/5.1/{case}" for case in range(1, 14)]
    + [f"http2/6.{section}" for section in (1, 2, 3, 4, 5, 7, 8, 9, 10)]
    + ["http2/5.1.1", "http2/5.1.2", "http2/8.1.2.2", "http2/8.1.2.6", "http2/8.1/1", "http2/8.1.2/1", "http2/8.2"]
    + [f"http2/8.1.2.3/{case}" for case in range(1, 8)]
)
CASES = 145


class GrpcPort(ConnectorTest):
    def setUp(self):
        self.h2spec = [peer_path("bin", "h2spec")]
        super().setUp()

    def start_part(self, part):
        host, port = self.address.rsplit(":", 1)
        return self.start(part, "-h", host, "-p", port, "-P", METHOD, "-o", "1", command=self.h2spec)

    def counts(self, run):
        """tests, passed, skipped, failed."""
        return [int(number) for number in re.findall(r"^(\d+) tests, (\d+) .*, (\d+) .*, (\d+)", run.stdout, re.M)[0]]

    def run_parts(self, parts, connector):
        """While `connector` is served; tests, passed, skipped, failed."""
        runs = [self.start_part(part) for part in parts]
        give_up = time.monotonic() + 2 * DEADLINE
        while any(run.running() for run in runs):
            self.assertLess(time.monotonic(), give_up, "h2spec did not end")
            self.assert_alive(connector)
            time.sleep(0.1)
        for run in runs:
            # 1 is what it says when a case failed.
            self.assertIn(run.wait(), (0, 1), run.describe())
        return list(map(sum, zip(*map(self.counts, runs))))

    def test_serves_connectors_before_during_and_after(self):
        connector = self.registered()
        self.run_parts(["hpack"], connector)  # makes what is made once
        before = descriptors(self.gateway.pid)
        tests, passed, skipped, failed = self.run_parts(PARTS, connector)
        print(f"h2spec: {tests} cases, {passed} passed, {skipped} skipped, {failed} failed", flush=True)
        self.assertEqual(tests, CASES)
        self.wait_descriptors(self.gateway, before)
        self.assert_serves()
        connector.finish()
        connector.wait_end()
        self.wait_empty()
        self.gateway.interrupt()
        self.assert_exit(self.gateway, 0)


if __name__ == "__main__":
    unittest.main(verbosity=2)

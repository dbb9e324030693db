#!/usr/bin/env python3
"""Each rule of tidy.py finds a bad sample and leaves a good one alone."""

import tempfile
import unittest
from pathlib import Path

import tidy


class Sample(unittest.TestCase):
    def errors(self, check, files, installed=None):
        with tempfile.TemporaryDirectory() as root:
            for name, text in files.items():
                path = Path(root) / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text, encoding="utf-8")
            return tidy.run_check(check, tidy.Tree(root), installed)

    def include_errors(self, path, target):
        return self.errors("includes", {path: f"#include {target}\n"})

    def assert_forbidden(self, path, target):
        self.assertEqual(len(self.include_errors(path, target)), 1, f"{path} may include {target}")

    def assert_allowed(self, path, target):
        self.assertEqual(self.include_errors(path, target), [])

    def test_arrows_point_down(self):
        self.assert_forbidden("bus/base/clock.hpp", '"bus/event.hpp"')
        self.assert_forbidden("bus/event.hpp", '"transport/link.hpp"')
        self.assert_forbidden("transport/link.hpp", '"connector/backoff.hpp"')
        self.assert_forbidden("transport/link.hpp", '"transport/grpc/dialer.hpp"')
        self.assert_forbidden("transport/grpc/dialer.cpp", '"transport/websocket/dialer.hpp"')
        self.assert_forbidden("transport/codec/connector.cpp", '"transport/grpc/dialer.hpp"')
        self.assert_forbidden("connector/runner.cpp", '"transport/grpc/dialer.hpp"')
        self.assert_forbidden("connector/runner.cpp", '"cli/flags.hpp"')
        self.assert_allowed("bus/event.hpp", '"bus/base/result.hpp"')
        self.assert_allowed("transport/memory/memory.cpp", '"transport/link.hpp"')
        self.assert_allowed("transport/grpc/dialer.cpp", '"transport/codec/connector.hpp"')
        self.assert_allowed("transport/uds/dialer.cpp", '"transport/byte_stream/internal/link.hpp"')
        self.assert_forbidden("connector/runner.cpp", '"transport/byte_stream/internal/link.hpp"')
        self.assert_allowed("connector/runner.cpp", '"transport/codec/connector.hpp"')
        self.assert_allowed("connector/gateway/gateway.cpp", '"transport/messages/register.hpp"')
        self.assert_allowed("cli/main.cpp", '"transport/grpc/dialer.hpp"')
        self.assert_allowed("tests/bus/ring_test.cpp", '"bus/internal/ring.hpp"')

    def test_third_party_stays_where_it_belongs(self):
        self.assert_forbidden("bus/base/timer.cpp", "<boost/asio/steady_timer.hpp>")
        self.assert_forbidden("bus/sharing_bus.cpp", "<boost/asio.hpp>")
        self.assert_forbidden("connector/runner.cpp", "<grpcpp/grpcpp.h>")
        self.assert_forbidden("transport/websocket/link.cpp", "<google/protobuf/message.h>")
        self.assert_forbidden("transport/codec/connector.hpp", '"matrix/connectors/v1/connectors.pb.h"')
        self.assert_forbidden("transport/grpc/dialer.hpp", "<grpcpp/grpcpp.h>")
        self.assert_forbidden("bus/event.hpp", "<absl/container/flat_hash_map.h>")
        self.assert_forbidden("connector/runner.cpp", "<CLI/CLI.hpp>")
        self.assert_allowed("bus/async.hpp", "<boost/asio/async_result.hpp>")
        self.assert_allowed("bus/base/result.hpp", "<boost/system/result.hpp>")
        self.assert_allowed("bus/internal/index.hpp", "<absl/container/flat_hash_map.h>")
        self.assert_allowed("transport/codec/connector.cpp", '"matrix/connectors/v1/connectors.pb.h"')
        self.assert_allowed("transport/grpc/dialer.cpp", "<grpcpp/grpcpp.h>")

    def test_private_folders(self):
        self.assert_forbidden("bus/event.hpp", '"bus/internal/ring.hpp"')
        self.assert_forbidden("connector/runner.cpp", '"bus/detail/pool.hpp"')
        self.assert_forbidden("examples/first.cpp", '"bus/internal/ring.hpp"')
        self.assert_allowed("bus/event.hpp", '"bus/detail/pool.hpp"')

    def test_spelling_of_includes(self):
        self.assert_forbidden("bus/event.cpp", '"event.hpp"')
        self.assert_forbidden("bus/event.cpp", '"../bus/event.hpp"')
        self.assert_forbidden("bus/event.cpp", "<bus/event.hpp>")

    def test_allow_needs_a_reason(self):
        line = '#include "transport/grpc/dialer.hpp"'
        self.assertEqual(self.errors("includes", {"connector/a.cpp": f"// tidy-allow(includes): because\n{line}\n"}), [])
        self.assertEqual(len(self.errors("includes", {"connector/a.cpp": f"// tidy-allow(includes):\n{line}\n"})), 1)

    def test_headers(self):
        good = {"bus/a.hpp": "// A.\n#pragma once\n"}
        self.assertEqual(self.errors("headers", good, {"bus/a.hpp"}), [])
        self.assertEqual(len(self.errors("headers", good, set())), 1)
        using = {"bus/a.hpp": '#pragma once\n#include "bus/detail/b.hpp"\n', "bus/detail/b.hpp": "#pragma once\n"}
        self.assertEqual(len(self.errors("headers", using, {"bus/a.hpp"})), 1)
        self.assertEqual(self.errors("headers", using, {"bus/a.hpp", "bus/detail/b.hpp"}), [])
        self.assertEqual(len(self.errors("headers", {"bus/a.hpp": "#include <vector>\n#pragma once\n"})), 1)

    def test_sizes(self):
        long = {"bus/a.cpp": "\n" * (tidy.LINES_MAX + 1)}
        self.assertEqual(len(self.errors("sizes", long)), 1)
        excused = {**long, "tests/tidy/size_exceptions.txt": "# why\nbus/a.cpp: one table\n"}
        self.assertEqual(self.errors("sizes", excused), [])
        self.assertEqual(len(self.errors("sizes", {"tests/tidy/size_exceptions.txt": "bus/gone.cpp: x\n"})), 1)

    def test_words(self):
        for path, text in [
                ("bus/a.cpp", "// FIXME"), ("README.md", "TODO(now): write"), ("cli/a.cpp", "co_spawn(e, f(), asio::detached);"),
                ("cli/a.cpp", "std::thread(f).detach();"), ("tests/bus/a_test.cpp", "std::this_thread::sleep_for(1s);"),
                ("run", "cd /home/someone"), ("CMakePresets.json", '"/root/x"')]:
            self.assertEqual(len(self.errors("words", {path: text + "\n"})), 1, text)
        for path, text in [
                ("bus/a.cpp", "// TODO(perf): batch"), ("tests/stress/a_test.cpp", "std::this_thread::sleep_for(1s);"),
                ("cli/a.cpp", "f(asio::detached);  // tidy-allow(detached): f cannot fail")]:
            self.assertEqual(self.errors("words", {path: text + "\n"}), [], text)


if __name__ == "__main__":
    unittest.main()

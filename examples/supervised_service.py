#!/usr/bin/env python3
"""A service for `sharingbus supervise` in another language, with nothing but the standard library: JSON-RPC 2.0 on
standard input and output, framed like a language server's. With --crash-after N it dies at the N-th ping."""

import argparse
import json
import os
import sys


def read_message(stream):
    """The next message, or None at the end of the input."""
    length = None
    while True:
        line = stream.readline()
        if not line:
            return None
        if line == b"\r\n":
            return json.loads(stream.read(length))
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            length = int(value)


def write_message(stream, message):
    body = json.dumps(message).encode()
    stream.write(b"Content-Length: %d\r\n\r\n%s" % (len(body), body))
    stream.flush()


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--crash-after", type=int, metavar="N")
    options = parser.parse_args()
    pings = 0
    while (message := read_message(sys.stdin.buffer)) is not None:
        if message.get("method") == "ping":
            pings += 1
            if pings == options.crash_after:
                print(f"crashing at ping {pings}, as told", file=sys.stderr, flush=True)
                os._exit(3)
            answer = {"result": "pong"}
        else:
            answer = {"error": {"code": -32601, "message": "Method not found"}}
        if "id" in message and "method" in message:
            write_message(sys.stdout.buffer, {"jsonrpc": "2.0", "id": message["id"], **answer})


if __name__ == "__main__":
    main()

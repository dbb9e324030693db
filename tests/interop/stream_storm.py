#!/usr/bin/env python3
"""Opens many streams to a gateway, one after the other, and drops each at a random point of its life.

A program of its own, because grpcio may keep a connection whose channel was closed while it was being made: they are
all gone when this has ended. Usage: stream_storm.py ADDRESS STREAMS SEED
"""

import os
import random
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(HERE, os.pardir, "support")]

from connector_wire import (  # noqa: E402
    REGISTER_REQUEST,
    field,
    heartbeat_request,
    invoke_request,
    register_request,
)
from program import SCALE  # noqa: E402
from streams import Stream  # noqa: E402

AT_ONCE = 20


def open_stream(address, choice):
    stream = Stream(address)
    if choice.random() < 0.9:
        stream.send(register_request(instance=f"s-{choice.randrange(AT_ONCE)}"))
        if choice.random() < 0.6:
            stream.receive()
    if choice.random() < 0.5:
        invoke = invoke_request("i", "acme.echo.s-1", timeout_ms=1000)
        stream.send(choice.choice([b"", b"\xff" * 9, heartbeat_request(), field(REGISTER_REQUEST, b""), invoke]))
    if choice.random() < 0.3:
        stream.finish()
    elif choice.random() < 0.3:
        stream.close()
    else:
        time.sleep(choice.uniform(0, 0.01 * SCALE))
    return stream


def storm(address, count, seed):
    choice = random.Random(seed)
    streams = []
    for _ in range(count):
        streams.append(open_stream(address, choice))
        if len(streams) == AT_ONCE:
            streams.pop(choice.randrange(len(streams))).close()
    # The rest is dropped by our end.


if __name__ == "__main__":
    storm(sys.argv[1], int(sys.argv[2]), sys.argv[3])
    os._exit(0)

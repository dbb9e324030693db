#!/usr/bin/env python3
"""A JSON-RPC 2.0 service that misbehaves as told. Over standard input and output (Content-Length), or as a server on TCP
or a Unix socket (4 bytes of length). What it does at a ping: --on-ping N:ACTION, from the N-th on."""

import argparse
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import time


def read_exactly(read, count):
    data = b""
    while len(data) < count:
        piece = read(count - len(data))
        if not piece:
            return None
        data += piece
    return data


class StdioPeer:
    def read(self):
        length = None
        while True:
            line = sys.stdin.buffer.readline()
            if not line:
                return None
            if line == b"\r\n":
                break
            name, _, value = line.partition(b":")
            if name.lower() == b"content-length":
                length = int(value)
        data = read_exactly(sys.stdin.buffer.read, length)
        return data

    def write(self, body):
        self.write_raw(b"Content-Length: %d\r\n\r\n%s" % (len(body), body))

    def write_raw(self, data):
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()


class SocketPeer:
    def __init__(self, connection):
        self.connection = connection

    def read(self):
        header = read_exactly(self.connection.recv, 4)
        return header and read_exactly(self.connection.recv, struct.unpack(">I", header)[0])

    def write(self, body):
        self.write_raw(struct.pack(">I", len(body)) + body)

    def write_raw(self, data):
        self.connection.sendall(data)


def misbehave(action, peer):
    """True when the ping is to be answered nevertheless."""
    if action == "exit":
        os._exit(3)
    if action == "silent":
        return False
    if action == "garbage":
        peer.write_raw(b"this is no frame\r\n\r\n" + bytes(range(256)))
        return False
    if action == "half":
        peer.write_raw(b"Content-Length: 100\r\n\r\n{")
        os._exit(0)
    if action == "flood":
        notification = json.dumps({"jsonrpc": "2.0", "method": "log", "params": ["x" * 1000]}).encode()
        for _ in range(5000):
            peer.write(notification)
        return True
    if action == "close":
        os.close(1)
        time.sleep(600)
    if action == "hang":
        time.sleep(600)
    raise SystemExit(f"unknown action {action}")


def serve(peer, actions):
    pings = 0
    while (body := peer.read()) is not None:
        message = json.loads(body)
        if "id" not in message or "method" not in message:
            continue
        if message["method"] == "ping":
            pings += 1
            due = [action for number, action in actions if number <= pings]
            if due and not misbehave(due[-1], peer):
                continue
        peer.write(json.dumps({"jsonrpc": "2.0", "id": message["id"], "result": "pong"}).encode())


def listen(options):
    if options.unix:
        server = socket.socket(socket.AF_UNIX)
        if os.path.exists(options.unix):
            os.unlink(options.unix)
        server.bind(options.unix)
    else:
        server = socket.socket()
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.bind(("127.0.0.1", options.tcp))
    server.listen()
    print("ready", *([] if options.unix else [server.getsockname()[1]]), flush=True)
    return server


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--on-ping", action="append", default=[])
    parser.add_argument("--tcp", type=int)
    parser.add_argument("--unix")
    parser.add_argument("--ignore-sigterm", action="store_true")
    parser.add_argument("--ignore-end", action="store_true", help="goes on when its input ends")
    parser.add_argument("--grandchild", action="store_true", help="starts a sleep of its own")
    options = parser.parse_args()
    actions = [(int(number), action) for number, _, action in (text.partition(":") for text in options.on_ping)]
    if options.ignore_sigterm:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if options.grandchild:
        child = subprocess.Popen(["sleep", "600"])
        print(f"grandchild {child.pid}", file=sys.stderr, flush=True)
    if options.tcp is None and not options.unix:
        serve(StdioPeer(), actions)
    else:
        server = listen(options)
        while True:
            serve(SocketPeer(server.accept()[0]), actions)
    while options.ignore_end:
        time.sleep(600)


if __name__ == "__main__":
    main()

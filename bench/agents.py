"""Pools and agents of the agent protocol, ours and the published crate's, in turns: each pool with each agent over a Unix
socket and over gRPC, and a bare gRPC echo of the same events. Prints medians and their ratios to the crate's own pair."""

import argparse
import contextlib
import json
import os
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), os.pardir)
OURS = os.path.join(ROOT, "build/bench/bench/agents_bench")
CRATE = os.path.join(ROOT, "build/bench/peers/zentinel-peer/release/zentinel-peer")
DEADLINE = 60
IN_A_ROW = "ours x64"


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_until_it_listens(process, family, address):
    for _ in range(DEADLINE * 50):
        with socket.socket(family) as probe, contextlib.suppress(OSError):
            probe.connect(address)
            return
        if process.poll() is not None:
            break
        time.sleep(0.02)
    raise RuntimeError(f"{process.args[:3]}: does not listen")


def wait_strategy(transport):
    """As `sharingbus agent` and `sharingbus pool` choose it."""
    return ["--phased", "1" if transport == "unix" else "0"]


@contextlib.contextmanager
def agent(name, transport, folder):
    """Where it listens, as ours and as the crate write it."""
    if transport == "unix":
        path = os.path.join(folder, f"{name}.sock")
        family, address, ours, crate = socket.AF_UNIX, path, f"unix:{path}", path
    else:
        address = ("127.0.0.1", free_port())
        authority = "%s:%d" % address
        family, ours, crate = socket.AF_INET, f"grpc://{authority}", f"http://{authority}"
    command = [OURS, "agent", ours, *wait_strategy(transport)] if name == "ours" else [CRATE, "agent", crate]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        try:
            wait_until_it_listens(process, family, address)
            yield {"ours": ours, "crate": crate, "pid": process.pid}
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()


def report_of(command):
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False, timeout=DEADLINE)
    if done.returncode != 0 and not done.stdout:
        raise RuntimeError(f"{command[:3]} failed with {done.returncode}")
    return json.loads(done.stdout.splitlines()[-1])


def ask(pool, who, transport, options, folder):
    pool, _, in_a_row = pool.partition(" x")
    flags = ["--requests", str(options.requests), "--warm-up", str(options.requests // 10)]
    flags += ["--concurrency", str(options.concurrency), "--connections", str(options.connections)]
    with agent(who, transport, folder) as where:
        if pool == "ours":
            flags += ["--calls-in-a-row", in_a_row or "1"]
            report = report_of([OURS, "pool", where["ours"], *flags, *wait_strategy(transport)])
        else:
            report = report_of([CRATE, "bench", where["crate"], *flags])
    if report["wrong"] or report["errors"] or report["requests"] != options.requests:
        raise RuntimeError(f"{pool} with the agent {who} over {transport}: {report}")
    return report


def bare(hint, options):
    flags = ["--concurrency", str(options.concurrency), "--connections", str(options.connections)]
    return report_of([OURS, "bare", "--hint", str(int(hint)), "--seconds", "1", *flags])


def cpu_seconds(pid):
    with open(f"/proc/{pid}/stat", encoding="ascii") as file:
        fields = file.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def idle(options, folder):
    with agent("ours", "unix", folder) as where:
        command = [OURS, "idle", where["ours"], "--agents", "1000", "--connections", "4", "--seconds", "20"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as pool:
            pool.stdout.readline()
            before, began = cpu_seconds(where["pid"]), time.monotonic()
            report = json.loads(pool.stdout.readline())
            agents = 100 * (cpu_seconds(where["pid"]) - before) / (time.monotonic() - began)
    print("1,000 agents with 4 connections each, reports every 10 s, no requests: pool %.2f %% of a core and %.1f KiB a "
          "connection, the agents' process %.2f %%" %
          (report["cpu_percent"], report["kib_per_connection"], agents))  # fmt: skip


def main():
    parser = argparse.ArgumentParser(prog="./run bench agents", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="of every pair, in turns; default 5")
    parser.add_argument("--requests", type=int, default=100_000, help="a sample; default 100000")
    parser.add_argument("--concurrency", type=int, default=64, help="requests at once; default 64")
    parser.add_argument("--connections", type=int, default=4, help="to the agent; default 4")
    parser.add_argument("--transport", choices=["unix", "grpc", "idle"], help="that one alone")
    parser.add_argument("--pair", help="POOL/AGENT alone, each ours, `ours xN` with N calls in a row, or crate")
    options = parser.parse_args()
    has_crate = os.access(CRATE, os.X_OK)
    if not has_crate:
        print("the published crate is left out: it is not built here")
    pairs = [("crate", "crate"), ("ours", "crate"), ("crate", "ours"), ("ours", "ours")]
    if options.pair:
        pairs = [tuple(options.pair.split("/"))]
    rows = []
    for transport in ("unix", "grpc"):
        if options.transport in (None, transport):
            rows += [(transport, *pair) for pair in pairs if has_crate or pair == ("ours", "ours")]
    if ("unix", "ours", "crate") in rows and not options.pair:
        # So many calls in a row to one connection suit an agent that reads and answers one by one.
        rows.insert(rows.index(("unix", "ours", "crate")) + 1, ("unix", IN_A_ROW, "crate"))
    bares = [("grpc", "bare", hint) for hint in (False, True)] if options.transport in (None, "grpc") and not options.pair else []
    samples = {row: [] for row in rows + bares}
    folder = tempfile.mkdtemp(prefix="sb")
    try:
        if options.transport != "idle":
            for _ in range(options.rounds):
                for row in rows:
                    samples[row].append(ask(row[1], row[2], row[0], options, folder))
                for row in bares:
                    samples[row].append(bare(row[2], options))
            print_table(samples, options)
        if options.transport == "idle":
            idle(options, folder)
    finally:
        shutil.rmtree(folder)


def print_table(samples, options):
    def median(row, figure):
        return statistics.median(sample[figure] for sample in samples[row])

    print(f"{options.connections} connections, {options.concurrency} requests at once, {options.requests} requests a "
          f"sample, {options.rounds} rounds; medians")  # fmt: skip
    print(f"{'transport':9} {'pool':8} {'agent':14} {'per second':>10} {'to crate':>8} {'to bare':>8} {'p50 us':>8} "
          f"{'p99 us':>8} {'p99 to crate':>12}")  # fmt: skip
    for row in samples:
        crates = (row[0], "crate", "crate")
        bares = [other for other in samples if other[0] == row[0] and other[1] == "bare"]
        to_crate = median(row, "rps") / median(crates, "rps") if crates in samples else None
        p99_to_crate = median(row, "p99_us") / median(crates, "p99_us") if crates in samples else None
        to_bare = median(row, "rps") / max(median(other, "rps") for other in bares) if bares else None
        ratio = lambda value: "-" if value is None else f"{value:.2f}"  # noqa: E731
        agent_name = row[2] if row[1] != "bare" else ("echo, hint" if row[2] else "echo")
        print(f"{row[0]:9} {row[1]:8} {agent_name:14} {median(row, 'rps'):10.0f} {ratio(to_crate):>8} "
              f"{ratio(to_bare):>8} {median(row, 'p50_us'):8.0f} {median(row, 'p99_us'):8.0f} "
              f"{ratio(p99_to_crate):>12}")  # fmt: skip


if __name__ == "__main__":
    try:
        main()
    except RuntimeError as failed:
        sys.exit(f"agents: {failed}")

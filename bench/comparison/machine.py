"""Runs one program, and sees what the machine did meanwhile."""
from __future__ import annotations

import dataclasses
import os
import resource
import signal
import subprocess
import time

TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
# The kernel counts whole ticks, on each core; in a short sample a few of them are no other process.
TICKS_OF_ERROR = 4
TIMEOUT_S = 300


@dataclasses.dataclass(frozen=True)
class Run:
    """How a program went: its output, or why there is none."""

    output: str = ""
    failure: str = ""
    foreign_cores: float = 0.0


def machine_seconds() -> float:
    """What all cores worked since the machine started, time stolen by the host included."""
    with open("/proc/stat", encoding="ascii") as stat:
        fields = [int(field) for field in stat.readline().split()[1:9]]
    return (fields[0] + fields[1] + fields[2] + sum(fields[5:8])) / TICKS_PER_SECOND


def own_seconds() -> float:
    """What we and the programs that we started worked."""
    both = (resource.getrusage(resource.RUSAGE_CHILDREN), resource.getrusage(resource.RUSAGE_SELF))
    return sum(usage.ru_utime + usage.ru_stime for usage in both)


def foreign_cores(machine: float, own: float, wall: float) -> float:
    """How many cores others used, beyond what counting in ticks can get wrong."""
    return (machine - own - TICKS_OF_ERROR / TICKS_PER_SECOND) / wall if wall > 0 else 0.0


def run(command: list[str], environment: dict[str, str], timeout: float = TIMEOUT_S) -> Run:
    """Runs a program to its end. Its own children are in its process group and do not outlive it."""
    machine, own, begun = machine_seconds(), own_seconds(), time.monotonic()
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                          env=os.environ | environment, start_new_session=True) as process:
        try:
            output, errors = process.communicate(timeout=timeout)
        except BaseException as interruption:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            if not isinstance(interruption, subprocess.TimeoutExpired):
                raise
            return Run(failure=f"no end after {timeout:.0f} s")
    wall = time.monotonic() - begun
    if process.returncode != 0:
        last = (errors.strip().splitlines() or [""])[-1][:200]
        return Run(failure=f"exit code {process.returncode}" + (f": {last}" if last else ""))
    return Run(output, "", foreign_cores(machine_seconds() - machine, own_seconds() - own, wall))


def probe(command: list[str]) -> float:
    """Nanoseconds that a cache line takes to the other core and back."""
    return float(subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout)

#!/usr/bin/env python3
"""Checks the models of the bus's lock-free protocols with spin. Usage: check_models.py [--full] [--only NAME]

Each model is checked exhaustively in several configurations. Then it is checked with one known bug at a time, and spin
has to find each: that shows that the model can fail. Exits with 77 when spin is not installed.

--full (or SHARINGBUS_MODEL_FULL=1) also runs the bigger configurations, for minutes. Every run stays below 1.5 GB.
"""

import argparse
import os
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
SKIPPED = 77
MEGABYTES = 1400
DEPTH = 100_000

# Model: configurations that have to hold.
QUICK = {
    "ingress": [
        "PUBLISHERS=3 EACH=1 CAP=1 EXTRA=1 RING=2 EVICTIONS=1",
        "PUBLISHERS=2 EACH=2 CAP=2 EXTRA=0 RING=2 BATCH=2 EVICTIONS=0",
    ],
    "dispatch": [
        "COMBINING COMMAND",
        "COMBINING PUBLISHERS=1 COMMAND CLOSER TURN=2",
        "COMBINING PUBLISHERS=3",
        "COMBINING HELPER CLOSE_INSIDE",
        "COMBINING PUBLISHERS=1 TRIER COMMAND",
        "THREAD COMMAND",
        "THREAD CLOSER",
        "THREAD PUBLISHERS=1 COMMAND HELPER FLUSH",
        "THREAD HELPER CLOSE_INSIDE",
        "EXECUTOR COMMAND LINGERS",
        "EXECUTOR PUBLISHERS=1 COMMAND TRIER",
        "EXECUTOR CLOSER",
        "EXECUTOR PUBLISHERS=1 COMMAND HELPER",
    ],
    "subscriber_queue": [
        "EVENTS=6 TIMEOUTS=1 EVICTIONS=1",
        "EVENTS=6 QUITS",
        "EVENTS=7 RUNS EVICTIONS=1 TIMEOUTS=1",
        "EVENTS=5 POLICY=CLOSE_SUBSCRIBER TIMEOUTS=1 EVICTIONS=1",
        "EVENTS=6 POLICY=DROP_OLDEST TIMEOUTS=1 EVICTIONS=1",
        "EVENTS=5 POLICY=LATEST_PER_KEY TIMEOUTS=1 EVICTIONS=1",
        "COARSE RECEIVERS=3 EVENTS=3 POLICY1=CLOSE_SUBSCRIBER POLICY2=DROP_OLDEST",
    ],
    "callback_group": [
        "CLOSES STAYS",
        "INSIDE=1 EVENTS=1",
        "INSIDE=2 EVENTS=1",
        "INSIDE=2 EVENTS=1 INBOXES=2",
        "DROPS EVENTS=1",
        "DROPS EVENTS=1 INBOXES=2 CLOSES",
    ],
    "inline_callback": ["EVENTS=3", "EVENTS=2 INSIDE"],
    "biased_lock": ["VISITS=2"],
}

SHORT = [one for one in QUICK["subscriber_queue"] + QUICK["callback_group"] if "COARSE" not in one and "STAYS" not in one]
SHORT += QUICK["inline_callback"] + QUICK["biased_lock"]

FULL = {
    "ingress": [
        "PUBLISHERS=2 EACH=2 CAP=2 EXTRA=0 RING=2",
        "PUBLISHERS=2 EACH=2 CAP=2 EXTRA=1 RING=4 BATCH=2 EVICTIONS=1",
        "PUBLISHERS=2 EACH=2 CAP=1 EXTRA=1 RING=2",
        "PUBLISHERS=2 EACH=3 CAP=2 EXTRA=0 RING=2 BATCH=2 EVICTIONS=0",
    ],
    "dispatch": [
        "COMBINING PUBLISHERS=1 COMMAND CLOSER HELPER TURN=2",
        "COMBINING EACH=2 COMMAND TURN=2",
        "COMBINING COMMAND HELPER FLUSH",
        "THREAD PUBLISHERS=1 COMMAND CLOSER HELPER TURN=2",
        "EXECUTOR PUBLISHERS=1 COMMAND CLOSER HELPER TURN=2",
    ],
    "subscriber_queue": [
        "EVENTS=7 TIMEOUTS=2 EVICTIONS=2",
        "EVENTS=6 TIMEOUTS=2 EVICTIONS=2 QUITS",
        "EVENTS=7 POLICY=LATEST_PER_KEY TIMEOUTS=1 EVICTIONS=2",
        "COARSE RECEIVERS=3 EVENTS=3",
    ],
    "callback_group": [
        "EVENTS=3 BUDGET=2 CLOSES",
        "INSIDE=1",
        "INSIDE=2 CLOSES",
        "DROPS",
        "EXECUTORS=2",
        "EXECUTORS=2 DROPS",
        "EXECUTORS=2 INSIDE=2 EVENTS=1",
        "INBOXES=0 EVENTS=2 CLOSES",
        "INBOXES=2 EVENTS=3 CLOSES",
        "INBOXES=2 EXECUTORS=2 DROPS",
    ],
    "inline_callback": ["EVENTS=6"],
    "biased_lock": ["ENTRIES=12 VISITS=4"],
}

# Model: configurations with a known bug, which spin has to find. M_…: a mistake put in by hand. ONCE_…: what the C++ did
# when the model was written; what holds without it is the protocol with the mistake mended.
MUTANTS = {
    "ingress": ["M_NO_TURN CAP=1 EXTRA=1", "M_NO_EXCHANGE", "M_CLOSE_FLAG", "M_TURN_FIRST"],
    "dispatch": [
        "COMBINING M_UNLOCK_NO_LOOK",
        "COMBINING CLOSER M_UNLOCK_NO_NOTIFY",
        "COMBINING HELPER M_POLL_NO_DRIVE",
        "THREAD M_RUN_NO_LOOK",
        "THREAD M_REST_READY",
        "EXECUTOR M_REST_READY",
        "EXECUTOR M_JOB_NO_LOOK",
        "THREAD HELPER CLOSE_INSIDE PUBLISHERS=1 ONCE_CLOSE_INSIDE",
        "COMBINING PUBLISHERS=1 TRIER COMMAND ONCE_TRIER",
    ],
    "subscriber_queue": [
        "M_PARK_NO_LOOK EVENTS=4",
        "M_GAP_NO_LOOK EVENTS=5",
        "M_END_NO_LOOK EVENTS=4",
        "M_HEAD_EARLY",
        "M_NO_HEAD_LOOK",
        "M_TIMEOUT_NO_WAIT EVENTS=4 TIMEOUTS=1",
    ],
    "callback_group": [
        "M_PARK_NO_LOOK STAYS INBOXES=0",
        "M_STOP_NO_WAIT EVENTS=1",
        "M_NO_NOTIFY EVENTS=1",
        "M_TELL_NO_LOCK EVENTS=1",
        "M_LOOK_EARLY EVENTS=1",
        "M_DRAIN_NO_LOOK",
        "M_SHOW_NO_WAKE EVENTS=1",
        "ONCE_WAKE INBOXES=0",
        "ONCE_START INBOXES=0",
    ],
    "inline_callback": ["M_NO_SECOND_LOOK", "M_NO_WAIT"],
    "biased_lock": ["M_NO_LOOK", "M_NO_FENCE", "M_NO_WAIT"],
}


def limit_memory():
    limit = (MEGABYTES + 100) * 1024 * 1024
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def run(command, folder, **options):
    return subprocess.run(command, cwd=folder, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **options)


class Check:
    def __init__(self, model, configuration, mutant=False, optimise="-O1"):
        self.name = f"{model} {configuration}"
        self.mutant = mutant
        self.optimise = optimise
        self.defines = [f"-D{word}" for word in configuration.split()]
        self.model = HERE / f"{model}.pml"
        self.states = 0
        self.problem = None

    def perform(self, patience):
        with tempfile.TemporaryDirectory(prefix="sharingbus-model-") as folder:
            made = run(["spin", *self.defines, "-a", self.model], folder)
            if made.returncode != 0 or "Error" in made.stdout:
                self.problem = f"spin: {made.stdout.strip()}"
                return
            made = run(["gcc", self.optimise, "-w", "-DSAFETY", "-DCOLLAPSE", f"-DMEMLIM={MEGABYTES}", "-o", "pan", "pan.c"],
                       folder)
            if made.returncode != 0:
                self.problem = f"gcc: {made.stdout.strip()}"
                return
            try:
                made = run(["./pan", f"-m{DEPTH}", "-w20"], folder, timeout=patience, preexec_fn=limit_memory)
            except subprocess.TimeoutExpired:
                self.problem = f"no end within {patience} seconds"
                return
        self.judge(made)

    def judge(self, made):
        output = made.stdout
        states = re.search(r"(\d+) states, stored", output)
        errors = re.search(r"errors: (\d+)", output)
        if states is None or errors is None:
            self.problem = f"pan ended with {made.returncode}: {output.strip()[-500:]}"
            return
        self.states = int(states.group(1))
        reason = re.search(r"pan:\d*: (.*)", output)
        reason = reason.group(1) if reason else ""
        if self.mutant:
            if int(errors.group(1)) == 0:
                self.problem = "the bug was not found"
            elif not reason.startswith(("assertion violated", "invalid end state")):
                self.problem = f"another error than expected: {reason}"
            return
        if int(errors.group(1)) != 0:
            self.problem = reason
        elif re.search(r"too small|out of memory|truncated|not completed|MEMLIM", output):
            self.problem = "the search was cut short"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--full", action="store_true", default=os.environ.get("SHARINGBUS_MODEL_FULL", "0") not in ("", "0"))
    parser.add_argument("--only", default="", help="only checks whose name contains this")
    options = parser.parse_args()
    for program in ("spin", "gcc"):
        if shutil.which(program) is None:
            print(f"skipped: {program} is not installed (Debian package {program})")
            return SKIPPED

    # Where the search is short, the compiler is what takes time.
    checks = [Check(model, one, optimise="-O0" if one in SHORT else "-O1") for model in QUICK for one in QUICK[model]]
    if options.full:
        checks += [Check(model, one, optimise="-O2") for model in FULL for one in FULL[model]]
    checks += [Check(model, one, mutant=True, optimise="-O0") for model in MUTANTS for one in MUTANTS[model]]
    checks = [check for check in checks if options.only in check.name]

    begin = time.monotonic()
    failed = 0
    for check in checks:
        start = time.monotonic()
        check.perform(1200 if options.full else 240)
        seconds = time.monotonic() - start
        verdict = f"FAILED: {check.problem}" if check.problem else ("bug found" if check.mutant else "holds")
        failed += check.problem is not None
        print(f"{seconds:6.1f} s {check.states:>10} states  {verdict:<9}  {check.name}", flush=True)
    mutants = sum(check.mutant for check in checks)
    print(f"{len(checks) - mutants} configurations, {mutants} known bugs, {failed} failed, "
          f"{time.monotonic() - begin:.1f} s")
    return 1 if failed or not checks else 0


if __name__ == "__main__":
    sys.exit(main())

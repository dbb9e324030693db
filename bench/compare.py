#!/usr/bin/env python3
"""Runs the SharingBus and its peers in the same scenarios, in turns, and compares them.

Needs what ./run bench builds. Writes results.tsv, results-other-states.tsv, fan-out.svg and selective.svg to --out and
the table to stdout; progress goes to stderr. Exits with 1 when a program failed: its own counts were wrong, or it
crashed. What everything means is in bench/README.md.
"""
from __future__ import annotations

import argparse
import os
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

sys.dont_write_bytecode = True

from comparison import machine, picture, report  # noqa: E402  (nothing may be written into the source tree)
from comparison.programs import ALL_SIZES, LINES, Line, Program, arguments, programs, row_selected, selected  # noqa: E402
from comparison.ratios import OURS, REFERENCE, is_ours, reference_scenario  # noqa: E402
from comparison.samples import QUIET, Key, Samples, parse_rows, state_of  # noqa: E402

HERE = Path(__file__).resolve().parent
QUICK_LIMIT_S = 225
FULL_LIMIT_S = 45 * 60
MOST_ROUNDS = 14
NEAR_ENOUGH = 3
CORE = (REFERENCE, OURS)


def say(what: str) -> None:
    print(f"compare: {what}", file=sys.stderr, flush=True)


class Comparison:
    """Takes samples until there are enough, or until time is up."""

    def __init__(self, options: argparse.Namespace, chosen: list[Program], lines: list[Line]) -> None:
        self.options = options
        self.programs = chosen
        self.lines = lines
        self.result = report.Result(Samples(), min(options.reps, NEAR_ENOUGH))
        self.taken: Counter[tuple[str, Line, str]] = Counter()
        self.took: dict[tuple[str, Line], float] = {}
        self.begun = time.monotonic()
        self.limit = QUICK_LIMIT_S if options.quick else FULL_LIMIT_S
        self.probe_command = [str(options.build / "peers" / "floor"), "PROBE"]
        self.last_probe = machine.probe(self.probe_command)

    def left(self) -> float:
        return self.limit - (time.monotonic() - self.begun)

    def run_all(self) -> report.Result:
        """Every round, then more of them for what lacks good samples, while there is time."""
        for index, group in enumerate(self.rounds()):
            for line in self.lines:
                self.round(f"round {index + 1}", line, group)
        for index in range(MOST_ROUNDS - self.options.reps):
            lacking = [line for line in self.lines if self.lacks(line)]
            if not lacking or self.left() <= 0:
                break
            for line in lacking:
                self.round(f"extra round {index + 1}", line, CORE)
        if self.left() <= 0:
            self.result.notes.append("time was up: some peers may have fewer samples, or none")
        return self.result

    def rounds(self) -> Iterator[tuple[str, ...]]:
        """Who runs in each round. A quick run sees to the reference and ours first."""
        others = tuple(p.name for p in self.programs if p.name not in CORE)
        if not self.options.quick:
            yield from [CORE + others] * self.options.reps
            return
        first = min(3, self.options.reps)
        yield from [CORE] * first
        yield from [others] * bool(others)
        yield from [CORE] * (self.options.reps - first)
        yield from [others] * (2 * bool(others))

    def round(self, title: str, line: Line, group: tuple[str, ...]) -> None:
        """One sample of each program of the group, while there is time."""
        said = []
        for program in self.programs:
            if program.name not in group or not program.runs(line) or (program.name, line) in self.result.failures:
                continue
            if self.took.get((program.name, line), 2.0) > self.left():
                continue
            said.append(f"{program.name} {self.sample(program, line)}")
        if said:
            say(f"{title}, {line.name()}: {', '.join(said)}")

    def sample(self, program: Program, line: Line) -> str:
        """Runs the program once and keeps its rows. Returns the state that it ran in."""
        begun, before = time.monotonic(), self.last_probe
        environment = {"REPS": "1", "SECS": str(self.options.secs), "LATSECS": str(self.options.latsecs)}
        run = machine.run([*program.command, *arguments(program, line, self.options.scenario)],
                          environment | program.environment(line))
        self.last_probe = machine.probe(self.probe_command)
        self.took[program.name, line] = time.monotonic() - begun
        try:
            rows = parse_rows(run.output)
        except ValueError as wrong:
            run = machine.Run(failure=str(wrong))
        if run.failure:
            self.result.failures[program.name, line] = run.failure
            return f"FAILED ({run.failure})"
        state = state_of((before, self.last_probe), run.foreign_cores)
        self.taken[program.name, line, state] += 1
        self.result.samples.add(state, {key: value for key, value in rows.items() if self.keeps(key)})
        return f"{state} {before:.0f}/{self.last_probe:.0f}"

    def keeps(self, key: Key) -> bool:
        """Whether a row is of what was asked for, or what that is compared with."""
        asked = self.options.scenario
        compared = [reference_scenario(selection + ".").rstrip(".") for selection in asked]
        return row_selected(key.scenario, asked) or (key.peer == REFERENCE and row_selected(key.scenario, compared))

    def lacks(self, line: Line) -> bool:
        """Whether the reference or ours has too few samples near, or in any quiet state when near does not come."""
        core = [p.name for p in self.programs
                if p.name in CORE and p.runs(line) and (p.name, line) not in self.result.failures]
        near_comes = any(state == "near" for _, _, state in self.taken)
        states = ("near",) if near_comes else QUIET
        return bool(core) and all(min(self.taken[name, line, state] for name in core) < self.options.reps
                                  for state in states)


def draw(result: report.Result, out: Path) -> list[Path]:
    """The two pictures, from the scenarios that were measured."""
    pictures = (
        ("fan-out.svg", "Fan-out: cost of a delivery", ("subscribers", "ns per delivery"), "S1", "S1.subs={}",
         "ns_per_delivery"),
        ("selective.svg", "Selective routing: cost of an event that one of many wants", ("subscriptions", "ns per event"),
         "S3", "S3.subs={}", "ns_per_event"),
    )
    written = []
    for name, title, labels, family, pattern, metric in pictures:
        series: dict[str, picture.Points] = {}
        states = set()
        for size in ALL_SIZES[family]:
            scenario = pattern.format(size)
            for peer in result.samples.peers(scenario):
                figure = result.figure(scenario, peer, metric)
                if figure is not None:
                    series.setdefault(peer, []).append((size, figure.median))
                    states.add(str(result.state(scenario)))
        remark = f"medians, lower is better; state of the machine: {', '.join(sorted(states))}"
        svg = picture.chart(title, labels, series, [peer for peer in series if is_ours(peer)], remark)
        if svg:
            (out / name).write_text(svg, encoding="utf-8")
            written.append(out / name)
    return written


def parse_options(arguments_: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="./run bench", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="ends within 4 minutes: shorter samples, peers as time allows")
    parser.add_argument("--scenario", action="append", default=[], metavar="S",
                        help="only this one: S1, S1.thread, S1.thread.subs=16; may be repeated")
    parser.add_argument("--peer", action="append", default=[], metavar="NAME",
                        help="only this program beside the reference and ours; may be repeated; none: no other")
    parser.add_argument("--reps", type=int, help="samples of each program (default 5)", default=5)
    parser.add_argument("--secs", type=float, help="seconds of a sample (default 0.5; quick 0.15)")
    parser.add_argument("--build", type=Path, default=HERE.parent / "build" / "bench", help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, help="folder for the results (default build/bench/results)")
    options = parser.parse_args(arguments_)
    if options.reps < 1:
        parser.error("--reps must be at least 1")
    if options.secs is None:
        options.secs = 0.15 if options.quick else 0.5
    if options.secs <= 0:
        parser.error("--secs must be positive")
    # The first 500 of 10,000 events a second are not counted.
    options.latsecs = max(options.secs, 0.2) if options.quick else max(2 * options.secs, 0.2)
    options.out = options.out or options.build / "results"
    return options


def choose(options: argparse.Namespace) -> tuple[list[Program], dict[str, str]]:
    """The programs to run, and why others are skipped. Raises SystemExit for a name that is none."""
    every = programs(options.build, HERE)
    names = {program.name for program in every} - set(CORE)
    unknown = set(options.peer) - names - {"none"}
    if unknown:
        raise SystemExit(f"compare: no peer {', '.join(sorted(unknown))}; there are {', '.join(sorted(names))}")
    wanted = [p for p in every if p.name in CORE or not options.peer or p.name in options.peer]
    skipped = {p.name: why for p in wanted if (why := p.missing())}
    return [p for p in wanted if p.name not in skipped], skipped


def main() -> int:
    options = parse_options()
    chosen, skipped = choose(options)
    lines = [line for line in LINES if selected(line, options.scenario)
             and not (line.family == "FLOOR" and options.quick and not options.scenario)]
    if not lines:
        raise SystemExit(f"compare: no scenario {', '.join(options.scenario)}")
    if (os.cpu_count() or 1) < 2 or not (options.build / "peers" / "floor").exists():
        raise SystemExit("compare: needs two cores, and what ./run bench builds")
    for program, why in skipped.items():
        say(f"skipping {program}: {why}")
    comparison = Comparison(options, chosen, lines)
    result = comparison.run_all()
    result.skipped = skipped
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "results.tsv").write_text(report.tsv(result), encoding="utf-8")
    (options.out / "results-other-states.tsv").write_text(report.tsv_of_other_states(result), encoding="utf-8")
    pictures = draw(result, options.out)
    print(report.table(result), end="")
    say(f"took {time.monotonic() - comparison.begun:.0f} s; results in {options.out}"
        + "".join(f", {path.name}" for path in pictures))
    return 1 if result.failures else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        say("stopped")
        sys.exit(130)

"""The table for people, the TSV files for programs."""
from __future__ import annotations

import dataclasses
import io

from comparison import ratios
from comparison.programs import Line
from comparison.ratios import REFERENCE, Target, is_ours
from comparison.samples import STATES, Figure, Key, Samples, choose_state, number

SHOWN: dict[str, tuple[str, ...]] = {
    "S1": ("ns_per_delivery",),
    "S2": ("delivered_per_s", "uncounted_loss_pct"),
    "S3": ("ns_per_event",),
    "S4": ("p50_ns", "p99_ns"),
    "S5": ("ns_per_delivery",),
    "S6": ("rss_bytes_per_subscriber", "rss_bytes_per_subscriber_no_task"),
    "S7": ("ns_per_event",),
}
COLUMNS = "scenario\tpeer\tmetric\tmedian\tmin\tmax\tratio_to_tokio"


@dataclasses.dataclass
class Result:
    """Everything that a comparison found out."""

    samples: Samples
    wanted: int
    failures: dict[tuple[str, Line], str] = dataclasses.field(default_factory=dict)
    skipped: dict[str, str] = dataclasses.field(default_factory=dict)
    notes: list[str] = dataclasses.field(default_factory=list)

    def peers(self, scenario: str) -> list[str]:
        """The reference, ours, the others."""
        return sorted(self.samples.peers(scenario), key=lambda peer: (peer != REFERENCE, not is_ours(peer), peer))

    def state(self, scenario: str) -> str | None:
        """The state that a scenario is judged in."""
        peers = self.samples.peers(scenario)
        ours = [(scenario, peer) for peer in peers if is_ours(peer)]
        reference = (ratios.reference_scenario(scenario), REFERENCE)
        compared = ours + ([reference] if REFERENCE in self.samples.peers(reference[0]) else [])
        for group in (compared, ours, [(scenario, peer) for peer in peers]):
            counts = {state: {f"{s} {p}": self.samples.count(state, s, p) for s, p in group} for state in STATES}
            if group and (chosen := choose_state(counts, self.wanted)) is not None:
                return chosen
        return max(STATES, key=lambda state: sum(self.samples.count(state, scenario, p) for p in peers))

    def figure(self, scenario: str, peer: str, metric: str) -> Figure | None:
        state = self.state(scenario)
        return self.samples.figure(state, Key(scenario, peer, metric)) if state else None

    def ratio(self, key: Key, state: str) -> float | None:
        figure = self.samples.figure(state, key)
        reference = self.samples.figure(state, Key(ratios.reference_scenario(key.scenario), REFERENCE, key.metric))
        if figure is None or reference is None:
            return None
        return ratios.ratio(key.metric, figure.median, reference.median)

    def targets(self) -> list[Target]:
        """Those of scenarios that were measured."""
        measured = set(self.samples.scenarios())
        return [target for target in ratios.TARGETS if target.scenario in measured]

    def value(self, target: Target, peer: str) -> float | None:
        """What a target judges."""
        state = self.state(target.scenario)
        key = Key(target.scenario, peer, target.metric)
        if state is None or not target.concerns(target.scenario, peer, target.metric):
            return None
        if target.kind == "ratio":
            return self.ratio(key, state)
        figure = self.samples.figure(state, key)
        return figure.median if figure else None

    def best(self, target: Target) -> tuple[str, float] | None:
        """The way of ours that does best, and how well."""
        best: tuple[str, float] | None = None
        for peer in self.samples.peers(target.scenario):
            value = self.value(target, peer)
            if value is not None and (best is None or target.better(value, best[1])):
                best = (peer, value)
        return best


def tsv_line(key: Key, figure: Figure, ratio: float | None) -> str:
    numbers = (number(figure.median), number(figure.least), number(figure.most))
    return "\t".join((key.scenario, key.peer, key.metric, *numbers, f"{ratio:.3f}" if ratio is not None else "-"))


def tsv(result: Result) -> str:
    """One row for each figure, each scenario in one state; which, where it is not near, is said in comments."""
    lines, comments = [COLUMNS], []
    for scenario in result.samples.scenarios():
        state = result.state(scenario)
        if state is None:
            continue
        if state != "near":
            comments.append(f"# state\t{scenario}\t{state}")
        lines += [tsv_line(key, figure, result.ratio(key, state)) for key, figure in figures(result, scenario, state)]
    return "\n".join(lines + comments) + "\n"


def tsv_of_other_states(result: Result) -> str:
    """The samples that were not used, with their state before the columns of the other file."""
    lines = ["state\t" + COLUMNS]
    for scenario in result.samples.scenarios():
        for state in STATES:
            if state != result.state(scenario):
                lines += [f"{state}\t{tsv_line(key, figure, result.ratio(key, state))}"
                          for key, figure in figures(result, scenario, state)]
    return "\n".join(lines) + "\n"


def figures(result: Result, scenario: str, state: str) -> list[tuple[Key, Figure]]:
    keys = [key for key in result.samples.keys(state) if key.scenario == scenario]
    return [(key, figure) for key in keys if (figure := result.samples.figure(state, key)) is not None]


def table(result: Result) -> str:
    """All scenarios, then what was asked of ours, then what could not run."""
    out = io.StringIO()
    for scenario in result.samples.scenarios():
        write_scenario(out, result, scenario)
    write_targets(out, result)
    for program, why in result.skipped.items():
        print(f"skipped: {program}: {why}", file=out)
    for (program, line), why in result.failures.items():
        print(f"FAILED: {program} {line.name()}: {why}", file=out)
    for note in result.notes:
        print(note, file=out)
    return out.getvalue()


def write_scenario(out: io.StringIO, result: Result, scenario: str) -> None:
    state = result.state(scenario)
    said = "" if state == "near" else f"   [state: {state}, not near]"
    family = scenario.split(".")[0]
    metrics = SHOWN.get(family) or tuple(dict.fromkeys(key.metric for key, _ in figures(result, scenario, state or "")))
    for metric in metrics:
        rows = [row(result, scenario, peer, metric) for peer in result.peers(scenario)]
        if not any(rows):
            continue
        print(f"{scenario}   {metric}{said}", file=out)
        print(f"  {'peer':<42}{'n':>3}{'median':>13}{'min':>13}{'max':>13}{'ratio':>9}  required (stretch)", file=out)
        print("\n".join(text for text in rows if text), file=out)
        failed = [(p, why) for (p, line), why in result.failures.items() if belongs(scenario, line)]
        for program, why in failed:
            print(f"  {program:<42} FAILED: {why}", file=out)
        print(file=out)


def belongs(scenario: str, line: Line) -> bool:
    return scenario.split(".")[0] == line.family and (line.size == 0 or scenario.endswith(f"={line.size}"))


def row(result: Result, scenario: str, peer: str, metric: str) -> str:
    """One peer's line; empty when it has no such metric."""
    state = result.state(scenario)
    key = Key(scenario, peer, metric)
    figure = result.samples.figure(state, key) if state else None
    if state is None or figure is None:
        others = [s for s in STATES if result.samples.figure(s, key) is not None]
        return f"  {peer:<42}    only in state {', '.join(others)}" if others else ""
    ratio = result.ratio(key, state)
    asked = [target for target in result.targets() if target.concerns(scenario, peer, metric)]
    verdicts = "  ".join(f"{t.wanted()} {t.verdict(result.value(t, peer))}" for t in asked)
    numbers = "".join(f"{number(value):>13}" for value in (figure.median, figure.least, figure.most))
    count = result.samples.count(state, scenario, peer)
    return f"  {peer:<42}{count:>3}{numbers}{f'{ratio:.2f}x' if ratio is not None else '-':>9}  {verdicts}".rstrip()


def write_targets(out: io.StringIO, result: Result) -> None:
    """Each target with the way of ours that does best."""
    targets = result.targets()
    if not targets:
        return
    print(f"{'asked of SharingBus':<28}{'metric':<27}{'required (stretch)':<20}{'best':>10}  verdict  way", file=out)
    for target in targets:
        best = result.best(target)
        value = "-" if best is None else f"{best[1]:.2f}x" if target.kind == "ratio" else number(best[1])
        verdict = target.verdict(best[1] if best else None)
        state = result.state(target.scenario)
        apart = "" if state == "near" else f" [{state}]"
        way = best[0] if best else "-"
        print(f"{target.scenario:<28}{target.metric:<27}{target.wanted():<20}{value:>10}  {verdict:<8} {way}{apart}", file=out)
    growth = growth_of_s3(result)
    if growth is not None:
        verdict = "met" if growth <= ratios.GROWTH_S3[3] else "MISSED"
        print(f"{'S3: 10,000 against 16':<28}{'ns_per_event':<27}{f'<= {ratios.GROWTH_S3[3]:g}x':<20}{growth:>9.2f}x  {verdict}",
              file=out)
    print(file=out)


def growth_of_s3(result: Result) -> float | None:
    """What 10,000 subscriptions cost, in what 16 cost; of the way that does best."""
    few, many, metric, _ = ratios.GROWTH_S3
    growths = []
    for peer in filter(is_ours, result.samples.peers(few)):
        small, large = result.figure(few, peer, metric), result.figure(many, peer, metric)
        if small and large and small.median > 0:
            growths.append(large.median / small.median)
    return min(growths, default=None)

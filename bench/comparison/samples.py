"""Rows of the programs, the state of the machine that they were measured in, and medians over them."""
from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Iterable, Mapping

NEAR_NS = (80, 200)
FAR_NS = 350
FOREIGN_CORES = 0.10
QUIET = ("near", "other", "far")
STATES = (*QUIET, "busy")


@dataclasses.dataclass(frozen=True, order=True)
class Key:
    """What a figure is of."""

    scenario: str
    peer: str
    metric: str


@dataclasses.dataclass(frozen=True)
class Figure:
    """Median and range over samples."""

    median: float
    least: float
    most: float


def parse_rows(text: str) -> dict[Key, float]:
    """The medians that a program printed. Raises ValueError for a line that is no row."""
    rows: dict[Key, float] = {}
    for line in text.splitlines():
        if not line.strip():
            continue
        parts = line.split("\t")
        if len(parts) != 6:
            raise ValueError(f"not a row: {line[:80]!r}")
        rows[Key(*parts[:3])] = float(parts[3])
    return rows


def state_of(probes: Iterable[float], foreign_cores: float) -> str:
    """The state of the machine around a sample: the probes of a cache line's round trip, before and after it."""
    both = list(probes)
    if foreign_cores >= FOREIGN_CORES:
        return "busy"
    if all(NEAR_NS[0] <= probe <= NEAR_NS[1] for probe in both):
        return "near"
    return "far" if min(both) > FAR_NS else "other"


def middle(values: Iterable[float]) -> Figure:
    """The upper median, as the programs print it."""
    ordered = sorted(values)
    return Figure(ordered[len(ordered) // 2], ordered[0], ordered[-1])


def natural(scenario: str) -> tuple[str, str, int]:
    """Sorts `S1.subs=4` before `S1.subs=16`, and that before `S1.thread.subs=1`."""
    name, _, size = scenario.partition("=")
    return name.split(".")[0], name, int(size) if size.isdigit() else 0


def number(value: float) -> str:
    """As the programs print it."""
    return f"{value:.3f}" if abs(value) < 100 else f"{value:.0f}"


class Samples:
    """All samples of a run, kept apart by state."""

    def __init__(self) -> None:
        self._values: dict[str, dict[Key, list[float]]] = {state: defaultdict(list) for state in STATES}

    def add(self, state: str, rows: Mapping[Key, float]) -> None:
        for key, value in rows.items():
            self._values[state][key].append(value)

    def keys(self, state: str) -> list[Key]:
        return list(self._values[state])

    def count(self, state: str, scenario: str, peer: str) -> int:
        """How many samples there are of a peer in a scenario."""
        return max((len(v) for k, v in self._values[state].items() if (k.scenario, k.peer) == (scenario, peer)), default=0)

    def figure(self, state: str, key: Key) -> Figure | None:
        values = self._values[state].get(key)
        return middle(values) if values else None

    def scenarios(self) -> list[str]:
        return sorted({key.scenario for values in self._values.values() for key in values}, key=natural)

    def peers(self, scenario: str) -> list[str]:
        """In alphabetical order, which is the same in every run."""
        return sorted({key.peer for values in self._values.values() for key in values if key.scenario == scenario})


def choose_state(counts: Mapping[str, Mapping[str, int]], wanted: int) -> str | None:
    """The state to judge a scenario in, from `counts[state][peer]` of the peers that must be compared.

    Near, when each of them has `wanted` samples there; otherwise the state in which the poorest of them has most, and
    one with others at work only when there is nothing else. None when they have no state in common.
    """
    poorest = {state: min(counts.get(state, {}).values(), default=0) for state in STATES}
    if poorest["near"] >= wanted:
        return "near"
    quiet = max(QUIET, key=lambda state: poorest[state])
    if poorest[quiet] > 0:
        return quiet
    return "busy" if poorest["busy"] > 0 else None

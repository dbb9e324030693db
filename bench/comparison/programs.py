"""Which programs there are, and which of them run for a line of the plan."""
from __future__ import annotations

import dataclasses
import re
import shutil
from pathlib import Path

from comparison.ratios import OURS, REFERENCE


@dataclasses.dataclass(frozen=True)
class Line:
    """A scenario's family at one size; 0 where it has none."""

    family: str
    size: int

    def name(self) -> str:
        return f"{self.family}/{self.size}" if self.size else self.family


@dataclasses.dataclass(frozen=True)
class Program:
    """A peer's program: how it is run, and for which sizes of which families (0: any)."""

    name: str
    command: tuple[str, ...]
    needs: tuple[str, ...]
    sizes: dict[str, tuple[int, ...]]
    peers: str = ""
    tools: tuple[str, ...] = ()

    def runs(self, line: Line) -> bool:
        sizes = self.sizes.get(line.family)
        return sizes is not None and (sizes == (0,) or line.size in sizes)

    def missing(self) -> str:
        """Why it cannot run; empty when it can."""
        for tool in self.tools:
            if shutil.which(tool) is None:
                return f"no {tool}"
        return next((f"{Path(path).name} was not built" for path in self.needs if not Path(path).exists()), "")

    def environment(self, line: Line) -> dict[str, str]:
        names = {"SUBS": str(line.size)} if line.size else {}
        return names | ({"PEERS": self.peers} if self.peers else {})


ALL_SIZES: dict[str, tuple[int, ...]] = {
    "S1": (1, 4, 16, 64, 256),
    "S2": (1, 4, 16, 64),
    "S3": (16, 256, 1024, 10_000),
    "S4": (1, 16),
    "S5": (1, 16),
    "S6": (10_000,),
    "S7": (1, 2, 4),
}
LINES = tuple(Line(family, size) for family, sizes in ALL_SIZES.items() for size in sizes) + (Line("FLOOR", 0),)


def programs(build: Path, source: Path) -> list[Program]:
    """The reference first, then ours, then the others. `build`: the preset's folder; `source`: the folder bench/."""
    here = build / "peers"
    ours = str(build / "bench" / "sharingbus_scenarios")
    tokio = str(here / "tokio-sharingbus" / "release" / "bench")
    jar = str(here / "disruptor" / "dependency" / "disruptor-4.0.0.jar")
    classes = str(here / "disruptor" / "classes")
    nats = str(here / "nats")
    any_size = {family: (0,) for family in ALL_SIZES}

    def tool(name: str, sizes: dict[str, tuple[int, ...]]) -> Program:
        return Program(name, (str(here / name),), (str(here / name),), sizes)

    return [
        Program(REFERENCE, (tokio,), (tokio,), any_size, "sharingbus"),
        Program(OURS, (ours,), (ours,), any_size),
        Program("tokio-broadcast", (tokio,), (tokio,), {f: (0,) for f in ("S1", "S2", "S3", "S4", "S7")}, "broadcast"),
        Program("async-broadcast", (tokio,), (tokio,), {"S1": (0,)}, "async-broadcast"),
        tool("signals2", {"S1": (0,)}),
        tool("zeromq", {"S1": (1, 4, 16), "S4": (1, 16)}),
        Program("disruptor", ("java", "-cp", f"{classes}:{jar}", "Bench"), (jar, classes + "/Bench.class"),
                {"S1": (0,), "S4": (1, 16), "S7": (0,)}, tools=("java",)),
        Program("nats", ("sh", str(source / "peers" / "nats" / "run.sh"), nats), (nats,), {"S1": (1, 4), "S4": (1,)},
                tools=("nats-server",)),
        tool("floor", {"S1": (1,), "S4": (1,), "FLOOR": (0,)}),
    ]


def arguments(program: Program, line: Line, selections: list[str]) -> list[str]:
    """What the program is told to run. Ours can run part of a family, when only that is asked for."""
    if line.family == "FLOOR":
        return ["MICRO"]
    if program.name == OURS:
        parts = [re.sub(r"=\d+$", "", s) for s in selections if s.split(".")[0] == line.family]
        return parts or [line.family]
    return [line.family]


def selected(line: Line, selections: list[str]) -> bool:
    """Whether a line has rows that somebody asked for: `S1`, `S1.thread`, `S1.thread.subs=16`."""
    if not selections:
        return True
    for selection in selections:
        family, _, rest = selection.partition(".")
        size = re.search(r"=(\d+)$", rest)
        if family == line.family and (size is None or int(size.group(1)) == line.size):
            return True
    return False


def row_selected(scenario: str, selections: list[str]) -> bool:
    """Whether a row belongs to what was asked for."""
    return not selections or any(scenario == s or scenario.startswith((s + ".", s + "=")) for s in selections)

"""How much better than the reference, and how much better it has to be."""
from __future__ import annotations

import dataclasses

REFERENCE = "tokio-sharingbus"
OURS = "sharingbus"
HIGHER_IS_BETTER = ("_per_s", "delivered_pct")


def is_ours(peer: str) -> bool:
    return peer == OURS or peer.startswith(OURS + "+")


def higher_is_better(metric: str) -> bool:
    return metric.endswith(HIGHER_IS_BETTER)


def ratio(metric: str, ours: float, reference: float | None) -> float | None:
    """More than 1 is better than the reference, whichever way the metric counts. None where it means nothing."""
    if reference is None or ours <= 0 or reference <= 0:
        return None
    return ours / reference if higher_is_better(metric) else reference / ours


def reference_scenario(scenario: str) -> str:
    """The reference publishes from tasks only in S7, so publishers on threads are compared with those."""
    return scenario.replace("S7.thread.", "S7.", 1)


@dataclasses.dataclass(frozen=True)
class Target:
    """What the issue asks of a row of ours: a ratio to the reference, or a bound on the figure itself."""

    scenario: str
    metric: str
    required: float
    stretch: float | None = None
    kind: str = "ratio"
    peer: str = ""

    def concerns(self, scenario: str, peer: str, metric: str) -> bool:
        return (scenario, metric) == (self.scenario, self.metric) and is_ours(peer) and self.peer in peer

    def verdict(self, value: float | None) -> str:
        """`-` where nothing is known, MISSED, met, or stretch."""
        if value is None:
            return "-"
        if not self._holds(value, self.required):
            return "MISSED"
        return "stretch" if self.stretch is not None and self._holds(value, self.stretch) else "met"

    def better(self, one: float, other: float) -> bool:
        return one > other if self.kind == "ratio" else one < other

    def wanted(self) -> str:
        if self.kind == "ratio":
            return f"{self.required:g}x" + (f" ({self.stretch:g}x)" if self.stretch is not None else "")
        return f"<= {self.required:g}" + (f" ({self.stretch:g})" if self.stretch is not None else "")

    def _holds(self, value: float, bound: float) -> bool:
        return value >= bound if self.kind == "ratio" else value <= bound


def _ratios(scenario: str, metric: str, wanted: dict[int, tuple[float, float | None]]) -> list[Target]:
    return [Target(f"{scenario}={size}", metric, *both) for size, both in wanted.items()]


TARGETS: tuple[Target, ...] = (
    *_ratios("S1.subs", "ns_per_delivery", {1: (8, 14), 4: (8, 15), 16: (12, 30), 64: (18, 45), 256: (20, 65)}),
    *_ratios("S1.thread.subs", "ns_per_delivery",
             {1: (1.8, 3), 4: (6, 9), 16: (10, 25), 64: (15, 30), 256: (15, 30)}),
    *_ratios("S2.thread.subs", "delivered_per_s", {1: (2, 2.6), 4: (3.5, 5), 16: (8, 14), 64: (8, 14)}),
    *(Target(f"S2.{who}.subs={size}", "uncounted_loss_pct", 0, kind="bound")
      for who in ("thread", "task") for size in (1, 4, 16, 64)),
    *_ratios("S3.subs", "ns_per_event", {16: (6, 9), 256: (12, 18), 1024: (30, 48), 10_000: (200, 350)}),
    *_ratios("S4.sleep.subs", "p50_ns", {1: (3, 4), 16: (2.8, 3.5)}),
    *_ratios("S4.sleep.subs", "p99_ns", {1: (1.4, 2), 16: (1.4, 2)}),
    *_ratios("S4.coop.subs", "p50_ns", {1: (3.5, 5), 16: (3.5, 5)}),
    Target("S4.coop.subs=1", "p50_ns", 300, 170, "bound", "+poll"),
    *_ratios("S5.subs", "ns_per_delivery", {1: (8, 11), 16: (20, 28)}),
    *_ratios("S6.subs", "rss_bytes_per_subscriber", {10_000: (8, 12)}),
    *_ratios("S7.pubs", "ns_per_event", {1: (8, 14), 2: (8, 14), 4: (8, 14)}),
    *_ratios("S7.thread.pubs", "ns_per_event", {1: (1.8, 2.5), 2: (1.8, 2.5), 4: (1.8, 2.5)}),
)

# 10,000 subscriptions may cost so many times what 16 cost.
GROWTH_S3 = ("S3.subs=16", "S3.subs=10000", "ns_per_event", 2.5)

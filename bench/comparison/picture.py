"""Charts as SVG, with logarithmic axes."""
from __future__ import annotations

import dataclasses
import html
import math

Points = list[tuple[float, float]]

WIDTH, HEIGHT = 1010, 560
LEFT, RIGHT, TOP, BOTTOM = 84, 340, 64, 68
COLOURS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#8c564b", "#7f7f7f", "#bcbd22", "#9467bd", "#17becf",
           "#393b79", "#e377c2")
OURS = ("#d62728", "#8b0000", "#ff7f50", "#b03060", "#fa8072")
MARKS = ("circle", "square", "diamond", "triangle")


@dataclasses.dataclass(frozen=True)
class Scale:
    """A logarithmic axis: values to pixels."""

    low: float
    high: float
    begin: float
    end: float

    def __call__(self, value: float) -> float:
        share = math.log(value / self.low) / math.log(self.high / self.low)
        return self.begin + share * (self.end - self.begin)


def bounds(values: list[float]) -> tuple[float, float]:
    """A range around the values, never empty."""
    low, high = min(values), max(values)
    slack = max((high / low) ** 0.05, 1.15)
    return low / slack, high * slack


def ticks(low: float, high: float) -> list[float]:
    """1, 2, 5, 10, 20 …, or only the powers of ten when those would be many."""
    steps = (1, 2, 5) if high / low < 3000 else (1,)
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    return [step * 10.0**power for power in powers for step in steps if low <= step * 10.0**power <= high]


def plain(value: float) -> str:
    return f"{value:,.0f}" if value >= 1 else f"{value:g}"


def mark(shape: str, x: float, y: float, colour: str) -> str:
    if shape == "circle":
        return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{colour}"/>'
    corners = {
        "square": ((-4, -4), (4, -4), (4, 4), (-4, 4)),
        "diamond": ((0, -5), (5, 0), (0, 5), (-5, 0)),
        "triangle": ((0, -5), (5, 4), (-5, 4)),
    }[shape]
    points = " ".join(f"{x + dx:.1f},{y + dy:.1f}" for dx, dy in corners)
    return f'<polygon points="{points}" fill="{colour}"/>'


def text(x: float, y: float, what: str, size: int = 13, anchor: str = "start", more: str = "") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" text-anchor="{anchor}"{more}>{html.escape(what)}</text>'


def axes(x: Scale, y: Scale, sizes: list[float], labels: tuple[str, str]) -> list[str]:
    """Grid, ticks and the names of the axes."""
    right, bottom = WIDTH - RIGHT, HEIGHT - BOTTOM
    out = []
    for value in ticks(y.low, y.high):
        out.append(f'<line x1="{LEFT}" x2="{right}" y1="{y(value):.1f}" y2="{y(value):.1f}" stroke="#ddd"/>')
        out.append(text(LEFT - 8, y(value) + 4, plain(value), anchor="end"))
    for value in sizes:
        out.append(f'<line x1="{x(value):.1f}" x2="{x(value):.1f}" y1="{TOP}" y2="{bottom}" stroke="#eee"/>')
        out.append(text(x(value), bottom + 20, plain(value), anchor="middle"))
    out.append(f'<rect x="{LEFT}" y="{TOP}" width="{right - LEFT}" height="{bottom - TOP}" fill="none" stroke="#444"/>')
    out.append(text((LEFT + right) / 2, HEIGHT - 20, labels[0], 14, "middle"))
    middle = (TOP + bottom) / 2
    out.append(text(24, middle, labels[1], 14, "middle", f' transform="rotate(-90 24 {middle:.1f})"'))
    return out


def looks(names: list[str], ours: list[str]) -> dict[str, tuple[str, str]]:
    """A colour and a mark for each line; ours are red."""
    found = {}
    others = [name for name in names if name not in ours]
    for group, colours in ((ours, OURS), (others, COLOURS)):
        for i, name in enumerate(group):
            found[name] = (colours[i % len(colours)], MARKS[i % len(MARKS)])
    return found


def drawn(series: dict[str, Points]) -> dict[str, Points]:
    """Without peers that have one point where others have a line."""
    usable = {name: sorted(p for p in points if p[0] > 0 and p[1] > 0) for name, points in series.items()}
    lines = {name: points for name, points in usable.items() if len(points) > 1}
    return lines or {name: points for name, points in usable.items() if points}


def chart(title: str, labels: tuple[str, str], series: dict[str, Points], ours: list[str], remark: str = "") -> str:
    """One line for each of `series`. Empty when there is nothing to draw."""
    shown = drawn(series)
    if not shown:
        return ""
    xs = sorted({point[0] for points in shown.values() for point in points})
    x = Scale(*bounds(xs), LEFT, WIDTH - RIGHT)
    y = Scale(*bounds([point[1] for points in shown.values() for point in points]), HEIGHT - BOTTOM, TOP)
    # The legend is in the order in which the lines end at the right, so that the eye finds them.
    names = sorted(shown, key=lambda name: (-shown[name][-1][0], -shown[name][-1][1]))
    look = looks(sorted(shown), sorted(name for name in shown if name in ours))
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" '
           'font-family="sans-serif" fill="#222">', f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
           text(LEFT, 30, title, 18, more=' font-weight="bold"'), text(LEFT, 50, remark, 12), *axes(x, y, xs, labels)]
    for name in names:
        out += curve([(x(a), y(b)) for a, b in shown[name]], *look[name], thick=name in ours)
    for i, name in enumerate(names):
        at = TOP + 12 + 22 * i
        out += curve([(WIDTH - RIGHT + 18, at), (WIDTH - RIGHT + 46, at)], *look[name], thick=name in ours)
        out.append(text(WIDTH - RIGHT + 56, at + 4, name, more=' font-weight="bold"' if name in ours else ""))
    return "\n".join([*out, "</svg>"]) + "\n"


def curve(points: Points, colour: str, shape: str, thick: bool) -> list[str]:
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    width = 3 if thick else 1.5
    return [f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="{width}"/>',
            *(mark(shape, x, y, colour) for x, y in points)]

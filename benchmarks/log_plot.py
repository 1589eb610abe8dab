"""A plot with two logarithmic axes, as SVG: what a decision takes, by the number of rules."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping
from typing import NamedTuple
from xml.sax.saxutils import escape

_WIDTH, _HEIGHT = 920, 580
_LEFT, _RIGHT, _TOP, _BOTTOM = 70, 660, 72, 490
_APART = 19  # from one label to the next

# The colours of the lines can be seen on white and on black; those of the words change.
_STYLE = """
    text { fill: #57606a; font-size: 13.5px }
    .title { fill: #1f2328; font-size: 17px; font-weight: 600 }
    .small { font-size: 12px }
    .grid { stroke: #8b949e; stroke-opacity: .3 }
    .line { fill: none; stroke-linejoin: round }
    .bold { font-weight: 700 }
    @media (prefers-color-scheme: dark) { text { fill: #9da7b1 } .title { fill: #e6edf3 } }
"""


class Look(NamedTuple):
    """How a line is drawn."""

    colour: str
    dashed: bool = False
    bold: bool = False


class Line(NamedTuple):
    """One engine: seconds by the number of rules."""

    name: str
    look: Look
    seconds: Mapping[int, float]


def shown(seconds: float) -> str:
    """Write a time with three digits, or with whole units if it has more."""
    unit, name = next((each for each in ((1.0, "s"), (1e-3, "ms")) if seconds >= each[0]), (1e-6, "µs"))
    value = seconds / unit
    digits = max(0, 2 - math.floor(math.log10(value))) if value > 0 else 0
    return f"{value:,.{min(digits, 2)}f} {name}"


def plot(title: str, lines: list[Line], caption: list[str]) -> str:
    """Draw the lines, each with its name at its end."""
    scale = _Scale(lines)
    parts = [
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img"'
            ' font-family="system-ui, sans-serif">'
        ),
        f"  <title>{escape(title)}</title>",
        f"  <style>{_STYLE}  </style>",
        _text(_LEFT, 30, title, "title"),
        _text(_LEFT, 50, "time of one decision, by the number of rules; both axes are logarithmic", "small"),
        *scale.grid(),
        *(_line(scale, line) for line in lines),
        *_names(scale, lines),
        *(_text(_LEFT, _BOTTOM + 52 + 17 * row, text, "small") for row, text in enumerate(caption)),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


class _Scale:
    """Where a number of rules and a time stand."""

    def __init__(self, lines: list[Line]) -> None:
        self.sizes = sorted({size for line in lines for size in line.seconds})
        times = [each for line in lines for each in line.seconds.values()]
        self.least, self.most = math.floor(math.log10(min(times))), math.ceil(math.log10(max(times)))

    def x(self, size: int) -> float:
        first, last = math.log10(self.sizes[0]), math.log10(self.sizes[-1])
        return _LEFT + (math.log10(size) - first) / (last - first) * (_RIGHT - _LEFT)

    def y(self, seconds: float) -> float:
        return _BOTTOM - (math.log10(seconds) - self.least) / (self.most - self.least) * (_BOTTOM - _TOP)

    def grid(self) -> Iterator[str]:
        for exponent in range(self.least, self.most + 1):
            y = self.y(10.0**exponent)
            yield f'  <path class="grid" d="M{_LEFT} {y:.1f}H{_RIGHT}"/>'
            yield _text(_LEFT - 8, y + 4, _decade(exponent), "small", text_anchor="end")
        for size in self.sizes:
            yield f'  <path class="grid" d="M{self.x(size):.1f} {_TOP}V{_BOTTOM}"/>'
            yield _text(self.x(size), _BOTTOM + 20, f"{size:,} rules", "small", text_anchor="middle")


def _decade(exponent: int) -> str:
    power, name = next(each for each in ((0, "s"), (-3, "ms"), (-6, "µs"), (-9, "ns")) if exponent >= each[0])
    return f"{10 ** (exponent - power)} {name}"


def _line(scale: _Scale, line: Line) -> str:
    points = [(scale.x(size), scale.y(seconds)) for size, seconds in sorted(line.seconds.items())]
    path = "L".join(f"{x:.1f} {y:.1f}" for x, y in points)
    dashes = ' stroke-dasharray="6 4"' if line.look.dashed else ""
    width = 3.4 if line.look.bold else 1.8
    dots = "".join(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{width + 1}"/>' for x, y in points)
    return (
        f'  <g fill="{line.look.colour}"><path class="line" stroke="{line.look.colour}"'
        f' stroke-width="{width}"{dashes} d="M{path}"/>{dots}</g>'
    )


def _names(scale: _Scale, lines: list[Line]) -> Iterator[str]:
    """Write each name beside the end of its line."""
    ends = {line.name: scale.y(line.seconds[max(line.seconds)]) for line in lines}
    for line, y in zip(
        sorted(lines, key=lambda line: ends[line.name]), _apart(sorted(ends.values())), strict=True
    ):
        size = max(line.seconds)
        text = f"{line.name}: {shown(line.seconds[size])}"
        kind = "bold" if line.look.bold else ""
        yield _text(scale.x(size) + 14, y + 4.5, text, kind, style=f"fill: {line.look.colour}")


def _apart(heights: list[float]) -> list[float]:
    """Move sorted heights apart where two are too near."""
    for _ in range(100):
        for at, (one, two) in enumerate(itertools.pairwise(heights)):
            if (over := _APART - (two - one)) > 0:
                heights[at : at + 2] = one - over / 2, two + over / 2
    return heights


def _text(x: float, y: float, text: str, kind: str = "", **attributes: str) -> str:
    more = "".join(f' {name.replace("_", "-")}="{value}"' for name, value in attributes.items())
    return f'  <text class="{kind}" x="{x:.1f}" y="{y:.1f}"{more}>{escape(text)}</text>'

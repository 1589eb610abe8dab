"""A plot with bars, as SVG: what a connection or a request takes, on one server beside another."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import NamedTuple
from xml.sax.saxutils import escape

_WIDTH, _LEFT, _RIGHT = 920, 270, 690
_BAR, _GAP, _TOP = 20, 6, 60

# The colours of the bars can be seen on white and on black; those of the words change.
_STYLE = """
    text { fill: #57606a; font-size: 13.5px }
    .title { fill: #1f2328; font-size: 17px; font-weight: 600 }
    .bold { font-weight: 700 }
    .small { font-size: 12px }
    @media (prefers-color-scheme: dark) { text { fill: #9da7b1 } .title { fill: #e6edf3 } }
"""


class Bar(NamedTuple):
    """One server.

    Attributes:
        group: What is measured.
        name: The server.
        microseconds: What it takes.
        ratio: How many the server does in the time in which the one beside it does one.
        is_unit: Whether it is that one.
    """

    group: str
    name: str
    microseconds: float
    ratio: float
    is_unit: bool


def plot(title: str, bars: Sequence[Bar], caption: str) -> str:
    """Draw the bars, those of a group below its name; each group has a scale of its own."""
    y, parts = _TOP, [_text(16, 30, title, "title")]
    for group, members in groupby(bars, key=lambda bar: bar.group):
        parts.append(_text(16, y + 14, group, "bold"))
        y += _BAR + _GAP
        several = list(members)
        most = max(bar.microseconds for bar in several)
        for bar in several:
            parts += _bar(bar, y, bar.microseconds / most)
            y += _BAR + _GAP
        y += 2 * _GAP
    parts.append(_text(16, y + 12, caption, "small"))
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {y + 28}" role="img"'
        ' font-family="system-ui, sans-serif">'
    )
    return "\n".join(
        [head, f"  <title>{escape(title)}</title>", f"  <style>{_STYLE}  </style>", *parts, "</svg>\n"]
    )


def _bar(bar: Bar, y: int, part: float) -> Iterator[str]:
    width = part * (_RIGHT - _LEFT)
    colour = "#8b949e" if bar.is_unit else "#2f81f7"
    yield _text(_LEFT - 10, y + 15, bar.name, "", text_anchor="end")
    yield f'  <rect x="{_LEFT}" y="{y}" width="{width:.1f}" height="{_BAR}" rx="3" fill="{colour}"/>'
    told = f"{bar.microseconds:,.0f} µs" + (
        "" if bar.is_unit else f", {bar.ratio:.2f} of it in the same time"
    )
    yield _text(_LEFT + width + 8, y + 15, told, "bold" if not bar.is_unit else "")


def _text(x: float, y: float, text: str, kind: str = "", **attributes: str) -> str:
    more = "".join(f' {name.replace("_", "-")}="{value}"' for name, value in attributes.items())
    return f'  <text class="{kind}" x="{x:.1f}" y="{y:.1f}"{more}>{escape(text)}</text>'

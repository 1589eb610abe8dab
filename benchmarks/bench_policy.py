"""What a decision costs at 100 to 100 000 rules, side by side with other engines; draws a plot.

Every engine has the same rules and answers the same questions, half of them with a refusal.
Its figure is the mean of two medians, of decisions that allow and of decisions that refuse:
the median of both together would lie in the gap between them.
"""

from __future__ import annotations

import platform
import statistics
import sys
import time
from collections.abc import Mapping
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from log_plot import Line, Look, plot, shown
from policy_scene import scene_of
from policy_worker import BUDGET, ENGINES, FIRST, SEEN, UNIT, Loaded, Timing, Worker

SIZES = (100, 1_000, 10_000, 100_000)
ROUNDS = 15
LOOKS = {
    UNIT: Look("#8b949e", dashed=True),
    SEEN: Look("#2da44e", bold=True),
    FIRST: Look("#2da44e", bold=True),
}
BY_PACKAGE = {"": "#b08030", "regopy": "#9a6fd0", "cedarpy": "#3b8eda", "casbin": "#d0566c"}
PLOT = Path(__file__).parent.parent / "docs" / "policy-speed.svg"


class Figure(NamedTuple):
    """Seconds of one engine at one size."""

    loading: Loaded
    allowed: float
    refused: float

    @property
    def seconds(self) -> float:
        """What a decision takes."""
        return (self.allowed + self.refused) / 2


Figures = Mapping[str, Figure]


def main() -> None:
    """Measure at each size, then say what came of it."""
    start = time.monotonic()
    missing = {engine.package for engine in ENGINES.values() if not find_spec(engine.package or "re")}
    names = [name for name, engine in ENGINES.items() if engine.package not in missing]
    runs = {size: measure(names, size) for size in SIZES}
    show_summary(names, runs)
    if missing:
        print(f"\nNot installed, so nothing is drawn: {', '.join(sorted(missing))}")
    else:
        draw(names, runs)
    print(f"\n{time.monotonic() - start:.0f} s in all")


def measure(names: list[str], size: int) -> Figures:
    """Let each engine load that many rules, then have all of them decide in turn."""
    right = [question.allowed for question in scene_of(size).questions]
    workers: dict[str, Worker] = {}
    loading: dict[str, Loaded] = {}
    for name in names:
        progress(f"{size:,} rules: {name} loads")
        worker = Worker(name, size)
        if (loaded := worker.loaded()) is not None:
            assert loaded.answers == right[: len(loaded.answers)], f"{name} answers wrongly"
            workers[name], loading[name] = worker, loaded
    timings: dict[str, list[Timing]] = {name: [] for name in workers}
    for number in range(ROUNDS):
        progress(f"{size:,} rules: round {number + 1} of {ROUNDS}")
        for name, worker in workers.items():
            timings[name] += worker.round(number)
    for worker in workers.values():
        worker.end()
    progress("")
    figures = {name: _figure(loading[name], each) for name, each in timings.items()}
    show(names, size, figures)
    return figures


def show(names: list[str], size: int, figures: Figures) -> None:
    """Print what was measured at one size."""
    print(f"\n{size:,} rules{'allows':>30}{'refuses':>12}{'mean':>12}{'loads':>12}")
    for name in names:
        if name not in figures:
            print(f"  {name:<24}  not reached in {BUDGET} s")
            continue
        figure = figures[name]
        cells = (figure.allowed, figure.refused, figure.seconds, figure.loading.seconds)
        ratio = figure.seconds / figures[UNIT].seconds
        print(f"  {name:<24}" + "".join(f"{shown(each):>12}" for each in cells) + f"{ratio:>12,.1f} x")


def show_summary(names: list[str], runs: Mapping[int, Figures]) -> None:
    """Print a table for the page, and what it is about."""
    print("\n| rules |", " | ".join(f"{size:,}" for size in runs), "|")
    print("|---|" + "---|" * len(runs))
    for name in names:
        cells = (_cell(figures.get(name), figures[UNIT]) for figures in runs.values())
        print(f"| {name} |", " | ".join(cells), "|")
    least, most = runs[min(runs)], runs[max(runs)]
    print()
    for name in (FIRST, SEEN):
        growth = most[name].seconds / least[name].seconds
        print(f"{name}: {max(runs):,} rules take {growth:.2f} times as long as {min(runs):,}")
    loaded = most[SEEN].loading
    print(
        f"{max(runs):,} rules from JSON: {loaded.seconds:.2f} s, "
        f"{loaded.resident:.0f} MiB, while loading {loaded.peak:.0f} MiB"
    )


def draw(names: list[str], runs: Mapping[int, Figures]) -> None:
    """Write the plot."""
    lines = [
        Line(name, _look(name), {size: run[name].seconds for size, run in runs.items() if name in run})
        for name in names
    ]
    packages = sorted({ENGINES[name].package for name in names} - {"", "meshid"})
    versions = ", ".join(f"{each} {metadata.version(each)}" for each in packages)
    caption = [
        "Median of single decisions, half of them refusals; the same rules and questions for all.",
        f"{time.strftime('%Y-%m-%d')}, {_machine()}, Python {platform.python_version()}, {versions}",
    ]
    PLOT.write_text(plot("Who may reach what?", lines, caption), encoding="utf-8")
    print(f"\nDrawn: {PLOT}")


def progress(text: str) -> None:
    """Say what goes on, to somebody who waits."""
    if sys.stderr.isatty():
        print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)


def _figure(loading: Loaded, timings: list[Timing]) -> Figure:
    allowed, refused = (
        statistics.median(each.seconds for each in timings if each.allowed is kind) for kind in (True, False)
    )
    return Figure(loading, allowed, refused)


def _look(name: str) -> Look:
    dashed = name in {"re, one union", "casbin, Enforcer"}
    return LOOKS.get(name) or Look(BY_PACKAGE[ENGINES[name].package], dashed=dashed)


def _cell(figure: Figure | None, unit: Figure) -> str:
    if figure is None:
        return f"not reached in {BUDGET} s"
    return f"{shown(figure.seconds)}, {figure.seconds / unit.seconds:,.1f} x"


def _machine() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{len(names)} x {names[0]}" if names else platform.machine()


if __name__ == "__main__":
    main()

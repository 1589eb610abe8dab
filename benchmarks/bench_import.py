"""What `import meshid` costs, in units of the import of everything else that it needs.

Each import is timed inside a fresh process, so that the start of Python does not count. The
unit is the import, in the same order, of each module that `import meshid` loads and that is not ours:
dependencies and the standard library. Both are timed in turn.
"""

from __future__ import annotations

import statistics
import subprocess
import sys

ROUNDS = 31

LIST = "import sys; old = set(sys.modules); import meshid; print(*(m for m in sys.modules if m not in old))"

TIME = """
import sys, time
from importlib import import_module
start = time.perf_counter()
for name in sys.argv[1:]:
    try:
        import_module(name)
    except ImportError:  # a name that another module has put into sys.modules, such as typing.io
        pass
print(time.perf_counter() - start)
"""


def main() -> None:
    """Measure, and print the ratio."""
    loaded = run(LIST).split()
    ours = [name for name in loaded if name.partition(".")[0] == "meshid"]
    others = [name for name in loaded if name.partition(".")[0] != "meshid"]
    rounds = [(seconds("meshid"), seconds(*others)) for _ in range(ROUNDS)]
    whole, unit = (statistics.median(times) for times in zip(*rounds, strict=True))
    ratio = statistics.median(mine / theirs for mine, theirs in rounds)
    print(f"\nimport meshid: {len(ours)} modules of its own, {len(others)} others")
    print(f"  {'the others alone':<58} {unit * 1e3:10.1f} ms {1:9.2f} x")
    print(f"  {'import meshid':<58} {whole * 1e3:10.1f} ms {ratio:9.2f} x")


def seconds(*names: str) -> float:
    """Return how long a fresh process takes to import these."""
    return float(run(TIME, *names))


def run(code: str, *arguments: str) -> str:
    """Return what a fresh process prints."""
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout  # noqa: S603 - our own code


if __name__ == "__main__":
    main()

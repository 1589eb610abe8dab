"""Subprocesses that are forked, interrupted or killed."""

from __future__ import annotations

import os
import subprocess
import sys

UNMEASURED = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE")}
"""Their environment, without coverage: it holds a lock, which an interrupt or a fork at a bad moment leaves
locked for ever."""


def ends_well(program: str, *arguments: str) -> None:
    """Run a Python program that forks; it must exit with status 0 and say nothing on stderr."""
    # Python warns when a process with threads forks; servers do it all the same.
    ended = subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", program, *arguments],
        timeout=100,
        env=UNMEASURED,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ended.returncode, ended.stderr) == (0, "")

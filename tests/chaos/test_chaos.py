"""A minute of chaos: never a peer admitted two seconds after its removal, never a good one refused."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers.processes import UNMEASURED

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_a_minute_of_chaos() -> None:
    # Python warns when a process with threads forks; servers do it all the same.
    drill = [sys.executable, "-W", "ignore::DeprecationWarning", "-m", "tests.chaos"]
    ended = subprocess.run(
        [*drill, "--seconds", "60", "--poll", "0.2"],
        cwd=ROOT,
        env=UNMEASURED,
        timeout=110,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    counts = json.loads(ended.stdout)["counts"]
    assert min(counts[each] for each in ("admitted", "refused", "ended and told", "forks", "clock jumps")) > 0

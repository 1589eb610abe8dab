"""Clients of all kinds come and go, and nothing of them stays."""

from __future__ import annotations

import os
import time

import pytest

from tests.helpers.ports import MAKERS
from tests.port.soak import soak

SECONDS = float(os.environ.get("SOAK_SECONDS", "6"))
"""Half of it for each loop; a minute finds slower leaks: `SOAK_SECONDS=60 pytest tests/port/test_soak.py`."""


@pytest.mark.slow
@pytest.mark.timeout(SECONDS + 100)
@pytest.mark.parametrize("loop", MAKERS)
def test_nothing_stays(loop: str) -> None:
    seed = int(time.time())
    report = soak(SECONDS / 2, MAKERS[loop], seed)
    assert report.wrong == [], f"seed {seed}"
    assert len(report.counts) == 7

"""The battery finds what it is there to find."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.frameworks import battery
from tests.frameworks.battery import Drill
from tests.frameworks.rows import SERVERS
from tests.frameworks.scene import Scene, running

MISTAKES = {
    "plain": ("good", "refused", "request_policy", "idle"),
    "unjudged": ("request_policy", "paths"),
    "decoded": ("paths",),
    "confused": ("crowd",),
    "leaking": ("descriptors",),
}
"""The mistakes of a server, and the checks that must find each; all others are slow to find it, too."""

(ROW,) = (row for row in SERVERS if row.name == "http_server")


@pytest.mark.slow
@pytest.mark.parametrize("mistake", MISTAKES)
def test_the_battery_finds_a_mistake(mistake: str, tmp_path: Path) -> None:
    with running(Scene(tmp_path), "tests.frameworks.servers.careless", MISTAKE=mistake) as process:
        drill = Drill(ROW, process)
        for check in MISTAKES[mistake]:
            with pytest.raises(AssertionError):
                getattr(battery, check)(drill)

"""Each protection of the handshake is taken away, and the tests that are there for it see it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers.protections import PROTECTIONS, VARIABLE

ROOT = Path(__file__).parents[2]
TESTS = sorted({test for removal in PROTECTIONS.values() for test in removal.seen_by})


def failures(tests: list[str], taken_away: str) -> set[str]:
    """Run tests in a process of their own; return those that failed, without their parameters."""
    command = [
        "-m",
        "pytest",
        "-q",
        "--tb=no",
        "-p",
        "tests.helpers.protections",
        "-p",
        "no:cacheprovider",
        *tests,
    ]
    environment = {**os.environ, VARIABLE: taken_away}
    ran = subprocess.run(
        [sys.executable, *command], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert ran.returncode in {0, 1}, ran.stdout + ran.stderr
    return set(re.findall(r"^(?:FAILED|ERROR) ([^\s\[]+)", ran.stdout, re.MULTILINE))


@pytest.mark.slow
def test_nothing_fails_while_all_are_there() -> None:
    assert failures(TESTS, "") == set()


@pytest.mark.slow
@pytest.mark.parametrize("name", PROTECTIONS)
def test_its_tests_fail_without(name: str) -> None:
    tests = list(PROTECTIONS[name].seen_by)
    assert failures(tests, name) == set(tests)

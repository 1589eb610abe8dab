"""The rooms, and which way imports may point. The contracts stand in pyproject.toml."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from importlinter import api

import meshid

CONFIG = Path(__file__).parent.parent / "pyproject.toml"
PACKAGE = Path(meshid.__file__).parent
MAX_LINES = 400
MAX_ENTRIES = 26

FLOORS = "A module imports only from the floors below it"
CORE = "The core is pure: it knows no socket, no loop, no log"
POLICY = "A policy is modelled, then loaded, then asked"
TESTING = "The CA for tests and the verifier do not know each other"


def check_contracts(root: Path) -> subprocess.CompletedProcess[str]:
    """Check the package that lies in *root*; without an environment, nothing else comes first."""
    script = Path(sys.executable).with_name("lint-imports")
    return subprocess.run(
        [script, "--config", CONFIG, "--no-cache", "--no-logo"],
        cwd=root,
        env={},
        capture_output=True,
        text=True,
        check=False,
    )


def contract(identifier: str) -> dict[str, list[str]]:
    contracts = api.read_configuration(str(CONFIG))["contracts_options"]
    found: dict[str, list[str]] = next(each for each in contracts if each["id"] == identifier)
    return found


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of the package to plant violations in."""
    shutil.copytree(PACKAGE, tmp_path / "meshid", ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


def test_the_contracts_are_kept(copy: Path) -> None:
    checked = check_contracts(copy)
    assert checked.returncode == 0, checked.stdout + checked.stderr


@pytest.mark.parametrize(
    ("module", "line", "broken"),
    [
        pytest.param("support/quoting", "import meshid.names", FLOORS, id="upwards"),
        pytest.param("trust/crl", "import meshid.audit.event", FLOORS, id="sideways"),
        pytest.param("support/quoting", "import meshid", FLOORS, id="upwards through the front page"),
        pytest.param("certificates/leaf", "import meshid.policy", FLOORS, id="sideways in the middle"),
        pytest.param("testing/ca", "import meshid.verification.verifier", TESTING, id="the judge in the CA"),
        pytest.param("verification/verifier", "import meshid.testing", TESTING, id="the CA in the judge"),
        pytest.param("policy/rules", "import meshid.policy.policy", POLICY, id="upwards in the policy"),
        pytest.param("stray", "import meshid.reasons", FLOORS, id="a module without a floor"),
        pytest.param("policy/stray", "import meshid.reasons", POLICY, id="one in the policy"),
        pytest.param("names/spiffe_id", "import socket", CORE, id="a socket in the core"),
        pytest.param("verification/verifier", "import ssl", CORE, id="TLS in the core"),
        pytest.param("certificates/leaf", "import os.path", CORE, id="the operating system in the core"),
        pytest.param("decisions", "from logging import getLogger", CORE, id="a log in the core"),
        pytest.param("audit/counters", "import logging", CORE, id="a second log in the audit"),
        pytest.param("trust/bundles", "from asyncio.events import get_running_loop", CORE, id="a loop in it"),
        pytest.param("certificates/reading", "from OpenSSL import SSL", CORE, id="pyOpenSSL in the core"),
    ],
)
def test_a_planted_violation_is_seen(copy: Path, module: str, line: str, broken: str) -> None:
    with (copy / "meshid" / f"{module}.py").open("a") as file:
        file.write(f"\n{line}\n")
    checked = check_contracts(copy)
    assert checked.returncode == 1, checked.stderr
    assert f"{broken} BROKEN" in checked.stdout


def test_admission_and_each_floor_below_it_is_in_the_core() -> None:
    floors = contract("floors")["layers"]
    rooms = {
        room.strip() for floor in floors[floors.index("admission") :] for room in re.split("[|:]", floor)
    }
    core = {f"meshid.{room}" for room in rooms - {"testing"}}
    assert set(contract("core")["source_modules"]) == core


def test_the_tree_is_short_enough_to_read() -> None:
    entries = [path.name for path in PACKAGE.iterdir() if path.name != "__pycache__"]
    assert len(entries) <= MAX_ENTRIES, sorted(entries)


def test_each_folder_says_in_one_line_what_it_is() -> None:
    for folder in PACKAGE.rglob("*/"):
        if folder.name != "__pycache__":
            docstring = ast.get_docstring(ast.parse((folder / "__init__.py").read_text("utf-8")))
            assert docstring, folder
            assert docstring.splitlines()[0].endswith("."), folder


def test_no_module_is_longer_than_a_sitting() -> None:
    lengths = {
        str(path.relative_to(PACKAGE)): len(path.read_text("utf-8").splitlines())
        for path in PACKAGE.rglob("*.py")
    }
    assert {name: length for name, length in lengths.items() if length > MAX_LINES} == {}

"""The rooms, and which way imports may point. The contracts are in pyproject.toml."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import pytest
from importlinter import api

import meshid

CONFIG = Path(__file__).parent.parent / "pyproject.toml"
PACKAGE = Path(meshid.__file__).parent
MAX_LINES = 400
MAX_ENTRIES = 28

COMMANDS = {
    *("authorizer", "diff", "explain", "lint", "policy", "port", "prove", "replay", "report", "schema"),
    *("settings", "status"),
}
"""Modules under cli/ that are called as the words of the command line."""

FLOORS = "A module imports only from the floors below it"
CORE = "The core is pure: it knows no socket, no loop, no log"
POLICY = "A policy is modelled, then loaded, then asked"
TESTING = "What makes test material and what judges it do not know each other"


def check_contracts(root: Path) -> subprocess.CompletedProcess[str]:
    """Check the package in *root*. The environment is empty, so no other copy is found first."""
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


def broken_contracts(report: str) -> dict[str, str]:
    """Return what the report says about each broken contract, by the contract's name."""
    parts = re.split(r"^(.+)\n-+\n", report.partition("Broken contracts\n")[2], flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


@pytest.mark.parametrize(
    ("module", "line", "broken", "blamed"),
    [
        pytest.param("support/quoting", "import meshid.names", FLOORS, "meshid.names", id="upwards"),
        pytest.param("trust/crl", "import meshid.audit.event", FLOORS, "meshid.audit.event", id="sideways"),
        pytest.param("support/quoting", "import meshid", FLOORS, "meshid", id="upwards, by way of the top"),
        pytest.param(
            "certificates/leaf", "import meshid.policy", FLOORS, "meshid.policy", id="sideways in the middle"
        ),
        pytest.param(
            "testing/ca",
            "import meshid.verification.verifier",
            TESTING,
            "meshid.verification.verifier",
            id="the verifier in the CA",
        ),
        pytest.param(
            "verification/verifier",
            "import meshid.testing",
            TESTING,
            "meshid.testing",
            id="the CA in the verifier",
        ),
        pytest.param(
            "testing/token_issuer",
            "import meshid.tokens.key_set",
            TESTING,
            "meshid.tokens.key_set",
            id="the reader of keys in the issuer of tokens",
        ),
        pytest.param(
            "tokens/key_set",
            "import meshid.verification.verifier",
            TESTING,
            "meshid.verification.verifier",
            id="the verifier of certificates among the tokens",
        ),
        pytest.param(
            "policy/rules",
            "import meshid.policy.policy",
            POLICY,
            "meshid.policy.policy",
            id="upwards in the policy",
        ),
        pytest.param("names/spiffe_id", "import socket", CORE, "socket", id="a socket in the core"),
        pytest.param("verification/verifier", "import ssl", CORE, "ssl", id="TLS in the core"),
        pytest.param(
            "certificates/leaf", "import os.path", CORE, "os", id="the operating system in the core"
        ),
        pytest.param("decisions", "from logging import getLogger", CORE, "logging", id="a log in the core"),
        pytest.param("audit/counters", "import logging", CORE, "logging", id="a second log in the audit"),
        pytest.param(
            "trust/bundles",
            "from asyncio.events import get_running_loop",
            CORE,
            "asyncio",
            id="an event loop in the core",
        ),
        pytest.param(
            "certificates/reading", "from OpenSSL import SSL", CORE, "OpenSSL", id="pyOpenSSL in the core"
        ),
    ],
)
def test_a_planted_import_is_found_and_blamed(
    copy: Path, module: str, line: str, broken: str, blamed: str
) -> None:
    with (copy / "meshid" / f"{module}.py").open("a") as file:
        file.write(f"\n{line}\n")
    checked = check_contracts(copy)
    assert checked.returncode == 1, checked.stderr
    arrow = f"meshid.{module.replace('/', '.')} -> {blamed} (l."
    assert arrow in broken_contracts(checked.stdout)[broken]


@pytest.mark.parametrize(("module", "broken"), [("stray", FLOORS), ("policy/stray", POLICY)])
def test_a_planted_module_without_a_floor_is_found(copy: Path, module: str, broken: str) -> None:
    (copy / "meshid" / f"{module}.py").write_text('"""Without a floor."""')
    checked = check_contracts(copy)
    assert checked.returncode == 1, checked.stderr
    listed = f"not listed as layers:\n\n- meshid.{module.replace('/', '.')}\n"
    assert listed in broken_contracts(checked.stdout)[broken]


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


def test_no_two_modules_have_one_name() -> None:
    places: dict[str, list[str]] = defaultdict(list)
    for path in PACKAGE.rglob("*.py"):
        place = (path.parent if path.stem == "__init__" else path.with_suffix("")).relative_to(PACKAGE)
        is_command = place.parts[:1] == ("cli",) and place.name in COMMANDS
        # A module that is called as its folder, such as admission/admission.py, is what the folder is about.
        if not is_command and place.name != place.parent.name:
            places[place.name].append(str(place))
    assert in_two_places(places) == {}


def test_no_two_classes_have_one_name() -> None:
    places: dict[str, list[str]] = defaultdict(list)
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            # Nobody reads a private name outside its own module.
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                places[node.name].append(str(path.relative_to(PACKAGE)))
    assert in_two_places(places) == {}


def in_two_places(places: dict[str, list[str]]) -> dict[str, list[str]]:
    return {name: where for name, where in places.items() if len(where) > 1}
